"""One hidden layer from gradients and values at inputs of known activation patterns, far from all boundaries.

f(x) = sum_h [z_h(x) > 0] c_h (w_h.x + b_h) + a is linear in what is unknown: gradients at inputs of different patterns
are a linear system with one small matrix for all coordinates, values one for the biases. Where the rows are independent
every pattern exists. At inputs where one neuron is on, all others off, and every boundary is equally far, steps are
long and f is rounded from the terms of that neuron alone, be it ever so weak.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from flint import fmpq_mat, fmpz

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import PointBatch, scattered
from jaxtract.polish.gauss_newton import Polished
from jaxtract.polish.rounding_steps import biases_from_steps
from precision.balls import to_float
from precision.dyadic import from_float, from_float64

HALVES = 8
"""Values where a random half of the neurons is on: they show whether all of it fits together."""

OFF, FARTHEST, NEARER = 4.0, 2.0**20, 0.25
"""Distance of an input from all boundaries, for gradients and for values; farther where a constant is far larger."""

WIDE_STEP = 2.0**-44
"""Biases are read from the steps of the rounding of f where these are wider than that, against their rows."""

LONGEST = 64.0
"""Longest step of a difference, over 1 + the largest coordinate."""

DEPENDENT = 1e-6
"""Rows of length one with a singular value below this depend on each other."""

INPUT_BITS, STEP_BITS = 16, 40
"""Fractional bits of inputs and of steps."""

INCONSISTENT = 8.0
"""Residuals so many times the bound on the errors of the answers are not their rounding."""


@dataclasses.dataclass(frozen=True)
class SeenGradient:
    """A gradient (outputs, inputs) of f at a point (inputs,), and bounds on the errors of its columns, (inputs,)."""

    point: np.ndarray
    gradient: np.ndarray
    errors: np.ndarray

    @functools.cached_property
    def size(self) -> float:
        """A typical error."""
        return float(np.median(self.errors))


@dataclasses.dataclass(frozen=True)
class Layer:
    """A network of one hidden layer in float64.

    Shapes: weights (width, inputs), biases (width,), outgoing (outputs, width). ``roughness``, (width, inputs), bounds
    the errors of the weights where these are known.
    """

    weights: np.ndarray
    biases: np.ndarray
    outgoing: np.ndarray
    roughness: np.ndarray | None = None

    @classmethod
    def of(cls, network: ExactNetwork) -> Layer:
        weights, outgoing = (np.array([[to_float(x) for x in row] for row in w.tolist()]) for w in network.weights)
        return cls(weights, np.array([to_float(x) for x in network.biases[0].entries()]), outgoing)

    def network(self, constant: np.ndarray | None = None) -> ExactNetwork:
        """With the constant (outputs,), zero unless told."""
        last = np.zeros(len(self.outgoing)) if constant is None else constant
        inner, outer = (_rational(x) for x in (self.weights, self.outgoing))
        return ExactNetwork((inner, outer), (_rational(self.biases[:, None]), _rational(last[:, None])))

    @property
    def width(self) -> int:
        return len(self.biases)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        return np.linalg.norm(self.weights, axis=1)

    @functools.cached_property
    def inverse(self) -> np.ndarray | None:
        """(inputs, width), of the rows scaled to length one; None where they depend on each other."""
        if self.width > self.weights.shape[1] or not self.lengths.all():
            return None
        left, sizes, right = np.linalg.svd(self.weights / self.lengths[:, None], full_matrices=False)
        return (right.T / sizes) @ left.T if sizes[-1] > DEPENDENT else None

    def heights(self, points: np.ndarray) -> np.ndarray:
        return points @ self.weights.T + self.biases

    def on(self, points: np.ndarray) -> np.ndarray:
        """Which neurons are on, as 1 and 0, (points, width)."""
        return (self.heights(points) > 0).astype(np.float64)

    def distances(self, constant: float) -> np.ndarray:
        """How far from all boundaries each neuron is measured, (width,): the constant must not outweigh its terms."""
        jumps = np.max(np.abs(self.outgoing), axis=0) * self.lengths
        with np.errstate(divide="ignore"):
            return np.clip(constant / jumps, OFF, FARTHEST)

    def on_boundaries(self, neurons: np.ndarray) -> np.ndarray:
        """Inputs on the boundaries of some neurons, where all others are off: (neurons, inputs)."""
        assert self.inverse is not None
        wanted = OFF * (np.eye(self.width)[neurons] - 1)
        return (wanted - self.biases / self.lengths) @ self.inverse.T

    def off_boundaries(
        self, distance: float | np.ndarray, halves: int, rng: np.random.Generator, point_bits: int | None
    ) -> np.ndarray:
        """Inputs ``distance`` from every boundary, at which one neuron is on, or none or all, then a random half.

        ``distance``: one for all; or one for each neuron, the largest of them for the others.

        Where one neuron is on, f is rounded from its terms alone, be it ever so weak. (width + 2 + halves, inputs), on
        a grid coarse enough for steps to the longest when points have few bits.
        """
        assert self.inverse is not None
        one, none = 2.0 * np.eye(self.width) - 1, -np.ones((1, self.width))
        wanted = np.concatenate([one, none, -none, rng.choice([-1.0, 1.0], (halves, self.width))])
        away = np.full(len(wanted), np.max(distance))
        away[: self.width] = distance
        inputs = (wanted * away[:, None] - self.biases / self.lengths) @ self.inverse.T
        bits = float(INPUT_BITS)
        if point_bits is not None:
            farthest = (1 + LONGEST) * (1 + np.max(np.abs(inputs)))
            bits = min(bits, point_bits - np.ceil(np.log2(farthest)))
        return np.round(inputs * 2.0**bits) / 2.0**bits

    def steps(self, points: np.ndarray) -> np.ndarray:
        """Powers of two, shorter than the way to any boundary along a coordinate: (points, inputs)."""
        return steps_within(points, self.heights(points), self.weights)


def steps_within(points: np.ndarray, heights: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Powers of two, shorter than the way along a coordinate to where a height (points, width) is zero.

    Shape (points, coordinates), as weights (width, coordinates) have them.
    """
    sizes = np.abs(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.stack([np.nanmin(z[:, None] / sizes, axis=0) for z in np.abs(heights)])
    longest = LONGEST * (1 + np.max(np.abs(points), axis=1, keepdims=True))
    return np.exp2(np.floor(np.log2(np.clip(reach / 2, 2.0**-STEP_BITS, longest))))


def step_errors(points: np.ndarray, steps: np.ndarray, unit: float) -> np.ndarray:
    """Bounds on the errors of derivatives, (points, inputs): of two answers, over a step."""
    return 2 * unit * (1 + np.max(np.abs(points), axis=1))[:, None] / steps


def patterns_by_error(layer: Layer, gradients: Sequence[SeenGradient]) -> np.ndarray:
    """Which neurons gradients are made of, by how well they are known: (gradients, width)."""
    if not gradients:
        return np.empty((0, layer.width))
    return layer.on(np.stack([g.point for g in gradients])) / np.array([g.size for g in gradients])[:, None]


def measured_gradients(
    oracle: CountingOracle, points: np.ndarray, steps: np.ndarray, others: np.ndarray, unit: float
) -> tuple[list[SeenGradient], np.ndarray]:
    """(gradients at the points, f at the points and the others), in one batch that counts as ``measure``.

    Shapes: points and steps (points, inputs), a step along every coordinate; others (others, inputs); values
    (points + others, outputs).
    """
    (count, inputs), everywhere = points.shape, np.concatenate([points, others])
    rest = len(everywhere)
    rows = np.concatenate([np.arange(rest), np.repeat(np.arange(count), inputs)])
    axes = np.concatenate([np.zeros(rest, dtype=int), np.tile(np.arange(inputs), count)])
    answers = values_beside(oracle, everywhere, rows, axes, np.concatenate([np.zeros(rest), steps.ravel()]))
    values, around = answers[:rest], answers[rest:].reshape(count, inputs, -1)
    errors = step_errors(points, steps, unit)
    found = [
        SeenGradient(x, (beside - value).T / step, error)
        for x, beside, value, step, error in zip(points, around, values[:count], steps, errors, strict=True)
    ]
    return found, values


def values_at(oracle: CountingOracle, points: np.ndarray) -> np.ndarray:
    """f at points, (points, outputs)."""
    return _answers(oracle, scattered(from_float64(points)))


def values_beside(
    oracle: CountingOracle, points: np.ndarray, rows: np.ndarray, axes: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """f at points[rows] a step along coordinates, (rows, outputs); the steps are on the grid 2^-STEP_BITS."""
    batch = PointBatch(
        from_float64(points),
        None,
        tuple(rows.tolist()),
        tuple(axes.tolist()),
        tuple(fmpz(int(s * 2.0**STEP_BITS)) for s in steps),
        STEP_BITS,
    )
    return _answers(oracle, batch)


def _answers(oracle: CountingOracle, batch: PointBatch) -> np.ndarray:
    answers = oracle.ask(batch, "measure")
    return np.array([to_float(oracle.context.rational(x)) for x in answers.ravel()]).reshape(answers.shape)


def with_rows(layer: Layer, gradients: Sequence[SeenGradient]) -> Layer | None:
    """The rows and outgoing weights that fit the gradients; None where these contradict each other."""
    sizes = np.array([g.size for g in gradients])
    errors = np.stack([g.errors for g in gradients]) / sizes[:, None]
    outputs, inputs = gradients[0].gradient.shape
    right = np.stack([g.gradient.ravel() / g.size for g in gradients])
    jumps, inverse, rest = _refined(patterns_by_error(layer, gradients), right)
    if np.any(np.abs(rest.reshape(len(gradients), outputs, inputs)) > INCONSISTENT * errors[:, None, :]):
        return None
    weights, outgoing = np.empty_like(layer.weights), np.empty_like(layer.outgoing)
    for h, jump in enumerate(jumps.reshape(layer.width, outputs, inputs)):
        # A jump is of rank one; the length of a row is free and stays what it was.
        row = np.linalg.svd(jump, full_matrices=False)[2][0] * layer.lengths[h]
        weights[h] = row if row @ layer.weights[h] > 0 else -row
        outgoing[:, h] = jump @ weights[h] / (row @ row)
    if not outgoing.any(axis=0).all():
        return None
    roughness = np.sqrt(inverse**2 @ errors**2) / np.linalg.norm(outgoing, axis=0)[:, None]
    return Layer(weights, layer.biases, outgoing, roughness)


def with_biases(
    oracle: CountingOracle, layer: Layer, points: np.ndarray, values: np.ndarray, unit: float
) -> Polished | None:
    """Biases and the constant from values (points, outputs), linear once the rows are known."""
    assert layer.roughness is not None
    outputs, on = len(layer.outgoing), layer.on(points)
    # Sums of many terms, longer than the answers they are held against.
    inner = points.astype(np.longdouble) @ layer.weights.astype(np.longdouble).T
    rest = values - (on * inner) @ layer.outgoing.astype(np.longdouble).T
    spread = np.sqrt((points**2) @ (layer.roughness**2).T)
    errors = unit * (1 + np.max(np.abs(points), axis=1))[:, None] + np.sqrt((on * spread**2) @ (layer.outgoing**2).T)
    constants = np.broadcast_to(np.eye(outputs), (len(points), outputs, outputs))
    system = np.concatenate([on[:, None, :] * layer.outgoing, constants], axis=2).reshape(-1, layer.width + outputs)
    weights = 1 / errors.ravel()
    system, right = system * weights[:, None], rest.ravel() * weights
    # Values of many neurons are rounded from more than one bias: they only show whether all fits together.
    single = np.repeat(on.sum(axis=1) <= 1, outputs)
    solution, inverse, _ = _refined(system[single], right[single, None])
    if np.max(np.abs(right - system.astype(np.longdouble) @ solution[:, 0])) > INCONSISTENT:
        return None
    biases, constant = solution[: layer.width, 0], solution[layer.width :, 0]
    rough = np.linalg.norm(inverse, axis=1)
    hidden = np.maximum(np.max(np.abs(layer.weights), axis=1), np.abs(biases))
    none = np.flatnonzero(on.sum(axis=1) == 0)
    if outputs == 1 and len(none):
        still = float(values[none[0], 0])
        weak = np.flatnonzero(np.spacing(abs(still)) > WIDE_STEP * hidden * np.abs(layer.outgoing[0]))
        if len(weak):
            known = dataclasses.replace(layer, biases=biases)
            sharper, errors = biases_from_steps(
                oracle, known.on_boundaries(weak), layer.weights[weak], biases[weak], layer.outgoing[0, weak], still
            )
            biases[weak], rough[weak] = sharper, np.minimum(rough[weak], errors)
    outer = np.maximum(np.max(np.abs(layer.outgoing), axis=1), np.abs(constant))
    shares = [
        np.max(layer.roughness / hidden[:, None]),
        np.max(rough[: layer.width] / hidden),
        np.max(rough[layer.width :] / outer),
    ]
    network = dataclasses.replace(layer, biases=biases).network(constant)
    return Polished(network, max(0, math.floor(-math.log2(max(shares)))), 0, np.empty((0, points.shape[1])))


def _refined(system: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(least squares solution, pseudo-inverse, what is left), with one step of refinement for the solver's rounding."""
    inverse = np.linalg.pinv(system)
    wide, target = system.astype(np.longdouble), right.astype(np.longdouble)
    solution = (inverse @ right.astype(np.float64)).astype(np.longdouble)
    solution = solution + inverse @ (target - wide @ solution).astype(np.float64)
    return solution.astype(np.float64), inverse, (target - wide @ solution).astype(np.float64)


def _rational(values: np.ndarray) -> fmpq_mat:
    rows, columns = values.shape
    return fmpq_mat(rows, columns, [from_float(float(x)) for x in values.ravel()])
