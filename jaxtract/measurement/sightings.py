"""Hyperplanes that were seen on several lines, each as well as its line showed it: which are the same, which is best.

Where answers are rough a hyperplane between two narrow regions is known to a few bits, or is two that were taken for
one. On another line its regions are wider.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from jaxtract.measurement.affine_pieces import AffinePiece
from jaxtract.measurement.ridge_form import Ridge, RidgeForm
from precision.balls import to_float
from precision.context import Context
from precision.rounded import RoundedContext

ERRORS = 4.0
"""Rows that differ by so many times their errors are two."""

LEAST, MOST = 2.0**-10, 0.25
"""Limits of that difference, for rows of length one."""


@dataclasses.dataclass
class Sightings:
    """Ridges as they were measured, and the errors of their rows for rows of length one."""

    ridges: list[Ridge] = dataclasses.field(default_factory=list)
    errors: list[float] = dataclasses.field(default_factory=list)

    def add(self, ridges: Sequence[Ridge], errors: Sequence[float]) -> None:
        """Those of one more line; ``errors`` of their jumps, for rows of length one."""
        self.ridges.extend(ridges)
        self.errors.extend(errors)

    def distinct(self, form: RidgeForm) -> RidgeForm:
        """A form with every hyperplane once, as it was seen best; its outer weights are still to be fitted."""
        rows = np.array([[to_float_of(form.context, x) for x in (*r.normal, r.bias)] for r in self.ridges])
        kept: list[int] = []
        for k in np.argsort(self.errors, kind="stable").tolist():
            if not any(self._same(rows[k], rows[other], k, other) for other in kept):
                kept.append(k)
        return RidgeForm(form.context, [self.ridges[k] for k in kept], form.matrix, form.constant)

    def _same(self, one: np.ndarray, two: np.ndarray, k: int, other: int) -> bool:
        allowed = min(MOST, max(LEAST, ERRORS * (self.errors[k] + self.errors[other])))
        # Rows are known up to their sign; biases as well as the rows, times the distance at which they were seen.
        away = min(float(np.linalg.norm(one[:-1] - side * two[:-1])) for side in (1, -1))
        side = 1 if one[:-1] @ two[:-1] > 0 else -1
        beside = abs(one[-1] - side * two[-1]) / (1 + min(abs(one[-1]), abs(two[-1])))
        return max(away, beside) <= allowed


def jump_errors(context: Context, pieces: Sequence[AffinePiece], left_out: Sequence[int]) -> list[float]:
    """Errors of the rows between neighbouring pieces, for rows of length one; without the kinks ``left_out``."""
    assert isinstance(context, RoundedContext) and context.error_unit is not None
    unit, found = to_float(context.error_unit), []
    for k, (left, right) in enumerate(itertools.pairwise(pieces)):
        if k in left_out:
            continue
        jump = np.array([to_float_of(context, x) for x in (right.gradient - left.gradient).ravel()])
        both = [_error(unit, piece) for piece in (left, right)]
        found.append(float(np.hypot(*both) * np.sqrt(len(jump)) / np.linalg.norm(jump)))
    return found


def to_float_of(context: Context, value: object) -> float:
    """A number of the context as the nearest double."""
    return to_float(context.rational(value))


def _error(unit: float, piece: AffinePiece) -> float:
    assert piece.place is not None, "measured by differences"
    base, step = piece.place
    return 2 * unit * (1 + to_float(max(abs(x) for x in base))) / to_float(step)
