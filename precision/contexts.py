"""The number systems by name."""

from __future__ import annotations

from precision.context import Context
from precision.exact import ExactContext
from precision.rounded import float64, mp


def context_named(name: str, prec: int) -> Context:
    """``exact``, ``mp`` (a result of ``prec`` bits) or ``float64``.

    Raises:
        ValueError: another name, or too few bits for mp.
    """
    match name:
        case "exact":
            return ExactContext()
        case "mp":
            return mp(prec)
        case "float64":
            return float64()
    raise ValueError(f"no context named {name!r}; there are exact, mp and float64")
