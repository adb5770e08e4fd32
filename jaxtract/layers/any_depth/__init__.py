"""Networks of any depth and unknown widths, layer by layer from the boundaries of their neurons."""
