"""Units that are never on, shown so by a few layers before them."""

import numpy as np
import pytest
from certificate_helpers import accepted, document_of, fractions
from flint import fmpq
from helpers import network, random_rational_network

from jaxtract import load_target
from jaxtract.certificate import check
from jaxtract.certificate.certify import CertifyOptions, certify
from jaxtract.certificate.document import seal
from jaxtract.equality import few_layers
from jaxtract.equality.few_layers import SMALL, Allowance, FewLayers
from jaxtract.equality.look_alikes import LookAlikes
from jaxtract.equality.resolve import OutOfBudgetError
from jaxtract.equality.units import UnitTable, differences, over_units


def without(net, layer, neurons):
    """A network without some neurons of a hidden layer, counted from 1."""
    weights, biases = [w.tolist() for w in net.weights], [b.entries() for b in net.biases]
    kept = [i for i in range(len(biases[layer - 1])) if i not in neurons]
    weights[layer - 1] = [weights[layer - 1][i] for i in kept]
    biases[layer - 1] = [biases[layer - 1][i] for i in kept]
    weights[layer] = [[row[i] for i in kept] for row in weights[layer]]
    return network(*zip(weights, biases, strict=True))


def with_dead_neuron(widths, seed):
    """A random network whose last hidden layer has one neuron more, off since s(v) <= s(v + s(u)) below it."""
    rng = np.random.default_rng(seed)
    net = random_rational_network(widths, rng, largest=3)
    weights, biases = [w.tolist() for w in net.weights], [b.entries() for b in net.biases]
    own = [fmpq(int(x)) for x in rng.integers(-3, 4, widths[-4])]
    more = [x + int(k == 0) for k, x in enumerate(own)]
    weights[-3] += [own, more]
    biases[-3] += [fmpq(1), fmpq(1)]
    weights[-2] = [[*row, fmpq(int(rng.integers(-2, 3))), fmpq(0)] for row in weights[-2]]
    weights[-2].append([fmpq(0)] * widths[-3] + [fmpq(1), fmpq(-1)])
    biases[-2].append(fmpq(-1, 7))
    weights[-1] = [[*row, fmpq(3)] for row in weights[-1]]
    return network(*zip(weights, biases, strict=True))


def proof_of(one, two, cases=100):
    table = UnitTable()
    reference = over_units(two, table)
    targets = differences(over_units(one, table), reference)
    return LookAlikes(table.rows, targets, two.inputs, Allowance(cases)).prove()


@pytest.mark.parametrize("seed", range(12))
def test_a_neuron_that_two_layers_keep_off_is_proven_to_be(seed):
    widths = [4, 5, 5, 4, 2]
    full = with_dead_neuron(widths, seed)
    reduced = without(full, 3, {widths[-2]})
    assert proof_of(reduced, full) is not None
    certificate = certify(reduced, full)
    assert certificate.verdict == "identical"
    assert accepted(certificate, reduced, full) == "identical"


def with_weight(w):
    """A neuron on where x + y < 1 that reads, with a weight, one that is on where x + y > 5."""
    return network(
        ([[1, 0], [0, 1]], [0, 0]),
        ([[1, 1], [1, 1], [1, -1]], [0, -5, 0]),
        ([[-1, w, 0], [0, 0, 1]], [1, 0]),
        ([[1, 1]], [0]),
    )


@pytest.mark.parametrize("weight", [fmpq(1, 2), fmpq(-5)])
def test_a_weight_between_neurons_that_are_never_on_together_changes_nothing(weight):
    one, other = with_weight(weight), with_weight(fmpq(0))
    assert proof_of(one, other) is not None
    assert accepted(certify(one, other), one, other) == "identical"
    # On where z_2 > 0: 1 - z + 3 (z - 5) > 0 from z = 7 on.
    assert proof_of(with_weight(fmpq(3)), other) is None
    assert certify(with_weight(fmpq(3)), other).verdict == "different"


@pytest.mark.parametrize("lie", ["the ratio", "its proof", "the order", "both"])
def test_a_lemma_is_checked(lie):
    """What is not the same function is not to be put in for another."""
    one, other = with_weight(fmpq(1, 2)), with_weight(fmpq(0))
    proof = proof_of(one, other)
    two, first, ratio = proof["same"]
    told = {
        "the ratio": {"same": [two, first, "2"]},
        "its proof": {"proof": {"zero": True}},
        "the order": {"same": [first, two, ratio]},
        "both": {"same": [first, first, ratio]},
    }
    document = document_of(certify(one, other), one, other)
    document["evidence"]["proof"] = proof | told[lie]
    document["sha256"] = seal(document)
    with pytest.raises((ValueError, LookupError)):
        check.check(document, fractions(one), fractions(other))


def less_than_it_reads(share):
    """A neuron over s(u - v) and u, whose z is s(u - v) - share u - 1."""
    return network(
        ([[1, 0], [0, 1]], [0, 0]),
        ([[1, -1], [1, 0]], [0, 0]),
        ([[1, -share], [1, 1]], [-1, 0]),
        ([[1, 1]], [0]),
    )


def test_a_unit_is_at_most_what_it_reads_with_positive_weights():
    """s(u - v) <= u, whatever u and v are: one case and one layer will do."""
    one = less_than_it_reads(1)
    reduced = without(one, 3, {0})
    proof = proof_of(one, reduced)
    kinds = {kind for kind, _, _ in proof["on"]["farkas"]}
    assert "below" in kinds
    assert accepted(certify(one, reduced), one, reduced) == "identical"
    assert proof_of(less_than_it_reads(fmpq(1, 2)), reduced) is None


@pytest.mark.parametrize("lie", ["a multiplier", "a unit over inputs"])
def test_what_a_unit_is_at_most_is_checked(lie):
    one = less_than_it_reads(1)
    reduced = without(one, 3, {0})
    document = document_of(certify(one, reduced), one, reduced)
    multipliers = document["evidence"]["proof"]["on"]["farkas"]
    place = next(i for i, (kind, _, _) in enumerate(multipliers) if kind == "below")
    if lie == "a multiplier":
        multipliers[place][2] = "1/2"
    else:
        multipliers.append(["below", 1, "1"])
    document["sha256"] = seal(document)
    with pytest.raises((ValueError, LookupError)):
        check.check(document, fractions(one), fractions(reduced))


def test_cases_of_a_unit_that_is_nearly_the_same_are_tried_first():
    full = load_target("digits-eight").exact()
    table = UnitTable()
    parts = over_units(full, table).parts
    dead, _ = parts[6 * 16 + 6]
    nearly = {key: x * (1 if key else fmpq(101, 100)) for key, x in table.rows[dead].items()}
    taken = []
    for like in (None, dead):
        few = FewLayers({**table.rows, 1000: nearly}, full.inputs, Allowance(100))
        assert few.rule_out({dead: (True, True)}, dead).proof is not None
        before = few.allowance.programs
        assert few.rule_out({1000: (True, True)}, 1000, like).proof is not None
        taken.append(few.allowance.programs - before)
    assert 2 * taken[1] < taken[0]


@pytest.mark.parametrize("margin", [3e-3, 3e-2])
def test_what_float64_takes_for_empty_and_is_not_is_split_further(monkeypatch, margin):
    """Or one layer more is taken in: a case is closed over the rationals alone."""
    full = load_target("digits-eight").exact()
    table = UnitTable()
    dead, _ = over_units(full, table).parts[6 * 16 + 6]
    monkeypatch.setattr(few_layers, "ABOVE_ZERO", margin)
    answered = FewLayers(table.rows, full.inputs, Allowance(100)).rule_out({dead: (True, True)}, dead)
    assert answered.proof is not None


def test_weights_that_never_act_add_up_in_a_proof():
    """As many lemmas as weights: cases within cases would be 2^7 times as many."""
    kept = with_weight(fmpq(0))
    count = 8

    def many(weight):
        weights = [kept.weights[0].tolist(), kept.weights[1].tolist()]
        last = [[-1, weight * (k + 1) / 64, fmpq(-1, k + 2)] for k in range(count)]
        ends = [[fmpq(k + 1) for k in range(count)]]
        biases = [kept.biases[0].entries(), kept.biases[1].entries()]
        return network(*zip([*weights, last, ends], [*biases, [fmpq(1)] * count, [fmpq(0)]], strict=True))

    def leaves(node):
        return sum(leaves(inner) for inner in node.values() if isinstance(inner, dict)) or 1

    proof = proof_of(many(fmpq(1)), many(fmpq(0)))
    assert proof is not None and leaves(proof) < 8 * count
    certificate = certify(many(fmpq(1)), many(fmpq(0)))
    assert accepted(certificate, many(fmpq(1)), many(fmpq(0))) == "identical"


@pytest.mark.parametrize("seed", range(6))
def test_what_happens_somewhere_is_not_ruled_out(seed):
    rng = np.random.default_rng(seed)
    net = random_rational_network([3, 5, 5, 4, 1], rng, largest=3)
    table = UnitTable()
    over_units(net, table)
    few = FewLayers(table.rows, 3, Allowance(250))
    points = rng.standard_normal((400, 3)) * rng.choice([0.3, 1.0, 30.0], (400, 1))
    values = {key: points[:, key + 3] for key in range(-3, 0)} | {0: np.ones(400)}
    for k in sorted(table.rows):
        values[k] = np.maximum(sum(float(x) * values[key] for key, x in table.rows[k].items()), 0)
    for k in table.rows:
        if (values[k] > 1e-6).any():
            assert few.rule_out({k: (True, True)}, k).proof is None
        if (values[k] == 0).any():
            assert few.rule_out({k: (False, False)}, k).proof is None


def test_programs_are_counted_and_allowed_for():
    full = with_dead_neuron([4, 5, 5, 4, 2], 0)
    table = UnitTable()
    parts, told = over_units(full, table).parts, []
    allowance = Allowance(1, told.append)
    for _ in range(SMALL):
        allowance.spend()
    assert told == [1] and allowance.cases == 1
    with pytest.raises(OutOfBudgetError):
        FewLayers(table.rows, 4, allowance).rule_out({parts[-1][0]: (True, True)}, parts[-1][0])
    assert proof_of(without(full, 3, {4}), full, cases=0) is None


def test_a_neuron_of_the_seventh_layer_of_digits_eight_is_never_on():
    """Trained; on at none of a million inputs, and four layers are between it and them."""
    full = load_target("digits-eight").exact()
    reduced = without(full, 7, {6})
    certificate = certify(reduced, full)
    assert certificate.verdict == "identical" and certificate.unmatched


@pytest.mark.slow
def test_so_are_two_more():
    full = load_target("digits-eight").exact()
    reduced = without(full, 7, {2, 6, 15})
    certificate = certify(reduced, full, options=CertifyOptions(cases=4000))
    assert certificate.verdict == "identical"
    assert accepted(certificate, reduced, full) == "identical"
