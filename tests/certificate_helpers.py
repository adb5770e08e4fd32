"""Shared by the tests of certificates: networks in disguise, and the checker called on networks in memory."""

import json

import numpy as np
from flint import fmpq
from helpers import network

from jaxtract.certificate import check
from jaxtract.certificate.document import certificate_document
from jaxtract.equality.neurons import neuron_rows
from jaxtract.network.exact_network import fraction
from jaxtract.network.relu_network import ReLUNetwork


def fractions(net):
    """(widths, rows) as the checker reads a network."""
    rows = [{key: fraction(x) for key, x in row.items()} for layer in neuron_rows(net) for row in layer]
    return list(net.widths), rows


def document_of(certificate, recovered, reference):
    """The certificate as it would be read back from its file."""
    return json.loads(json.dumps(certificate_document(certificate, recovered, reference, {"jaxtract": "0"})))


def accepted(certificate, recovered, reference):
    """The verdict of the certificate, once the checker has accepted it."""
    document = document_of(certificate, recovered, reference)
    check.check(document, fractions(recovered), fractions(reference))
    return document["verdict"]


def altered_bit(net, rng, *, visible):
    """A float64 network with one weight the next float64 above or below; ``visible``: one that inputs show."""
    while True:
        layer = int(rng.integers(len(net.weights)))
        place = tuple(int(rng.integers(n)) for n in net.weights[layer].shape)
        if not visible or _seen(net, layer, place):
            old = np.array(net.weights[layer])[place]
            return _with_weight(net, layer, place, np.nextafter(old, np.inf * rng.choice([-1, 1])))


def _with_weight(net, layer, place, number):
    weights = [np.array(w) for w in net.weights]
    weights[layer][place] = number
    return ReLUNetwork(weights, net.biases)


def _seen(net, layer, place):
    points = np.random.default_rng(0).standard_normal((400, net.inputs))
    other = _with_weight(net, layer, place, np.array(net.weights[layer])[place] + 1e-7)
    return bool(np.any(np.asarray(net(points)) != np.asarray(other(points))))


def disguised(net, rng):
    """The same function with more neurons: every hidden layer gets three additions, in turn and at random."""
    weights = [w.tolist() for w in net.weights]
    biases = [b.entries() for b in net.biases]
    for layer in range(len(weights) - 1):
        for way in rng.choice(len(_WAYS), 3, replace=False):
            _WAYS[way](weights, biases, layer, rng)
    return network(*zip(weights, biases, strict=True))


def _append(weights, biases, layer, row, bias, column):
    weights[layer].append(row)
    biases[layer].append(bias)
    for out, x in zip(weights[layer + 1], column, strict=True):
        out.append(x)


def _column(weights, layer, h):
    return [row[h] for row in weights[layer + 1]]


def _scaled(row, factor):
    return [x * factor for x in row]


def _split(weights, biases, layer, rng):
    """s(z) = (s(c z) / c) share + s(z) (1 - share)."""
    h, c, share = int(rng.integers(len(weights[layer]))), fmpq(int(rng.integers(1, 9)), 7), fmpq(3, 8)
    column = _column(weights, layer, h)
    _append(weights, biases, layer, _scaled(weights[layer][h], c), biases[layer][h] * c, _scaled(column, share / c))
    for out in weights[layer + 1]:
        out[h] *= 1 - share


def _cancelling(weights, biases, layer, rng):
    """c s(z) - c s(z), as s(2 z) and s(z)."""
    row = [fmpq(int(x)) for x in rng.integers(-9, 10, len(weights[layer][0]))]
    column = [fmpq(int(x), 3) for x in rng.integers(-9, 10, len(weights[layer + 1]))]
    _append(weights, biases, layer, _scaled(row, 2), fmpq(2), column)
    _append(weights, biases, layer, row, fmpq(1), _scaled(column, -2))


def _dead(weights, biases, layer, rng):
    """A neuron without outputs; one that is never on; one that is constant."""
    width, outputs = len(weights[layer][0]), len(weights[layer + 1])
    row = [fmpq(int(x)) for x in rng.integers(1, 10, width)]
    _append(weights, biases, layer, row, fmpq(5), [fmpq(0)] * outputs)
    _append(weights, biases, layer, _scaled(row, fmpq(-1 if layer else 0)), fmpq(-2), [fmpq(1)] * outputs)
    _append(weights, biases, layer, [fmpq(0)] * width, fmpq(3), [fmpq(2)] * outputs)
    biases[layer + 1] = [b - 6 for b in biases[layer + 1]]


def _turned(weights, biases, layer, rng):
    """s(z) = s(-z) + s(z + c) - s(-z - c) - c: the opposite neuron, and its affine remainder by two more."""
    h, c = int(rng.integers(len(weights[layer]))), fmpq(int(rng.integers(-5, 6)), 3)
    row, bias, column = weights[layer][h], biases[layer][h], _column(weights, layer, h)
    weights[layer][h], biases[layer][h] = _scaled(row, -1), -bias
    _append(weights, biases, layer, row, bias + c, column)
    _append(weights, biases, layer, _scaled(row, -1), -bias - c, _scaled(column, -1))
    biases[layer + 1] = [b - c * x for b, x in zip(biases[layer + 1], column, strict=True)]


def _always_on(weights, biases, layer, rng):
    """h_i + 1 >= 0, and taken away again by s(z + 1) - s(-z - 1) = z + 1 in the first layer."""
    width, outputs = len(weights[layer][0]), len(weights[layer + 1])
    row = [fmpq(0)] * width
    row[int(rng.integers(width))] = fmpq(1)
    column = [fmpq(int(x)) for x in rng.integers(-9, 10, outputs)]
    _append(weights, biases, layer, row, fmpq(1), column)
    _append(weights, biases, layer, _scaled(row, -1), fmpq(-1), _scaled(column, -1))
    _append(weights, biases, layer, row, fmpq(2), _scaled(column, -1))
    _append(weights, biases, layer, _scaled(row, -1), fmpq(-2), column)
    biases[layer + 1] = [b + x for b, x in zip(biases[layer + 1], column, strict=True)]


_WAYS = (_split, _cancelling, _dead, _turned, _always_on)
