"""From the affine pieces of a line to the hyperplanes between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from jaxtract.measurement.affine_pieces import AffinePiece
from jaxtract.measurement.ridge_form import Ridge, oriented_ridge
from jaxtract.search.lines import Line, LineProfile
from precision.context import Context


def ridges_between(
    context: Context, line: Line, profile: LineProfile, pieces: Sequence[AffinePiece]
) -> tuple[list[Ridge], list[int]]:
    """One ridge for every pair of neighbouring pieces.

    The difference of two pieces is c (w.x + b), zero on the hyperplane and of rank one over the outputs;
    c is read from the slopes along the line, w and b from the output that bends most.

    Returns:
        The ridges, and the indices of kinks whose jump has not rank one: two hyperplanes that met on the
        line itself, or that cancel but for a step narrower than the resolution. They are left to a later line.
    """
    ridges: list[Ridge] = []
    mixed: list[int] = []
    for i, (left, right) in enumerate(itertools.pairwise(pieces)):
        jump = right.gradient - left.gradient
        offset = right.constant - left.constant
        slopes = profile.pieces[i + 1].slope - profile.pieces[i].slope
        o = max(range(len(slopes)), key=lambda j: abs(slopes[j]))
        if slopes[o] == 0 or not any(x != 0 for x in jump[o]):  # between doubles, a kink may be none
            mixed.append(i)
            continue
        factor = slopes / slopes[o]
        if context.exact and any(x != 0 for x in (jump - np.outer(factor, jump[o])).ravel()):
            mixed.append(i)
            continue
        # The difference of the pieces is felt on the right only: max(0, z) where z grows along the line,
        # min(0, z) = (z - |z|) / 2 where it falls.
        bend = factor if slopes[o] > 0 else -factor
        ridges.append(oriented_ridge(context, jump[o], offset[o], bend))
    return ridges, mixed
