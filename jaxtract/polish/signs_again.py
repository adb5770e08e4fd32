"""The signs of the last hidden layer, solved again once the network was polished.

Rows that are read from rounded answers are known to twenty bits or so, and an affine rest on extra neurons is what is
left where their signs did not come out. The polished function is known to twice as many: its last hidden layer, written
as ridges and an affine part, tells signs that the rougher one did not.
"""

from __future__ import annotations

import numpy as np
from flint import fmpq

from jaxtract.measurement.ridge_form import RidgeForm, oriented_ridge
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.signs.solve_signs import SignMethod, solve_signs
from precision.context import object_matrix
from precision.rounded import mp

FEWEST_BITS = 32
"""Bits to which the function must be known."""


def with_signs(network: ExactNetwork, bits: int) -> ExactNetwork | None:
    """The same function with one neuron for every hyperplane of its last hidden layer; None where no signs do that.

    Args:
        network: its rows are known to ``bits``; opposite rows of its last hidden layer carry what is affine.
        bits: at least ``FEWEST_BITS``, or nothing is tried.
    """
    if bits < FEWEST_BITS or len(network.weights) < 2 or network.skips:
        return None
    context = mp(bits)
    rows, outer = object_matrix(network.weights[-2]), object_matrix(network.weights[-1])
    biases = network.biases[-2].entries()
    form = RidgeForm.zero(context, rows.shape[1], outer.shape[0])
    half = fmpq(1, 2)
    matrix = context.array(((outer @ rows) * half).ravel()).reshape(outer.shape[0], -1)
    constant = context.array(outer @ np.array(biases, dtype=object) * half + network.biases[-1].entries())
    ridges = [
        oriented_ridge(context, context.array(row), context.number(bias), context.array(factor))
        for row, bias, factor in zip(rows, biases, outer.T, strict=True)
        if any(x != 0 for x in row)
    ]
    signed = solve_signs(form.add(ridges, matrix, constant))
    if signed.method is SignMethod.AFFINE or signed.extra_neurons:
        return None
    return ExactNetwork(
        (*network.weights[:-2], *signed.network.weights), (*network.biases[:-2], *signed.network.biases)
    )
