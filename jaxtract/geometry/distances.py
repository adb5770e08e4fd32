"""How near to a boundary rounded answers are asked: every bit of distance is one that a difference loses."""

from __future__ import annotations

import dataclasses

from precision.balls import bits_in_use
from precision.context import FEW_BITS


@dataclasses.dataclass(frozen=True)
class Distances:
    """Distances 2^-bits.

    Attributes:
        beyond: a transversal runs this far behind a crossed boundary ...
        beside: ... and asks this and twice as far away from the neuron's own boundary, on both sides. What it finds
            only has to predict the boundary deep inside the next region; it is measured again there.
        off_boundary: places just beside a known boundary.
        border_beside, border_close: the border of a disagreement is believed, and then shown, from so near.
    """

    beyond: int
    beside: int
    off_boundary: int
    border_beside: int
    border_close: int


MANY = Distances(beyond=34, beside=18, off_boundary=40, border_beside=30, border_close=32)
FEW = Distances(beyond=20, beside=12, off_boundary=12, border_beside=12, border_close=14)
"""For answers of ``FEW_FITS`` bits, and for fewer in proportion."""

FEW_FITS = 46


def distances() -> Distances:
    """For balls at the precision in use."""
    bits = bits_in_use()
    if bits >= FEW_BITS:
        return MANY
    share = min(1.0, bits / FEW_FITS)
    return Distances(*(max(2, int(share * x)) for x in dataclasses.astuple(FEW)))
