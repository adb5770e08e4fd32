"""Models of other frameworks as oracles: ONNX Runtime, scikit-learn, PyTorch. Each is asked in its own precision.

Models are handed over in Python, or as ``.onnx`` files; a pickle is never loaded, since loading one runs what it says.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import onnx

from jaxtract.oracle.oracle import NumberSystem, Oracle, OracleError
from jaxtract.oracle.points import PointBatch
from precision.rounded import FLOAT32_BITS, FLOAT64_BITS

Precision = Literal["float32", "float64"]

INPUT_BITS: dict[Precision, int] = {"float32": FLOAT32_BITS, "float64": FLOAT64_BITS}
"""Significand bits that a model keeps of a point."""

AT_ONCE = 4096
"""Points that a model is given together, at most."""

# Their kinks and slopes are no longer those of the network before them.
_SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Tanh", "ArgMax", "ZipMap", "Normalizer"})


class OnnxRuntimeOracle(Oracle):
    """An ONNX model run by ONNX Runtime on the CPU, in the precision of its input.

    Args:
        model: path of the file, or its bytes.
        output: name of the output that is asked; the first one by default.
        threads: of one evaluation. One keeps the order of sums, and so the answers, the same.

    Attributes:
        precision: float32 or float64; a float32 model rounds the points, too.

    Raises:
        ValueError: no such file or output, not a model of one float input with known sizes, an output behind a
            softmax or the like, or ONNX Runtime is not installed.
    """

    number_system: NumberSystem = "float64"

    def __init__(self, model: str | os.PathLike[str] | bytes, *, output: str | None = None, threads: int = 1):
        runtime = _framework("onnxruntime", "onnxruntime")
        content = model if isinstance(model, bytes) else _content(Path(model))
        self._session = _session(runtime, content, threads)
        (given, *more) = self._session.get_inputs()
        if more or given.type not in ("tensor(float)", "tensor(double)"):
            kinds = ", ".join(f"{i.name}: {i.type}" for i in (given, *more))
            raise ValueError(f"the model takes {kinds}; it must take one tensor of float32 or float64")
        self.precision: Precision = "float32" if given.type == "tensor(float)" else "float64"
        self.input_bits = INPUT_BITS[self.precision]
        self._input = given.name
        self._output = self._named(output)
        _check_last(onnx.load_model_from_string(content), self._output)
        batch, *self._shape = given.shape
        if not self._shape or any(not isinstance(n, int) for n in self._shape):
            raise ValueError(f"the model's input has the shape {given.shape}; all sizes but the first must be fixed")
        self._batch = batch if isinstance(batch, int) else None
        self.inputs = int(np.prod(self._shape))
        self.outputs = _columns(self._run, np.zeros((1, self.inputs)))

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        return _in_parts(self._run, points, self.outputs)

    def _named(self, output: str | None) -> str:
        names = [o.name for o in self._session.get_outputs()]
        if output is not None and output not in names:
            raise ValueError(f"the model has no output {output!r}; choose one of {', '.join(names)}")
        return names[0] if output is None else output

    def _run(self, rows: np.ndarray) -> np.ndarray:
        if self._batch is None:
            return self._call(rows)
        # A fixed number of points at a time; the last ones are padded with zeros.
        padded = np.zeros((-(-len(rows) // self._batch) * self._batch, self.inputs))
        padded[: len(rows)] = rows
        parts = [self._call(part) for part in padded.reshape(-1, self._batch, self.inputs)]
        return np.concatenate(parts)[: len(rows)]

    def _call(self, rows: np.ndarray) -> np.ndarray:
        (values,) = self._session.run(
            [self._output], {self._input: rows.astype(self.precision).reshape(-1, *self._shape)}
        )
        return np.asarray(values).reshape(len(rows), -1)


class ScikitLearnOracle(Oracle):
    """A fitted ``MLPRegressor`` or ``MLPClassifier`` with ReLU: what goes into its output activation.

    A classifier answers logits: one for two classes or per label, otherwise one per class. Evaluated by NumPy from
    the model's ``coefs_`` and ``intercepts_`` in their own precision.

    Args:
        model: the fitted model; files are not read, because scikit-learn stores models as pickles.

    Raises:
        ValueError: not such a model, not fitted, or another activation than ReLU.
    """

    number_system: NumberSystem = "float64"

    def __init__(self, model: Any):
        names = [kind.__name__ for kind in type(model).__mro__]
        if not {"MLPRegressor", "MLPClassifier"} & set(names):
            raise ValueError(f"model is a {type(model).__name__}; give a fitted MLPRegressor or MLPClassifier")
        if model.activation != "relu":
            raise ValueError(f"the model's activation is {model.activation!r}; only 'relu' is piecewise linear here")
        if "coefs_" not in vars(model):
            raise ValueError("the model is not fitted; call fit first")
        self._layers = [(np.array(w), np.array(b)) for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
        self.precision: Precision = "float32" if self._layers[0][0].dtype == np.float32 else "float64"
        self.input_bits = INPUT_BITS[self.precision]
        self.inputs = self._layers[0][0].shape[0]
        self.outputs = self._layers[-1][0].shape[1]

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        return _in_parts(self._run, points, self.outputs)

    def _run(self, rows: np.ndarray) -> np.ndarray:
        state = rows.astype(self.precision)
        for weight, bias in self._layers[:-1]:
            state = np.maximum(state @ weight + bias, 0)
        weight, bias = self._layers[-1]
        return state @ weight + bias


class TorchOracle(Oracle):
    """A ``torch.nn.Module``, in evaluation mode and without gradients, in the precision and on the device it is on.

    Args:
        module: maps a tensor (points, *shape) to (points, outputs).
        shape: of one point; an int for a flat one.

    Raises:
        ValueError: not a module, a precision other than float32 and float64, or PyTorch is not installed.
    """

    number_system: NumberSystem = "float64"

    def __init__(self, module: Any, shape: int | Sequence[int]):
        self._torch = _framework("torch", "torch")
        if not isinstance(module, self._torch.nn.Module):
            raise ValueError(f"module is a {type(module).__name__}; give a torch.nn.Module")
        self._module = module.eval()
        example = next(iter(module.parameters()), self._torch.zeros(0, dtype=self._torch.float64))
        self._device, precision = example.device, str(example.dtype).removeprefix("torch.")
        if precision not in ("float32", "float64"):
            raise ValueError(f"the module computes in {precision}; convert it with module.float() or module.double()")
        self.precision: Precision = "float32" if precision == "float32" else "float64"
        self.input_bits = INPUT_BITS[self.precision]
        self._shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.inputs = int(np.prod(self._shape))
        self.outputs = _columns(self._run, np.zeros((1, self.inputs)))

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        return _in_parts(self._run, points, self.outputs)

    def _run(self, rows: np.ndarray) -> np.ndarray:
        given = self._torch.from_numpy(rows.astype(self.precision)).to(self._device)
        with self._torch.no_grad():
            values = self._module(given.reshape(-1, *self._shape))
        return values.cpu().numpy().reshape(len(rows), -1)


def _framework(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{package} is not installed ({error}); pip install {package}") from error


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"target {path} does not exist; give an .onnx file")
    return path.read_bytes()


def _session(runtime: ModuleType, content: bytes, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    states = runtime.capi.onnxruntime_pybind11_state
    refusals = (states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NotImplemented)
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise ValueError(f"ONNX Runtime cannot load the model: {error}") from error


def _check_last(model: onnx.ModelProto, output: str) -> None:
    last = [node.op_type for node in model.graph.node if output in node.output]
    if last and last[0] in _SQUASHING:
        raise ValueError(
            f"output {output!r} of the model comes from {last[0]}, which is not piecewise linear; export the model "
            "with the logits before it as an output, and name that output"
        )


def _columns(run: Any, rows: np.ndarray) -> int:
    values = run(rows)
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(f"the model answers in {values.dtype}; it must answer in float32 or float64")
    return values.shape[1]


def _in_parts(run: Any, points: PointBatch, outputs: int) -> np.ndarray:
    values = np.empty((len(points), outputs))
    start = 0
    for part in points.chunks(AT_ONCE):
        answers = run(part.to_float64())
        if answers.shape != (len(part), outputs):
            raise OracleError(
                f"the model gave shape {answers.shape} for {len(part)} points of {outputs} output(s); it must treat "
                "every point of a batch by itself"
            )
        values[start : start + len(part)] = answers
        start += len(part)
    return values
