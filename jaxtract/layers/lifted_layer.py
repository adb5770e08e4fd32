"""One hidden layer from doubles by way of a slice: about one gradient for every neuron, in place of two.

As many neurons are there as the first line has kinks. f is measured along the line on a slice of few dimensions
around it, where a gradient costs few queries, and is a network of one hidden layer there, too. Its neurons tell inputs
at which one of them is on, and there the gradient is asked in all coordinates (``jaxtract.polish.lift_rows``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxtract.measurement.line_slice import SliceOracle, dimensions_for, slice_around
from jaxtract.measurement.ridge_form import RidgeForm
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.polish.gauss_newton import Polished
from jaxtract.polish.layer_gradients import DEPENDENT, HALVES
from jaxtract.polish.lift_rows import lift_rows
from jaxtract.search.lines import Line

SHORTENED = 1.125
"""Queries to be expected over those of gradients whose steps are all short enough."""

Solved = Callable[[Oracle, Line], ExactNetwork | None]
"""The network on a slice, given the black box there and the line in its coordinates."""


def lifted_layer(
    oracle: CountingOracle,
    line: Line,
    kinks: int,
    rng: np.random.Generator,
    solved: Solved,
    keep: Callable[[ExactNetwork], None],
) -> Polished | None:
    """All weights and biases of a network of one hidden layer.

    Args:
        oracle: the black box in its context.
        line: a line that was searched.
        kinks: how many it has.
        rng: chooses the slice and inputs.
        solved: finds the network on the slice.
        keep: given the neurons that are known when an exception ends the gradients, before it goes on.

    Returns:
        None where little or nothing would be saved, where it does not fit the budget, where answers are no doubles
        whose rounding was measured, or where rows depend on each other or the answers contradict the network.
    """
    context, dimensions = oracle.context, dimensions_for(kinks, oracle.inputs)
    if context.name != "float64" or context.point_bits is not None or dimensions is None:
        return None
    queries = (kinks + 1) * dimensions + kinks * (oracle.inputs + 1) + 2 + HALVES
    if oracle.max_queries is not None and oracle.count.total + SHORTENED * queries > oracle.max_queries:
        return None
    chosen = slice_around(line, dimensions, rng)
    network = solved(SliceOracle(oracle.oracle, chosen), chosen.line)
    return None if network is None else lift_rows(oracle, chosen, network, rng, keep)


def independent_rows(form: RidgeForm) -> bool:
    """Whether there are normals, fewer than dimensions, and those, of length one, do not depend on each other."""
    rows = np.array(form.normals(), dtype=np.float64)
    return 0 < len(rows) < rows.shape[1] and bool(np.linalg.svd(rows, compute_uv=False)[-1] > DEPENDENT)
