"""Random and spoilt input for everything that reads what others wrote."""
