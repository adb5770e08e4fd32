"""What a line search returns: the affine pieces and kinks of f along one line."""

from __future__ import annotations

import dataclasses

from flint import fmpq

from precision.context import Number
from precision.kink import Piece


@dataclasses.dataclass(frozen=True)
class Line:
    """The line base + t direction; ``direction[pivot]`` is 1, so that dividing by it keeps numbers short."""

    base: tuple[fmpq, ...]
    direction: tuple[fmpq, ...]
    pivot: int


@dataclasses.dataclass(frozen=True)
class Cluster:
    """An interval that holds more than one kink and could not be split further."""

    left: fmpq
    right: fmpq


@dataclasses.dataclass(frozen=True)
class LineProfile:
    """g(t) = f(p + t v) on the whole line, as far as it was searched.

    ``kinks[i]`` (a number of the context) separates ``pieces[i]`` from ``pieces[i + 1]``; beyond
    2^``reach_bits`` in both directions the outer pieces were seen to go on.
    """

    pieces: tuple[Piece, ...]
    kinks: tuple[Number, ...]
    clusters: tuple[Cluster, ...]
    reach_bits: int
