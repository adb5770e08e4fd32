"""The affine pieces of f around one line, in all coordinates: one shared gradient for every region.

Consecutive pieces differ by exactly one neuron, so that n kinks cost n + 1 gradients, and the derivative
along the line is known from the search: (n + 1) (d - 1) queries in all (Daniely and Granot 2023, section 3,
pay 2 n d).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from flint import fmpq

from jaxtract.measurement.long_steps import WIDE, with_long_steps
from jaxtract.measurement.packing import Packing, plan_packing
from jaxtract.oracle.counting import BudgetSpent
from jaxtract.oracle.points import points_on_line, rays, stars
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile, Piece
from precision.context import Context
from precision.dyadic import floor_log2, power_of_two, simple_between

CHUNK = 4096
"""Queries that are asked together: what is measured before a budget ends is kept."""


PACKED_CHUNK = 64
"""The same for packed queries, which are long: what one batch holds must stay small."""


@dataclasses.dataclass(frozen=True)
class AffinePiece:
    """f(x) = gradient x + constant in one region; shapes (outputs, inputs) and (outputs,).

    ``place``: where the gradient was measured by differences, and over which step; None where it was not.
    """

    gradient: np.ndarray
    constant: np.ndarray
    place: tuple[list[fmpq], fmpq] | None = None


def measure_pieces(asker: Asker, line: Line, profile: LineProfile, *, pack: int = 1) -> Iterator[AffinePiece]:
    """The affine pieces of a line from left to right, in all coordinates, as they are measured.

    Args:
        asker: answers in its context; queries count as ``measure``.
        line: where the profile was taken.
        profile: its pieces and kinks.
        pack: entries of the gradient that one exact answer may carry; see ``jaxtract.measurement.packing``.

    Yields:
        One piece per region. BudgetSpent passes through between regions.
    """
    context = asker.context
    axes = [i for i in range(len(line.base)) if i != line.pivot]
    places = [inside_piece(context, profile, i) for i in range(len(profile.pieces))]
    if context.few_bits and len(line.base) >= WIDE:
        axes.append(line.pivot)  # what follows from the slope has the errors of all others together
        profile, places = with_long_steps(asker, line, profile, places)
    packing = plan_packing(context, line, profile, pack)
    if packing is not None:
        yield from _measure_packed(asker, line, profile, places, axes, packing)
        return
    group = max(1, CHUNK // max(1, len(axes)))
    start = 0
    while start < len(places):
        chosen = slice(start, start + group)
        try:
            yield from _measure_group(asker, line, profile.pieces[chosen], places[chosen], axes)
        except BudgetSpent:
            # Nothing of the batch was asked: a smaller one may still fit.
            if group == 1:
                raise
            group = group // 2
        else:
            start += group


def _measure_packed(
    asker: Asker,
    line: Line,
    profile: LineProfile,
    places: Sequence[tuple[fmpq, fmpq]],
    axes: list[int],
    packing: Packing,
) -> Iterator[AffinePiece]:
    """Many entries to an answer; a region whose entries do not add up to its slope is measured one by one."""
    blocks = packing.blocks(len(line.base))
    group = max(1, PACKED_CHUNK // len(blocks))
    for start in range(0, len(places), group):
        chosen = places[start : start + group]
        bases = points_on_line(line.base, line.direction, [position for position, _ in chosen])
        batch = rays(bases, packing.directions(len(line.base)), [step for _, step in chosen])
        answers = asker.ask(batch, "measure").reshape(len(chosen), len(blocks), -1)
        for i, (place, around, base) in enumerate(zip(chosen, answers, bases.rows(), strict=True), start=start):
            piece, (position, step) = profile.pieces[i], place
            value = piece.on(asker.context, position)
            gradient = packing.unpack((around - value) / step, line)
            if gradient is None or any(gradient @ np.array(line.direction, dtype=object) != piece.slope):
                yield from _measure_group(asker, line, [piece], [place], axes)
            else:
                yield AffinePiece(gradient, value - gradient @ np.array(base, dtype=object))


def _measure_group(
    asker: Asker,
    line: Line,
    pieces: Sequence[Piece],
    places: Sequence[tuple[fmpq, fmpq]],
    axes: list[int],
) -> Iterator[AffinePiece]:
    context = asker.context
    bases = points_on_line(line.base, line.direction, [position for position, _ in places])
    outputs = len(pieces[0].value)
    answers = np.empty((0, outputs), dtype=object)
    if axes:
        answers = asker.ask(stars(bases, [step for _, step in places], axes), "measure")
    answers = answers.reshape(len(pieces), len(axes), outputs)
    direction = context.array(line.direction)
    for piece, (position, step), around, base in zip(pieces, places, answers, bases.rows(), strict=True):
        value = piece.on(context, position)
        gradient = context.zeros(len(value), len(line.base))
        gradient[:, axes] = (around - value).T * context.number(1 / step)
        if line.pivot not in axes:
            gradient[:, line.pivot] = piece.slope - gradient[:, axes] @ direction[axes]
        yield AffinePiece(gradient, value - gradient @ context.array(base), (base, step))


def inside_piece(context: Context, profile: LineProfile, index: int) -> tuple[fmpq, fmpq]:
    """A short dyadic well inside region ``index`` along the line, and a step that stays in the region."""
    kinks = profile.kinks
    left = context.rational(kinks[index - 1]) if index > 0 else None
    right = context.rational(kinks[index]) if index < len(kinks) else None
    if left is None and right is None:
        position, width = fmpq(0), fmpq(1)
    elif left is None:
        assert right is not None
        width = 1 + abs(right)
        position = simple_between(right - 2 * width, right)
    elif right is None:
        width = 1 + abs(left)
        position = simple_between(left, left + 2 * width)
    else:
        width = right - left
        position = simple_between(left, right)
    return position, power_of_two(floor_log2(width) - context.step_bits)
