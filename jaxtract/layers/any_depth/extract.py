"""Networks of any depth: layer by layer, until no kink is left to explain.

A layer is the set of boundaries that bend only where layers before it have theirs. Its rows come from walks along
those boundaries, its signs from what lies behind it; what fresh queries refute goes back into the pool of kinks
(Rolnick and Koerding 2020, sections 4.2 and 4.3; Daniely and Granot 2023, Theorem 2 for depth three).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.found_layers import stacked
from jaxtract.layers.any_depth.kinks.input_slice import SliceAsker
from jaxtract.layers.any_depth.kinks.layer_of_kink import LayerOfKink
from jaxtract.layers.any_depth.kinks.pool import Pool, SearchedLine
from jaxtract.layers.any_depth.kinks.wider_slice import widened
from jaxtract.layers.any_depth.recovery import Kink, Recovery
from jaxtract.layers.any_depth.rows.confirm_rows import audit, review
from jaxtract.layers.any_depth.rows.first_layer import measure_line
from jaxtract.layers.any_depth.rows.grow_layers import Growth
from jaxtract.layers.any_depth.rows.linear_units import LinearUnits
from jaxtract.layers.any_depth.rows.straight_rows import straight_rows
from jaxtract.layers.any_depth.rows.superfluous_rows import RowKey, drop_explained_behind, drop_unread
from jaxtract.layers.any_depth.rows.walked_rows import WalkedRows
from jaxtract.layers.any_depth.signs.sign_sources import SignSources
from jaxtract.layers.any_depth.skips.carried import plain_rows
from jaxtract.layers.any_depth.skips.read_with_skips import SkipReader
from jaxtract.layers.any_depth.unseen.bends_at_sources import complete_at_sources
from jaxtract.layers.any_depth.unseen.missed_bends import MissedBends
from jaxtract.layers.any_depth.whole.assemble import Assembly
from jaxtract.layers.any_depth.whole.examine import Examiner
from jaxtract.layers.any_depth.whole.extreme_lines import extreme_line
from jaxtract.layers.any_depth.whole.read_output import OutputReader
from jaxtract.measurement.balls import measured_profile
from jaxtract.measurement.noise import measured_context, term_size
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from jaxtract.search.context_lines import LineSettings, search_line, settings_for
from jaxtract.search.lines import Line, LineProfile
from jaxtract.search.random_lines import random_line
from jaxtract.signs.plainest import plainest, without_opposites
from precision.context import Context
from precision.dyadic import from_float, round_to_grid

ROUNDED_REACH_BITS = 8
"""Lines of rounded answers are searched to 2^8, and further while their ends still bend."""

FRUITFUL = 0.15
"""Share of the last walks at a layer that must have given a row, for kinks of unknown layer to be tried there first."""

MOST_CANDIDATES = 16
"""Kinks that are looked at for one wave of walks where bits are few: the rows found first explain many others."""

RANDOM_LINES = 0.25
"""Share of later lines that are random; the others run between extremes of a known layer."""

COUNTEREXAMPLE_BITS = 40

SKIP_QUERIES, SKIP_SHARE = 20_000, 0.25
"""A network with skips is looked for with at most so many queries, or such a share of all before where that is more."""

OPEN_ROUNDS = 3
"""Times that a network of rounded answers may agree, its weights not determined, before nothing more is searched."""


@dataclasses.dataclass(frozen=True)
class AnyDepthOptions:
    """Settings of ``extract_any_depth``.

    Attributes:
        seed: of every random choice.
        max_queries: budget over all purposes, or None.
        resolution_bits: kinks at least 2^-resolution_bits apart on a line are told apart.
        verify_inputs, verify_lines: fresh inputs and lines that must agree at the end.
        rounds: how many times new lines are added that bring no further neuron before the extraction gives up.
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
        self.options = options
        self.first_line = first_line
        self.skips_tried = self.begun_again = False
        self.tried_at_sources: set[tuple[int, int, int]] = set()
        self.audited: set[tuple[int, int, int]] = set()
        self.dropped_unread: set[RowKey] = set()
        counted = (
            oracle
            if isinstance(oracle, CountingOracle)
            else CountingOracle(oracle, context, max_queries=options.max_queries, on_queries=progress.queries)
        )
        rng = np.random.default_rng(options.seed)
        if context.name == "float64":
            context = counted.context = measured_context(counted, rng)
        settings = _deep_settings(context, options.resolution_bits)
        self.state = Recovery(counted, context, settings, rng, progress, options.widths)
        self._prepare()

    def _prepare(self) -> None:
        """The steps, with nothing remembered of any kink."""
        self.signs = SignSources(self.state)
        self.layer_of_kink = LayerOfKink(self.state, self.signs)
        self.walked = WalkedRows(self.state, self.signs)
        self.growth = Growth(self.state, self.signs)
        self.linear_units = LinearUnits(self.state, self.layer_of_kink, self.growth)
        self.missed_bends = MissedBends(self.state)
        self.assembly = Assembly(self.state)
        self.output_reader = OutputReader(self.state, self.assembly)
        self.examiner = Examiner(
            self.state, self.assembly, self.output_reader, self.options.verify_inputs, self.options.verify_lines
        )

    def run(self, keep: Callable[[Extraction], None] | None) -> Extraction:
        with self.state.numbers.working():
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

    def _first_line(self) -> None:
        """The first line, its gradients, and from them the coordinates that matter."""
        line, profile = self.first_line or self._search_first_line()
        self.state.progress.phase("measure")
        self.state.slice, searched = measure_line(
            self.state.measurer, line, measured_profile(self.state.measurer, profile), self.state.rng
        )
        self._begin([searched])

    def _begin(self, lines: list[SearchedLine]) -> None:
        """Read the slice from nothing but some lines on it, and the first random ones."""
        self.state.pool = Pool(SliceAsker(self.state.oracle, self.state.slice), self.state.slice.rank)
        self.state.pool.lines += lines
        self.state.layers = []
        self.state.renewed(0)
        self._add_lines([random_line(self.state.slice.rank, self.state.rng) for _ in range(self.options.first_lines)])

    def _widened(self) -> bool:
        """Begin again on a wider slice, where f was seen to depend on more than this one; False where it was not.

        Kinks on the old one say little: f is not constant across it.
        """
        if not self.examiner.off_slice:
            return False
        before, line = self.state.slice, self.examiner.off_slice[0]
        self.state.slice = widened(self.state.measurer, before, line, self.state.settings)
        if self.state.slice is before:
            return False
        self._prepare()
        self._begin([])
        return True

    def _begin_again(self) -> bool:
        """Begin once more with other lines where the first ones ended in contradictions; between rationals, once.

        What a line happens to meet may pass for something else, and all that is read behind it is in vain.
        """
        if self.begun_again or not self.state.numbers.exact:
            return False
        self.begun_again = True
        self._prepare()
        self.state.output = None
        self._begin([])
        return True

    def _search_first_line(self) -> tuple[Line, LineProfile]:
        line = random_line(self.state.oracle.inputs, self.state.rng)
        self.state.progress.phase("search")
        return line, search_line(self.state.oracle, line, self.state.settings)

    def _rounds(self) -> Outcome:
        left, most, stuck = self.options.rounds, 0, None
        open_left = OPEN_ROUNDS
        while True:
            self._explain()
            if self.missed_bends.look():
                continue
            bad = np.empty((0, self.state.slice.rank))
            explained = bool(self.state.layers) and not self.state.unexplained(for_certain=True)
            read = explained and self.output_reader.read()
            if read:
                bad = self.examiner.verify()
                if self.examiner.verified.agrees:
                    # Rounded answers agree with a wrong row, too, where its neuron is seldom seen.
                    if self.assembly.determined():
                        return Outcome.COMPLETE
                    open_left -= 1
                    if open_left == 0:
                        return Outcome.WEIGHTS_OPEN
                if self._widened():
                    continue
                # What the last borders taught nothing about, new ones will not explain either.
                state = self._state()
                if state != stuck and self.examiner.learn_from(bad):
                    stuck = state
                    continue
            if self.state.blocked and not self.state.insistent:
                self.state.insistent, self.state.blocked = True, 0
                self.state.done.clear()
                continue
            if self._complete_at_sources() or (self.state.numbers.few_bits and len(bad) and self._audited()):
                continue
            # Kinks that are all explained by layers behind which no output fits are explained wrongly somewhere.
            if (
                explained
                and not read
                and (drop_explained_behind(self.state) or drop_unread(self.state, self.dropped_unread))
            ):
                continue
            if self.state.hasty and (self._audited() or self.linear_units.find()):
                continue
            rows = sum(len(layer.rows) for layer in self.state.layers)
            # A deep network needs as many rounds as it needs; only those that bring no neuron are counted.
            left, most = left - (rows <= most), max(rows, most)
            plain_failed = left < 0 or (self.state.patience <= 0 and not self.skips_tried and not read)
            may_skip = self.state.numbers.exact and not self.begun_again
            if plain_failed and may_skip and self._read_with_skips():
                return Outcome.COMPLETE
            if left < 0:
                if not self._begin_again():
                    return Outcome.COUNTEREXAMPLES_LEFT
                left, most, stuck, open_left = self.options.rounds, 0, None, OPEN_ROUNDS
                continue
            self.state.patience -= 1
            if self.state.hasty:
                self.state.blocked = 0
            self.state.done.clear()
            self._add_lines(self._next_lines(bad))

    def _complete_at_sources(self) -> bool:
        """Whether open weights came out where the neurons that they read switch on."""
        if self.state.numbers.rough:
            return False
        for level in range(2, len(self.state.signed_layers()) + 1):
            tried = (level, self.state.versions[level], len(self.state.pool.lines))
            if tried not in self.tried_at_sources and any(row.missing for row in self.state.layers[level - 1].rows):
                self.tried_at_sources.add(tried)
                self.state.progress.phase("measure")
                if complete_at_sources(self.state, level):
                    return True
        return False

    def _audited(self) -> bool:
        """Whether rows of one of the last two layers are refuted, where signs of it stay open.

        Where bits are few, of the one before the last: signs of the last one may be open for want of bits.
        """
        depth = len(self.state.layers)
        levels = (depth - 1, depth) if self.state.numbers.exact else (depth - 1,)
        return any(self._audited_layer(level) for level in levels if level >= 2)

    def _audited_layer(self, level: int) -> bool:
        layer = self.state.layers[level - 1]
        tried = (level, self.state.versions[level], len(layer.rows))
        told = self.state.numbers.exact or self.state.numbers.few_bits
        if not told or tried in self.audited or all(layer.signs):
            return False
        self.audited.add(tried)
        self.state.progress.phase("measure")
        return audit(self.state, level)

    def _read_with_skips(self) -> bool:
        """What is left without the plain hypothesis: True when a network with skips is found and not refuted.

        First on top of all layers that were read completely, then, as a last resort, of the first one alone.
        """
        known = plain_rows(self.state.layers)
        reader = SkipReader(
            self.state.oracle,
            self.state.slice,
            self.state.pool,
            known[:1] if self.skips_tried else known,
            self.state.settings,
            self.state.rng,
            self.state.progress,
            verify_inputs=self.options.verify_inputs,
            verify_lines=self.options.verify_lines,
            most_queries=max(SKIP_QUERIES, int(SKIP_SHARE * self.state.oracle.count.total)),
        )
        self.skips_tried = True
        self.state.with_skips = reader.run(self.options.rounds // 2)
        if self.state.with_skips is None:
            return False
        self.examiner.verified = self.state.with_skips.verified
        return True

    def _state(self) -> list[tuple[int, int]]:
        """Rows and open weights of every layer."""
        return [(len(layer.rows), sum(len(row.missing) for row in layer.rows)) for layer in self.state.layers]

    def _next_lines(self, counterexamples: np.ndarray) -> list[Line]:
        rank = self.state.slice.rank
        lines = [
            random_line(rank, self.state.rng, [round_to_grid(from_float(x), COUNTEREXAMPLE_BITS) for x in base])
            for base in counterexamples[:2]
        ]
        oriented = self.state.signed_layers()
        while len(lines) < 2:
            if not oriented or self.state.rng.random() < RANDOM_LINES:
                lines.append(random_line(rank, self.state.rng))
            else:
                # The last layer that is complete in its signs is the one whose successor lacks a neuron.
                depth = (
                    len(oriented)
                    if self.state.rng.random() < 0.7
                    else int(self.state.rng.integers(1, len(oriented) + 1))
                )
                lines.append(extreme_line(stacked(rank, oriented[:depth]), self.state.rng))
        return lines

    def _add_lines(self, lines: Sequence[Line]) -> None:
        self.state.progress.phase("search")
        if lines:
            self.state.pool.search(lines, self.state.settings, self.state.known_for_certain())
            review(self.state)

    def _explain(self) -> None:
        """Find rows for unexplained kinks until none comes any more."""
        while unexplained := self.state.unexplained():
            measured = self._worth_measuring(unexplained)
            if not measured:
                return
            self.state.progress.phase("measure")
            self.state.pool.measure(measured, self.state.known_for_certain(), self.state.spanning())
            self._try(measured)
            if self.linear_units.due and not self._audited():
                self.linear_units.find_due()

    def _worth_measuring(self, kinks: Sequence[Kink]) -> list[Kink]:
        """Kinks that are measured already; else those of one line that may be of a layer that can be read now."""
        fresh = [kink for kink in kinks if kink not in self.state.done]
        measured = [kink for kink in fresh if self.state.pool.is_measured(kink)]
        if measured:
            return measured
        for line in sorted({line for line, _ in fresh}):
            here = [kink for kink in fresh if kink[0] == line]
            chosen = self.layer_of_kink.worth_measuring(here)
            if chosen:
                return chosen
            self.state.done.update(here)
        return []

    def _try(self, kinks: Sequence[Kink]) -> None:
        """One wave of walks for kinks that are measured, each at the layer it most likely belongs to."""
        levels: dict[int, list[Kink]] = {}
        for kink, level in zip(kinks, self.layer_of_kink.next_levels(kinks), strict=True):
            if level is None:
                self.state.done.add(kink)
            else:
                levels.setdefault(level, []).append(kink)
        if not levels:
            return
        level = max(levels, key=lambda level: (self.layer_of_kink.fruitful.get(level, True), -level))
        candidates = levels[level]
        if self.state.numbers.few_bits and level > 1 and len(candidates) > MOST_CANDIDATES:
            candidates = [candidates[i] for i in sorted(self.state.rng.permutation(len(candidates))[:MOST_CANDIDATES])]
        flat = self.layer_of_kink.worth_walking(level, candidates)
        chosen = self.walked.wave(level, flat)
        rejected = set(candidates) - set(flat)
        self.layer_of_kink.note_tried(level, [*rejected, *chosen])
        if not chosen:
            return
        if not self.growth.sharpen_before(level):
            return
        sightings = [self.state.pool.sighting(*kink) for kink in chosen]
        rows = straight_rows(self.state, sightings) if level == 1 else self.walked.rows(level, sightings)
        self.layer_of_kink.fruitful[level] = len(rows) >= FRUITFUL * len(chosen)
        unexplained = len(self.state.unexplained()) if rows else 0
        if self.growth.insert(level, rows):
            self.walked.kinks_per_row[level] = (unexplained - len(self.state.unexplained())) / len(rows)
        elif level >= len(self.state.layers):
            self.linear_units.note_in_vain(level, len(chosen))
        if level > 1:
            self.layer_of_kink.note_share(level, self.walked.accepted, len(chosen), len(rejected))

    def _open_weights(self) -> list[str]:
        """What is to be said of weights that are set to zero, layer by layer."""
        sentences = []
        for level, layer in enumerate(self.state.layers, start=1):
            harmless = sum(depth == level - 1 for depth, _, _ in self.examiner.harmless)
            unseen = sum(len(row.missing) for row in layer.rows) - harmless
            if harmless:
                sentences.append(
                    f"{harmless} weights of layer {level} are not identifiable and set to 0: each is proven to change "
                    "the function at no input, up to the size of the largest weight of its neuron"
                )
            if unseen:
                sentences.append(f"{unseen} weights of layer {level} were not seen by any query; they are set to 0")
        return sentences

    def _result(self, outcome: Outcome, begun: float) -> Extraction:
        complete = outcome is Outcome.COMPLETE
        sentences = [] if complete else [outcome.value]
        network = self.assembly.network()
        polished = self.state.polished is not None and not self.state.polished.unseen
        sentences += [] if self.state.with_skips or polished else self._open_weights()
        method = self.state.output.method if self.state.output is not None else "not determined"
        if self.state.with_skips is not None:
            method = self.state.with_skips.method
        elif self.assembly.affine_rest() and not self.state.numbers.exact:
            sentences.append(f"last hidden layer: {method}")
        elif network is not None and self.assembly.affine_rest():
            # What no sign explains is read by a skip: no neurons are needed to carry it.
            oriented = plainest(without_opposites(network))
            network, method = oriented.network, oriented.method
        return Extraction(
            network=network,
            outcome=outcome,
            claim=self.state.context.claim if complete else "incomplete",
            context=self.state.context.name,
            prec=None if self.state.context.exact else self.state.context.prec,
            queries=self.state.oracle.count,
            seconds=time.perf_counter() - begun,
            oracle_seconds=self.state.oracle.seconds,
            verified=self.examiner.verified,
            sign_method=method,
            accuracy_bits=self.assembly.accuracy(),
            resolution_bits=self.state.settings.resolution_bits,
            reach_bits=self.state.settings.reach_bits,
            not_resolved=tuple(sentences),
            seed=self.options.seed,
        )


def _deep_settings(context: Context, resolution_bits: int) -> LineSettings:
    """Where answers are rounded, a line whose ends are far out is known less well near the origin."""
    settings = settings_for(context, resolution_bits=resolution_bits)
    settings = dataclasses.replace(settings, size=term_size(context, fmpq(0)))
    return settings if context.exact else dataclasses.replace(settings, reach_bits=ROUNDED_REACH_BITS)
