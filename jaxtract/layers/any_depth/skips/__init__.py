"""Networks whose neurons read everything before them."""
