"""The extremes of every layer: asked once, and again where the layers before changed or showed the same fault."""

import types
from typing import Any, cast

import numpy as np
from flint import fmpz_mat

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.whole.extremes import EXTREMES, Extremes


class Asker:
    """Counts points."""

    def __init__(self):
        self.asked = 0

    def ask(self, batch, purpose):
        assert purpose == "verify"
        self.asked += len(batch)
        return np.array([[self.asked]] * len(batch), dtype=object)


def recovery(matrices):
    """What ``Extremes`` reads of a recovery with these layers, biases 1."""
    state = types.SimpleNamespace(rng=np.random.default_rng(0), pool=types.SimpleNamespace(asker=Asker()))
    state.layers = matrices
    state.known = lambda depth: KnownLayers(
        [fmpz_mat(m) for m in state.layers[:depth]], [[1] * len(m) for m in state.layers[:depth]]
    )
    return cast(Any, state)


FIRST = [[3, 1], [-1, 2], [2, -5]]
SECOND = [[1, 2, -1], [-2, 1, 1]]


def test_layers_that_did_not_change_are_not_asked_again():
    state = recovery([FIRST, SECOND])
    extremes = Extremes(cast(Recovery, state))
    points, answers = extremes.answered()
    assert points.shape == (2 * EXTREMES, 2) and answers.shape == (2 * EXTREMES, 1)
    assert state.pool.asker.asked == 2 * EXTREMES
    state.layers = [FIRST, [*SECOND, [1, 1, 1]]]
    again, _ = extremes.answered()
    assert state.pool.asker.asked == 3 * EXTREMES
    assert np.array_equal(again[:EXTREMES], points[:EXTREMES])
    state.layers = [[*FIRST[:2], [2, -4]], SECOND]
    extremes.answered()
    assert state.pool.asker.asked == 5 * EXTREMES
    state.layers = state.layers[:1]
    assert len(extremes.answered()[0]) == EXTREMES


def test_a_layer_whose_extremes_show_a_fault_twice_gets_others():
    state = recovery([FIRST, SECOND])
    extremes = Extremes(cast(Recovery, state))
    points, _ = extremes.answered()
    wrong = np.zeros(len(points), dtype=bool)
    wrong[EXTREMES + 3] = True
    extremes.note(wrong)
    extremes.answered()
    assert state.pool.asker.asked == 2 * EXTREMES
    extremes.note(wrong)
    again, _ = extremes.answered()
    assert state.pool.asker.asked == 3 * EXTREMES
    assert np.array_equal(again[:EXTREMES], points[:EXTREMES])
    assert not np.array_equal(again[EXTREMES:], points[EXTREMES:])
    extremes.note(np.zeros(len(points), dtype=bool))
    extremes.note(wrong)
    extremes.answered()
    assert state.pool.asker.asked == 3 * EXTREMES
