"""A run's directory: ``network.npz``, ``exact.json``, ``report.json``, ``course.json``, and how they are read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtract.network.exact_file import read_exact, write_exact
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.files import load_network, save_npz
from jaxtract.network.relu_network import nearest_float64
from jaxtract.report.course import Moment, course_as_dict, course_from_dict
from jaxtract.report.outcome import Extraction
from jaxtract.report.report import presentable

NETWORK, EXACT, REPORT, COURSE = "network.npz", "exact.json", "report.json", "course.json"


def save_run(directory: Path, extraction: Extraction, report: dict[str, Any], *, course: Sequence[Moment] = ()) -> None:
    """Write the files, ``course.json`` if there is a course; what a former run left there is replaced.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for stale in (NETWORK, EXACT, COURSE):
        (directory / stale).unlink(missing_ok=True)
    if extraction.network is not None:
        network = presentable(extraction.network, extraction.context)
        save_npz(nearest_float64(network), directory / NETWORK)
        write_exact(network, directory / EXACT, prec=extraction.prec)
    (directory / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if course:
        (directory / COURSE).write_text(json.dumps(course_as_dict(course)) + "\n", encoding="utf-8")


def load_report(directory: Path) -> dict[str, Any]:
    """The report of a run.

    Raises:
        ValueError: there is none, or it is not a report.
    """
    report = _load_json(directory / REPORT)
    if not isinstance(report, dict) or not {"target", "context", "claim", "queries"} <= set(report):
        raise ValueError(f"{directory / REPORT} is not the report of a run")
    return report


def load_course(directory: Path) -> list[Moment]:
    """The course of a run.

    Raises:
        ValueError: there is none, or it is not a course.
    """
    columns = _load_json(directory / COURSE)
    try:
        return course_from_dict(columns)
    except ValueError as error:
        raise ValueError(f"{directory / COURSE} is not the course of a run: {error}") from error


def _load_json(place: Path) -> Any:
    if not place.is_file():
        raise ValueError(f"{place} does not exist; a run that `jaxtract extract --out DIR` ended leaves it")
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{place} is not JSON ({error}); restore it, or run again") from error


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
