"""The neurons of one more layer: walks along all unexplained boundaries, advanced together."""

from __future__ import annotations

from collections.abc import Sequence

from flint import fmpz

from jaxtract.geometry.grid import grid_matrix, to_floats
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.transversal import Transversal
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker

FEWEST_BITS = 20
"""A row that is known more roughly than this is not told from other rows."""

_STEPS = (fmpz(-2), fmpz(-1), fmpz(1), fmpz(2))


def run_walks(
    asker: Asker, walks: Sequence[BoundaryWalk], most_steps: int, inputs: int, *, for_signs: bool = False
) -> None:
    """Advance all walks in lock-step; one batch holds a transversal of each. Queries count as ``measure``."""
    waiting: list[tuple[object, Transversal]] = []
    for walk in walks:
        probe = walk.run(most_steps, for_signs=for_signs)
        wanted = next(probe, None)
        if wanted is not None:
            waiting.append((probe, wanted))
    while waiting:
        answers = asker.ask(_batch([wanted for _, wanted in waiting], inputs), "measure")
        answers = answers.reshape(len(waiting), 4, -1)
        following = []
        for (probe, _), answer in zip(waiting, answers, strict=True):
            try:
                following.append((probe, probe.send(answer)))  # type: ignore[attr-defined]
            except StopIteration:
                continue
        waiting = following


def _batch(wanted: Sequence[Transversal], inputs: int) -> PointBatch:
    count = len(wanted)
    index = tuple(i for i in range(count) for _ in _STEPS)
    return PointBatch(
        grid_matrix([w.base for w in wanted], inputs),
        grid_matrix([w.direction for w in wanted], inputs),
        index,
        index,
        _STEPS * count,
        0,
    )


def row_of(walk: BoundaryWalk) -> Row | None:
    """The row a walk has found, None when it found none."""
    if walk.inconsistent or walk.given_up:
        return None
    bias = walk.bias()
    if bias is None:
        return None
    weights = [walk.system.weights.get(i) for i in range(walk.system.width)]
    row = Row(weights, bias, [to_floats(place.point) for place in walk.visited], sightings=walk.sightings)
    return row if row.accuracy >= FEWEST_BITS else None
