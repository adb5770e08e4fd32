"""Shared by several tests: contexts, networks by hand, functions of one variable, and the truth about a line."""

import itertools
import math
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, rescaled_columns
from jaxtract.layers.any_depth.whole.output_layer import Tail
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import FAMILIES, exact_network, gap
from jaxtract.oracle.call import CallableOracle
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.search.context_lines import search_lines, settings_for
from jaxtract.search.random_lines import random_line
from precision.context import object_matrix, rational_matrix
from precision.dyadic import dyadic_matrix
from precision.exact import ExactContext
from precision.rounded import float64, mp

CONTEXTS = {
    "exact": ExactContext,
    "mp64": lambda: mp(64),
    "mp200": lambda: mp(200),
    "mp1000": lambda: mp(1000),
    "float64": float64,
}

SHAPES = ((8, 12, 2), (20, 16, 1), (4, 24, 1), (2, 9, 3), (1, 6, 2))

HARD = {
    **FAMILIES,
    "gap-60": lambda widths, seed: gap(widths, seed, bits=60),
    "gap-200": lambda widths, seed: gap(widths, seed, bits=200),
}
"""Every family of networks, and pairs of neurons at two distances."""


def family(name, widths, seed):
    """A network of a family over the rationals."""
    return exact_network(HARD[name](widths, seed))


def found_layers(network):
    """The hidden layers of an exact network, weights as they are."""
    return [
        FoundLayer([Row(list(row), b) for row, b in zip(w.tolist(), c.entries(), strict=True)], [1] * w.nrows())
        for w, c in zip(network.weights[:-1], network.biases[:-1], strict=True)
    ]


def network(*layers):
    """((rows, biases), ...) in Python numbers or fmpq to an ExactNetwork."""
    weights = [fmpq_mat(len(rows), len(rows[0]), [x for row in rows for x in row]) for rows, _ in layers]
    return ExactNetwork(tuple(weights), tuple(fmpq_mat(len(b), 1, b) for _, b in layers))


def random_rational_network(widths, rng, *, largest=40):
    """Weights p / q with |p| and q up to ``largest``: not dyadic, and often zero."""

    def numbers(count):
        tops, bottoms = rng.integers(-largest, largest, count), rng.integers(1, largest, count)
        return [fmpq(int(p), int(q)) for p, q in zip(tops, bottoms, strict=True)]

    pairs = list(itertools.pairwise(widths))
    return ExactNetwork(
        tuple(fmpq_mat(m, n, numbers(m * n)) for n, m in pairs), tuple(fmpq_mat(m, 1, numbers(m)) for _, m in pairs)
    )


class Recording(Oracle):
    """Another oracle, with every batch it was sent kept in ``batches``."""

    def __init__(self, oracle):
        self.inputs, self.outputs, self.number_system = oracle.inputs, oracle.outputs, oracle.number_system
        self.oracle = oracle
        self.batches = []

    def answer(self, points, answer_bits):
        self.batches.append(points)
        return self.oracle.answer(points, answer_bits)


def relu(z):
    return max(z, Fraction(0))


def on_axis(g, *, outputs=1, number_system="exact"):
    """A function of one Fraction (returning one number or a list) as an oracle with one input."""

    def function(points, *bits):
        del bits
        values = [g(t) for (t,) in points]
        return [value if isinstance(value, list) else [value] for value in values]

    return CallableOracle(function, inputs=1, outputs=outputs, number_system=number_system)


def bent(kinks, slopes, *, offset=Fraction(3, 7)):
    """The function of one variable with these kinks (ascending Fractions) and these slopes between them."""

    def g(t):
        jumps = zip(kinks, itertools.pairwise(slopes), strict=True)
        return offset + slopes[0] * t + sum((after - before) * relu(t - k) for k, (before, after) in jumps)

    return g


def search_axis(oracle, *, context=None, **settings):
    """(profile, queries) of the one line that a function of one variable is."""
    context = context or ExactContext()
    counting = CountingOracle(oracle, context)
    zero, one = dyadic_matrix([[fmpq(0)]], 1), dyadic_matrix([[fmpq(1)]], 1)
    (profile,) = search_lines(counting, zero, one, settings=settings_for(context, **settings))
    return profile, counting.count.search


def random_lines(inputs, count, seed):
    """(lines, bases, directions)."""
    rng = np.random.default_rng(seed)
    lines = [random_line(inputs, rng) for _ in range(count)]
    bases = dyadic_matrix([line.base for line in lines], inputs)
    return lines, bases, dyadic_matrix([line.direction for line in lines], inputs)


def true_line(net, base, direction):
    """(kinks, slopes) of a network along base + t direction, by composing its layers over the rationals.

    Independent of the search: no query is asked; every layer cuts the pieces of the one before at the
    zeros of its neurons. Kinks that cancel in the outputs are left out.
    """
    pieces = [(None, None, list(base), list(direction))]
    for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        rows, offsets = weight.tolist(), bias.entries()
        mapped = []
        for low, high, values, speeds in pieces:
            z = [_dot(row, values) + b for row, b in zip(rows, offsets, strict=True)]
            mapped.append((low, high, z, [_dot(row, speeds) for row in rows]))
        last = layer + 1 == len(net.weights)
        pieces = mapped if last else [part for piece in mapped for part in _clipped(*piece)]
    kinks, slopes = [], [pieces[0][3]]
    for one, two in itertools.pairwise(pieces):
        if one[2:] != two[2:]:
            kinks.append(two[0])
            slopes.append(two[3])
    return kinks, slopes


def _dot(row, column):
    return sum((x * y for x, y in zip(row, column, strict=True)), fmpq(0))


def _clipped(low, high, values, speeds):
    roots = {-z / s for z, s in zip(values, speeds, strict=True) if s != 0}
    inside = sorted(t for t in roots if (low is None or t > low) and (high is None or t < high))
    for left, right in itertools.pairwise([low, *inside, high]):
        if left is None:
            middle = fmpq(0) if right is None else right - 1
        else:
            middle = left + 1 if right is None else (left + right) / 2
        on = [z + s * middle > 0 for z, s in zip(values, speeds, strict=True)]
        yield (
            left,
            right,
            [z if k else fmpq(0) for z, k in zip(values, on, strict=True)],
            [s if k else fmpq(0) for s, k in zip(speeds, on, strict=True)],
        )


def true_layers(network, hidden, error=0):
    """The first hidden layers as an extraction knows them: weights refer to integer multiples, all signs are known.

    Between balls, where an error is one, they refer to rows of unit norm.
    """
    layers: list[FoundLayer] = []
    for w, b in zip(network.weights[:hidden], network.biases[:hidden], strict=True):
        rows = [
            Row([x + error for x in weights], bias + error)
            for weights, bias in zip(object_matrix(w), object_matrix(b)[:, 0], strict=True)
        ]
        factors = [row.integer_factor() for row in layers[-1].rows] if layers else [1] * network.inputs
        layers.append(FoundLayer(rescaled_columns(rows, factors), [1] * len(rows)))
    return layers


def output_layer(network):
    """The last hidden layer and the output layer of a network."""
    read = np.ones(network.widths[-2], dtype=bool)
    return Tail(ExactNetwork(network.weights[-2:], network.biases[-2:]), "test", math.inf, read)


def in_integers(network):
    """The same function with primitive integer rows in every hidden layer."""
    layers = found_layers(network)
    for depth in range(1, len(layers)):
        factors = [row.integer_factor() for row in layers[depth - 1].rows]
        layers[depth].rows = rescaled_columns(layers[depth].rows, factors)
    factors = np.array([row.integer_factor() for row in layers[-1].rows], dtype=object)
    whole = [[row.in_integers() for row in layer.rows] for layer in layers]
    weights = [rational_matrix(np.array([row.weights for row in rows], dtype=object)) for rows in whole]
    biases = [rational_matrix(np.array([[row.bias] for row in rows], dtype=object)) for rows in whole]
    last = rational_matrix(object_matrix(network.weights[-1]) / factors)
    return ExactNetwork((*weights, last), (*biases, network.biases[-1])), layers
