"""Black boxes that compute in float32, or round their answers: where they are asked, and what comes out."""

from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq
from hypothesis import given
from hypothesis import strategies as st

from jaxtract import CallableOracle, DepthTwoOptions, Outcome, extract_depth_two, float64, oracle_function
from jaxtract.certificate.matching import match
from jaxtract.measurement.noise import measured_context
from jaxtract.measurement.ridge_form import Ridge, RidgeForm
from jaxtract.measurement.sightings import Sightings
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.families import he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import points_on_line
from jaxtract.oracle.record import RecordedOracle
from jaxtract.polish.fit_form import fit_form
from jaxtract.search.random_lines import position_bits, random_line
from precision.dyadic import round_to_grid

OPTIONS = {"verify_inputs": 200, "verify_lines": 5}


class InFloat32:
    """A He network and its function in float32; ``finer`` counts the points that were rounded on arrival."""

    def __init__(self, widths, seed):
        self.network = he(widths, seed)
        self.weights = [np.asarray(w).astype(np.float32).T for w in self.network.weights]
        self.biases = [np.asarray(b).astype(np.float32) for b in self.network.biases]
        self.finer = 0

    def __call__(self, points):
        x = points.astype(np.float32)
        self.finer += int(np.sum(np.any(x != points, axis=1)))
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ weight + bias, np.float32(0))
        return x @ self.weights[-1] + self.biases[-1]

    def oracle(self, **settings):
        return CallableOracle(self, inputs=self.network.inputs, outputs=self.network.outputs, **settings)

    def error(self, found):
        """The largest error of a number against the largest of its row; None where there are other neurons."""
        truth = canonical_form(self.network.exact())
        matching = match(float64_scaled(canonical_form(found)), float64_scaled(truth))
        return None if matching.unmatched else float(Fraction(int(matching.error.p), int(matching.error.q)))


@pytest.mark.parametrize(("widths", "seed"), [((5, 4, 1), 0), ((5, 4, 1), 7), ((20, 10, 1), 0), ((30, 20, 3), 1)])
@pytest.mark.parametrize("declared", [24, None])
def test_one_hidden_layer_in_float32(widths, seed, declared):
    box = InFloat32(widths, seed)
    found = extract_depth_two(box.oracle(input_bits=declared), float64(), options=DepthTwoOptions(seed=seed, **OPTIONS))
    assert found.outcome is Outcome.COMPLETE and found.claim == "approximate"
    assert found.network is not None and found.network.widths == widths
    assert box.error(found.network) < 1e-5
    assert found.accuracy_bits is not None and 4 <= found.accuracy_bits <= 24
    # What says nothing of its inputs is asked at finer ones until its noise was measured.
    assert box.finer <= (0 if declared else 80)


def test_answers_rounded_to_decimals():
    box = InFloat32((5, 4, 1), 2)
    oracle = CallableOracle(lambda x: np.round(box(x).astype(np.float64), 5), inputs=5)
    found = extract_depth_two(oracle, float64(), options=DepthTwoOptions(seed=2, **OPTIONS))
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert box.error(found.network) < 1e-3


def test_a_neuron_that_rounding_hides_is_not_invented():
    """Below the last bit of every answer: the network comes out without it, or is not called complete."""
    box = InFloat32((5, 4, 1), 0)
    box.weights[1] = box.weights[1] * np.array([[1], [1], [1], [1e-9]], dtype=np.float32)
    found = extract_depth_two(box.oracle(input_bits=24), float64(), options=DepthTwoOptions(seed=0, **OPTIONS))
    assert found.network is not None and found.network.widths == (5, 3, 1)
    assert found.outcome is Outcome.COMPLETE


def test_noise_decides_where_points_may_lie():
    box = InFloat32((5, 4, 1), 0)
    exact = he((5, 4, 1), 0)
    contexts = [
        measured_context(CountingOracle(oracle, float64()), np.random.default_rng(0))
        for oracle in (
            box.oracle(),
            box.oracle(input_bits=24),
            CallableOracle(lambda x: np.round(np.asarray(exact(x)), 4), inputs=5),
            CallableOracle(lambda x: np.asarray(exact(x)), inputs=5),
            CallableOracle(lambda x: np.asarray(exact(x)), inputs=5, input_bits=53),
        )
    ]
    assert [context.point_bits for context in contexts] == [24, 24, 24, None, None]
    assert [context.rough for context in contexts] == [True, True, True, False, False]


@given(st.integers(0, 1000), st.integers(-10, 10), st.floats(0.5, 1.0), st.integers(1, 40))
def test_points_of_lines_have_few_bits(seed, exponent, share, inputs):
    line = random_line(inputs, np.random.default_rng(seed), point_bits=24)
    position = fmpq(*(share * 2.0**exponent).as_integer_ratio())
    farthest = max(abs(x) for x in line.base) + abs(position)
    placed = round_to_grid(position, position_bits(24, 7, farthest))
    (point,) = points_on_line(line.base, line.direction, [placed]).to_float64()
    assert np.array_equal(point.astype(np.float32).astype(np.float64), point)


def test_input_bits_are_said_and_handed_on(tmp_path):
    with pytest.raises(ValueError, match="input_bits is 10; an extraction needs 24"):
        CallableOracle(lambda x: x, inputs=1, input_bits=10)
    declared = oracle_function(inputs=2, input_bits=24)(lambda x: x[:, :1])
    assert declared.input_bits == 24
    assert RecordedOracle(declared, tmp_path / "answers.sqlite").input_bits == 24
    assert CallableOracle(lambda x: x, inputs=1).input_bits is None


def ridge(context, row, bias=0.0, factor=1.0):
    row = np.asarray(row) / np.linalg.norm(row)
    return Ridge(context.array(map(float, row)), context.number(bias), context.array([factor]))


def test_sightings_of_one_hyperplane_are_one():
    context = float64()
    sightings = Sightings()
    empty = RidgeForm.zero(context, 3, 1)
    good, rough = [1.0, 2.0, -1.0], [1.0, 2.01, -1.0]
    sightings.add([ridge(context, rough), ridge(context, [0.0, 1.0, 0.0])], [1e-2, 1e-6])
    sightings.add([ridge(context, good), ridge(context, [1.0, 0.0, 0.0])], [1e-6, 1e-6])
    assert len(sightings.distinct(empty).ridges) == 3
    # Two that were taken for one are seen once; so is what only two lines of three show.
    sightings.add([ridge(context, good, 1e-7), ridge(context, good, 0.5), ridge(context, [0.0, -1.0, 0.0])], [1e-6] * 3)
    kept = sightings.distinct(empty).ridges
    assert len(kept) == 2
    normals = sorted([float(x) for x in each.normal] for each in kept)
    assert normals[1] == [float(x) for x in ridge(context, good).normal]


def test_fit_drops_hyperplanes_that_are_none():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    outer = np.array([[1.0, -2.0], [0.5, 0.25], [-1.0, 1.0]])

    def f(x):
        return np.abs(x @ rows[:3].T + 0.25) @ outer / 2 + x[:, :2] + 3.0

    counting = CountingOracle(CallableOracle(f, inputs=6, outputs=2), float64())
    counting.context = context = measured_context(counting, rng)
    form = RidgeForm.zero(context, 6, 2)
    form.ridges.extend(ridge(context, row, 0.25) for row in rows)
    fitted = fit_form(counting, form, rng)
    factors = np.array([[float(x) for x in each.factor] for each in fitted.ridges])
    assert np.allclose(factors, outer, atol=1e-12)
    assert np.allclose(fitted.matrix.astype(float), np.eye(2, 6), atol=1e-12)
    assert np.allclose(fitted.constant.astype(float), 3.0, atol=1e-12)
