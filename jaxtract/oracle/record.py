"""A durable record of answers: on disk before they are used, replayed in order when a run continues."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq, fmpz

from jaxtract.oracle.oracle import Oracle, OracleError
from jaxtract.oracle.points import PointBatch
from precision.dyadic import DyadicMatrix

FORMAT = 1
PARTS = ("anchors", "directions", "indices", "steps")
DIGEST_BYTES = 16

_TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    points INTEGER NOT NULL,
    answer_bits INTEGER,
    digests BLOB NOT NULL,
    kind TEXT NOT NULL,
    answers BLOB NOT NULL,
    checksum BLOB NOT NULL
);
"""

WHAT_TO_DO = (
    "continue with the seed, options and version of jaxtract that the record was made with, "
    "or begin a new run in another directory"
)


class RecordError(ValueError):
    """A record cannot be used, or belongs to another run; the message says what differs and what to do."""


class RecordedOracle(Oracle):
    """Another oracle with a record: a batch that the record holds is replayed, a new one is asked and written first.

    Every answer is committed to the file (SQLite with a write-ahead log, flushed to the disk) before it is returned.
    A process that is killed loses at most the one batch whose answer was on its way. The n-th batch asked is the n-th
    of the record; that it is the same points is checked. Answers are kept exactly: float64 as eight bytes, everything
    else as rationals (mpf and float in object arrays are rationals, too, and come back as ``fmpq`` at once, so that a
    replay and a first run go the same way). Answers that break the contract of an oracle are passed on, not recorded.

    Args:
        oracle: the black box.
        path: the file; created when it does not exist.
        identity: what the batches depend on (target, seed, options), as JSON values; compared when the file exists.
        arguments: stored next to the identity, not compared; those of the last run stay.
        batch: points that are asked and written together, at most; None leaves batches whole.

    Attributes:
        replayed, asked: points answered from the record, and by the oracle.

    Raises:
        RecordError: the file is no record, is in use, or is the record of another run.
    """

    def __init__(
        self,
        oracle: Oracle,
        path: str | os.PathLike[str],
        *,
        identity: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        batch: int | None = None,
    ):
        if batch is not None and batch < 1:
            raise ValueError(f"batch is {batch}; give at least 1 point, or None")
        self.inputs, self.outputs, self.number_system = oracle.inputs, oracle.outputs, oracle.number_system
        self.input_bits = oracle.input_bits
        self.oracle = oracle
        self.path = Path(path)
        self.batch = batch
        self.replayed = self.asked = 0
        self._next = 0
        self._digests = _LastDigest(), _LastDigest()
        dimensions = {"inputs": self.inputs, "outputs": self.outputs, "number_system": self.number_system}
        self._database = _open(self.path)
        try:
            with _clear_errors(self.path):
                self._about(dimensions | dict(identity or {}), arguments)
        except BaseException:
            self._database.close()
            raise

    @property
    def held(self) -> int:
        """Batches in the record."""
        return self._held

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        """As the oracle answers, or answered.

        Raises:
            RecordError: the record holds other points in this place, or cannot be read or written.
        """
        if self.batch is None or len(points) <= self.batch:
            return self._answer(points, answer_bits)
        pieces = [self._answer(piece, answer_bits) for piece in points.chunks(self.batch)]
        for piece, raw in zip(points.chunks(self.batch), pieces, strict=True):
            if raw.shape != (len(piece), self.outputs):
                raise OracleError(
                    f"asked {len(piece)} points of an oracle with {self.outputs} output(s) and got an array of shape "
                    f"{raw.shape}; return one row per point"
                )
        return np.concatenate(pieces)

    def finish(self) -> None:
        """Note that the run reached its end: its record may be replaced by that of another run."""
        with _clear_errors(self.path):
            self._database.execute("INSERT OR REPLACE INTO about VALUES ('finished', 'true')")

    def close(self) -> None:
        """Close the file; asking again is an error."""
        self._database.close()

    def __enter__(self) -> RecordedOracle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _about(self, identity: dict[str, Any], arguments: Mapping[str, Any] | None) -> None:
        stored = _read_about(self._database, self.path)
        self.version = metadata.version("jaxtract")
        if not stored:
            stored = {
                "format": FORMAT,
                "version": self.version,
                "identity": identity,
                "arguments": dict(arguments or {}),
            }
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT INTO about VALUES (?, ?)", [(key, json.dumps(value)) for key, value in stored.items()]
            )
            self._database.execute("COMMIT")
        self._made_by = stored["version"]
        _same_identity(self.path, stored["identity"], json.loads(json.dumps(identity)))
        if arguments is not None:
            self._database.execute("UPDATE about SET value = ? WHERE key = 'arguments'", (json.dumps(dict(arguments)),))
        self._held = self._database.execute("SELECT count(*) FROM batches").fetchone()[0]

    def _answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        row = _Row(len(points), answer_bits, self._digest(points))
        if self._next < self._held:
            with _clear_errors(self.path):
                answers = self._replay(row)
            self.replayed += len(points)
        else:
            raw = np.asarray(self.oracle.answer(points, answer_bits))
            self.asked += len(points)
            answers = _kept(raw, (len(points), self.outputs), self.number_system)
            if answers is None:
                return raw
            with _clear_errors(self.path):
                self._write(row, answers)
        self._next += 1
        return answers

    def _digest(self, points: PointBatch) -> bytes:
        anchors, directions = self._digests
        indices = np.array([points.anchor, points.direction], dtype="<i8").tobytes()
        steps = f"{points.step_exponent} {_hex(points.steps)}".encode()
        return anchors(points.anchors) + directions(points.directions) + _blake(indices) + _blake(steps)

    def _replay(self, asked: _Row) -> np.ndarray:
        found = self._database.execute(
            "SELECT points, answer_bits, digests, kind, answers, checksum FROM batches WHERE number = ?", (self._next,)
        ).fetchone()
        if found is None:
            raise RecordError(f"{self.path} lacks batch {self._next}; the record is damaged: begin a new run")
        held, (kind, answers, checksum) = _Row(*found[:3]), found[3:]
        if held != asked:
            raise RecordError(self._difference(held, asked))
        if _blake(answers) != checksum:
            raise RecordError(f"batch {self._next} of {self.path} is damaged; restore the file, or begin a new run")
        return _decoded(kind, answers, (asked.points, self.outputs))

    def _write(self, row: _Row, answers: np.ndarray) -> None:
        kind, data = _encoded(answers)
        self._database.execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", (self._next, *row, kind, data, _blake(data))
        )
        self._held += 1

    def _difference(self, held: _Row, asked: _Row) -> str:
        differs = []
        if held.points != asked.points:
            differs.append(f"{held.points} points there and {asked.points} now")
        if held.answer_bits != asked.answer_bits:
            differs.append(f"answer bits {held.answer_bits} there and {asked.answer_bits} now")
        parts = [
            name
            for i, name in enumerate(PARTS)
            if held.digests[i * DIGEST_BYTES :][:DIGEST_BYTES] != asked.digests[i * DIGEST_BYTES :][:DIGEST_BYTES]
        ]
        if parts:
            differs.append(f"other {', '.join(parts)}")
        versions = "" if self._made_by == self.version else f"; made by {self._made_by}, this is {self.version}"
        return (
            f"batch {self._next} of the record {self.path} asked other points than this run does "
            f"({'; '.join(differs)}{versions}): {WHAT_TO_DO}"
        )


class _Row(NamedTuple):
    """What must agree of a batch: digests are those of PARTS, one after the other."""

    points: int
    answer_bits: int | None
    digests: bytes


class _LastDigest:
    """Digest of a matrix; chunks of a batch share theirs, so that the last one is kept."""

    def __init__(self) -> None:
        self._last: tuple[DyadicMatrix | None, bytes] | None = None

    def __call__(self, matrix: DyadicMatrix | None) -> bytes:
        if self._last is None or self._last[0] is not matrix:
            text = "axes" if matrix is None else f"{matrix.shape} {matrix.exponent} {_hex(matrix.mantissa.entries())}"
            self._last = matrix, _blake(text.encode())
        return self._last[1]


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a record says of its run: ``format``, ``version``, ``identity``, ``arguments``, and ``finished`` at the end.

    Raises:
        RecordError: there is none, it is not a record, or it is in use.
    """
    with _existing(Path(path)) as database:
        return _read_about(database, Path(path))


def batch_sizes(path: str | os.PathLike[str]) -> list[int]:
    """Points of every batch of a record, in the order in which they were asked.

    Raises:
        RecordError: there is none, it is not a record, or it is in use.
    """
    with _existing(Path(path)) as database:
        _read_about(database, Path(path))
        return [points for (points,) in database.execute("SELECT points FROM batches ORDER BY number")]


@contextlib.contextmanager
def _existing(place: Path) -> Iterator[sqlite3.Connection]:
    if not place.is_file():
        raise RecordError(f"{place} does not exist; a run that records its answers writes it")
    with contextlib.closing(_open(place)) as database, _clear_errors(place):
        yield database


def _open(path: Path) -> sqlite3.Connection:
    with _clear_errors(path):
        # The connection is handed on by whoever asks in another thread; one thread at a time uses it.
        database = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: two runs that append to one record would spoil it.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            if not database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                database.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        except BaseException:
            database.close()
            raise
        return database


def _read_about(database: sqlite3.Connection, path: Path) -> dict[str, Any]:
    stored = {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM about")}
    if stored and stored.get("format") != FORMAT:
        raise RecordError(
            f"{path} is a record of format {stored.get('format')}; this version reads {FORMAT}: {WHAT_TO_DO}"
        )
    return stored


class _clear_errors:  # noqa: N801  (used as a statement)
    """Errors of the database as a RecordError that names the file."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise RecordError(f"{self._path} is in use by another run; wait for it, or stop it") from error
        if isinstance(error, sqlite3.Error | zlib.error):
            raise RecordError(
                f"{self._path} cannot be used as a record of answers ({error}); is it one, is the folder there, "
                "and is there space on the disk?"
            ) from error


def _same_identity(path: Path, stored: dict[str, Any], now: dict[str, Any]) -> None:
    differs = [
        f"{key} was {stored.get(key)!r} and is {now.get(key)!r}"
        for key in sorted(stored.keys() | now.keys())
        if stored.get(key) != now.get(key)
    ]
    if differs:
        raise RecordError(f"{path} is the record of another run: {'; '.join(differs)}. {WHAT_TO_DO.capitalize()}")


def _kept(raw: np.ndarray, shape: tuple[int, int], number_system: str) -> np.ndarray | None:
    """The answers in the form that is recorded and used, or None for answers that break the contract."""
    if raw.shape == shape[:1] and shape[1] == 1:
        raw = raw[:, None]
    if raw.shape != shape:
        return None
    if raw.dtype.kind in "fiu" and number_system != "exact":
        values = raw.astype(np.float64)
        return values if np.all(np.isfinite(values)) else None
    if raw.dtype != object:
        return None
    numbers = [_rational(x, number_system) for x in raw.flat]
    if any(x is None for x in numbers):
        return None
    return _array(numbers, shape)


def _array(numbers: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    answers = np.empty(shape, dtype=object)
    answers.ravel()[:] = numbers
    return answers


def _rational(x: Any, number_system: str) -> fmpq | None:
    if isinstance(x, fmpq):
        return x
    if isinstance(x, int | Fraction):
        return fmpq(x.numerator, x.denominator)
    if number_system == "exact":
        return None
    if isinstance(x, float):
        return fmpq(*x.as_integer_ratio()) if math.isfinite(x) else None
    if hasattr(x, "_mpf_"):
        return _from_mpf(*x._mpf_)
    return None


def _from_mpf(sign: int, mantissa: Any, exponent: int, bits: int) -> fmpq | None:
    """mpmath's (sign, mantissa, exponent, bits); infinities and NaN have no mantissa but an exponent."""
    if not mantissa and exponent:
        return None
    value = -int(mantissa) if sign else int(mantissa)
    return fmpq(value << exponent) if exponent >= 0 else fmpq(value, 1 << -exponent)


def _encoded(answers: np.ndarray) -> tuple[str, bytes]:
    if answers.dtype != object:
        return "float64", answers.astype("<f8").tobytes()
    # Digits hardly repeat: Huffman alone takes half the time, and less space.
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    return "rational", packer.compress(",".join([_text(x) for x in answers.flat]).encode()) + packer.flush()


def _decoded(kind: str, data: bytes, shape: tuple[int, int]) -> np.ndarray:
    if kind == "float64":
        return np.frombuffer(data, dtype="<f8").astype(np.float64).reshape(shape)
    text = zlib.decompress(data).decode()
    return _array([_number(x) for x in text.split(",")] if text else [], shape)


def _text(x: fmpq) -> str:
    """Hexadecimal p:e for p / 2^e, the common case, and p/q otherwise."""
    top, bottom = x.p, x.q
    exponent = bottom.bit_length() - 1
    if bottom == fmpz(1) << exponent:
        return f"{top.str(base=16)}:{exponent:x}"
    return f"{top.str(base=16)}/{bottom.str(base=16)}"


def _number(text: str) -> fmpq:
    top, colon, exponent = text.partition(":")
    if colon:
        return fmpq(int(top, 16), 1 << int(exponent, 16))
    top, _, bottom = text.partition("/")
    return fmpq(int(top, 16), int(bottom, 16))


def _hex(numbers: Sequence[fmpz]) -> str:
    return " ".join([x.str(base=16) for x in numbers])


def _blake(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
