"""Open weights of a row from kinks at which no known neuron is zero."""

import pytest
from flint import arb, ctx, fmpq, fmpz

from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.unseen.complete_rows import complete_by_kinks


def kinks(*activations):
    """Pre-activations of the layer before at kinks, times the scale 4 of each."""
    return [[fmpz(4 * x) for x in z] for z in activations], [fmpz(4)] * len(activations)


def opened():
    """z = a_0 + w a_1 - 3 a_2 - 1; w is -2."""
    return Row([fmpq(1), None, fmpq(-3)], fmpq(-1))


def test_a_value_that_two_kinks_agree_on_is_the_weight():
    row = opened()
    assert complete_by_kinks(row, *kinks((3, 1, -1), (10, 3, 1), (5, 1, -1)))
    assert row.weights == [1, -2, -3]


def test_kinks_where_all_that_is_before_is_the_same_are_one():
    """Another neuron is zero at both, in a region where its zeros are those of one activation."""
    row = opened()
    assert not complete_by_kinks(row, *kinks((5, 1, -1), (5, 1, -2), (5, 1, -3)))
    assert row.missing == [1]


def test_a_kink_where_two_open_weights_act_says_nothing():
    row = Row([fmpq(1), None, None], fmpq(-1))
    assert not complete_by_kinks(row, *kinks((3, 1, 1), (5, 2, 1)))


@pytest.mark.parametrize(("places", "told"), [([(3, 1), (9, 4)], True), ([(5, 1), (5, 1)], False)])
def test_between_balls(places, told):
    with ctx.workprec(128):
        row = Row([arb(1), None], arb(-1))
        heights = [[arb(x, 2**-60), arb(y, 2**-60)] for x, y in places]
        assert complete_by_kinks(row, heights, [fmpz(1)] * 2) == told
        assert not told or (row.weights[1] + 2).contains(0)
