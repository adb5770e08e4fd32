"""Random lines with short dyadic coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from jaxtract.search.lines import Line
from precision.dyadic import DyadicMatrix, floor_log2, round_to_grid

DIRECTION_BITS = 24
"""Bits of a direction's entries: enough that no integer weight vector is orthogonal to it by accident."""

BASE_BITS = 16

ROUGH_DIRECTION_BITS, ROUGH_BASE_BITS = 8, 10
"""The same for points of few bits: most of them are left to positions on the line."""


def random_line(
    inputs: int, rng: np.random.Generator, base: Sequence[fmpq] | None = None, *, point_bits: int | None = None
) -> Line:
    """A line in a uniformly random direction of the cube, through ``base`` or a Gaussian point.

    With ``point_bits``, significand bits of a coordinate, there are points with so few on it (``position_bits``).
    """
    size = 1 << ((DIRECTION_BITS if point_bits is None else ROUGH_DIRECTION_BITS) - 1)
    pivot = int(rng.integers(inputs))
    direction = [fmpq(int(x), size) for x in rng.integers(-size, size, size=inputs, endpoint=True)]
    direction[pivot] = fmpq(1)
    if base is None:
        base = gaussian_points(1, inputs, 0, rng).rows()[0]
    if point_bits is not None:
        base = [round_to_grid(x, ROUGH_BASE_BITS) for x in base]
    return Line(tuple(base), tuple(direction), pivot)


def position_bits(point_bits: int, direction_exponent: int, farthest: fmpq) -> int:
    """The finest grid of positions on a line, in bits, whose points have at most ``point_bits`` significand bits.

    As far as coordinates are of modulus ``farthest``; the entries of the direction are on the grid
    2^-``direction_exponent``.
    """
    return point_bits - 1 - floor_log2(1 + farthest) - direction_exponent


def gaussian_points(count: int, inputs: int, scale: int, rng: np.random.Generator) -> DyadicMatrix:
    """``count`` Gaussian points times 2^scale, on the grid 2^(scale - BASE_BITS); shape (count, inputs)."""
    mantissas = np.rint(rng.standard_normal((count, inputs)) * (1 << BASE_BITS)).astype(np.int64)
    return DyadicMatrix(fmpz_mat(count, inputs, mantissas.ravel().tolist()), BASE_BITS - scale)
