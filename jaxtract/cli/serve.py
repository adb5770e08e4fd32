"""``jaxtract serve``: a network behind HTTP, to try extraction over a wire; and the options of the asking side."""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

from jaxtract.cli.certify import network_at
from jaxtract.cli.exit_codes import CLAIM_REACHED
from jaxtract.network.relu_network import nearest_float64
from jaxtract.oracle.http import HttpOptions
from jaxtract.oracle.http_server import OracleServer
from jaxtract.oracle.serve import ExactNetworkOracle, Float64NetworkOracle

SERVE_HELP = """\
Serve a network as a black box: JSON over HTTP. NETWORK is a built-in name, a .npz, an .onnx, an exact.json or a
run's directory. Exact answers are rationals as texts; float64 answers are the shortest digits of the double.
A server to try things against: it knows no users and no encryption.

examples:
  jaxtract serve digits
  jaxtract extract http://127.0.0.1:8000 --out runs/wire
  jaxtract extract --resume runs/wire

exit code: 0 stopped by Ctrl-C; 2 bad input."""


def add_serve(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    parser = commands.add_parser(
        "serve",
        help="serve a network over HTTP, to try extraction against",
        description=SERVE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_serve)
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at; 0 takes a free one (default 8000)")
    numbers = parser.add_mutually_exclusive_group()
    numbers.add_argument("--exact", action="store_true", help="rationals, without rounding (default)")
    numbers.add_argument("--float64", action="store_true", help="doubles")


def server_for(options: argparse.Namespace) -> OracleServer:
    """The server that the arguments ask for, listening.

    Raises:
        ValueError: no such network. OSError: the address is taken.
    """
    if not 0 <= options.port < 1 << 16:
        raise ValueError(f"--port {options.port} is no port; choose 0 to 65535")
    network = network_at(options.network)
    oracle = Float64NetworkOracle(nearest_float64(network)) if options.float64 else ExactNetworkOracle(network)
    # Says whether it is the same function, and nothing else about it.
    plain = network.plain()
    text = f"{oracle.number_system} {plain.weights} {plain.biases}"
    fingerprint = f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    return OracleServer(oracle, host=options.host, port=options.port, fingerprint=fingerprint)


def add_http_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``HttpOptions``."""
    defaults = HttpOptions()
    group = parser.add_argument_group("targets behind HTTP")
    group.add_argument(
        "--batch", type=int, default=defaults.batch, metavar="N",
        help=f"points in one request (default {defaults.batch})",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=float, default=defaults.timeout, metavar="S",
        help=f"seconds to wait for an answer (default {defaults.timeout:g})",
    )  # fmt: skip
    group.add_argument(
        "--retries", type=int, default=defaults.retries, metavar="N",
        help=f"repetitions of a failed request, each after twice the time (default {defaults.retries})",
    )  # fmt: skip
    group.add_argument("--rate", type=float, metavar="R", help="requests a second, at most (default: no limit)")


def http_options(options: argparse.Namespace) -> HttpOptions:
    """From the arguments.

    Raises:
        ValueError: a value that makes no sense.
    """
    return HttpOptions(batch=options.batch, timeout=options.timeout, retries=options.retries, rate=options.rate)


def _serve(options: argparse.Namespace, command: list[str]) -> int:
    del command
    with server_for(options) as server:
        system = "exactly" if server.oracle.number_system == "exact" else "in float64"
        print(f"serving {options.network} {system} at {server.url}; Ctrl-C stops", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"{server.asked} points were answered")
    return CLAIM_REACHED
