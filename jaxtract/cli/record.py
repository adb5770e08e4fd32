"""``--resume`` and ``--no-record``: the record of answers in a run's directory."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtract.oracle.http import HttpOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.record import RecordedOracle, RecordError, read_about

ANSWERS = "answers.sqlite"

# Not kept for a run that continues: what is said anew every time.
_OF_ONE_CALL = {"command", "out", "json", "resume", "no_record"}

# Kept, and free to change when a run continues: they do not change what is asked, only how, or for how long.
_FREE = {"max_queries", "evaluator", "target", "timeout", "retries", "rate"}


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--resume`` and ``--no-record``."""
    parser.add_argument(
        "--resume", metavar="DIR",
        help="continue a recorded run: its answers are replayed, only what is new is asked; "
        "target, seed and options are those of the run unless given again",
    )  # fmt: skip
    parser.add_argument(
        "--no-record", action="store_true", help=f"do not keep the answers in DIR/{ANSWERS} (with --out or --resume)"
    )


def stored_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the run that is recorded in the directory of ``--resume``.

    Raises:
        ValueError: no record there.
    """
    if options.out and Path(options.out) != Path(options.resume):
        raise ValueError("--resume DIR goes on in DIR; leave --out away")
    if options.no_record:
        raise ValueError("--resume replays a record; leave --no-record away")
    place = Path(options.resume) / ANSWERS
    if not place.is_file():
        raise ValueError(f"{options.resume} holds no {ANSWERS}; only a recorded run (--out DIR) can be continued")
    return read_about(place).get("arguments", {})


@contextlib.contextmanager
def recorded(oracle: Oracle, options: argparse.Namespace, directory: Path) -> Iterator[Oracle]:
    """The oracle with its record in the directory, or as it is where nothing is recorded; closed at the end.

    A new run replaces the record of a finished one and sets that of an unfinished one aside (answers.1.sqlite, ...).

    Raises:
        ValueError: the record belongs to another run, or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        remote = isinstance(oracle, HttpOracle)
        if isinstance(oracle, HttpOracle):
            stack.enter_context(oracle)
        if options.no_record or not (options.out or options.resume or remote):
            yield oracle
        else:
            yield stack.enter_context(_open(oracle, options, directory / ANSWERS))


def end_record(oracle: Oracle, report: dict[str, Any]) -> None:
    """Note in the record, if there is one, that the run reached its claim."""
    if isinstance(oracle, RecordedOracle) and report["claim"] != "incomplete":
        oracle.finish()


def record_report(oracle: Oracle) -> dict[str, Any]:
    """For the report: the file, and the queries that it answered and that the oracle answered."""
    if not isinstance(oracle, RecordedOracle):
        return {"record": None}
    return {"record": {"file": oracle.path.name, "replayed": oracle.replayed, "asked": oracle.asked}}


def _open(oracle: Oracle, options: argparse.Namespace, path: Path) -> RecordedOracle:
    if not options.resume and path.exists():
        _make_room(path)
    kept = {key: value for key, value in vars(options).items() if key not in _OF_ONE_CALL}
    identity = {key: value for key, value in kept.items() if key not in _FREE and value is not None}
    identity["target"] = _fingerprint(oracle, options.target)
    batch = oracle.batch if isinstance(oracle, HttpOracle) else None
    return RecordedOracle(oracle, path, identity=identity, arguments=kept, batch=batch)


def _fingerprint(oracle: Oracle, target: str) -> str:
    """What must not change while a run is continued: a server or a file may move, its function must not."""
    if isinstance(oracle, HttpOracle) and oracle.fingerprint is not None:
        return oracle.fingerprint
    runtime = "onnxruntime:" if target.startswith("onnxruntime:") else ""
    file = Path(target.removeprefix(runtime))
    if not file.is_file():
        return target
    return f"{runtime}sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"


def _make_room(path: Path) -> None:
    try:
        finished = read_about(path).get("finished", False)
    except RecordError as error:
        if "in use" in str(error):
            raise
        finished = False
    aside = next(p for i in range(1, 10**6) if not (p := path.with_suffix(f".{i}.sqlite")).exists())
    for tail in ("", "-wal", "-shm"):
        file = path.with_name(path.name + tail)
        if finished:
            file.unlink(missing_ok=True)
        elif file.exists():
            file.rename(aside.with_name(aside.name + tail))
