"""What spares queries where answers are doubles: few directions, one side of a step, kinks put together."""

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq

from jaxtract import CallableOracle, float64
from jaxtract.geometry.known_layers import AffineForm, KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.kinks.input_slice import whole_space
from jaxtract.layers.any_depth.kinks.pool import Pool, SearchedLine
from jaxtract.layers.any_depth.rows.met_again import _of_one_neuron
from jaxtract.layers.any_depth.signs.layer_signs import composition
from jaxtract.layers.any_depth.walk.boundary_walk import BEHIND_BITS, _told_behind
from jaxtract.layers.any_depth.walk.joint_form import JointForm
from jaxtract.layers.any_depth.walk.star import common_ratio, star_around
from jaxtract.measurement.balls import measured_profile, measuring
from jaxtract.measurement.single_steps import SPARE_AXES, checked_gradients
from jaxtract.network.families import he
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import scattered
from jaxtract.polish.gauss_newton import polish
from jaxtract.search.context_lines import search_line, settings_for
from jaxtract.search.lines import Line, LineProfile
from jaxtract.search.random_lines import gaussian_points
from precision.balls import ball, to_float
from precision.dyadic import from_float
from precision.kink import Piece

ONE = 1 << 256
WORKING = 112
"""Bits of balls around doubles."""

ROWS = np.array([[1.0, 2.0, -1.0, 0.5, 0.25, -2.0, 1.5, 0.75], [0.5, -1.0, 1.0, 2.0, -0.5, 1.0, 0.25, -1.5]])
OTHER = np.array([0.25, 1.0, -0.5, 0.75, 2.0, -1.25, 0.5, 1.0])
DIRECTION = tuple(fmpq(x, 8) for x in (8, 5, 3, -7, 6, 4, -5, 7))


def balls(values, bits=40):
    return [ball(from_float(float(x)), fmpq(1, 1 << bits)) for x in values]


def gradients(f, spans):
    """(gradients by region, queries) on a line through the origin along which f bends once, at zero."""
    counted = CountingOracle(CallableOracle(f, inputs=8, outputs=1), float64())
    asker = measuring(counted)
    line = Line((fmpq(0),) * 8, DIRECTION, 0)
    with asker.context.working():
        profile = measured_profile(asker, search_line(counted, line, settings_for(counted.context)))
        assert len(profile.kinks) == 1
        asked = counted.count.measure
        rows = [np.array([balls(row) for row in span], dtype=object) for span in spans]
        found = checked_gradients(asker, line, profile, [0, 1], [{}, {}], [rows, rows])
    return {i: [to_float(x) for x in g[0]] for i, g in found.items()}, counted.count.measure - asked


def test_a_gradient_is_told_by_as_many_queries_as_neurons_are_on():
    def f(x):
        return (np.maximum(x @ ROWS[0], 0) + x @ ROWS[1])[:, None]

    found, asked = gradients(f, [ROWS])
    assert asked == 2 * (1 + len(ROWS) + SPARE_AXES)
    side = 1 if ROWS[0] @ np.array([float(v) for v in DIRECTION]) > 0 else 0
    assert np.allclose(found[side], ROWS.sum(axis=0), atol=2.0**-30, rtol=0)
    assert np.allclose(found[1 - side], ROWS[1], atol=2.0**-30, rtol=0)


def test_a_neuron_that_a_span_lacks_is_noticed():
    """The gradient is then asked along every coordinate; a span that has it is used first."""

    def f(x):
        return (np.maximum(x @ ROWS[0], 0) + x @ OTHER)[:, None]

    for spans in ([ROWS], [ROWS, np.array([ROWS[0], OTHER])]):
        found, asked = gradients(f, spans)
        assert sorted(found) == [0, 1]
        assert sorted(round(g[4], 6) for g in found.values()) == [OTHER[4], OTHER[4] + ROWS[0][4]]
        # Either side is asked before a span is given up: its entries serve all the same.
        assert asked > 2 * (1 + len(ROWS) + SPARE_AXES)
    assert asked < 2 * (1 + 2 * 8)


def test_steps_that_leave_their_region_are_mended_alone():
    """A wall beside the line spoils steps along one coordinate: the others are asked to both sides at most."""
    # Parallel to the line: it never crosses.
    wall = 32 * np.eye(8)[4] - 64 * np.eye(8)[2]
    assert wall @ np.array([float(v) for v in DIRECTION]) == 0

    def f(x):
        return (np.maximum(x @ ROWS[0], 0) + x @ ROWS[1])[:, None]

    def spoilt(x):
        return f(x) + np.maximum(x @ wall - 1.0, 0)[:, None]

    plain, cheap = gradients(f, [])
    found, dear = gradients(spoilt, [])
    assert cheap == 2 * 9 and sorted(plain) == sorted(found) == [0, 1]
    assert cheap < dear <= 2 * (1 + 2 * 8 + 2 * 2 * 3)
    for i in (0, 1):
        assert np.allclose(plain[i], found[i], atol=2.0**-24, rtol=0)


def test_a_star_asks_between_few_axes_where_few_neurons_are_on():
    truth = 2 * ROWS[0] - ROWS[1]
    with ctx.workprec(WORKING):
        rows = np.array([balls(row) for row in ROWS], dtype=object)
        normal = truth / np.linalg.norm(truth)
        star = star_around([0] * 8, normal, [(np.eye(8)[:1], np.array([0.5]))], rows, 0)
        assert len(star.asked.steps) == 1 + 2 * (1 + len(ROWS) + SPARE_AXES)
        points = [np.array(star.asked.directions[place], dtype=object) * step / ONE for place, step in star.asked.steps]

        def form(weights):
            answers = [balls([abs(weights @ p.astype(float))], 50) for p in points]
            return star.form(np.array(answers, dtype=object), np.array([arb(0)], dtype=object))

        found = form(truth)
        assert found is not None and common_ratio([arb(float(x)) for x in truth], found.normal) is not None
        assert form(truth + OTHER) is None


def test_told_and_measured_normals_count_once():
    """Entries that follow from those measured are no further equations."""
    with ctx.workprec(WORKING):
        layers = KnownLayers([arb_mat(3, 3, [int(i == k) for i in range(3) for k in range(3)])], [[arb(0)] * 3])
        start = [np.array([True, True, False])]
        joint = JointForm(layers, start[0], 2.0)
        joint.add_normal(start, balls([1.5, -2.0, 0.0]), axes=[1, 2])
        (first, second, _) = joint.weights([1, 1, 1])
        assert abs(to_float(second) + 2) < 2.0**-30 and float(second.rad()) < 2.0**-30 < float(first.rad())
        joint.add_weight(0, arb(1.5, 2.0**-40), np.array([1, 1, 1]))
        assert float(joint.weights([1, 1, 1])[0].rad()) < 2.0**-30


def test_a_coefficient_near_zero_is_left_open():
    with ctx.workprec(WORKING):
        matrix = arb_mat([balls(ROWS[0]), balls(ROWS[1]), balls(OTHER)])
        for small, present, absent in ((0.0, {0}, {1, 2}), (2.0**-16, {0}, {2}), (2.0**-6, {0, 1}, {2})):
            gradient = np.array([balls(2 * ROWS[0] + 2 * small * ROWS[1])], dtype=object)
            found = composition(matrix, gradient)
            assert found is not None and (found.present, found.absent) == (present, absent)


@pytest.mark.parametrize(("common", "together"), [(3, False), (4, True)])
def test_kinks_of_one_neuron_are_put_together_where_enough_agrees(common, together):
    """Weights, the bias among what agrees; the scale is each row's own."""
    values = [1.5, -2.0, 0.75, 1.25, -0.5, 3.0]
    with ctx.workprec(WORKING):
        one = Row([*balls(values[:common]), *[None] * (5 - common)], balls([3.0])[0])
        other = Row([None, *balls([-2 * v for v in values[1:5]])], balls([-6.0])[0])
        both = _of_one_neuron(one, other)
        assert (both is not None) == together
        if both is not None:
            assert all(abs(to_float(w) - v) < 2.0**-30 for w, v in zip(both.weights, values, strict=False))
            wrong = Row([None, *balls([4.0, -1.5, -2.49, 1.0])], balls([-6.0])[0])
            assert _of_one_neuron(one, wrong) is None


def test_a_wall_that_is_known_roughly_is_passed_farther():
    along, here = [ONE, 0], [0, 0]
    with ctx.workprec(WORKING):
        for bits in (20, 30):
            wall = AffineForm([arb(1), arb(0)], arb(0, 2.0**-bits))
            assert bits - BEHIND_BITS - 1 <= _told_behind(wall, along, here) <= bits - BEHIND_BITS


def test_forms_of_an_image_have_their_offset_from_the_line_itself():
    """On the slice the line is known roughly: x there is +-2^-12, the form's offset all the same 2^-36."""
    with ctx.workprec(WORKING):
        counted = CountingOracle(CallableOracle(lambda x: x[:, :1], inputs=3, outputs=1), float64())
        asker = measuring(counted)
        full = Line((fmpq(1), fmpq(2), fmpq(-1)), (fmpq(1), fmpq(1, 2), fmpq(1, 4)), 0)
        whole = np.array([balls([2.0, -1.0, 4.0])], dtype=object)
        rough = tuple(arb(x, 2.0**-12) for x in (-1.0, 2.0))
        profile = _one_kink_at(fmpq(1, 2))
        image = SearchedLine(
            Line(rough, (arb(2), arb(0.5)), 0), profile, {0: whole[:, :2] * 0, 1: whole[:, :2]}, dyadic=False
        )
        pool = Pool(asker, whole_space(2).rank)
        pool.lines.append(image)
        assert pool.sighting(0, 0).form is None
        image.whole = (full, {0: whole * 0, 1: whole})
        again = Pool(asker, 2)
        again.lines.append(image)
        form = again.sighting(0, 0).form
        assert form is not None
        assert abs(to_float(form.offset) + (2 * 1.5 - 2.25 + 4 * -0.875)) < 2.0**-30 > float(form.offset.rad())


def _one_kink_at(position):
    zero = np.array([arb(0)], dtype=object)
    pieces = tuple(Piece(position + side, zero, zero, fmpq(1), arb(0)) for side in (-1, 1))
    return LineProfile(pieces, (arb(position),), (), 8)


def test_what_a_search_asked_is_not_asked_again_to_polish():
    """Of answers that are known for any reason those are used that tell the parameters."""
    network = he((6, 8, 8, 1), 3)
    asked, accuracy = [], []
    for known in (0, 1000):
        rng = np.random.default_rng(0)
        counted = CountingOracle(CallableOracle(lambda x: np.asarray(network(x)), inputs=6, outputs=1), float64())
        counted.ask(scattered(gaussian_points(known, 6, 0, rng)), "search")
        polished = polish(counted, network.exact(), rng)
        assert polished is not None and not len(polished.outliers)
        asked.append(counted.count.measure)
        accuracy.append(polished.accuracy_bits)
    assert asked[1] < asked[0] / 4
    assert min(accuracy) > 35


def test_what_a_search_asked_tells_a_network_that_lacks_a_neuron_that_is_seldom_on():
    """Where it is right nearly everywhere, and what it lacks shows at few more inputs."""
    drawn, rng = he((6, 8, 8, 1), 3), np.random.default_rng(0)
    weights, biases = ([np.array(x) for x in table] for table in (drawn.weights, drawn.biases))
    points = rng.standard_normal((20_000, 6))
    heights = np.maximum(points @ weights[0].T + biases[0], 0) @ weights[1][0]
    biases[1][0] = -np.quantile(heights, 0.95)
    network = ReLUNetwork(weights, biases)
    lacking = ReLUNetwork([weights[0], weights[1][1:], weights[2][:, 1:]], [biases[0], biases[1][1:], biases[2]])
    asked = []
    for known in (0, 1000):
        counted = CountingOracle(CallableOracle(lambda x: np.asarray(network(x)), inputs=6, outputs=1), float64())
        counted.ask(scattered(gaussian_points(known, 6, 0, np.random.default_rng(0))), "search")
        polished = polish(counted, lacking.exact(), np.random.default_rng(1))
        assert polished is not None and len(polished.outliers) and polished.accuracy_bits > 35
        asked.append(counted.count.measure)
    assert 0 < asked[1] < asked[0] / 3


def test_a_network_that_lacks_something_is_not_told_by_what_a_search_asked():
    network = he((6, 8, 8, 1), 3)
    weights = [np.array(w) for w in network.weights]
    weights[1][0] += 0.1
    changed = ReLUNetwork(weights, network.biases).exact()
    asked = []
    for known in (0, 1000):
        rng = np.random.default_rng(0)
        counted = CountingOracle(CallableOracle(lambda x: np.asarray(network(x)), inputs=6, outputs=1), float64())
        counted.ask(scattered(gaussian_points(known, 6, 0, rng)), "search")
        polish(counted, changed, np.random.default_rng(1))
        asked.append(counted.count.measure)
    assert asked[0] == asked[1]
