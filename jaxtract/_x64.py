"""The one place where JAX's 64-bit mode is switched on and checked."""

import jax


def enable_x64() -> None:
    """Let JAX compute in float64. Harmless if it already does."""
    jax.config.update("jax_enable_x64", True)


def require_x64() -> None:
    """Refuse to go on in float32.

    Raises:
        ValueError: if JAX's 64-bit mode is off, in which case every float64 array would silently become
            float32.
    """
    if not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "jax_enable_x64 is False, but this search needs float64. It was on when jaxtract was imported and "
            "has been switched off since; call jax.config.update('jax_enable_x64', True) before the search."
        )
