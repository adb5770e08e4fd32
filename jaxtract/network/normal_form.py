"""The normal form of a one-hidden-layer network: equal functions have equal normal forms."""

from __future__ import annotations

import dataclasses

from flint import fmpq, fmpq_mat

from jaxtract.network.canonical import primitive_row
from jaxtract.network.exact_network import ExactNetwork

Hyperplane = tuple[int, ...]
"""(w_1, ..., w_d, b), primitive, first nonzero weight positive: the set w.x + b = 0."""


@dataclasses.dataclass(frozen=True)
class NormalForm:
    """f(x) = sum_h c_h |w_h.x + b_h| + A x + a, over the rationals.

    Since s(z) = (|z| + z) / 2, every one-hidden-layer ReLU network is of this form, and it is unique: on
    the hyperplane h, and nowhere else, the gradient of f jumps, by 2 c_h (x) w_h; what is affine everywhere
    is fixed by d + 1 values. So ``==`` decides whether two networks are the same function, also with
    opposite, coincident, cancelling or dead neurons (the hard cases of Chen, Klivans and Meka 2021).

    Attributes:
        kinks: (hyperplane, c_h) pairs, sorted by hyperplane, all different, every c_h nonzero (m entries).
        slope: A, shape (m, d).
        offset: a, shape (m, 1).
    """

    kinks: tuple[tuple[Hyperplane, tuple[fmpq, ...]], ...]
    slope: fmpq_mat
    offset: fmpq_mat


def normal_form(network: ExactNetwork) -> NormalForm:
    """The normal form of a network with one hidden layer, or none.

    Raises:
        ValueError: the network has more than one hidden layer.
    """
    network = network.plain()
    hidden = len(network.weights) - 1
    if hidden == 0:
        return NormalForm((), network.weights[0], network.biases[0])
    if hidden > 1:
        raise ValueError(
            f"network has {hidden} hidden layers; the normal form is for at most one, "
            f"compare deeper networks with certify"
        )
    weight, out = network.weights[0], network.weights[1]
    bias, offset = network.biases[0], network.biases[1]
    half = fmpq(1, 2)
    kinks: dict[Hyperplane, list[fmpq]] = {}
    constant = offset + half * (out * bias)
    columns = out.transpose().tolist()
    for row, b, column in zip(weight.tolist(), bias.entries(), columns, strict=True):
        if all(x == 0 for x in row):
            # A constant neuron, s(b) = (|b| + b) / 2: the half with |b| is still to be added.
            constant = constant + fmpq_mat(len(column), 1, [half * abs(b) * x for x in column])
            continue
        hyperplane, scale = _hyperplane([*row, b])
        scaled = [half * scale * x for x in column]
        before = kinks.get(hyperplane)
        kinks[hyperplane] = scaled if before is None else [x + y for x, y in zip(before, scaled, strict=True)]
    visible = sorted((h, tuple(c)) for h, c in kinks.items() if any(x != 0 for x in c))
    return NormalForm(tuple(visible), half * (out * weight), constant)


def _hyperplane(row: list[fmpq]) -> tuple[Hyperplane, fmpq]:
    vector, scale = primitive_row(row)
    first = next(x for x in vector if x != 0)
    return (vector if first > 0 else tuple(-x for x in vector)), scale
