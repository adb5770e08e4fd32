"""Answers and profiles of rounded contexts as balls: from here on every number carries its own bound."""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import arb

from jaxtract.oracle.counting import Purpose
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import LineProfile
from precision.balls import BallContext
from precision.context import Context
from precision.kink import Piece, meeting_of
from precision.rounded import RoundedContext

SUMMED_TERMS = 4
"""An answer is rounded from terms that may be this much larger than the answers seen around it."""


class BallAsker:
    """The black box with answers as balls, as wide as answers are rounded.

    The terms that an answer is summed from grow like 1 + |x|. Where the rounding of the black box was not measured,
    their size is read off the answers seen so far.
    """

    def __init__(self, plain: Asker, rounded: RoundedContext):
        self.plain = plain
        self.balls = BallContext(rounded)
        self.context: Context = self.balls
        self._scale = arb(0)

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        answers = self.plain.ask(points, purpose)
        sizes = 1 + np.max(np.abs(points.to_float64()), axis=1, initial=0.0)
        rational = self.balls.rounded.rational
        middles = np.empty(answers.shape, dtype=object)
        middles.ravel()[:] = [arb(rational(x)) for x in answers.ravel()]
        for row, size in zip(middles, sizes, strict=True):
            self._scale = max(self._scale, *(abs(x).mid() / size for x in row))
        out = np.empty(answers.shape, dtype=object)
        unit = self.balls.rounded.error_unit
        bound = self.context.noise(self._scale * SUMMED_TERMS) if unit is None else arb(unit)
        for i, size in enumerate(sizes):
            out[i] = [arb(x, bound * size) for x in middles[i]]
        return out


def measuring(asker: Asker) -> Asker:
    """The same black box for measuring: exact as it is, rounded with balls."""
    return BallAsker(asker, asker.context) if isinstance(asker.context, RoundedContext) else asker


def searching(asker: Asker) -> Asker:
    """The black box as the line search wants it, which keeps its own account of errors."""
    return asker.plain if isinstance(asker, BallAsker) else asker


def measured_profile(asker: Asker, profile: LineProfile) -> LineProfile:
    """A profile with its pieces and kinks as balls; as it is where answers are exact."""
    if not isinstance(asker, BallAsker):
        return profile
    balls, rounded = asker.balls, asker.balls.rounded
    pieces = [_measured_piece(balls, rounded, piece) for piece in profile.pieces]
    kinks = []
    for number, left, right in zip(profile.kinks, profile.pieces, profile.pieces[1:], strict=False):
        meeting = meeting_of(rounded, left, right)
        # A kink that its pieces do not show was put somewhere inside an interval that could not be split.
        error = abs(left.position - right.position) if meeting is None else meeting.error
        spread = rounded.number(error) + (0 if meeting is None else abs(meeting.number - number))
        kinks.append(balls.measured(number, spread))
    return dataclasses.replace(profile, pieces=tuple(pieces), kinks=tuple(kinks))


def _measured_piece(balls: BallContext, rounded: RoundedContext, piece: Piece) -> Piece:
    value, slope = np.empty_like(piece.value), np.empty_like(piece.slope)
    value[:] = [balls.measured(x, piece.noise) for x in piece.value]
    slope[:] = [balls.measured(x, piece.slope_error(rounded)) for x in piece.slope]
    return Piece(piece.position, value, slope, piece.baseline, arb(0))
