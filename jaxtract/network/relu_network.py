"""ReLU networks in float64, as immutable PyTrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flint import fmpq_mat
from jaxtyping import Array, Float

from jaxtract._x64 import enable_x64
from jaxtract.network.exact_network import ExactNetwork, Skip, check_skips, parameter_count, rational

enable_x64()  # before the first array is made: a float64 weight would silently become float32


class ReLUNetwork(eqx.Module):
    """f(x) = A_L s(... s(A_1 x + b_1) ...) + b_L with s = max(0, .), in float64, perhaps with skips.

    ``weights[l]`` has shape (width_l, width_{l-1}), a row is a neuron; ``biases[l]`` has shape (width_l,). ``skips``
    maps (source, target) to a matrix of shape (target width, source width), layers counted as in
    ``jaxtract.network.exact_network.Skip``.

    Raises:
        ValueError: no layer, shapes that do not chain, a dtype that is not float64, NaN or infinity.
    """

    weights: tuple[Float[Array, "out in"], ...]
    biases: tuple[Float[Array, " out"], ...]
    skips: dict[tuple[int, int], Float[Array, "out in"]]

    def __init__(
        self,
        weights: Sequence[object],
        biases: Sequence[object],
        skips: Mapping[tuple[int, int], object] | None = None,
    ):
        self.weights = tuple(_float64(weight, f"weight {i}", 2) for i, weight in enumerate(weights))
        self.biases = tuple(_float64(bias, f"bias {i}", 1) for i, bias in enumerate(biases))
        self.skips = {
            (source, target): _float64(matrix, f"skip from layer {source} to layer {target}", 2)
            for (source, target), matrix in sorted((skips or {}).items())
        }

    def __check_init__(self) -> None:
        if not self.weights or len(self.weights) != len(self.biases):
            raise ValueError(
                f"a network needs as many biases as weights and at least one layer; "
                f"got {len(self.weights)} weights and {len(self.biases)} biases"
            )
        width = self.weights[0].shape[1]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.shape[1] != width:
                raise ValueError(
                    f"weight {layer} has shape {weight.shape} (rows are neurons) "
                    f"but the layer before it gives {width} numbers"
                )
            width = weight.shape[0]
            if bias.shape != (width,):
                raise ValueError(f"bias {layer} has shape {bias.shape}, expected ({width},)")
        check_skips(self.widths, [(*place, (m.shape[0], m.shape[1])) for place, m in self.skips.items()])

    @property
    def inputs(self) -> int:
        return self.weights[0].shape[1]

    @property
    def outputs(self) -> int:
        return self.weights[-1].shape[0]

    @property
    def widths(self) -> tuple[int, ...]:
        """(inputs, hidden widths ..., outputs)."""
        return (self.inputs, *(weight.shape[0] for weight in self.weights))

    @property
    def parameters(self) -> int:
        return parameter_count(self.widths) + sum(matrix.size for matrix in self.skips.values())

    def __call__(self, points: Float[Array, "batch in"]) -> Float[Array, "batch out"]:
        states = [points]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            z = states[-1] @ weight.T + bias
            for (source, target), matrix in self.skips.items():
                if target == layer:
                    z = z + states[source] @ matrix.T
            states.append(jax.nn.relu(z) if layer < len(self.weights) else z)
        return states[-1]

    def exact(self) -> ExactNetwork:
        """The same network over the rationals: every float64 is a dyadic rational."""
        return ExactNetwork(
            tuple(_rational_matrix(np.asarray(weight)) for weight in self.weights),
            tuple(_rational_matrix(np.asarray(bias)[:, None]) for bias in self.biases),
            tuple(Skip(*place, _rational_matrix(np.asarray(matrix))) for place, matrix in self.skips.items()),
        )


def nearest_float64(network: ExactNetwork) -> ReLUNetwork:
    """The network with every weight rounded to the nearest float64 (exact when it already is one).

    Raises:
        ValueError: a weight is beyond the largest float64.
    """
    return ReLUNetwork(
        [_nearest(weight) for weight in network.weights],
        [_nearest(bias)[:, 0] for bias in network.biases],
        {(skip.source, skip.target): _nearest(skip.matrix) for skip in network.skips},
    )


def _float64(array: object, name: str, dimensions: int) -> Float[Array, ...]:
    given = np.asarray(array)
    if given.dtype not in (np.float64, np.float32, np.float16) and not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"{name} has dtype {given.dtype}; give real numbers (float64, float32, integers)")
    if given.ndim != dimensions:
        raise ValueError(f"{name} has shape {given.shape}; expected {dimensions} dimension(s)")
    if np.issubdtype(given.dtype, np.integer) and np.any(given.astype(np.float64).astype(object) != given):
        raise ValueError(f"{name} holds integers beyond 2^53 that no float64 can hold")
    values = given.astype(np.float64)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} holds {int(np.sum(~np.isfinite(values)))} NaN or infinite entries")
    return jnp.asarray(values)


def _rational_matrix(values: np.ndarray) -> fmpq_mat:
    rows, columns = values.shape
    return fmpq_mat(rows, columns, [rational(float(x)) for x in values.ravel()])


def _nearest(matrix: fmpq_mat) -> np.ndarray:
    try:
        # Python's integer division rounds correctly; flint's float() does not promise to.
        numbers = [int(x.p) / int(x.q) for x in matrix.entries()]
    except OverflowError as error:
        raise ValueError("a weight is beyond the largest float64; rescale with float64_scaled first") from error
    return np.array(numbers, dtype=np.float64).reshape(matrix.nrows(), matrix.ncols())
