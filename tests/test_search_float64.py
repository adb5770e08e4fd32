"""The float64 line search against kinks computed exactly, and each pitfall of such a search with its cure."""

import itertools
import pathlib
import runpy
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import fmpq

from jaxtract.search.float64_lines import LineSearch, SearchResult, search_lines


def he_network(widths, seed):
    """Gaussian weights of variance 2 / fan-in and Gaussian biases, as NumPy pairs (A, b)."""
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return [(rng.standard_normal((n, k)) * np.sqrt(2 / k), 0.3 * rng.standard_normal(n)) for k, n in pairs]


def numpy_forward(layers):
    def forward(x):
        for A, b in layers[:-1]:
            x = np.maximum(x @ A.T + b, 0)
        A, b = layers[-1]
        return x @ A.T + b

    return forward


def jax_forward(layers):
    def forward(x):
        for A, b in layers[:-1]:
            x = jax.nn.relu(x @ A.T + b)
        A, b = layers[-1]
        return x @ A.T + b

    return forward


def gaussian_lines(lines, d, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((lines, d)), 2 * rng.standard_normal((lines, d))


def _rational(x):
    numerator, denominator = float(x).as_integer_ratio()
    return fmpq(numerator, denominator)


def exact_layers(layers):
    return [([[_rational(w) for w in row] for row in A], [_rational(c) for c in b]) for A, b in layers]


def exact_kinks(layers, p, v, left, right):
    """All visible kinks of a known network on a line, by walking from region to region in rational arithmetic.

    Returns the kinks and the slopes of the pieces as floats. In a region every pre-activation is alpha + beta t
    with dyadic alpha and beta; the next region begins at the nearest root.
    """
    p, v, t, right = [_rational(x) for x in p], [_rational(x) for x in v], _rational(left), _rational(right)

    def apply(layer, alpha, beta):
        A, b = layer
        rows = zip(A, b, strict=True)
        on = [i for i in range(len(alpha)) if alpha[i] != 0 or beta[i] != 0]
        new = [(sum((r[i] * alpha[i] for i in on), c), sum((r[i] * beta[i] for i in on), fmpq(0))) for r, c in rows]
        return [a for a, _ in new], [b for _, b in new]

    first = apply(layers[0], p, v)
    pattern, kinks, slopes = None, [], []
    while True:
        alpha, beta = first
        affine, chosen = [], []
        for depth, layer in enumerate(layers):
            if depth:
                alpha, beta = apply(layer, alpha, beta)
            if depth == len(layers) - 1:
                break
            affine.append((alpha, beta))
            # Without a pattern yet: the one at the left end.
            on = [a + b * t > 0 for a, b in zip(alpha, beta, strict=True)] if pattern is None else pattern[depth]
            chosen.append(list(on))
            alpha = [a if s else fmpq(0) for a, s in zip(alpha, on, strict=True)]
            beta = [b if s else fmpq(0) for b, s in zip(beta, on, strict=True)]
        pattern = chosen
        if slopes and slopes[-1] == beta:
            kinks.pop()
        else:
            slopes.append(beta)
        roots = [
            (-a / b, depth, i)
            for depth, (alpha, beta) in enumerate(affine)
            for i, (a, b) in enumerate(zip(alpha, beta, strict=True))
            if b != 0 and t < -a / b < right
        ]
        if not roots:
            return np.array([float(k) for k in kinks]), np.array([[float(s) for s in row] for row in slopes])
        t, depth, i = min(roots)
        pattern[depth][i] = not pattern[depth][i]
        kinks.append(t)


def compare_with_exact(layers, points, directions, found, chosen, left=-1.0, right=1.0):
    exact = exact_layers(layers)
    for i in chosen:
        kinks, slopes = exact_kinks(exact, points[i], directions[i], left, right)
        line = found.line(i)
        assert len(line.kinks) == len(kinks), f"line {i}: {len(line.kinks)} kinks found, {len(kinks)} exist"
        miss = np.abs(line.kinks - kinks)
        assert (miss <= line.errors).all(), f"line {i}: off by {(miss / line.errors).max()} stated errors"
        # A piece as short as the stated errors of its kinks has no slope to speak of.
        long = np.diff([left, *kinks, right]) > 1e-6
        size = np.abs(slopes).max()
        np.testing.assert_allclose(line.slopes[long], slopes[long], atol=1e-7 * size, rtol=0)


def hand_made(kinks, slopes, value=0.3):
    """A continuous piecewise-linear function of the first coordinate, from its kinks and slopes. NumPy or JAX."""
    kinks, jumps = np.asarray(kinks), np.diff(slopes)

    def f(x):
        t = x[:, :1]
        above = t - kinks
        return value + slopes[0] * t + (jumps * (above * (above > 0))).sum(axis=1, keepdims=True)

    return f


def on_one_line(f, left=0.0, right=1.0, *, host=True, **options):
    options = LineSearch(**({"batch": 64, "cells": 1} | options))
    return search_lines(f, np.zeros((1, 1)), np.ones((1, 1)), left, right, host=host, options=options)


NETWORKS = {
    "depth 2, one output": ((10, 30, 1), 0),
    "depth 3, three outputs": ((8, 20, 20, 3), 3),
    "depth 3, 80-40-20-1": ((80, 40, 20, 1), 4),
    "depth 6": ((8, 12, 12, 12, 12, 12, 2), 5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_same_kinks_as_exact(name):
    widths, seed = NETWORKS[name]
    layers = he_network(widths, seed)
    points, directions = gaussian_lines(40, widths[0], seed + 100)
    found = search_lines(jax_forward(layers), points, directions, options=LineSearch(batch=64))
    assert found.result is SearchResult.successful
    assert found.total_queries <= 6.5 * len(found.kinks)
    compare_with_exact(layers, points, directions, found, range(12))


@pytest.mark.slow
def test_ten_thousand_lines_find_the_exact_kinks():
    layers = he_network((80, 40, 20, 1), 7)
    points, directions = gaussian_lines(10_000, 80, 8)
    found = search_lines(jax_forward(layers), points, directions)
    compare_with_exact(layers, points, directions, found, range(0, 10_000, 100))


def test_host_oracle_gives_the_same_kinks_as_the_device():
    layers = he_network((12, 20, 10, 2), 11)
    points, directions = gaussian_lines(30, 12, 12)
    device = search_lines(jax_forward(layers), points, directions, options=LineSearch(batch=64))
    asked = []

    def count(x):
        asked.append(len(x))
        return numpy_forward(layers)(x)

    host = search_lines(count, points, directions, host=True, options=LineSearch(batch=64))
    np.testing.assert_array_equal(host.counts, device.counts)
    assert (np.abs(host.kinks - device.kinks) <= host.errors + device.errors).all()
    # Every question is counted; one more is the test of the answer's shape.
    assert sum(asked) == host.total_queries + 1


def test_outputs_of_very_different_scale():
    layers = he_network((6, 20, 2), 13)
    A, b = layers[-1]
    scale = np.array([1e-7, 1e6])
    layers[-1] = (A * scale[:, None], b * scale)
    points, directions = gaussian_lines(5, 6, 14)
    found = search_lines(jax_forward(layers), points, directions, options=LineSearch(batch=64))
    for i in range(5):
        kinks, slopes = exact_kinks(exact_layers(layers), points[i], directions[i], -1, 1)
        np.testing.assert_allclose(found.line(i).kinks, kinks, atol=1e-9, rtol=0)
        np.testing.assert_allclose(found.line(i).slopes / scale, slopes / scale, atol=1e-6, rtol=0)


def test_thousands_of_kinks_on_a_line():
    rng = np.random.default_rng(15)
    kinks = np.sort(rng.random(3000))
    f = hand_made(kinks, rng.standard_normal(3001))
    found = on_one_line(f, host=False, batch=256)
    assert found.result is SearchResult.successful
    assert len(found.kinks) == 3000
    assert (np.abs(found.kinks - kinks) <= found.errors).all()
    assert found.total_queries < 5.5 * 3000


def test_single_precision_black_box():
    """Noise of 1e-7 is measured, not assumed; kinks are placed as well as it allows."""
    kinks, slopes = np.linspace(0.05, 0.93, 12), np.tile([1.0, -1.3], 7)[:13]
    f = hand_made(kinks, slopes)
    single = on_one_line(lambda x: f(x).astype("float32").astype("float64"))
    assert 1e-9 < single.noise < 1e-6
    assert len(single.kinks) == 12
    assert (np.abs(single.kinks - kinks) <= single.errors).all()
    assert (single.errors < 1e-4).all()


# Pitfalls. The naive search is the recursion that the library's search replaces.


def naive_search(g, left, right, *, one_sided, depth=12):
    """Intersect, check both sides, split; in rational arithmetic, so that only the logic can fail.

    `one_sided`: a meeting point that is a kink gets two slopes and is recorded, else one slope straddling it.
    """
    kinks, step = [], Fraction(1, 2**30)

    def slope(t, side):
        return (g(t + side * step) - g(t)) / (side * step)

    def search(a, ya, sa, b, yb, sb, level):
        if (ya + sa * (b - a) == yb and yb - sb * (b - a) == ya) or level == 0:
            return
        t = a + (yb - sb * (b - a) - ya) / (sa - sb) if sa != sb else (a + b) / 2
        if not a < t < b:
            t = (a + b) / 2
        elif g(t - step) == ya + sa * (t - step - a) and g(t + step) == yb + sb * (t + step - b):
            kinks.append(t)
            return
        if one_sided and g(t + step) - g(t) != g(t) - g(t - step):
            kinks.append(t)
            search(a, ya, sa, t, g(t), slope(t, -1), level - 1)
            search(t, g(t), slope(t, 1), b, yb, sb, level - 1)
            return
        middle = (t, g(t), (g(t + step) - g(t - step)) / (2 * step))
        search(a, ya, sa, *middle, level - 1)
        search(*middle, b, yb, sb, level - 1)

    left, right = Fraction(left), Fraction(right)
    search(left, g(left), slope(left, 1), right, g(right), slope(right, -1), depth)
    return sorted(float(k) for k in kinks)


def _scalar(f):
    return lambda t: float(f(np.array([[t]]))[0, 0])


def test_pitfall_deep_neuron_off_around_a_shallow_kink():
    """Two outer pieces meet exactly at the middle one of three kinks."""

    def g(t, relu):
        shallow = relu(t - Fraction(17, 32))
        deep = relu(Fraction(13, 32) - t + 2 * shallow)
        return t + 3 * shallow + 2 * deep

    def f(x):
        shallow = jax.nn.relu(x[:, :1] - 17 / 32)
        deep = jax.nn.relu(13 / 32 - x[:, :1] + 2 * shallow)
        return x[:, :1] + 3 * shallow + 2 * deep

    true = [13 / 32, 17 / 32, 21 / 32]
    naive = naive_search(lambda t: g(t, lambda z: max(z, 0)), 0, 1, one_sided=False)
    assert 17 / 32 not in naive
    assert naive_search(lambda t: g(t, lambda z: max(z, 0)), 0, 1, one_sided=True) == true
    found = on_one_line(f, host=False)
    np.testing.assert_allclose(found.kinks, true, atol=1e-14)
    np.testing.assert_allclose(found.slopes[:, 0], [-1, 1, 4, 6], atol=1e-12)
    assert found.result is SearchResult.successful


def test_pitfall_bump_between_two_samples():
    """A bump that begins and ends between samples is invisible: cells cure it, and the result says how fine."""
    bump = [0.5003, 0.5013, 0.5023]
    f = hand_made([0.2, *bump, 0.8], [1.0, 2.0, 3.0, 1.0, 2.0, 1.5])
    coarse = on_one_line(f)
    np.testing.assert_allclose(coarse.kinks, [0.2, 0.8], atol=1e-12)
    assert coarse.cell_width == 1.0
    fine = on_one_line(f, cells=1000)
    np.testing.assert_allclose(fine.kinks, [0.2, *bump, 0.8], atol=1e-12)
    np.testing.assert_allclose(fine.cell_width, 1e-3)


def test_pitfall_piece_begun_at_a_known_kink():
    """A kink is known to some error only. A piece begun on it can begin on the wrong side, and is then wrong."""
    kink, estimate, step = 0.6180339, 0.6180339 - 4e-8, 1e-7
    f = hand_made([0.3, kink, 0.9], [1.0, -1.0, 2.0, 0.5])
    g = _scalar(f)

    def piece(clearance):
        at = estimate + clearance * step
        return (g(at + step) - g(at)) / step

    assert abs(piece(0) - 2.0) > 1.0
    assert abs(piece(3) - 2.0) < 1e-6
    # The same as a step of the search: the meeting point is the kink itself, and no new piece straddles it.
    shallow = hand_made([0.40625, 0.53125, 0.65625], [-1.0, 1.0, 4.0, 6.0])
    asked = []

    def watch(x):
        asked.extend(x[:, 0].tolist())
        return shallow(x)

    found = search_lines(
        watch,
        np.zeros((1, 1)),
        np.ones((1, 1)),
        0.0,
        1.0,
        host=True,
        options=LineSearch(batch=64, cells=1, noise=1e-16),
    )
    np.testing.assert_allclose(found.slopes[:, 0], [-1, 1, 4, 6], atol=1e-12)
    assert 0.53125 not in asked


def test_far_kinks_that_a_wrong_first_slope_hides():
    """Kinks between the two samples that begin a piece are found, at both ends of the line."""
    kinks = [2e-5, 0.3, 0.5, 0.99998]
    f = hand_made(kinks, [1.0, -2.0, 0.5, 3.0, -1.0])
    found = on_one_line(f)
    np.testing.assert_allclose(found.kinks, kinks, atol=1e-12)


# Capacities, limits and result codes.


def test_full_buffers_lose_nothing():
    rng = np.random.default_rng(21)
    kinks = np.sort(rng.random(200))
    f = hand_made(kinks, rng.standard_normal(201))
    usual = on_one_line(f, batch=16)
    small = on_one_line(f, batch=16, cells=50, open_capacity=8, record_capacity=3)
    for found in (usual, small):
        assert found.result is SearchResult.successful
        np.testing.assert_allclose(found.kinks, kinks, atol=1e-10)


def test_query_limit():
    f = hand_made(np.linspace(0.1, 0.9, 50) ** 2, np.random.default_rng(22).standard_normal(51))
    options = LineSearch(batch=4, cells=1, max_queries=60)
    lines = np.zeros((1, 1)), np.ones((1, 1)), 0.0, 1.0
    with pytest.raises(RuntimeError, match="max_queries"):
        search_lines(f, *lines, options=options)
    found = search_lines(f, *lines, options=options, throw=False)
    assert found.result is SearchResult.query_limit_reached
    assert len(found.clusters) and found.total_queries < 60 + 32 + 4


def test_clusters_below_the_resolution_are_reported():
    f = hand_made([0.3, 0.5, 0.5001, 0.5003, 0.7], [1.0, 2.0, -1.0, 3.0, 0.5, 1.5])
    found = on_one_line(f, resolution=1e-2)
    assert found.result is SearchResult.unresolved_clusters
    for kink in (0.3, 0.5, 0.5001, 0.5003, 0.7):
        listed = any(a <= kink <= b for a, b in found.clusters)
        assert listed or np.abs(found.kinks - kink).min() < 1e-9
    assert on_one_line(f).result is SearchResult.successful


def test_padded_and_per_line_results():
    f = hand_made([0.25, 0.75], [1.0, 2.0, 0.0])
    points, directions = np.array([[0.0], [0.5], [2.0]]), np.ones((3, 1))
    found = search_lines(f, points, directions, 0.0, np.array([1.0, 0.4, 1.0]), options=LineSearch(batch=64))
    kinks, slopes = found.padded()
    np.testing.assert_allclose(kinks, [[0.25, 0.75], [0.25, np.nan], [np.nan, np.nan]], atol=1e-14)
    np.testing.assert_allclose(slopes[:, 0, 0], [1, 2, 0], atol=1e-12)
    np.testing.assert_array_equal(np.isnan(slopes[:, :, 0]), [[0, 0, 0], [0, 0, 1], [0, 1, 1]])
    assert found.line(2).slopes.shape == (1, 1)
    assert found.queries.sum() + found.noise_queries == found.total_queries


# Bad input.

GOOD = {"points": np.zeros((2, 3)), "directions": np.ones((2, 3)), "left": -1.0, "right": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros(3)}, "points has shape"),
        ({"points": np.zeros((2, 3), np.float32)}, "points has dtype float32"),
        ({"points": np.full((2, 3), np.nan)}, "points holds NaN"),
        ({"directions": np.full((2, 3), np.inf)}, "directions holds NaN or infinite"),
        ({"directions": np.zeros((2, 3))}, "zero vector"),
        ({"directions": np.ones((1, 3))}, "directions has shape"),
        ({"left": np.nan}, "left is not finite"),
        ({"left": 2.0}, "left must lie below right"),
    ],
)
def test_bad_lines(change, message):
    arguments = GOOD | change
    with pytest.raises(ValueError, match=message):
        search_lines(lambda x: x[:, :1], *arguments.values())


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x[:, 0], "must return"),
        (lambda x: x[:1].T, "must return"),
        (lambda x: x[:, :1].astype("float32"), "float32"),
        (lambda x: x[:, :1] / 0.0 - x[:, :1] / 0.0, "NaN or infinite"),
    ],
)
def test_bad_answers(answer, message, host):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        search_lines(answer, *GOOD.values(), host=host, options=LineSearch(batch=64))


def test_answer_that_turns_nan_during_the_search():
    def f(x):
        inside = jnp.abs(x[:, :1]) < 0.6
        return jnp.where(inside, jnp.nan, jnp.abs(x[:, :1]))

    with pytest.raises(ValueError, match="NaN or infinite"):
        search_lines(f, np.zeros((1, 1)), np.ones((1, 1)), options=LineSearch(batch=64, cells=1, noise=1e-16))


@pytest.mark.parametrize("bad", [{"cells": 0}, {"noise": -1.0}, {"slope_step": 0.5}, {"resolution": 0.0}, {"batch": 0}])
def test_bad_options(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LineSearch(**bad)


def test_single_precision_mode_is_refused():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ValueError, match="jax_enable_x64"):
            search_lines(lambda x: x, *GOOD.values())
    finally:
        jax.config.update("jax_enable_x64", True)


def test_oracle_with_arrays_is_not_compiled_twice():
    traces = []

    class Network(eqx.Module):
        A: jax.Array

        def __call__(self, x):
            traces.append(1)
            return jax.nn.relu(x @ self.A).sum(axis=1, keepdims=True)

    rng = np.random.default_rng(30)
    counts = []
    for _ in range(2):
        search_lines(Network(jnp.asarray(rng.standard_normal((3, 8)))), *GOOD.values(), options=LineSearch(batch=64))
        counts.append(len(traces))
    # A second network of the same shape is only traced for the shape of its answers.
    assert counts[1] - counts[0] <= 2


def test_experiment_runs(capsys, tmp_path):
    path = pathlib.Path(__file__).parents[1] / "experiments" / "float64_line_search.py"
    runpy.run_path(str(path))["main"](["--small", "--seed", "1", "--out", str(tmp_path)])
    assert "20-10-5-1" in capsys.readouterr().out
    assert "20-10-5-1" in (tmp_path / "kinks_a_second.svg").read_text()
