"""Networks with skip connections, layer by layer: tried where the plain hypothesis explains no more.

A neuron that reads the inputs or earlier layers directly bends where plain neurons bend, but its normals are no
combinations of the gradients of the layer before. Here every neuron may read everything before it (``carried``): one
crossing per neuron of every earlier layer, and one normal, give all its weights. No sign is needed on the way; the
output layer is affine in everything, and the signs that leave the fewest skips are chosen at the end
(Rolnick and Koerding 2020 treat skip connections as an extension; here they need not be announced).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row, merge_rows
from jaxtract.layers.any_depth.kinks.foretold import zeros_of
from jaxtract.layers.any_depth.kinks.input_slice import InputSlice
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.skips.carried import Layout, carried_layers, deepest_read, moved_to, network_of
from jaxtract.layers.any_depth.unseen.complete_rows import nearest_to_open, places_on_boundary, walks_from
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.layer_rows import rows_past_layer, run_walks
from jaxtract.layers.any_depth.walk.predicted import visible_places
from jaxtract.layers.any_depth.walk.row_system import Shared, independent, solve_shared
from jaxtract.layers.any_depth.whole.extreme_lines import extreme_line
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from jaxtract.report.progress import ProgressMeter
from jaxtract.search.context_lines import LineSettings
from jaxtract.search.random_lines import gaussian_points, random_line
from jaxtract.signs.plainest import Oriented, plainest
from jaxtract.verification.agreement import Verified, verify
from jaxtract.verification.own_kinks import kinks_of_network
from precision.context import object_matrix, rational_matrix
from precision.dyadic import round_to_grid

Kink = tuple[int, int]

WAVE = 16
"""Kinks that are walked together."""

BARREN = 2
"""Waves without a row after which the next layer is tried."""

MOST_DEPTH = 64
LINES = 4
"""Lines that are added in a round."""

TRIES = 8
"""Choices of fresh points that are taken for undisturbed, where they contradict each other."""

SPARE_POINTS = 6
SCALES = (0, 1, 2, -1)
COUNTEREXAMPLE_BITS = 40
LEAST_SEEN = 0.35
"""As in ``extract``: share of its predicted places where a row must be seen."""

LEAST_SEEN_FIRST, FIRST_TURNS = 0.5, 3
"""The same for the first layer, and how often places are asked there."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A network with skips that fresh queries do not refute, and how its signs were chosen, in words."""

    network: ExactNetwork
    verified: Verified
    method: str


class SkipReader:
    """Reads what is behind the first layer when every neuron may read everything before it.

    Args:
        oracle: the black box in all inputs.
        chosen, pool: the slice and the kinks found on it.
        known: rows of the first layers, over all that comes before (``carried``), as far as they are known.
        settings, rng, progress: as in ``AnyDepth``.
        verify_inputs, verify_lines: fresh ones that must agree.
        most_queries: after which no more rows are looked for.
    """

    def __init__(
        self,
        oracle: CountingOracle,
        chosen: InputSlice,
        pool: Pool,
        known: Sequence[Sequence[Row]],
        settings: LineSettings,
        rng: np.random.Generator,
        progress: ProgressMeter,
        *,
        verify_inputs: int,
        verify_lines: int,
        most_queries: int,
    ):
        self.most_queries = oracle.count.total + most_queries
        self.oracle, self.slice, self.pool = oracle, chosen, pool
        self.settings, self.rng, self.progress = settings, rng, progress
        self.fresh = verify_inputs, verify_lines
        self.layers: list[list[Row]] = [list(rows) for rows in known] or [[]]
        self.tried: set[tuple[Kink, int, int]] = set()
        self.version = 0
        self._layers_known: dict[int, tuple[int, KnownLayers]] = {}

    def run(self, rounds: int) -> Found | None:
        """The network, or None after so many rounds of new lines or more queries than are allowed."""
        self._review_first()
        for _ in range(rounds):
            self._explain()
            if self._spent():
                return None
            counterexamples: list[list[fmpq]] = []
            if not self._unexplained():
                found, counterexamples = self._network()
                if found is not None:
                    verified = self._verify(found.network)
                    if verified.agrees:
                        return Found(found.network, verified, found.method)
                    near = np.array(verified.counterexamples[:2], dtype=object)
                    counterexamples = self.slice.equivalent(near).tolist()
            self._add_lines(counterexamples)
        return None

    def _spent(self) -> bool:
        return self.oracle.count.total > self.most_queries

    # -- rows --

    def _review_first(self) -> None:
        """Leave out rows of the first layer that are not boundaries everywhere.

        A deeper boundary that the inputs reach directly may be met again in the one region where it is flat.
        """
        rows = self.layers[0]
        if not rows:
            return
        candidate = carried_layers(self.slice.rank, [rows])
        everyone = [i for i in range(len(rows)) for _ in range(FIRST_TURNS)]
        seen = np.array(visible_places(self.pool.asker, candidate, rows, everyone, self.rng))
        hits, asked = seen.reshape(len(rows), FIRST_TURNS, 2).sum(axis=1).T
        kept = [row for row, h, n in zip(rows, hits.tolist(), asked.tolist(), strict=True) if h >= LEAST_SEEN_FIRST * n]
        if len(kept) < len(rows):
            self.layers = [kept]

    def _explain(self) -> None:
        """Find rows for unexplained kinks, one layer after the other."""
        level, barren = max(2, len(self.layers)), 0
        while (unexplained := self._unexplained()) and level <= MOST_DEPTH and not self._spent():
            wave = self._wave(level, unexplained)
            rows = self._rows(level, wave)
            if rows:
                level, barren = self._insert(level, rows), 0
                continue
            barren += 1
            if barren < BARREN and wave:
                continue
            if level > len(self.layers):
                return
            level, barren = level + 1, 0

    def _wave(self, level: int, kinks: Sequence[Kink]) -> list[Kink]:
        """Kinks that were not tried at this layer; their gradients are measured."""
        fresh = [kink for kink in kinks if (kink, level, self.version) not in self.tried]
        chosen = [fresh[i] for i in sorted(self.rng.permutation(len(fresh))[:WAVE].tolist())]
        self.tried.update((kink, level, self.version) for kink in chosen)
        self.progress.phase("measure")
        self.pool.measure(chosen)
        return chosen

    def _rows(self, level: int, kinks: Sequence[Kink]) -> list[Row]:
        layers = self._known(level - 1)
        sightings = [self.pool.sighting(*kink) for kink in kinks]
        forms = [(s.form, s.point) for s in sightings if s.form is not None]
        rows = rows_past_layer(self.pool.asker, layers, forms, self._most_steps(layers), self.rng)
        return self._confirmed(level, rows)

    def _most_steps(self, layers: KnownLayers) -> int:
        return 60 + 8 * sum(int(np.sum(~linear)) for linear in layers.linear)

    def _confirmed(self, level: int, rows: list[Row]) -> list[Row]:
        """Rows that predict where else f bends."""
        if not rows:
            return []
        candidate = carried_layers(self.slice.rank, [*self.layers[: level - 1], rows])
        everyone = list(range(len(rows)))
        seen = visible_places(self.pool.asker, candidate, rows, everyone, self.rng)
        return [row for row, (hits, asked) in zip(rows, seen, strict=True) if hits and hits >= LEAST_SEEN * asked]

    def _insert(self, level: int, rows: list[Row]) -> int:
        """Add rows where they belong: behind the last layer that they read. Returns the layer to go on with.

        A neuron found where a later layer was expected shows that an earlier one lacked it: what was read behind that
        layer is dropped.
        """
        layout = Layout([self.slice.rank, *map(len, self.layers[: level - 1])])
        homes = [1 + deepest_read(layout, level - 1, row) for row in rows]
        home = min(homes)
        moved = [
            moved_to(layout, level - 1, row, home - 1) for row, own in zip(rows, homes, strict=True) if own == home
        ]
        before = self.layers[home - 1] if home <= len(self.layers) else []
        merged = merge_rows([*before, *moved])
        if len(merged) > len(before):
            self.layers = [*self.layers[: home - 1], merged]
            self.version += 1
            self.progress.neurons(sum(map(len, self.layers)), None)
            if home > 1:
                self._complete(home)
        return max(2, home)

    def _complete(self, level: int) -> None:
        """Weights from neurons that were never crossed: walks that begin all over the boundary."""
        layers, rows = self._known(level - 1), self.layers[level - 1]
        walks: list[tuple[Row, BoundaryWalk]] = []
        for row in rows:
            if row.missing:
                near = nearest_to_open(layers, row, places_on_boundary(layers, row, self.rng), 3)
                walks.extend((row, walk) for walk in walks_from(layers, row, near, self.rng))
        run_walks(self.pool.asker, [walk for _, walk in walks], 40, self.slice.rank)
        for row, walk in walks:
            if not walk.inconsistent:
                for i in row.missing:
                    row.weights[i] = walk.system.weights.get(i)
        self.layers[level - 1] = merge_rows(rows)
        self.version += 1

    # -- what is known --

    def _known(self, depth: int) -> KnownLayers:
        known = self._layers_known.get(depth)
        if known is None or known[0] != self.version:
            known = (self.version, carried_layers(self.slice.rank, self.layers[:depth]))
            self._layers_known[depth] = known
        return known[1]

    def _unexplained(self) -> list[Kink]:
        kinks = self.pool.all_kinks()
        layers = self._known(len(self.layers))
        heights, _ = self.pool.heights(layers, self.pool.places(kinks))
        explained = np.zeros(len(kinks), dtype=bool)
        for zeros in zeros_of(layers, heights):
            explained |= zeros.any(axis=1)
        return [kink for kink, known in zip(kinks, explained.tolist(), strict=True) if not known]

    def _add_lines(self, counterexamples: Sequence[Sequence[fmpq]]) -> None:
        self.progress.phase("search")
        near = [[round_to_grid(x, COUNTEREXAMPLE_BITS) for x in point] for point in counterexamples[:2]]
        lines = [random_line(self.slice.rank, self.rng, base) for base in near]
        while len(lines) < LINES:
            # Between extremes of a layer that is known, neurons are met that random lines hardly meet.
            depth = int(self.rng.integers(len(self.layers) + 1))
            fresh = extreme_line(self._known(depth), self.rng) if depth else random_line(self.slice.rank, self.rng)
            lines.append(fresh)
        self.pool.search(lines, self.settings)

    # -- the end --

    def _network(self) -> tuple[Oriented | None, list[list[fmpq]]]:
        """Everything with an output layer that is affine in all of it; or None, and points where it is not."""
        self.progress.phase("output")
        layers = self._known(len(self.layers))
        output, outside = self._output(layers)
        if output is None:
            return None, outside
        widths = [self.slice.rank, *map(len, self.layers)]
        return plainest(network_of(layers, widths, output, self.slice)), []

    def _output(self, layers: KnownLayers) -> tuple[np.ndarray | None, list[list[fmpq]]]:
        """(outputs, units of the last layer + 1) from values of f that are known, or from fresh ones.

        Where fresh points contradict the lines, a neuron was on no line: the points where most others are contradicted.
        """
        unknowns = layers.widths[-1] + 1
        known = self.pool.known_values()
        wanted = self.rng.permutation(len(known))[: 4 * unknowns]
        heights, scales = self.pool.heights(layers, [known[i][0] for i in wanted])
        rows = _equations(layers, heights[-1], scales, [known[i][1] for i in wanted])
        solved = solve_shared(rows, unknowns)
        outside: list[list[fmpq]] = []
        if solved is Shared.OPEN:
            points, more = self._fresh(layers, unknowns + SPARE_POINTS)
            solved = solve_shared(rows + more, unknowns)
            if solved is Shared.CONTRADICTORY:
                outside = [points[i] for i in _outside(rows, more, unknowns, self.rng)]
        return (solved.T if isinstance(solved, np.ndarray) else None), outside

    def _fresh(self, layers: KnownLayers, count: int) -> tuple[list[list[fmpq]], list[list[fmpq]]]:
        """(points, their equations)"""
        found: list[list[fmpq]] = []
        asked: list[list[fmpq]] = []
        for exponent in SCALES:
            points = gaussian_points(-(-count // len(SCALES)), layers.inputs, exponent, self.rng)
            scales = [fmpz(1) << max(points.exponent, 0)] * points.shape[0]
            heights = layers.preactivations(points.mantissa, scales)[-1]
            found += _equations(layers, heights, scales, list(self.pool.asker.ask(scattered(points), "measure")))
            asked += points.rows()
        return asked, found

    def _verify(self, network: ExactNetwork) -> Verified:
        self.progress.phase("verify")
        evaluator = FlintEvaluator(network)
        inputs, lines = self.fresh
        predicted = functools.partial(kinks_of_network, evaluator, self.oracle.context, self.settings)
        return verify(self.oracle, evaluator, predicted, inputs=inputs, lines=lines, rng=self.rng)


def _outside(sure: list[list[fmpq]], more: list[list[fmpq]], unknowns: int, rng: np.random.Generator) -> list[int]:
    """Of the equations ``more`` those that are contradicted when the others hold with ``sure``; as few as can be."""
    table = _table(sure + more)
    best: list[int] = list(range(len(more)))
    for _ in range(TRIES):
        order = [*range(len(sure)), *(len(sure) + rng.permutation(len(more))).tolist()]
        chosen = [order[k] for k in independent(table[order][:, :unknowns].tolist())]
        if len(chosen) < unknowns:
            return []
        solution = rational_matrix(table[chosen][:, :unknowns]).solve(rational_matrix(table[chosen][:, unknowns:]))
        expected = object_matrix(rational_matrix(table[len(sure) :, :unknowns]) * solution)
        wrong = np.nonzero((expected != table[len(sure) :, unknowns:]).any(axis=1))[0].tolist()
        best = min(best, wrong, key=len)
    return best if 2 * len(best) < len(more) else []


def _table(rows: Sequence[Sequence[fmpq]]) -> np.ndarray:
    table = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        table[i, :] = row
    return table


def _equations(
    layers: KnownLayers, heights: fmpz_mat, scales: Sequence[fmpz], values: Sequence[np.ndarray]
) -> list[list[fmpq]]:
    """Values of all units of the last layer, one, then f: a row per point."""
    linear = layers.linear[-1].tolist()
    return [
        [
            *(fmpq(x, scale) if x > 0 or free else fmpq(0) for x, free in zip(z, linear, strict=True)),
            fmpq(1),
            *value,
        ]
        for z, scale, value in zip(heights.tolist(), scales, values, strict=True)
    ]
