"""Networks in files: round trips are exact, and every bad file says what is wrong with it."""

import io
import itertools
import json
import pickle
import time
import zipfile

import numpy as np
import onnx
import pytest
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from jaxtract.network.exact_file import decimal_string, digits_for, read_exact, write_exact
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import gap, he
from jaxtract.network.files import load_network, save_network, save_npz
from jaxtract.network.files_onnx import load_onnx, save_onnx

GOOD = {"W0": np.ones((3, 2)), "b0": np.zeros(2), "W1": np.ones((2, 1)), "b1": np.zeros(1)}


# --- .npz and .onnx, both


@pytest.mark.parametrize("suffix", [".npz", ".onnx", ".NPZ"])
@pytest.mark.parametrize("widths", [(3, 1), (5, 4, 2), (4, 3, 3, 3, 2)])
def test_round_trips_are_bit_exact(tmp_path, suffix, widths):
    network = he(widths, 3)
    save_network(network, tmp_path / f"net{suffix}")
    assert load_network(tmp_path / f"net{suffix}").exact() == network.exact()


@pytest.mark.parametrize("name", ["net.pkl", "net.pt", "net", "exact.json"])
def test_other_extensions_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.npz or \.onnx"):
        load_network(tmp_path / name)
    with pytest.raises(ValueError, match=r"\.npz or \.onnx"):
        save_network(he((2, 1), 0), tmp_path / name)
    for save in (save_npz, save_onnx):
        with pytest.raises(ValueError, match="does not end in"):
            save(he((2, 1), 0), tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["net.npz", "net.onnx"])
def test_missing_files_are_missing(tmp_path, name):
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / name)


@pytest.mark.parametrize("name", ["net.npz", "net.onnx"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_network(tmp_path / name)


# --- .npz


def npz(tmp_path, arrays):
    np.savez(tmp_path / "net.npz", **arrays)
    return tmp_path / "net.npz"


def test_npz_means_x_times_w_plus_b(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"W0": rng.integers(-3, 3, (3, 4)), "b0": rng.integers(-3, 3, 4), "W1": rng.integers(-3, 3, (4, 2))}
    arrays["b1"] = np.array([1, -1], dtype=np.float32)
    network = load_network(npz(tmp_path, arrays))
    x = rng.integers(-3, 3, (6, 3))
    expected = np.maximum(x @ arrays["W0"] + arrays["b0"], 0) @ arrays["W1"] + arrays["b1"]
    assert network.widths == (3, 4, 2)
    assert np.asarray(network(x.astype(float))).tolist() == expected.tolist()


def without(*names):
    return {name: array for name, array in GOOD.items() if name not in names}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "found no arrays"),
        (without("W1"), "W1 is missing"),
        (without("W1", "b1") | {"W2": np.ones((2, 1)), "b2": np.zeros(1)}, "W1 is missing"),
        (without("b0"), "b0 is missing"),
        (GOOD | {"b999999999": np.zeros(1)}, "W2 is missing"),
        (GOOD | {"W01": np.zeros(1)}, "found array 'W01'"),
        (GOOD | {"layer.weight": np.zeros(1)}, "found array 'layer.weight'"),
        (GOOD | {"b0": np.zeros(3)}, r"b0 has shape \(3,\)"),
        (GOOD | {"b0": np.zeros((2, 1))}, r"b0 has shape \(2, 1\); expected 1 dimension"),
        (GOOD | {"W0": np.ones(3)}, r"W0 has shape \(3,\); expected 2 dimension"),
        (GOOD | {"W1": np.ones((1, 2))}, "transpose it"),
        (GOOD | {"W0": np.full((3, 2), np.nan)}, "W0 holds 6 NaN"),
        (GOOD | {"b1": np.array([np.inf])}, "b1 holds 1 NaN or infinite"),
        (GOOD | {"W0": np.ones((3, 2), dtype=complex)}, "W0 has dtype complex128"),
        (GOOD | {"W0": np.ones((3, 2), dtype=bool)}, "W0 has dtype bool"),
        (GOOD | {"W0": np.array([["a", "b"]] * 3)}, "W0 has dtype <U1"),
        (GOOD | {"W0": np.ones((3, 2), dtype=np.longdouble)}, "W0 has dtype"),
        (GOOD | {"W0": np.full((3, 2), 2**53 + 1)}, "no float64 can hold"),
        (GOOD | {"W0": np.array([[{"a": 1}, None]] * 3, dtype=object)}, "W0 cannot be read.*pickle are refused"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        load_network(npz(tmp_path, arrays))


class Bomb:
    """Leaves a file behind if anybody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickle_is_never_read(tmp_path):
    trap = tmp_path / "trap"
    (tmp_path / "net.npz").write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(ValueError, match=r"not a \.npz"):
        load_network(tmp_path / "net.npz")
    with pytest.raises(ValueError, match="refused"):
        load_network(npz(tmp_path, GOOD | {"W0": np.array([[Bomb(trap)]], dtype=object)}))
    assert not trap.exists()


def zipped(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return tmp_path / "net.npz"


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_npz_with_members_that_are_no_arrays(tmp_path):
    with pytest.raises(ValueError, match="W0 is not an array"):
        load_network(zipped(tmp_path, {"W0": b"hello"}))
    with pytest.raises(ValueError, match=r"found array 'readme\.txt'"):
        load_network(zipped(tmp_path, {"W0.npy": npy(np.ones((1, 1))), "readme.txt.npy": npy(np.ones(1))}))


def test_damaged_npz(tmp_path):
    half = npy(np.ones((30, 20)))[:600]
    with pytest.raises(ValueError, match="W0 cannot be read"):
        load_network(zipped(tmp_path, {"W0.npy": half}))
    with pytest.raises(ValueError, match="W0 cannot be read"):
        load_network(zipped(tmp_path, {"W0.npy": npy(np.ones((30, 20))).replace(b"(30, 20)", b"(30, 20,")}))
    header = io.BytesIO()
    shape = (10**8, 10**6)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with pytest.raises(ValueError, match="W0 cannot be read"):
        load_network(zipped(tmp_path, {"W0.npy": header.getvalue()}))
    path = npz(tmp_path, GOOD)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read"):
        load_network(path)
    path.write_bytes(npz(tmp_path, GOOD).read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"not a \.npz"):
        load_network(path)


# --- .onnx


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(tmp_path, nodes, constants, *, inputs=("x",), outputs=("y",), dimensions=(None, 2)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dimensions) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    (tmp_path / "net.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return tmp_path / "net.onnx"


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"the_{op}", **attributes)


W = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
B = np.array([1.0, -1.0, 0.5], dtype=np.float32)
V = np.array([[1.0], [-2.0], [0.25]])
STORED = [constant("W", W), constant("WT", W.T), constant("B", B), constant("V", V), constant("c", 2.0)]
STORED += [constant("shape", np.array([-1, 2])), constant("V2", np.array([[3.0]])), constant("row", B[None])]
STORED += [constant("third", np.array([1 / 3])), constant("ints", np.ones((2, 3), dtype=np.int64))]
STORED += [
    constant("thirds", np.full((2, 3), 1 / 3)),
    constant("nan", np.full((2, 3), np.nan)),
    constant("cube", np.ones((2, 2, 2))),
]
EXPECTED = ExactNetwork(
    (fmpq_mat(3, 2, [1, 4, 2, 5, 3, 6]), fmpq_mat(1, 3, [1, -2, fmpq(1, 4)])),
    (fmpq_mat(3, 1, [1, -1, fmpq(1, 2)]), fmpq_mat(1, 1, [0])),
)
TAIL = [node("Relu", "z", "h"), node("MatMul", "h V", "y")]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Gemm", "x W B", "z"), *TAIL],
        [node("Gemm", "x WT B", "z", transB=1), *TAIL],
        [node("Gemm", "x W B", "z", transA=1), *TAIL],
        [node("MatMul", "x W", "a"), node("Add", "a B", "z"), *TAIL],
        [node("MatMul", "x W", "a"), node("Add", "B a", "z"), *TAIL],
        [node("MatMul", "x W", "a"), node("Add", "a row", "z"), *TAIL],
        [node("Identity", "x", "i"), node("Flatten", "i", "f"), node("Gemm", "f W B", "z"), *TAIL],
        [node("Reshape", "x shape", "f"), node("Gemm", "f W B", "z"), *TAIL],
        [node("Identity", "W", "U"), node("Gemm", "x U B", "z"), *TAIL],
        [node("Constant", "", "U", value=constant("", W)), node("Gemm", "x U B", "z"), *TAIL],
        [
            node("Constant", "", "U", value_floats=[1.0, -1.0, 0.5]),
            node("Gemm", "x W U", "z"),
            *TAIL,
        ],
        [node("Gemm", "x W B", "z"), node("Relu", "z", "r"), node("Relu", "r", "h"), node("MatMul", "h V", "y")],
    ],
)
def test_onnx_chains_that_are_read(tmp_path, nodes):
    assert load_onnx(model(tmp_path, nodes, STORED)).exact() == EXPECTED


def test_onnx_alpha_and_beta(tmp_path):
    nodes = [node("Gemm", "x W B", "z", alpha=0.5, beta=-2.0), *TAIL]
    network = load_onnx(model(tmp_path, nodes, STORED)).exact()
    assert network.weights[0] == EXPECTED.weights[0] * fmpq(1, 2)
    assert network.biases[0] == EXPECTED.biases[0] * fmpq(-2)


def test_onnx_affine_layers_without_relu_become_one(tmp_path):
    nodes = [node("Gemm", "x W B", "a"), node("Add", "a c", "b"), node("Gemm", "b V V2", "y")]
    network = load_onnx(model(tmp_path, nodes, STORED)).exact()
    assert network.weights == (fmpq_mat(1, 2, [fmpq(-9, 4), fmpq(-9, 2)]),)
    assert network.biases == (fmpq_mat(1, 1, [3 + 3 - 2 + fmpq(5, 8)]),)


def test_onnx_ending_in_relu_gets_an_identity(tmp_path):
    network = load_onnx(model(tmp_path, [node("Gemm", "x W B", "z"), node("Relu", "z", "y")], STORED))
    assert network.widths == (2, 3, 3)
    assert network.exact()([0, 0]) == [1, 0, fmpq(1, 2)]


def test_onnx_final_reshape_keeps_the_rows(tmp_path):
    tail = [node("Relu", "z", "h"), node("MatMul", "h V", "u"), node("Reshape", "u one", "y")]
    stored = [*STORED, constant("one", np.array([-1, 1]))]
    assert load_onnx(model(tmp_path, [node("Gemm", "x W B", "z"), *tail], stored)).exact() == EXPECTED


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "is not what the last node gives|no Gemm"),
        ([node("Identity", "x", "y")], "no Gemm or MatMul"),
        ([node("Gemm", "x W B", "z"), node("Sigmoid", "z", "y")], r"node 'the_Sigmoid' \(Sigmoid\) is not understood"),
        ([node("Gemm", "x W B", "z"), node("Relu", "z", "y", domain="my.ops")], "domain 'my.ops'"),
        ([node("Gemm", "x W B", "a"), node("Gemm", "x W B", "z"), *TAIL], "branches and skip connections"),
        ([node("Gemm", "x W B", "z"), node("Add", "z z", "y")], "branches"),
        ([node("Gemm", "x W B", "z"), node("Relu", "z", "h"), node("MatMul", "h V", "u")], "the output 'y'"),
        ([node("Gemm", "WT x B", "y", transB=1)], "operand A"),
        ([node("MatMul", "WT x", "y")], "from the left"),
        ([node("Gemm", "x W B", "z"), node("Gemm", "z V", "y", transA=1)], "transposes the data"),
        ([node("Gemm", "x W B", "z"), node("MatMul", "z W", "y")], "multiplies 3 numbers"),
        ([node("MatMul", "x cube", "y")], r"shape \(2, 2, 2\)"),
        ([node("Relu", "x", "y")], "applied to the input"),
        ([node("Add", "x B", "y")], "adds to the input"),
        ([node("MatMul", "x W", "a"), node("Add", "a V", "y")], r"adds an array of shape \(3, 1\)"),
        ([node("MatMul", "x W", "a"), node("Add", "a shape", "y")], "of dtype int64"),
        ([node("MatMul", "x ints", "y")], "of dtype int64"),
        ([node("MatMul", "x nowhere", "y")], "'nowhere', which is no constant"),
        ([node("Flatten", "x", "f", axis=0), node("Gemm", "f W B", "y")], "axis 0"),
        ([node("Reshape", "x B", "f"), node("Gemm", "f W B", "y")], "shape .1.0, -1.0, 0.5."),
        ([node("Reshape", "x nowhere", "f"), node("Gemm", "f W B", "y")], "computed shape"),
        ([node("Gemm", "x W B", "z"), node("Reshape", "z shape", "y")], r"reshapes to \(-1, 2\)"),
        ([node("Gemm", "x thirds B", "y", alpha=0.1)], "float64 has to round"),
        ([node("Gemm", "x nan B", "y", alpha=0.5)], "not a rational number"),
        ([node("MatMul", "x nan", "y")], "NaN"),
        ([node("MatMul", "x W", "a"), node("Add", "a B", "b"), node("Add", "b third", "y")], "adds a second bias"),
        ([node("Constant", "", "U", value_string="a"), node("Gemm", "x U B", "y")], "dense numeric"),
    ],
)
def test_bad_onnx(tmp_path, nodes, message):
    with pytest.raises(ValueError, match=message):
        load_onnx(model(tmp_path, nodes, STORED))


def test_onnx_with_several_inputs_or_outputs(tmp_path):
    nodes = [node("Gemm", "x W B", "y")]
    with pytest.raises(ValueError, match=r"inputs \['x', 'w'\]"):
        load_onnx(model(tmp_path, nodes, STORED, inputs=("x", "w")))
    with pytest.raises(ValueError, match="one output"):
        load_onnx(model(tmp_path, nodes, STORED, outputs=("y", "z")))


def test_onnx_with_weights_outside(tmp_path):
    outside = constant("W", W)
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(ValueError, match="'W' is kept in another file"):
        load_onnx(model(tmp_path, [node("MatMul", "x W", "y")], [outside]))


def test_onnx_with_damaged_or_sparse_weights(tmp_path):
    damaged = constant("W", W)
    damaged.raw_data = damaged.raw_data[:5]
    with pytest.raises(ValueError, match="'W' cannot be read"):
        load_onnx(model(tmp_path, [node("MatMul", "x W", "y")], [damaged]))
    unknown = constant("W", W)
    unknown.data_type = 106
    with pytest.raises(ValueError, match="'W' cannot be read"):
        load_onnx(model(tmp_path, [node("MatMul", "x W", "y")], [unknown]))
    path = model(tmp_path, [node("MatMul", "x W", "y")], STORED)
    proto = onnx.load(path)
    proto.graph.sparse_initializer.add()
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match="sparse"):
        load_onnx(path)


def test_onnx_that_is_something_else(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"PK\x03\x04 this is no protobuf \xff\xff")
    with pytest.raises(ValueError, match="not an ONNX model"):
        load_onnx(tmp_path / "net.onnx")


def test_onnx_agrees_with_onnxruntime(tmp_path):
    """Their sum may be in another order: 64 terms of size 1 differ by about 64 * 2^-53."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network = he((64, 16, 16, 3), 0)
    save_onnx(network, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((20, 64))
    (theirs,) = session.run(None, {"x": x})
    assert theirs.dtype == np.float64
    assert np.max(np.abs(theirs - np.asarray(network(x)))) < 1e-13


# --- exact.json

rationals = st.fractions().map(lambda x: fmpq(x.numerator, x.denominator))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_exact_files_are_exact(tmp_path_factory, data, widths):
    def matrix(m, n):
        return fmpq_mat(m, n, data.draw(st.lists(rationals, min_size=m * n, max_size=m * n)))

    pairs = list(itertools.pairwise(widths))
    network = ExactNetwork(tuple(matrix(m, n) for n, m in pairs), tuple(matrix(m, 1) for _, m in pairs))
    path = tmp_path_factory.mktemp("exact") / "exact.json"
    write_exact(network, path)
    assert read_exact(path) == network


def test_exact_files_hold_what_float64_cannot(tmp_path):
    network = gap((3, 4, 1), 0, bits=20_000)  # denominators of 6,021 digits, beyond Python's limit for int()
    write_exact(network, tmp_path / "exact.json")
    assert read_exact(tmp_path / "exact.json") == network
    write_exact(network, tmp_path / "exact.json", prec=20_000)
    assert "." in json.loads((tmp_path / "exact.json").read_text())["layers"][0]["bias"][0]
    read_exact(tmp_path / "exact.json")


@settings(max_examples=200, deadline=None)
@given(rationals, st.integers(1, 400), st.integers(-80, 80))
def test_decimals_are_good_to_prec_bits(value, prec, shift):
    value = value * (fmpq(10**shift) if shift >= 0 else fmpq(1, 10**-shift))
    mantissa, _, exponent = decimal_string(value, digits_for(prec)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent or 0) - len(fraction)
    read = int(whole + fraction) * (fmpq(10**power) if power >= 0 else fmpq(1, 10**-power))
    assert abs(read - value) * (1 << prec) <= abs(value)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (fmpq(0), 5, "0"),
        (fmpq(1), 3, "1"),
        (fmpq(-1, 3), 3, "-3.33e-1"),
        (fmpq(2, 3), 1, "7e-1"),
        (fmpq(996, 1000), 3, "9.96e-1"),
        (fmpq(9996), 3, "1e4"),
        (fmpq(99949), 3, "9.99e4"),
        (fmpq(1, 1024), 9, "9.765625e-4"),
    ],
)
def test_decimals_written_out(value, digits, text):
    assert decimal_string(value, digits) == text


def test_reading_decimals_gives_the_rational_written(tmp_path):
    network = ExactNetwork((fmpq_mat(1, 2, [fmpq(1, 3), fmpq(-5, 8)]),), (fmpq_mat(1, 1, [fmpq(10**9)]),))
    write_exact(network, tmp_path / "exact.json", prec=10)
    read = read_exact(tmp_path / "exact.json")
    assert read.weights[0].entries() == [fmpq(33333, 100000), fmpq(-5, 8)]
    assert read.biases[0].entries() == [10**9]
    with pytest.raises(ValueError, match="prec is 0"):
        write_exact(network, tmp_path / "exact.json", prec=0)


def document(**changes):
    good = {
        "format": "jaxtract-exact-network",
        "version": 1,
        "widths": [2, 1],
        "layers": [{"weights": [["1/2", "-3"]], "bias": ["0"]}],
    }
    return json.dumps({**good, **changes})


def layers(row, bias=("0",)):
    return document(layers=[{"weights": [row], "bias": list(bias)}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1, 2]", "format is"),
        (document(format="other"), 'format is "other"'),
        (document(version=2), "version is 2; this release reads version 1"),
        (document(widths=[2]), '"widths" is'),
        (document(widths=[2, -1]), '"widths" is'),
        (document(widths="2, 1"), '"widths" is'),
        (document(widths=[2, 1, 1]), "holds 1 layers"),
        (document(widths=[2, 2]), "found 1 entries"),
        (document(widths=[3, 1]), "weights of neuron 0: found 2 entries"),
        (document(layers=None), '"layers" holds null'),
        (document(layers=["x"]), 'layer 0 is "x"'),
        (document(layers=[{"weights": [["1", "2"]]}]), "layer 0: bias: found null"),
        (document(prec="many"), '"prec" is "many"'),
        (layers(["1", 2]), "2 is not a rational"),
        (layers(["1", "0.5"]), '"0.5" is not a rational'),
        (layers(["1", " 1"]), "is not a rational"),
        (layers(["1", "1/-2"]), "is not a rational"),
        (layers(["1", "1/0"]), "denominator 0"),
        (layers(["1", "nan"]), "is not a rational"),
        (layers(["1", "x" * 1000]), r"xxx\.\.\. is not a rational"),
        (layers(["1", "2"], ["1", "2"]), "bias: found 2 entries"),
        (layers(["1", "2"], ["?"]), r"bias: \"\?\" is not"),
    ],
)
def test_bad_exact_files(tmp_path, text, message):
    (tmp_path / "exact.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_exact(tmp_path / "exact.json")


@pytest.mark.parametrize(
    ("number", "message"),
    [("1/2", "not a decimal"), ("1e9999999", "out of range"), ("1e", "not a decimal"), (".5", "not a decimal")],
)
def test_bad_decimals(tmp_path, number, message):
    layer = {"weights": [["1.5e-3", number]], "bias": ["2E+1".lower()]}
    (tmp_path / "exact.json").write_text(document(prec=64, layers=[layer]))
    with pytest.raises(ValueError, match=message):
        read_exact(tmp_path / "exact.json")


def test_exact_files_that_are_not_text(tmp_path):
    (tmp_path / "exact.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON"):
        read_exact(tmp_path / "exact.json")


def test_large_exact_files_take_about_a_second(tmp_path):
    """100,609 numbers: measured 0.2 s to write and 0.2 s to read; the limit leaves room for a slow machine."""
    network = he((784, 128, 1), 0).exact()
    start = time.perf_counter()
    write_exact(network, tmp_path / "exact.json")
    assert read_exact(tmp_path / "exact.json") == network
    assert time.perf_counter() - start < 5
