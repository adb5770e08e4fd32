"""An oracle behind JSON over HTTP: batches, time-outs, retries with exponential back-off, a rate limit.

The protocol, spoken by ``jaxtract serve`` and short enough to write by hand:

- ``GET url`` gives ``{"inputs": d, "outputs": m, "number_system": "exact" | "float64"}``, and if it likes a
  ``"fingerprint"``, a text that changes when the function does, and ``"input_bits"``, 24 where it computes in float32.
- ``POST url`` with ``{"points": [[x_1, ..., x_d], ...], "answer_bits": null}`` gives ``{"answers": [[y_1, ..., y_m],
  ...]}``, a row per point. float64: JSON numbers, shortest digits that round to the double. exact: texts
  ``"p/q"`` or ``"p"``, or JSON integers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx
import numpy as np
import tenacity
from flint import fmpq, fmpz

from jaxtract.oracle.oracle import NumberSystem, Oracle, OracleError
from jaxtract.oracle.points import PointBatch
from precision.rounded import FLOAT32_BITS

# What a server may recover from: asked too often, restarting, overloaded.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

SHOWN = 200
"""Characters of a server's answer that a message quotes."""

_RATIONAL = re.compile(r"([+-]?[0-9]+)(?:/([0-9]+))?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class HttpOptions:
    """How a server is asked.

    Attributes:
        batch: points in one request, at most.
        timeout: seconds until a connection is made, and between two pieces of an answer.
        retries: how often a request is sent again after a time-out, a broken connection or a status of TRANSIENT.
        first_wait, longest_wait: seconds before the first repetition, doubled for each further one, and their limit;
            a random part of up to ``first_wait`` is added. A longer Retry-After of the server is kept to.
        rate: requests a second, at most, or None.

    Raises:
        ValueError: a value that makes no sense.
    """

    batch: int = 256
    timeout: float = 30.0
    retries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 60.0
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or self.retries < 0:
            raise ValueError(f"batch is {self.batch} and retries {self.retries}; give at least 1 and 0")
        if self.timeout <= 0 or (self.rate is not None and self.rate <= 0):
            raise ValueError(f"timeout is {self.timeout} and rate {self.rate}; give positive numbers")


class HttpOracle(Oracle):
    """A server asked for f over HTTP; see the module for the protocol.

    Every answer is checked as it arrives. Nothing is asked again but a request that failed; wrap the oracle in a
    ``RecordedOracle`` with the same ``batch`` to keep what was answered.

    Args:
        url: where the server is, ``http://`` or ``https://``.
        options: see ``HttpOptions``.
        transport: of httpx, instead of the network.

    Attributes:
        fingerprint: the server's own name for its function, or None.
        batch: points in one request, at most.
        requests: requests sent so far, repetitions included.

    Raises:
        ValueError: not such a URL.
        OracleError: the server cannot be reached, or does not describe an oracle.
    """

    def __init__(self, url: str, *, options: HttpOptions | None = None, transport: httpx.BaseTransport | None = None):
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url} is no http:// or https:// URL")
        self.url = url
        self.options = options or HttpOptions()
        self.batch = self.options.batch
        self.requests = 0
        self._earliest = 0.0
        try:
            self._client = httpx.Client(timeout=self.options.timeout, transport=transport)
            self._address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url} is no URL: {error}") from error
        try:
            self._describe(self._send("GET", None))
        except BaseException:
            self.close()
            raise

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        """f at every point, asked in requests of at most ``batch`` points.

        Raises:
            OracleError: the server kept failing, or sent something else than asked for.
        """
        dtype = np.float64 if self.number_system == "float64" else object
        answers = np.empty((len(points), self.outputs), dtype=dtype)
        start = 0
        for piece in points.chunks(self.batch):
            answers[start : start + len(piece)] = self._ask(piece, answer_bits)
            start += len(piece)
        return answers

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> HttpOracle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _describe(self, reply: dict[str, Any]) -> None:
        inputs, outputs, system = (reply.get(key) for key in ("inputs", "outputs", "number_system"))
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in (inputs, outputs))
        if not whole or system not in ("exact", "mp", "float64"):
            raise OracleError(
                f"{self.url} does not describe an oracle: GET gave {_shown(json.dumps(reply))}; it must give inputs "
                "and outputs (whole numbers from 1) and number_system (exact, mp or float64)"
            )
        self.inputs: int = inputs  # type: ignore[assignment]
        self.outputs: int = outputs  # type: ignore[assignment]
        self.number_system: NumberSystem = system  # type: ignore[assignment]
        bits = reply.get("input_bits")
        if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool) or bits < FLOAT32_BITS):
            raise OracleError(
                f"{self.url} says that it keeps {bits!r} bits of an input; input_bits is a whole number from "
                f"{FLOAT32_BITS}, those of float32, or left out"
            )
        self.input_bits: int | None = bits
        fingerprint = reply.get("fingerprint")
        self.fingerprint = fingerprint if isinstance(fingerprint, str) else None

    def _ask(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        if self.number_system == "float64":
            rows: list[list[Any]] = points.to_float64().tolist()
        else:
            rows = [[str(x) for x in row] for row in points.dense().rows()]
        reply = self._send("POST", {"points": rows, "answer_bits": answer_bits})
        if "answers" not in reply:
            raise OracleError(
                f"{self.url} gave an object without 'answers': {_shown(json.dumps(reply))}; "
                'a reply is {"answers": [[...], ...]}'
            )
        return self._numbers(reply["answers"], len(points))

    def _numbers(self, answers: Any, count: int) -> np.ndarray:
        rows = answers if isinstance(answers, list) else []
        lengths = {len(row) if isinstance(row, list) else None for row in rows}
        if len(rows) != count or lengths - {self.outputs}:
            sizes = " or ".join(sorted("no list" if n is None else f"{n} numbers" for n in lengths)) or "nothing"
            raise OracleError(
                f"{self.url} was asked {count} points of {self.outputs} output(s) and gave {len(rows)} rows of {sizes}"
                "; it must give one row per point"
            )
        read = self._float if self.number_system == "float64" else self._rational
        values = [read(x, place) for place, row in enumerate(rows) for x in row]
        out = np.empty(count * self.outputs, dtype=np.float64 if self.number_system == "float64" else object)
        out[:] = values
        return out.reshape(count, self.outputs)

    def _float(self, x: Any, place: int) -> float:
        if isinstance(x, int | float) and not isinstance(x, bool):
            try:
                value = float(x)
            except OverflowError:
                value = math.inf
            if math.isfinite(value):
                return value
        raise self._bad(x, place, "a float64 server must give finite JSON numbers")

    def _rational(self, x: Any, place: int) -> fmpq:
        if isinstance(x, int) and not isinstance(x, bool):
            return fmpq(x)
        value = rational(x) if isinstance(x, str) else None
        if value is None:
            raise self._bad(
                x,
                place,
                'an exact server gives texts "p/q" or integers; a float64 one must say so in its GET reply',
            )
        return value

    def _bad(self, x: Any, place: int, rule: str) -> OracleError:
        return OracleError(f"{self.url} gave {_shown(json.dumps(x))} for point {place} of a batch; {rule}")

    def _send(self, method: str, body: dict[str, Any] | None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Transient),
            stop=tenacity.stop_after_attempt(self.options.retries + 1),
            wait=self._wait,
            reraise=True,
        )
        try:
            response = retrying(self._once, method, content)
        except _Transient as error:
            raise OracleError(
                f"{self.url} failed {self.options.retries + 1} times in a row, at last with: {error}; "
                "what was answered before is kept by --resume; try again later, with --timeout or --retries raised"
            ) from error
        return self._json(response)

    def _once(self, method: str, content: bytes | None) -> httpx.Response:
        self._pace()
        self.requests += 1
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            response = self._client.request(method, self._address, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise _Transient(f"no answer within {self.options.timeout:g} seconds ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise _Transient(f"{type(error).__name__}: {error}") from error
        except httpx.HTTPError as error:
            raise OracleError(f"{self.url} gave an answer that cannot be read: {error}") from error
        if response.status_code in TRANSIENT:
            raise _Transient(f"HTTP status {response.status_code}", _retry_after(response))
        if response.status_code != 200:
            raise OracleError(
                f"{self.url} gave HTTP status {response.status_code}: {_shown(response.text)}; "
                "check the URL and what the server accepts"
            )
        return response

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            reply = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise OracleError(f"{self.url} gave something that is not JSON: {_shown(response.text)}") from error
        if not isinstance(reply, dict):
            raise OracleError(f"{self.url} gave JSON that is not an object: {_shown(response.text)}")
        return reply

    def _wait(self, state: tenacity.RetryCallState) -> float:
        options = self.options
        wait = tenacity.wait_exponential(multiplier=options.first_wait, max=options.longest_wait)
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, _Transient) else 0.0
        return max(asked, wait(state) + tenacity.wait_random(0, options.first_wait)(state))

    def _pace(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep to the rate: requests begin at least 1 / rate seconds apart."""
        if self.options.rate is None:
            return
        time.sleep(max(0.0, self._earliest - clock()))
        self._earliest = clock() + 1 / self.options.rate


class _Transient(Exception):  # noqa: N818  (a reason to try again)
    """A failure that the next attempt may not meet; ``retry_after`` seconds were asked for by the server."""

    def __init__(self, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.retry_after = retry_after


def rational(text: str) -> fmpq | None:
    """``p`` or ``p/q`` in decimal digits of any length, or None for anything else."""
    match = _RATIONAL.fullmatch(text)
    if match is None:
        return None
    top, bottom = fmpz(match[1].removeprefix("+")), fmpz(match[2] or "1")
    return None if bottom == 0 else fmpq(top, bottom)


def _retry_after(response: httpx.Response) -> float:
    """Seconds of a Retry-After header, at most an hour; dates are not read."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isdecimal() else 0.0


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
