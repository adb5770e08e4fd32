"""Verdicts: identity is proved, differences are witnessed, closeness is measured, nothing else is claimed."""

import numpy as np
import pytest
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st
from test_canonical import network, symmetric_copy

from jaxtract.certificate.certify import CertifyOptions, certify
from jaxtract.certificate.matching import match
from jaxtract.certificate.witness import random_witness, separating_points, values
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import FAMILIES, exact_network, gap, he
from jaxtract.network.normal_form import normal_form

seeds = st.integers(0, 2**32 - 1)


def changed(original, layer, entry, factor):
    """One weight of a layer (or bias, past the weights) times ``factor``; a zero becomes factor - 1."""
    weight, bias = original.weights[layer].entries(), original.biases[layer].entries()
    numbers = [*weight, *bias]
    entry %= len(numbers)
    numbers[entry] = numbers[entry] * factor if numbers[entry] != 0 else factor - 1
    weights, biases = list(original.weights), list(original.biases)
    rows, columns = weights[layer].nrows(), weights[layer].ncols()
    weights[layer] = fmpq_mat(rows, columns, numbers[: rows * columns])
    biases[layer] = fmpq_mat(rows, 1, numbers[rows * columns :])
    return ExactNetwork(tuple(weights), tuple(biases))


def noisy(original, size, rng):
    """Every weight and bias times 1 + u, u uniform within +-size."""

    def disturb(m):
        factors = [1 + size * fmpq(int(x), 1000) for x in rng.integers(-1000, 1001, m.nrows() * m.ncols())]
        return fmpq_mat(m.nrows(), m.ncols(), [x * f for x, f in zip(m.entries(), factors, strict=True)])

    return ExactNetwork(tuple(map(disturb, original.weights)), tuple(map(disturb, original.biases)))


def holds(certificate, recovered, reference):
    """The witness says what it says, checked by the networks' own evaluation."""
    point = [fmpq(*map(int, x.split("/"))) for x in certificate.witness.point]
    one, two = recovered(point), reference(point)
    return (
        one != two
        and certificate.witness.recovered == tuple(map(str, one))
        and certificate.witness.reference == tuple(map(str, two))
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), seeds)
def test_symmetric_copies_are_identical(widths, seed):
    original = he(widths, seed).exact()
    certificate = certify(symmetric_copy(original, np.random.default_rng(seed)), original)
    assert (certificate.verdict, certificate.max_relative_error) == ("identical", 0.0)
    assert certificate.unmatched == 0 and certificate.witness is None


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), seeds)
def test_symmetric_copies_of_adversarial_networks_are_identical(family, seed):
    original = exact_network(FAMILIES[family]((3, 7, 2), seed))
    copy = symmetric_copy(original, np.random.default_rng(seed))
    assert certify(copy, original).method == "equal canonical forms"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), seeds, st.integers(0, 3), st.integers(0, 99))
def test_one_changed_last_bit_is_never_identical(widths, seed, layer, entry):
    original = he(widths, seed).exact()
    layer %= len(original.weights)
    other = changed(symmetric_copy(original, np.random.default_rng(seed)), layer, entry, 1 + fmpq(1, 1 << 53))
    certificate = certify(other, original)
    if certificate.verdict == "identical":  # no input shows that weight: only a proof may say so
        assert certificate.proof != {"zero": True} or certificate.max_relative_error is None
    else:
        assert certificate.verdict == "different" and holds(certificate, other, original)
        assert certificate.max_relative_error is None or certificate.max_relative_error < 2.0**-50


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), seeds)
def test_a_large_change_is_witnessed_or_proved_invisible(widths, seed):
    original = he(widths, seed).exact()
    other = changed(original, 0, seed % 7, fmpq(-3, 2))
    certificate = certify(other, original, options=CertifyOptions(seed=seed % 1000))
    if certificate.verdict == "different":
        assert holds(certificate, other, original)
    else:
        assert certificate.verdict == "identical"
        assert random_witness(other, original, seed=seed % 1000) is None


@pytest.mark.parametrize("dps", [20, 60, 400])
@pytest.mark.parametrize("widths", [(10, 8, 2), (6, 5, 5, 1), (4, *(6,) * 8, 3)])
def test_small_errors_are_measured_not_rounded_away(widths, dps):
    """Row scales are free, so the error can be up to about four times the noise; it is never 0.0."""
    original = he(widths, 1).exact()
    recovered = symmetric_copy(noisy(original, fmpq(1, 10**dps), np.random.default_rng(2)), np.random.default_rng(3))
    certificate = certify(recovered, original)
    assert certificate.verdict == "different" and holds(certificate, recovered, original)
    assert (certificate.matched, certificate.unmatched) == (sum(widths[1:-1]), 0)
    assert certificate.max_relative_error is not None and certificate.max_relative_error > 0
    if dps < 300:  # 1e-400 is below float64 and shown as the least positive one
        assert 0.1 < certificate.max_relative_error * 10.0**dps < 8
    else:
        assert certificate.max_relative_error == 5e-324


def test_nearly_coincident_neurons_are_matched_by_exact_distance():
    """Biases 2^-40 apart, noise 1e-30: float64 sees no difference, the right pairing has error 1e-30."""
    original = exact_network(gap((3, 6, 1), 0, bits=40))
    recovered = symmetric_copy(noisy(original, fmpq(1, 10**30), np.random.default_rng(0)), np.random.default_rng(1))
    certificate = certify(recovered, original)
    assert certificate.verdict == "different"
    assert certificate.max_relative_error is not None and certificate.max_relative_error < 1e-29


def test_noise_above_the_limit_is_different():
    original = he((5, 6, 1), 0).exact()
    recovered = noisy(original, fmpq(1, 10**4), np.random.default_rng(0))
    certificate = certify(recovered, original)
    assert certificate.verdict == "different" and holds(certificate, recovered, original)
    assert (certificate.matched, certificate.unmatched) == (6, 0)
    assert certificate.max_relative_error is not None and 1e-5 < certificate.max_relative_error < 1e-3


def test_a_flipped_neuron_is_unmatched_and_different():
    original = he((5, 6, 1), 0).exact()
    weight, bias = original.weights[0].tolist(), original.biases[0].entries()
    weight[2], bias[2] = [-x for x in weight[2]], -bias[2]
    flipped = network((weight, bias), (original.weights[1].tolist(), original.biases[1].entries()))
    certificate = certify(flipped, original)
    assert certificate.verdict == "different" and holds(certificate, flipped, original)
    assert (certificate.matched, certificate.unmatched) == (5, 2)


def test_a_missing_neuron_is_counted_and_the_next_layer_still_matched():
    original = he((4, 6, 5, 2), 0).exact()
    keep = [0, 1, 2, 4, 5]
    first, second = original.weights[0].tolist(), original.weights[1].tolist()
    smaller = network(
        ([first[h] for h in keep], [original.biases[0].entries()[h] for h in keep]),
        ([[row[h] for h in keep] for row in second], original.biases[1].entries()),
        (original.weights[2].tolist(), original.biases[2].entries()),
    )
    certificate = certify(smaller, original)
    assert certificate.verdict == "different" and holds(certificate, smaller, original)
    assert (certificate.matched, certificate.unmatched, certificate.max_relative_error) == (10, 1, 0.0)


def test_one_hidden_layer_is_decided_across_architectures():
    two = network(([[1, 2], [-1, -2]], [3, -3]), ([[1, -1]], [0]))
    affine = network(([[1, 2]], [3]))
    certificate = certify(affine, two)
    assert certificate.verdict == "identical" and "common ReLU units" in certificate.method
    assert (certificate.matched, certificate.unmatched, certificate.max_relative_error) == (0, 2, None)
    # s(-z) + s(z + 1) - s(-z - 1) - 1 = s(-z) + z = s(z): same function, opposite neuron.
    opposite = network(([[-1, -2], [1, 2], [-1, -2]], [-3, 4, -4]), ([[1, 1, -1]], [-1]))
    certificate = certify(opposite, network(([[1, 2]], [3]), ([[1]], [0])))
    assert certificate.verdict == "identical" and certificate.max_relative_error is None
    assert (certificate.matched, certificate.unmatched) == (0, 4)
    assert certify(opposite, two).verdict == "different"


@pytest.mark.parametrize("bits", [200, 3000])
def test_a_difference_in_a_slab_that_no_random_input_hits_is_found(bits):
    """A bump of width 2^-bits: all random inputs agree, the kink itself does not."""
    tiny = fmpq(1, 1 << bits)
    bump = network(([[1, 1]] * 3, [0, -tiny, -2 * tiny]), ([[1, -2, 1]], [0]))
    nothing = network(([[1, 1]], [0]), ([[0]], [0]))
    assert random_witness(bump, nothing, seed=0) is None
    certificate = certify(bump, nothing)
    assert certificate.verdict == "different" and holds(certificate, bump, nothing)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), seeds, st.integers(0, 40))
def test_separating_points_always_separate(family, seed, entry):
    original = exact_network(FAMILIES[family]((3, 6, 2), seed))
    other = changed(original, seed % 2, entry, 1 + fmpq(1, 1 << 300))
    forms = normal_form(other), normal_form(original)
    if forms[0] == forms[1]:
        return
    points = separating_points(*forms, seed=seed)
    assert values(other, points) != values(original, points)


def test_separating_points_of_affine_differences():
    base = network(([[1, 2]], [3]))
    for other in (network(([[1, 2]], [4])), network(([[1, 5]], [3]))):
        points = separating_points(normal_form(base), normal_form(other), seed=0)
        assert values(base, points) != values(other, points)
    with pytest.raises(ValueError, match="equal"):
        separating_points(normal_form(base), normal_form(base), seed=0)


def test_deep_networks_that_are_equal_for_other_reasons():
    """s(z) - s(-z) = z once more, now below another layer."""
    one = network(([[1], [-1]], [0, 0]), ([[1, -1]], [0]), ([[1]], [0]))
    two = network(([[2], [-1], [1]], [0, 0, 0]), ([[1, -1, -1]], [0]), ([[1]], [0]))
    assert certify(one, two).verdict == "identical"
    three = network(
        ([[1], [-1], [1], [-1]], [0, 0, 1, -1]), ([[fmpq(1, 2), -fmpq(1, 2)] * 2], [-fmpq(1, 2)]), ([[1]], [0])
    )
    certificate = certify(three, one)
    assert certificate.verdict == "identical" and certificate.proof == {"zero": True}


def test_different_depths():
    deep = network(([[1]], [0]), ([[1]], [0]), ([[1]], [0]))
    shallow = network(([[1]], [0]), ([[1]], [0]))
    certificate = certify(deep, shallow)
    assert certificate.verdict == "identical"  # s(s(x)) = s(x)
    assert (certificate.matched, certificate.unmatched, certificate.max_relative_error) == (0, 3, None)
    assert certify(deep, network(([[1]], [0]), ([[2]], [0]))).verdict == "different"
    with pytest.raises(ValueError, match="layers"):
        match(deep, shallow)


def ramp():
    """s(x) - s(x - 1) is never negative: a ReLU after it does nothing."""
    first = ([[1], [1]], [0, -1])
    return network(first, ([[1, -1]], [0]), ([[1]], [0])), network(first, ([[1, -1]], [0]))


def test_a_neuron_that_is_on_only_by_the_order_of_others_is_decided_by_cases():
    certificate = certify(*ramp())
    assert certificate.verdict == "identical" and "linear programs" in certificate.method
    assert certificate.proof is not None and certificate.proof.keys() == {"unit", "strict", "on", "off"}


def test_a_bump_that_no_random_input_meets_is_found_below_the_surface():
    """s(s(x) - s(x - 1) - 1 + s(t - |x - 9|)) is not zero on an interval of length 2^-99 around 9."""
    tiny = fmpq(1, 1 << 99)
    first = ([[1], [1], [1], [-1]], [0, -1, -9, 9])
    deep = network(first, ([[1, -1, -1, -1]], [tiny - 1]), ([[1]], [0]))
    nothing = network(first, ([[1, -1, -1, -1]], [-1]), ([[1]], [0]))
    assert random_witness(deep, nothing, seed=0) is None
    certificate = certify(deep, nothing)
    assert certificate.verdict in ("different", "undecided")  # 2^-99 is below what float64 programs see
    wide = network(first, ([[1, -1, -1, -1]], [fmpq(1, 1 << 20) - 1]), ([[1]], [0]))
    certificate = certify(wide, nothing)
    assert certificate.verdict == "different" and holds(certificate, wide, nothing)


def test_without_effort_the_verdict_is_undecided():
    certificate = certify(*ramp(), options=CertifyOptions(cases=0))
    assert certificate.verdict == "undecided" and certificate.witness is None and certificate.proof is None
    assert "neither equality nor a difference" in certificate.method


def with_weight(original, layer, neuron, source, number):
    weights = [w.tolist() for w in original.weights]
    weights[layer][neuron][source] = number
    return network(*zip(weights, (b.entries() for b in original.biases), strict=True))


def hidden_weight(seed):
    """A random network and a copy in which a weight that no input shows has another value."""
    rng = np.random.default_rng(seed)
    original = he((3, 5, 4, 2), seed).exact()
    first, bias = original.weights[0].tolist(), original.biases[0].entries()
    first[1], bias[1] = [-x for x in first[0]], -bias[0] - 1  # unit 1 is on only where unit 0 is off
    second, shift = original.weights[1].tolist(), original.biases[1].entries()
    second[2], shift[2] = [fmpq(7), fmpq(-1), fmpq(0), fmpq(0), fmpq(0)], fmpq(-1)  # off wherever unit 0 is off
    given = network((first, bias), (second, shift), (original.weights[2].tolist(), original.biases[2].entries()))
    return given, with_weight(given, 1, 2, 1, fmpq(-int(rng.integers(2, 100)), 7))


@pytest.mark.parametrize("seed", range(5))
def test_a_weight_that_no_input_shows_does_not_matter(seed):
    given, other = hidden_weight(seed)
    certificate = certify(symmetric_copy(other, np.random.default_rng(seed)), given)
    assert certificate.verdict == "identical" and "linear programs" in certificate.method


def test_a_weight_that_few_inputs_show_does_matter():
    given, _ = hidden_weight(0)
    other = with_weight(given, 1, 2, 1, fmpq(1, 100))  # on where unit 1 passes 100
    certificate = certify(other, given)
    assert certificate.verdict == "different" and holds(certificate, other, given)


def test_rows_of_zeros_in_the_output_compare():
    """An output that is constant in the reference and not in the recovered network counts as error 1."""
    reference = network(([[1, 1]], [1]), ([[1], [0]], [0, 0]))
    recovered = network(([[1, 1]], [1]), ([[1], [fmpq(1, 10**9)]], [0, 0]))
    assert certify(recovered, reference).max_relative_error == 1.0


def test_an_error_beyond_float64_is_infinite():
    reference = network(([[1]], [fmpq(1, 10**400)]))
    recovered = network(([[10**10]], [fmpq(1, 10**400)]))
    assert certify(network(([[fmpq(10) ** 400]], [1])), reference).max_relative_error == float("inf")
    assert certify(recovered, reference).verdict == "different"


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="recovered maps 2 inputs to 1 outputs"):
        certify(network(([[1, 2]], [3])), network(([[1]], [3])))
