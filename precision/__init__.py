"""Number systems for exact and arbitrary-precision extraction; imports no JAX."""
