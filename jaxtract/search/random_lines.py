"""Random lines with short dyadic coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from jaxtract.search.lines import Line
from precision.dyadic import DyadicMatrix

DIRECTION_BITS = 24
"""Bits of a direction's entries: enough that no integer weight vector is orthogonal to it by accident."""

BASE_BITS = 16


def random_line(inputs: int, rng: np.random.Generator, base: Sequence[fmpq] | None = None) -> Line:
    """A line in a uniformly random direction of the cube, through ``base`` or a Gaussian point."""
    size = 1 << (DIRECTION_BITS - 1)
    pivot = int(rng.integers(inputs))
    direction = [fmpq(int(x), size) for x in rng.integers(-size, size, size=inputs, endpoint=True)]
    direction[pivot] = fmpq(1)
    if base is None:
        base = gaussian_points(1, inputs, 0, rng).rows()[0]
    return Line(tuple(base), tuple(direction), pivot)


def gaussian_points(count: int, inputs: int, scale: int, rng: np.random.Generator) -> DyadicMatrix:
    """``count`` Gaussian points times 2^scale, on the grid 2^(scale - BASE_BITS); shape (count, inputs)."""
    mantissas = np.rint(rng.standard_normal((count, inputs)) * (1 << BASE_BITS)).astype(np.int64)
    return DyadicMatrix(fmpz_mat(count, inputs, mantissas.ravel().tolist()), BASE_BITS - scale)
