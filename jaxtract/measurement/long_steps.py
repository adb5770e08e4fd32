"""Steps as long as a region allows, where every bit of an answer counts and the region is not known.

Along a random direction of signs a neuron changes by about the length of its row, along one coordinate by one entry of
it. So where f is straight along a few such directions, as far as the rounding shows, steps along coordinates are
safe that are somewhat longer still, and a difference is asked once.
"""

from __future__ import annotations

from collections.abc import Sequence

from flint import fmpq, fmpz_mat

from jaxtract.oracle.points import points_on_line, rays
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.dyadic import DyadicMatrix, floor_log2, power_of_two
from precision.rounded import RoundedContext

WIDE = 64
"""Inputs from which on an entry of a row is so much smaller than the row that steps can be made longer."""

REGIONS = 8
"""Regions that are looked at: those in which differences lose least."""

WAYS = 3
LENGTHS = (1, -1, -3, -5, -7)
"""Directions, and lengths along them as powers of two of the region's width on the line."""

ROUNDINGS = 4
"""f is straight if three points agree to so many times the bound on the error of an answer."""

SAFE_BITS = 3
"""A step along a coordinate is sqrt(inputs) / 2^SAFE_BITS times what was straight along signs."""


def with_long_steps(
    asker: Asker, line: Line, profile: LineProfile, places: Sequence[tuple[fmpq, fmpq]]
) -> list[tuple[fmpq, fmpq]]:
    """(position, step) for every region of a line, the steps longer in those where differences lose least.

    Queries count as ``measure``; as it was where the rounding of the black box was not measured.
    """
    context, found = asker.context, list(places)
    if not isinstance(context, RoundedContext) or context.error_unit is None:
        return found
    longer = floor_log2(fmpq(len(line.base))) // 2 - SAFE_BITS
    chosen = sorted(range(len(places)), key=lambda i: (1 + abs(places[i][0])) / places[i][1])[:REGIONS]
    bases = points_on_line(line.base, line.direction, [places[i][0] for i in chosen])
    units = [places[i][1] * power_of_two(context.step_bits) for i in chosen]
    repeated = DyadicMatrix(fmpz_mat([row for row in bases.mantissa.tolist() for _ in LENGTHS]), bases.exponent)
    lengths = [unit * power_of_two(bits) for unit in units for bits in LENGTHS]
    answers = asker.ask(rays(repeated, _signs(line), lengths), "measure")
    answers = answers.reshape(len(chosen), len(LENGTHS), WAYS, 2, -1)
    farthest = [max(abs(x) for x in row) for row in bases.rows()]
    for i, unit, size, around in zip(chosen, units, farthest, answers, strict=True):
        value = profile.pieces[i].on(context, places[i][0])
        bounds = [
            context.number(ROUNDINGS * context.error_unit * (1 + size + unit * power_of_two(bits))) for bits in LENGTHS
        ]
        straight = [
            all(abs(x) <= bound for x in (ways.sum(axis=1) - 2 * value).ravel())
            for ways, bound in zip(around, bounds, strict=True)
        ]
        longest = next((bits for k, bits in enumerate(LENGTHS) if all(straight[k:])), None)
        if longest is not None:
            found[i] = places[i][0], unit * power_of_two(longest + longer)
    return found


def _signs(line: Line) -> DyadicMatrix:
    """``WAYS`` directions of signs, each followed by its opposite, from digits of the line's random direction."""
    ways = [[1 if int(x.p) >> (2 + k) & 1 else -1 for x in line.direction] for k in range(WAYS)]
    return DyadicMatrix(fmpz_mat([[sign * x for x in way] for way in ways for sign in (1, -1)]), 0)
