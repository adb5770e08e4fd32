"""The kinks that queries have shown, and which layer each may belong to."""
