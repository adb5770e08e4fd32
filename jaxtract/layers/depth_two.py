"""Networks of one hidden layer, of any width, in any position.

One line crosses every hyperplane. Its affine pieces, measured in all coordinates, differ by one neuron
each; their sum is the function. From doubles (no rougher answers) the pieces are measured on a slice of few dimensions
where that spares queries, and only then the neurons in all coordinates. What fresh queries refute is searched again as
the residual, until nothing is left (Daniely and Granot 2023, Theorem 1; worst cases: Chen, Klivans, Meka 2021).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from flint import fmpq

from jaxtract.layers.lifted_layer import independent_rows, lifted_layer
from jaxtract.measurement.affine_pieces import AffinePiece, measure_pieces
from jaxtract.measurement.bend_test import bends
from jaxtract.measurement.jumps import ridges_between
from jaxtract.measurement.noise import measured_context, term_size
from jaxtract.measurement.ridge_form import RidgeForm
from jaxtract.measurement.rough_pieces import rough_pieces
from jaxtract.measurement.sightings import Sightings, jump_errors
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.points import points_on_line, scattered
from jaxtract.polish.chosen_inputs import MOST_PARAMETERS
from jaxtract.polish.fit_form import fit_form
from jaxtract.polish.gauss_newton import Polished
from jaxtract.polish.layer_gradients import SeenGradient
from jaxtract.polish.one_layer import polish_shallow, seen_gradients
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from jaxtract.search.context_lines import Asker, LineSettings, search_lines, settings_for
from jaxtract.search.lines import Cluster, Line, LineProfile
from jaxtract.search.random_lines import random_line
from jaxtract.search.residual import Residual
from jaxtract.signs.solve_signs import SignMethod, solve_signs
from jaxtract.verification.agreement import Verified, agree_bits, kinks_of_form, verify
from precision.context import Context
from precision.dyadic import dyadic_matrix, power_of_two

FEWEST_BEND_TESTS, MOST_BEND_TESTS, QUERIES_A_TEST = 4, 12, 8
"""Kinks of the first line on which the depth is tested; more where a gradient costs more."""

INPUTS_ON_SLICE = 16
"""Fresh inputs of a slice, two of every scale, that show what a line lacks there."""

NEARLY_BITS = 6
"""Bits to which a form must be right, at every fresh query, to be refined before anything is searched again."""

LOST_BITS = 32
"""Bits of an answer that the pieces of a line may lose: what is that far off on a slice lacks nothing."""

LEAST_ROW_BITS = 4
"""Bits to which every row of a polished network must be known where answers are as rough as those of float32."""

ROUGHLY_BITS = 3
"""The same where answers are as rough as those of float32."""


@dataclasses.dataclass(frozen=True)
class DepthTwoOptions:
    """Settings of ``extract_depth_two``.

    Attributes:
        seed: of every random choice.
        max_queries: budget over all purposes, or None.
        resolution_bits: kinks at least 2^-resolution_bits apart on a line are told apart.
        verify_inputs, verify_lines: fresh inputs and lines that must agree at the end.
        rounds: residual searches after which the extraction gives up.
        lattice_limit: most signs that lattice reduction is tried on.
        pack: entries of a gradient that one exact answer may carry; 1 asks one number a query.
    """

    seed: int = 0
    max_queries: int | None = None
    resolution_bits: int = 256
    verify_inputs: int = 1000
    verify_lines: int = 20
    rounds: int = 12
    lattice_limit: int = 192
    pack: int = 1


def extract_depth_two(
    oracle: Oracle,
    context: Context,
    *,
    options: DepthTwoOptions | None = None,
    progress: ProgressMeter | None = None,
    keep: Callable[[Extraction], None] | None = None,
) -> Extraction:
    """Recover a network of one hidden layer and unknown width from queries.

    Args:
        oracle: the black box.
        context: number system of the extraction; the oracle must serve it.
        options: see ``DepthTwoOptions``.
        progress: told what happens; silent by default.
        keep: given what was found so far when an exception ends the extraction, before it goes on.

    Returns:
        The network with its claim. A result that falls short is returned too, with what is missing.

    Raises:
        ValueError: the oracle does not serve the context.
        OracleError: an answer was not what the oracle declares, or differed when asked twice.
    """
    chosen = options or DepthTwoOptions()
    return DepthTwo(oracle, context, chosen, progress or NoProgressMeter()).run(keep)


def _bend_tests(line: Line, profile: LineProfile) -> int:
    """How many kinks to test: for a twentieth of what the gradients of this line would cost in vain."""
    gradients = len(profile.pieces) * len(line.base)
    return min(MOST_BEND_TESTS, max(FEWEST_BEND_TESTS, gradients // (20 * QUERIES_A_TEST)))


Measure = Callable[[Asker, Line, LineProfile, RidgeForm], Iterator[AffinePiece]]
"""Measures the affine pieces of what is left when the form is subtracted from f, on a line that was searched."""


class Deeper(Exception):  # noqa: N818  (a finding about f)
    """A boundary of the first line bends: f has more than one hidden layer."""


class DepthTwo:
    """One extraction at depth two; ``test_bends`` asks, after the first line, whether f is of this depth at all.

    ``measure`` replaces the gradients by differences of answers, where there is another way to them.

    Attributes:
        oracle: the counted black box.
        first_line: the first line and its profile, once it was searched.
    """

    def __init__(
        self,
        oracle: Oracle,
        context: Context,
        options: DepthTwoOptions,
        progress: ProgressMeter,
        *,
        test_bends: bool = False,
        measure: Measure | None = None,
    ):
        self.first_line: tuple[Line, LineProfile] | None = None
        self.test_bends = test_bends
        self.measure = measure or self._by_differences
        self.context = context
        self.options = options
        self.progress = progress
        self.rng = np.random.default_rng(options.seed)
        self.oracle = CountingOracle(oracle, context, max_queries=options.max_queries, on_queries=progress.queries)
        self.form = RidgeForm.zero(context, oracle.inputs, oracle.outputs)
        self.verified = Verified()
        self.polished: Polished | None = None
        self.lifted: Polished | None = None
        self.by_slice = measure is None
        self.seen: list[SeenGradient] = []
        self.sightings = Sightings()
        self.clusters: list[Cluster] = []
        self.kinks_seen: list[int] = []
        self.missing: list[str] = []
        self.reach_bits = 0

    def run(self, keep: Callable[[Extraction], None] | None) -> Extraction:
        begun = time.perf_counter()
        try:
            self._check_oracle()
            outcome = self._rounds()
        except Deeper:
            outcome = Outcome.NOT_ONE_HIDDEN_LAYER
        except BudgetSpent:
            outcome = Outcome.BUDGET_SPENT
        except KeyboardInterrupt:
            outcome = Outcome.INTERRUPTED
        except BaseException:
            if keep is not None:
                keep(self._result(Outcome.ORACLE_FAILED, begun))
            raise
        return self._result(outcome, begun)

    def _result(self, outcome: Outcome, begun: float) -> Extraction:
        self.progress.phase("signs")
        signed = solve_signs(self.form, lattice_limit=self.options.lattice_limit)
        complete = outcome is Outcome.COMPLETE
        network = signed.network if self.polished is None else self.polished.network
        return Extraction(
            network=network if self.form.ridges or complete else None,
            outcome=outcome,
            claim=self.context.claim if complete else "incomplete",
            context=self.context.name,
            prec=None if self.context.exact else self.context.prec,
            queries=self.oracle.count,
            seconds=time.perf_counter() - begun,
            oracle_seconds=self.oracle.seconds,
            verified=self.verified,
            sign_method=signed.method.value,
            accuracy_bits=None if self.polished is None or self.polished.unseen else self.polished.accuracy_bits,
            resolution_bits=self._line_settings().resolution_bits,
            reach_bits=self.reach_bits,
            not_resolved=tuple(self._open(outcome, signed.method, signed.extra_neurons)),
            seed=self.options.seed,
        )

    def _check_oracle(self) -> None:
        if self.context.name == "float64":
            self.context = self.oracle.context = measured_context(self.oracle, self.rng)
            self.form = RidgeForm.zero(self.context, self.oracle.inputs, self.oracle.outputs)
        line = random_line(self.oracle.inputs, self.rng)
        self.oracle.check_determinism(scattered(dyadic_matrix([line.base], self.oracle.inputs)))
        near = [fmpq(0), power_of_two(-320), power_of_two(-319), power_of_two(-40)]
        self.oracle.check_affine(scattered(points_on_line(line.base, line.direction, near)))

    def _rounds(self) -> Outcome:
        base = None
        for _ in range(self.options.rounds):
            self._search_residual(base)
            self.progress.phase("verify")
            self.verified = self._verified(self.form.network() if self.lifted is None else self.lifted.network)
            if self.verified.agrees:
                polished = self._polish()
                if polished or not self.context.rough:
                    return Outcome.COMPLETE
            if self._nearly_right() and self._polish():
                return Outcome.COMPLETE
            if self._bends():
                return Outcome.NOT_ONE_HIDDEN_LAYER
            found = self.verified.counterexamples
            # Lines through places near the origin have all their kinks there: of rough answers they need room.
            base = found[len(found) // 2 if self.context.rough else 0] if found else None
        return Outcome.WEIGHTS_OPEN if self.verified.agrees else Outcome.COUNTEREXAMPLES_LEFT

    def _nearly_right(self) -> bool:
        """Of many neurons some are measured over short steps: too roughly to agree, near enough to be refined."""
        neurons, (outputs, inputs) = len(self.form.ridges), self.form.matrix.shape
        many = neurons * (inputs + outputs + 1) > MOST_PARAMETERS
        if self.context.rough:
            return (self.verified.residual_bits or 0) >= ROUGHLY_BITS
        return many and (self.verified.residual_bits or 0) >= NEARLY_BITS

    def _polish(self) -> bool:
        """Where answers are doubles all parameters together say more than each by itself; kept when it verifies."""
        if self.context.name != "float64":
            return False
        if self.lifted is not None and self.verified.agrees:
            self.polished = self.lifted
            return True
        self.progress.phase("polish")
        try:
            signed = solve_signs(self.form, lattice_limit=self.options.lattice_limit)
            polished = polish_shallow(self.oracle, signed.network, self.rng, self.seen)
            if polished is None:
                return False
            verified = self._verified(polished.network)
        except BudgetSpent:
            self.missing.append("the budget did not reach for polishing all parameters together")
            return False
        # Rows that the fit leaves loose are too many: those of one hyperplane share its weights at will.
        loose = self.context.rough and (polished.accuracy_bits < LEAST_ROW_BITS or polished.unseen > 0)
        if verified.agrees and not loose:
            self.polished, self.verified = polished, verified
        return verified.agrees and not loose

    def _verified(self, network: ExactNetwork) -> Verified:
        return verify(
            self.oracle,
            FlintEvaluator(network),
            functools.partial(kinks_of_form, self.form),
            inputs=self.options.verify_inputs,
            lines=self.options.verify_lines,
            rng=self.rng,
        )

    def _search_residual(self, base: list[fmpq] | None) -> None:
        """One line through ``base``; everything that it shows is added to the form."""
        self.lifted = None
        asker: Asker = self.oracle
        settings = self._line_settings()
        if base is not None and not self.context.rough:
            # The recovered part is as rough as verification tolerates; finer differences mean nothing.
            context = self.context if self.context.exact else self.context.coarser(agree_bits(self.context) + 2)
            asker = Residual(self.oracle, FlintEvaluator(self.form.network()), context)
            settings = settings_for(
                context, resolution_bits=self.options.resolution_bits, cells=(fmpq(0),), size=self.verified.size
            )
        line = random_line(self.oracle.inputs, self.rng, base, point_bits=self.context.point_bits)
        terms = term_size(self.context, max(abs(x) for x in line.base))
        settings = dataclasses.replace(settings, size=max(settings.size, terms), point_bits=self.context.point_bits)
        self.progress.phase("search")
        (profile,) = search_lines(
            asker,
            dyadic_matrix([line.base], self.oracle.inputs),
            dyadic_matrix([line.direction], self.oracle.inputs),
            settings=settings,
        )
        self.reach_bits = max(self.reach_bits, profile.reach_bits)
        self.kinks_seen.append(len(profile.kinks))
        self.clusters.extend(profile.clusters)
        self.progress.phase("measure")
        if self.first_line is None:
            self.first_line = (line, profile)
            # What is taken for one hidden layer by mistake costs most where answers are rough.
            tests = MOST_BEND_TESTS if self.context.few_bits else _bend_tests(line, profile)
            if self.test_bends and bends(self.oracle, line, profile, self.rng, kinks=tests):
                raise Deeper
            if self.by_slice and self._lift(line, profile):
                return
        self._measure(asker, line, profile)

    def _lift(self, line: Line, profile: LineProfile) -> bool:
        """Whether the layer was found by way of a slice around the first line; it is not verified."""

        def solved(oracle: Oracle, straight: Line) -> ExactNetwork | None:
            options = dataclasses.replace(self.options, verify_inputs=INPUTS_ON_SLICE, verify_lines=0)
            inner = DepthTwo(oracle, self.context, options, self.progress)
            inner.oracle.count, inner.by_slice = self.oracle.count, False
            try:
                return inner.settled(straight, profile)
            finally:
                self.oracle.seconds += inner.oracle.seconds

        def keep(network: ExactNetwork) -> None:
            self.form = RidgeForm.of_network(self.context, network)

        self.lifted = lifted_layer(self.oracle, line, len(profile.kinks), self.rng, solved, keep)
        if self.lifted is not None:
            keep(self.lifted.network)
        return self.lifted is not None

    def settled(self, line: Line, profile: LineProfile) -> ExactNetwork | None:
        """The network from a line that was searched, and what it lacks; None where signs stay open."""
        self.first_line = (line, profile)
        self.kinks_seen.append(len(profile.kinks))
        self._measure(self.oracle, line, profile)
        enough = max(NEARLY_BITS, (self.context.answer_bits or 0) - LOST_BITS)
        for _ in range(self.options.rounds):
            if not independent_rows(self.form):
                return None
            self.verified = self._verified(self.form.network())
            if self.verified.agrees or (self.verified.residual_bits or 0) >= enough:
                signed = solve_signs(self.form, lattice_limit=0)
                return signed.network if signed.method is SignMethod.LINEAR else None
            self._search_residual(self.verified.counterexamples[0])
            if self._bends():
                raise Deeper
        return None

    def _by_differences(
        self, asker: Asker, line: Line, profile: LineProfile, known: RidgeForm
    ) -> Iterator[AffinePiece]:
        del known  # the asker has subtracted it
        if self.context.rough:
            return rough_pieces(asker, line, profile)
        return measure_pieces(asker, line, profile, pack=self.options.pack)

    def _line_settings(self) -> LineSettings:
        return settings_for(self.context, resolution_bits=self.options.resolution_bits)

    def _measure(self, asker: Asker, line: Line, profile: LineProfile) -> None:
        pieces: list[AffinePiece] = []
        before = len(self.form.ridges)
        try:
            for piece in self.measure(asker, line, profile, self.form):
                pieces.append(piece)
                self.progress.neurons(before + len(pieces) - 1, before + len(profile.kinks))
        except BudgetSpent:
            self.missing.append(
                f"{len(profile.pieces) - len(pieces)} of {len(profile.pieces)} regions on the line were not measured"
            )
            raise
        finally:
            if pieces:
                self._absorb(line, profile, pieces)

    def _absorb(self, line: Line, profile: LineProfile, pieces: list[AffinePiece]) -> None:
        """leftmost piece + sum of max(0, next piece - piece), each split as |z| / 2 + z / 2."""
        ridges, mixed = ridges_between(self.context, line, profile, pieces)
        if self.context.rough:
            self.sightings.add(ridges, jump_errors(self.context, pieces, mixed))
            self.form = fit_form(self.oracle, self.sightings.distinct(self.form), self.rng)
            return
        two = self.context.number(2)
        matrix, constant = pieces[0].gradient, pieces[0].constant
        for i, (left, right) in enumerate(itertools.pairwise(pieces)):
            if i not in mixed:
                matrix = matrix + (right.gradient - left.gradient) / two
                constant = constant + (right.constant - left.constant) / two
        self.form = self.form.add(ridges, matrix, constant)
        if self.first_line is not None and line is self.first_line[0]:
            self.seen.extend(seen_gradients(self.context, pieces))

    def _bends(self) -> bool:
        """A residual that keeps as many kinks as f itself is not made of missed hyperplanes."""
        if self.context.rough:  # every line is one of f itself
            return False
        return len(self.kinks_seen) >= 3 and 2 * self.kinks_seen[-1] >= self.kinks_seen[0] > 4

    def _open(self, outcome: Outcome, method: SignMethod, extra: int) -> list[str]:
        sentences = list(self.missing)
        if outcome is not Outcome.COMPLETE:
            sentences.append(outcome.value)
        for cluster in self.clusters:
            width = float(cluster.right - cluster.left)
            sentences.append(f"kinks nearer than {width:.3g} on a line were taken for one")
        if method is SignMethod.AFFINE and extra and outcome is not Outcome.COMPLETE:
            sentences.append(f"the affine rest of the unfinished function is carried by {extra} extra neurons")
        elif method is SignMethod.AFFINE and extra:
            sentences.append(
                f"{method.value} ({extra} of them): lattice reduction showed no choice of signs, so either the "
                "function has an affine part of its own or the signs are out of its reach"
            )
        return sentences
