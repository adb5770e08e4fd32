"""Kinks of one neuron put together: in different regions different weights of its row show in its normal.

Where the signs of the layer before are known, a normal is a combination of the gradients of the neurons that are on,
and tells their weights without a query, if these are independent. Two kinks at which some neurons are on both times
have the same ratios of these weights if they are of one neuron, and else do not; together they tell more weights than
each of them. What is still open then is left to a walk. Rows that are alike in four numbers or more are of one neuron,
or of a deeper one behind the same neurons, which the test of a finished row tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxtract.layers.any_depth.found_layers import LEAST_ALIKE, Row
from jaxtract.layers.any_depth.recovery import Kink, Recovery
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.layer_rows import row_of
from precision.balls import vanishes


@dataclasses.dataclass
class Together:
    """Kinks of one neuron and what their normals tell of its row; None where that is nothing."""

    kinks: list[Kink]
    row: Row | None


class MetAgain:
    """Remembers what each kink tells."""

    def __init__(self, state: Recovery):
        self.state = state
        self._rows: dict[tuple[Kink, int, int], Row | None] = {}

    def groups(self, level: int, kinks: Sequence[Kink]) -> list[Together]:
        """The kinks, each with those that are its neuron's, too; the layer before has all signs."""
        groups: list[Together] = []
        for kink in kinks:
            row = self._row(level, kink)
            for group in groups if row is not None else []:
                both = _of_one_neuron(group.row, row)
                if both is not None:
                    group.kinks.append(kink)
                    group.row = both
                    break
            else:
                groups.append(Together([kink], row))
        return groups

    def _row(self, level: int, kink: Kink) -> Row | None:
        key = kink, level, self.state.versions[level - 1]
        if key not in self._rows:
            self._rows[key] = self._told(level, kink)
        return self._rows[key]

    def _told(self, level: int, kink: Kink) -> Row | None:
        sighting = self.state.pool.sighting(*kink)
        if sighting.form is None:
            return None
        layers, signs = self.state.known(level - 1), self.state.layers[level - 2].signs
        walk = BoundaryWalk(layers, signs, sighting.form, sighting.point, self.state.rng)
        if not walk.inconsistent:
            walk.weigh_start()
        return row_of(walk)


def _of_one_neuron(one: Row | None, other: Row | None) -> Row | None:
    """Both together, if enough numbers are known of both and agree."""
    if one is None or other is None:
        return None
    pairs = zip([*one.weights, one.bias], [*other.weights, other.bias], strict=True)
    common = sum(a is not None and b is not None and not (vanishes(a) or vanishes(b)) for a, b in pairs)
    return (one.merged(other) or one.merged_roughly(other)) if common >= LEAST_ALIKE else None
