"""The canonical form of a ReLU network over the rationals: what is left when no symmetry is.

No query can tell apart two networks that differ by a permutation of the neurons of a layer, or by a
positive scale moved from a neuron's row to its outgoing column (Rolnick and Koerding 2020, section 3).
In canonical form both are fixed, and neurons that add nothing, or the same twice, are gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flint import fmpq, fmpq_mat, fmpz

from jaxtract.network.exact_network import ExactNetwork
from precision.dyadic import floor_log2, power_of_two

FLOAT64_BITS = 53
LARGEST_ODD_FACTOR = 4095


def canonical_form(network: ExactNetwork) -> ExactNetwork:
    """The same function, with every hidden neuron scaled, merged and sorted; compare with ``==``.

    Layer by layer, first to last: a neuron's (row, bias) is scaled by a positive rational to a primitive
    integer vector and its outgoing column divided by that scale; neurons that then coincide become one
    with the sum of their columns; a neuron without weights is a constant and goes into the next bias;
    neurons are sorted by (row, bias). Last to first: neurons with a zero outgoing column are dropped.

    Equal canonical forms prove equal functions. The converse does not hold: it sees permutation and
    positive scale and nothing else (``jaxtract.network.normal_form`` decides one hidden layer).
    """
    weights, biases = list(network.weights), list(network.biases)
    for layer in range(len(weights) - 1):
        weights[layer : layer + 2], biases[layer : layer + 2] = _canonical_layer(
            weights[layer], biases[layer], weights[layer + 1], biases[layer + 1]
        )
    for layer in reversed(range(len(weights) - 1)):
        # Rows of the next layer are final here: dropping one can only empty columns further down.
        columns = weights[layer + 1].transpose().tolist()
        kept = [h for h, column in enumerate(columns) if any(x != 0 for x in column)]
        weights[layer] = _take_rows(weights[layer], kept)
        biases[layer] = _take_rows(biases[layer], kept)
        weights[layer + 1] = _from_columns([columns[h] for h in kept], weights[layer + 1].nrows())
    return ExactNetwork(tuple(weights), tuple(biases))


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
    weights = [weight.tolist() for weight in network.weights]
    biases = [bias.entries() for bias in network.biases]
    hidden = range(len(weights) - 1)
    # Last layer first: the entries of a column hold the divisors of the rows that they stand in, too, and
    # those must be back in place before the column's own divisor can be told.
    for layer in reversed(hidden):
        for h, column in enumerate(zip(*weights[layer + 1], strict=True)):
            _rescale(weights, biases, layer, h, fmpq(_odd_factor(column)))
    for layer in hidden:
        for h, row in enumerate(weights[layer]):
            largest = max((abs(x) for x in row), default=fmpq(0))
            if largest != 0:
                _rescale(weights, biases, layer, h, power_of_two(-floor_log2(largest)))
    return ExactNetwork(
        tuple(_matrix(rows, old.ncols()) for rows, old in zip(weights, network.weights, strict=True)),
        tuple(fmpq_mat(len(bias), 1, bias) for bias in biases),
    )


def _rescale(weights: list[list[list[fmpq]]], biases: list[list[fmpq]], layer: int, h: int, scale: fmpq) -> None:
    """Moves a positive scale into the row of neuron h and out of its column, in place."""
    if scale == 1:
        return
    weights[layer][h] = [x * scale for x in weights[layer][h]]
    biases[layer][h] *= scale
    for row in weights[layer + 1]:
        row[h] /= scale


def _canonical_layer(
    weight: fmpq_mat, bias: fmpq_mat, next_weight: fmpq_mat, next_bias: fmpq_mat
) -> tuple[list[fmpq_mat], list[fmpq_mat]]:
    columns = next_weight.transpose().tolist()
    neurons: dict[tuple[int, ...], list[fmpq]] = {}
    constant = next_bias.entries()
    for row, offset, column in zip(weight.tolist(), bias.entries(), columns, strict=True):
        if all(x == 0 for x in row):
            if offset > 0:
                constant = [c + offset * x for c, x in zip(constant, column, strict=True)]
            continue
        vector, scale = primitive_row([*row, offset])
        scaled = [x * scale for x in column]
        if vector in neurons:
            scaled = [x + y for x, y in zip(neurons[vector], scaled, strict=True)]
        neurons[vector] = scaled
    # A zero column would not disturb the order of the others, but a smaller layer is cheaper from here on.
    order = sorted(v for v, column in neurons.items() if any(x != 0 for x in column))
    return (
        [
            _matrix([v[:-1] for v in order], weight.ncols()),
            _from_columns([neurons[v] for v in order], next_weight.nrows()),
        ],
        [fmpq_mat(len(order), 1, [v[-1] for v in order]), fmpq_mat(len(constant), 1, constant)],
    )


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


def _take_rows(matrix: fmpq_mat, kept: Sequence[int]) -> fmpq_mat:
    if len(kept) == matrix.nrows():
        return matrix
    rows = matrix.tolist()
    return _matrix([rows[h] for h in kept], matrix.ncols())


def _from_columns(columns: Sequence[Sequence[fmpq]], rows: int) -> fmpq_mat:
    return _matrix(columns, rows).transpose()


def _matrix(rows: Sequence[Sequence[fmpq | fmpz | int]], columns: int) -> fmpq_mat:
    return fmpq_mat(len(rows), columns, [x for row in rows for x in row])
