"""ONNX graphs with convolutions and skip connections as ReLU networks.

Every tensor of the graph is an affine map of the input and of the activations behind the Relu nodes before it; a Relu
makes a new layer of its tensor. So branches, sums, convolutions and reshapes are all one thing: an affine map made
from others. Weights are taken over without rounding; where affine maps are multiplied or added, the products and sums
must be float64 numbers, too.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from flint import fmpq, fmpq_mat
from onnx import helper

from jaxtract.network.exact_network import rational
from jaxtract.network.relu_network import ReLUNetwork

READABLE = "Conv, Gemm, MatMul, Add, Sub, Relu, Identity, Dropout, Flatten and Reshape"


@dataclasses.dataclass(frozen=True)
class _Affine:
    """A tensor of one point: ``shape`` without the batch, and per source (0 the input) a matrix; flattened in C order.

    ``terms[k]`` has shape (size, width of source k); ``constant`` (size,).
    """

    shape: tuple[int, ...]
    terms: dict[int, np.ndarray]
    constant: np.ndarray


def is_chain(graph: onnx.GraphProto) -> bool:
    """Whether the graph needs nothing beyond what a chain of dense layers is read with."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant" and node.output}
    if any(node.op_type in ("Conv", "Sub", "Dropout") for node in graph.node):
        return False
    reads = [[name for name in node.input if name and name not in constants] for node in graph.node]
    joins = any(len(set(names)) > 1 for names in reads)
    return not (joins and any(node.op_type == "Add" for node in graph.node))


def read_graph(graph: onnx.GraphProto, constants: Mapping[str, np.ndarray]) -> ReLUNetwork:
    """The network of a graph; ``constants`` are its initializers and Constant nodes.

    Raises:
        ValueError: names the node that is no affine map or Relu of known tensors, or that needs rounding.
    """
    reader = _Reader(graph, dict(constants))
    for node in graph.node:
        if node.op_type != "Constant":
            reader.read(node)
    return reader.network(graph.output[0].name)


class _Reader:
    def __init__(self, graph: onnx.GraphProto, constants: dict[str, np.ndarray]):
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1 or len(graph.output) != 1 or graph.sparse_initializer:
            raise ValueError(
                f"the graph has inputs {[value.name for value in inputs]} and outputs "
                f"{[value.name for value in graph.output]}; expected one of each, and dense weights"
            )
        sizes = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim][1:]
        if not sizes or any(size < 1 for size in sizes):
            raise ValueError(f"input {inputs[0].name!r} has the sizes {sizes} behind the batch; fix them in the export")
        count = math.prod(sizes)
        self.constants = constants
        self.tensors = {inputs[0].name: _Affine(tuple(sizes), {0: np.eye(count)}, np.zeros(count))}
        self.layers: list[_Affine] = []

    def read(self, node: onnx.NodeProto) -> None:
        name = f"node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
        if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS or not node.output:
            raise ValueError(f"{name} is not understood; readable are {READABLE}")
        known = [x for x in node.input if x]
        missing = [x for x in known if x not in self.tensors and x not in self.constants]
        if missing:
            raise ValueError(f"{name} reads {missing[0]!r}, which no node before it gives")
        if all(x in self.constants for x in known):
            if node.op_type != "Identity":
                raise ValueError(f"{name} computes a constant; fold constants before the export")
            self.constants[node.output[0]] = self.constants[known[0]]
            return
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.tensors[node.output[0]] = _OPERATORS[node.op_type](self, node, name, attributes)

    def data(self, node: onnx.NodeProto, index: int, name: str) -> _Affine:
        if len(node.input) <= index or node.input[index] not in self.tensors:
            raise ValueError(f"{name} must read data as operand {index}, and constants as the others")
        return self.tensors[node.input[index]]

    def weights(self, node: onnx.NodeProto, index: int, name: str) -> np.ndarray:
        if len(node.input) <= index or node.input[index] not in self.constants:
            raise ValueError(
                f"{name} must have a constant as operand {index}; two results may be added, not multiplied"
            )
        array = self.constants[node.input[index]]
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} takes {node.input[index]!r} of dtype {array.dtype}; export float32 or float64")
        return array.astype(np.float64)

    def relu(self, tensor: _Affine) -> _Affine:
        self.layers.append(tensor)
        size = len(tensor.constant)
        return _Affine(tensor.shape, {len(self.layers): np.eye(size)}, np.zeros(size))

    def network(self, output: str) -> ReLUNetwork:
        if output not in self.tensors:
            raise ValueError(f"the output {output!r} is not computed from the input")
        layers = [*self.layers, self.tensors[output]]
        widths = [self.layers[0].terms[0].shape[1] if self.layers else len(layers[0].terms[0].T)]
        widths += [len(layer.constant) for layer in layers]
        weights = [layer.terms.get(k, np.zeros((widths[k + 1], widths[k]))) for k, layer in enumerate(layers)]
        skips = {
            (source, k + 1): matrix
            for k, layer in enumerate(layers)
            for source, matrix in layer.terms.items()
            if source != k and matrix.any()
        }
        return ReLUNetwork(weights, [layer.constant for layer in layers], skips)


def _conv(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    image, kernel = reader.data(node, 0, name), reader.weights(node, 1, name)
    groups = attributes.get("group", 1)
    if len(image.shape) != 3 or kernel.ndim != 4:
        raise ValueError(f"{name} has data {image.shape} and a kernel {kernel.shape}; readable are two dimensions")
    if kernel.shape[1] * groups != image.shape[0] or kernel.shape[0] % groups:
        raise ValueError(f"{name}: {image.shape[0]} channels in {groups} groups and a kernel {kernel.shape} do not fit")
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    pads = _pads(image.shape, kernel.shape, strides, dilations, attributes, name)
    matrix, sizes = _conv_matrix(image.shape, kernel, groups, strides, dilations, pads)
    if min(sizes) < 1:
        raise ValueError(f"{name} has no output: kernel {kernel.shape[2:]} over an image {image.shape[1:]}")
    found = _times(matrix, image, (kernel.shape[0], *sizes), name)
    if len(node.input) < 3 or not node.input[2]:
        return found
    bias = np.repeat(reader.weights(node, 2, name).ravel(), math.prod(sizes))
    return _plus(found, _Affine(found.shape, {}, bias), name)


def _pads(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: Any, dilations: Any, attributes: dict[str, Any], name: str
) -> list[int]:
    """(top, left, bottom, right)"""
    auto = attributes.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto in ("NOTSET", ""):
        return list(attributes.get("pads", [0] * 4))
    if auto == "VALID":
        return [0] * 4
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"{name} has auto_pad {auto!r}; readable are NOTSET, VALID, SAME_UPPER and SAME_LOWER")
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel[2:], strict=True)]
    wanted = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(shape[1:], strides, reach, strict=True)]
    less, more = [p // 2 for p in wanted], [p - p // 2 for p in wanted]
    return [*less, *more] if auto == "SAME_UPPER" else [*more, *less]


def _conv_matrix(
    shape: tuple[int, ...], kernel: np.ndarray, groups: int, strides: Any, dilations: Any, pads: list[int]
) -> tuple[np.ndarray, list[int]]:
    """A convolution as a matrix (channels * sizes, image), and the sizes (height, width) of what comes out."""
    channels, height, width = shape
    out, inner, down, right = kernel.shape
    sizes = [
        (n + pads[axis] + pads[axis + 2] - dilations[axis] * (k - 1) - 1) // strides[axis] + 1
        for axis, (n, k) in enumerate(((height, down), (width, right)))
    ]
    matrix = np.zeros((out, *(max(0, n) for n in sizes), channels, height, width))
    per_group = out // groups
    for i, j, u, v in itertools.product(*map(range, (*matrix.shape[1:3], down, right))):
        y = i * strides[0] - pads[0] + u * dilations[0]
        x = j * strides[1] - pads[1] + v * dilations[1]
        if 0 <= y < height and 0 <= x < width:
            for g in range(groups):
                own = slice(g * per_group, (g + 1) * per_group)
                matrix[own, i, j, g * inner : (g + 1) * inner, y, x] = kernel[own, :, u, v]
    return matrix.reshape(out * math.prod(matrix.shape[1:3]), -1), sizes


def _gemm(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    data, weight = reader.data(node, 0, name), reader.weights(node, 1, name)
    if attributes.get("transA", 0) or len(data.shape) != 1 or weight.ndim != 2:
        raise ValueError(f"{name} multiplies {data.shape} by {weight.shape}; export x @ W with one input per row")
    matrix = weight if attributes.get("transB", 0) else weight.T
    found = _times(_scaled(matrix, attributes.get("alpha", 1.0), name), data, (len(matrix),), name)
    if len(node.input) < 3 or not node.input[2]:
        return found
    if node.input[2] in reader.tensors:
        other = reader.tensors[node.input[2]]
        if attributes.get("beta", 1.0) != 1.0:
            raise ValueError(f"{name} scales a result by beta {attributes['beta']}; export with beta 1")
        return _plus(found, _like(other, found, name), name)
    bias = _scaled(reader.weights(node, 2, name), attributes.get("beta", 1.0), name)
    return _plus(found, _constant_like(bias, found, name), name)


def _matmul(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    del attributes
    data, weight = reader.data(node, 0, name), reader.weights(node, 1, name)
    if len(data.shape) != 1 or weight.ndim != 2:
        raise ValueError(f"{name} multiplies {data.shape} by {weight.shape}; export x @ W with one input per row")
    return _times(weight.T, data, (weight.shape[1],), name)


def _add(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    del attributes
    left, right = (reader.tensors.get(x) for x in node.input)
    if left is not None and right is not None:
        return _plus(left, _like(right, left, name), name)
    data, index = (left, 1) if left is not None else (right, 0)
    assert data is not None, "one operand is data, or the node would be a constant"
    return _plus(data, _constant_like(reader.weights(node, index, name), data, name), name)


def _sub(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    del attributes
    left, right = (
        reader.tensors[x] if x in reader.tensors else reader.weights(node, i, name) for i, x in enumerate(node.input)
    )
    if isinstance(left, np.ndarray):
        assert isinstance(right, _Affine), "one operand is data, or the node would be a constant"
        return _plus(_negative(right), _constant_like(left, right, name), name)
    if isinstance(right, np.ndarray):
        return _plus(left, _constant_like(-right, left, name), name)
    return _plus(left, _negative(_like(right, left, name)), name)


def _relu(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    del attributes
    return reader.relu(reader.data(node, 0, name))


def _same(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    del attributes
    return reader.data(node, 0, name)


def _flatten(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    if attributes.get("axis", 1) != 1:
        raise ValueError(f"{name} flattens from axis {attributes['axis']}; the batch is axis 0, so axis should be 1")
    data = reader.data(node, 0, name)
    return dataclasses.replace(data, shape=(len(data.constant),))


def _reshape(reader: _Reader, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> _Affine:
    del attributes
    data = reader.data(node, 0, name)
    given = reader.constants.get(node.input[1]) if len(node.input) > 1 else None
    if given is None or given.ndim != 1:
        raise ValueError(f"{name} reshapes to a computed shape; expected a constant one, the batch first")
    batch, *sizes = (int(n) for n in given)
    sizes = [data.shape[i] if n == 0 and i < len(data.shape) else n for i, n in enumerate(sizes)]
    total = len(data.constant)
    if sizes.count(-1) == 1:
        rest = math.prod(n for n in sizes if n != -1)
        sizes = [total // rest if n == -1 and rest else n for n in sizes]
    if batch not in (-1, 0, 1) or not sizes or any(n < 1 for n in sizes) or math.prod(sizes) != total:
        raise ValueError(
            f"{name} reshapes {data.shape} to {given.tolist()}; the batch must stay, with {total} numbers each"
        )
    return dataclasses.replace(data, shape=tuple(sizes))


_OPERATORS = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Sub": _sub,
    "Relu": _relu,
    "Identity": _same,
    "Dropout": _same,
    "Flatten": _flatten,
    "Reshape": _reshape,
}


# -- affine maps --


def _times(matrix: np.ndarray, data: _Affine, shape: tuple[int, ...], name: str) -> _Affine:
    if matrix.shape[1] != len(data.constant):
        raise ValueError(f"{name} multiplies {len(data.constant)} numbers by a matrix of shape {matrix.T.shape}")
    terms = {source: _product(matrix, term, name) for source, term in data.terms.items()}
    constant = _product(matrix, data.constant[:, None], name)[:, 0] if data.constant.any() else np.zeros(len(matrix))
    return _Affine(shape, terms, constant)


def _plus(left: _Affine, right: _Affine, name: str) -> _Affine:
    terms = dict(left.terms)
    for source, term in right.terms.items():
        terms[source] = _sum(terms[source], term, name) if source in terms else term
    return _Affine(left.shape, terms, _sum(left.constant, right.constant, name))


def _negative(data: _Affine) -> _Affine:
    return _Affine(data.shape, {source: -term for source, term in data.terms.items()}, -data.constant)


def _like(data: _Affine, other: _Affine, name: str) -> _Affine:
    if data.shape != other.shape:
        raise ValueError(f"{name} adds tensors of shapes {other.shape} and {data.shape}; they must be equal")
    return data


def _constant_like(array: np.ndarray, data: _Affine, name: str) -> _Affine:
    """A constant broadcast as ONNX does, the batch being the first dimension of the data."""
    try:
        spread = np.broadcast_to(array, (1, *data.shape))
    except ValueError as error:
        raise ValueError(f"{name} adds an array of shape {array.shape} to data of shape {data.shape}") from error
    return _Affine(data.shape, {}, spread.ravel())


def _product(matrix: np.ndarray, term: np.ndarray, name: str) -> np.ndarray:
    """matrix @ term. Raises ValueError where float64 would have to round."""
    if term.shape[0] == term.shape[1] and np.array_equal(term, np.eye(len(term))):
        return matrix
    if _is_selection(matrix) or _is_selection(term.T):
        return matrix @ term  # every sum has one term that is not zero, times 1
    exact = _rationals(matrix) * _rationals(term)
    return _rounded(exact.entries(), f"{name} multiplies affine maps without a Relu between").reshape(
        len(matrix), term.shape[1]
    )


def _is_selection(matrix: np.ndarray) -> bool:
    """At most one entry in every row, and that 1."""
    return bool(np.all((matrix == 0) | (matrix == 1)) and np.all(np.count_nonzero(matrix, axis=1) <= 1))


def _sum(left: np.ndarray, right: np.ndarray, name: str) -> np.ndarray:
    if not np.any((left != 0) & (right != 0)):
        return left + right
    exact = [rational(x) + rational(y) for x, y in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)]
    return _rounded(exact, f"{name} adds two affine maps").reshape(left.shape)


def _scaled(values: np.ndarray, factor: float, name: str) -> np.ndarray:
    if factor == 1.0:
        return values
    exact = [rational(factor) * rational(x) for x in values.ravel().tolist()]
    return _rounded(exact, f"{name} scales by {factor}").reshape(values.shape)


def _rationals(matrix: np.ndarray) -> fmpq_mat:
    rows, columns = matrix.shape
    return fmpq_mat(rows, columns, [rational(x) for x in matrix.ravel().tolist()])


def _rounded(exact: list[fmpq], what: str) -> np.ndarray:
    """The numbers in float64. Raises ValueError if one of them is not a float64."""
    values = np.array([_nearest(x) for x in exact])
    if any(rational(v) != x for v, x in zip(values.tolist(), exact, strict=True)):
        raise ValueError(f"{what}, which float64 has to round; do it before the export")
    return values


def _nearest(value: fmpq) -> float:
    numerator, denominator = int(value.p), int(value.q)
    # Beyond the range of float64 any number will do that is not equal: the caller refuses it.
    return 0.0 if numerator.bit_length() - denominator.bit_length() > 1023 else numerator / denominator
