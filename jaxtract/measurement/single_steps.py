"""Whole gradients where every bit counts: steps to one side, checked by what is known, and mended where they fail.

A step to one side costs half of what two do, but does not show whether it left its region. The slope along the line
and, where the gradient must be a combination of known rows, a few entries more than there are rows show that for all of
them together. Where they disagree the other side is asked, too: three answers in line prove a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flint import arb, fmpq
from scipy.linalg import qr

from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.oracle.points import PointBatch, points_on_line, scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.balls import independent_sum, to_float
from precision.context import Number
from precision.dyadic import DyadicMatrix, dyadic_exponent, power_of_two
from precision.estimates import NoFitError, combined

SINGLE_BITS = 4
"""A step to one side only is this much shorter, in bits, than the region."""

SHORTER_BITS = 3
"""A step that left its region is tried again this much shorter."""

MOST_SHORTER = 3
"""Times that it is."""

SPARE_AXES = 2
"""Coordinates beyond those that tell a combination of known rows: they must agree with it."""

BROAD = 2.0**8
"""Coefficients of such a combination are at most about so many times its largest entry."""


def checked_gradients(
    asker: Asker,
    line: Line,
    profile: LineProfile,
    pieces: Sequence[int],
    known: Sequence[Mapping[int, np.ndarray]],
    spans: Sequence[Sequence[np.ndarray]] | None = None,
) -> dict[int, np.ndarray]:
    """Those of the gradients (outputs, inputs), by place in ``pieces``, that pass their checks.

    Queries count as ``measure``.

    Args:
        asker: answers between balls.
        line: runs along every coordinate, so that its slopes show all entries.
        profile: its pieces and kinks.
        pieces: regions.
        known: columns that are known, axis: (outputs,), per region.
        spans: per region, rows (rows, inputs) that the gradient may be a combination of, likelier ones first.
    """
    if not pieces:
        return {}
    inputs = len(line.base)
    slopes = [profile.pieces[piece].slope for piece in pieces]
    steps = _Steps(asker, line, profile, pieces, known)
    found: dict[int, np.ndarray] = {}
    fewer = [[rows for rows in own if len(rows) + SPARE_AXES < inputs - 1] for own in spans or [[]] * len(pieces)]
    for turn in range(max(map(len, fewer))):
        waiting = [i for i, own in enumerate(fewer) if i not in found and turn < len(own)]
        steps.ask([(i, k) for i in waiting for k in telling_axes(fewer[i][turn])])
        for mended in (False, True):
            waiting = [i for i in waiting if i not in found]
            if mended:
                steps.mend(waiting)
            for i in waiting:
                gradient = _spanned(fewer[i][turn], steps.entries[i])
                if gradient is not None and _has_slope(line, gradient, slopes[i]):
                    found[i] = gradient
    waiting = [i for i in range(len(pieces)) if i not in found]
    steps.ask([(i, k) for i in waiting for k in range(inputs)])
    for mended in (False, True):
        waiting = [i for i in waiting if i not in found]
        if mended:
            steps.mend(waiting)
        for i in waiting:
            if len(steps.entries[i]) == inputs:
                gradient = np.stack([steps.entries[i][k] for k in range(inputs)], axis=1)
                if _has_slope(line, gradient, slopes[i]):
                    found[i] = gradient
    return found


class _Steps:
    """Entries of gradients in regions of a line, by region and axis.

    Attributes:
        entries: (outputs,) per axis, as far as they are known.
        single: (region, axis): the answer a step away, where the other side was not asked.
    """

    def __init__(
        self,
        asker: Asker,
        line: Line,
        profile: LineProfile,
        pieces: Sequence[int],
        known: Sequence[Mapping[int, np.ndarray]],
    ):
        self.asker = asker
        unit = abs(line.direction[line.pivot]) * power_of_two(asker.context.step_bits - SINGLE_BITS)
        places = [inside_piece(asker.context, profile, i) for i in pieces]
        self.bases = points_on_line(line.base, line.direction, [position for position, _ in places])
        self.lengths = [step * unit for _, step in places]
        self.values = asker.ask(scattered(self.bases), "measure")
        self.entries = [dict(own) for own in known]
        self.single: dict[tuple[int, int], np.ndarray] = {}
        self._tried = {(i, k) for i, own in enumerate(known) for k in own}

    def ask(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Steps to one side, where nothing was asked before."""
        fresh = [key for key in wanted if key not in self._tried]
        self._tried.update(fresh)
        for (i, k), (answer,) in zip(fresh, self._answers(fresh, 0, (1,)), strict=True):
            self.single[i, k] = answer
            self.entries[i][k] = (answer - self.values[i]) * self.asker.context.number(1 / self.lengths[i])

    def mend(self, regions: Sequence[int]) -> None:
        """The other side, too; and both sides nearer where the three answers are not in line."""
        chosen = set(regions)
        doubtful = [key for key in self.single if key[0] in chosen]
        behind = [answer for (answer,) in self._answers(doubtful, 0, (-1,))]
        pairs = [(one, self.single.pop(key)) for key, one in zip(doubtful, behind, strict=True)]
        for shorter in range(MOST_SHORTER + 1):
            left = [key for key, pair in zip(doubtful, pairs, strict=True) if not self._in_line(key, *pair, shorter)]
            if not left or shorter == MOST_SHORTER:
                return
            doubtful = left
            pairs = [(one, other) for one, other in self._answers(doubtful, shorter + 1, (-1, 1))]

    def _in_line(self, key: tuple[int, int], behind: np.ndarray, before: np.ndarray, shorter: int) -> bool:
        """Keep an entry whose steps to both sides stayed in the region; forget it where they did not."""
        i, k = key
        if any(x != 0 for x in before + behind - 2 * self.values[i]):
            self.entries[i].pop(k, None)
            return False
        step = self.lengths[i] * power_of_two(-SHORTER_BITS * shorter)
        self.entries[i][k] = (before - behind) * self.asker.context.number(1 / (2 * step))
        return True

    def _answers(self, chosen: Sequence[tuple[int, int]], shorter: int, sides: Sequence[int]) -> np.ndarray:
        """(chosen, sides, outputs)."""
        outputs = self.values.shape[1]
        if not chosen:
            return np.empty((0, len(sides), outputs), dtype=object)
        steps = [self.lengths[i] * power_of_two(-SHORTER_BITS * shorter) for i, _ in chosen]
        batch = axis_steps(self.bases, chosen, steps, sides)
        return self.asker.ask(batch, "measure").reshape(len(chosen), len(sides), outputs)


def axis_steps(
    bases: DyadicMatrix, chosen: Sequence[tuple[int, int]], steps: Sequence[fmpq], sides: Sequence[int] = (-1, 1)
) -> PointBatch:
    """From base i a step to every side along axis k, for all chosen (i, k)."""
    exponent = max(dyadic_exponent(step) for step in steps)
    whole = [step * power_of_two(exponent) for step in steps]
    return PointBatch(
        bases,
        None,
        tuple(i for i, _ in chosen for _ in sides),
        tuple(k for _, k in chosen for _ in sides),
        tuple(side * step.p for step in whole for side in sides),
        exponent,
    )


def telling_axes(rows: np.ndarray) -> list[int]:
    """Coordinates along which the entries of a combination of rows (rows, inputs) tell it, and some more."""
    *_, order = qr(np.array([[to_float(x) for x in row] for row in rows]), mode="economic", pivoting=True)
    return order[: len(rows) + SPARE_AXES].tolist()


def combination(rows: np.ndarray, axes: Sequence[int], values: Sequence[Number]) -> list[arb]:
    """The combination of rows (rows, inputs) that has these values along some coordinates.

    Raises:
        NoFitError: there is none.
    """
    broad = BROAD * max(max(abs(to_float(x)) for x in values), np.finfo(float).tiny)
    return combined(rows[:, list(axes)].T.tolist(), values, rows.T.tolist(), broad)


def _spanned(rows: np.ndarray, entries: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """The combinations of rows (rows, inputs) with these entries, (outputs, inputs); None where too little is known."""
    axes = sorted(entries)
    if len(axes) <= len(rows):
        return None
    outputs = len(entries[axes[0]])
    gradient = np.empty((outputs, rows.shape[1]), dtype=object)
    for o in range(outputs):
        try:
            gradient[o] = combination(rows, axes, [entries[k][o] for k in axes])
        except NoFitError:
            return None
    return gradient


def _has_slope(line: Line, gradient: np.ndarray, slope: np.ndarray) -> bool:
    """Whether f with this gradient (outputs, inputs) has these slopes along the line."""
    direction = np.array(line.direction, dtype=object)
    return not any(independent_sum([*(row * direction), -s]) != 0 for row, s in zip(gradient, slope, strict=True))
