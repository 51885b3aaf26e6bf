# SPDX-License-Identifier: Apache-2.0
"""Training of the two-stage cascade: the proposal network and the decision network."""
