"""Signs of a layer from few rounded equations, as a subset sum."""

import itertools

import numpy as np
import pytest
from flint import arb

from jaxtract.layers.any_depth.signs.layer_signs import signs_by_rows
from jaxtract.layers.any_depth.walk.rounded_signs import SPARE_BITS, rounded_equations, tells_signs
from jaxtract.layers.any_depth.walk.row_system import RowSystem
from precision.rounded import float64
from precision.sign_choices import MOST_SIGNS, sign_choices


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_all_choices_that_fulfil_the_equations_are_found(count, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(-3, 4, (2, count)).astype(float)
    target = table @ rng.choice([-1.0, 1.0], count) + 0.2
    found = sign_choices(table, target, 0.25)
    every = [s for s in itertools.product([-1, 1], repeat=count) if np.all(np.abs(table @ s - target) <= 0.25)]
    assert found is not None and {tuple(s) for s in found.tolist()} == set(every)
    assert len(found) == len(every) >= 1


def test_many_signs_come_from_two_sharp_equations():
    rng = np.random.default_rng(0)
    table, signs = rng.standard_normal((2, 34)), rng.choice([-1, 1], 34)
    found = sign_choices(table, table @ signs, 1e-9)
    assert found is not None and found.tolist() == [signs.tolist()]


def test_what_tells_nothing_is_not_written_out():
    assert sign_choices(np.ones((1, 30)), np.zeros(1), 1e-9) is None
    assert sign_choices(np.ones((1, MOST_SIGNS + 1)), np.zeros(1), 1e-9) is None
    assert sign_choices(np.ones((0, 3)), np.zeros(0), 1e-9) is None
    assert sign_choices(np.ones((1, 4)), np.full(1, 3.0), 0.5).shape == (0, 4)


def system_of(rng, error, *, equations=5, width=10, crossed=8, wrong=0.0):
    """A neuron over ten others, eight of which were crossed; (system, signs)."""
    side, signs = rng.integers(0, 2, width).astype(bool), rng.choice([-1, 1], width)
    weights = rng.standard_normal(width)
    start = np.where((signs > 0) == side, signs * weights, 0.0)

    def ball(value):
        return arb(value + error * rng.uniform(-0.5, 0.5), error)

    system = RowSystem(side, [0] * width)
    for row in rng.standard_normal((equations, width)):
        system.add(side, [arb(x) for x in row], ball(row @ start + wrong))
    system.know({i: ball(weights[i]) for i in range(crossed)})
    return system, signs


@pytest.mark.parametrize("seed", range(8))
def test_three_rounded_equations_tell_eight_signs(seed):
    """Five equations, two unknowns that were not crossed; as many would be needed as neurons without the choice."""
    with float64().working():
        system, signs = system_of(np.random.default_rng(seed), 1e-9)
        assert not system.tells_signs()
        assert tells_signs(system)
        assert rounded_equations(system, [0] * 10).signs() == {i: int(signs[i]) for i in range(8)}
        assert signs_by_rows([system]) == signs_by_rows([], [system]) == [*signs[:8].tolist(), 0, 0]


@pytest.mark.parametrize("seed", range(8))
def test_the_equations_of_a_wrong_neuron_hold_for_no_signs(seed):
    with float64().working():
        system, _ = system_of(np.random.default_rng(seed), 1e-9, wrong=1e-3)
        assert rounded_equations(system, [0] * 10).signs() == {}
        assert signs_by_rows([system]) == [0] * 10


def test_what_is_too_rough_is_not_believed():
    with float64().working():
        system, _ = system_of(np.random.default_rng(0), 1e-2)
        equations = rounded_equations(system, [0] * 10)
        assert equations.spare_bits < SPARE_BITS
        assert equations.signs() == {}
        assert not tells_signs(system)


def test_without_a_crossing_there_is_nothing_to_tell():
    with float64().working():
        system, _ = system_of(np.random.default_rng(0), 1e-9, crossed=0)
        assert rounded_equations(system, [0] * 10).signs() == {}
        system, signs = system_of(np.random.default_rng(0), 1e-9)
        assert rounded_equations(system, signs.tolist()).neurons == []


def test_more_equations_than_needed_that_disagree_are_a_contradiction():
    with float64().working():
        system, _ = system_of(np.random.default_rng(1), 1e-9, equations=16, wrong=1e-3)
        assert rounded_equations(system, [0] * 10).contradicted
