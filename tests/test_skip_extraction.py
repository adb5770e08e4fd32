"""Networks with skip connections and convolutions, read from queries alone; and the parts that this takes."""

import json

import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz_mat
from test_skips import EVERYWHERE, turned_round
from test_skips import with_skips as random_skips

from jaxtract import ExactContext, ExactNetworkOracle, ExtractOptions, Outcome, certify, extract_network, load_target
from jaxtract.cli.main import main
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.kinks.input_slice import whole_space
from jaxtract.layers.any_depth.skips.carried import Layout, carried_layers, deepest_read, moved_to, network_of
from jaxtract.network.canonical import canonical_form
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import he, residual, with_skips
from jaxtract.network.files import save_npz
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.network.structure import structure_of
from jaxtract.signs.plainest import plainest, without_opposites


def extract(network, seed=0):
    options = ExtractOptions(seed=seed, verify_inputs=200, verify_lines=4)
    found = extract_network(ExactNetworkOracle(network), ExactContext(), options=options)
    assert found.outcome is Outcome.COMPLETE and found.claim == "exact", found.not_resolved
    assert found.network is not None
    certificate = certify(found.network, network)
    assert (certificate.verdict, certificate.unmatched) == ("identical", 0)
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("place", [(0, 2), (0, 3), (1, 3)])
def test_one_skip_anywhere(place, seed):
    network = with_skips((8, 6, 6, 2), seed, [place]).exact()
    found = extract(network, seed)
    assert found.network.widths == network.widths
    assert [(s.source, s.target) for s in found.network.skips] == [place]
    assert "skip weights" in found.sign_method


@pytest.mark.parametrize("seed", range(2))
def test_residual_blocks(seed):
    found = extract(residual((8, 6, 6, 2), seed).exact(), seed)
    assert [(s.source, s.target) for s in found.network.skips] == [(1, 3)]
    assert "6 of 12 neurons" in found.sign_method and "symmetry" in found.sign_method


@pytest.mark.parametrize("seed", range(2))
def test_an_identity_from_the_input(seed):
    dense = he((7, 6, 7, 1), seed)
    found = extract(ReLUNetwork(dense.weights, dense.biases, {(0, 2): np.eye(7)}).exact(), seed)
    (skip,) = structure_of(found.network).skips
    assert (skip.source, skip.target, skip.form, skip.nonzero) == (0, 2, "identity", 7)
    assert "all 13 signs" in found.sign_method


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("place", [(0, 2), (0, 3), (1, 3)])
def test_wider_networks(place, seed):
    extract(with_skips((20, 16, 16, 1), seed, [place]).exact(), seed)


def test_a_plain_network_stays_plain():
    found = extract(he((8, 6, 6, 1), 1).exact(), 1)
    assert not found.network.skips and not structure_of(found.network).skips


def test_a_small_convolution():
    network = convolution(5, 2, 3, 2, 0, seed=1)
    found = extract(network, 1)
    (layer,) = structure_of(found.network).convolutions
    assert (layer.input, layer.output, layer.kernel, layer.stride) == ((1, 5, 5), (2, 2, 2), (3, 3), (2, 2))


@pytest.mark.slow
def test_the_convolutional_target():
    found = extract(load_target("digits-conv").exact())
    assert [layer.weights for layer in structure_of(found.network).convolutions] == [40, 136]


def test_the_report_and_the_files_say_it(tmp_path, capsys):
    network = with_skips((8, 6, 6, 2), 1, [(0, 2)])
    save_npz(network, tmp_path / "net.npz")
    few = ["--verify-inputs", "200", "--verify-lines", "4"]
    assert main(["extract", str(tmp_path / "net.npz"), "--out", str(tmp_path / "run"), *few]) == 0
    assert "skip from the input to layer 2" in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (
        report["structure"]["skips"][0] | {"form": "matrix", "source": 0, "target": 2}
        == report["structure"]["skips"][0]
    )
    proof = str(tmp_path / "certificate.json")
    assert main(["certify", str(tmp_path / "run"), str(tmp_path / "net.npz"), "--certificate", proof]) == 0
    assert main(["check", proof, str(tmp_path / "run"), str(tmp_path / "net.npz")]) == 0


# -- structure --


def convolution(side, channels, size, stride, padding, *, seed, depth=1):
    """Convolutions as matrices, rows permuted and scaled, then a dense layer with three outputs."""
    rng, weights, biases, shape = np.random.default_rng(seed), [], [], (1, side, side)
    for _ in range(depth):
        places = (shape[1] + 2 * padding - size) // stride + 1
        kernel, bias = rng.standard_normal((channels, shape[0], size, size)), rng.standard_normal(channels) / 4
        wide = np.zeros((channels, places, places, shape[0], shape[1] + 2 * padding, shape[2] + 2 * padding))
        for i, j in np.ndindex(places, places):
            top, left = i * stride, j * stride
            wide[:, i, j, :, top : top + size, left : left + size] = kernel
        inside = slice(padding, padding + shape[1])
        matrix = wide[..., inside, inside].reshape(channels * places**2, -1)
        weights.append(matrix)
        biases.append(np.repeat(bias, places**2))
        shape = (channels, places, places)
    weights.append(rng.standard_normal((3, len(weights[-1]))))
    return ReLUNetwork(weights, [*biases, np.zeros(3)]).exact()


@pytest.mark.parametrize(
    ("side", "channels", "size", "stride", "padding", "depth"),
    [(6, 3, 3, 1, 0, 1), (8, 2, 3, 2, 1, 2), (7, 4, 3, 1, 1, 2), (6, 2, 2, 2, 0, 1), (8, 2, 5, 1, 2, 1)],
)
def test_convolutions_are_recognised_in_any_order_and_scale(side, channels, size, stride, padding, depth):
    network = convolution(side, channels, size, stride, padding, seed=0, depth=depth)
    for form in (network, canonical_form(network)):
        found = structure_of(form).convolutions
        assert len(found) == depth and not structure_of(form).skips
        for layer in found:
            assert layer.output[0] == channels and layer.kernel == (size, size)
            assert layer.stride == (stride, stride) and layer.padding == (padding, padding)
    first = structure_of(canonical_form(network)).convolutions[0]
    own = {tuple(x for x in row if x != 0) for row in canonical_form(network).weights[0].tolist()}
    for scale, (k, _, _) in zip(first.scales, first.neurons, strict=True):
        assert tuple(scale * x for x in first.kernels[k].ravel()) in own or padding


def test_dense_and_spoiled_layers_are_no_convolutions():
    assert structure_of(he((16, 9, 3), 0).exact()).convolutions == ()
    network = convolution(6, 2, 3, 1, 0, seed=0)
    rows = network.weights[0].tolist()
    rows[3][next(k for k, x in enumerate(rows[3]) if x != 0)] += 1
    spoiled = fmpq_mat(len(rows), len(rows[0]), [x for row in rows for x in row])
    assert structure_of(ExactNetwork((spoiled, network.weights[1]), network.biases)).convolutions == ()


# -- signs --


@pytest.mark.parametrize("places", [[(0, 4)], [(0, 3), (1, 4)]])
@pytest.mark.parametrize("seed", range(2))
def test_the_plainest_signs_are_found(places, seed):
    network = random_skips(places, seed, (6, 5, 4, 4, 2)).exact()
    turned, rng = network, np.random.default_rng(seed)
    for layer in (1, 2, 3):
        for neuron in range(network.widths[layer]):
            if rng.random() < 0.5:
                turned = turned_round(turned, layer, neuron)
    assert len(turned.skips) > len(network.skips)
    found = plainest(turned)
    assert found.free == 0 and canonical_form(found.network) == canonical_form(network)


def test_signs_that_nothing_shows_are_counted():
    network = random_skips(EVERYWHERE, 0).exact()
    found = plainest(turned_round(network, 2, 1))
    assert found.free == 14 and "symmetry" in found.method
    assert plainest(network).network == found.network


def test_opposite_neurons_become_a_skip():
    first = he((4, 3, 2, 1), 0).exact()
    second, out = first.weights[1].tolist(), first.weights[2].tolist()[0]
    line = [fmpq(2), fmpq(-1), fmpq(3)]
    rows = [*second, line, [-2 * x for x in line]]
    wide = ExactNetwork(
        (
            first.weights[0],
            fmpq_mat(4, 3, [x for row in rows for x in row]),
            fmpq_mat(1, 4, [*out, fmpq(1), -fmpq(1, 2)]),
        ),
        (first.biases[0], fmpq_mat(4, 1, [*first.biases[1].entries(), fmpq(1), fmpq(-2)]), first.biases[2]),
    )
    found = without_opposites(wide)
    assert found.widths == (4, 3, 2, 1) and [(s.source, s.target) for s in found.skips] == [(1, 3)]
    assert certify(found, wide).verdict == "identical"


# -- layers that carry --


def rows_of(network):
    """Rows over all that comes before, in the order of ``Layout``."""
    blocks = {(k, k + 1): w.tolist() for k, w in enumerate(network.weights)}
    blocks |= {(s.source, s.target): s.matrix.tolist() for s in network.skips}
    layout, layers = Layout(network.widths), []
    for layer in range(1, len(network.weights) + 1):
        rows = []
        for h, bias in enumerate(network.biases[layer - 1].entries()):
            zero = [[fmpq(0)] * width for width in network.widths]
            parts = [blocks[s, layer][h] if (s, layer) in blocks else zero[s] for s in layout.sources(layer - 1)]
            rows.append(Row([x for part in parts for x in part], bias))
        layers.append(rows)
    return layers


def test_carried_layers_compute_the_network():
    dense, rng = he((4, 5, 3, 6, 2), 0), np.random.default_rng(0)
    # Primitive integer rows are their own integers.
    skips = {(s, t): rng.integers(-9, 9, (dense.widths[t], dense.widths[s])) for s, t in EVERYWHERE}
    weights = [rng.integers(-9, 9, w.shape) for w in dense.weights]
    network = ReLUNetwork(weights, [np.ones(len(w)) for w in weights], skips).exact()
    *hidden, last = rows_of(network)
    layers = carried_layers(4, hidden)
    assert layers.widths == [9, 12, 18] and [int(x.sum()) for x in layers.linear] == [4, 9, 12]
    output = np.array([[*row.weights, row.bias] for row in last], dtype=object)
    assert network_of(layers, network.widths[:-1], output, whole_space(4)) == network
    points = rng.integers(-50, 50, (20, 4))
    heights = layers.values64(points.astype(float))
    for point, pattern in zip(points, layers.pattern(_integers(points), [1] * 20), strict=True):
        assert all(side[free].all() for side, free in zip(pattern, layers.linear, strict=True))
        matrix, offsets = layers.forms(2, pattern)
        exact = [sum(matrix[i, k] * int(x) for k, x in enumerate(point)) + offsets[i] for i in range(18)]
        assert exact == [z[0] for z in _columns(layers.preactivations(_integers(point[None]), [1])[-1])]
        walls = layers.walls64(pattern)
        assert all(not m[free].any() for (m, _), free in zip(walls, layers.linear, strict=True))
    assert np.isfinite(heights[-1]).all()


def _integers(points):
    return fmpz_mat(points.tolist())


def _columns(matrix):
    return matrix.transpose().tolist()


def test_a_row_that_reads_only_early_layers_moves_there():
    layout = Layout([2, 3, 2])
    row = Row([fmpq(x) for x in (0, 0, 5, 6, 0, 0, 0)], fmpq(1))  # over layer 2: own, inputs, layer 1
    assert layout.size(2) == 7 and deepest_read(layout, 2, row) == 0
    assert moved_to(layout, 2, row, 0).weights == [5, 6]
    row = Row([fmpq(x) for x in (0, 0, 5, 6, 0, 7, 0)], fmpq(1))
    assert deepest_read(layout, 2, row) == 1 and moved_to(layout, 2, row, 1).weights == [0, 7, 0, 5, 6]


def test_skips_are_looked_for_with_so_many_queries_as_are_allowed(monkeypatch):
    """Where a plain network is only hard to read, all that would be in vain."""
    network = with_skips((8, 6, 6, 2), 0, [(0, 2)]).exact()
    assert not extract(network).not_resolved
    monkeypatch.setattr("jaxtract.layers.any_depth.extract.SKIP_QUERIES", 0)
    monkeypatch.setattr("jaxtract.layers.any_depth.extract.SKIP_SHARE", 0.0)
    options = ExtractOptions(verify_inputs=200, verify_lines=4, max_queries=20_000)
    found = extract_network(ExactNetworkOracle(network), ExactContext(), options=options)
    assert found.outcome is not Outcome.COMPLETE
