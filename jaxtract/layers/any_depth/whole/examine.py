"""The recovered network against the black box, and what counterexamples teach."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.kinks.wider_slice import leaving
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.unseen.at_inputs import weights_at_inputs
from jaxtract.layers.any_depth.unseen.disagreements import Recovered, first_borders
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights, Weight, at_borders, solve_open
from jaxtract.layers.any_depth.unseen.where_they_act import Trials, Tried, all_open, harmless_together
from jaxtract.layers.any_depth.whole.assemble import Assembly
from jaxtract.layers.any_depth.whole.extremes import Extremes
from jaxtract.layers.any_depth.whole.read_output import OutputReader
from jaxtract.measurement.affine_pieces import inside_piece
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch, on_lines, scattered
from jaxtract.polish.gauss_newton import Polished, polish
from jaxtract.polish.known_answers import Answered, rationals
from jaxtract.polish.missing_neuron import inputs_beside, with_missing_neuron
from jaxtract.polish.signs_again import with_signs
from jaxtract.polish.weights_from_outputs import inputs_hardly_read
from jaxtract.search.lines import Line
from jaxtract.verification.agreement import Verified, verify
from jaxtract.verification.own_kinks import kinks_of_network
from precision.balls import ball, to_float
from precision.dyadic import dyadic_matrix, from_float, from_float64, power_of_two

BORDERS = 4
"""Counterexamples that are followed to the border of what is missing, at a time."""

POLISHED_BITS = 40
"""Bits to which a function that was polished from doubles is taken for right, where it is right at all."""

NEARLY_BITS = 20
"""Bits to which a network must have been polished for what it still lacks to be looked for with its help."""

MOST_MISSING = 6
"""Times that a polished network is completed from what it leaves: by a neuron of its last hidden layer, or weights."""

BESIDE = 96
"""Inputs asked beside those at which it was wrong."""

MANY_BESIDE = 8192
"""Those among which inputs for open weights are looked for."""

PROGRAMS_PER_QUERY = 4
"""Linear programs that are spent on open weights: where a network took long to read, its last weights may, too."""


class Examiner:
    """Compares at extremes of every layer, then at fresh inputs and lines.

    Args:
        inputs, lines: fresh ones that must agree at the end.

    Attributes:
        verified: the last comparison.
        off_slice: lines through counterexamples along which f changes, though by the slice it should not.
        harmless: open weights that change the function at no input, as far as the largest weight of their row.
    """

    def __init__(self, state: Recovery, assembly: Assembly, output_reader: OutputReader, inputs: int, lines: int):
        self.state = state
        self.assembly = assembly
        self.output_reader = output_reader
        self.inputs = inputs
        self.lines = lines
        self.verified = Verified()
        self.off_slice: list[Line] = []
        self.harmless: set[Weight] = set()
        self.extremes = Extremes(state)
        self._polished: Polished | None = None
        self._answered: Answered | None = None

    def verify(self) -> np.ndarray:
        """Compare with the black box; counterexamples come back as points on the slice, (points, rank).

        First at inputs that are extreme for some layer: a neuron that is hardly ever on is on there, if anywhere. They
        come before the fresh random inputs, and are not counted among these.
        """
        self.state.progress.phase("verify")
        self.off_slice, self.harmless = [], set()
        self._polished = self.state.polished = None
        self.state.signed_again = False
        evaluator, recovered = self.assembly.recovered()
        self.verified = Verified()
        points, answers = np.empty((0, self.state.slice.rank)), np.empty((0, 1), dtype=object)
        if self.inputs:
            points, answers = self.extremes.answered()
        batch = scattered(from_float64(points))
        if self.inputs:
            wrong = np.any(answers != recovered.ask(batch, "verify"), axis=1)
            self.extremes.note(wrong)
            self.verified.disagreements += int(wrong.sum())
            if wrong.any():
                return points[wrong]
        if not self.state.numbers.exact:
            self._polished = self.state.polished = self._polish(points, self._as_answered(batch, answers))
            evaluator, recovered = self.assembly.recovered()
            if self.state.polished is not None and len(self.state.polished.outliers):
                bad = self.state.polished.outliers[:16]
                self.verified.disagreements = len(bad)
                self.state.polished = None
                return self._on_slice([[from_float(x) for x in point] for point in bad.tolist()])
            if self.inputs and self.state.polished is not None:
                # What is known better now shows more.
                wrong = np.any(answers != recovered.ask(batch, "verify"), axis=1)
                if wrong.any():
                    self.verified.disagreements = int(wrong.sum())
                    self.state.polished = None
                    return points[wrong]
        predicted = functools.partial(kinks_of_network, evaluator, self.state.context, self.state.settings)
        compare = functools.partial(verify, self.state.oracle, evaluator, predicted, rng=self.state.rng)
        # Lines cost most queries, then fresh inputs, and what is known to be open hardly any.
        trials = self._trials()
        acting = self._acting(trials.quick() if trials else (), recovered)
        if len(acting):
            return acting
        self.verified = compare(inputs=self.inputs, lines=0)
        if self.verified.agrees:
            acting = self._acting(trials.thorough() if trials else (), recovered)
            if len(acting):
                return acting
            self.verified = self.verified.followed_by(compare(inputs=0, lines=self.lines))
        if self.verified.agrees:
            return np.empty((0, self.state.slice.rank))
        self.state.polished = None
        points = self.verified.counterexamples[:16]
        self.off_slice = leaving(self.state.measurer, self.state.slice, points, self.state.rng)
        return self._on_slice(points)

    def _open_weights(self) -> OpenWeights | None:
        """Those of a network of rationals that is all ReLUs; None while there are none."""
        found = self.output_reader.open_weights() if self.state.numbers.exact else None
        return None if found is None or any(linear.any() for linear in found.known.linear) else found

    def _trials(self) -> Trials | None:
        open_weights = self._open_weights()
        if open_weights is None:
            return None
        asked, progress = self.state.oracle.count, self.state.progress
        return Trials(
            open_weights,
            self.state.rng,
            PROGRAMS_PER_QUERY * (asked.search + asked.measure),
            lambda number, count: progress.phase(f"open weight {number} of {count}"),
        )

    def _acting(self, trials: Iterable[Tried], recovered: Recovered) -> np.ndarray:
        """The first inputs that show an open weight, (points, rank); what one does nowhere is noted as harmless."""
        harmless: set[Weight] = set()
        for tried in trials:
            harmless |= tried.harmless
            if not tried.points:
                continue
            batch = scattered(dyadic_matrix(tried.points, self.state.slice.rank))
            wrong = np.any(self.state.pool.asker.ask(batch, "verify") != recovered.ask(batch, "verify"), axis=1)
            if wrong.any():
                self.verified.disagreements = int(wrong.sum())
                return batch.to_float64()[wrong]
        self.state.progress.phase("verify")
        if harmless:
            open_weights = self._open_weights()
            assert open_weights is not None, "what is harmless was open"
            self.harmless = harmless_together(harmless, all_open(open_weights))
        return np.empty((0, self.state.slice.rank))

    def _on_slice(self, points: list[list[fmpq]]) -> np.ndarray:
        """Points of the full space moved onto the slice, (points, rank)."""
        moved = self.state.slice.equivalent(np.array(points, dtype=object))
        return np.array([[to_float(x) for x in point] for point in moved])

    def _recovered(self) -> Recovered:
        """The recovered function as far as it is right; polished where that says more."""
        if not self.state.numbers.few_bits or self._polished is None:
            return self.assembly.recovered()[1]
        evaluator = FlintEvaluator(self._polished.network)

        def values(points: PointBatch) -> np.ndarray:
            found = evaluator(self.state.slice.embed(points))
            found.ravel()[:] = [ball(x, power_of_two(-POLISHED_BITS) * (1 + abs(x))) for x in found.ravel()]
            return found

        return Recovered(values, self.state.numbers)

    def _as_answered(self, batch: PointBatch, answers: np.ndarray) -> Answered | None:
        """Inputs on the slice and answers there, as the rationals that these are."""
        if not self.state.numbers.few_bits or not len(batch):
            return None
        inputs = self.state.slice.embed(batch).anchors.to_float64()
        return Answered(inputs, rationals(self.state.numbers, answers))

    def _polish(self, extremes: np.ndarray, answered: Answered | None) -> Polished | None:
        network = self.assembly.network()
        assert network is not None, "polished only after the output layer was found"
        places = [place for layer in self.state.layers[1:] for row in layer.rows for place in row.seen_at]
        places.extend(extremes)
        near = None
        if places:
            near = np.zeros((len(places), self.state.slice.inputs))
            near[:, list(self.state.slice.axes)] = np.stack(places)
        polished = self._polished_from(network, near, spare=answered)
        if not self.state.numbers.few_bits:
            return polished
        return self._with_signs(self._with_missing(polished, near), near)

    def _polished_from(
        self,
        network: ExactNetwork,
        near: np.ndarray | None,
        also: np.ndarray | None = None,
        spare: Answered | None = None,
    ) -> Polished | None:
        """A network that is near, polished; what was asked for an earlier one is not asked again."""
        before = self._answered if self.state.numbers.few_bits else None
        polished = polish(self.state.oracle, network, self.state.rng, near=near, also=also, before=before, spare=spare)
        if polished is not None:
            self._answered = polished.answered
        return polished

    def _with_signs(self, polished: Polished | None, near: np.ndarray | None) -> Polished | None:
        """Without an affine rest, where the polished network tells signs that its rows did not."""
        if polished is None or len(polished.outliers) or not self.assembly.affine_rest():
            return polished
        signed = with_signs(polished.network, polished.accuracy_bits)
        again = None if signed is None else self._polished_from(signed, near)
        if again is None or len(again.outliers) or again.accuracy_bits < NEARLY_BITS:
            return polished
        self.state.signed_again = True
        return again

    def _with_missing(self, polished: Polished | None, near: np.ndarray | None) -> Polished | None:
        """With what the last hidden layer lacks, and weights that were open, from where the polished network is wrong.

        Open weights come first: more inputs beside the wrong ones may tell them all.
        """
        lacks_weights = True
        for _ in range(MOST_MISSING):
            if polished is None or not len(polished.outliers) or polished.accuracy_bits < NEARLY_BITS:
                break
            wrong, network = polished.outliers, polished.network
            if lacks_weights and polished.unseen:
                lacks_weights = False
            else:
                found = with_missing_neuron(self.state.oracle, polished, self.state.rng)
                if found is None:
                    break
                network, places = found
                near = places if near is None else np.concatenate([near, places])
                lacks_weights = True
            beside = inputs_beside(wrong, BESIDE, self.state.rng)
            if network is polished.network:
                many = inputs_beside(wrong, MANY_BESIDE, self.state.rng)
                beside = np.concatenate([beside, inputs_hardly_read(network, polished.open_weights, many)])
            again = self._polished_from(network, near, beside)
            if (
                again is not None
                and again.accuracy_bits >= NEARLY_BITS
                and (
                    not len(again.outliers)
                    or again.network.widths != polished.network.widths
                    or again.unseen < polished.unseen
                )
            ):
                polished = again
            elif lacks_weights:
                break
        return polished

    def learn_from(self, bad: np.ndarray) -> bool:
        """What counterexamples tell of open weights, else the borders before a few; False when there are none.

        With few bits there are none either where it could not be polished: the recovered function is too rough then
        for its difference to the black box to be followed, and new lines go through the counterexamples.
        """
        if self.state.numbers.few_bits and (self._polished is None or self._polished.accuracy_bits < NEARLY_BITS):
            return False
        recovered = self._recovered()
        if self._weights_at(bad, recovered):
            return True
        self.state.progress.phase("search")
        good = self._agreeing(recovered)
        if not len(good) or not len(bad):
            return False
        chosen = bad[self.state.rng.permutation(len(bad))[:BORDERS]]
        nearest = [int(np.argmin(np.linalg.norm(good - x, axis=1))) for x in chosen]
        borders = [
            border
            for border in first_borders(self.state.pool.asker, recovered, good[nearest], chosen, self.state.rng)
            if border.bends
        ]
        first = len(self.state.pool.lines)
        self.state.pool.lines.extend(border.searched for border in borders)
        if not borders:
            return False
        open_weights = self.output_reader.open_weights()
        if open_weights is not None:
            self.output_reader.fill(solve_open(at_borders(open_weights, self.state.pool, borders, first)))
        return True

    def _weights_at(self, bad: np.ndarray, recovered: Recovered) -> bool:
        """Whether counterexamples told open weights as they are; between rationals only."""
        open_weights = self._open_weights() if len(bad) else None
        if open_weights is None:
            return False
        self.state.progress.phase("measure")
        places = np.concatenate([bad, *self._unexplained_places()])
        found = weights_at_inputs(open_weights, self.state.pool.asker, recovered, places, self.state.rng)
        return self.output_reader.fill(found)

    def _unexplained_places(self) -> list[np.ndarray]:
        """Kinks at which no known neuron is zero, each (1, rank): what open weights do is not far."""
        lines = self.state.pool.lines
        return [
            np.array([[to_float(x) for x in lines[i].point(lines[i].kinks[k])]]) for i, k in self.state.unexplained()
        ]

    def _agreeing(self, recovered: Recovered) -> np.ndarray:
        """Places on the lines of the pool where f is known and the recovered function right, (places, rank)."""
        bases, directions, index, positions, values = [], [], [], [], []
        for line in self.state.pool.lines:
            if not line.dyadic or line.border:
                continue
            for i, piece in enumerate(line.profile.pieces):
                position, _ = inside_piece(self.state.numbers, line.profile, i)
                index.append(len(bases))
                positions.append(position)
                values.append(piece.on(self.state.numbers, position))
            bases.append(line.line.base)
            directions.append(line.line.direction)
        if not index:
            return np.empty((0, self.state.slice.rank))
        rank = self.state.slice.rank
        batch = on_lines(dyadic_matrix(bases, rank), dyadic_matrix(directions, rank), index, positions)
        wrong = np.any(recovered.ask(batch, "search") != np.array(values, dtype=object), axis=1)
        return batch.to_float64()[~wrong]
