"""A function of one hidden layer, written without deciding which side of a hyperplane a neuron is on.

f(x) = sum_h c_h |w_h.x + b_h| / 2 + A x + a. Queries determine this form; how it is split into neurons,
max(0, z) = (|z| + z) / 2 or max(0, -z) = (|z| - z) / 2, is the question of signs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from flint import fmpq

from jaxtract.network.exact_network import ExactNetwork
from precision.context import Context, Number, rational_array, rational_matrix


@dataclasses.dataclass(frozen=True)
class Ridge:
    """One bend of f: the jump of its gradient across w.x + b = 0 is ``factor`` (outer) ``normal``.

    ``normal`` has shape (inputs,), its first non-zero entry is positive and its scale is the context's
    (primitive integers, bias included, or unit norm); ``factor`` has shape (outputs,).
    """

    normal: np.ndarray
    bias: Number
    factor: np.ndarray


@dataclasses.dataclass
class RidgeForm:
    """sum_h factor_h |normal_h . x + bias_h| / 2 + matrix x + constant; hyperplanes are distinct.

    Shapes: matrix (outputs, inputs), constant (outputs,).
    """

    context: Context
    ridges: list[Ridge]
    matrix: np.ndarray
    constant: np.ndarray

    @classmethod
    def zero(cls, context: Context, inputs: int, outputs: int) -> RidgeForm:
        return cls(context, [], context.zeros(outputs, inputs), context.zeros(outputs))

    @classmethod
    def of_network(cls, context: Context, network: ExactNetwork) -> RidgeForm:
        """The form of a network of one hidden layer whose hyperplanes are distinct."""
        (hidden, outer), (offsets, last) = network.weights, network.biases
        rows, biases, columns = hidden.tolist(), offsets.entries(), outer.transpose().tolist()
        ridges = [
            oriented_ridge(context, context.array(row), context.number(bias), context.array(column))
            for row, bias, column in zip(rows, biases, columns, strict=True)
        ]
        half = fmpq(1, 2)
        matrix, constant = outer * hidden * half, outer * offsets * half + last
        shape = matrix.nrows(), matrix.ncols()
        return cls(context, ridges, context.array(matrix.entries()).reshape(shape), context.array(constant.entries()))

    def add(self, ridges: Iterable[Ridge], matrix: np.ndarray, constant: np.ndarray) -> RidgeForm:
        """The sum of two forms; bends on the same hyperplane are added and vanish when they cancel."""
        merged = list(self.ridges)
        places = {self._key(ridge): i for i, ridge in enumerate(merged)}
        for ridge in ridges:
            key = self._key(ridge)
            if key in places:
                known = merged[places[key]]
                merged[places[key]] = dataclasses.replace(known, factor=known.factor + ridge.factor)
            else:
                places[key] = len(merged)
                merged.append(ridge)
        size = max((abs(x) for ridge in merged for x in ridge.factor), default=self.context.number(0))
        kept = [ridge for ridge in merged if not self._vanishes(ridge, size)]
        return RidgeForm(self.context, kept, self.matrix + matrix, self.constant + constant)

    def network(self) -> ExactNetwork:
        """The same function as a network over the rationals, all neurons on the positive side.

        The affine rest takes two neurons for every rank it has; this is the form's own shape for
        evaluation, not the recovered architecture.
        """
        normals = self.normals()
        factors = self.factors()
        rest = self.matrix - (factors.T @ normals) / self.context.number(2) if self.ridges else self.matrix
        constant = self.constant
        if self.ridges:
            constant = constant - (factors.T @ self.biases()) / self.context.number(2)
        return build_network(self.context, normals, self.biases(), factors, rest, constant)

    def normals(self) -> np.ndarray:
        """(ridges, inputs)."""
        return _stack([ridge.normal for ridge in self.ridges], self.matrix.shape[1])

    def biases(self) -> np.ndarray:
        """(ridges,)."""
        return _stack([np.array([ridge.bias], dtype=object) for ridge in self.ridges], 1)[:, 0]

    def factors(self) -> np.ndarray:
        """(ridges, outputs)."""
        return _stack([ridge.factor for ridge in self.ridges], self.matrix.shape[0])

    def _key(self, ridge: Ridge) -> tuple[int, ...]:
        if self.context.exact:
            return tuple(int(x.p) for x in (*ridge.normal, ridge.bias))
        # Rows of unit norm that agree to half the asked bits are one hyperplane as far as this context
        # can tell. A row that sits on a rounding border is at worst kept twice, which changes no value.
        assert self.context.prec is not None
        bits = self.context.prec // 2 if self.context.name == "mp" else 16
        return tuple(int(self.context.to_grid(x, bits) * (1 << bits)) for x in (*ridge.normal, ridge.bias))

    def _vanishes(self, ridge: Ridge, size: Number) -> bool:
        if self.context.exact:
            return all(x == 0 for x in ridge.factor)
        assert self.context.prec is not None
        return all(abs(x) * (1 << (self.context.prec // 2)) <= size for x in ridge.factor)


def oriented_ridge(context: Context, row: np.ndarray, bias: Number, factor: np.ndarray) -> Ridge:
    """factor |row.x + bias| in the context's scale, first non-zero weight positive."""
    if context.exact:
        whole, scale = context.normalise_row([*row, bias])
        normal, bias = whole[:-1], whole[-1]
    else:
        normal, scale = context.normalise_row(list(row))
        bias = bias / scale
    lead = max(normal, key=abs) if not context.exact else next(x for x in normal if x != 0)
    if lead < 0:
        normal, bias = -normal, -bias
    return Ridge(normal, bias, factor * scale)


def build_network(
    context: Context,
    rows: np.ndarray,
    biases: np.ndarray,
    outgoing: np.ndarray,
    rest: np.ndarray,
    constant: np.ndarray,
) -> ExactNetwork:
    """outgoing^T max(0, rows x + biases) + rest x + constant as a network of one hidden layer.

    A rest that is not zero is carried by pairs of neurons, max(0, l) - max(0, -l) = l, two for every rank.
    """
    carriers, combination = _row_basis(context, rest)
    hidden = np.concatenate([rows, carriers, -carriers])
    zero = context.zeros(2 * len(carriers))
    outer = np.concatenate([outgoing.T, combination, -combination], axis=1)
    layers = (hidden, outer, np.concatenate([biases, zero])[:, None], constant[:, None])
    inner_weight, outer_weight, inner_bias, outer_bias = (
        rational_matrix(rational_array(context, values)) for values in layers
    )
    return ExactNetwork((inner_weight, outer_weight), (inner_bias, outer_bias))


def _row_basis(context: Context, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(basis rows, combination) with combination @ basis = matrix; no rows when the matrix is zero."""
    independent: list[int] = []
    for i in range(matrix.shape[0]):
        if any(x != 0 for x in matrix[i]) and context.rank(matrix[[*independent, i]]) > len(independent):
            independent.append(i)
    basis = matrix[independent]
    if not independent:
        return basis, context.zeros(matrix.shape[0], 0)
    solution = context.solve(basis.T, matrix.T)
    assert solution is not None, "rows chosen independent must determine the combination"
    return basis, solution.T


def _stack(rows: list[np.ndarray], columns: int) -> np.ndarray:
    return np.stack(rows) if rows else np.empty((0, columns), dtype=object)
