"""A neuron that the last hidden layer lacks, from what a polished network still leaves of f.

Where only this neuron is missing the residual is gamma max(0, w . a + b), a the activations of the layer before: at
inputs where it is on, residuals are affine in activations that are known. So a row whose boundary was never met, or met
too seldom to be walked, is one linear system, of inputs where the network was found wrong and of others around them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq_mat

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.float64_layers import Affine, float64_layers, preactivations64
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from jaxtract.polish.gauss_newton import Polished
from jaxtract.polish.known_answers import rational_answers
from jaxtract.polish.least_absolute import least_absolute
from precision.balls import to_float
from precision.dyadic import from_float, from_float64

ZERO = 2.0**-30
"""A residual that is this much smaller than the largest one is none."""

ASKED, SHARES = 4, np.array([0.03, 0.1, 0.3, 1.0])
"""Inputs asked for every unknown, at most; how far from wrong ones, against the distance of these from the origin."""

ATTEMPTS = 4
"""Times that inputs are chosen: around all wrong ones, then around one of them."""

INPUT_BITS = 20
"""Fractional bits of such an input."""

ROUNDS, SHOWING = 8, 3
"""Times that inputs are asked, and how many for every activation that was zero wherever the neuron was on."""

POOL, CLIMBERS, CLIMB = 4096, 256, 120
"""Inputs beside wrong ones that are looked at in the known network, ways from them, and steps of a way."""

LEAST_READ = 2.0**-14
"""Such an activation is at least so large, against the neuron's pre-activation as far as it is known."""

LEAST_RIGHT = 0.9
"""Share of the inputs at which the neuron must be on or off as the residuals say."""

ONE_NEURON = 1e-4
"""Residuals of two outputs are those of one neuron when the second singular value is so much smaller."""


def with_missing_neuron(
    oracle: CountingOracle, polished: Polished, rng: np.random.Generator
) -> tuple[ExactNetwork, np.ndarray] | None:
    """The network with one more neuron in its last hidden layer, and inputs (inputs, dimension) where that is on.

    Queries count as ``measure``.

    Args:
        oracle: the black box, with rounded answers.
        polished: right at most inputs, wrong at its outliers, of which there is one at least.
        rng: chooses inputs.

    Returns:
        None where most residuals are not those of one such neuron.

    Raises:
        BudgetSpent: before anything was asked.
    """
    for attempt in range(ATTEMPTS):
        # Where several neurons are missing, residuals beside one input are most likely those of a single one.
        wrong = polished.outliers
        found = _read(oracle, polished.network, wrong[[int(rng.integers(len(wrong)))]] if attempt else wrong, rng)
        if found is not None:
            return found
    return None


def _read(
    oracle: CountingOracle, network: ExactNetwork, wrong: np.ndarray, rng: np.random.Generator
) -> tuple[ExactNetwork, np.ndarray] | None:
    """As ``with_missing_neuron``, from inputs (inputs, dimension) where the network is wrong."""
    unknowns = network.weights[-2].ncols() + 1
    before = float64_layers(network)[:-2]
    chosen = wrong[rng.permutation(len(wrong))[: ASKED * unknowns // 2]]
    points = np.concatenate([chosen, inputs_beside(wrong, ASKED * unknowns - len(chosen), rng)])
    known, residuals, asked = np.empty((0, unknowns)), np.empty((0, network.outputs)), [points[:0]]
    row, outer = np.zeros(unknowns), np.zeros(network.outputs)
    for _ in range(ROUNDS):
        asked.append(points)
        known = np.concatenate([known, _features(before, points)])
        residuals = np.concatenate([residuals, _residuals(oracle, network, points)])
        found = _row(known, residuals)
        if found is None:
            return None
        row, outer, seen = found
        points = _showing(before, row, seen, wrong, rng)
        if not len(points):
            break
    return _extended(network, row, outer), np.concatenate(asked)[known @ row > 0]


def _residuals(oracle: CountingOracle, network: ExactNetwork, points: np.ndarray) -> np.ndarray:
    """f less the network, evaluated without rounding, (points, outputs)."""
    batch = scattered(from_float64(points))
    left = rational_answers(oracle, batch) - FlintEvaluator(network)(batch)
    return np.array([[to_float(x) for x in row] for row in left])


def _showing(
    before: Sequence[Affine], row: np.ndarray, seen: np.ndarray, wrong: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Inputs at which the neuron should be on and reads one of the activations that were zero so far.

    From where it is on towards larger pre-activations of the neurons that it reads, at random. Of the inputs on these
    ways those where as little as can be is read that is not known: it may turn the neuron off.
    """
    starts = np.concatenate([wrong, inputs_beside(wrong, POOL, rng)])
    starts = starts[_features(before, starts) @ row > 0]
    if not len(starts):
        return starts
    chosen = []
    for i in np.flatnonzero(~seen):
        points = starts[rng.integers(len(starts), size=CLIMBERS)]
        heights, met = _heights(before, points)[:, i], [points[:0]]
        for _ in range(CLIMB):
            sizes = np.max(np.abs(points), axis=1, keepdims=True) * np.exp2(-rng.uniform(0, 8, (CLIMBERS, 1)))
            moved = _on_grid(points + sizes * rng.standard_normal(points.shape))
            higher = _heights(before, moved)[:, i]
            on = _features(before, moved) @ row > 0
            met.append(moved[on & (higher > 0)])
            better = on & (higher > heights)
            points[better], heights[better] = moved[better], higher[better]
        candidates = np.concatenate(met)
        known = _features(before, candidates)
        read, sure = known[:, ~seen].sum(axis=1), known @ row
        order = np.argsort(read / sure)
        order = order[known[order, i] > LEAST_READ * sure[order]]
        chosen.append(candidates[order[:SHOWING]])
    return np.unique(np.concatenate(chosen), axis=0) if chosen else starts[:0]


def _on_grid(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2.0**INPUT_BITS) / 2.0**INPUT_BITS


def inputs_beside(wrong: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Inputs beside wrong ones: (count, inputs)."""
    centres = wrong[rng.integers(len(wrong), size=count)]
    sizes = (1 + np.max(np.abs(centres), axis=1)) * SHARES[rng.integers(len(SHARES), size=count)]
    return _on_grid(centres + sizes[:, None] * rng.standard_normal(centres.shape))


def _features(before: Sequence[Affine], points: np.ndarray) -> np.ndarray:
    """Activations of the layer before the last hidden one, in float64, and 1: (points, width + 1)."""
    states = np.maximum(_heights(before, points), 0) if before else points
    return np.concatenate([states, np.ones((len(points), 1))], axis=1)


def _heights(before: Sequence[Affine], points: np.ndarray) -> np.ndarray:
    """Pre-activations of this layer, (points, width); the input itself where there is no layer before."""
    return preactivations64(before, points)[-1] if before else points


def _row(known: np.ndarray, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(row and bias (unknowns,), what the outputs read (outputs,), which of the unknowns were seen).

    residuals = outer max(0, row . known), or None where that is not so at most points.

    ``known`` has shape (points, unknowns), the last column one; ``residuals`` (points, outputs).
    """
    sizes = np.max(np.abs(residuals), axis=1)
    on = sizes > ZERO * np.max(sizes)
    matrix = known[on]
    scales = np.linalg.norm(matrix, axis=0)
    seen = scales > 0
    solved = [least_absolute(matrix[:, seen] / scales[seen], column) for column in residuals[on].T]
    rows = [solution for solution in solved if solution is not None]
    if len(rows) < len(solved):
        return None
    outer, singular, inner = np.linalg.svd(np.stack(rows) / scales[seen])
    if len(singular) > 1 and singular[1] > ONE_NEURON * singular[0]:
        return None
    row = np.zeros(known.shape[1])
    row[seen] = inner[0]
    side = 1.0 if np.sum(known[on] @ row > 0) * 2 >= on.sum() else -1.0
    right = (known @ (side * row) > 0) == on
    return (side * row, side * singular[0] * outer[:, 0], seen) if np.mean(right) >= LEAST_RIGHT else None


def _extended(network: ExactNetwork, row: np.ndarray, outer: np.ndarray) -> ExactNetwork:
    """One more neuron in the last hidden layer."""
    *first, inner, last = network.weights
    *before, biases, constant = network.biases
    rows = [*inner.tolist(), [from_float(float(x)) for x in row[:-1]]]
    columns = [[*old, from_float(float(new))] for old, new in zip(last.tolist(), outer, strict=True)]
    column = fmpq_mat(len(rows), 1, [*biases.entries(), from_float(float(row[-1]))])
    return ExactNetwork((*first, fmpq_mat(rows), fmpq_mat(columns)), (*before, column, constant))
