"""Rows of a layer: found, confirmed, refined and taken in."""
