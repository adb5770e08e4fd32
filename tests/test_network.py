"""The network values themselves and the random families."""

import numpy as np
import pytest
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxtract.network.canonical import canonical_form
from jaxtract.network.exact_network import ExactNetwork, fraction, parameter_count, rational
from jaxtract.network.families import FAMILIES, exact_network, gap
from jaxtract.network.normal_form import normal_form
from jaxtract.network.relu_network import ReLUNetwork, nearest_float64

WIDTHS = (5, 12, 3)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_have_the_widths_asked_for_and_repeat_by_seed(family):
    for widths in (WIDTHS, (1, 3, 1), (4, 6, 5, 2)):
        network = FAMILIES[family](widths, 7)
        assert network.widths == widths
        assert exact_network(network) == exact_network(FAMILIES[family](widths, 7))
        assert exact_network(network) != exact_network(FAMILIES[family](widths, 8))


@pytest.mark.parametrize("family", ["he", "uniform", "orthogonal", "integer", "wide-range"])
def test_plain_families_have_any_depth(family):
    assert FAMILIES[family]((3, 2), 0).widths == (3, 2)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_refuse_bad_widths(family):
    with pytest.raises(ValueError, match="at least 1"):
        FAMILIES[family]((3, 0, 1), 0)


@pytest.mark.parametrize("family", ["parallel", "coincident", "bump", "gap", "zero-rows", "dead", "duplicate"])
def test_adversarial_families_need_a_hidden_layer(family):
    with pytest.raises(ValueError, match="first hidden"):
        FAMILIES[family]((3, 2), 0)


def first_layer(network):
    return np.asarray(network.weights[0]), np.asarray(network.biases[0])


def test_he_has_the_stated_spread():
    weight, bias = first_layer(FAMILIES["he"]((400, 400, 1), 0))
    # 400 x 400 and 400 draws: relative errors of about 0.002 and 0.035.
    assert abs(weight.std() / np.sqrt(2 / 400) - 1) < 0.01
    assert abs(bias.std() / 0.1 - 1) < 0.15


def test_orthogonal_rows_are_orthonormal_up_to_rounding():
    for widths in ((6, 4, 1), (4, 6, 1)):
        weight, _ = first_layer(FAMILIES["orthogonal"](widths, 0))
        gram = weight @ weight.T if widths[1] <= widths[0] else weight.T @ weight
        assert np.allclose(gram, 2 * np.eye(4), rtol=0, atol=1e-14)


def test_parallel_neurons_are_parallel_exactly():
    rows = exact_network(FAMILIES["parallel"](WIDTHS, 0)).weights[0].tolist()
    ratios = [[x / y for x, y in zip(rows[h], rows[h - h % 3], strict=True)] for h in range(12)]
    assert all(len(set(map(str, ratio))) == 1 for ratio in ratios)
    assert len(normal_form(exact_network(FAMILIES["parallel"](WIDTHS, 0))).kinks) == 12


def test_coincident_neurons_halve_the_kinks():
    network = exact_network(FAMILIES["coincident"](WIDTHS, 0))
    assert len(normal_form(network).kinks) == 6
    assert canonical_form(network).widths == (5, 9, 3)  # three of six pairs lie on the same side


def test_duplicates_merge():
    assert canonical_form(exact_network(FAMILIES["duplicate"](WIDTHS, 0))).widths == (5, 6, 3)


def test_zero_rows_and_dead_neurons_vanish():
    assert canonical_form(exact_network(FAMILIES["zero-rows"](WIDTHS, 0))).widths == (5, 8, 3)
    # Six are spoilt: two have no output, two have no weights, two are only far away.
    assert canonical_form(exact_network(FAMILIES["dead"](WIDTHS, 0))).widths == (5, 8, 3)


def test_bumps_cancel_outside_their_slab():
    network = exact_network(FAMILIES["bump"]((2, 3, 1), 3))
    w, b = network.weights[0].tolist()[0], network.biases[0].entries()[0]
    far, inside = [5 * x for x in w], [(1 - b) * x / (w[0] ** 2 + w[1] ** 2) for x in w]
    assert sum(x * y for x, y in zip(w, far, strict=True)) + b > 2
    out = network.biases[1].entries()
    assert network(far) == out == network([-x for x in far])
    assert network(inside) == [out[0] + network.weights[1][0, 0]]


@pytest.mark.parametrize(("bits", "kind"), [(30, ReLUNetwork), (200, ExactNetwork)])
def test_gap_is_exactly_the_distance(bits, kind):
    network = gap((3, 4, 1), 0, bits=bits)
    assert isinstance(network, kind)
    exact = exact_network(network)
    weight, bias, column = exact.weights[0].tolist(), exact.biases[0].entries(), exact.weights[1].entries()
    assert weight[0] == weight[1] and bias[1] - bias[0] == fmpq(1, 1 << bits)
    assert (column[1], column[3]) == (column[0], -column[2])


def test_wide_range_covers_the_orders():
    weight, _ = first_layer(FAMILIES["wide-range"]((40, 40, 1), 0))
    assert np.ptp(np.log10(np.abs(weight))) > 11.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_float64_and_exact_networks_agree(widths, seed):
    """Integer weights and inputs: float64 evaluation is exact too."""
    network = FAMILIES["integer"](widths, seed)
    x = np.random.default_rng(seed).integers(-9, 9, (3, widths[0])).astype(float)
    assert nearest_float64(network.exact()).exact() == network.exact()
    assert np.asarray(network(x)).tolist() == [[float(y) for y in network.exact()(row.tolist())] for row in x]


def test_parameter_counts():
    network = FAMILIES["he"]((784, 128, 1), 0)
    assert network.parameters == network.exact().parameters == parameter_count((784, 128, 1)) == 100_609
    assert network.exact().identifiable_parameters == 100_481


def test_rationals_are_exact():
    assert rational(0.1) == fmpq(3602879701896397, 36028797018963968)
    assert rational(fraction(fmpq(-3, 7))) == fmpq(-3, 7) == rational(fmpq(-3, 7))
    assert rational(5) == 5
    for bad in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="not a rational"):
            rational(bad)


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], [], "at least one layer"),
        ([[[1.0]]], [], "as many biases"),
        ([[[1.0, 2.0]], [[1.0, 2.0]]], [[0.0], [0.0]], "the layer before it gives 1"),
        ([[[1.0]]], [[0.0, 1.0]], r"bias 0 has shape \(2,\)"),
        ([[1.0]], [[0.0]], "dimension"),
        ([[[float("nan")]]], [[0.0]], "1 NaN or infinite"),
        ([[[1j]]], [[0.0]], "complex128"),
        ([[["a"]]], [[0.0]], "dtype"),
        ([np.array([[2**53 + 1]])], [[0.0]], "2\\^53"),
    ],
)
def test_float64_networks_refuse_bad_layers(weights, biases, message):
    with pytest.raises(ValueError, match=message):
        ReLUNetwork(weights, biases)


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ((), (), "at least one layer"),
        ((fmpq_mat(1, 2), fmpq_mat(1, 2)), (fmpq_mat(1, 1), fmpq_mat(1, 1)), "layer 1 takes 2 numbers"),
        ((fmpq_mat(1, 2),), (fmpq_mat(2, 1),), r"bias of layer 0 has shape \(2, 1\)"),
    ],
)
def test_exact_networks_refuse_bad_layers(weights, biases, message):
    with pytest.raises(ValueError, match=message):
        ExactNetwork(weights, biases)


def test_nearest_float64_refuses_what_is_too_large():
    huge = ExactNetwork((fmpq_mat(1, 1, [fmpq(10) ** 400]),), (fmpq_mat(1, 1),))
    with pytest.raises(ValueError, match="largest float64"):
        nearest_float64(huge)
