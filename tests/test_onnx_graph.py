"""ONNX graphs with convolutions and skip connections: read as ReLU networks, and compared with ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_skips import EVERYWHERE, with_skips

from jaxtract.network.files_onnx import load_onnx, save_onnx
from jaxtract.network.structure import structure_of
from jaxtract.oracle.frameworks import OnnxRuntimeOracle
from jaxtract.oracle.points import scattered
from precision.dyadic import from_float64

RNG = np.random.default_rng(0)


def model(nodes, shape, outputs, **weights):
    """In the precision of the weights: ONNX Runtime has no convolution in float64."""
    single = any(array.dtype == np.float32 for array in weights.values())
    number = TensorProto.FLOAT if single else TensorProto.DOUBLE
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", number, ["batch", *shape])],
        [helper.make_tensor_value_info("y", number, ["batch", outputs])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def node(kind, reads, gives, **attributes):
    return helper.make_node(kind, reads.split(), [gives], gives, **attributes)


def agrees(path, tolerance=1e-9):
    """The network that is read computes what ONNX Runtime computes."""
    network, oracle = load_onnx(path), OnnxRuntimeOracle(path)
    points = RNG.standard_normal((20, network.inputs))
    expected = oracle.answer(scattered(from_float64(points)), None).astype(float)
    assert np.allclose(np.asarray(network(points)), expected, rtol=tolerance, atol=tolerance)
    return network


CONVOLUTIONS = [
    {"strides": [2, 2]},
    {"pads": [1, 1, 1, 1]},
    {"pads": [0, 1, 2, 1], "strides": [1, 2]},
    {"dilations": [2, 2]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "VALID"},
]


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
@pytest.mark.parametrize("group", [1, 2])
def test_convolutions_compute_what_onnx_runtime_does(tmp_path, attributes, group):
    kernel, bias = (RNG.standard_normal(size).astype(np.float32) for size in ((4, 2 // group, 3, 3), 4))
    nodes = [
        node("Reshape", "x image", "i"),
        node("Conv", "i K B", "c", group=group, **attributes),
        node("Relu", "c", "h"),
        node("Flatten", "h", "f"),
    ]
    image = np.array([-1, 2, 6, 6])
    sized = model([*nodes, node("Identity", "f", "y")], [72], None, K=kernel, B=bias, image=image)
    onnx.save(sized, tmp_path / "net.onnx")
    network = agrees(tmp_path / "net.onnx", 1e-4)  # sums in float32
    assert len(network.weights) == 2 and not network.skips


def test_a_residual_block(tmp_path):
    a, b, c = RNG.standard_normal((6, 5)), RNG.standard_normal((5, 5)), RNG.standard_normal((5, 3))
    nodes = [
        node("MatMul", "x A", "z1"), node("Relu", "z1", "h1"), node("MatMul", "h1 B", "z2"), node("Relu", "z2", "r"),
        node("Add", "r h1", "h2"), node("Gemm", "h2 C", "y"),
    ]  # fmt: skip
    onnx.save(model(nodes, [6], 3, A=a, B=b, C=c), tmp_path / "net.onnx")
    network = agrees(tmp_path / "net.onnx")
    assert network.widths == (6, 5, 5, 3) and list(network.skips) == [(1, 3)]
    assert np.array_equal(network.skips[1, 3], c.T)
    (skip,) = structure_of(network.exact()).skips
    assert skip.form == "as the layer"


def test_an_identity_from_the_input_and_differences(tmp_path):
    a, b, c = RNG.standard_normal((4, 6)), RNG.standard_normal((6, 4)), np.ones(4)
    nodes = [
        node("MatMul", "x A", "z1"), node("Relu", "z1", "h1"), node("MatMul", "h1 B", "z2"), node("Add", "x z2", "s"),
        node("Relu", "s", "h2"), node("Sub", "h2 x", "d"), node("Sub", "C d", "y"),
    ]  # fmt: skip
    onnx.save(model(nodes, [4], 4, A=a, B=b, C=c), tmp_path / "net.onnx")
    network = agrees(tmp_path / "net.onnx")
    assert sorted(network.skips) == [(0, 2), (0, 3)]
    assert [skip.form for skip in structure_of(network.exact()).skips] == ["identity", "identity"]


def test_networks_with_skips_are_written_and_read(tmp_path):
    network = with_skips(EVERYWHERE)
    save_onnx(network, tmp_path / "net.onnx")
    assert agrees(tmp_path / "net.onnx").exact() == network.exact()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("MaxPool", "i", "c", kernel_shape=[2, 2]), node("Conv", "c K", "y")],
            r"node 'c' \(MaxPool\) is not under",
        ),
        ([node("Conv", "i i", "y")], r"node 'y' \(Conv\) must have a constant as operand 1"),
        ([node("Conv", "x K", "y")], r"data \(72,\) and a kernel \(4, 2, 3, 3\)"),
        ([node("Conv", "i L", "y")], r"2 channels in 1 groups and a kernel \(4, 3, 3, 3\) do not fit"),
        ([node("Conv", "i K", "c"), node("Conv", "c M", "y")], "multiplies affine maps without a Relu .* has to round"),
        ([node("Conv", "i K", "c"), node("Add", "c i", "y")], r"adds tensors of shapes \(4, 4, 4\) and \(2, 6, 6\)"),
        ([node("Conv", "i K", "c"), node("Add", "c B", "y")], r"adds an array of shape \(5,\) to data of shape"),
        ([node("Conv", "i K", "c"), node("Reshape", "c image", "y")], r"reshapes \(4, 4, 4\) to \[-1, 2, 6, 6\]"),
        ([node("Conv", "i K", "c"), node("Flatten", "c", "y", axis=2)], "flattens from axis 2"),
        ([node("Conv", "nowhere K", "y")], "reads 'nowhere', which no node before it gives"),
        ([node("Conv", "i K", "c", auto_pad="SOME"), node("Relu", "c", "y")], "has auto_pad 'SOME'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, nodes, message):
    weights = {
        "K": RNG.standard_normal((4, 2, 3, 3)),
        "L": RNG.standard_normal((4, 3, 3, 3)),
        "M": RNG.standard_normal((1, 4, 2, 2)),
        "B": np.ones(5),
        "image": np.array([-1, 2, 6, 6]),
    }
    bad = model([node("Reshape", "x image", "i"), *nodes], [72], None, **weights)
    (tmp_path / "net.onnx").write_bytes(bad.SerializeToString())
    with pytest.raises(ValueError, match=message):
        load_onnx(tmp_path / "net.onnx")
