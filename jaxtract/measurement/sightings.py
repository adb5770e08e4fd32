"""Hyperplanes that were seen on several lines, each as well as its line showed it: which are the same, which is best.

Where answers are rough a hyperplane between two narrow regions is known to a few bits, or is two that were taken for
one. On another line its regions are wider, and two that were taken for one are not that one again.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
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

MANY_LINES, SEEN_TWICE = 3, 2
"""From so many lines on, a hyperplane must have been seen on so many of them."""


@dataclasses.dataclass
class Sightings:
    """Ridges as they were measured on ``lines`` lines so far, and the errors of their rows for rows of length one."""

    lines: int = 0
    ridges: list[Ridge] = dataclasses.field(default_factory=list)
    errors: list[float] = dataclasses.field(default_factory=list)
    line_of: list[int] = dataclasses.field(default_factory=list)

    def add(self, ridges: Sequence[Ridge], errors: Sequence[float]) -> None:
        """Those of one more line, and the errors of their rows, for rows of length one."""
        self.ridges.extend(ridges)
        self.errors.extend(errors)
        self.line_of.extend([self.lines] * len(ridges))
        self.lines += 1

    def distinct(self, form: RidgeForm) -> RidgeForm:
        """A form with every hyperplane once, as it was seen best; its outer weights are still to be fitted."""
        rows = _rows(form.context, self.ridges)
        seen_on: dict[int, set[int]] = {}
        for k in np.argsort(self.errors, kind="stable").tolist():
            same = next((other for other in seen_on if self._same(rows, k, other)), k)
            seen_on.setdefault(same, set()).add(self.line_of[k])
        fewest = SEEN_TWICE if self.lines >= MANY_LINES else 1
        kept = [self.ridges[k] for k, lines in seen_on.items() if len(lines) >= fewest]
        return RidgeForm(form.context, kept, form.matrix, form.constant)

    def _same(self, rows: np.ndarray, k: int, other: int) -> bool:
        allowed = min(MOST, max(LEAST, ERRORS * (self.errors[k] + self.errors[other])))
        one, two = rows[k], rows[other]
        two = two if one[:-1] @ two[:-1] > 0 else -two  # rows are known up to their sign
        away = np.linalg.norm(one[:-1] - two[:-1])
        beside = abs(one[-1] - two[-1]) / (1 + min(abs(one[-1]), abs(two[-1])))
        return bool(max(away, beside) <= allowed)


def jump_errors(context: Context, pieces: Sequence[AffinePiece], left_out: Sequence[int]) -> list[float]:
    """Errors of the rows between neighbouring pieces, for rows of length one; without the kinks ``left_out``."""
    assert isinstance(context, RoundedContext) and context.error_unit is not None, "rough answers were measured"
    unit, found = to_float(context.error_unit), []
    for k, (left, right) in enumerate(itertools.pairwise(pieces)):
        if k in left_out:
            continue
        jump = np.array([to_float(context.rational(x)) for x in (right.gradient - left.gradient).ravel()])
        error = math.hypot(_error(unit, left), _error(unit, right))
        found.append(float(error * np.sqrt(len(jump)) / np.linalg.norm(jump)))
    return found


def _rows(context: Context, ridges: Sequence[Ridge]) -> np.ndarray:
    """(ridges, inputs + 1), rows of length one with their biases."""
    return np.array([[to_float(context.rational(x)) for x in (*ridge.normal, ridge.bias)] for ridge in ridges])


def _error(unit: float, piece: AffinePiece) -> float:
    assert piece.place is not None, "measured by differences"
    base, step = piece.place
    return 2 * unit * (1 + to_float(max(abs(x) for x in base))) / to_float(step)
