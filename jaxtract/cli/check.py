"""``jaxtract check``: hand a certificate and two networks to the independent checker."""

from __future__ import annotations

import argparse
import contextlib
import struct
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from jaxtract.certificate.check import check_files
from jaxtract.cli.exit_codes import CLAIM_REACHED, INCOMPLETE
from jaxtract.network.exact_file import write_exact
from jaxtract.report.run_directory import load_any
from jaxtract.targets import targets

CHECK_HELP = """\
Check a certificate that `jaxtract certify --certificate FILE` wrote. The checker is one file that uses integers and
fractions only and imports nothing else of the package: jaxtract/certificate/check.py runs on its own, too.
Networks are a run's directory, an exact.json, a .npz, an .onnx (read by jaxtract first) or a built-in name.

exit code: 0 accepted; 1 rejected; 2 bad input."""


MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, struct.error)
"""What the checker raises: ValueError where something does not hold, the rest where a document is no certificate."""


def add_check(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    parser = commands.add_parser(
        "check",
        help="check a certificate with integers and fractions alone",
        description=CHECK_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_check)
    parser.add_argument("certificate", metavar="CERTIFICATE")
    parser.add_argument("recovered", metavar="RECOVERED")
    parser.add_argument("reference", metavar="REFERENCE")


def _check(options: argparse.Namespace, command: list[str]) -> int:
    del command
    if not Path(options.certificate).is_file():
        raise ValueError(f"{options.certificate} does not exist; write it with jaxtract certify --certificate FILE")
    errors = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(_readable(place)) for place in (options.recovered, options.reference)]
        stack.enter_context(errors.status("checking"))
        stack.enter_context(_long_integers())
        try:
            verdict = check_files(options.certificate, *places)
        except MALFORMED as error:
            said = str(error) if type(error) is ValueError else f"malformed: {error!r}"
            errors.print(f"[bold red]rejected:[/] {escape(said)}", highlight=False, soft_wrap=True)
            return INCOMPLETE
    print(f"accepted: {verdict}")
    return CLAIM_REACHED


@contextlib.contextmanager
def _long_integers() -> Iterator[None]:
    """Python reads no decimal numbers of more than 4,300 digits unless told to; rationals may have more."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


@contextlib.contextmanager
def _readable(place: str) -> Iterator[str]:
    """The place of a network in a form that the checker reads."""
    if place in targets():
        with resources.as_file(resources.files("jaxtract.targets") / "data" / f"{place}.npz") as path:
            yield str(path)
        return
    network = load_any(place)  # bad input is told apart from a certificate that does not hold
    if Path(place).suffix != ".onnx":
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exact.json"
        write_exact(network, path)
        yield str(path)
