"""A run's directory: ``network.npz``, ``exact.json`` and ``report.json``, and how a network is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxtract.network.exact_file import read_exact, write_exact
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.files import load_network, save_npz
from jaxtract.network.relu_network import nearest_float64
from jaxtract.report.outcome import Extraction
from jaxtract.report.report import presentable

NETWORK, EXACT, REPORT = "network.npz", "exact.json", "report.json"


def save_run(directory: Path, extraction: Extraction, report: dict[str, Any]) -> None:
    """Write the three files; what a former run left there under the same names is replaced.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for stale in (NETWORK, EXACT):
        (directory / stale).unlink(missing_ok=True)
    if extraction.network is not None:
        network = presentable(extraction.network, extraction.context)
        save_npz(nearest_float64(network), directory / NETWORK)
        write_exact(network, directory / EXACT, prec=extraction.prec)
    (directory / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load_any(path: str) -> ExactNetwork:
    """A network from a run's directory (its ``exact.json``), an ``exact.json``, a ``.npz`` or an ``.onnx``.

    Raises:
        ValueError: nothing there, or not such a file.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"{path} does not exist; give a run's directory, an exact.json, a .npz or an .onnx")
    if place.is_dir():
        if not (place / EXACT).exists():
            raise ValueError(f"{path} holds no {EXACT}; it is not the directory of a run that found a network")
        return read_exact(place / EXACT)
    return read_exact(place) if place.suffix == ".json" else load_network(place).exact()
