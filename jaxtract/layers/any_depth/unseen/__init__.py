"""Weights that a boundary does not show, from where else they act."""
