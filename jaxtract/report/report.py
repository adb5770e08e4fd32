"""The report of a run: what ``report.json`` and ``--json`` hold."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.structure import structure_of
from jaxtract.report.outcome import Extraction
from jaxtract.report.statement import statement

PACKAGES = ("jaxtract", "jax", "numpy", "python-flint", "mpmath")


def report_of(extraction: Extraction, target: str, command: str, *, evaluator: str | None = None) -> dict[str, Any]:
    """Everything about a run but the weights, ready for JSON.

    ``parameters`` counts weights and biases; ``identifiable_parameters`` leaves out one free scale per hidden
    neuron. Both are None when no network was found. ``structure`` lists skip connections and convolutions, with their
    kernels as exact rationals (``jaxtract.network.structure``). ``statement`` says in words what fresh queries showed.
    """
    network = extraction.network
    per_parameter = extraction.queries_per_parameter
    report: dict[str, Any] = {
        "target": target,
        "context": extraction.context,
        "prec": extraction.prec,
        "claim": extraction.claim,
        "outcome": extraction.outcome.name.lower(),
        "widths": None if network is None else list(network.widths),
        "parameters": None if network is None else network.parameters,
        "identifiable_parameters": None if network is None else network.identifiable_parameters,
        "structure": None if network is None else structure_of(network).as_dict(),
        "queries": extraction.queries.as_dict(),
        "queries_per_parameter": None if per_parameter is None else round(per_parameter, 4),
        "seconds": {"total": round(extraction.seconds, 3), "oracle": round(extraction.oracle_seconds, 3)},
        "evaluator": evaluator,
        "accuracy_bits": extraction.accuracy_bits,
        "verified": extraction.verified.as_dict(),
        "signs": extraction.sign_method,
        "resolution": {
            "kinks_apart": f"2^-{extraction.resolution_bits}",
            "line_reach": f"2^{extraction.reach_bits}",
            "unseen": "structure that cancels inside a piece and that no fresh input or line met",
        },
        "not_resolved": list(extraction.not_resolved),
        "seed": extraction.seed,
        "command": command,
        "versions": versions(),
    }
    return report | {"statement": statement(report)}


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def presentable(network: ExactNetwork, context: str) -> ExactNetwork:
    """The network in the form in which it is saved.

    Exact: canonical order, every neuron scaled so that float64 holds it whenever the true weights were
    float64. Otherwise as it was found, rows of unit norm: a gcd of rounded numbers means nothing.
    """
    return float64_scaled(canonical_form(network)) if context == "exact" else network
