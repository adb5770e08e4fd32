"""One hidden layer from gradients alone: rows from a line, biases from brackets, signs from the affine part.

A line that was searched too coarsely shows two neurons as one. Then some gradient is no sum of the rows found, or
fresh ones disagree, and another line is searched more finely.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.evaluation.jacobian import JacobianEvaluator
from jaxtract.layers.depth_two import DepthTwoOptions
from jaxtract.measurement.ridge_form import RidgeForm, oriented_ridge
from jaxtract.methods.milli_biases import Bend, Inconsistent, bend_of, settle_biases
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import BudgetSpent, CountingOracle, Purpose, QueryCount
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.gradients import GradientOracle
from jaxtract.oracle.points import PointBatch, on_lines, scattered
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import ProgressMeter
from jaxtract.search.gradient_lines import FINEST_BITS, REACH_BITS, search_gradients
from jaxtract.search.random_lines import gaussian_points, random_line
from jaxtract.signs.solve_signs import SignedLayer, SignMethod, solve_signs
from jaxtract.verification.agreement import SCALES, Verified, kinks_of_form, verify
from precision.context import Context
from precision.dyadic import DyadicMatrix, dyadic_matrix

SPARE_BITS = 7
"""The first line takes two of n kinks for one with a probability of about 2^-7; every later line has twice the bits."""

CONSTANT_IS_OPEN = "no gradient shows the biases of the outputs: they are 0 here, and one value of f would show them"


class Gradients:
    """A counted gradient oracle.

    Raises:
        ValueError: the oracle cannot serve the context.
    """

    def __init__(self, oracle: GradientOracle, context: Context, max_queries: int | None, progress: ProgressMeter):
        self.counted = CountingOracle(oracle.rows, context, max_queries=max_queries, on_queries=progress.queries)
        self.context, self.inputs, self.outputs = context, oracle.inputs, oracle.outputs

    @property
    def count(self) -> QueryCount:
        return self.counted.count

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        """Jacobians at every point, shape (points, outputs, inputs).

        Raises:
            BudgetSpent, OracleError: as ``CountingOracle.ask``.
        """
        return self.counted.ask(points, purpose).reshape(len(points), self.outputs, self.inputs)


class FromGradients:
    """One extraction from gradients; values, if any, show the constants of the outputs and verify.

    Raises:
        ValueError: the context rounds. Two gradients are then never told apart for certain.
    """

    def __init__(
        self,
        gradients: Gradients,
        values: CountingOracle | None,
        options: DepthTwoOptions,
        progress: ProgressMeter,
    ):
        if not gradients.context.exact:
            raise ValueError(
                f"gradients alone are read without rounding, not in the {gradients.context.name} context; give values, "
                "too, or serve gradients as rationals"
            )
        self.gradients, self.values, self.options, self.progress = gradients, values, options, progress
        self.context = gradients.context
        self.rng = np.random.default_rng(options.seed)
        self.verified = Verified()
        self.signed: SignedLayer | None = None
        self.network: ExactNetwork | None = None
        self.bends: list[Bend] = []

    def run(self) -> Extraction:
        begun = time.perf_counter()
        try:
            outcome = self._rounds()
        except BudgetSpent:
            outcome = Outcome.BUDGET_SPENT
        except KeyboardInterrupt:
            outcome = Outcome.INTERRUPTED
        whole = outcome is Outcome.COMPLETE and self.values is not None and not self._unsettled()
        return Extraction(
            network=self.network,
            outcome=outcome,
            claim=self.context.claim if whole else "incomplete",
            context=self.context.name,
            prec=None,
            queries=self.gradients.count,
            seconds=time.perf_counter() - begun,
            oracle_seconds=self.gradients.counted.seconds,
            verified=self.verified,
            sign_method=(SignMethod.NONE if self.signed is None else self.signed.method).value,
            resolution_bits=FINEST_BITS,
            reach_bits=REACH_BITS,
            not_resolved=tuple(self._open(outcome)),
            seed=self.options.seed,
        )

    def _rounds(self) -> Outcome:
        for attempt in range(self.options.rounds):
            self.progress.phase("search")
            try:
                self.bends, matrix = self._line(min(SPARE_BITS << attempt, FINEST_BITS))
                self.progress.phase("measure")
                if self.bends:
                    settle_biases(self._at, self.bends, matrix, self.rng)
            except Inconsistent:
                continue
            self.progress.phase("signs")
            self._assemble(matrix)
            self.progress.phase("verify")
            if self.verified.agrees:
                return Outcome.COMPLETE
        return Outcome.COUNTEREXAMPLES_LEFT

    def _line(self, spare_bits: int) -> tuple[list[Bend], np.ndarray]:
        """The neurons that a random line shows, and the affine part of f beside sum factor |z| / 2."""
        line = random_line(self.gradients.inputs, self.rng)
        ends = dyadic_matrix([line.base], len(line.base)), dyadic_matrix([line.direction], len(line.base))

        def ask(positions: Sequence[fmpq]) -> np.ndarray:
            return self.gradients.ask(on_lines(*ends, [0] * len(positions), positions), "search")

        profile = search_gradients(ask, spare_bits=spare_bits)
        return [bend_of(self.context, line, jump) for jump in profile.jumps], (profile.first + profile.last) / 2

    def _at(self, points: DyadicMatrix) -> np.ndarray:
        return self.gradients.ask(scattered(points), "measure")

    def _assemble(self, matrix: np.ndarray) -> None:
        """The network of these bends, held against fresh queries."""
        form = RidgeForm.zero(self.context, self.gradients.inputs, self.gradients.outputs)
        ridges = [oriented_ridge(self.context, bend.normal, bend.likeliest, bend.factor) for bend in self.bends]
        form = form.add(ridges, matrix, form.constant)
        self.signed = solve_signs(form, lattice_limit=self.options.lattice_limit)
        self.network = self.signed.network
        if self.values is None:
            self.verified = self._verified_by_gradients()
            return
        (point,) = gaussian_points(1, self.gradients.inputs, 0, self.rng).rows()
        (value,) = self.values.ask(scattered(dyadic_matrix([point], len(point))), "measure")
        self.network = _raised(self.network, [x - y for x, y in zip(value, self.network(point), strict=True)])
        self.verified = verify(
            self.values,
            FlintEvaluator(self.network),
            functools.partial(kinks_of_form, form),
            inputs=self.options.verify_inputs,
            lines=self.options.verify_lines,
            rng=self.rng,
        )

    def _verified_by_gradients(self) -> Verified:
        """Fresh inputs at all scales; what disagrees there is no sum of the neurons found."""
        assert self.network is not None
        known = JacobianEvaluator(self.network)
        result = Verified(inputs=self.options.verify_inputs)
        for scale in sorted(set(SCALES)):
            count = sum(SCALES[i % len(SCALES)] == scale for i in range(self.options.verify_inputs))
            points = scattered(gaussian_points(count, self.gradients.inputs, scale, self.rng))
            found = self.gradients.ask(points, "verify") != known(points)
            result.disagreements += int(found.any(axis=(1, 2)).sum())
        return result

    def _unsettled(self) -> list[Bend]:
        return [bend for bend in self.bends if bend.bias is None]

    def _open(self, outcome: Outcome) -> list[str]:
        sentences = [] if outcome is Outcome.COMPLETE else [outcome.value]
        if self.values is None:
            sentences.append(CONSTANT_IS_OPEN)
        wide = [bend.high - bend.low for bend in self._unsettled()]
        if wide:
            sentences.append(
                f"{len(wide)} biases are no rationals of moderate height: known to {float(max(wide)):.1e}, rows being "
                "primitive integers"
            )
        if self.signed is not None and self.signed.method is SignMethod.AFFINE and self.signed.extra_neurons:
            sentences.append(f"{self.signed.method.value} ({self.signed.extra_neurons} of them)")
        return sentences


def _raised(network: ExactNetwork, constants: Sequence[fmpq]) -> ExactNetwork:
    """The network with these constants added to its outputs."""
    *hidden, last = network.biases
    raised = fmpq_mat(last.nrows(), 1, [b + c for b, c in zip(last.entries(), constants, strict=True)])
    return dataclasses.replace(network, biases=(*hidden, raised))
