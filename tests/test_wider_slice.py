"""A slice that lacks a direction: found where f changes across it, and made wider."""

import numpy as np
import pytest

from jaxtract import ExactContext, ExactNetworkOracle, ExtractOptions, Outcome, certify, extract_network, mp
from jaxtract.layers.any_depth.kinks.input_slice import InputSlice, whole_space
from jaxtract.layers.any_depth.kinks.wider_slice import leaving, widened
from jaxtract.measurement.balls import measuring
from jaxtract.network.families import he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.search.context_lines import settings_for
from precision.context import object_matrix
from precision.dyadic import from_float64

INPUTS, WIDTH = 12, 5


def black_box(context, seed):
    """(the network, the black box, inputs)."""
    network = he((INPUTS, WIDTH, 4, 1), seed).exact()
    points = from_float64(np.round(np.random.default_rng(seed).standard_normal((16, INPUTS)), 6)).rows()
    return network, measuring(CountingOracle(ExactNetworkOracle(network), context)), points


@pytest.mark.parametrize("context", [ExactContext(), mp(128)], ids=["exact", "mp"])
@pytest.mark.parametrize("seed", range(3))
def test_a_missing_direction_is_found(seed, context):
    network, oracle, points = black_box(context, seed)
    rng = np.random.default_rng(seed)
    with oracle.context.working():
        rows = np.vectorize(oracle.context.number, otypes=[object])(object_matrix(network.weights[0]))
        narrow = InputSlice(INPUTS, tuple(range(WIDTH - 1)), rows[:-1])
        lines = leaving(oracle, narrow, points, rng)
        assert lines, "one neuron of five is not on the slice"
        wide = widened(oracle, narrow, lines[0], settings_for(context))
        assert wide.rank == WIDTH
        assert leaving(oracle, wide, points, rng) == []


def test_nothing_is_asked_of_the_whole_space():
    _, oracle, points = black_box(ExactContext(), 0)
    assert leaving(oracle, whole_space(INPUTS), points, np.random.default_rng(0)) == []
    assert oracle.count.verify == 0


def test_the_last_direction_makes_it_the_whole_space():
    network = he((3, 3, 3, 1), 4).exact()
    oracle = CountingOracle(ExactNetworkOracle(network), ExactContext())
    narrow = InputSlice(3, (0, 2), object_matrix(network.weights[0])[:2])
    points = from_float64(np.random.default_rng(0).integers(-8, 9, (16, 3)) / 4).rows()
    (line, *_) = leaving(oracle, narrow, points, np.random.default_rng(1))
    assert widened(oracle, narrow, line, settings_for(ExactContext())) == whole_space(3)


def test_a_network_whose_first_line_shows_too_little():
    """Gradients along its first line span 15 of the 16 dimensions of the first layer's rows."""
    network = he((40, 16, 12, 8, 6, 4, 1), 5).exact()
    options = ExtractOptions(seed=5, verify_inputs=100, verify_lines=4)
    result = extract_network(ExactNetworkOracle(network), ExactContext(), options=options)
    assert result.outcome is Outcome.COMPLETE
    assert certify(result.network, network).verdict == "identical"
