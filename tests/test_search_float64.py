"""The float64 line search against kinks computed exactly, and each pitfall of such a search with its cure."""

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
    pairs = zip(widths, widths[1:], strict=False)
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
    """A continuous piecewise-linear function of the first coordinate, from its kinks and slopes."""
    kinks, jumps = jnp.asarray(kinks), jnp.diff(jnp.asarray(slopes))

    def f(x):
        t = x[:, :1]
        return value + slopes[0] * t + jnp.sum(jumps * jax.nn.relu(t - kinks), axis=1, keepdims=True)

    return f


def on_one_line(f, left=0.0, right=1.0, **options):
    return search_lines(f, np.zeros((1, 1)), np.ones((1, 1)), left, right, options=LineSearch(**options))


NETWORKS = {
    "depth 2, one output": ((10, 30, 1), 0),
    "depth 2, seven outputs": ((12, 40, 7), 1),
    "depth 3, one output": ((10, 15, 15, 1), 2),
    "depth 3, three outputs": ((8, 20, 20, 3), 3),
    "depth 3, 80-40-20-1": ((80, 40, 20, 1), 4),
    "depth 6": ((8, 12, 12, 12, 12, 12, 2), 5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_same_kinks_as_exact(name):
    widths, seed = NETWORKS[name]
    layers = he_network(widths, seed)
    points, directions = gaussian_lines(40, widths[0], seed + 100)
    found = search_lines(jax_forward(layers), points, directions)
    assert found.result is SearchResult.successful
    compare_with_exact(layers, points, directions, found, range(12))


@pytest.mark.slow
def test_ten_thousand_lines_find_the_exact_kinks():
    layers = he_network((80, 40, 20, 1), 7)
    points, directions = gaussian_lines(10_000, 80, 8)
    found = search_lines(jax_forward(layers), points, directions)
    compare_with_exact(layers, points, directions, found, range(0, 10_000, 100))
