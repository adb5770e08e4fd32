"""Query points as integer vectors on one fine grid.

Points are free to choose: they are rounded to the grid 2^-GRID_BITS as soon as they are made, so that numbers
stay short however long a walk gets. Results are never rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from precision.dyadic import DyadicMatrix

GRID_BITS = 256
"""Fractional bits of a coordinate."""

ONE = 1 << GRID_BITS

GridVector = list[int]
"""Coordinates (or direction entries) in units of 2^-GRID_BITS."""


def to_grid(values: Sequence[fmpq]) -> GridVector:
    """Nearest grid vector."""
    return [round_fraction(value) for value in values]


def round_fraction(value: fmpq) -> int:
    """``value`` in grid units, rounded."""
    scaled = value * ONE
    return int((2 * scaled.p + scaled.q) // (2 * scaled.q))


def floats_to_grid(values: np.ndarray, bits: int = 40) -> GridVector:
    """A float vector, kept to 2^-bits of its largest entry."""
    size = float(np.max(np.abs(values)))
    unit = 2.0 ** (np.floor(np.log2(size)) + 1 - bits) if size > 0 else 1.0
    shift = GRID_BITS + int(np.log2(unit))
    return [shifted(int(x), shift) for x in np.rint(values / unit)]


def shifted(value: int, bits: int) -> int:
    """value * 2^bits, rounded down."""
    return value << bits if bits >= 0 else value >> -bits


def to_floats(vector: GridVector) -> np.ndarray:
    return np.array([x / ONE for x in vector])


def grid_matrix(vectors: Sequence[GridVector], columns: int) -> DyadicMatrix:
    """Grid vectors as the rows of a dyadic matrix."""
    return DyadicMatrix(fmpz_mat(len(vectors), columns, [x for row in vectors for x in row]), GRID_BITS)
