"""Is f a network of one hidden layer? A few kinks of the first line tell before any gradient is paid for.

In the plane of the line and a random direction the boundary of a first-layer neuron is one straight line. Two
directional derivatives give its slope there; a network of one hidden layer bends on it at any distance, on both
sides. A deeper neuron's boundary has bent away long before (Rolnick and Koerding 2020, section 4.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.measurement.balls import measured_profile, measuring
from jaxtract.oracle.points import points_on_line, scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from jaxtract.search.random_lines import DIRECTION_BITS, ROUGH_DIRECTION_BITS, position_bits
from precision.balls import BallContext, middle, radius
from precision.dyadic import dyadic_matrix, floor_log2, power_of_two, round_to_grid
from precision.rounded import RoundedContext

FAR = (fmpq(64), fmpq(32), fmpq(16), fmpq(8), fmpq(4), fmpq(2))
"""How far out in the random direction a boundary is looked for, in units of 1 + the largest kink position.

The first, and where it is not met there, or where answers are rough, the farthest at which errors leave no doubt.
"""

ROUGH_SHARE, ROUGH_FEWEST = 0.4, 2
"""There f has more than one hidden layer if so many of the kinks tested, and so large a share of them, bend."""

ROUGH_BESIDE_BITS = 3
"""There it is looked for within 2^-3 of 1 + the position of the kink."""

GRID_BITS = 400


@dataclasses.dataclass(frozen=True)
class _Boundary:
    """t = position - slope * s in the plane; ``gap`` is the distance to the nearest other kink on the line.

    ``bend``: by how much the slope of f along the line changes there. ``errors``: of position and slope, zero where
    answers are exact.
    """

    position: fmpq
    slope: fmpq
    gap: fmpq
    bend: fmpq
    errors: tuple[fmpq, fmpq]

    @property
    def unit(self) -> fmpq:
        return 1 + fmpq(abs(self.position).ceil())


def bent(answers: np.ndarray) -> bool:
    """Whether f at three points at equal distances on a line, (3, outputs), is not affine there."""
    return any(x != 0 for x in answers[0] + answers[2] - 2 * answers[1])


def bends(asker: Asker, line: Line, profile: LineProfile, rng: np.random.Generator, *, kinks: int = 4) -> bool:
    """Whether some kink of a line is not a hyperplane: f then has more than one hidden layer.

    Eight queries a kink, counted as ``measure``. False does not prove anything.

    Args:
        asker: a black box whose answers are exact or rounded to many bits.
        line: where the profile was taken.
        profile: its pieces and kinks.
        rng: chooses the kinks and the direction.
        kinks: how many to test.
    """
    if not profile.kinks or len(line.base) < 2:
        return False
    measurer = measuring(asker)
    with measurer.context.working():
        return _bends(measurer, line, measured_profile(measurer, profile), rng, kinks)


def _bends(asker: Asker, line: Line, profile: LineProfile, rng: np.random.Generator, kinks: int) -> bool:
    chosen = sorted(k for k in rng.permutation(len(profile.kinks))[:kinks].tolist() if _single(asker, profile, k))
    size = 1 << (DIRECTION_BITS - 1)
    size = size if asker.context.point_bits is None else 1 << (ROUGH_DIRECTION_BITS - 1)
    across = [fmpq(int(x), size) for x in rng.integers(-size, size, size=len(line.base), endpoint=True)]
    boundaries = _boundaries(asker, line, profile, chosen, across)
    if not boundaries:
        return False
    if not asker.context.rough:
        met = _straight_far_out(asker, line, across, boundaries, [FAR[0]] * len(boundaries))
        boundaries = [boundary for boundary, found in zip(boundaries, met, strict=True) if not found]
    far = [_far(asker, line, boundary) for boundary in boundaries]
    if not asker.context.rough and FAR[0] in far:
        return True
    doubtful = [(boundary, share) for boundary, share in zip(boundaries, far, strict=True) if share]
    straight = _straight_far_out(asker, line, across, *zip(*doubtful, strict=True)) if doubtful else []
    if not asker.context.rough:
        return not all(straight)
    # A kink among rough answers may be two that were taken for one, whose boundary is nowhere.
    return straight.count(False) >= max(ROUGH_SHARE * len(straight), ROUGH_FEWEST)


def _single(asker: Asker, profile: LineProfile, kink: int) -> bool:
    """Whether a kink is one, and not several that were too near to be told apart."""
    position = asker.context.rational(profile.kinks[kink])
    return not any(cluster.left <= position <= cluster.right for cluster in profile.clusters)


def _boundaries(
    asker: Asker, line: Line, profile: LineProfile, chosen: list[int], across: list[fmpq]
) -> list[_Boundary]:
    """Slopes of the chosen kinks' boundaries; kinks where outputs disagree (two neurons at once) are left out."""
    pieces = sorted({k + side for k in chosen for side in (0, 1)})
    places = [inside_piece(asker.context, profile, i) for i in pieces]
    bases = points_on_line(line.base, line.direction, [position for position, _ in places]).rows()
    moved = [
        [x + step * u for x, u in zip(row, across, strict=True)] for row, (_, step) in zip(bases, places, strict=True)
    ]
    answers = asker.ask(scattered(dyadic_matrix(moved, len(line.base))), "measure")
    derivative = {
        i: (answer - profile.pieces[i].on(asker.context, position)) / step
        for i, answer, (position, step) in zip(pieces, answers, places, strict=True)
    }
    found = []
    for k in chosen:
        along = profile.pieces[k + 1].slope - profile.pieces[k].slope
        beside = derivative[k + 1] - derivative[k]
        o = max(range(len(along)), key=lambda j: abs(along[j]))
        slope = beside[o] / along[o]
        if not any(beside != along * slope):
            here, *near = (middle(profile.kinks[j]) for j in (k, k - 1, k + 1) if 0 <= j < len(profile.kinks))
            gaps = [abs(there - here) for there in near]
            gap, errors = min(gaps, default=fmpq(1)), (radius(profile.kinks[k]), radius(slope))
            found.append(_Boundary(here, middle(slope), gap, abs(middle(along[o])), errors))
    return found


def _beside(asker: Asker, boundary: _Boundary) -> fmpq:
    """How far from a boundary it is looked for."""
    if asker.context.rough:
        return power_of_two(floor_log2(boundary.unit) - ROUGH_BESIDE_BITS)
    return power_of_two(min(-asker.context.beside_bits, floor_log2(boundary.gap) - 6))


def _far(asker: Asker, line: Line, boundary: _Boundary) -> fmpq:
    """The farthest place at which a straight boundary would certainly show, 0 if none does."""
    context, beside = asker.context, _beside(asker, boundary)
    rounded = context.rounded if isinstance(context, BallContext) else None
    unit = rounded.error_unit if isinstance(rounded, RoundedContext) else None
    for share in FAR:
        s = share * boundary.unit
        reach = _reach(line, boundary.position - boundary.slope * s, s)
        error = boundary.errors[0] + boundary.errors[1] * s
        if 4 * error < beside and 16 * (unit or 0) * (1 + reach) < boundary.bend * beside:
            return share
    return fmpq(0)


def _reach(line: Line, t: fmpq, s: fmpq) -> fmpq:
    """The largest coordinate, at most, of the place t along the line and s across."""
    return max(abs(x) for x in line.base) + abs(t) + abs(s)


def _straight_far_out(
    asker: Asker, line: Line, across: list[fmpq], boundaries: Sequence[_Boundary], far: Sequence[fmpq]
) -> list[bool]:
    """For every boundary: is there a kink on its straight continuation, so far out on both sides?"""
    rows = []
    for boundary, share in zip(boundaries, far, strict=True):
        beside = _beside(asker, boundary)
        for s in (share * boundary.unit, -share * boundary.unit):
            t = boundary.position - boundary.slope * s
            if asker.context.point_bits is None:
                t = round_to_grid(t, GRID_BITS - floor_log2(beside))
            else:
                t = round_to_grid(t, position_bits(asker.context.point_bits, ROUGH_DIRECTION_BITS, _reach(line, t, s)))
            for step in (-beside, fmpq(0), beside):
                rows.append(
                    [p + (t + step) * v + s * u for p, v, u in zip(line.base, line.direction, across, strict=True)]
                )
    answers = asker.ask(scattered(dyadic_matrix(rows, len(line.base))), "measure")
    answers = answers.reshape(len(boundaries), 2, 3, -1)
    return [all(bent(three) for three in sides) for sides in answers]
