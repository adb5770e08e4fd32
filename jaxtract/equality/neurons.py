"""A network as a list of affine expressions: what every neuron reads, whichever layers that comes from."""

from __future__ import annotations

from flint import fmpq

from jaxtract.equality.expressions import CONSTANT, Expression
from jaxtract.network.blocks import Blocks
from jaxtract.network.exact_network import ExactNetwork


def neuron_rows(network: ExactNetwork) -> list[list[Expression]]:
    """Layer by layer, the pre-activation of every neuron over the inputs and the neurons before it; outputs last.

    Neurons are counted through from 1. Skips need no treatment of their own: a row is over what it reads.
    """
    blocks = Blocks(network)
    starts = [-network.inputs, *(1 + sum(blocks.widths[1:layer]) for layer in range(1, blocks.last + 1))]
    found: list[list[Expression]] = []
    for layer in range(1, blocks.last + 1):
        sources = [source for source, _ in blocks.into(layer)]
        read = [starts[source] + i for source in sources for i in range(blocks.widths[source])]
        rows = [blocks.row(layer, h) for h in range(blocks.widths[layer])]
        found.append([_row([CONSTANT, *read], [b, *r]) for b, r in zip(blocks.biases[layer], rows, strict=True)])
    return found


def _row(keys: list[int], coefficients: list[fmpq]) -> Expression:
    return {key: x for key, x in zip(keys, coefficients, strict=True) if x != 0}
