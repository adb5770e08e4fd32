"""One hidden layer that is known on a slice, in all coordinates: a gradient for every neuron, at inputs of the slice.

Where the rows are independent on the slice there are inputs at which one neuron is on and all boundaries are equally
far. How far a step along a coordinate may go there is not known before the entries of the rows are; a row is about as
long as it seems along the slice's directions, and its entries are taken for Gaussian at first. Afterwards every step is
held against the rows that came out of it, and those too long are asked again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from jaxtract.measurement.line_slice import LineSlice
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CHUNK, CountingOracle
from jaxtract.polish.gauss_newton import Polished
from jaxtract.polish.layer_gradients import (
    HALVES,
    INPUT_BITS,
    LONGEST,
    NEARER,
    STEP_BITS,
    Layer,
    SeenGradient,
    measured_gradients,
    step_errors,
    steps_within,
    values_at,
    values_beside,
    with_biases,
    with_rows,
)
from precision.balls import to_float
from precision.rounded import RoundedContext

TOO_LONG = 0.001
"""Share of the steps that reach a boundary, where the entries of rows are Gaussian."""

SHARE_OF_WAY = 0.875
"""Steps longer than this share of the way to a boundary are asked again."""

TOO_SHORT = 0.125
"""Steps so much shorter than they could be are asked again, too."""

STEP_DIGITS = 8
"""Significant bits of a step: inputs remain doubles."""

ROUNDS = 6
"""Times that steps are shortened."""


def lift_rows(
    oracle: CountingOracle,
    chosen: LineSlice,
    network: ExactNetwork,
    rng: np.random.Generator,
    keep: Callable[[ExactNetwork], None],
) -> Polished | None:
    """All weights and biases, from as many gradients as there are neurons; queries count as ``measure``.

    Args:
        oracle: the black box, its rounding measured, of points of any bits.
        chosen: the slice.
        network: one hidden layer as it is on the slice, so near that patterns away from all boundaries are right.
        rng: chooses inputs.
        keep: given the neurons that are known when an exception ends the gradients, before it goes on.

    Returns:
        None where the rows depend on each other on the slice or the answers contradict the network.

    Raises:
        BudgetSpent: the next batch was too much.
    """
    context, layer = oracle.context, Layer.of(network)
    if not isinstance(context, RoundedContext) or context.error_unit is None or layer.inverse is None:
        return None
    unit = to_float(context.error_unit)
    constant = max(abs(to_float(x)) for x in network.biases[1].entries())
    places = layer.off_boundaries(layer.distances(constant), 0, rng, None)[: layer.width]
    points = _inputs(chosen, places)
    steps = _likely_steps(points, layer.heights(places), chosen.lengths(layer.weights))
    shown, found, values = _projected(chosen, layer), [], []
    try:
        for part in _parts(*points.shape):
            some, here = measured_gradients(oracle, points[part], steps[part], points[:0], unit)
            found.extend(some)
            values.append(here)
        rows = _within_reach(oracle, shown, found, np.concatenate(values), steps, unit)
    except BaseException:
        if found and (known := _whole(_first(shown, len(found)), found)) is not None:
            keep(known.network())
        raise
    if rows is None or rows.inverse is None:
        return None
    nearer = rows.off_boundaries(NEARER, HALVES, rng, None)
    values.append(values_at(oracle, nearer))
    return with_biases(oracle, rows, np.concatenate([points, nearer]), np.concatenate(values), unit)


def _parts(neurons: int, inputs: int) -> list[slice]:
    """Neurons that are asked together: what is known before an exception is kept."""
    size = max(1, CHUNK // inputs)
    return [slice(start, start + size) for start in range(0, neurons, size)]


def _first(layer: Layer, neurons: int) -> Layer:
    return Layer(layer.weights[:neurons], layer.biases[:neurons], layer.outgoing[:, :neurons])


def _inputs(chosen: LineSlice, places: np.ndarray) -> np.ndarray:
    """Places of the slice (places, dimensions) as inputs on a grid, (places, inputs)."""
    base = np.array([to_float(x) for x in chosen.base])
    inputs = base + places @ chosen.directions.to_float64()
    return np.round(inputs * 2.0**INPUT_BITS) / 2.0**INPUT_BITS


def _likely_steps(points: np.ndarray, heights: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Steps that are likely to reach no boundary, (points, inputs), the same for all coordinates of a point."""
    inputs = points.shape[1]
    entries = norm.isf(TOO_LONG / len(lengths)) * lengths / np.sqrt(inputs)
    longest = LONGEST * (1 + np.max(np.abs(points), axis=1))
    reach = np.clip(SHARE_OF_WAY * np.min(np.abs(heights) / entries, axis=1), 2.0 ** (STEP_DIGITS - STEP_BITS), longest)
    mantissa, exponent = np.frexp(reach)
    steps = np.ldexp(np.floor(mantissa * 2.0**STEP_DIGITS), exponent - STEP_DIGITS)
    return np.repeat(steps[:, None], inputs, axis=1)


def _projected(chosen: LineSlice, layer: Layer) -> Layer:
    """The layer with the part of every row that the slice shows, (width, inputs)."""
    directions = chosen.directions.to_float64()
    weights = np.linalg.lstsq(directions, layer.weights.T, rcond=None)[0].T
    base = np.array([to_float(x) for x in chosen.base])
    return Layer(weights, layer.biases - weights @ base, layer.outgoing)


def _whole(shown: Layer, found: list[SeenGradient]) -> Layer | None:
    """The layer with whole rows, scaled so that f reads its neurons as on the slice."""
    rows = with_rows(shown, found)
    if rows is None:
        return None
    assert rows.roughness is not None
    # Entries that are wrong, of steps too long, do not disturb the scale of the others.
    scales = np.sum(rows.outgoing * shown.outgoing, axis=0) / np.sum(shown.outgoing**2, axis=0)
    weights, points = rows.weights * scales[:, None], np.stack([g.point for g in found])
    # Each stays as high as it is on the slice where it is on.
    biases = np.diagonal(shown.heights(points)) - np.sum(weights * points, axis=1)
    return Layer(weights, biases, rows.outgoing / scales, rows.roughness * np.abs(scales)[:, None])


def _within_reach(
    oracle: CountingOracle, shown: Layer, found: list[SeenGradient], values: np.ndarray, steps: np.ndarray, unit: float
) -> Layer | None:
    """The layer once no step is longer than a share of the way to a boundary; None where none comes out."""
    points = np.stack([g.point for g in found])
    heights, likely = shown.heights(points), steps
    for _ in range(ROUNDS):
        layer = _whole(shown, found)
        if layer is None:
            return None
        safe = np.minimum(likely, steps_within(points, heights, layer.weights))
        # Rows that came out of steps too long may have asked for far too short ones.
        rows, axes = np.nonzero(_too_long(heights, layer.weights, steps) | (steps < TOO_SHORT * safe))
        if not len(rows):
            return layer if np.array_equal(layer.on(points), np.eye(layer.width)) else None
        steps = steps.copy()
        steps[rows, axes] = safe[rows, axes]
        beside = values_beside(oracle, points, rows, axes, steps[rows, axes])
        gradients = np.stack([g.gradient for g in found])
        gradients[rows, :, axes] = (beside - values[rows]) / steps[rows, axes, None]
        errors = step_errors(points, steps, unit)
        found = [SeenGradient(x, g, e) for x, g, e in zip(points, gradients, errors, strict=True)]
    return None


def _too_long(heights: np.ndarray, weights: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Which steps (points, inputs) go on to a boundary, or nearly."""
    return np.stack(
        [
            np.any(-step[:, None] * weights.T * np.sign(z) > SHARE_OF_WAY * np.abs(z), axis=1)
            for step, z in zip(steps, heights, strict=True)
        ]
    )
