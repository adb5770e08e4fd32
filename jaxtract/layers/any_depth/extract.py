"""Networks of any depth: layer by layer, until no kink is left to explain.

A layer is the set of boundaries that bend only where layers before it have theirs. Its rows come from walks along
those boundaries, its signs from what lies behind it; what fresh queries refute goes back into the pool of kinks
(Rolnick and Koerding 2020, sections 4.2 and 4.3; Daniely and Granot 2023, Theorem 2 for depth three).
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.geometry.known_layers import KnownLayers, Pattern
from jaxtract.layers.any_depth.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.complete_rows import (
    complete_by_kinks,
    nearest_to_open,
    places_on_boundary,
    walks_from,
)
from jaxtract.layers.any_depth.first_layer import measure_line, straight
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows, stacked
from jaxtract.layers.any_depth.input_slice import InputSlice, SliceAsker
from jaxtract.layers.any_depth.layer_rows import row_of, run_walks
from jaxtract.layers.any_depth.layer_signs import signs_by_gradients, signs_by_rows
from jaxtract.layers.any_depth.output_layer import OutputLayer, fit_output
from jaxtract.layers.any_depth.pool import Pool, Sighting, homogeneous
from jaxtract.layers.any_depth.predicted import visible_places
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.oracle import Oracle
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from jaxtract.search.context_lines import LineSettings, search_lines, settings_for
from jaxtract.search.lines import Line
from jaxtract.search.random_lines import random_line
from jaxtract.verification.agreement import Verified, verify
from jaxtract.verification.own_kinks import kinks_of_network
from precision.context import Context, rational_matrix
from precision.dyadic import dyadic_matrix, round_to_grid

Kink = tuple[int, int]
"""(line, kink on it)"""

MOST_DEPTH = 64
COUNTEREXAMPLE_BITS = 40


@dataclasses.dataclass(frozen=True)
class AnyDepthOptions:
    """Settings of ``extract_any_depth``.

    Attributes:
        seed: of every random choice.
        max_queries: budget over all purposes, or None.
        resolution_bits: kinks at least 2^-resolution_bits apart on a line are told apart.
        verify_inputs, verify_lines: fresh inputs and lines that must agree at the end.
        rounds: how many times new lines are added before the extraction gives up.
        first_lines: lines searched before the first layer is read.
    """

    seed: int = 0
    max_queries: int | None = None
    resolution_bits: int = 256
    verify_inputs: int = 1000
    verify_lines: int = 20
    rounds: int = 12
    first_lines: int = 2


def extract_any_depth(
    oracle: Oracle,
    context: Context,
    *,
    options: AnyDepthOptions | None = None,
    progress: ProgressMeter | None = None,
    keep: Callable[[Extraction], None] | None = None,
) -> Extraction:
    """Recover a ReLU network of unknown depth and widths from queries.

    Args, Returns, Raises: as ``jaxtract.layers.depth_two.extract_depth_two``.
    """
    return _AnyDepth(oracle, context, options or AnyDepthOptions(), progress or NoProgressMeter()).run(keep)


class _AnyDepth:
    def __init__(self, oracle: Oracle, context: Context, options: AnyDepthOptions, progress: ProgressMeter):
        self.context = context
        self.options = options
        self.progress = progress
        self.rng = np.random.default_rng(options.seed)
        self.oracle = CountingOracle(oracle, context, max_queries=options.max_queries, on_queries=progress.queries)
        self.settings: LineSettings = settings_for(context, resolution_bits=options.resolution_bits)
        self.layers: list[FoundLayer] = []
        self.output: OutputLayer | None = None
        self.verified = Verified()
        self.tried: set[tuple[Kink, int, int]] = set()
        self.versions = [0] * (MOST_DEPTH + 2)
        self.missing: list[str] = []

    def run(self, keep: Callable[[Extraction], None] | None) -> Extraction:
        begun = time.perf_counter()
        try:
            self._first_line()
            outcome = self._rounds()
        except BudgetSpent:
            outcome = Outcome.BUDGET_SPENT
        except KeyboardInterrupt:
            outcome = Outcome.INTERRUPTED
        except BaseException:
            if keep is not None:
                keep(self._result(Outcome.ORACLE_FAILED, begun))
            raise
        return self._result(outcome, begun)

    # -- the loop --

    def _first_line(self) -> None:
        line = random_line(self.oracle.inputs, self.rng)
        self.progress.phase("search")
        inputs = self.oracle.inputs
        (profile,) = search_lines(
            self.oracle,
            dyadic_matrix([line.base], inputs),
            dyadic_matrix([line.direction], inputs),
            settings=self.settings,
        )
        self.progress.phase("measure")
        self.slice, searched = measure_line(self.oracle, line, profile, self.rng)
        self.pool = Pool(SliceAsker(self.oracle, self.slice), self.slice.rank)
        self.pool.lines.append(searched)
        self._add_lines([random_line(self.slice.rank, self.rng) for _ in range(self.options.first_lines)])

    def _rounds(self) -> Outcome:
        for _ in range(self.options.rounds):
            self._explain()
            counterexamples: list[list[fmpq]] = []
            if not self._unexplained():
                self.output = self._fit_output()
                if self.output is not None:
                    counterexamples = self._verify()
                    if self.verified.agrees:
                        return Outcome.COMPLETE
            self._add_lines(self._next_lines(counterexamples))
        return Outcome.COUNTEREXAMPLES_LEFT

    def _next_lines(self, counterexamples: Sequence[Sequence[fmpq]]) -> list[Line]:
        rank = self.slice.rank
        chosen = list(counterexamples[:2])
        return [random_line(rank, self.rng, base) for base in chosen] + [
            random_line(rank, self.rng) for _ in range(2 - len(chosen))
        ]

    def _add_lines(self, lines: Sequence[Line]) -> None:
        self.progress.phase("search")
        if lines:
            self.pool.search(lines, self.settings)

    def _explain(self) -> None:
        """Find rows for unexplained kinks, from the first layer to a new last one, until none comes any more."""
        while True:
            unexplained = self._unexplained()
            if not unexplained:
                return
            if not any(self._try_level(level, unexplained) for level in range(1, len(self.layers) + 2)):
                return

    def _unexplained(self) -> list[Kink]:
        kinks = self.pool.all_kinks()
        if not self.layers:
            return kinks
        heights = stacked(self.slice.rank, self.layers).preactivations(*self.pool.points(kinks))
        explained = [False] * len(kinks)
        for z in heights:
            for place, row in enumerate(z.tolist()):
                explained[place] = explained[place] or any(x == 0 for x in row)
        return [kink for kink, known in zip(kinks, explained, strict=True) if not known]

    def _try_level(self, level: int, unexplained: Sequence[Kink]) -> bool:
        """Look for neurons of one layer among unexplained kinks; True when the layer grew."""
        version = self.versions[level - 1]
        fresh = [kink for kink in unexplained if (kink, level, version) not in self.tried]
        if not fresh:
            return False
        chosen = self._worth_measuring(fresh)
        self.tried.update((kink, level, version) for kink in chosen)
        self.progress.phase("measure")
        self.pool.measure(chosen)
        sightings = [s for s in (self.pool.sighting(*kink) for kink in chosen) if s.form is not None]
        rows = self._straight_rows(sightings) if level == 1 else self._walked_rows(level, sightings)
        if self._insert(level, rows):
            return True
        return self._try_level(level, unexplained)

    def _worth_measuring(self, kinks: Sequence[Kink]) -> list[Kink]:
        """Kinks that are measured already; else those of one line."""
        measured = [(i, k) for i, k in kinks if {k, k + 1} <= self.pool.lines[i].gradients.keys()]
        if measured:
            return measured
        line = kinks[0][0]
        return [(i, k) for i, k in kinks if i == line]

    def _insert(self, level: int, rows: Sequence[Row]) -> bool:
        """Add rows to a layer; layers behind it are dropped, because they were read without these neurons."""
        if not rows:
            return False
        if level > len(self.layers):
            self.layers.append(FoundLayer([], []))
        layer = self.layers[level - 1]
        before = len(layer.rows)
        merged = merge_rows([*layer.rows, *rows])
        if len(merged) == before:
            return False
        self.layers = self.layers[:level]
        self.layers[-1] = FoundLayer(merged, [*layer.signs, *([0] * (len(merged) - before))])
        for later in range(level, len(self.versions)):
            self.versions[later] += 1
        self.progress.neurons(sum(len(found.rows) for found in self.layers), None)
        if level > 1:
            self._complete(level)
        return True

    # -- one layer --

    def _straight_rows(self, sightings: Sequence[Sighting]) -> list[Row]:
        forms = [s.form for s in sightings if s.form is not None]
        known = straight(self.pool.asker, forms, self.rng)
        return merge_rows([Row(list(f.normal), f.offset) for f, flat in zip(forms, known, strict=True) if flat])

    def _walked_rows(self, level: int, sightings: Sequence[Sighting]) -> list[Row]:
        """Rows of layer ``level`` from walks over the layers before it; fixes the signs of the last of these."""
        signs = self._signs_behind(level)
        layers = stacked(self.slice.rank, self.layers[: level - 1])
        walks = [BoundaryWalk(layers, signs, s.form, s.point, self.rng) for s in sightings if s.form is not None]
        for walk in walks:
            walk.weigh_start()
        run_walks(self.pool.asker, walks, 60 + 8 * layers.widths[-1], self.slice.rank)
        if not all(signs):
            self._signs_from(level, walks)
        rows = merge_rows([row for row in map(row_of, walks) if row is not None])
        return self._confirmed(level, rows)

    def _signs_behind(self, level: int) -> list[int]:
        """Signs of layer level - 1 as far as gradients of f show them; the layer is oriented by them."""
        layer = self.layers[level - 2]
        if not all(layer.signs):
            layers = stacked(self.slice.rank, self.layers[: level - 1])
            found, _ = signs_by_gradients(layers, self._regions(layers))
            layer.signs = [old or new for old, new in zip(layer.signs, found, strict=True)]
            self.layers[level - 2] = layer = layer.oriented()
        return layer.signs

    def _regions(self, layers: KnownLayers) -> list[tuple[Pattern, np.ndarray]]:
        places, gradients = [], []
        for line in self.pool.lines:
            for piece, gradient in sorted(line.gradients.items()):
                places.append(line.point(line.middle(piece)))
                gradients.append(gradient)
        patterns = layers.pattern(*homogeneous(places, self.slice.rank))
        return list(zip(patterns, gradients, strict=True))

    def _signs_from(self, level: int, walks: Sequence[BoundaryWalk]) -> None:
        good = [walk for walk in walks if walk.crossings and not walk.given_up and not walk.inconsistent]
        if not good:
            return
        signs = signs_by_rows([walk.system for walk in good])
        for walk in walks:
            walk.learn_signs(signs)
        self.layers[level - 2].signs = signs
        self.layers[level - 2] = self.layers[level - 2].oriented()

    def _confirmed(self, level: int, rows: Sequence[Row]) -> list[Row]:
        """Rows that predict where else f bends: a deeper neuron walked by mistake does not."""
        if not rows:
            return []
        candidate = stacked(self.slice.rank, [*self.layers[: level - 1], FoundLayer(list(rows), [0] * len(rows))])
        kinks = self._unexplained()
        heights = candidate.preactivations(*self.pool.points(kinks))[-1].tolist() if kinks else []
        lines: list[set[int]] = [set() for _ in rows]
        for (line, _), z in zip(kinks, heights, strict=True):
            for i, x in enumerate(z):
                if x == 0:
                    lines[i].add(line)
        seen = [len(found) >= 2 for found in lines]
        doubtful = [i for i, known in enumerate(seen) if not known]
        for i, hits in zip(doubtful, visible_places(self.pool.asker, candidate, doubtful, self.rng), strict=True):
            seen[i] = hits >= 2
        return [row for row, known in zip(rows, seen, strict=True) if known]

    def _complete(self, level: int) -> None:
        """Open weights of a layer's rows: from the pool, then from new walks all over the boundaries."""
        layer = self.layers[level - 1]
        layers = stacked(self.slice.rank, self.layers[: level - 1])
        if not all(self.layers[level - 2].signs):
            return
        self._complete_from_pool(layers, layer)
        walks: list[tuple[Row, BoundaryWalk]] = []
        for row in layer.rows:
            if row.missing:
                places = places_on_boundary(layers, row, self.rng)
                near = nearest_to_open(layers, row, places, 3)
                walks.extend((row, walk) for walk in walks_from(layers, row, near, self.rng))
        run_walks(self.pool.asker, [walk for _, walk in walks], 40, self.slice.rank)
        for row, walk in walks:
            if not walk.inconsistent:
                for i in row.missing:
                    row.weights[i] = walk.system.weights.get(i)
        layer.rows = merge_rows(layer.rows)
        layer.signs = [0] * len(layer.rows)
        self._complete_from_pool(layers, layer)

    def _complete_from_pool(self, layers: KnownLayers, layer: FoundLayer) -> None:
        points = self.pool.points(self._unexplained())
        for row in layer.rows:
            while complete_by_kinks(layers, row, *points):
                pass

    # -- the end --

    def _fit_output(self) -> OutputLayer | None:
        self.progress.phase("output")
        return fit_output(self.pool.asker, stacked(self.slice.rank, self.layers), self.rng)

    def _verify(self) -> list[list[fmpq]]:
        """Compare with the black box; counterexamples come back as points on the slice."""
        self.progress.phase("verify")
        evaluator = FlintEvaluator(self._network())
        self.verified = verify(
            self.oracle,
            evaluator,
            functools.partial(kinks_of_network, evaluator, self.context, self.settings),
            inputs=self.options.verify_inputs,
            lines=self.options.verify_lines,
            rng=self.rng,
        )
        if self.verified.agrees:
            return []
        found = np.array(self.verified.counterexamples[:4], dtype=object)
        return [
            [round_to_grid(x, COUNTEREXAMPLE_BITS) for x in point] for point in self.slice.equivalent(found)
        ]

    def _network(self) -> ExactNetwork | None:
        """What is known, with the first layer on all inputs; None before the output layer is known."""
        if self.output is None:
            return None
        last = FoundLayer(self.layers[-1].rows, self.output.signs).oriented()
        layers = [*self.layers[:-1], last]
        weights, biases = [], []
        for i, layer in enumerate(layers):
            rows = np.array([[w if w is not None else fmpq(0) for w in row.weights] for row in layer.rows], dtype=object)
            known = stacked(rows.shape[1], [layer])
            whole = np.array([[fmpq(x) for x in row] for row in known.weights[0].tolist()], dtype=object)
            weights.append(rational_matrix(self.slice.full_rows(whole) if i == 0 else whole))
            biases.append(fmpq_mat(len(known.biases[0]), 1, [fmpq(b) for b in known.biases[0]]))
        weights.append(rational_matrix(self.output.gamma))
        biases.append(fmpq_mat(len(self.output.constant), 1, list(self.output.constant)))
        return ExactNetwork(tuple(weights), tuple(biases))

    def _result(self, outcome: Outcome, begun: float) -> Extraction:
        complete = outcome is Outcome.COMPLETE
        sentences = [*self.missing] if complete else [*self.missing, outcome.value]
        for level, layer in enumerate(self.layers, start=1):
            open_weights = sum(len(row.missing) for row in layer.rows)
            if open_weights:
                sentences.append(f"{open_weights} weights of layer {level} were not seen by any query; they are set to 0")
        return Extraction(
            network=self._network(),
            outcome=outcome,
            claim=self.context.claim if complete else "incomplete",
            context=self.context.name,
            prec=None if self.context.exact else self.context.prec,
            queries=self.oracle.count,
            seconds=time.perf_counter() - begun,
            oracle_seconds=self.oracle.seconds,
            verified=self.verified,
            sign_method="linear systems over the rationals, layer by layer",
            resolution_bits=self.settings.resolution_bits,
            reach_bits=self.settings.reach_bits,
            not_resolved=tuple(sentences),
            seed=self.options.seed,
        )
