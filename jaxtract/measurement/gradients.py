"""Gradients of f in chosen regions of a line and along chosen coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flint import fmpq

from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.measurement.single_steps import SHORTER_BITS, axis_steps, checked_gradients
from jaxtract.oracle.points import points_on_line, scattered, stars
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.dyadic import power_of_two

LEAST_SHARE_BITS = 12
"""Coordinates along which a line runs less than this share, in bits, of the steepest are not checked by its slope."""


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
        batch = axis_steps(bases, [(i, axes[k]) for i, k in waiting], steps)
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
    counts that one is asked, too, so that the slope is a check on all: steps then go to one side only, and to both in
    a region that fails it (``checked_gradients``). Queries count as ``measure``.

    ``spans``: per region, rows (rows, inputs) that the gradient may be a combination of, those that are tried first
    first. Where every bit counts, about as many queries as there are rows tell it then.
    """
    context = asker.context
    axes = [k for k in range(len(line.base)) if k not in known[0]] if known else []
    found: dict[int, np.ndarray] = {}
    steep = max(abs(v) for v in line.direction) * power_of_two(-LEAST_SHARE_BITS)
    # The slope hardly sees what is wrong along a coordinate along which the line hardly runs.
    if pieces and context.few_bits and not context.rough and all(abs(line.direction[k]) >= steep for k in axes):
        found = checked_gradients(asker, line, profile, pieces, known, spans)
    left = [i for i in range(len(pieces)) if i not in found]
    others = [k for k in axes if k != line.pivot]
    columns = gradient_columns(asker, line, profile, [pieces[i] for i in left], others)
    for i, gradient in zip(left, columns, strict=True):
        before = [known[i][k][:, None] for k in known[i]]
        whole = np.concatenate([gradient, *before], axis=1)
        found[i] = whole_gradient(line, profile.pieces[pieces[i]].slope, whole, [*others, *known[i]])
    return [found[i] for i in range(len(pieces))]


def whole_gradient(line: Line, slope: np.ndarray, columns: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The gradient (outputs, inputs) from its columns (outputs, axes), all but the line's pivot.

    The one missing column follows from the slope along the line.
    """
    along = np.array([line.direction[k] for k in axes], dtype=object)
    whole = np.empty((len(slope), len(line.base)), dtype=object)
    whole[:, axes] = columns
    whole[:, line.pivot] = (slope - columns @ along) / line.direction[line.pivot]
    return whole
