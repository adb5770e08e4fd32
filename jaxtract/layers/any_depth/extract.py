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
from flint import arb, arb_mat, fmpq, fmpq_mat

from jaxtract.geometry.known_layers import KnownLayers, Matrix
from jaxtract.layers.any_depth.boundary_walk import BoundaryWalk, RationalForm
from jaxtract.layers.any_depth.carried import plain_rows
from jaxtract.layers.any_depth.complete_last import inputs_with_both_on, weight_from
from jaxtract.layers.any_depth.complete_rows import (
    complete_by_kinks,
    nearest_to_open,
    places_on_boundary,
    walks_from,
)
from jaxtract.layers.any_depth.disagreements import Recovered, first_borders
from jaxtract.layers.any_depth.extreme_lines import extreme_line, extreme_points
from jaxtract.layers.any_depth.first_layer import measure_line, straight
from jaxtract.layers.any_depth.found_layers import (
    FoundLayer,
    Output,
    Row,
    merge_rows,
    rescaled_columns,
    stacked,
    without_unread,
)
from jaxtract.layers.any_depth.input_slice import SliceAsker
from jaxtract.layers.any_depth.layer_rows import row_of, run_walks
from jaxtract.layers.any_depth.layer_signs import (
    Region,
    Sides,
    Span,
    determinable,
    missing_at,
    signs_by_gradients,
    signs_by_rows,
    span_of,
)
from jaxtract.layers.any_depth.open_weights import OpenWeights, Weight, at_borders, behind_boundaries, solve_open
from jaxtract.layers.any_depth.output_layer import (
    Tail,
    fit_output,
    known_at,
    remember_output,
    remembered_output,
)
from jaxtract.layers.any_depth.pool import Pool, Sighting
from jaxtract.layers.any_depth.predicted import visible_places
from jaxtract.layers.any_depth.read_with_skips import Found, SkipReader
from jaxtract.layers.any_depth.refined_rows import refined
from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.measurement.balls import measured_profile, measuring
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.points import PointBatch, on_lines, scattered
from jaxtract.polish.gauss_newton import Polished, polish
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from jaxtract.search.context_lines import LineSettings, search_lines, settings_for
from jaxtract.search.lines import Line, LineProfile
from jaxtract.search.random_lines import random_line
from jaxtract.signs.plainest import plainest, without_opposites
from jaxtract.verification.agreement import Verified, agree_bits, verify
from jaxtract.verification.own_kinks import kinks_of_network
from precision.balls import ball, middle, middles, quotient, to_float, vanishes
from precision.context import Context, Number, object_matrix
from precision.dyadic import dyadic_matrix, from_float, from_float64, power_of_two, round_to_grid

Kink = tuple[int, int]
"""(line, kink on it)"""

MOST_DEPTH = 64

DEEP_CONTEXTS = ("exact", "mp")
"""Answers in doubles leave too few bits for the walks along boundaries."""

AGREEING = 3
"""Inputs that must give one value for an open weight."""

ROUNDED_REACH_BITS = 8
"""Lines of rounded answers are searched to 2^8, and further while their ends still bend."""

BORDERS = 4
"""Counterexamples that are followed to the border of what is missing, at a time."""

EXTREMES = 256
"""Extreme points of every layer at which the finished network is asked."""

FIRST_SIGN_WALKS = 2
"""Walks that look for the signs of a layer; twice as many whenever all of them were of deeper neurons."""

FRUITFUL = 0.15
"""Share of the last walks at a layer that must have given a row, for kinks of unknown layer to be tried there first."""

RANDOM_LINES = 0.25
"""Share of later lines that are random; the others run between extremes of a known layer."""

PATIENCE = 3
"""How many times lines are added to find what a layer lacks before the next layer is begun without it."""

LEAST_SEEN, MOSTLY_SEEN = 0.4, 0.7
"""Shares of its predicted places where a row is seen: below the first it is refuted, above the second believed.

What is behind a neuron is not always on, so that it is not seen everywhere; a deeper neuron that was walked by mistake
is met only in the cells of the layers before it that the walk has been to. Between the two more places are asked.
"""

ONE_SIDED = 0.03
"""Share of the places of later rows that a neuron which was not known then may be on at."""

FEWEST_LINES = 3
"""Lines after which a hyperplane of the first layer has been met twice."""

CONFIRMATIONS = 4
"""Times that places are asked for a row that is neither refuted nor believed."""

VALUE_BITS = 16
"""Bits that a value of the recovered function may be rougher than the roughest of its rows."""

SCALING_BITS = 2
"""Bits that the free scales of neurons cost a statement about single weights."""

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
        widths: a hint, inputs and outputs included; it saves queries where it is right, and does no harm where not.
    """

    seed: int = 0
    max_queries: int | None = None
    resolution_bits: int = 256
    verify_inputs: int = 1000
    verify_lines: int = 20
    rounds: int = 12
    first_lines: int = 2
    widths: tuple[int, ...] | None = None


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
    return AnyDepth(oracle, context, options or AnyDepthOptions(), progress or NoProgressMeter()).run(keep)


class AnyDepth:
    """One extraction at any depth.

    Args:
        oracle: the black box, or one that was counted and asked before.
        context, options, progress: as in ``extract_any_depth``.
        first_line: a line of the full space that was searched before.
    """

    def __init__(
        self,
        oracle: Oracle | CountingOracle,
        context: Context,
        options: AnyDepthOptions,
        progress: ProgressMeter,
        *,
        first_line: tuple[Line, LineProfile] | None = None,
    ):
        if context.name not in DEEP_CONTEXTS:
            raise ValueError(
                f"networks of more than one hidden layer are read in the contexts {' and '.join(DEEP_CONTEXTS)}, "
                f"not in {context.name}; use --context mp with an oracle that answers to many bits"
            )
        self.first_line = first_line
        self.context = context
        self.options = options
        self.progress = progress
        self.rng = np.random.default_rng(options.seed)
        self.oracle = (
            oracle
            if isinstance(oracle, CountingOracle)
            else CountingOracle(oracle, context, max_queries=options.max_queries, on_queries=progress.queries)
        )
        self.measurer = measuring(self.oracle)
        self.numbers = self.measurer.context
        self.settings: LineSettings = _deep_settings(context, options.resolution_bits)
        self.layers: list[FoundLayer] = []
        self.output: Tail | None = None
        self.with_skips: Found | None = None
        self.skips_tried = False
        self.verified = Verified()
        self.polished: Polished | None = None
        self.tried: set[tuple[Kink, int, int]] = set()
        self.versions = [0] * (MOST_DEPTH + 2)
        self.done: set[Kink] = set()
        self.patience = PATIENCE
        self.bordered: set[tuple[int, int, int]] = set()
        self.sign_walks = FIRST_SIGN_WALKS
        self.fruitful: dict[int, bool] = {}
        self._stacks: dict[int, tuple[list[tuple[Row, int]], KnownLayers]] = {}
        self._full_rows: tuple[np.ndarray, np.ndarray] | None = None
        self._constant: np.ndarray | None = None
        self._sides_known: dict[int, dict[Kink, Sides]] = {}
        self._sides_for: dict[int, KnownLayers] = {}
        self._seen_complete: tuple[KnownLayers, int] | None = None

    def run(self, keep: Callable[[Extraction], None] | None) -> Extraction:
        with self.numbers.working():
            return self._run(keep)

    def _run(self, keep: Callable[[Extraction], None] | None) -> Extraction:
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
        """The first line, its gradients, and from them the coordinates that matter."""
        line, profile = self.first_line or self._search_first_line()
        self.progress.phase("measure")
        self.slice, searched = measure_line(self.measurer, line, measured_profile(self.measurer, profile), self.rng)
        self.pool = Pool(SliceAsker(self.oracle, self.slice), self.slice.rank)
        self.pool.lines.append(searched)
        self._add_lines([random_line(self.slice.rank, self.rng) for _ in range(self.options.first_lines)])

    def _search_first_line(self) -> tuple[Line, LineProfile]:
        line = random_line(self.oracle.inputs, self.rng)
        self.progress.phase("search")
        bases, directions = (dyadic_matrix([ends], self.oracle.inputs) for ends in (line.base, line.direction))
        (profile,) = search_lines(self.oracle, bases, directions, settings=self.settings)
        return line, profile

    def _rounds(self) -> Outcome:
        left, stuck = self.options.rounds, None
        while True:
            self._explain()
            bad = np.empty((0, self.slice.rank))
            if not self._unexplained() and self._read_output():
                bad = self._verify()
                if self.verified.agrees:
                    return Outcome.COMPLETE
                # What the last borders taught nothing about, new ones will not explain either.
                state = self._state()
                if state != stuck and self._learn_from(bad):
                    stuck = state
                    continue
            left -= 1
            plain_failed = left < 0 or (self.patience <= 0 and not self.skips_tried)
            if plain_failed and self.numbers.exact and self._read_with_skips():
                return Outcome.COMPLETE
            if left < 0:
                return Outcome.COUNTEREXAMPLES_LEFT
            self.patience -= 1
            self.done.clear()
            self._add_lines(self._next_lines(bad))

    def _read_with_skips(self) -> bool:
        """What is left without the plain hypothesis: True when a network with skips is found and not refuted.

        First on top of all layers that were read completely, then, as a last resort, of the first one alone.
        """
        known = plain_rows(self.layers)
        reader = SkipReader(
            self.oracle,
            self.slice,
            self.pool,
            known[:1] if self.skips_tried else known,
            self.settings,
            self.rng,
            self.progress,
            verify_inputs=self.options.verify_inputs,
            verify_lines=self.options.verify_lines,
        )
        self.skips_tried = True
        self.with_skips = reader.run(self.options.rounds // 2)
        if self.with_skips is None:
            return False
        self.verified = self.with_skips.verified
        return True

    def _state(self) -> list[tuple[int, int]]:
        """Rows and open weights of every layer."""
        return [(len(layer.rows), sum(len(row.missing) for row in layer.rows)) for layer in self.layers]

    def _read_output(self) -> bool:
        """The output layer over what is known, and the open weights that it lets us see; False when it does not fit."""
        self.output = self._fit_output() or self._extended_output()
        if self.output is None:
            return False
        remember_output(self.output, self._known(len(self.layers)), self.layers[-1].rows)
        self._constant = np.array(self.output.network.biases[1].entries(), dtype=object)
        if self._complete_by_differences() or self._complete_last():
            self.output = self._fit_output() or self._extended_output()
        return self.output is not None

    def _extended_output(self) -> Tail | None:
        """The output layer as it was, and the weights of new neurons from the borders at which they were found.

        Open weights can leave too few places where f is known and undisturbed to read the layer again.
        """
        rows = self.layers[-1].rows
        new = [row for row in rows if row.output is None]
        if self._constant is None or len(new) == len(rows):
            return None
        known = self._known(len(self.layers))
        if new:
            self.output = remembered_output(known, rows, self._constant)
            _, recovered = self._recovered()
            for i, row in enumerate(rows):
                if row.output is None:
                    row.output = self._output_at_borders(known, recovered, i, row)
            if any(row.output is None for row in new):
                return None
        return remembered_output(known, rows, self._constant)

    def _output_at_borders(self, known: KnownLayers, recovered: Recovered, neuron: int, row: Row) -> Output | None:
        """What a neuron of the last layer adds to f, from a border on its boundary; the sides decide its sign."""
        for index in self.pool.borders():
            line = self.pool.lines[index]
            heights, scales = self.pool.border_heights(known, index)
            at_kink, behind = heights[-1][0, neuron], heights[-1][1, neuron]
            if at_kink != 0 or vanishes(behind):
                continue
            bases, directions = (dyadic_matrix([e], self.slice.rank) for e in (line.line.base, line.line.direction))
            expected = recovered.ask(on_lines(bases, directions, [0, 0], [fmpq(-1), fmpq(1)]), "search")
            before, after = (
                piece.on(self.numbers, fmpq(t)) for piece, t in zip(line.profile.pieces, (-1, 1), strict=True)
            )
            if any(before != expected[0]) or not any(after != expected[1]):
                continue
            height = quotient(behind, scales[1]) / row.integer_factor()
            return Output((after - expected[1]) / abs(height), 1 if height > 0 else -1)
        return None

    def _next_lines(self, counterexamples: np.ndarray) -> list[Line]:
        rank = self.slice.rank
        lines = [
            random_line(rank, self.rng, [round_to_grid(from_float(x), COUNTEREXAMPLE_BITS) for x in base])
            for base in counterexamples[:2]
        ]
        oriented = [layer for layer in self.layers if all(layer.signs)]
        while len(lines) < 2:
            if not oriented or self.rng.random() < RANDOM_LINES:
                lines.append(random_line(rank, self.rng))
            else:
                # The last layer that is complete in its signs is the one whose successor lacks a neuron.
                depth = len(oriented) if self.rng.random() < 0.7 else int(self.rng.integers(1, len(oriented) + 1))
                lines.append(extreme_line(stacked(rank, oriented[:depth]), self.rng))
        return lines

    def _add_lines(self, lines: Sequence[Line]) -> None:
        self.progress.phase("search")
        self.blocked = 0
        if lines:
            self.pool.search(lines, self.settings)
            self._review()

    def _explain(self) -> None:
        """Find rows for unexplained kinks until none comes any more."""
        while unexplained := self._unexplained():
            measured = self._worth_measuring(unexplained)
            if not measured:
                return
            self.progress.phase("measure")
            self.pool.measure(measured)
            self._try(measured)

    def _unexplained(self) -> list[Kink]:
        kinks = self.pool.all_kinks()
        if not self.layers:
            return kinks
        heights = self.pool.heights(self._known(len(self.layers)), self.pool.places(kinks))[0]
        explained = [False] * len(kinks)
        for z in heights:
            for place, row in enumerate(z.tolist()):
                explained[place] = explained[place] or any(vanishes(x) for x in row)
        return [kink for kink, known in zip(kinks, explained, strict=True) if not known]

    def _try(self, kinks: Sequence[Kink]) -> None:
        """One wave of walks for kinks that are measured, each at the layer it most likely belongs to."""
        levels: dict[int, list[Kink]] = {}
        for kink, level in zip(kinks, self._next_levels(kinks), strict=True):
            if level is None:
                self.done.add(kink)
            else:
                levels.setdefault(level, []).append(kink)
        if not levels:
            return
        level = max(levels, key=lambda level: (self.fruitful.get(level, True), -level))
        chosen = self._wave(level, levels[level])
        self.tried.update((kink, level, self.versions[level - 1]) for kink in chosen)
        sightings = [self.pool.sighting(*kink) for kink in chosen]
        rows = self._straight_rows(sightings) if level == 1 else self._walked_rows(level, sightings)
        self.fruitful[level] = len(rows) >= FRUITFUL * len(chosen)
        self._insert(level, rows)

    def _next_levels(self, kinks: Sequence[Kink]) -> list[int | None]:
        """The layer at which to try every kink next.

        A neuron's normal is a combination of the gradients of the neurons that are on in the layer before. Where that
        says anything, the last layer that passes is the likely one; then come the layers that could not be
        told, then a new one.
        """
        depth = len(self.layers)
        passing: list[list[int]] = [[] for _ in kinks]
        unknown: list[list[int]] = [[] for _ in kinks]
        for level in range(depth, 1, -1):
            for i, (span, sides) in enumerate(zip(self._spans(level, kinks), self._sides(level, kinks), strict=True)):
                if sides is Sides.SAME or span is Span.OUTSIDE:
                    continue
                (passing if span is Span.INSIDE or sides is Sides.BORDER else unknown)[i].append(level)
        full = {level for level in range(1, depth + 1) if self._full(level)}
        ready = depth in full or (depth > 0 and self.blocked != depth + 1 and not self._incomplete())
        new = depth + 1 if ready else None
        found = []
        for kink, sure, open_ in zip(kinks, passing, unknown, strict=True):
            if self.pool.sighting(*kink).form is None:
                found.append(None)
                continue
            fruitful = [level for level in sorted(open_) if self.fruitful.get(level, True)]
            barren = [level for level in sorted(open_) if level not in fruitful]
            order = [1, *sure[:1], *fruitful, *([new] if new is not None else []), *barren, *sure[1:]]
            fresh = [
                level
                for level in order
                if level not in full and (kink, level, self.versions[level - 1]) not in self.tried
            ]
            found.append(fresh[0] if fresh else None)
        return found

    def _full(self, level: int) -> bool:
        """Whether a layer has all the neurons that the hint gives it; a hint that leads nowhere is not believed."""
        widths, rows = self.options.widths, self.layers[level - 1].rows
        if widths is None or level > len(widths) - 2 or self.patience <= 0:
            return False
        return len(rows) >= widths[level] and not any(row.missing for row in rows)

    def _spans(self, level: int, kinks: Sequence[Kink]) -> list[Span]:
        """Can the neurons of layer level - 1 that are on explain the normals?"""
        signs = np.array(self._signs_behind(level))
        layers = self._known(level - 1)
        missing = np.array([bool(row.missing) for row in self.layers[level - 2].rows])
        found = []
        for kink, pattern in zip(kinks, self.pool.patterns(layers, self.pool.places(kinks)), strict=True):
            form = self.pool.sighting(*kink).form
            on = np.where(signs == 0, True, pattern[-1] == (signs > 0))
            if form is None:
                found.append(Span.OUTSIDE)
            else:
                found.append(Span.EVERYTHING if (on & missing).any() else span_of(layers, pattern, on, form.normal))
        return found

    def _sides(self, level: int, kinks: Sequence[Kink]) -> list[Sides]:
        """Whether the kinks can be those of neurons that layer ``level`` lacks."""
        layers = self._known(level)
        if self._sides_for.get(level) is not layers:
            self._sides_for[level], self._sides_known[level] = layers, {}
        known = self._sides_known[level]
        fresh = [kink for kink in kinks if kink not in known and self.pool.is_measured(kink)]
        places = [(line, self.pool.lines[line].middle(k)) for line, k in fresh]
        for (line, k), pattern in zip(fresh, self.pool.patterns(layers, places), strict=True):
            gradients = self.pool.lines[line].gradients
            known[line, k] = missing_at(layers, pattern, gradients[k], gradients[k + 1])
        return [known.get(kink, Sides.OPEN) for kink in kinks]

    def _incomplete(self) -> bool:
        """Whether some gradient of f shows that the last layer lacks a neuron (or that f reads an earlier one)."""
        if self.patience <= 0:
            return False
        layers = self._known(len(self.layers))
        measured = sum(len(line.gradients) for line in self.pool.lines)
        if self._seen_complete == (layers, measured):
            return False
        _, unexplained = signs_by_gradients(layers, self._regions(layers))
        if not unexplained:
            self._seen_complete = (layers, measured)
        return unexplained > 0

    def _known(self, depth: int) -> KnownLayers:
        """The first ``depth`` layers; the same object as long as nothing changed."""
        rows = [row for layer in self.layers[:depth] for row in layer.rows]
        state = [(row, len(row.missing)) for row in rows]
        known = self._stacks.get(depth)
        if (
            known is None
            or len(known[0]) != len(state)
            or any(a[0] is not b[0] or a[1] != b[1] for a, b in zip(known[0], state, strict=True))
        ):
            known = (state, stacked(self.slice.rank, self.layers[:depth]))
            self._stacks[depth] = known
        return known[1]

    def _worth_measuring(self, kinks: Sequence[Kink]) -> list[Kink]:
        """Kinks that are measured already; else those of one line."""
        fresh = [kink for kink in kinks if kink not in self.done]
        measured = [kink for kink in fresh if self.pool.is_measured(kink)]
        if measured or not fresh:
            return measured
        line = fresh[0][0]
        return [(i, k) for i, k in fresh if i == line]

    def _wave(self, level: int, kinks: list[Kink]) -> list[Kink]:
        """How many to try together: the rows that the first ones give explain many of the others.

        Once the first few walks have shown the signs of the layer before, every other walk is shorter.
        """
        if level == 1:
            return kinks
        signs = self._signs_behind(level)
        if 4 * signs.count(0) > len(signs):
            unknown = self.layers[level - 2].signs.count(0)
            size = self.sign_walks if level > 2 else 1 + -(-unknown // self.slice.rank) + 1
        else:
            size = max(8, len(kinks) // 2)
        if len(kinks) <= size:
            return kinks
        return [kinks[i] for i in sorted(self.rng.permutation(len(kinks))[:size].tolist())]

    def _insert(self, level: int, rows: Sequence[Row]) -> bool:
        """Add rows to a layer, or weights to rows that it has; True when something was new."""
        if not rows:
            return False
        if level > len(self.layers):
            self.layers.append(FoundLayer([], []))
        layer = self.layers[level - 1]
        before, open_before = len(layer.rows), sum(len(row.missing) for row in layer.rows)
        factors = [row.integer_factor() for row in layer.rows]
        merged = merge_rows([*layer.rows, *rows])
        if len(merged) == before and sum(len(row.missing) for row in merged) == open_before:
            return False
        self._install(level, merged, factors)
        for later in range(level, len(self.versions)):
            self.versions[later] += 1
        self.done.clear()
        self.blocked = 0
        self.patience = PATIENCE
        self.progress.neurons(sum(len(found.rows) for found in self.layers), None)
        if level > 1:
            self._complete(level)
        self._refine(level)
        return True

    def _refine(self, level: int) -> None:
        """Rows of a layer between smaller balls, from all kinks that lie on their boundaries."""
        layer = self.layers[level - 1]
        if self.numbers.exact or (level > 1 and not all(self.layers[level - 2].signs)):
            return
        known = self._known(level)
        points = [self.pool.lines[i].point(t) for i, t in self.pool.places(self.pool.all_kinks())]
        points += [point for row in layer.rows for point in row.sightings]
        heights = known.preactivations(arb_mat(points), [1] * len(points))
        before = points if level == 1 else [[x if x > 0 else arb(0) for x in z] for z in heights[-2].tolist()]
        zeros = [[i for i, x in enumerate(z) if vanishes(x)] for z in heights[-1].tolist()]
        factors = [row.integer_factor() for row in layer.rows]
        layer.rows = [
            refined(row, [a for a, zero in zip(before, zeros, strict=True) if zero == [i]])
            for i, row in enumerate(layer.rows)
        ]
        self._carry_scales(level, factors)

    def _install(self, level: int, rows: list[Row], factors: Sequence[fmpq]) -> None:
        """New rows of a layer, the known ones first.

        Layers behind it were read where the new neurons are off: they stay, and their weights on the new ones are open,
        if the borders at which these were found tell their signs. Else they are read again.
        """
        layer, later = self.layers[level - 1], self.layers[level:]
        added = len(rows) - len(layer.rows)
        self.layers = self.layers[:level]
        self.layers[-1] = FoundLayer(rows, [*layer.signs, *([0] * added)])
        if not later:
            return
        self._signs_at_borders(level)
        self._signs_by_readers(level, later[0])
        if not all(self.layers[-1].signs):
            return
        readers = [dataclasses.replace(row, weights=[*row.weights, *([None] * added)]) for row in later[0].rows]
        self.layers += [FoundLayer(readers, later[0].signs), *later[1:]]
        self._carry_scales(level, factors)

    def _signs_by_readers(self, level: int, readers: FoundLayer) -> None:
        """Rows behind a layer that were read without a neuron were read where it is off."""
        layer = self.layers[level - 1]
        places = [place for row in readers.rows for place in row.seen_at]
        if all(layer.signs) or not places:
            return
        positive = np.mean(self._known(level).values64(np.stack(places))[-1] > 0, axis=0)
        for i, (sign, share) in enumerate(zip(layer.signs, positive, strict=True)):
            if not sign and min(share, 1 - share) < ONE_SIDED:
                layer.signs[i] = 1 if share < ONE_SIDED else -1
        self.layers[level - 1] = layer.oriented()

    def _carry_scales(self, level: int, factors: Sequence[fmpq]) -> None:
        """Rows are known up to scale; later columns follow when the integer multiples of a layer's rows change.

        ``factors``: to the integer multiples as they were, of the rows that were there before.
        """
        for depth in range(level, len(self.layers)):
            rows = self.layers[depth - 1].rows
            changes = [row.integer_factor() / old for row, old in zip(rows, factors, strict=False)]
            changes += [fmpq(1)] * (len(rows) - len(changes))
            readers = self.layers[depth]
            factors = [row.integer_factor() for row in readers.rows]
            readers.rows = rescaled_columns(readers.rows, changes)

    def _signs_at_borders(self, level: int) -> None:
        """A neuron that was found where f began to differ is on where it differs."""
        layer = self.layers[level - 1]
        known = self._known(level)
        for index in self.pool.borders():
            heights, _ = self.pool.border_heights(known, index)
            at_kink, behind = heights[-1].tolist()
            for i, sign in enumerate(layer.signs):
                if not sign and vanishes(at_kink[i]) and behind[i] != 0:
                    layer.signs[i] = 1 if behind[i] > 0 else -1
        self.layers[level - 1] = layer.oriented()

    # -- one layer --

    def _straight_rows(self, sightings: Sequence[Sighting]) -> list[Row]:
        """Rows of the first layer. A hyperplane meets every line: one that meets no kink elsewhere is not asked for."""
        seen = [s for s in sightings if s.form is not None]
        settled = self.layers[0].rows if self.layers else []
        met, missed = self._met_again(seen, settled)
        lines = sum(not line.border for line in self.pool.lines)
        chosen = [
            k for k, s in enumerate(seen) if len(met[k]) > 1 or lines < FEWEST_LINES or self.pool.lines[s.line].border
        ]
        forms = [form for k in chosen if (form := seen[k].form) is not None]
        kept = [*chosen, *range(len(seen), len(seen) + len(settled))]
        free = [[side[kept] for side in met[k]] for k in chosen] + [[]] * len(settled)
        every = forms + [RationalForm([w or fmpq(0) for w in row.weights], row.bias) for row in settled]
        places = 1 if not self.layers else 4
        known = straight(
            self.pool.asker,
            every,
            free,
            self.rng,
            most_places=places,
            settled=len(settled),
            missed=[missed[k] for k in chosen],
        )
        return merge_rows([Row(list(f.normal), f.offset) for f, flat in zip(forms, known, strict=True) if flat])

    def _met_again(
        self, sightings: Sequence[Sighting], settled: Sequence[Row]
    ) -> tuple[list[list[np.ndarray]], list[int]]:
        """For every sighting's hyperplane where the pool has kinks on it, and how many searched lines have none.

        A place is told by the sides of all hyperplanes there; the last sides are those of the first layer's rows that
        are settled.
        """
        rows = [Row(list(s.form.normal), s.form.offset) for s in sightings if s.form is not None]
        if not rows:
            return [], []
        hyperplanes = stacked(self.slice.rank, [FoundLayer([*rows, *settled], [0] * (len(rows) + len(settled)))])
        kinks = self.pool.all_kinks()
        (heights,), _ = self.pool.heights(hyperplanes, self.pool.places(kinks))
        found: list[list[np.ndarray]] = [[] for _ in rows]
        met: list[set[int]] = [set() for _ in rows]
        for (line, _), z in zip(kinks, heights.tolist(), strict=True):
            zero = [i for i in range(len(rows)) if vanishes(z[i])]
            if zero:
                side = np.array([x > 0 for x in z])
                for i in zero:
                    found[i].append(side)
                    met[i].add(line)
        searched = {line for line, _ in kinks} - set(self.pool.borders())
        return found, [len(searched - lines) for lines in met]

    def _walked_rows(self, level: int, sightings: Sequence[Sighting]) -> list[Row]:
        """Rows of layer ``level`` from walks over the layers before it; fixes the signs of the last of these."""
        signs = list(self._signs_behind(level))
        layers = self._known(level - 1)
        walks = [BoundaryWalk(layers, signs, s.form, s.point, self.rng) for s in sightings if s.form is not None]
        for walk in walks:
            walk.weigh_start()
        few_signs = 4 * signs.count(0) <= len(signs)
        run_walks(self.pool.asker, walks, 60 + 8 * layers.widths[-1], self.slice.rank, for_signs=not few_signs)
        if not all(signs):
            self._signs_from(level, walks)
            if not few_signs and self.layers[level - 2].signs.count(0) == signs.count(0):
                if any(walk.trusted for walk in walks):
                    # Equations that do not fit together: the layer before lacks a neuron. New lines will show it.
                    self.blocked = level
                else:
                    self.sign_walks *= 2
                return []
            self.sign_walks = FIRST_SIGN_WALKS
            if not few_signs:
                run_walks(self.pool.asker, walks, 60 + 8 * layers.widths[-1], self.slice.rank)
        rows = merge_rows([row for row in map(row_of, walks) if row is not None])
        return self._confirmed(level, rows)

    def _signs_behind(self, level: int) -> list[int]:
        """Signs of layer level - 1 as far as gradients of f show them; the layer is oriented by them."""
        if not all(self.layers[level - 2].signs):
            self._learn_signs(level)
            if not all(self.layers[level - 2].signs) and self._measure_borders(level):
                self._learn_signs(level)
        return self.layers[level - 2].signs

    def _learn_signs(self, level: int) -> None:
        layer = self.layers[level - 2]
        layers = self._known(level - 1)
        found, _ = signs_by_gradients(layers, self._regions(layers))
        layer.signs = [old or new for old, new in zip(layer.signs, found, strict=True)]
        self.layers[level - 2] = layer.oriented()

    def _regions(self, layers: KnownLayers) -> list[Region]:
        places, gradients, borders = [], [], []
        for index, line in enumerate(self.pool.lines):
            zeros = self._zeros_on(index, layers)
            for piece, gradient in sorted(line.gradients.items()):
                places.append((index, line.middle(piece)))
                gradients.append(gradient)
                borders.append(frozenset(zeros.get(piece - 1, ())) | frozenset(zeros.get(piece, ())))
        patterns = self.pool.patterns(layers, places)
        return [Region(*region) for region in zip(patterns, gradients, borders, strict=True)]

    def _zeros_on(self, index: int, layers: KnownLayers) -> dict[int, list[int]]:
        """For every kink of a line the neurons of the last layer that are zero there."""
        kinks = self.pool.lines[index].kinks
        if not kinks:
            return {}
        heights, _ = self.pool.heights(layers, [(index, t) for t in kinks])
        return {k: [i for i, x in enumerate(z) if vanishes(x)] for k, z in enumerate(heights[-1].tolist())}

    def _measure_borders(self, level: int) -> bool:
        """Measure the gradient beside one kink of every neuron whose sign is open, where that would tell it."""
        state = (level, self.versions[level], len(self.pool.lines))
        if state in self.bordered:
            return False
        self.bordered.add(state)
        layers = self._known(level - 1)
        wanted = {i for i, sign in enumerate(self.layers[level - 2].signs) if not sign}
        pieces: list[tuple[int, int]] = []
        for index, line in enumerate(self.pool.lines):
            if not line.dyadic or not wanted:
                continue
            for kink, zeros in self._zeros_on(index, layers).items():
                here = wanted & set(zeros)
                if not here:
                    continue
                (pattern,) = self.pool.patterns(layers, [(index, line.middle(kink))])
                told = here & set(determinable(layers.forms(layers.depth - 1, pattern)[0]))
                if told:
                    pieces.append((index, kink))
                    wanted -= told
        self.pool.measure_pieces(pieces)
        return bool(pieces)

    def _signs_from(self, level: int, walks: Sequence[BoundaryWalk]) -> None:
        good = [walk for walk in walks if walk.trusted]
        if not good:
            return
        signs = signs_by_rows([walk.system for walk in good])
        for walk in walks:
            walk.learn_signs(signs)
        self.layers[level - 2].signs = signs
        self.layers[level - 2] = self.layers[level - 2].oriented()

    def _confirmed(self, level: int, rows: Sequence[Row]) -> list[Row]:
        """Rows that predict where else f bends: a deeper neuron walked by mistake does so in a few cells only."""
        if not rows:
            return []
        candidate = stacked(self.slice.rank, [*self.layers[: level - 1], FoundLayer(list(rows), [0] * len(rows))])
        seen, unseen = self.pool.crossings(candidate, [row.missing for row in rows])
        # The sighting that the row comes from proves nothing.
        seen = [max(s - 1, 0) for s in seen]
        doubtful = [i for i in range(len(rows)) if seen[i] < 2 or seen[i] < MOSTLY_SEEN * (seen[i] + unseen[i])]
        for _ in range(CONFIRMATIONS):
            if not doubtful:
                break
            places = visible_places(self.pool.asker, candidate, rows, doubtful, self.rng)
            for i, (hits, asked) in zip(doubtful, places, strict=True):
                seen[i], unseen[i] = seen[i] + hits, unseen[i] + asked - hits
            doubtful = [i for i in doubtful if LEAST_SEEN <= _share(seen[i], unseen[i]) < MOSTLY_SEEN]
        return [
            row
            for row, s, u in zip(rows, seen, unseen, strict=True)
            if s >= 2 and _share(s, u) >= (LEAST_SEEN + MOSTLY_SEEN) / 2
        ]

    def _review(self) -> None:
        """Drop rows that the lines searched since then refute, and what was read behind them."""
        for level in range(2, len(self.layers) + 1):
            layer = self.layers[level - 1]
            seen, unseen = self.pool.crossings(self._known(level), [row.missing for row in layer.rows])
            kept = [k for k, (s, u) in enumerate(zip(seen, unseen, strict=True)) if u < 3 or _share(s, u) >= LEAST_SEEN]
            if len(kept) < len(layer.rows):
                self.layers = self.layers[:level]
                self.layers[-1] = FoundLayer([layer.rows[k] for k in kept], [layer.signs[k] for k in kept])
                if not kept:
                    self.layers.pop()
                self.versions = [v + (later >= level) for later, v in enumerate(self.versions)]
                return

    def _complete(self, level: int) -> None:
        """Open weights of a layer's rows: from the pool, then from new walks all over the boundaries."""
        layer = self.layers[level - 1]
        layers = self._known(level - 1)
        if not all(self.layers[level - 2].signs) or not any(row.missing for row in layer.rows):
            return
        factors = [row.integer_factor() for row in layer.rows]
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
        self._complete_from_pool(layers, layer)
        merged = merge_rows(layer.rows)
        if len(merged) < len(layer.rows):
            layer.rows, layer.signs = merged, [0] * len(merged)
            self.layers = self.layers[:level]
        self._carry_scales(level, factors)

    def _complete_from_pool(self, layers: KnownLayers, layer: FoundLayer) -> None:
        kinks = self._unexplained()
        if not kinks or not any(row.missing for row in layer.rows):
            return
        heights, scales = self.pool.heights(layers, self.pool.places(kinks))
        for row in layer.rows:
            while complete_by_kinks(row, heights[-1].tolist(), scales):
                pass

    # -- the end --

    def _fit_output(self) -> Tail | None:
        self.progress.phase("output")
        layers = self._known(len(self.layers))
        known = self.pool.known_values()
        heights, scales = self.pool.heights(layers, [place for place, _ in known])
        points = [self.pool.lines[i].point(t) for (i, t), _ in known] if layers.depth == 1 else []
        values = known_at(heights, scales, points, [value for _, value in known])
        free = self._undisturbed(heights)
        kept, doubtful = np.nonzero(free)[0].tolist(), np.nonzero(~free)[0].tolist()
        return fit_output(
            self.pool.asker,
            layers,
            values.at(kept),
            self.numbers,
            self.rng,
            undisturbed=self._undisturbed,
            doubtful=values.at(doubtful),
            open_columns=sorted({i for row in self.layers[-1].rows for i in row.missing}),
            seen_at=[row.seen_at for row in self.layers[-1].rows],
        )

    def _undisturbed(self, heights: Sequence[Matrix]) -> np.ndarray:
        """At which points no open weight acts: what it reads is off. From the pre-activations of all layers."""
        usable = np.ones(heights[0].nrows(), dtype=bool)
        for z, layer in zip(heights, self.layers[1:], strict=False):
            sources = sorted({i for row in layer.rows for i in row.missing})
            if sources:
                usable &= ~np.array([any(row[i] > 0 for i in sources) for row in z.tolist()], dtype=bool)
        return usable

    def _complete_last(self) -> bool:
        """Open weights of the last layer from inputs where both neurons are on; True when one was found."""
        layer, tail = self.layers[-1], self.output
        if tail is None or len(self.layers) < 2 or tail.network.widths[1] != len(layer.rows):
            return False
        layers, network = self._known(len(self.layers)), self._network()
        assert network is not None
        evaluator, found = FlintEvaluator(network), False
        outgoing = object_matrix(tail.network.weights[1])
        for q, row in enumerate(layer.rows):
            for i in row.missing:
                sign = _sign_between(row, tail.network.weights[0].tolist()[q])
                points = inputs_with_both_on(layers, row, q, sign, i, self.rng)[:AGREEING]
                weights = self._weights_at(evaluator, points, outgoing[:, q] * sign, i)
                if len(weights) == AGREEING and _one_value(weights):
                    whole = row.in_integers()
                    row.weights = [None if k in row.missing else w for k, w in enumerate(whole.weights)]
                    row.weights[i], row.bias = weights[0], whole.bias
                    found = True
        return found

    def _weights_at(
        self, evaluator: FlintEvaluator, points: np.ndarray, gamma: np.ndarray, neuron: int
    ) -> list[Number | None]:
        """What every point says of the weight from ``neuron`` of the layer before; one query a point."""
        if len(points) == 0:
            return []
        own = from_float64(points)
        batch = self.slice.embed(scattered(own))
        residuals = self.measurer.ask(batch, "measure") - self._values(evaluator, batch)
        scale = 1 << max(own.exponent, 0)
        heights = self._known(len(self.layers) - 1).preactivations(own.mantissa, [scale] * len(points))[-1].tolist()
        return [weight_from(r, gamma, quotient(z[neuron], scale)) for r, z in zip(residuals, heights, strict=True)]

    def _recovered(self) -> tuple[FlintEvaluator, Recovered]:
        """The recovered function, on all inputs and on the slice."""
        network = self._network()
        assert network is not None, "asked for only after the output layer was found"
        evaluator = FlintEvaluator(network)
        return evaluator, Recovered(lambda points: self._values(evaluator, self.slice.embed(points)), self.numbers)

    def _values(self, evaluator: FlintEvaluator, points: PointBatch) -> np.ndarray:
        """The recovered function; between balls as rough as its rows are known, or may be to count as recovered."""
        values = evaluator(points)
        if self.numbers.exact:
            return values
        known = (self._accuracy() or 0) - VALUE_BITS
        radius = power_of_two(-max(0, min(known, agree_bits(self.context))))
        size = max((abs(x) for x in values.ravel()), default=fmpq(1))
        values.ravel()[:] = [ball(x, radius * size) for x in values.ravel()]
        return values

    def _verify(self) -> np.ndarray:
        """Compare with the black box; counterexamples come back as points on the slice, (points, rank).

        First at inputs that are extreme for some layer: a neuron that is hardly ever on is on there, if anywhere. They
        come before the fresh random inputs, and are not counted among these.
        """
        self.progress.phase("verify")
        self.polished = None
        evaluator, recovered = self._recovered()
        self.verified = Verified()
        if self.options.verify_inputs:
            points = self._extremes()
            batch = scattered(from_float64(points))
            wrong = np.any(self.pool.asker.ask(batch, "verify") != recovered.ask(batch, "verify"), axis=1)
            self.verified.disagreements += int(wrong.sum())
            if wrong.any():
                return points[wrong]
        if not self.numbers.exact:
            self.polished = self._polish()
            evaluator, _ = self._recovered()
        self.verified = verify(
            self.oracle,
            evaluator,
            functools.partial(kinks_of_network, evaluator, self.context, self.settings),
            inputs=self.options.verify_inputs,
            lines=self.options.verify_lines,
            rng=self.rng,
        )
        if self.verified.agrees:
            return np.empty((0, self.slice.rank))
        self.polished = None
        moved = self.slice.equivalent(np.array(self.verified.counterexamples[:16], dtype=object))
        return np.array([[to_float(x) for x in point] for point in moved])

    def _polish(self) -> Polished | None:
        network = self._network()
        assert network is not None, "polished only after the output layer was found"
        return polish(self.oracle, network, self.rng)

    def _extremes(self) -> np.ndarray:
        """Inputs on the slice at which random combinations of a layer's activations are extreme, (points, rank)."""
        found = [extreme_points(self._known(depth), EXTREMES, self.rng) for depth in range(1, len(self.layers) + 1)]
        return np.round(np.concatenate(found), 12)

    def _learn_from(self, bad: np.ndarray) -> bool:
        """The borders before a few counterexamples, for the pool or for open weights; False when there are none."""
        self.progress.phase("search")
        _, recovered = self._recovered()
        good = self._agreeing(recovered)
        if not len(good) or not len(bad):
            return False
        chosen = bad[self.rng.permutation(len(bad))[:BORDERS]]
        nearest = [int(np.argmin(np.linalg.norm(good - x, axis=1))) for x in chosen]
        borders = [
            border
            for border in first_borders(self.pool.asker, recovered, good[nearest], chosen, self.rng)
            if border.bends
        ]
        first = len(self.pool.lines)
        self.pool.lines.extend(border.searched for border in borders)
        if not borders:
            return False
        open_weights = self._open_weights()
        if open_weights is not None:
            self._fill(solve_open(at_borders(open_weights, self.pool, borders, first)))
        return True

    def _agreeing(self, recovered: Recovered) -> np.ndarray:
        """Places on the lines of the pool where f is known and the recovered function right, (places, rank)."""
        bases, directions, index, positions, values = [], [], [], [], []
        for line in self.pool.lines:
            if not line.dyadic or line.border:
                continue
            for i, piece in enumerate(line.profile.pieces):
                position, _ = inside_piece(self.numbers, line.profile, i)
                index.append(len(bases))
                positions.append(position)
                values.append(piece.on(self.numbers, position))
            bases.append(line.line.base)
            directions.append(line.line.direction)
        if not index:
            return np.empty((0, self.slice.rank))
        rank = self.slice.rank
        batch = on_lines(dyadic_matrix(bases, rank), dyadic_matrix(directions, rank), index, positions)
        wrong = np.any(recovered.ask(batch, "search") != np.array(values, dtype=object), axis=1)
        return batch.to_float64()[~wrong]

    def _open_weights(self) -> OpenWeights | None:
        """For the open weights of the recovered network; None when there are none, or its last layer was rearranged."""
        if self.output is None or not any(row.missing for layer in self.layers for row in layer.rows):
            return None
        found = OpenWeights(self.layers, self._known(len(self.layers)), self.output)
        return found if found.complete else None

    def _complete_by_differences(self) -> bool:
        """Open weights of all layers from places where what they read has just switched on; True when one was found."""
        open_weights = self._open_weights()
        if open_weights is None:
            return False
        _, recovered = self._recovered()
        return self._fill(solve_open(behind_boundaries(open_weights, self.pool.asker, recovered, self.rng)))

    def _fill(self, weights: dict[Weight, Number]) -> bool:
        """Set weights that were open, (layer from 0, neuron, neuron before); True when there was one."""
        for depth in sorted({level for level, _, _ in weights}):
            rows = self.layers[depth].rows
            factors = [row.integer_factor() for row in rows]
            for (level, q, i), value in weights.items():
                if level == depth:
                    rows[q].weights[i] = value
            self._carry_scales(depth + 1, factors)
        return bool(weights)

    def _network(self) -> ExactNetwork | None:
        """What is known, with the first layer on all inputs; None before the output layer is known."""
        if self.with_skips is not None:
            return self.with_skips.network
        if self.polished is not None:
            return self.polished.network
        if self.output is None:
            return None
        tail = self.output.network
        last = [
            Row(list(row), bias) for row, bias in zip(tail.weights[0].tolist(), tail.biases[0].entries(), strict=True)
        ]
        gamma = object_matrix(tail.weights[1])
        inner = [FoundLayer([row.in_integers() for row in layer.rows], layer.signs) for layer in self.layers[:-1]]
        layers, gamma = without_unread([*inner, FoundLayer(last, [1] * len(last))], gamma)
        weights, biases = [], []
        for i, layer in enumerate(layers):
            rows = np.empty((len(layer.rows), len(layer.rows[0].weights) if layer.rows else 0), dtype=object)
            for h, row in enumerate(layer.rows):
                rows[h, :] = row.weights
            whole = self._on_all_inputs(rows) if i == 0 else rows
            weights.append(middles(whole))
            biases.append(fmpq_mat(len(layer.rows), 1, [middle(row.bias) for row in layer.rows]))
        weights.append(middles(gamma))
        biases.append(tail.biases[1])
        return ExactNetwork(tuple(weights), tuple(biases))

    def _on_all_inputs(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the first layer, (width, inputs); kept, because completing them is long arithmetic."""
        if self._full_rows is None or not _identical(self._full_rows[0], rows):
            self._full_rows = (rows, self.slice.full_rows(rows))
        return self._full_rows[1]

    def _affine_rest(self) -> bool:
        """Whether the last layer has more neurons than boundaries: some carry an affine rest."""
        return self.output is not None and self.output.network.widths[1] > len(self.layers[-1].rows)

    def _accuracy(self) -> int | None:
        """Bits of the network's rows, against the largest number of each; None where they are exact.

        Estimated where the network was polished, else proven. The scale of a neuron moves into the columns that read
        it: a row has the errors of its own and of these.
        """
        if self.numbers.exact or self.output is None:
            return None
        if self.polished is not None and not self.polished.unseen:
            return max(0, self.polished.accuracy_bits - SCALING_BITS)
        found = [FoundLayer([row.in_integers() for row in layer.rows], layer.signs) for layer in self.layers]
        kept, _ = without_unread(found, self.output.read[None, :].astype(int))
        rows = [row.accuracy for layer in kept for row in layer.rows]
        return max(0, int(min([*rows, self.output.accuracy])) - SCALING_BITS)

    def _result(self, outcome: Outcome, begun: float) -> Extraction:
        complete = outcome is Outcome.COMPLETE
        sentences = [] if complete else [outcome.value]
        network = self._network()
        for level, layer in enumerate([] if self.with_skips else self.layers, start=1):
            open_weights = sum(len(row.missing) for row in layer.rows)
            if open_weights:
                sentences.append(
                    f"{open_weights} weights of layer {level} were not seen by any query; they are set to 0"
                )
        method = self.output.method if self.output is not None else "not determined"
        if self.with_skips is not None:
            method = self.with_skips.method
        elif self._affine_rest() and not self.numbers.exact:
            sentences.append(f"last hidden layer: {method}")
        elif network is not None and self._affine_rest():
            # What no sign explains is read by a skip: no neurons are needed to carry it.
            oriented = plainest(without_opposites(network))
            network, method = oriented.network, oriented.method
        return Extraction(
            network=network,
            outcome=outcome,
            claim=self.context.claim if complete else "incomplete",
            context=self.context.name,
            prec=None if self.context.exact else self.context.prec,
            queries=self.oracle.count,
            seconds=time.perf_counter() - begun,
            oracle_seconds=self.oracle.seconds,
            verified=self.verified,
            sign_method=method,
            accuracy_bits=self._accuracy(),
            resolution_bits=self.settings.resolution_bits,
            reach_bits=self.settings.reach_bits,
            not_resolved=tuple(sentences),
            seed=self.options.seed,
        )


def _share(seen: int, unseen: int) -> float:
    return seen / max(1, seen + unseen)


def _deep_settings(context: Context, resolution_bits: int) -> LineSettings:
    """Where answers are rounded, a line whose ends are far out is known less well near the origin."""
    settings = settings_for(context, resolution_bits=resolution_bits)
    return settings if context.exact else dataclasses.replace(settings, reach_bits=ROUNDED_REACH_BITS)


def _identical(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and all(a is b or a == b for a, b in zip(one.ravel(), other.ravel(), strict=True))


def _one_value(values: Sequence[Number | None]) -> bool:
    """Whether all are known and none differs from another."""
    known = [value for value in values if value is not None]
    return len(known) == len(values) and not any(value != known[0] for value in known)


def _sign_between(row: Row, oriented: Sequence[fmpq]) -> int:
    """+1 or -1: the last layer's row in the output network is the row or its negative."""
    for known, signed in zip(row.in_integers().weights, oriented, strict=True):
        if known is not None and known != 0:
            return 1 if (known > 0) == (signed > 0) else -1
    return 1
