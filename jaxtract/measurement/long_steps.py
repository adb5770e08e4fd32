"""Steps as long as a region allows, where every bit of an answer counts and the region is not known.

Along a random direction of signs a neuron changes by about the length of its row, along one coordinate by one entry of
it. So where f is straight along a few such directions, as far as the rounding shows, steps along coordinates are
safe that are somewhat longer still, and a difference is asked once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flint import fmpq, fmpz_mat

from jaxtract.oracle.points import points_on_line, rays, scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.dyadic import DyadicMatrix, floor_log2, power_of_two
from precision.rounded import RoundedContext

WIDE = 64
"""Inputs from which on an entry of a row is so much smaller than the row that steps can be made longer."""

REGIONS = 8
"""Regions that are looked at: those in which differences lose least."""

WAYS = 3
LENGTHS = (1, 0, -1, -2, -3, -4, -5, -7)
"""Directions, and lengths along them as powers of two of the region's width on the line."""

ROUNDINGS = 2
"""f is straight if three points agree to so many times the bound on the error of an answer."""

SAFE_BITS = 3
"""A step along a coordinate is sqrt(inputs) / 2^SAFE_BITS times what was straight along signs."""


def with_long_steps(
    asker: Asker, line: Line, profile: LineProfile, places: Sequence[tuple[fmpq, fmpq]]
) -> tuple[LineProfile, list[tuple[fmpq, fmpq]]]:
    """(position, step) for every region of a line, the steps longer in those where differences lose least.

    There f is asked at the position, too: in a difference of two answers much of their rounding is the same.
    Queries count as ``measure``; all is as it was where the rounding of the black box was not measured.
    """
    context, found, pieces = asker.context, list(places), list(profile.pieces)
    if not isinstance(context, RoundedContext) or context.error_unit is None:
        return profile, found
    longer = floor_log2(fmpq(len(line.base))) // 2 - SAFE_BITS
    chosen = sorted(range(len(places)), key=lambda i: (1 + abs(places[i][0])) / places[i][1])[:REGIONS]
    bases = points_on_line(line.base, line.direction, [places[i][0] for i in chosen])
    units = [places[i][1] * power_of_two(context.step_bits) for i in chosen]
    repeated = DyadicMatrix(fmpz_mat([row for row in bases.mantissa.tolist() for _ in LENGTHS]), bases.exponent)
    lengths = [unit * power_of_two(bits) for unit in units for bits in LENGTHS]
    answers = asker.ask(rays(repeated, _signs(line), lengths), "measure")
    answers = answers.reshape(len(chosen), len(LENGTHS), WAYS, 2, -1)
    farthest = [max(abs(x) for x in row) for row in bases.rows()]
    values = asker.ask(scattered(bases), "measure")
    for i, unit, size, around, value in zip(chosen, units, farthest, answers, values, strict=True):
        bounds = [
            context.number(ROUNDINGS * context.error_unit * (1 + size + unit * power_of_two(bits))) for bits in LENGTHS
        ]
        straight = [
            all(abs(x) <= bound for x in (ways.sum(axis=1) - 2 * value).ravel())
            for ways, bound in zip(around, bounds, strict=True)
        ]
        first = next((k for k in range(len(LENGTHS)) if all(straight[k:])), None)
        if first is not None:
            found[i] = places[i][0], unit * power_of_two(LENGTHS[first] + longer)
            pieces[i] = dataclasses.replace(pieces[i], position=places[i][0], value=value)
    return dataclasses.replace(profile, pieces=tuple(pieces)), found


def _signs(line: Line) -> DyadicMatrix:
    """``WAYS`` directions of signs, each followed by its opposite, from digits of the line's random direction."""
    ways = [[1 if int(x.p) >> (2 + k) & 1 else -1 for x in line.direction] for k in range(WAYS)]
    return DyadicMatrix(fmpz_mat([[sign * x for x in way] for way in ways for sign in (1, -1)]), 0)
