"""Read a ReLU network off, exactly, from nothing but queries."""
