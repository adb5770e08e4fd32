"""A bump that no query of a line met, found where the row of its neuron says that f bends."""

import numpy as np
import pytest
from flint import fmpq
from helpers import true_layers

from jaxtract import ExactContext, ExactNetworkOracle
from jaxtract.layers.any_depth.kinks.foretold import crossings, quiet_places
from jaxtract.layers.any_depth.kinks.input_slice import whole_space
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.unseen.missed_bends import MissedBends
from jaxtract.network.families import exact_network, he
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.report.progress import NoProgressMeter
from jaxtract.search.context_lines import search_again, search_line, settings_for
from jaxtract.search.lines import Line
from jaxtract.search.random_lines import random_line

ALONG_X = Line((fmpq(0), fmpq(1)), (fmpq(1), fmpq(0)), 0)
EXACT = ExactContext()


@pytest.fixture
def bump() -> Recovery:
    """f = s(3/4 - |x|) + s(5 + s(x) + s(-x) / 2 + s(y)), searched along x where s(x) is known to bend."""
    first = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]
    second = [[-1.0, -1.0, 0.0], [1.0, 0.5, 1.0]]
    network = exact_network(ReLUNetwork([first, second, [[1.0, 1.0]]], [[0.0, 0.0, 0.0], [0.75, 5.0], [0.0]]))
    counted = CountingOracle(ExactNetworkOracle(network), EXACT)
    state = Recovery(counted, EXACT, settings_for(EXACT), np.random.default_rng(0), NoProgressMeter(), None)
    state.slice, state.layers = whole_space(2), true_layers(network, 2)
    state.pool = Pool(counted, 2)
    state.pool.search([ALONG_X], state.settings, state.known(1))
    return state


def beside(height: int) -> Line:
    return Line((fmpq(0), fmpq(height)), (fmpq(1), fmpq(0)), 0)


def test_a_bump_astride_a_known_kink_is_missed_and_found_by_its_neurons_row(bump):
    bump.pool.search([beside(y) for y in range(2, 7)], bump.settings)
    assert bump.pool.lines[0].kinks == (0,)
    bump.pool.measure([(0, 0), (1, 0)])
    assert crossings(bump.pool, bump.known(2)) == ([10, 0], [2, 0])
    missed, before = MissedBends(bump), bump.oracle.count.search
    assert missed.look()
    old, new = bump.pool.lines[0], bump.pool.lines[-1]
    assert old.kinks == () and new.kinks == (fmpq(-3, 4), 0, fmpq(3, 4))
    assert not new.gradients, "they were measured on pieces that run through the bump"
    assert bump.pool.lines[1].gradients
    assert bump.oracle.count.search - before <= 20
    assert crossings(bump.pool, bump.known(2)) == ([12, 0], [0, 0])
    assert all(line > 0 for (line, _), _ in bump.pool.known_values())
    assert len(quiet_places(bump.pool, bump.known(2))) == len(bump.pool.known_values())
    assert not missed.look()


def test_no_query_is_spent_on_a_row_that_is_hardly_seen(bump):
    before = bump.oracle.count.total
    assert not MissedBends(bump).look()
    assert bump.oracle.count.total == before


@pytest.mark.parametrize("seed", range(5))
def test_a_profile_that_misses_nothing_stays_as_it_is(seed):
    rng = np.random.default_rng(seed)
    counted = CountingOracle(ExactNetworkOracle(exact_network(he((4, 8, 6, 1), seed))), EXACT)
    line = random_line(4, rng)
    profile = search_line(counted, line, settings_for(EXACT))
    inside = [piece.position + fmpq(1, 2**300) for piece in profile.pieces[1:-1]]
    before = counted.count.search
    again = search_again(counted, line, profile, inside, settings_for(EXACT))
    assert again.kinks == profile.kinks
    assert counted.count.search - before <= 8 * len(inside)
