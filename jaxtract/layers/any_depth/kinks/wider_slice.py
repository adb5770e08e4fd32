"""Directions that the first line did not show: a slice that f leaves is made wider.

The row space is read off the gradients along one line. In a narrow network a neuron of the first layer may be on
nowhere along it where anything behind is on, too. Then f at some inputs changes along a direction that every basis row
takes to zero, which one query shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.kinks.input_slice import InputSlice, embed_point, whole_space
from jaxtract.measurement.balls import measured_profile
from jaxtract.measurement.gradients import gradient_columns, whole_gradient
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker, LineSettings, search_line
from jaxtract.search.lines import Line
from precision.balls import middle, steepest, to_float, vanishes
from precision.context import Context, common_denominator
from precision.dyadic import dyadic_matrix, floor_log2, power_of_two, round_to_grid

LENGTHS = (fmpq(1, 4), fmpq(1), fmpq(8), fmpq(-1, 4), fmpq(-1), fmpq(-8))
"""Steps along such a direction, against the size of the input."""

LEAST_SHARE = 2.0**-10
"""How much f must change along such a direction, against any other, where answers are rounded."""


def leaving(asker: Asker, chosen: InputSlice, points: Sequence[Sequence[fmpq]], rng: np.random.Generator) -> list[Line]:
    """Lines along which f changes, though by the slice it should not, through some of the inputs.

    As many queries as ``LENGTHS`` and two more for every input, counted as ``verify``.

    Args:
        asker: the black box on all inputs.
        chosen: the slice.
        points: inputs, (points, inputs).
        rng: chooses the directions.
    """
    context = asker.context
    if chosen.basis is None or not len(points) or context.rough:
        return []
    bits = None if context.answer_bits is None else context.answer_bits // 2
    lines = [_unseen_line(chosen, point, rng, bits) for point in points]
    sizes = [power_of_two(floor_log2(1 + max(abs(x) for x in point))) for point in points]
    rows = [
        [p + length * size * v for p, v in zip(line.base, line.direction, strict=True)]
        for length in (fmpq(0), *LENGTHS)
        for line, size in zip(lines, sizes, strict=True)
    ]
    # Any other direction shows how much f changes where it may.
    rows += [
        [p + size * v * int(s) for p, v, s in zip(line.base, line.direction, signs, strict=True)]
        for line, size, signs in zip(lines, sizes, rng.choice([-1, 1], (len(lines), chosen.inputs)), strict=True)
    ]
    answers = asker.ask(scattered(dyadic_matrix(rows, chosen.inputs)), "verify")
    here, *along, beside = answers.reshape(len(LENGTHS) + 2, len(points), -1)
    changes = [any(_changes(context, there[i], here[i], beside[i]) for there in along) for i in range(len(points))]
    return [line for line, changed in zip(lines, changes, strict=True) if changed]


def _changes(context: Context, there: np.ndarray, here: np.ndarray, beside: np.ndarray) -> bool:
    if context.exact:
        return bool(np.any(there != here))
    size = max(abs(to_float(x)) for x in beside - here)
    return any(not vanishes(x) and abs(to_float(x)) > LEAST_SHARE * size for x in there - here)


def _unseen_line(chosen: InputSlice, point: Sequence[fmpq], rng: np.random.Generator, bits: int | None) -> Line:
    """A line through a point in a random dyadic direction that all basis rows take to zero, rounded to so many bits."""
    rest = [k for k in range(chosen.inputs) if k not in set(chosen.axes)]
    numbers = np.array([fmpq(int(x)) for x in rng.integers(-8, 9, len(rest))], dtype=object)
    beside = np.full(chosen.inputs, fmpq(0), dtype=object)
    beside[rest] = numbers
    on_slice = embed_point(chosen, [middle(x) for x in chosen.equivalent(beside[None, :])[0]])
    way = [a - b for a, b in zip(beside, on_slice, strict=True)]
    if bits is None:
        common = fmpq(common_denominator(way))
        way = [x * common * power_of_two(-floor_log2(common)) for x in way]
    else:
        way = [round_to_grid(x, bits) for x in way]
    return Line(tuple(point), tuple(way), steepest(way))


def widened(asker: Asker, chosen: InputSlice, line: Line, settings: LineSettings) -> InputSlice:
    """The slice with the gradient where f changes most along a line along which, by the slice, it should not.

    The line is searched, and every coordinate asked in one of its regions. The same slice where that shows nothing new.
    """
    profile = measured_profile(asker, search_line(asker, line, settings))
    slopes = [max(abs(to_float(x)) for x in piece.slope) for piece in profile.pieces]
    steep = int(np.argmax(slopes))
    others = [k for k in range(chosen.inputs) if k != line.pivot]
    (columns,) = gradient_columns(asker, line, profile, [steep], others)
    for row in whole_gradient(line, profile.pieces[steep].slope, columns, others):
        chosen = _with_row(chosen, row)
    return chosen


def _with_row(chosen: InputSlice, row: np.ndarray) -> InputSlice:
    """One more basis row, and the coordinate in which it differs most from combinations of the others; if it does."""
    rest = [k for k in range(chosen.inputs) if k not in set(chosen.axes)]
    if chosen.basis is None or not rest:
        return chosen
    explained = chosen.full_rows(row[None, list(chosen.axes)])[0]
    left = row - explained
    axis = rest[steepest(left[rest])]
    if vanishes(left[axis]):
        return chosen
    basis = np.concatenate([chosen.basis, row[None, :]])
    axes = (*chosen.axes, axis)
    return InputSlice(chosen.inputs, axes, basis) if len(axes) < chosen.inputs else whole_space(chosen.inputs)
