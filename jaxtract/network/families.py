"""Random ReLU networks by family and seed: what extraction is tried on.

Every family takes ``widths`` (inputs, hidden widths ..., outputs) and a ``seed``, and draws with NumPy's
default generator. The adversarial families start from ``he`` and spoil the first hidden layer; on
one-hidden-layer widths they are the worst cases of Chen, Klivans and Meka 2021: parallel, coincident,
cancelling, and nearly coincident neurons.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.relu_network import ReLUNetwork, nearest_float64

BIAS_STD = 0.1
"""Standard deviation of biases: small against pre-activations at Gaussian inputs, which are about 1."""

GRID_BITS = 20
"""Numbers that must add up or scale exactly are rounded to multiples of 2^-20 before."""

Network = ReLUNetwork | ExactNetwork


@dataclasses.dataclass
class _Draw:
    """A network being built: ``weights[l]`` has shape (width_l, width_{l-1}), ``biases[l]`` (width_l,)."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    rng: np.random.Generator

    @property
    def first_width(self) -> int:
        return self.weights[0].shape[0]

    def network(self) -> ReLUNetwork:
        return ReLUNetwork(self.weights, self.biases)


def he(widths: Sequence[int], seed: int, *, bias_std: float = BIAS_STD) -> ReLUNetwork:
    """Weights N(0, 2 / fan-in), biases N(0, bias_std^2) with ``bias_std`` 0.1 unless told."""
    return _he(widths, seed, bias_std).network()


def uniform(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Weights and biases uniform in (-1, 1) / sqrt(fan-in)."""
    widths, rng = _checked(widths), np.random.default_rng(seed)
    weights = [rng.uniform(-1, 1, (m, n)) / np.sqrt(n) for n, m in _fans(widths)]
    biases = [rng.uniform(-1, 1, m) / np.sqrt(n) for n, m in _fans(widths)]
    return ReLUNetwork(weights, biases)


def orthogonal(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Rows (or columns, whichever are fewer) orthonormal times sqrt(2); biases N(0, 0.1^2)."""
    draw = _he(widths, seed, BIAS_STD)
    for layer, weight in enumerate(draw.weights):
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        q, r = np.linalg.qr(tall)
        q = np.sqrt(2.0) * q * np.sign(np.diag(r))  # signs of r make the distribution the uniform one
        draw.weights[layer] = q if weight.shape[0] >= weight.shape[1] else q.T
    return draw.network()


def integer(widths: Sequence[int], seed: int, *, largest: int = 9) -> ReLUNetwork:
    """Weights and biases uniform in the integers -largest .. largest; no hidden row is all zero."""
    widths, rng = _checked(widths), np.random.default_rng(seed)
    weights = [rng.integers(-largest, largest, (m, n), endpoint=True) for n, m in _fans(widths)]
    biases = [rng.integers(-largest, largest, m, endpoint=True) for _, m in _fans(widths)]
    for weight in weights[:-1]:
        weight[~weight.any(axis=1), 0] = 1
    return ReLUNetwork(weights, biases)


def parallel(widths: Sequence[int], seed: int, *, bundle: int = 3) -> ReLUNetwork:
    """First-layer neurons in bundles of ``bundle`` parallel hyperplanes, scales and orientations mixed."""
    draw = _he_hidden(widths, seed, 2)
    weight = _on_grid(draw.weights[0])
    for h in range(draw.first_width):
        # Integer multiples of grid numbers are exact, so the hyperplanes are parallel and not nearly so.
        weight[h] = weight[h - h % bundle] * _small_integer(draw.rng) if h % bundle else weight[h]
    draw.weights[0] = weight
    draw.biases[0] = draw.rng.standard_normal(draw.first_width)
    return draw.network()


def coincident(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Neurons 2k and 2k+1 of the first layer share a hyperplane, in turn with the same and opposite sides."""
    draw = _he_hidden(widths, seed, 2)
    weight, bias = _on_grid(draw.weights[0]), _on_grid(draw.biases[0])
    for h in range(1, draw.first_width, 2):
        factor = abs(_small_integer(draw.rng)) * (1 if h % 4 == 1 else -1)
        weight[h], bias[h] = weight[h - 1] * factor, bias[h - 1] * factor
    draw.weights[0], draw.biases[0] = weight, bias
    return draw.network()


def bump(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Every second three first-layer neurons cancel outside a slab: c (s(z) - 2 s(z-1) + s(z-2))."""
    draw = _he_hidden(widths, seed, 3)
    draw.biases[0] = _on_grid(draw.biases[0])
    for h in range(0, draw.first_width - 2, 6):
        draw.weights[0][h + 1 : h + 3] = draw.weights[0][h]
        draw.biases[0][h + 1 : h + 3] = draw.biases[0][h] - np.array([1.0, 2.0])
        column = draw.weights[1][:, h]
        draw.weights[1][:, h + 1], draw.weights[1][:, h + 2] = -2 * column, column
    return draw.network()


def gap(widths: Sequence[int], seed: int, *, bits: int = 200) -> Network:
    """Pairs of first-layer neurons with the same row and biases 2^-bits apart.

    The columns of a pair are in turn equal and opposite. Returns a ``ReLUNetwork`` when float64 holds the
    biases, else an ``ExactNetwork``.
    """
    draw = _he_hidden(widths, seed, 2)
    draw.biases[0] = _on_grid(draw.biases[0])
    for h in range(1, draw.first_width, 2):
        draw.weights[0][h] = draw.weights[0][h - 1]
        draw.biases[0][h] = draw.biases[0][h - 1]
        draw.weights[1][:, h] = draw.weights[1][:, h - 1] * (1 if h % 4 == 1 else -1)
    exact = draw.network().exact()
    step = fmpq(1, 1 << bits)
    shifted = [b + step * (h % 2) for h, b in enumerate(exact.biases[0].entries())]
    biases = (fmpq_mat(len(shifted), 1, shifted), *exact.biases[1:])
    return _float64_if_exact(ExactNetwork(exact.weights, biases))


def wide_range(widths: Sequence[int], seed: int, *, orders: int = 12) -> ReLUNetwork:
    """|weights| and |biases| log-uniform over ``orders`` orders of magnitude around 1, signs random."""
    widths, rng = _checked(widths), np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return 10.0 ** rng.uniform(-orders / 2, orders / 2, shape) * rng.choice([-1.0, 1.0], shape)

    weights = [draw(m, n) for n, m in _fans(widths)]
    return ReLUNetwork(weights, [draw(m) for _, m in _fans(widths)])


def zero_rows(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Every third first-layer neuron has no weights: a constant, positive and negative in turn."""
    draw = _he_hidden(widths, seed, 1)
    draw.weights[0][::3] = 0.0
    draw.biases[0][::3] = np.abs(draw.biases[0][::3])
    draw.biases[0][3::6] *= -1
    return draw.network()


def dead(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Every second first-layer neuron is never seen near the origin, for one of three reasons in turn.

    A zero outgoing column; a boundary 2^20 row norms away, off on this side; no weights and a bias < 0.
    """
    draw = _he_hidden(widths, seed, 1)
    for count, h in enumerate(range(0, draw.first_width, 2)):
        if count % 3 == 0:
            draw.weights[1][:, h] = 0.0
        elif count % 3 == 1:
            draw.biases[0][h] = -(2.0**20) * np.linalg.norm(draw.weights[0][h])
        else:
            draw.weights[0][h], draw.biases[0][h] = 0.0, -1.0
    return draw.network()


def duplicate(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """Neurons 2k+1 of the first layer repeat neurons 2k, every other one scaled by a small integer."""
    draw = _he_hidden(widths, seed, 2)
    weight, bias = _on_grid(draw.weights[0]), _on_grid(draw.biases[0])
    for h in range(1, draw.first_width, 2):
        factor = 1 if h % 4 == 1 else abs(_small_integer(draw.rng))
        weight[h], bias[h] = weight[h - 1] * factor, bias[h - 1] * factor
    draw.weights[0], draw.biases[0] = weight, bias
    return draw.network()


def with_skips(widths: Sequence[int], seed: int, places: Sequence[tuple[int, int]]) -> ReLUNetwork:
    """``he`` with dense skip connections N(0, 1 / width of the source) at ``places``, (source, target) layers."""
    widths, dense, rng = _checked(widths), he(widths, seed), np.random.default_rng((seed, 1))
    skips = {(s, t): rng.standard_normal((widths[t], widths[s])) / np.sqrt(widths[s]) for s, t in places}
    return ReLUNetwork(dense.weights, dense.biases, skips)


def residual(widths: Sequence[int], seed: int) -> ReLUNetwork:
    """``he`` with h_1 = s(z_1) and h_l = h_{l-1} + s(z_l) from the second hidden layer on: residual blocks.

    As skips: what reads h_l reads the activations of all hidden layers up to l with the same matrix.

    Raises:
        ValueError: the hidden widths are not equal.
    """
    widths, dense = _checked(widths), he(widths, seed)
    if len(set(widths[1:-1])) > 1:
        raise ValueError(f"widths {tuple(widths)}: a residual block adds layers of equal width")
    skips = {(s, t): dense.weights[t - 1] for t in range(3, len(widths)) for s in range(1, t - 1)}
    return ReLUNetwork(dense.weights, dense.biases, skips)


FAMILIES: dict[str, Callable[[Sequence[int], int], Network]] = {
    "he": he,
    "uniform": uniform,
    "orthogonal": orthogonal,
    "integer": integer,
    "parallel": parallel,
    "coincident": coincident,
    "bump": bump,
    "gap": gap,
    "wide-range": wide_range,
    "zero-rows": zero_rows,
    "dead": dead,
    "duplicate": duplicate,
}


def exact_network(network: Network) -> ExactNetwork:
    """A network of either kind over the rationals."""
    return network if isinstance(network, ExactNetwork) else network.exact()


def _he(widths: Sequence[int], seed: int, bias_std: float) -> _Draw:
    widths, rng = _checked(widths), np.random.default_rng(seed)
    weights = [rng.standard_normal((m, n)) * np.sqrt(2.0 / n) for n, m in _fans(widths)]
    return _Draw(weights, [rng.standard_normal(m) * bias_std for _, m in _fans(widths)], rng)


def _he_hidden(widths: Sequence[int], seed: int, least: int) -> _Draw:
    if len(_checked(widths)) < 3 or widths[1] < least:
        raise ValueError(
            f"widths {tuple(widths)}: this family spoils the first hidden layer; "
            f"give (inputs, hidden widths ..., outputs) with a first hidden width of at least {least}"
        )
    return _he(widths, seed, BIAS_STD)


def _checked(widths: Sequence[int]) -> tuple[int, ...]:
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise ValueError(f"widths {tuple(widths)}: give (inputs, hidden widths ..., outputs), all of them at least 1")
    return tuple(widths)


def _fans(widths: Sequence[int]) -> list[tuple[int, int]]:
    """(fan-in, fan-out) of every layer."""
    return list(itertools.pairwise(widths))


def _on_grid(values: np.ndarray) -> np.ndarray:
    return np.round(values * 2.0**GRID_BITS) / 2.0**GRID_BITS


def _small_integer(rng: np.random.Generator) -> int:
    return int(rng.integers(2, 8)) * int(rng.choice([-1, 1]))


def _float64_if_exact(network: ExactNetwork) -> Network:
    rounded = nearest_float64(network)
    return rounded if rounded.exact() == network else network
