"""One hidden layer with many parameters: every weight again, from inputs far from all boundaries.

Once the hyperplanes are known roughly, as many gradients as there are neurons, each at an input where one of them is
on (``jaxtract.polish.layer_gradients``), give all rows to about the rounding of one answer, without a Jacobian of all
parameters; gradients that were measured before, over long steps, take the place of some.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import qr

from jaxtract.measurement.affine_pieces import AffinePiece
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.polish.chosen_inputs import MOST_PARAMETERS
from jaxtract.polish.gauss_newton import Polished, polish
from jaxtract.polish.layer_gradients import (
    HALVES,
    NEARER,
    Layer,
    SeenGradient,
    measured_gradients,
    patterns_by_error,
    step_errors,
    with_biases,
    with_rows,
)
from precision.balls import to_float
from precision.context import Context
from precision.rounded import RoundedContext

LEAST_SPARED, SPARED_SHARE = 4, 16
"""Neurons that are not measured again where enough gradients were seen: so many, or one of every so many."""

REDUNDANT = 2
"""Gradients from before that are used for every neuron that is spared, the best ones."""

ROUGHER = 256.0
"""Only gradients that are at most so many times rougher than new ones are used again."""


def seen_gradients(context: Context, pieces: Sequence[AffinePiece]) -> list[SeenGradient]:
    """Those that were measured by differences of answers whose rounding was measured."""
    if not isinstance(context, RoundedContext) or context.error_unit is None:
        return []
    unit, found = to_float(context.error_unit), []
    for piece in pieces:
        if piece.place is None:
            continue
        point = np.array([to_float(x) for x in piece.place[0]])
        gradient = np.array([to_float(context.rational(x)) for x in piece.gradient.ravel()])
        error = 2 * unit * (1 + float(np.max(np.abs(point)))) / to_float(piece.place[1])
        found.append(SeenGradient(point, gradient.reshape(piece.gradient.shape), np.full(len(point), error)))
    return found


def polish_shallow(
    oracle: CountingOracle, network: ExactNetwork, rng: np.random.Generator, seen: Sequence[SeenGradient]
) -> Polished | None:
    """One hidden layer row by row where that can be; else by all parameters together, if they are not too many."""
    few = network.parameters <= MOST_PARAMETERS
    if few and oracle.context.rough:
        return polish(oracle, network, rng)
    found = polish_one_layer(oracle, network, rng, [] if few else seen)
    if found is None and not few:
        # A gradient whose step left its region contradicts the others: it is asked again.
        found = polish_one_layer(oracle, network, rng)
    return polish(oracle, network, rng) if found is None and few else found


def polish_one_layer(
    oracle: CountingOracle, network: ExactNetwork, rng: np.random.Generator, seen: Sequence[SeenGradient] = ()
) -> Polished | None:
    """All weights and biases, from as many gradients as there are neurons; queries count as ``measure``.

    Args:
        oracle: the black box, its rounding measured.
        network: one hidden layer, so near that patterns away from all boundaries are right.
        rng: chooses inputs.
        seen: gradients that are known already; the best of them are not asked again.

    Returns:
        None where the rows depend on each other (as when there are more neurons than inputs), where the rounding of
        the black box was not measured, or where the answers contradict the network.

    Raises:
        BudgetSpent: before anything was asked.
    """
    context = oracle.context
    if len(network.weights) != 2 or network.skips or network.widths[1] == 0:
        return None
    layer = Layer.of(network)
    if not isinstance(context, RoundedContext) or context.error_unit is None or layer.inverse is None:
        return None
    unit = to_float(context.error_unit)
    constant = max(abs(to_float(x)) for x in network.biases[1].entries())
    candidates = layer.off_boundaries(layer.distances(constant), 0, rng, context.point_bits)[: layer.width]
    enough = ROUGHER * np.median(step_errors(candidates, layer.steps(candidates), unit))
    best = sorted((g for g in seen if g.size <= enough), key=lambda g: g.size)
    spared = min(len(best), max(LEAST_SPARED, layer.width // SPARED_SHARE))
    best = best[: REDUNDANT * spared]
    points = candidates[_not_known(layer, best)[: layer.width - spared]]
    nearer = layer.off_boundaries(NEARER, HALVES, rng, context.point_bits)
    found, values = measured_gradients(oracle, points, layer.steps(points), nearer, unit)
    rows = with_rows(layer, [*found, *best])
    return None if rows is None else with_biases(oracle, rows, np.concatenate([points, nearer]), values, unit)


def _not_known(layer: Layer, seen: Sequence[SeenGradient]) -> np.ndarray:
    """The neurons in the order in which they are to be measured by themselves, those first that were seen least."""
    if not seen:
        return np.arange(layer.width)
    # In units of their own jumps, an error is worst for the weakest.
    jumps = np.linalg.norm(layer.outgoing, axis=0) * layer.lengths
    *_, basis = np.linalg.svd(patterns_by_error(layer, seen) * jumps, full_matrices=False)
    *_, order = qr(((np.eye(layer.width) - basis.T @ basis) / jumps[:, None]).T, mode="economic", pivoting=True)
    return order
