"""From what the user typed to an oracle."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from jaxtract.evaluation.served import EvaluatorName
from jaxtract.network.files import load_network
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.frameworks import OnnxRuntimeOracle
from jaxtract.oracle.http import HttpOptions, HttpOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.serve import ExactNetworkOracle, Float64NetworkOracle
from jaxtract.targets import load_target, targets


def find_oracle(
    target: str, context: str, evaluator: EvaluatorName = "auto", *, http: HttpOptions | None = None
) -> Oracle:
    """The oracle behind TARGET: a built-in name, a ``.npz``, an ``.onnx``, a URL, ``onnxruntime:FILE`` or
    ``module:callable``.

    Networks are served without rounding by this evaluator, or in float64 for the float64 context.

    Raises:
        ValueError: no such target, not what it must be, or an evaluator for an oracle that has its own.
    """
    if target in targets():
        return _serve(load_target(target), context, evaluator)
    if target.startswith(("http://", "https://")):
        _only_auto(evaluator, "a server")
        return HttpOracle(target, options=http)
    if target.startswith("onnxruntime:"):
        _only_auto(evaluator, "ONNX Runtime")
        return OnnxRuntimeOracle(target.removeprefix("onnxruntime:"))
    if Path(target).suffix in (".npz", ".onnx"):
        if not Path(target).exists():
            raise ValueError(f"target {target} does not exist")
        return _serve(load_network(target), context, evaluator)
    if ":" in target:
        _only_auto(evaluator, "an oracle of your own")
        return _import_oracle(*target.split(":", 1))
    raise ValueError(
        f"target {target!r} is neither a built-in name ({', '.join(sorted(targets()))}) "
        "nor a .npz or .onnx file nor a URL, onnxruntime:FILE or module:callable"
    )


def _serve(network: ReLUNetwork, context: str, evaluator: EvaluatorName) -> Oracle:
    if context == "float64":
        _only_auto(evaluator, "the float64 context")
        return Float64NetworkOracle(network)
    return ExactNetworkOracle(network, evaluator=evaluator)


def _only_auto(evaluator: EvaluatorName, case: str) -> None:
    if evaluator != "auto":
        raise ValueError(
            f"--evaluator {evaluator} says how a known network is evaluated exactly; leave it out for {case}"
        )


def _import_oracle(module: str, name: str) -> Oracle:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ValueError(f"cannot import {module!r} ({error}); run from the folder that holds it") from error
    except AttributeError as error:
        raise ValueError(f"module {module!r} has no {name!r}") from error
    oracle = found if isinstance(found, Oracle) or not callable(found) else found()
    if not isinstance(oracle, Oracle):
        raise ValueError(
            f"{module}:{name} gave a {type(oracle).__name__}; it must be an Oracle, a function decorated with "
            "jaxtract.oracle_function(inputs=..., outputs=..., number_system=...), or a function without "
            "arguments that returns an Oracle"
        )
    return oracle
