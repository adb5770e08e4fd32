"""Gradients of f in chosen regions of a line and along chosen coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.oracle.points import points_on_line, stars
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile


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
    bases = points_on_line(line.base, line.direction, [position for position, _ in places])
    answers = asker.ask(stars(bases, [step for _, step in places], axes), "measure")
    answers = answers.reshape(len(pieces), len(axes), outputs)
    columns = np.empty((len(pieces), outputs, len(axes)), dtype=object)
    for i, (piece, (position, step)) in enumerate(zip(pieces, places, strict=True)):
        value = profile.pieces[piece].on(context, position)
        columns[i] = (answers[i] - value).T * context.number(1 / step)
    return columns


def whole_gradient(line: Line, slope: np.ndarray, columns: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The gradient (outputs, inputs) from its columns (outputs, axes), all but the line's pivot.

    The one missing column follows from the slope along the line.
    """
    along = np.array([line.direction[k] for k in axes], dtype=object)
    whole = np.empty((len(slope), len(line.base)), dtype=object)
    whole[:, axes] = columns
    whole[:, line.pivot] = (slope - columns @ along) / line.direction[line.pivot]
    return whole
