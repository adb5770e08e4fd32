"""A small server that answers for an oracle in the protocol of ``jaxtract.oracle.http``, to try things against."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from flint import fmpq

from jaxtract.oracle.http import rational
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.points import PointBatch, scattered
from precision.dyadic import dyadic_matrix, from_float64

LARGEST_REQUEST = 1 << 28
"""Bytes of a request that are read, at most."""


class OracleServer(ThreadingHTTPServer):
    """Serves ``oracle`` at http://host:port; ``serve_forever`` runs it, ``shutdown`` and ``server_close`` end it.

    Made for trying things out on a machine of one's own: it knows no users and no encryption.

    Args:
        oracle: the black box.
        host, port: where to listen; port 0 takes a free one, see ``url``.
        fingerprint: told to clients: a text that changes when the function does.

    Attributes:
        asked: points answered so far.

    Raises:
        OSError: the address cannot be used.
    """

    daemon_threads = True

    def __init__(self, oracle: Oracle, *, host: str = "127.0.0.1", port: int = 8000, fingerprint: str | None = None):
        self.oracle = oracle
        self.fingerprint = fingerprint
        self.asked = 0
        self._one_at_a_time = threading.Lock()
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it is."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def describe(self) -> dict[str, Any]:
        """The reply to GET."""
        oracle = self.oracle
        described = {"inputs": oracle.inputs, "outputs": oracle.outputs, "number_system": oracle.number_system}
        if oracle.input_bits is not None:
            described["input_bits"] = oracle.input_bits
        return described if self.fingerprint is None else described | {"fingerprint": self.fingerprint}

    def reply(self, body: bytes) -> dict[str, Any]:
        """The reply to a POST with this body.

        Raises:
            ValueError: the body is not what the protocol says.
        """
        request = json.loads(body)
        if not isinstance(request, dict):
            raise ValueError("a request is an object with 'points'")
        points = self._points(request.get("points"))
        bits = request.get("answer_bits")
        if bits is not None and (not isinstance(bits, int) or not 1 <= bits <= 1 << 24):
            raise ValueError("answer_bits is null or a whole number from 1")
        with self._one_at_a_time:
            answers = self.oracle.answer(points, bits)
            self.asked += len(points)
        if answers.dtype != object:
            return {"answers": answers.astype(np.float64).tolist()}
        return {"answers": [[str(x) for x in row] for row in answers]}

    def _points(self, rows: Any) -> PointBatch:
        size = self.oracle.inputs
        if not isinstance(rows, list) or not rows or any(not isinstance(r, list) or len(r) != size for r in rows):
            raise ValueError(f"points is a list of lists of {size} numbers")
        if self.oracle.number_system == "float64":
            if any(isinstance(x, bool) or not isinstance(x, int | float) for row in rows for x in row):
                raise ValueError("coordinates are JSON numbers")
            return scattered(from_float64(np.array(rows, dtype=np.float64)))
        return scattered(dyadic_matrix([[_coordinate(x) for x in row] for row in rows], size))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    timeout = 600  # seconds without a request after which a connection is closed

    def do_GET(self) -> None:
        self.send(200, self._serving().describe())

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_REQUEST:
            self.close_connection = True
            self.send(413, {"error": f"give a Content-Length of at most {LARGEST_REQUEST} bytes"})
            return
        body = self.rfile.read(int(length))
        try:
            reply = self._serving().reply(body)
        except (ValueError, OverflowError, RecursionError) as error:
            self.send(400, {"error": str(error)})
            return
        self.send(200, reply)

    def _serving(self) -> OracleServer:
        assert isinstance(self.server, OracleServer)
        return self.server

    def send(self, status: int, reply: dict[str, Any]) -> None:
        content = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _coordinate(x: Any) -> fmpq:
    if isinstance(x, int) and not isinstance(x, bool):
        return fmpq(x)
    value = rational(x) if isinstance(x, str) else None
    if value is None:
        raise ValueError('coordinates of an exact server are texts "p/q" or "p", or integers')
    return value
