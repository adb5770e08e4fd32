"""Places on the boundary of a known neuron, and just beside it: found in float64, then put there exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from flint import fmpz_mat

from jaxtract.geometry.distances import distances
from jaxtract.geometry.grid import ONE, GridVector, floats_to_grid
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.geometry.rational_form import RationalForm
from precision.balls import quotient

BESIDE_BITS = 120
"""Places beside a boundary are this near to it."""


@dataclasses.dataclass(frozen=True)
class BoundaryPlace:
    """A point where a known neuron is zero to the grid, and a short step square to its boundary, towards z > 0."""

    point: GridVector
    step: GridVector

    def beside(self, side: int) -> GridVector:
        """The point one step off the boundary, on the side z > 0 or z < 0."""
        return [x + side * s for x, s in zip(self.point, self.step, strict=True)]


def put_on_boundary(
    layers: KnownLayers, level: int, neuron: int, points: np.ndarray, *, bits: int = BESIDE_BITS
) -> Iterator[BoundaryPlace]:
    """Points (count, inputs) near the boundary of neuron ``neuron`` of layer ``level`` (from 0), put onto it."""
    for point in points:
        grid = floats_to_grid(point, 52)
        pattern = layers.pattern(fmpz_mat(1, len(grid), grid), [ONE])[0]
        exact = layers.form(level, neuron, pattern)
        form = RationalForm([quotient(n, 1) for n in exact.normal], quotient(exact.offset, 1))
        if any(n != 0 for n in form.normal):
            near = bits if layers.exact else min(bits, distances().off_boundary)
            step = [x >> near for x in floats_to_grid(form.normal64())]
            yield BoundaryPlace(form.put_onto(grid), step)
