"""The affine pieces around a line where answers are as rough as those of float32.

Every entry of a gradient is a difference over as long a step as its region allows, to both sides, and every step was
seen to stay in its region. Nothing is taken over from the line, whose pieces are short.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq

from jaxtract.measurement.affine_pieces import AffinePiece, inside_piece
from jaxtract.measurement.balls import measured_profile, measuring
from jaxtract.measurement.gradients import gradient_columns
from jaxtract.oracle.points import points_on_line, scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.balls import middle
from precision.dyadic import from_float
from precision.context import Context
from precision.rounded import RoundedContext


def rough_pieces(asker: Asker, line: Line, profile: LineProfile) -> Iterator[AffinePiece]:
    """The pieces from left to right; as ``measure_pieces``, for about twice the queries. Queries count as ``measure``."""
    context, measurer = asker.context, measuring(asker)
    every = range(len(profile.pieces))
    positions = [inside_piece(context, profile, i)[0] for i in every]
    bases = points_on_line(line.base, line.direction, positions)
    with measurer.context.working():
        columns = gradient_columns(measurer, line, measured_profile(measurer, profile), every, range(len(line.base)))
        values = asker.ask(scattered(bases), "measure")
        for value, gradient, base in zip(values, columns, bases.rows(), strict=True):
            slopes = _numbers(context, gradient)
            yield AffinePiece(slopes, value - slopes @ context.array(base), (base, _step(context, gradient, base)))


def _step(context: Context, gradient: np.ndarray, base: list[fmpq]) -> fmpq:
    """The step, or the shortest of them, over which answers had to be asked for errors as large as these."""
    assert isinstance(context, RoundedContext)
    unit = context.error_unit or from_float(0.0)
    worst = max(float(x.rad()) for x in gradient.ravel())
    return 2 * unit * (1 + max(abs(x) for x in base)) / from_float(worst)


def _numbers(context: Context, values: np.ndarray) -> np.ndarray:
    out = np.empty(values.shape, dtype=object)
    out.ravel()[:] = [context.number(fmpq(middle(x))) for x in values.ravel()]
    return out
