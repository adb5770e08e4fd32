"""The command line: extract, certify, check, serve, plot, experiment, targets."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxtract.cli.certify import add_certify
from jaxtract.cli.check import add_check
from jaxtract.cli.exit_codes import BAD_INPUT, CLAIM_REACHED, INCOMPLETE
from jaxtract.cli.experiment import add_experiment, split_options
from jaxtract.cli.find_target import find_oracle
from jaxtract.cli.meter import RichMeter
from jaxtract.cli.plot import add_plot
from jaxtract.cli.record import add_record_options, end_record, record_report, recorded, stored_arguments
from jaxtract.cli.serve import add_http_options, add_serve, http_options
from jaxtract.evaluation.served import EvaluatorName
from jaxtract.layers.any_network import ExtractOptions, extract_network
from jaxtract.network.structure import structure_of
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.report.course import CourseMeter
from jaxtract.report.outcome import Extraction
from jaxtract.report.report import report_of
from jaxtract.report.run_directory import save_run
from jaxtract.targets import targets
from precision.contexts import context_named

EXTRACT_HELP = """\
Read a network off from queries alone. TARGET is the black box: a built-in name (see `jaxtract targets`),
a .npz with W0, b0, W1, b1, ... meaning x @ W + b (skips: see load_npz), an .onnx of Gemm, MatMul, Conv, Add, Relu,
http:// or https:// of a server (see `jaxtract serve`), onnxruntime:FILE for a session in its own precision, or
module:callable for any oracle of your own. Depth and widths need not be known. From
doubles (--context float64) two hidden layers are read in most cases, more seldom.

examples:
  jaxtract extract digits
  jaxtract extract digits-deep
  jaxtract extract digits --context mp --prec 200
  jaxtract extract net.onnx --out runs/net --json
  jaxtract extract mymodule:oracle --context float64 --max-queries 100000
  jaxtract extract http://127.0.0.1:8000 --out runs/wire
  jaxtract extract --resume runs/wire

exit code: 0 the claim of the context is reached; 1 incomplete, everything found is saved; 2 bad input.
An `exact` claim says: over the rationals, every fresh query was explained. It does not say that no input
anywhere differs; `jaxtract certify` proves that when you hold the reference."""


def run() -> None:
    """Entry point of the ``jaxtract`` command."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """The command line as a function: returns the exit code, prints to standard output and error."""
    options = _parser().parse_args(split_options(arguments)[0])
    try:
        return options.command(options, ["jaxtract", *arguments])
    except (ValueError, OSError) as error:
        # Messages quote what arrived, brackets included.
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return BAD_INPUT


def _parser(stored: dict[str, Any] | None = None) -> argparse.ArgumentParser:
    """``stored``: arguments of a run that continues; what is not given again is taken from there."""
    parser = argparse.ArgumentParser(
        prog="jaxtract", description="Read a ReLU network off, exactly, from nothing but queries."
    )
    parser.add_argument("--version", action="version", version=metadata.version("jaxtract"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter

    extract = commands.add_parser(
        "extract", help="recover a network from queries", description=EXTRACT_HELP, formatter_class=raw
    )
    extract.set_defaults(command=_extract)
    extract.add_argument("target", nargs="?", metavar="TARGET", help="the black box")
    extract.add_argument("--context", choices=("exact", "mp", "float64"), default="exact", help="number system")
    extract.add_argument("--prec", type=int, default=200, metavar="BITS", help="bits of an mp result (default 200)")
    extract.add_argument("--seed", type=_not_negative, default=0, help="of every random choice (default 0)")
    extract.add_argument("--max-queries", type=_positive, metavar="N", help="stop, and keep what was found, after N")
    extract.add_argument(
        "--resolution", type=_positive, default=256, metavar="BITS",
        help="tell kinks apart that are at least 2^-BITS from each other on a line (default 256)",
    )  # fmt: skip
    extract.add_argument(
        "--pack", type=_positive, default=1, metavar="N",
        help="entries of a gradient that one exact answer may carry: 64 needs 40 times fewer queries (default 1)",
    )  # fmt: skip
    extract.add_argument(
        "--evaluator", choices=get_args(EvaluatorName), default="auto",
        help="how a known network is evaluated exactly; all give the same answers (default auto: by batch and device)",
    )  # fmt: skip
    extract.add_argument(
        "--widths", type=_widths, metavar="A-B-...-Z",
        help="hint, inputs and outputs included (784-64-32-10): saves queries; a wrong one is found out",
    )  # fmt: skip
    extract.add_argument("--verify-inputs", type=_not_negative, default=1000, metavar="N", help="fresh inputs to agree")
    extract.add_argument("--verify-lines", type=_not_negative, default=20, metavar="M", help="fresh lines to agree")
    extract.add_argument("--out", metavar="DIR", help="where network.npz, exact.json and report.json go")
    extract.add_argument("--json", action="store_true", help="print the report alone, as JSON")
    add_record_options(extract)
    add_http_options(extract)
    extract.set_defaults(**(stored or {}))

    add_certify(commands)
    add_check(commands)
    add_serve(commands)
    add_plot(commands)
    add_experiment(commands)

    listing = commands.add_parser("targets", help="list the networks that ship with the package")
    listing.set_defaults(command=_targets)
    listing.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _extract(options: argparse.Namespace, command: list[str]) -> int:
    if options.resume:
        options = _parser(stored_arguments(options)).parse_args(command[1:])
    if options.target is None:
        _parser().error("extract: say what: TARGET, or --resume DIR for a run that was recorded")
    context = context_named(options.context, options.prec)
    oracle = find_oracle(options.target, options.context, options.evaluator, http=http_options(options))
    directory = Path(options.resume or options.out or Path("jaxtract-runs") / _run_name(options))
    directory.mkdir(parents=True, exist_ok=True)
    chosen = ExtractOptions(
        seed=options.seed,
        max_queries=options.max_queries,
        resolution_bits=options.resolution,
        verify_inputs=options.verify_inputs,
        verify_lines=options.verify_lines,
        pack=options.pack,
        widths=options.widths,
    )

    def save(extraction: Extraction) -> dict[str, Any]:
        evaluator = oracle.evaluator if isinstance(oracle, ExactNetworkOracle) else None
        report = report_of(extraction, options.target, shlex.join(command), evaluator=evaluator)
        report |= record_report(asked)
        save_run(directory, extraction, report, course=course.moments())
        return report

    with recorded(oracle, options, directory) as asked:
        with RichMeter(Console(stderr=True), enabled=not options.json) as meter:
            course = CourseMeter(meter)
            extraction = extract_network(
                asked, context, options=chosen, progress=course, keep=lambda partial: (save(partial), None)[1]
            )
        report = save(extraction)
        end_record(asked, report)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _show_report(Console(markup=False), report, extraction, directory)
    return INCOMPLETE if report["claim"] == "incomplete" else CLAIM_REACHED


def _show_report(console: Console, report: dict[str, Any], extraction: Extraction, directory: Path) -> None:
    table = Table(title=f"{report['target']}: {report['claim']}", show_header=False, title_justify="left")
    queries, verified, seconds = report["queries"], report["verified"], report["seconds"]
    widths = report["widths"]
    rows = {
        "outcome": extraction.outcome.value,
        "widths": "-" if widths is None else "-".join(str(width) for width in widths),
        "parameters": f"{report['parameters']:,}" if report["parameters"] else "-",
        "queries": f"{queries['total']:,} (search {queries['search']:,}, measure {queries['measure']:,}, "
        f"verify {queries['verify']:,})",
        "per parameter": f"{report['queries_per_parameter']} (search + measure)",
        "signs": report["signs"],
        "verified": f"{verified['inputs']:,} inputs, {verified['disagreements']} disagree; "
        f"{verified['lines']} lines, {verified['unexplained_kinks']} unexplained kinks",
        "seconds": f"{seconds['total']} ({seconds['oracle']} in the oracle)",
        "saved in": str(directory),
    }
    if report["evaluator"] is not None:
        rows["evaluator"] = report["evaluator"]
    if report["record"] is not None:
        rows["record"] = "{replayed:,} queries replayed, {asked:,} asked".format(**report["record"])
    if verified["residual_bits"] is not None:
        rows["residual"] = f"2^-{verified['residual_bits']} of the largest answer"
    for name, value in rows.items():
        table.add_row(name, value)
    if extraction.network is not None:
        for line in structure_of(extraction.network).in_words():
            table.add_row("structure", line)
    table.add_row("shown", "\n".join(report["statement"]))
    for sentence in report["not_resolved"]:
        table.add_row("not resolved", sentence)
    console.print(table)


def _targets(options: argparse.Namespace, command: list[str]) -> int:
    del command
    known = targets()
    if options.json:
        described = {
            name: {"widths": list(target.widths), "description": target.description} for name, target in known.items()
        }
        print(json.dumps(described, indent=2))
        return CLAIM_REACHED
    table = Table("target", "widths", "what it is", title="networks that ship with jaxtract", title_justify="left")
    for name, target in known.items():
        table.add_row(name, "-".join(str(width) for width in target.widths), target.description)
    Console().print(table)
    return CLAIM_REACHED


def _run_name(options: argparse.Namespace) -> str:
    stem = re.sub("[:/]+", ".", options.target) if ":" in options.target else Path(options.target).stem
    return f"{stem}-{options.context}-seed{options.seed}"


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of widths like 10-20-20-1") from None
    if len(widths) < 2 or min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of widths like 10-20-20-1")
    return widths


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value
