"""A neuron's form from f around one point of its boundary: second differences over steps as long as the region allows.

On the boundary, f(x + v) + f(x - v) - 2 f(x) is the change of slope along v, whatever f does besides. Two queries for
each direction give the form up to a factor, as well as answers allow, whatever was lost on the way to the point. Its
normal is a combination of those of the neurons before that are on: few of them, few directions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb, fmpq

from jaxtract.geometry.distances import distances
from jaxtract.geometry.grid import ONE, GridVector, floats_to_grid
from jaxtract.geometry.rational_form import AnchoredForm, RationalForm, dot
from jaxtract.layers.any_depth.walk.transversal import Asked
from jaxtract.measurement.single_steps import SPARE_AXES, combination, telling_axes
from precision.balls import bits_in_use, quotient, steepest, to_float, vanishes
from precision.context import FEW_BITS, Number
from precision.estimates import NoFitError

SPENT_BITS = 8
"""A form that predicts a place only to so many bits more than what it is looked for in is measured again, ..."""

LOST = 64.0
"""... unless it was hardly better when the walk began: a neuron that hardly bends f is never known well."""

SHARE = 0.4
"""Steps go this far towards the nearest wall."""


@dataclasses.dataclass(frozen=True)
class Star:
    """Steps along the normal (the first one) and between the normal and axes, all crossing the boundary upwards.

    Attributes:
        asked: the middle, then every step to both sides.
        lengths: of the steps.
        axes: between which and the normal the others run.
        signs: of these axes, as the normal points.
        rows: that the form's normal is a combination of, (rows, inputs).
    """

    asked: Asked
    lengths: list[fmpq]
    axes: list[int]
    signs: list[int]
    rows: np.ndarray

    def form(self, answers: np.ndarray, off: np.ndarray) -> RationalForm | None:
        """The form up to a positive factor; None when f does not bend along the normal, or as no combination would.

        Args:
            answers: (points, outputs).
            off: by how much f may bend between the middle and the boundary (outputs,).
        """
        second = answers[1::2] + answers[2::2] - 2 * answers[0]
        o = steepest(second[0])
        slack = arb(0, abs(off[o]).upper() if isinstance(off[o], arb) else abs(off[o]))
        jumps = [(x + slack) / length for x, length in zip(second[:, o], self.lengths, strict=True)]
        if vanishes(jumps[0]):
            return None
        side = 1 if jumps[0] > 0 else -1
        normal: list[Number] = [side * sign * (x - jumps[0]) for sign, x in zip(self.signs, jumps[1:], strict=True)]
        if len(self.axes) < self.rows.shape[1]:
            try:
                normal = list(combination(self.rows, self.axes, normal))
            except NoFitError:
                return None
        if bits_in_use() < FEW_BITS:
            return AnchoredForm(normal, self.asked.base, slack)
        return RationalForm(normal, slack - quotient(dot(normal, self.asked.base), ONE))


def star_around(
    point: GridVector,
    normal: np.ndarray,
    walls: Sequence[tuple[np.ndarray, np.ndarray]],
    rows: np.ndarray,
    shorter: int,
) -> Star:
    """Steps around a point on the boundary with this normal, 2^-shorter as long as the known walls allow.

    ``rows``: (rows, inputs), of which the normal is a combination; where they are few, few axes tell it.
    """
    x = np.array([v / ONE for v in point])
    few = len(rows) > 0 and len(rows) + SPARE_AXES < len(normal)
    axes = telling_axes(rows) if few else list(range(len(normal)))
    signs = np.where(normal >= 0, 1.0, -1.0)[axes]
    units = np.eye(len(normal))[axes]
    directions = [normal, *(normal + sign * axis for sign, axis in zip(signs, units, strict=True))]
    lengths = [_power(SHARE * min(room(walls, x, v), 1.0) * 2.0**-shorter) for v in directions]
    steps = [
        [int(entry) for entry in (np.array(floats_to_grid(v), dtype=object) * int(length.p)) // int(length.q)]
        for v, length in zip(directions, lengths, strict=True)
    ]
    places = [(0, 0), *((k, side) for k in range(len(steps)) for side in (1, -1))]
    return Star(Asked(point, steps, places), lengths, axes, [int(s) for s in signs], rows)


def room(walls: Sequence[tuple[np.ndarray, np.ndarray]], point: np.ndarray, direction: np.ndarray) -> float:
    """How far the nearest known wall is along a direction, to either side, in units of the direction."""
    nearest = np.inf
    for matrix, offset in walls:
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.abs((matrix @ point + offset) / (matrix @ direction))
        nearest = min(nearest, float(np.min(distance[np.isfinite(distance)], initial=np.inf)))
    return nearest


def roughness(form: RationalForm) -> float:
    """The largest error of an entry of the normal over the largest entry; infinite where all are zero."""
    size = max(abs(to_float(n)) for n in form.normal)
    largest_error = max((float(n.rad()) for n in form.normal if isinstance(n, arb)), default=0.0)
    return largest_error / size if size > 0 else np.inf


def roughest(start: RationalForm) -> float:
    """Where a walk that began with a form must measure it again."""
    bits = bits_in_use()
    spent = distances().beside + SPENT_BITS + (distances().beyond if bits >= FEW_BITS else 0)
    return max(2.0**-spent, LOST * roughness(start))


def common_ratio(left: Sequence[Number], right: Sequence[Number]) -> Number | None:
    """The factor with left = factor * right, from the entry that tells it best; None when there is none."""
    factors = [a / b for a, b in zip(left, right, strict=True) if not vanishes(b) and not vanishes(a)]
    if not factors:
        return None
    best = min(factors, key=_relative_error)
    return None if any(a != best * b for a, b in zip(left, right, strict=True)) else best


def _relative_error(factor: Number) -> Number:
    return factor.rad() / abs(factor).mid() if isinstance(factor, arb) else fmpq(0)


def _power(length: float) -> fmpq:
    """The power of two below a length."""
    exponent = int(np.floor(np.log2(max(length, 2.0**-60))))
    return fmpq(1 << exponent) if exponent >= 0 else fmpq(1, 1 << -exponent)
