"""The affine pieces around a line where answers are as rough as those of float32.

Every entry of a gradient is a difference over as long a step as its region allows, to both sides, and every step was
seen to stay in its region. Nothing is taken over from the line, whose pieces are short.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq

from jaxtract.measurement.affine_pieces import AffinePiece, inside_piece
from jaxtract.measurement.balls import measuring
from jaxtract.measurement.gradients import by_long_steps
from jaxtract.oracle.points import points_on_line, scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from jaxtract.search.random_lines import position_bits
from precision.balls import middle
from precision.context import Context
from precision.dyadic import dyadic_matrix, from_float, round_to_grid
from precision.rounded import RoundedContext


def rough_pieces(asker: Asker, line: Line, profile: LineProfile) -> Iterator[AffinePiece]:
    """The pieces from left to right, as ``measure_pieces``, for about twice its queries; they count as ``measure``."""
    context, measurer = asker.context, measuring(asker)
    places = [_place(context, line, profile, i) for i in range(len(profile.pieces))]
    bases = points_on_line(line.base, line.direction, [position for position, _ in places])
    outputs = len(profile.pieces[0].value)
    with measurer.context.working():
        columns = by_long_steps(measurer, line, places, range(len(line.base)), outputs)
        values = asker.ask(scattered(bases), "measure")
        for value, gradient, base in zip(values, columns, bases.rows(), strict=True):
            slopes = _numbers(context, gradient)
            yield AffinePiece(slopes, value - slopes @ context.array(base), (base, _step(context, gradient, base)))


def _place(context: Context, line: Line, profile: LineProfile, index: int) -> tuple[fmpq, fmpq]:
    """(position, step) as ``inside_piece``, the position where its point has as few bits as points may have."""
    position, step = inside_piece(context, profile, index)
    if context.point_bits is None:
        return position, step
    exponent = dyadic_matrix([line.direction], len(line.base)).exponent
    farthest = max(abs(x) for x in line.base) + abs(position)
    placed = round_to_grid(position, position_bits(context.point_bits, exponent, farthest))
    inside = all(
        (context.rational(kink) < placed) == (context.rational(kink) < position)
        for kink in profile.kinks[max(0, index - 1) : index + 1]
    )
    return (placed, step) if inside else (position, step)


def _step(context: Context, gradient: np.ndarray, base: list[fmpq]) -> fmpq:
    """The step, or the shortest of them, over which answers had to be asked for errors as large as these."""
    assert isinstance(context, RoundedContext) and context.error_unit is not None, "rough answers were measured"
    worst = max(float(x.rad()) for x in gradient.ravel())
    return 2 * context.error_unit * (1 + max(abs(x) for x in base)) / from_float(worst)


def _numbers(context: Context, values: np.ndarray) -> np.ndarray:
    out = np.empty(values.shape, dtype=object)
    out.ravel()[:] = [context.number(fmpq(middle(x))) for x in values.ravel()]
    return out
