"""Models of other frameworks as oracles, held against the networks they came from and the frameworks' own answers."""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from jaxtract import (
    ExtractOptions,
    Float64NetworkOracle,
    OracleError,
    Outcome,
    ReLUNetwork,
    extract_depth_two,
    extract_network,
    float64,
    load_target,
)
from jaxtract.certificate.matching import match
from jaxtract.cli.exit_codes import BAD_INPUT
from jaxtract.cli.find_target import find_oracle
from jaxtract.cli.main import main
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.families import he
from jaxtract.network.files import save_network
from jaxtract.oracle.frameworks import OnnxRuntimeOracle, ScikitLearnOracle, TorchOracle
from jaxtract.oracle.points import scattered
from precision.balls import to_float
from precision.dyadic import from_float64

# Some tens of terms of size about 1, three layers.
ROUNDING = {"float64": 1e-13, "float32": 1e-4}


def batch(count, inputs, seed=0):
    return scattered(from_float64(np.random.default_rng(seed).standard_normal((count, inputs))))


def model_of(net, *, dtype=np.float64, rows="N", shape=None, last=None):
    """Bytes of an ONNX model: x (rows, *shape) -> logits, then the operator ``last``, if any, -> y."""
    kind = TensorProto.DOUBLE if dtype == np.float64 else TensorProto.FLOAT
    nodes, constants, name = [helper.make_node("Flatten", ["x"], ["h"], axis=1)], [], "h"
    depth = len(net.weights)
    for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        constants += [
            numpy_helper.from_array(np.asarray(weight, dtype).T.copy(), f"W{i}"),
            numpy_helper.from_array(np.asarray(bias, dtype), f"b{i}"),
        ]
        out = "logits" if i + 1 == depth else f"z{i}"
        nodes.append(helper.make_node("Gemm", [name, f"W{i}", f"b{i}"], [out]))
        if i + 1 < depth:
            nodes.append(helper.make_node("Relu", [out], [f"a{i}"]))
        name = f"a{i}"
    outputs = [helper.make_tensor_value_info("logits", kind, [rows, net.outputs])]
    if last is not None:
        nodes.append(helper.make_node(last, ["logits"], ["y"]))
        outputs.insert(0, helper.make_tensor_value_info("y", kind, [rows, net.outputs]))
    given = helper.make_tensor_value_info("x", kind, [rows, *(shape or [net.inputs])])
    graph = helper.make_graph(nodes, "net", [given], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


# --- ONNX Runtime


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "shape"), [("N", None), (1, None), (4, [2, 3]), ("N", [1, 2, 3])])
def test_onnx_runtime(precision, rows, shape):
    net = he((6, 9, 5, 2), 0)
    oracle = OnnxRuntimeOracle(model_of(net, dtype=np.dtype(precision).type, rows=rows, shape=shape))
    assert (oracle.inputs, oracle.outputs, oracle.precision, oracle.number_system) == (6, 2, precision, "float64")
    asked = batch(11, 6)
    answers = oracle.answer(asked, None)
    assert answers.dtype == np.float64 and answers.shape == (11, 2)
    np.testing.assert_allclose(answers, Float64NetworkOracle(net).answer(asked, None), atol=ROUNDING[precision], rtol=0)
    assert (answers == answers.astype(np.float32)).all() == (precision == "float32")


def test_a_network_comes_out_of_onnx_runtime():
    """One hidden layer in float64, from answers alone."""
    net = he((4, 5, 2), 0)
    result = extract_depth_two(OnnxRuntimeOracle(model_of(net)), float64())
    assert result.claim == "approximate" and result.network is not None and result.network.widths == (4, 5, 2)


def test_the_target_form(tmp_path, monkeypatch, capsys):
    """``onnxruntime:FILE`` is the session itself; the bare file is its network, served exactly."""
    monkeypatch.chdir(tmp_path)
    save_network(he((4, 5, 2), 0), Path("net.onnx"))
    assert isinstance(find_oracle("onnxruntime:net.onnx", "float64"), OnnxRuntimeOracle)
    assert main(["extract", "onnxruntime:net.onnx"]) == BAD_INPUT
    assert "choose --context float64" in capsys.readouterr().err
    assert main(["extract", "onnxruntime:no.onnx", "--context", "float64"]) == BAD_INPUT
    assert "target no.onnx does not exist" in capsys.readouterr().err
    assert main(["extract", "onnxruntime:net.onnx", "--context", "float64", "--evaluator", "flint"]) == BAD_INPUT
    assert "leave it out for ONNX Runtime" in capsys.readouterr().err


@pytest.mark.parametrize("last", ["Softmax", "Sigmoid", "Tanh"])
def test_logits_before_a_softmax(last):
    net = he((4, 5, 3), 0)
    content = model_of(net, last=last)
    with pytest.raises(ValueError, match=f"output 'y' of the model comes from {last}, which is not piecewise linear"):
        OnnxRuntimeOracle(content)
    asked = batch(5, 4)
    logits = OnnxRuntimeOracle(content, output="logits").answer(asked, None)
    np.testing.assert_allclose(logits, Float64NetworkOracle(net).answer(asked, None), atol=ROUNDING["float64"], rtol=0)
    with pytest.raises(ValueError, match="no output 'z'; choose one of y, logits"):
        OnnxRuntimeOracle(content, output="z")


def test_models_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="ONNX Runtime cannot load the model"):
        OnnxRuntimeOracle(b"hello")
    with pytest.raises(ValueError, match="does not exist"):
        OnnxRuntimeOracle(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=r"input has the shape \['N', 'd'\]"):
        OnnxRuntimeOracle(model_of(he((4, 5, 2), 0), shape=["d"]))


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.FLOAT16])
def test_models_of_other_numbers(kind):
    given = helper.make_tensor_value_info("x", kind, ["N", 2])
    out = helper.make_tensor_value_info("y", kind, ["N", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [given], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    with pytest.raises(ValueError, match=r"takes x: tensor\(.*\); it must take one tensor of float32 or float64"):
        OnnxRuntimeOracle(model.SerializeToString())


def test_answers_are_the_sessions_own():
    """Not recomputed: bit by bit what the runtime says of these points."""
    content = model_of(he((6, 9, 2), 0), dtype=np.float32)
    asked = batch(300, 6)
    (own,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(
        ["logits"], {"x": asked.to_float64().astype(np.float32)}
    )
    assert (OnnxRuntimeOracle(content).answer(asked, None) == own).all()


# --- scikit-learn


def fitted(kind, targets, dtype=np.float64, **settings):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 4)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps are enough here
        return kind(hidden_layer_sizes=(7, 5), max_iter=3, random_state=0, **settings).fit(rows, targets(rng, 60))


MODELS = {
    "one output": (MLPRegressor, lambda rng, n: rng.standard_normal(n), 1),
    "three outputs": (MLPRegressor, lambda rng, n: rng.standard_normal((n, 3)), 3),
    "two classes": (MLPClassifier, lambda rng, n: np.arange(n) % 2, 1),
    "four classes": (MLPClassifier, lambda rng, n: np.arange(n) % 4, 4),
    "three labels": (MLPClassifier, lambda rng, n: rng.integers(0, 2, (n, 3)), 3),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scikit_learn(name, dtype):
    """Regressors: their predictions. Classifiers: what softmax or the logistic function makes probabilities of."""
    kind, targets, outputs = MODELS[name]
    model = fitted(kind, targets, dtype)
    oracle = ScikitLearnOracle(model)
    assert (oracle.inputs, oracle.outputs, oracle.precision) == (4, outputs, np.dtype(dtype).name)
    asked = batch(9, 4)
    answers, rows = oracle.answer(asked, None), asked.to_float64().astype(dtype)
    if kind is MLPRegressor:
        expected = model.predict(rows).reshape(9, -1)
    else:
        expected = model.predict_proba(rows)[:, -outputs:]
        if name == "four classes":
            answers = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
        else:
            answers = 1 / (1 + np.exp(-answers))
    np.testing.assert_allclose(answers, expected, atol=ROUNDING[oracle.precision], rtol=0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MLPRegressor(), "not fitted; call fit"),
        (MLPRegressor(activation="tanh"), "activation is 'tanh'; only 'relu'"),
        ("model.pkl", "model is a str; give a fitted MLPRegressor or MLPClassifier"),
    ],
    ids=["not fitted", "tanh", "path"],
)
def test_scikit_learn_models_that_do_not_serve(model, message):
    with pytest.raises(ValueError, match=message):
        ScikitLearnOracle(model)


# --- PyTorch


def test_pytorch():
    torch = pytest.importorskip("torch")
    net = he((6, 9, 2), 0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(9, 2))
    with torch.no_grad():
        for layer, weight, bias in zip((module[0], module[3]), net.weights, net.biases, strict=True):
            layer.weight.copy_(torch.from_numpy(np.array(weight)))
            layer.bias.copy_(torch.from_numpy(np.array(bias)))
    asked = batch(9, 6)
    expected = Float64NetworkOracle(net).answer(asked, None)
    for precision in ("float32", "float64"):
        oracle = TorchOracle(module.to(getattr(torch, precision)), 6)
        assert (oracle.inputs, oracle.outputs, oracle.precision) == (6, 2, precision)
        np.testing.assert_allclose(oracle.answer(asked, None), expected, atol=ROUNDING[precision], rtol=0)
    with pytest.raises(ValueError, match="computes in float16"):
        TorchOracle(module.half(), 6)
    with pytest.raises(ValueError, match="module is a str"):
        TorchOracle("model.pt", 6)


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_a_framework_that_is_not_installed(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"{name} is not installed .*pip install {name}"):
        TorchOracle(None, 1) if name == "torch" else OnnxRuntimeOracle(b"")


def test_a_model_that_mixes_the_points_of_a_batch(monkeypatch):
    oracle = ScikitLearnOracle(fitted(*MODELS["one output"][:2]))
    monkeypatch.setattr(oracle, "_run", lambda rows: np.zeros((1, 1)))
    with pytest.raises(OracleError, match=r"gave shape \(1, 1\) for 3 points of 1 output"):
        oracle.answer(batch(3, 4), None)


def test_digits_in_onnx_runtime_in_float32():
    """The shipped network, weights and arithmetic in float32: all neurons, rows to 1e-4."""
    whole = load_target("digits")
    parts = [
        [np.asarray(x).astype(np.float32).astype(np.float64) for x in part] for part in (whole.weights, whole.biases)
    ]
    rounded = ReLUNetwork(*parts)
    oracle = OnnxRuntimeOracle(model_of(rounded, dtype=np.float32))
    assert oracle.input_bits == 24
    options = ExtractOptions(seed=3, verify_inputs=100, verify_lines=3, max_queries=60_000)
    found = extract_network(oracle, float64(), options=options)
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert found.network.widths == (64, 32, 10)
    matching = match(*(float64_scaled(canonical_form(n)) for n in (found.network, rounded.exact())))
    assert matching.unmatched == 0 and to_float(matching.error) < 1e-4
    assert found.verified.residual_bits is not None and found.verified.residual_bits >= 14
