"""Float64 finds, the context refines: the exact kinks, whatever the doubles got wrong."""

import numpy as np
import pytest

from jaxtract.network.families import he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.search.context_lines import search_lines, settings_for
from jaxtract.search.float64_lines import search_lines as search_float64
from jaxtract.search.random_lines import random_line
from jaxtract.search.refine import cuts_between, refine_lines
from precision.dyadic import dyadic_matrix
from precision.exact import ExactContext

WIDTHS = [(6, 12, 2), (5, 10, 8, 1)]


def _lines(inputs, count, seed):
    rng = np.random.default_rng(seed)
    lines = [random_line(inputs, rng) for _ in range(count)]
    return dyadic_matrix([line.base for line in lines], inputs), dyadic_matrix([x.direction for x in lines], inputs)


@pytest.mark.parametrize("widths", WIDTHS)
def test_refined_float64_kinks_are_the_exact_ones(widths):
    network = he(widths, 3)
    bases, directions = _lines(widths[0], 6, 4)
    settings = settings_for(ExactContext())
    found = search_float64(network, bases.to_float64(), directions.to_float64(), -64.0, 64.0)
    kinks = [found.line(i).kinks for i in range(6)]

    alone = CountingOracle(ExactNetworkOracle(network), ExactContext())
    refined = CountingOracle(ExactNetworkOracle(network), ExactContext())
    from_nothing = search_lines(alone, bases, directions, settings=settings)
    from_doubles = refine_lines(refined, bases, directions, kinks, settings=settings)

    for one, two, rough in zip(from_nothing, from_doubles, kinks, strict=True):
        assert set(one.kinks) <= set(two.kinks)  # the cuts can only show more
        near = [float(t.p) / float(t.q) for t in two.kinks if -64 < t < 64]
        assert len(near) == len(rough)
        assert np.allclose(near, rough, rtol=0, atol=1e-6)
    assert refined.count.search < alone.count.search


def test_wrong_rough_kinks_change_nothing():
    network = he((6, 12, 1), 5)
    bases, directions = _lines(6, 1, 6)
    oracle = CountingOracle(ExactNetworkOracle(network), ExactContext())
    settings = settings_for(ExactContext())
    (truth,) = search_lines(oracle, bases, directions, settings=settings)
    invented = np.sort(np.random.default_rng(7).normal(size=9) * 4)
    for rough in (np.array([]), invented, np.repeat(invented, 2)):
        (profile,) = refine_lines(oracle, bases, directions, [rough], settings=settings)
        assert profile.kinks == truth.kinks


def test_cuts_lie_between():
    cuts = cuts_between(np.array([-1.0, 0.25, 0.25, 3.0]))
    assert len(cuts) == 2
    places = [float(cut.p) / float(cut.q) for cut in cuts]
    assert -1 < places[0] < 0.25 < places[1] < 3
