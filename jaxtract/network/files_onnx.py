"""ONNX files of ReLU networks: chains of Gemm or MatMul + Add with Relu between; other graphs go to ``onnx_graph``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from flint import fmpq
from google.protobuf.message import DecodeError
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from jaxtract.network.exact_network import rational
from jaxtract.network.onnx_graph import is_chain, read_graph
from jaxtract.network.relu_network import ReLUNetwork

OPSET = 13
"""Operator set that is written: its Gemm and Relu take doubles, and every current runtime reads it."""

IR_VERSION = 8

_NUMBERS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_READABLE = "Gemm, MatMul, Add, Relu, Identity, Flatten and Reshape to two dimensions"

Layer = tuple[Float[np.ndarray, "in out"], Float[np.ndarray, " out"]]
"""x @ weight + bias."""


def load_onnx(path: str | os.PathLike[str]) -> ReLUNetwork:
    """The network that an ONNX graph computes on a batch of shape (batch, inputs).

    Weights in float32 and float64 are taken over without rounding (a Gemm with alpha or beta other than 1
    must not need rounding either). Two affine layers without a Relu between them become one. Convolutions and
    skip connections (Conv, Add of two results, branches) are read by ``jaxtract.network.onnx_graph``.

    Raises:
        ValueError: not an ONNX file, weights kept outside of it, a graph that is no ReLU network, or an
            operator that is not understood (named, with its node).
        OSError: the file cannot be opened.
    """
    path = Path(path)
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty; expected an ONNX model")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX model ({error}); export the network again") from error
    try:
        if is_chain(model.graph):
            return _read_chain(model.graph)
        constants = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = _constant(node, f"node {node.name or node.output[0]!r} (Constant)")
        return read_graph(model.graph, constants)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def save_onnx(network: ReLUNetwork, path: str | os.PathLike[str]) -> None:
    """Writes Gemm and Relu nodes in float64, input "x" of shape (batch, inputs), output "y"; skips as Gemm and Add.

    Raises:
        ValueError: the name does not end in ``.onnx``.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"{path} does not end in .onnx; give a name that does")
    nodes, constants, current = [], [], "x"
    last = len(network.weights) - 1
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        constants.append(numpy_helper.from_array(np.array(weight), f"W{index}"))
        constants.append(numpy_helper.from_array(np.array(bias), f"b{index}"))
        affine = "y" if index == last else f"z{index}"
        into = [place for place in network.skips if place[1] == index + 1]
        names = [f"{affine}.{k}" for k in range(len(into))] + [affine]
        nodes.append(
            helper.make_node("Gemm", [current, f"W{index}", f"b{index}"], [names[0]], f"gemm{index}", transB=1)
        )
        for k, (source, target) in enumerate(into):
            name = f"S{source}_{target}"
            constants.append(numpy_helper.from_array(np.array(network.skips[source, target]), name))
            read = "x" if source == 0 else f"h{source - 1}"
            nodes.append(helper.make_node("Gemm", [read, name], [f"from.{name}"], f"gemm.{name}", transB=1))
            nodes.append(helper.make_node("Add", [names[k], f"from.{name}"], [names[k + 1]], f"add.{name}"))
        if index < last:
            current = f"h{index}"
            nodes.append(helper.make_node("Relu", [affine], [current], f"relu{index}"))
    graph = helper.make_graph(
        nodes,
        "relu_network",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["batch", network.inputs])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["batch", network.outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


class _Chain:
    """What the nodes read so far compute: an affine map in the making, after finished ReLU layers."""

    def __init__(self, constants: dict[str, np.ndarray], current: str):
        self.constants = constants
        self.current = current
        self.finished: list[Layer] = []
        self.affine: Layer | None = None

    def linear(self, weight: np.ndarray, node: str) -> None:
        if weight.ndim != 2:
            raise ValueError(f"{node} multiplies by an array of shape {weight.shape}; expected two dimensions")
        width = self.width()
        if width is not None and weight.shape[0] != width:
            raise ValueError(
                f"{node} multiplies {width} numbers by a matrix of shape {weight.shape}; its first dimension "
                f"should be {width}"
            )
        layer = (weight, np.zeros(weight.shape[1]))
        self.affine = layer if self.affine is None else _composed(self.affine, layer, node)

    def shift(self, bias: np.ndarray, node: str) -> None:
        if self.affine is None:
            raise ValueError(f"{node} adds to the input, before the first Gemm or MatMul; fold it into that bias")
        weight, before = self.affine
        if bias.size not in (1, before.size) or (bias.size > 1 and bias.shape[-1] != bias.size):
            raise ValueError(
                f"{node} adds an array of shape {bias.shape} to {before.size} numbers; expected shape ({before.size},)"
            )
        added = np.broadcast_to(bias.ravel(), before.shape)
        self.affine = (weight, _exact_sum(before, added, node) if before.any() else added)

    def relu(self, node: str) -> None:
        if self.affine is None:
            if not self.finished:
                raise ValueError(f"{node} is applied to the input; put a Gemm or MatMul before it")
            return  # s(s(z)) = s(z)
        self.finished.append(self.affine)
        self.affine = None

    def width(self) -> int | None:
        """How many numbers flow here; None at the input, whose width the first matrix tells."""
        layer = self.affine or (self.finished[-1] if self.finished else None)
        return None if layer is None else layer[1].size

    def network(self) -> ReLUNetwork:
        if self.affine is None:
            if not self.finished:
                raise ValueError("the graph has no Gemm or MatMul; expected a chain of dense layers with Relu")
            # The graph ends in a Relu; in our notation the last layer has none, so an identity follows.
            width = self.finished[-1][1].size
            self.affine = (np.eye(width), np.zeros(width))
        layers = [*self.finished, self.affine]
        return ReLUNetwork([weight.T for weight, _ in layers], [bias for _, bias in layers])


def _read_chain(graph: onnx.GraphProto) -> ReLUNetwork:
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    if graph.sparse_initializer:
        raise ValueError("the graph has sparse initializers; export dense weights")
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ValueError(
            f"the graph has inputs {inputs} and outputs {[value.name for value in graph.output]}; "
            f"expected one input and one output"
        )
    chain = _Chain(constants, inputs[0])
    for node in graph.node:
        _read_node(chain, node)
    if graph.output[0].name != chain.current:
        raise ValueError(
            f"the output {graph.output[0].name!r} is not what the last node gives ({chain.current!r}); "
            f"expected a chain without branches"
        )
    return chain.network()


def _read_node(chain: _Chain, node: onnx.NodeProto) -> None:
    name = f"node {node.name or node.output[0]!r} ({node.op_type})" if node.output else f"a {node.op_type} node"
    if node.domain not in ("", "ai.onnx"):
        raise ValueError(f"{name} is of domain {node.domain!r}; readable are {_READABLE}")
    if node.op_type == "Constant":
        chain.constants[node.output[0]] = _constant(node, name)
        return
    if node.op_type == "Identity" and node.input[0] in chain.constants:
        chain.constants[node.output[0]] = chain.constants[node.input[0]]
        return
    if node.op_type not in _OPERATORS:
        raise ValueError(f"{name} is not understood; readable are {_READABLE}")
    if list(node.input).count(chain.current) != 1:
        raise ValueError(
            f"{name} reads {list(node.input)}, not the result before it ({chain.current!r}); "
            f"branches and skip connections are not readable"
        )
    _OPERATORS[node.op_type](chain, node, name)
    chain.current = node.output[0]


def _gemm(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    """Y = alpha A' B' + beta C with A' = A or A^T, B' = B or B^T, and A what flows along the chain."""
    attributes = _attributes(node)
    if node.input[0] != chain.current:
        raise ValueError(f"{name} has the data as operand B or C; export x @ W, with the data as operand A")
    if attributes.get("transA", 0) and chain.width() is not None:
        raise ValueError(f"{name} transposes the data (transA=1) within the chain; export with transA=0")
    # On the input itself transA=1 only says that a batch is given as columns: the network is the same.
    weight = _operand(chain, node.input[1], name)
    weight = weight.T if attributes.get("transB", 0) else weight
    chain.linear(_exact_product(weight, attributes.get("alpha", 1.0), name), name)
    if len(node.input) > 2 and node.input[2]:
        bias = _operand(chain, node.input[2], name)
        chain.shift(_exact_product(bias, attributes.get("beta", 1.0), name), name)


def _matmul(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    if node.input[0] != chain.current:
        raise ValueError(f"{name} multiplies from the left (W @ x); export x @ W, one input per row")
    chain.linear(_operand(chain, node.input[1], name), name)


def _add(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    other = node.input[1] if node.input[0] == chain.current else node.input[0]
    chain.shift(_operand(chain, other, name), name)


def _relu(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    chain.relu(name)


def _identity(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    return


def _flatten(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    axis = _attributes(node).get("axis", 1)
    if axis != 1:
        raise ValueError(f"{name} flattens from axis {axis}; the batch is axis 0, so axis should be 1")


def _reshape(chain: _Chain, node: onnx.NodeProto, name: str) -> None:
    shape = chain.constants.get(node.input[1]) if len(node.input) > 1 else None
    if shape is None or shape.shape != (2,):
        found = "a computed shape" if shape is None else f"shape {shape.tolist()}"
        raise ValueError(f"{name} reshapes to {found}; expected a constant shape (batch, inputs)")
    batch, features = (int(x) for x in shape)
    width = chain.width()
    keeps_rows = features in (-1, width) if width is not None else features == -1 or features > 0
    if not keeps_rows or (batch == -1 and features == -1) or batch not in (-1, 0, 1):
        raise ValueError(
            f"{name} reshapes to ({batch}, {features}); expected (-1, {width or 'inputs'}), one row per input"
        )


_OPERATORS = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Relu": _relu,
    "Identity": _identity,
    "Flatten": _flatten,
    "Reshape": _reshape,
}


def _operand(chain: _Chain, name: str, node: str) -> np.ndarray:
    if name not in chain.constants:
        raise ValueError(f"{node} takes {name!r}, which is no constant; weights must be stored in the file")
    array = chain.constants[name]
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{node} takes {name!r} of dtype {array.dtype}; export in float32 or float64")
    return array.astype(np.float64)


def _constant(node: onnx.NodeProto, name: str) -> np.ndarray:
    attributes = _attributes(node)
    if "value" in attributes:
        return _array(attributes["value"])
    for key in ("value_float", "value_floats"):
        if key in attributes:
            return np.array(attributes[key], dtype=np.float32)
    for key in ("value_int", "value_ints"):
        if key in attributes:
            return np.array(attributes[key], dtype=np.int64)
    raise ValueError(f"{name} holds {sorted(attributes)}; export dense numeric constants")


def _array(tensor: TensorProto) -> np.ndarray:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"weight {tensor.name!r} is kept in another file; save the model with all weights inside")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:  # KeyError: a data type that ONNX does not know
        raise ValueError(f"weight {tensor.name!r} cannot be read ({error}); export the network again") from error


def _attributes(node: onnx.NodeProto) -> dict:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _exact_product(values: np.ndarray, factor: float, node: str) -> np.ndarray:
    """factor * values. Raises ValueError where float64 would have to round."""
    if factor == 1.0:
        return values
    exact = [rational(factor) * rational(x) for x in values.ravel().tolist()]
    return _float64(exact, f"{node} scales by {factor}").reshape(values.shape)


def _exact_sum(left: np.ndarray, right: np.ndarray, node: str) -> np.ndarray:
    exact = [rational(x) + rational(y) for x, y in zip(left.tolist(), right.tolist(), strict=True)]
    return _float64(exact, f"{node} adds a second bias")


def _composed(first: Layer, second: Layer, node: str) -> Layer:
    """The affine layer that two affine layers without a ReLU between them make."""
    (one, two) = (ReLUNetwork([weight.T], [bias]).exact() for weight, bias in (first, second))
    what = f"{node} follows an affine layer without a Relu between and multiplies the two"
    weight = _float64((two.weights[0] * one.weights[0]).entries(), what)
    bias = _float64((two.weights[0] * one.biases[0] + two.biases[0]).entries(), what)
    return weight.reshape(second[0].shape[1], first[0].shape[0]).T, bias


def _float64(exact: list[fmpq], what: str) -> np.ndarray:
    """The numbers in float64. Raises ValueError if one of them is not a float64."""
    values = np.array([_nearest(x) for x in exact])
    for value, wanted in zip(values.tolist(), exact, strict=True):
        if rational(value) != wanted:
            raise ValueError(f"{what}, which float64 has to round; do it before the export")
    return values


def _nearest(value: fmpq) -> float:
    numerator, denominator = int(value.p), int(value.q)
    # Beyond the range of float64 any number will do that is not equal: the caller refuses it.
    return 0.0 if numerator.bit_length() - denominator.bit_length() > 1023 else numerator / denominator
