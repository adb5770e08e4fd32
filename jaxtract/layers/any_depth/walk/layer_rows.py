"""The neurons of one more layer: walks along all unexplained boundaries, advanced together."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

import numpy as np
from flint import fmpz

from jaxtract.geometry.grid import grid_matrix, to_floats
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.found_layers import Row, merge_rows
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.transversal import Asked, Probe
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker
from precision.context import Context, Number

FEWEST_BITS = 16
"""A row that is known more roughly than this is not told from other rows."""

LOST_MOST = 4
"""A row must keep one in so many of the bits of an answer."""


def fewest_bits(numbers: Context) -> int:
    """Bits that a row must have; one that lost most of what the answers carry is read better from another sighting."""
    return FEWEST_BITS if numbers.few_bits else max(FEWEST_BITS, (numbers.answer_bits or 0) // LOST_MOST)


def run_walks(
    asker: Asker, walks: Sequence[BoundaryWalk], most_steps: int, inputs: int, *, for_signs: bool = False
) -> None:
    """Advance all walks in lock-step; one batch holds what each of them asks. Queries count as ``measure``."""
    waiting: list[tuple[Probe, Asked]] = []
    for walk in walks:
        probe = walk.run(most_steps, for_signs=for_signs)
        wanted = next(probe, None)
        if wanted is not None:
            waiting.append((probe, wanted))
    while waiting:
        answers = asker.ask(as_batch([wanted for _, wanted in waiting], inputs), "measure")
        following, start = [], 0
        for probe, wanted in waiting:
            stop = start + len(wanted.steps)
            with contextlib.suppress(StopIteration):
                following.append((probe, probe.send(answers[start:stop])))
            start = stop
        waiting = following


def as_batch(wanted: Sequence[Asked], inputs: int) -> PointBatch:
    """All that several walks ask, in their order."""
    first = list(itertools.accumulate((len(w.directions) for w in wanted), initial=0))
    return PointBatch(
        grid_matrix([w.base for w in wanted], inputs),
        grid_matrix([direction for w in wanted for direction in w.directions], inputs),
        tuple(i for i, w in enumerate(wanted) for _ in w.steps),
        tuple(first[i] + place for i, w in enumerate(wanted) for place, _ in w.steps),
        tuple(fmpz(step) for w in wanted for _, step in w.steps),
        0,
    )


def rows_past_layer(
    asker: Asker,
    layers: KnownLayers,
    sightings: Sequence[tuple[RationalForm, Sequence[Number]]],
    most_steps: int,
    rng: np.random.Generator,
    *,
    leave_uncrossed: bool = False,
) -> list[Row]:
    """Rows over layers whose linear units carry what is before, from walks at (form, point); merged.

    Any signs will do there: s(-z) = s(z) - z. Rows with an open weight on a linear unit are left out.
    ``leave_uncrossed``: what neurons add that were never crossed counts with the linear units, and rows may be open in
    these.
    """
    signs = [1] * layers.widths[-1]
    walks = [BoundaryWalk(layers, signs, form, point, rng) for form, point in sightings]
    for walk in walks:
        walk.weigh_start()
    run_walks(asker, walks, most_steps, layers.inputs)
    for walk in walks:
        walk.learn_signs(signs)  # puts all crossings into the equations of the normal
        if leave_uncrossed:
            walk.leave_to_carriers()
    rows = merge_rows([row for row in map(row_of, walks) if row is not None])
    return rows if leave_uncrossed else linear_weights_known(layers, rows)


def linear_weights_known(layers: KnownLayers, rows: Sequence[Row]) -> list[Row]:
    """Without rows that may read a linear unit: what it adds is seen everywhere or nowhere, no crossing shows it."""
    return [row for row in rows if not layers.linear[-1][row.missing].any()]


def row_of(walk: BoundaryWalk) -> Row | None:
    """The row a walk has found, None when it found none."""
    if walk.inconsistent or walk.given_up:
        return None
    bias = walk.bias()
    if bias is None:
        return None
    weights = [walk.system.weights.get(i) for i in range(walk.system.width)]
    return Row(weights, bias, [to_floats(place.point) for place in walk.visited], sightings=walk.sightings)
