"""The papers' methods by name: statement, assumptions, and networks that violate them."""

import numpy as np
import pytest
from flint import fmpq

from jaxtract import ExactNetwork, ExactNetworkOracle, certify
from jaxtract.methods import daniely_granot, rolnick_koerding
from jaxtract.methods.assumptions import every_weight_acts, independent_rows, no_parallel_hyperplanes
from jaxtract.network.families import exact_network, he
from precision.context import object_matrix, rational_matrix
from precision.exact import ExactContext

EXACT = ExactContext()


def changed(network, layer, change):
    weights = [object_matrix(w) for w in network.weights]
    change(weights[layer])
    return ExactNetwork(tuple(rational_matrix(w) for w in weights), network.biases)


def test_depth_two_by_name():
    network = exact_network(he((8, 14, 2), 1))
    found = daniely_granot(ExactNetworkOracle(network), EXACT, depth=2)
    assert found.extraction.network is not None
    assert certify(found.extraction.network, network).verdict == "identical"
    assert found.covered and "first theorem" in found.describe() and "covers this network" in found.describe()


def test_depth_three_by_name():
    network = exact_network(he((8, 4, 8, 1), 0))
    found = daniely_granot(ExactNetworkOracle(network), EXACT, depth=3)
    assert found.extraction.network is not None
    assert certify(found.extraction.network, network).verdict == "identical"
    assert found.covered and all(a.holds for a in found.assumptions)


def test_a_network_outside_the_class_is_named_as_such():
    network = exact_network(he((10, 15, 15, 1), 0))
    found = daniely_granot(ExactNetworkOracle(network), EXACT, depth=3)
    assert found.extraction.network is not None and not found.covered
    assert certify(found.extraction.network, network).verdict == "identical"
    assert "first width at most the input" in found.describe() and "does not cover" in found.describe()


def test_any_depth_by_name():
    network = exact_network(he((12, 8, 6, 2), 0))
    found = rolnick_koerding(ExactNetworkOracle(network), EXACT, seed=3)
    assert found.covered and "2020" in found.statement
    assert found.extraction.network is not None
    assert certify(found.extraction.network, network).verdict == "identical"


def test_a_spent_budget_leaves_nothing_to_check():
    network = exact_network(he((8, 4, 8, 1), 0))
    found = rolnick_koerding(ExactNetworkOracle(network), EXACT, max_queries=5)
    assert not found.covered and found.assumptions == () and "nothing was recovered" in found.describe()


@pytest.mark.parametrize("depth", [1, 4])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=f"depth 2 and 3, not {depth}"):
        daniely_granot(ExactNetworkOracle(exact_network(he((4, 4, 1), 0))), EXACT, depth=depth)


def test_violations_are_seen():
    network = exact_network(he((6, 4, 5, 1), 0))
    assert independent_rows(network).holds and no_parallel_hyperplanes(network).holds
    assert every_weight_acts(network).holds

    def twin(weight):
        weight[1] = weight[0] * fmpq(-3, 7)

    parallel = changed(network, 0, twin)
    assert not no_parallel_hyperplanes(parallel).holds and not independent_rows(parallel).holds
    assert "largest cosine 1.0" in str(no_parallel_hyperplanes(parallel))

    def cut(weight):
        weight[2, 3] = fmpq(0)

    assert every_weight_acts(changed(network, 1, cut)).measured == "1 zeros"


def test_margins_are_those_of_numpy():
    network = exact_network(he((6, 4, 5, 1), 0))
    rows = np.array([[int(x.p) / int(x.q) for x in row] for row in network.weights[0].tolist()])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.svd(rows, compute_uv=False)
    assert f"{values[-1] / values[0]:.1e}" in independent_rows(network).measured
