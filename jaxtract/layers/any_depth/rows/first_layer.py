"""The first line and the first layer: the row space, and which boundaries never bend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpz, nmod_mat
from scipy.linalg import qr

from jaxtract.geometry.grid import GridVector, floats_to_grid, grid_matrix
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.kinks.input_slice import InputSlice, whole_space
from jaxtract.layers.any_depth.kinks.pool import SearchedLine
from jaxtract.measurement.bend_test import bent
from jaxtract.measurement.gradients import gradient_columns, gradients_on_line, whole_gradient
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.ball_algebra import has_balls, reduce_rows
from precision.balls import bits_in_use, to_float
from precision.context import FEW_BITS
from precision.dyadic import DyadicMatrix
from precision.modular import modular

SPARE_COLUMNS = 4
"""Measured columns beyond the rank, as the sign that the rank is all there is."""

WHOLE = 2
"""With at most so many inputs a region all columns are measured where every bit counts: steps to one side are enough.

The slope along the line checks all of them then (``gradients_on_line``), but not a part of them.
"""

_STEPS = (fmpz(-1), fmpz(0), fmpz(1))
MOSTLY_SEEN = 0.7
"""Share of the places on a hyperplane of the first layer, on lines and asked for, at which f bends."""

DOUBTFUL_PLACES = 4
"""Places that are asked for a hyperplane that some line crosses without a bend."""

PLACE_SCALES = (1.0, 3.0, 0.3, 10.0, 1.0, 3.0)


def measure_line(
    asker: Asker, line: Line, profile: LineProfile, rng: np.random.Generator
) -> tuple[InputSlice, SearchedLine]:
    """The gradient of f in every region of a line, and the coordinates that carry all of it.

    Columns are measured until their rank stops growing and the slopes along the line, a mixture of all columns, are
    combinations of them (in a convolution a column alone may be zero or new); then a few regions whose gradients span
    the row space are measured completely. (regions * rank + rank * inputs) queries in place of regions * inputs.

    Returns:
        The slice, and the line moved onto it with the gradients of all its regions.
    """
    inputs, pieces = len(line.base), range(len(profile.pieces))
    others = [k for k in rng.permutation(inputs).tolist() if k != line.pivot]
    axes: list[int] = []
    outputs = len(profile.pieces[0].value)
    columns = np.empty((len(pieces), outputs, 0), dtype=object)
    along = np.array([piece.slope for piece in profile.pieces], dtype=object)[:, :, None]
    size = 12
    if asker.context.few_bits and not asker.context.rough and inputs <= WHOLE * len(pieces):
        found = np.stack(gradients_on_line(asker, line, profile, pieces, [{}] * len(pieces)))
        columns, axes = found[:, :, others], others
        rank, chosen, regions = _independent(columns)
        if rank and rank + SPARE_COLUMNS <= len(axes):
            sliced, image = _sliced(asker, line, profile, columns, axes, chosen, regions)
            image.whole = (line, dict(enumerate(found)))
            return sliced, image
    while len(axes) < len(others):
        more = others[len(axes) : len(axes) + size]
        columns = np.concatenate([columns, gradient_columns(asker, line, profile, pieces, more)], axis=2)
        axes += more
        rank, chosen, regions = _independent(columns)
        # On a line along which f is constant no column says which coordinates matter.
        if (
            rank
            and rank + SPARE_COLUMNS <= len(axes)
            and _independent(np.concatenate([columns, along], axis=2))[0] == rank
        ):
            return _sliced(asker, line, profile, columns, axes, chosen, regions)
        size = max(6, min(24, len(axes) // 4))
    return whole_space(inputs), _whole(line, profile, columns, axes)


def _whole(line: Line, profile: LineProfile, columns: np.ndarray, axes: list[int]) -> SearchedLine:
    gradients = {i: whole_gradient(line, profile.pieces[i].slope, gradient, axes) for i, gradient in enumerate(columns)}
    return SearchedLine(line, profile, gradients)


def _sliced(
    asker: Asker,
    line: Line,
    profile: LineProfile,
    columns: np.ndarray,
    axes: list[int],
    chosen: list[int],
    regions: list[tuple[int, int]],
) -> tuple[InputSlice, SearchedLine]:
    """Complete the gradients of the regions that span the row space; move the line onto the slice."""
    inputs = len(line.base)
    whole = sorted({piece for piece, _ in regions})
    rest = [k for k in range(inputs) if k not in set(axes) and k != line.pivot]
    completed = gradient_columns(asker, line, profile, whole, rest)
    rows = {}
    for piece, gradient in zip(whole, completed, strict=True):
        known = np.concatenate([columns[piece], gradient], axis=1)
        rows[piece] = whole_gradient(line, profile.pieces[piece].slope, known, axes + rest)
    basis = np.array([rows[piece][output] for piece, output in regions], dtype=object)
    places = sorted(chosen)
    slice_axes = tuple(axes[k] for k in places)
    chosen_slice = InputSlice(inputs, slice_axes, basis)
    ends = np.array([list(line.base), list(line.direction)], dtype=object)
    base, direction = chosen_slice.equivalent(ends)
    pivot = max(range(len(direction)), key=lambda k: abs(direction[k]))
    moved = Line(tuple(base), tuple(direction), pivot)
    gradients = {i: gradient[:, places] for i, gradient in enumerate(columns)}
    return chosen_slice, SearchedLine(moved, profile, gradients, dyadic=False)


def _independent(columns: np.ndarray) -> tuple[int, list[int], list[tuple[int, int]]]:
    """(rank, independent columns, independent (piece, output) rows) of (pieces, outputs, columns), modulo a prime."""
    pieces, outputs, width = columns.shape
    flat = columns.reshape(pieces * outputs, width)
    if has_balls(flat[:1].tolist()) and bits_in_use() < FEW_BITS:
        rank, rows, chosen = _independent_by_size(flat)
        return rank, chosen, [(r // outputs, r % outputs) for r in rows]
    if has_balls(flat[:1].tolist()):
        reduced = reduce_rows(flat.tolist(), width)
        rows = sorted(reduced.chosen)
        return reduced.rank, sorted(reduced.pivots), [(r // outputs, r % outputs) for r in rows]
    matrix = modular(flat)
    rows = _pivots(matrix.transpose())
    return len(rows), _pivots(matrix), [(r // outputs, r % outputs) for r in rows]


def _independent_by_size(flat: np.ndarray) -> tuple[int, list[int], list[int]]:
    """(rank, independent rows, independent columns) of balls, from singular values against what errors make of them.

    Errors of elimination add up, until a dimension that every row shows is lost among them. With every row over its
    error, a matrix of errors of at most one has singular values up to about sqrt(rows) + sqrt(columns), not more.
    """
    middles = np.array([[to_float(x) for x in row] for row in flat])
    errors = np.array([max(float(x.rad()) for x in row) for row in flat])
    kept = np.flatnonzero(errors > 0)
    scaled = middles[kept] / errors[kept, None]
    singular = np.linalg.svd(scaled, compute_uv=False)
    rank = int(np.sum(singular > sum(np.sqrt(scaled.shape))))
    *_, columns = qr(scaled, mode="r", pivoting=True)
    *_, rows = qr(scaled[:, columns[:rank]].T, mode="r", pivoting=True)
    return rank, sorted(kept[rows[:rank]].tolist()), sorted(columns[:rank].tolist())


def _pivots(matrix: nmod_mat) -> list[int]:
    reduced, rank = matrix.rref()
    found, column = [], 0
    for r in range(rank):
        while int(reduced[r, column]) == 0:
            column += 1
        found.append(column)
    return found


def straight(
    asker: Asker,
    forms: Sequence[RationalForm],
    free: Sequence[Sequence[np.ndarray]],
    rng: np.random.Generator,
    *,
    most_places: int = 2,
    settled: int = 0,
    missed: Sequence[int] = (),
) -> list[bool]:
    """Which hyperplanes are boundaries everywhere: those of the first layer.

    A deeper neuron's boundary is flat in one region only; one of the first layer is met again at other places on its
    hyperplane, on other sides of the others. Where other lines did not meet it, random places are asked, three queries
    each, until it was seen in two regions or was missed ``most_places`` times (a miss is no proof: nothing that the
    neuron feeds may be on there). Queries count as ``measure``.

    Args:
        asker: the black box on the slice.
        forms: one per candidate.
        free: per candidate, on which side of every hyperplane (booleans) the places lie where lines met it, its own
            included.
        rng: chooses places.
        most_places: misses after which a candidate is left.
        settled: how many forms, the last ones, are of the first layer for certain; they only tell regions apart.
        missed: per candidate, how many lines cross its hyperplane where f does not bend. Where there are any, places
            are asked, and most of all must bend: in a narrow network a deeper boundary is flat over wide regions.

    Returns:
        One answer per candidate, those that are settled left out.
    """
    candidates = len(forms) - settled
    if not candidates:
        return []
    normals = np.stack([form.normal64() for form in forms])
    hits = [list(places) for places in free]
    misses = [0.0] * len(forms)
    unseen, asked = [*missed] if missed else [0] * candidates, [0] * candidates
    while True:
        # A deeper boundary may be met three times where it is flat; it tells no regions apart where others can.
        sure = np.array([i >= candidates or (not settled and len(found) >= 3) for i, found in enumerate(hits)])
        bent_twice = [_in_two_regions(i, found, sure) for i, found in enumerate(hits[:candidates])]
        mostly = [len(hits[i]) >= MOSTLY_SEEN * (len(hits[i]) + unseen[i]) for i in range(candidates)]
        again = [
            i
            for i in range(candidates)
            if (not bent_twice[i] and misses[i] < most_places)
            or (bent_twice[i] and unseen[i] and asked[i] < DOUBTFUL_PLACES)
        ]
        if not again:
            return [twice and often for twice, often in zip(bent_twice, mostly, strict=True)]
        bends, sides = _seen(asker, forms, normals, again, sum(misses), rng)
        for i, seen, side in zip(again, bends, sides, strict=True):
            asked[i] += 1
            if seen:
                hits[i].append(side)
            else:
                unseen[i] += 1
            # A place in the very region where it was seen says nothing; it must not be asked for ever.
            misses[i] += 0.25 if seen else 1.0


def _in_two_regions(candidate: int, sides: Sequence[np.ndarray], sure: np.ndarray) -> bool:
    """Met on different sides of some other hyperplane that was met often (or, if there is none, met often)."""
    others = sure.copy()
    others[candidate] = False
    if not others.any():
        return len(sides) >= 3
    return len({side[others].tobytes() for side in sides}) >= 2


def _seen(
    asker: Asker,
    forms: Sequence[RationalForm],
    normals: np.ndarray,
    which: Sequence[int],
    turn: float,
    rng: np.random.Generator,
) -> tuple[list[bool], list[np.ndarray]]:
    """One random place on each of the hyperplanes ``which``: does f bend there, and on which sides it lies."""
    rows = normals.shape[1]
    steps = [floats_to_grid(normal) for normal in normals]
    offsets = np.array([_offset64(form) for form in forms])
    anchors: list[GridVector] = []
    sides = []
    for k, i in enumerate(which):
        x = rng.standard_normal(rows) * PLACE_SCALES[(k + int(turn)) % len(PLACE_SCALES)]
        x -= (x @ normals[i] + offsets[i]) * normals[i]
        sides.append(normals @ x + offsets > 0)
        anchors.append(forms[i].put_onto(floats_to_grid(x, 52)))
    count = len(anchors)
    batch = PointBatch(
        grid_matrix(anchors, rows),
        _short(grid_matrix(steps, rows), asker.context.beside_bits),
        tuple(k for k in range(count) for _ in range(3)),
        tuple(which[k] for k in range(count) for _ in range(3)),
        _STEPS * count,
        0,
    )
    answers = asker.ask(batch, "measure").reshape(count, 3, -1)
    return [bent(three) for three in answers], sides


def _offset64(form: RationalForm) -> float:
    size2 = sum((n * n for n in form.normal), start=form.normal[0] * 0)
    scale = max(abs(n) for n in form.normal)
    return to_float(form.offset / scale) / np.sqrt(to_float(size2 / scale / scale))


def _short(matrix: DyadicMatrix, bits: int) -> DyadicMatrix:
    return DyadicMatrix(matrix.mantissa, matrix.exponent + bits)
