"""Training of the two-stage cascade: the proposal network and the decision network."""
