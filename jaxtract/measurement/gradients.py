"""Gradients of f in chosen regions of a line and along chosen coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flint import arb, fmpq
from scipy.linalg import qr

from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.oracle.points import PointBatch, points_on_line, scattered, stars
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.balls import independent_sum, to_float
from precision.context import Number
from precision.dyadic import DyadicMatrix, dyadic_exponent, power_of_two
from precision.estimates import NoFitError, combined

SINGLE_BITS = 4
"""A step to one side only is this much shorter, in bits, than the region."""

LEAST_SHARE_BITS = 12
"""Coordinates along which a line runs less than this share, in bits, of the steepest are not checked by its slope."""

SPARE_AXES = 2
"""Coordinates beyond those that tell a combination of known rows: they must agree with it."""

BROAD = 2.0**8
"""Coefficients of such a combination are at most about so many times its largest entry."""

SHORTER_BITS = 3
"""A step that left its region is tried again this much shorter."""


def gradient_columns(
    asker: Asker, line: Line, profile: LineProfile, pieces: Sequence[int], axes: Sequence[int]
) -> np.ndarray:
    """df/dx_k in the regions ``pieces`` of a line, shape (pieces, outputs, axes); one query for each entry.

    Queries count as ``measure``.
    """
    outputs = len(profile.pieces[0].value)
    if not len(pieces) or not len(axes):
        return np.empty((len(pieces), outputs, len(axes)), dtype=object)
    context = asker.context
    # The line may be stretched (a border seen from near): a step keeps its length along the line.
    unit = abs(line.direction[line.pivot])
    places = [(position, step * unit) for position, step in (inside_piece(context, profile, i) for i in pieces)]
    if context.few_bits:
        return by_long_steps(asker, line, places, axes, outputs)
    bases = points_on_line(line.base, line.direction, [position for position, _ in places])
    answers = asker.ask(stars(bases, [step for _, step in places], axes), "measure")
    answers = answers.reshape(len(pieces), len(axes), outputs)
    columns = np.empty((len(pieces), outputs, len(axes)), dtype=object)
    for i, (piece, (position, step)) in enumerate(zip(pieces, places, strict=True)):
        value = profile.pieces[piece].on(context, position)
        columns[i] = (answers[i] - value).T * context.number(1 / step)
    return columns


def by_long_steps(
    asker: Asker, line: Line, places: Sequence[tuple[fmpq, fmpq]], axes: Sequence[int], outputs: int
) -> np.ndarray:
    """The same at (position, step) where every bit counts, the step as ``inside_piece`` gives it.

    Steps are as long as each region allows, to both sides, and checked against its middle.
    A step that leaves the region shows, because the three answers are then not collinear; it is asked again, shorter.
    Two queries for every entry, more for some, and one for every region.
    """
    context = asker.context
    bases = points_on_line(line.base, line.direction, [position for position, _ in places])
    values = asker.ask(scattered(bases), "measure")
    columns = np.empty((len(places), outputs, len(axes)), dtype=object)
    waiting = [(i, k) for i in range(len(places)) for k in range(len(axes))]
    for bits in range(context.step_bits - 1, -1, -SHORTER_BITS):
        steps = [places[i][1] * power_of_two(bits) for i, _ in waiting]
        batch = axis_steps(bases, waiting, axes, steps)
        answers = asker.ask(batch, "measure").reshape(len(waiting), 2, outputs)
        again = []
        for (i, k), step, (behind, before) in zip(waiting, steps, answers, strict=True):
            if any(x != 0 for x in before + behind - 2 * values[i]):
                again.append((i, k))
            columns[i, :, k] = (before - behind) * context.number(1 / (2 * step))
        waiting = again
        if not waiting:
            break
    return columns


def gradients_on_line(
    asker: Asker,
    line: Line,
    profile: LineProfile,
    pieces: Sequence[int],
    known: Sequence[Mapping[int, np.ndarray]],
    spans: Sequence[Sequence[np.ndarray]] | None = None,
) -> list[np.ndarray]:
    """Whole gradients (outputs, inputs) in regions of a line of which the same columns (axis: (outputs,)) are known.

    One query for each entry that is not known, less one: the slope along the line tells the last. Where every bit
    counts that one is asked, too, so that the slope is a check on all: steps then go to one side only, and those of a
    region that fails it are asked again, to both sides. Queries count as ``measure``.

    ``spans``: per region, rows (rows, inputs) that the gradient may be a combination of, those that are tried first
    first. Where every bit counts, about as many queries as there are rows tell it then.
    """
    context = asker.context
    axes = [k for k in range(len(line.base)) if k not in known[0]] if known else []
    found: dict[int, np.ndarray] = {}
    steep = max(abs(v) for v in line.direction) * power_of_two(-LEAST_SHARE_BITS)
    # The slope hardly sees what is wrong along a coordinate along which the line hardly runs.
    if pieces and context.few_bits and not context.rough and all(abs(line.direction[k]) >= steep for k in axes):
        found = _spanned_gradients(asker, line, profile, pieces, known, spans) if spans is not None else {}
        left = [i for i in range(len(pieces)) if i not in found]
        checked = _checked_gradients(asker, line, profile, [pieces[i] for i in left], axes, [known[i] for i in left])
        found.update((left[place], gradient) for place, gradient in checked.items())
    left = [i for i in range(len(pieces)) if i not in found]
    others = [k for k in axes if k != line.pivot]
    columns = gradient_columns(asker, line, profile, [pieces[i] for i in left], others)
    for i, gradient in zip(left, columns, strict=True):
        before = [known[i][k][:, None] for k in known[i]]
        whole = np.concatenate([gradient, *before], axis=1)
        found[i] = whole_gradient(line, profile.pieces[pieces[i]].slope, whole, [*others, *known[i]])
    return [found[i] for i in range(len(pieces))]


def _checked_gradients(
    asker: Asker,
    line: Line,
    profile: LineProfile,
    pieces: Sequence[int],
    axes: Sequence[int],
    known: Sequence[Mapping[int, np.ndarray]],
) -> dict[int, np.ndarray]:
    """Those of the gradients, by place in ``pieces``, whose steps to one side agree with the slope along the line."""
    if not pieces:
        return {}
    context, outputs = asker.context, len(profile.pieces[0].value)
    bases, steps = _single_steps(asker, line, profile, pieces)
    values = asker.ask(scattered(bases), "measure")
    answers = asker.ask(stars(bases, steps, axes), "measure")
    found = {}
    for i, (own, value, step) in enumerate(
        zip(answers.reshape(len(pieces), len(axes), outputs), values, steps, strict=True)
    ):
        gradient = np.empty((outputs, len(line.base)), dtype=object)
        gradient[:, axes] = (own - value).T * context.number(1 / step)
        for axis, column in known[i].items():
            gradient[:, axis] = column
        if _has_slope(line, gradient, profile.pieces[pieces[i]].slope):
            found[i] = gradient
    return found


def _single_steps(
    asker: Asker, line: Line, profile: LineProfile, pieces: Sequence[int]
) -> tuple[DyadicMatrix, list[fmpq]]:
    """Where to begin in every region, and the step to one side."""
    unit = abs(line.direction[line.pivot]) * power_of_two(asker.context.step_bits - SINGLE_BITS)
    places = [inside_piece(asker.context, profile, i) for i in pieces]
    bases = points_on_line(line.base, line.direction, [position for position, _ in places])
    return bases, [step * unit for _, step in places]


def _has_slope(line: Line, gradient: np.ndarray, slope: np.ndarray) -> bool:
    """Whether f with this gradient (outputs, inputs) has these slopes along the line."""
    direction = np.array(line.direction, dtype=object)
    return not any(independent_sum([*(row * direction), -s]) != 0 for row, s in zip(gradient, slope, strict=True))


def _spanned_gradients(
    asker: Asker,
    line: Line,
    profile: LineProfile,
    pieces: Sequence[int],
    known: Sequence[Mapping[int, np.ndarray]],
    spans: Sequence[Sequence[np.ndarray]],
) -> dict[int, np.ndarray]:
    """Those of the gradients, by place in ``pieces``, that are combinations of the rows of one of their spans.

    Along a few coordinates more than a span has rows: these and the slope along the line must agree with it.
    """
    context, inputs = asker.context, len(line.base)
    fewer = [[rows for rows in own if len(rows) + SPARE_AXES < inputs - 1] for own in spans]
    waiting = [i for i, own in enumerate(fewer) if own]
    if not waiting:
        return {}
    bases, steps = _single_steps(asker, line, profile, [pieces[i] for i in waiting])
    values = dict(zip(waiting, asker.ask(scattered(bases), "measure"), strict=True))
    place = {i: k for k, i in enumerate(waiting)}
    entries = [dict(own) for own in known]
    found: dict[int, np.ndarray] = {}
    for turn in range(max(map(len, fewer))):
        waiting = [i for i in waiting if i not in found and turn < len(fewer[i])]
        wanted = [(i, k) for i in waiting for k in telling_axes(fewer[i][turn]) if k not in entries[i]]
        if wanted:
            chosen = [(place[i], k) for i, k in wanted]
            batch = axis_steps(bases, chosen, range(inputs), [steps[k] for k, _ in chosen], sides=(1,))
            for (i, k), answer in zip(wanted, asker.ask(batch, "measure"), strict=True):
                entries[i][k] = (answer - values[i]) * context.number(1 / steps[place[i]])
        for i in waiting:
            gradient = _spanned(fewer[i][turn], entries[i])
            if gradient is not None and _has_slope(line, gradient, profile.pieces[pieces[i]].slope):
                found[i] = gradient
    return found


def telling_axes(rows: np.ndarray) -> list[int]:
    """Coordinates along which the entries of a combination of rows (rows, inputs) tell it, and some more."""
    *_, order = qr(np.array([[to_float(x) for x in row] for row in rows]), mode="economic", pivoting=True)
    return order[: len(rows) + SPARE_AXES].tolist()


def _spanned(rows: np.ndarray, entries: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """The combinations of rows (rows, inputs) with these entries, (outputs, inputs); None where there are none."""
    axes = sorted(entries)
    outputs = len(entries[axes[0]])
    gradient = np.empty((outputs, rows.shape[1]), dtype=object)
    for o in range(outputs):
        try:
            gradient[o] = combination(rows, axes, [entries[k][o] for k in axes])
        except NoFitError:
            return None
    return gradient


def combination(rows: np.ndarray, axes: Sequence[int], values: Sequence[Number]) -> list[arb]:
    """The combination of rows (rows, inputs) that has these values along some coordinates.

    Raises:
        NoFitError: there is none.
    """
    broad = BROAD * max(max(abs(to_float(x)) for x in values), np.finfo(float).tiny)
    return combined(rows[:, list(axes)].T.tolist(), values, rows.T.tolist(), broad)


def axis_steps(
    bases: DyadicMatrix,
    chosen: Sequence[tuple[int, int]],
    axes: Sequence[int],
    steps: Sequence[fmpq],
    sides: Sequence[int] = (-1, 1),
) -> PointBatch:
    """From base i a step to every side (as a rule one back and one forth) along axis k, for all chosen (i, k)."""
    exponent = max(dyadic_exponent(step) for step in steps)
    whole = [step * power_of_two(exponent) for step in steps]
    return PointBatch(
        bases,
        None,
        tuple(i for i, _ in chosen for _ in sides),
        tuple(axes[k] for _, k in chosen for _ in sides),
        tuple(side * step.p for step in whole for side in sides),
        exponent,
    )


def whole_gradient(line: Line, slope: np.ndarray, columns: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The gradient (outputs, inputs) from its columns (outputs, axes), all but the line's pivot.

    The one missing column follows from the slope along the line.
    """
    along = np.array([line.direction[k] for k in axes], dtype=object)
    whole = np.empty((len(slope), len(line.base)), dtype=object)
    whole[:, axes] = columns
    whole[:, line.pivot] = (slope - columns @ along) / line.direction[line.pivot]
    return whole
