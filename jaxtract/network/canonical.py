"""The canonical form of a ReLU network over the rationals: what is left when no symmetry is.

No query can tell apart two networks that differ by a permutation of the neurons of a layer, or by a
positive scale moved from a neuron's row to its outgoing column (Rolnick and Koerding 2020, section 3).
In canonical form both are fixed, and neurons that add nothing, or the same twice, are gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flint import fmpq, fmpq_mat

from jaxtract.network.blocks import Blocks
from jaxtract.network.exact_network import ExactNetwork
from precision.dyadic import floor_log2, power_of_two

FLOAT64_BITS = 53
LARGEST_ODD_FACTOR = 4095


def canonical_form(network: ExactNetwork) -> ExactNetwork:
    """The same function, with every hidden neuron scaled, merged and sorted; compare with ``==``.

    Layer by layer, first to last: a neuron's (row, bias) is scaled by a positive rational to a primitive
    integer vector and its outgoing column divided by that scale; neurons that then coincide become one
    with the sum of their columns; a neuron without weights is a constant and goes into the next bias;
    neurons are sorted by (row, bias). Last to first: neurons with a zero outgoing column are dropped. With skips,
    a row goes on over the sources of the layer's skips, and a column over all targets.

    Equal canonical forms prove equal functions. The converse does not hold: it sees permutation and
    positive scale and nothing else (``jaxtract.network.normal_form`` decides one hidden layer).
    """
    blocks = Blocks(network)
    for layer in range(1, blocks.last):
        _make_canonical(blocks, layer)
    for layer in reversed(range(1, blocks.last)):
        # Rows of later layers are final here: dropping one can only empty columns further down.
        blocks.keep(layer, [h for h in range(blocks.widths[layer]) if any(x != 0 for x in blocks.column(layer, h))])
    return blocks.network()


def primitive_row(row: Sequence[fmpq]) -> tuple[tuple[int, ...], fmpq]:
    """(v, scale) with row = scale * v, scale > 0, v integers without a common divisor.

    Raises:
        ValueError: every entry is zero.
    """
    numerators, denominator = fmpq_mat(1, len(row), list(row)).numer_denom()
    integers = [int(x) for x in numerators.entries()]
    divisor = math.gcd(*integers)
    if divisor == 0:
        raise ValueError(f"row of {len(row)} zeros has no primitive vector; fold it into the next bias first")
    return tuple(x // divisor for x in integers), fmpq(divisor, denominator)


def float64_scaled(network: ExactNetwork) -> ExactNetwork:
    """The same network with every hidden row's largest |weight| in [1, 2), by powers of two.

    Applied to the canonical form of a network whose weights were float64 numbers, the result has float64
    weights again. A power of two alone is not always enough: when the mantissas of a row share an odd
    divisor u, the canonical column has taken u over and may need more than 53 bits. Then the least odd
    u <= 4095 that brings the column down to 53 bits goes back to the row, whose largest |weight| is in
    [1, 2) all the same. Nothing is rounded: where no such u is found (in 4 of 1,500 He networks of widths
    2-4-4-1, none of 10-20-1), some weights of the result need more than 53 bits.
    """
    blocks = Blocks(network)
    hidden = range(1, blocks.last)
    # Last layer first: the entries of a column hold the divisors of the rows that they stand in, too, and
    # those must be back in place before the column's own divisor can be told.
    for layer in reversed(hidden):
        for h in range(blocks.widths[layer]):
            blocks.rescale(layer, h, fmpq(_odd_factor(blocks.column(layer, h))))
    for layer in hidden:
        for h in range(blocks.widths[layer]):
            largest = max((abs(x) for x in blocks.row(layer, h)), default=fmpq(0))
            if largest != 0:
                blocks.rescale(layer, h, power_of_two(-floor_log2(largest)))
    return blocks.network()


def _make_canonical(blocks: Blocks, layer: int) -> None:
    """Scales, merges and sorts one hidden layer; its constant neurons and those that nothing reads are dropped."""
    neurons: dict[tuple[int, ...], int] = {}
    for h in range(blocks.widths[layer]):
        row, offset = blocks.row(layer, h), blocks.biases[layer][h]
        if all(x == 0 for x in row):
            if offset > 0:
                blocks.make_constant(layer, h, offset)
            continue
        vector, scale = primitive_row([*row, offset])
        blocks.rescale(layer, h, 1 / scale)
        if neurons.setdefault(vector, h) != h:
            blocks.add_columns(layer, h, neurons[vector])
    # A zero column would not disturb the order of the others, but a smaller layer is cheaper from here on.
    read = [vector for vector, h in neurons.items() if any(x != 0 for x in blocks.column(layer, h))]
    blocks.keep(layer, [neurons[vector] for vector in sorted(read)])


def _odd_factor(column: Sequence[fmpq]) -> int:
    """The least odd u with column / u of at most 53 bits; 1 when there is none."""
    if all(_mantissa_bits(x) <= FLOAT64_BITS for x in column):
        return 1
    shared = math.gcd(*(int(x.p) for x in column))
    for odd in range(3, LARGEST_ODD_FACTOR + 1, 2):
        if shared % odd == 0 and all(_mantissa_bits(x / odd) <= FLOAT64_BITS for x in column):
            return odd
    return 1


def _mantissa_bits(value: fmpq) -> float:
    """Bits of the odd part of a dyadic rational; infinity for other rationals, 0 for zero."""
    numerator, denominator = abs(int(value.p)), int(value.q)
    if denominator & (denominator - 1):
        return math.inf
    return (numerator // (numerator & -numerator)).bit_length() if numerator else 0
