"""The output layer over the layers that are known, and the open weights that it lets us see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers, Matrix
from jaxtract.layers.any_depth.found_layers import Output, Row
from jaxtract.layers.any_depth.kinks.foretold import bends, quiet_places
from jaxtract.layers.any_depth.kinks.pool import Place
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.unseen.complete_last import inputs_with_both_on, weight_from
from jaxtract.layers.any_depth.unseen.disagreements import Recovered
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights, Weight, behind_boundaries, solve_open
from jaxtract.layers.any_depth.whole.assemble import Assembly
from jaxtract.layers.any_depth.whole.output_layer import Tail, fit_output, known_at, remember_output, remembered_output
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import on_lines, scattered
from precision.balls import quotient, vanishes
from precision.context import Number, object_matrix
from precision.dyadic import dyadic_matrix, from_float64

AGREEING = 3
"""Inputs that must give one value for an open weight."""


class OutputReader:
    """Reads the output layer, and with it weights that no boundary showed."""

    def __init__(self, state: Recovery, assembly: Assembly):
        self.state = state
        self.assembly = assembly
        self._constant: np.ndarray | None = None

    def read(self) -> bool:
        """The output layer over what is known, and the open weights that it lets us see; False when it does not fit."""
        self.state.output = self._fit_output() or self._extended_output()
        if self.state.output is None:
            return False
        remember_output(self.state.output, self.state.known(len(self.state.layers)), self.state.layers[-1].rows)
        self._constant = np.array(self.state.output.network.biases[1].entries(), dtype=object)
        if self._complete_by_differences() or self._complete_last():
            self.state.output = self._fit_output() or self._extended_output()
        return self.state.output is not None

    def _extended_output(self) -> Tail | None:
        """The output layer as it was, and the weights of new neurons from the borders at which they were found.

        Open weights can leave too few places where f is known and undisturbed to read the layer again.
        """
        rows = self.state.layers[-1].rows
        new = [row for row in rows if row.output is None]
        if self._constant is None or len(new) == len(rows):
            return None
        known = self.state.known(len(self.state.layers))
        if new:
            self.state.output = remembered_output(known, rows, self._constant)
            _, recovered = self.assembly.recovered()
            for i, row in enumerate(rows):
                if row.output is None:
                    row.output = self._output_at_borders(known, recovered, i, row)
            if any(row.output is None for row in new):
                return None
        return remembered_output(known, rows, self._constant)

    def _output_at_borders(self, known: KnownLayers, recovered: Recovered, neuron: int, row: Row) -> Output | None:
        """What a neuron of the last layer adds to f, from a border on its boundary; the sides decide its sign."""
        for index in self.state.pool.borders():
            line = self.state.pool.lines[index]
            heights, scales = self.state.pool.border_heights(known, index)
            at_kink, behind = heights[-1][0, neuron], heights[-1][1, neuron]
            if at_kink != 0 or vanishes(behind):
                continue
            bases, directions = (
                dyadic_matrix([e], self.state.slice.rank) for e in (line.line.base, line.line.direction)
            )
            expected = recovered.ask(on_lines(bases, directions, [0, 0], [fmpq(-1), fmpq(1)]), "search")
            before, after = (
                piece.on(self.state.numbers, fmpq(t)) for piece, t in zip(line.profile.pieces, (-1, 1), strict=True)
            )
            if any(before != expected[0]) or not any(after != expected[1]):
                continue
            height = quotient(behind, scales[1]) / row.integer_factor()
            return Output((after - expected[1]) / abs(height), 1 if height > 0 else -1)
        return None

    def _fit_output(self) -> Tail | None:
        self.state.progress.phase("output")
        known, layers = self.state.pool.known_values(), self.state.known(len(self.state.layers))
        told = bends(self.state.pool, layers) if self.state.numbers.exact else []
        tail = self._fitted(known, told)
        if tail is not None:
            return tail
        # One piece with kinks that were not met contradicts everything.
        quiet = quiet_places(self.state.pool, layers)
        kept = [value for value, still in zip(known, quiet, strict=True) if still]
        return None if quiet.all() else self._fitted(kept, told)

    def _fitted(self, known: Sequence[tuple[Place, np.ndarray]], told: Sequence[np.ndarray | None]) -> Tail | None:
        """The output layer from places where f is known, and how it bends with every neuron, as far as that is told."""
        layers = self.state.known(len(self.state.layers))
        heights, scales = self.state.pool.heights(layers, [place for place, _ in known])
        points = [self.state.pool.lines[i].point(t) for (i, t), _ in known] if layers.depth == 1 else []
        values = known_at(layers, heights, scales, points, [value for _, value in known])
        disturbed = self._disturbed(heights)
        kept = np.nonzero(disturbed == 0)[0].tolist()
        doubtful = [k for k in np.argsort(disturbed, kind="stable").tolist() if disturbed[k]]
        return fit_output(
            self.state.pool.asker,
            layers,
            values.at(kept),
            self.state.numbers,
            self.state.rng,
            undisturbed=self._undisturbed,
            doubtful=values.at(doubtful),
            open_columns=sorted({i for row in self.state.layers[-1].rows for i in row.missing}),
            seen_at=[row.seen_at for row in self.state.layers[-1].rows],
            bends=told,
            lines=[known[k][0][0] for k in kept],
        )

    def _undisturbed(self, heights: Sequence[Matrix]) -> np.ndarray:
        """At which points no open weight acts: what it reads is off. From the pre-activations of all layers."""
        return self._disturbed(heights) == 0

    def _disturbed(self, heights: Sequence[Matrix]) -> np.ndarray:
        """How many rows read a neuron that is on with an open weight, (points,)."""
        found = np.zeros(heights[0].nrows(), dtype=int)
        for z, layer in zip(heights, self.state.layers[1:], strict=False):
            open_rows = [row.missing for row in layer.rows if row.missing]
            if open_rows:
                on = np.array([x > 0 for x in z.entries()], dtype=bool).reshape(z.nrows(), z.ncols())
                found += sum(on[:, sources].any(axis=1).astype(int) for sources in open_rows)
        return found

    def _complete_last(self) -> bool:
        """Open weights of the last layer from inputs where both neurons are on; True when one was found."""
        layer, tail = self.state.layers[-1], self.state.output
        if tail is None or len(self.state.layers) < 2 or tail.network.widths[1] != len(layer.rows):
            return False
        layers, network = self.state.known(len(self.state.layers)), self.assembly.network()
        assert network is not None
        evaluator, found = FlintEvaluator(network), False
        outgoing = object_matrix(tail.network.weights[1])
        for q, row in enumerate(layer.rows):
            told: dict[int, Number] = {}
            for i in row.missing:
                sign = _sign_between(row, tail.network.weights[0].tolist()[q])
                points = inputs_with_both_on(layers, row, q, sign, i, self.state.rng)[:AGREEING]
                weights = self._weights_at(evaluator, points, outgoing[:, q] * sign, i)
                if len(weights) == AGREEING and weights[0] is not None and _one_value(weights):
                    told[i] = weights[0]
            found = row.fill(told) or found
        return found

    def _weights_at(
        self, evaluator: FlintEvaluator, points: np.ndarray, gamma: np.ndarray, neuron: int
    ) -> list[Number | None]:
        """What every point says of the weight from ``neuron`` of the layer before; one query a point."""
        if len(points) == 0:
            return []
        own = from_float64(points)
        batch = self.state.slice.embed(scattered(own))
        residuals = self.state.measurer.ask(batch, "measure") - self.assembly.values(evaluator, batch)
        scale = 1 << max(own.exponent, 0)
        heights = (
            self.state.known(len(self.state.layers) - 1)
            .preactivations(own.mantissa, [scale] * len(points))[-1]
            .tolist()
        )
        return [weight_from(r, gamma, quotient(z[neuron], scale)) for r, z in zip(residuals, heights, strict=True)]

    def _complete_by_differences(self) -> bool:
        """Open weights of all layers from places where what they read has just switched on; True when one was found."""
        open_weights = self.open_weights()
        if open_weights is None:
            return False
        _, recovered = self.assembly.recovered()
        return self.fill(solve_open(behind_boundaries(open_weights, self.state.pool.asker, recovered, self.state.rng)))

    def open_weights(self) -> OpenWeights | None:
        """For the open weights of the recovered network; None when there are none, or its last layer was rearranged."""
        if self.state.output is None or not any(row.missing for layer in self.state.layers for row in layer.rows):
            return None
        found = OpenWeights(self.state.layers, self.state.known(len(self.state.layers)), self.state.output)
        return found if found.complete else None

    def fill(self, weights: dict[Weight, Number]) -> bool:
        """Set weights that were open, (layer from 0, neuron, neuron before); True when there was one."""
        told = {key: value for key, value in weights.items() if self.state.layers[key[0]].rows[key[1]].tells(value)}
        # A weight is told in the scale that the layer before it has now: later layers first.
        for depth in sorted({level for level, _, _ in told}, reverse=True):
            rows = self.state.layers[depth].rows
            factors = [row.integer_factor() for row in rows]
            for (level, q, i), value in told.items():
                if level == depth:
                    rows[q].weights[i] = value
            self.state.carry_scales(depth + 1, factors)
        return bool(told)


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
