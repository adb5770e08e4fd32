"""Networks with skip connections as values: evaluation, files, normal forms and certificates."""

import json

import numpy as np
import pytest
from certificate_helpers import fractions
from flint import fmpq, fmpq_mat

from jaxtract import ExactNetworkOracle, certify
from jaxtract.certificate.check import check_files, read_network
from jaxtract.certificate.document import certificate_document, write_certificate
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.exact_file import read_exact, write_exact
from jaxtract.network.exact_network import ExactNetwork, Skip
from jaxtract.network.families import he
from jaxtract.network.files import load_npz, save_npz
from jaxtract.network.relu_network import ReLUNetwork, nearest_float64
from jaxtract.oracle.points import scattered
from precision.dyadic import from_float64

WIDTHS = (4, 5, 3, 6, 2)
EVERYWHERE = [(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)]


def with_skips(places, seed=0, widths=WIDTHS):
    rng, dense = np.random.default_rng(seed), he(widths, seed)
    skips = {(s, t): rng.standard_normal((widths[t], widths[s])) for s, t in places}
    return ReLUNetwork(dense.weights, dense.biases, skips)


def turned_round(network, layer, neuron):
    """The same function with s(z) of one neuron written as s(-z) + z: its readers read what it reads."""
    blocks = {(k, k + 1): w.tolist() for k, w in enumerate(network.weights)}
    blocks |= {(s.source, s.target): s.matrix.tolist() for s in network.skips}
    biases = [[], *(b.entries() for b in network.biases)]
    into = [block for block in blocks if block[1] == layer]
    for _, target in [block for block in blocks if block[0] == layer]:
        for h, row in enumerate(blocks[layer, target]):
            for source, _ in into:
                skip = blocks.setdefault(
                    (source, target), [[fmpq(0)] * network.widths[source] for _ in range(network.widths[target])]
                )
                skip[h] = [x + row[neuron] * y for x, y in zip(skip[h], blocks[source, layer][neuron], strict=True)]
            biases[target][h] += row[neuron] * biases[layer][neuron]
    for block in into:
        blocks[block][neuron] = [-x for x in blocks[block][neuron]]
    biases[layer][neuron] *= -1
    chain = range(1, len(network.weights) + 1)
    return ExactNetwork(
        tuple(matrix(blocks[k - 1, k]) for k in chain),
        tuple(fmpq_mat(len(biases[k]), 1, biases[k]) for k in chain),
        tuple(Skip(*block, matrix(rows)) for block, rows in blocks.items() if block[0] + 1 < block[1]),
    )


def matrix(rows):
    return fmpq_mat(len(rows), len(rows[0]), [x for row in rows for x in row])


@pytest.mark.parametrize("places", [[(0, 2)], [(0, 4)], [(2, 4)], [(1, 3), (0, 3)], EVERYWHERE])
def test_all_ways_to_evaluate_agree(places):
    network = with_skips(places)
    exact, points = network.exact(), np.random.default_rng(1).integers(-64, 64, (9, 4)) / 16
    plain = exact.plain()
    assert not plain.skips and plain.widths[0] == 4 and plain.widths[-1] == 2
    expected = [exact(row) for row in points.tolist()]
    assert [plain(row) for row in points.tolist()] == expected
    asked = ExactNetworkOracle(network).answer(scattered(from_float64(points)), None)
    assert asked.tolist() == expected
    doubles = [[float(x.p) / float(x.q) for x in row] for row in expected]
    assert np.allclose(np.asarray(network(points)), doubles, rtol=1e-12)


def test_plain_networks_are_left_alone():
    network = he(WIDTHS, 0).exact()
    assert network.plain() is network and network == ExactNetwork(network.weights, network.biases, ())


@pytest.mark.parametrize(
    ("skips", "message"),
    [
        ({(0, 1): np.ones((5, 4))}, "from layer 0 to layer 1: with 0 the input and 4 the output"),
        ({(3, 2): np.ones((3, 6))}, "from layer 3 to layer 2"),
        ({(0, 5): np.ones((2, 4))}, "from layer 0 to layer 5"),
        ({(0, 2): np.ones((4, 3))}, r"a matrix of shape \(4, 3\); expected \(3, 4\)"),
        ({(0, 2): np.full((3, 4), np.nan)}, "skip from layer 0 to layer 2 holds 12 NaN"),
    ],
)
def test_skips_that_do_not_fit_are_refused(skips, message):
    dense = he(WIDTHS, 0)
    with pytest.raises(ValueError, match=message):
        ReLUNetwork(dense.weights, dense.biases, skips)


def test_a_skip_is_given_once():
    dense = he(WIDTHS, 0).exact()
    skip = Skip(0, 2, fmpq_mat(3, 4, [1] * 12))
    with pytest.raises(ValueError, match="layer 0 to layer 2 is given twice; add the two matrices"):
        ExactNetwork(dense.weights, dense.biases, (skip, skip))


def test_files_give_the_same_network_back(tmp_path):
    network = with_skips(EVERYWHERE)
    save_npz(network, tmp_path / "net.npz")
    write_exact(network.exact(), tmp_path / "net.json")
    assert load_npz(tmp_path / "net.npz").exact() == network.exact() == read_exact(tmp_path / "net.json")
    for name in ("net.npz", "net.json"):
        assert read_network(tmp_path / name) == fractions(network.exact())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skips": 3}, '"skips" is 3; expected a list'),
        ({"skips": [{"source": 0, "target": 9, "weights": []}]}, "skip 0 is .* with layers from 0, the input"),
        ({"skips": [{"source": 0, "target": 2, "weights": []}]}, "skip 0: weights: found 0 entries"),
        ({"skips": [{"source": 0, "target": 1, "weights": [["1"] * 4] * 5}]}, "the target must be at least"),
    ],
)
def test_damaged_skips_are_named(tmp_path, change, message):
    write_exact(he(WIDTHS, 0).exact(), tmp_path / "net.json")
    document = json.loads((tmp_path / "net.json").read_text()) | change
    (tmp_path / "net.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message):
        read_exact(tmp_path / "net.json")


def test_npz_skips_are_checked(tmp_path):
    arrays = {f"{n}{i}": a for i in range(2) for n, a in (("W", np.ones((3, 3))), ("b", np.ones(3)))}
    np.savez(tmp_path / "net.npz", **arrays, S0_2=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        load_npz(tmp_path / "net.npz")


@pytest.mark.parametrize("seed", range(3))
def test_canonical_form_forgets_order_and_scale(seed):
    network = with_skips(EVERYWHERE, seed).exact()
    form = canonical_form(network)
    assert form.widths == WIDTHS and len(form.skips) == 6
    back = float64_scaled(form)
    assert nearest_float64(back).exact() == back and canonical_form(back) == form
    found = certify(back, network)
    assert (found.verdict, found.matched, found.unmatched) == ("identical", 14, 0)


@pytest.mark.parametrize(("layer", "neuron"), [(1, 2), (2, 0), (3, 5)])
def test_a_neuron_turned_round_is_the_same_neuron(tmp_path, layer, neuron):
    network = with_skips([(0, 2), (1, 3)], 1).exact()
    other = turned_round(network, layer, neuron)
    point = [fmpq(3, 7), fmpq(-2), fmpq(1), fmpq(5, 2)]
    assert other(point) == network(point) and other != network
    found = certify(other, network)
    assert (found.verdict, found.matched, found.unmatched) == ("identical", 14, 0)
    write_certificate(certificate_document(found, other, network, {}), tmp_path / "certificate.json")
    write_exact(other, tmp_path / "other.json")
    write_exact(network, tmp_path / "network.json")
    names = ("certificate.json", "other.json", "network.json")
    assert check_files(*(tmp_path / name for name in names)) == "identical"


def test_another_skip_is_another_function():
    network = with_skips([(0, 2)]).exact()
    (skip,) = network.skips
    changed = ExactNetwork(network.weights, network.biases, (Skip(0, 2, skip.matrix * fmpq(2)),))
    found = certify(changed, network)
    assert found.verdict == "different" and found.witness is not None
    assert certify(ExactNetwork(network.weights, network.biases), network).verdict == "different"
