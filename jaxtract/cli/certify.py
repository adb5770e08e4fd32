"""``jaxtract certify``: compare two networks, print what is proved, and write it down."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from fractions import Fraction
from typing import Any

from flint import fmpq
from rich.console import Console
from rich.table import Table

from jaxtract.certificate.bounds import Bounds
from jaxtract.certificate.certify import Certificate, CertifyOptions, certify
from jaxtract.certificate.document import certificate_document, write_certificate
from jaxtract.certificate.domain import Ball, Box, Domain
from jaxtract.certificate.equivalence import Equivalence
from jaxtract.cli.exit_codes import CLAIM_REACHED, INCOMPLETE
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.report.report import versions
from jaxtract.report.run_directory import load_any
from jaxtract.targets import load_target, targets

CERTIFY_HELP = """\
Compare two networks exactly. Each is a run's directory, an exact.json, a .npz, an .onnx or a built-in name.
`identical` is a proof over the rationals that they are the same function, whatever their neurons; `different` comes
with an input where they differ. With --box or --ball the largest difference there is bounded from above (proven) and
from below (attained), and `close` says that the upper bound is within the tolerance.

examples:
  jaxtract certify runs/net net.npz
  jaxtract certify runs/net net.npz --box 0 1 --certificate net.certificate.json
  jaxtract check net.certificate.json runs/net net.npz

exit code: 0 identical or close; 1 different or undecided; 2 bad input.
Equality of deep networks is coNP-hard in general: `undecided` says that --cases was not enough."""

_NUMBER = re.compile(r"[+-]?([0-9]+(/[0-9]+)?|[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?)")


def add_certify(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    parser = commands.add_parser(
        "certify",
        help="compare two networks exactly",
        description=CERTIFY_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_certify)
    parser.add_argument("recovered", metavar="RECOVERED")
    parser.add_argument("reference", metavar="REFERENCE")
    domain = parser.add_mutually_exclusive_group()
    domain.add_argument("--box", nargs=2, type=_number, metavar=("LO", "HI"), help="inputs with LO <= x_j <= HI")
    domain.add_argument("--ball", type=_number, metavar="R", help="inputs with Euclidean norm at most R")
    parser.add_argument("--epsilon", type=_number, metavar="E", help="tolerance (default: 2^-20 of the outputs)")
    parser.add_argument("--certificate", metavar="FILE", help="write the proof, for `jaxtract check`")
    defaults = CertifyOptions()
    parser.add_argument(
        "--cases", type=_count, default=defaults.cases, metavar="N",
        help=f"linear programs that a proof by cases may take (default {defaults.cases})",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=_count, default=defaults.samples, metavar="N",
        help=f"random inputs behind (epsilon, delta)-equivalence (default {defaults.samples})",
    )  # fmt: skip
    parser.add_argument("--seed", type=_count, default=0, help="of random inputs (default 0)")
    parser.add_argument("--json", action="store_true", help="print the result alone, as JSON")


def network_at(place: str) -> ExactNetwork:
    """A built-in network, or one from a file or directory.

    Raises:
        ValueError: neither.
    """
    return load_target(place).exact() if place in targets() else load_any(place)


def _certify(options: argparse.Namespace, command: list[str]) -> int:
    del command
    recovered, reference = network_at(options.recovered), network_at(options.reference)
    chosen = CertifyOptions(seed=options.seed, cases=options.cases, samples=options.samples, tolerance=options.epsilon)
    with Console(stderr=True).status("canonical forms") as status:
        certificate = certify(recovered, reference, domain=_domain(options), options=chosen, progress=status.update)
        if options.certificate and certificate.verdict != "undecided":
            status.update("certificate")
            write_certificate(certificate_document(certificate, recovered, reference, versions()), options.certificate)
    if options.json:
        print(json.dumps(_document(certificate), indent=2))
    else:
        Console().print(_table(certificate, options.certificate))
    return CLAIM_REACHED if certificate.verdict in ("identical", "close") else INCOMPLETE


def _domain(options: argparse.Namespace) -> Domain | None:
    if options.box is not None:
        return Box(*options.box)
    return None if options.ball is None else Ball(options.ball)


def _document(certificate: Certificate) -> dict[str, Any]:
    witness = certificate.witness
    return {
        "verdict": certificate.verdict,
        "max_relative_error": certificate.max_relative_error,
        "matched": certificate.matched,
        "unmatched": certificate.unmatched,
        "method": certificate.method,
        "witness": None if witness is None else dataclasses.asdict(witness) | {"difference": witness.difference},
        "bounds": None if certificate.bounds is None else _bounds(certificate.bounds),
    }


def _bounds(bounds: Bounds) -> dict[str, Any]:
    random = bounds.random
    return {
        "domain": bounds.domain.as_dict(),
        "upper": float(bounds.upper.bound),
        "lower": float(bounds.lower.bound),
        "ratio": bounds.ratio,
        "tolerance": float(bounds.tolerance),
        "parts": bounds.upper.parts,
        "random": {
            "epsilon": float(random.epsilon),
            "delta": float(random.delta),
            "confidence": float(random.confidence),
            "samples": random.samples,
            "exceed": random.exceed,
            "seed": random.seed,
        },
    }


def _table(certificate: Certificate, written: str | None) -> Table:
    table = Table(title=certificate.verdict, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # exact numbers have no place to break
    error = certificate.max_relative_error
    table.add_row("proof or evidence", certificate.method)
    table.add_row("largest relative error", "-" if error is None else f"{error:.3g}")
    table.add_row("neurons matched", f"{certificate.matched}, {certificate.unmatched} unmatched")
    if certificate.bounds is not None:
        _add_bounds(table, certificate.bounds)
    if certificate.witness is not None:
        witness = certificate.witness
        table.add_row("they differ at", ", ".join(witness.point))
        table.add_row("recovered there", ", ".join(witness.recovered))
        table.add_row("reference there", ", ".join(witness.reference))
        table.add_row("difference there", witness.difference)
    if written:
        undecided = certificate.verdict == "undecided"
        table.add_row("certificate", "none: nothing is proved" if undecided else written)
    return table


def _add_bounds(table: Table, bounds: Bounds) -> None:
    domain = ", ".join(f"{key} {value}" for key, value in bounds.domain.as_dict().items())
    ratio = "-" if bounds.ratio is None else f"{bounds.ratio:.3g}"
    table.add_row("domain", domain)
    table.add_row("max |f - f'| at most", f"{float(bounds.upper.bound):.6g} (proven; {bounds.upper.parts} parts)")
    table.add_row("max |f - f'| at least", f"{float(bounds.lower.bound):.6g} (attained); upper / lower {ratio}")
    table.add_row("random inputs", _in_words(bounds.random))


def _in_words(random: Equivalence) -> str:
    return (
        f"(epsilon, delta) = ({float(random.epsilon):.6g}, {float(random.delta):.3g}), confidence "
        f"{float(random.confidence):.0%}: {random.exceed} of {random.samples:,} exceed epsilon"
    )


def _number(text: str) -> fmpq:
    if not _NUMBER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number such as 1, -0.5, 1e-6 or 3/7")
    try:
        value = Fraction(text)
    except ZeroDivisionError as error:
        raise argparse.ArgumentTypeError(f"{text} has the denominator 0") from error
    return fmpq(value.numerator, value.denominator)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value
