"""``jaxtract plot``: a slice of input space with its boundaries, and the course of an extraction."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxtract.cli.certify import network_at
from jaxtract.cli.exit_codes import CLAIM_REACHED
from jaxtract.cli.record import ANSWERS
from jaxtract.network.relu_network import ReLUNetwork, nearest_float64
from jaxtract.oracle.record import batch_sizes
from jaxtract.pictures.boundaries import Boundaries, boundaries_in
from jaxtract.pictures.met import found_in_words, layers_met, true_in_words
from jaxtract.pictures.plane import Window, random_window, window_through
from jaxtract.report.run_directory import REPORT, load_course, load_report

PLOT_HELP = """\
Draw a slice of input space, or the course of an extraction.

examples:
  jaxtract plot regions digits-deep
  jaxtract plot regions runs/net --reference net.npz --scale 10 --out slice.svg
  jaxtract plot report runs/net

exit code: 0 drawn; 2 bad input."""

REGIONS_HELP = """\
Draw the boundaries of all hidden neurons in a plane through input space, one colour a layer. TARGET is a network that
is known: a built-in name, a .npz, an .onnx, an exact.json or the directory of a run. With --reference, the true
boundaries are drawn wide and pale under the found ones, and it is said how many of them were met.

The plane goes through three Gaussian inputs (of a network of two inputs it is all of them), or those of --through.
Boundaries are computed as segments, region by region and layer by layer, in float64."""

REPORT_HELP = """\
Draw the course of a run that `jaxtract extract` left in DIR: queries by purpose, neurons found, bits of accuracy.
Of a run that was killed, the record of its answers shows the queries alone."""


def add_plot(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    raw = argparse.RawDescriptionHelpFormatter
    plot = commands.add_parser(
        "plot", help="draw regions, or the course of an extraction", description=PLOT_HELP, formatter_class=raw
    )
    kinds = plot.add_subparsers(required=True, metavar="WHAT")

    regions = kinds.add_parser("regions", help="a slice of input space", description=REGIONS_HELP, formatter_class=raw)
    regions.set_defaults(command=_regions)
    regions.add_argument("target", metavar="TARGET", help="the network")
    regions.add_argument("--reference", metavar="NET", help="the true network, to hold TARGET against")
    regions.add_argument(
        "--through", metavar="FILE", help="three inputs that the plane goes through, one a row (.npy or text)"
    )
    regions.add_argument(
        "--scale", type=float, default=1.0, metavar="S", help="how far the slice reaches beyond its inputs (default 1)"
    )
    regions.add_argument("--seed", type=_seed, default=0, help="of the plane (default 0)")
    regions.add_argument("--out", metavar="FILE", help="the picture: .png, .svg or .pdf (default TARGET-regions.png)")

    report = kinds.add_parser(
        "report", help="the course of an extraction", description=REPORT_HELP, formatter_class=raw
    )
    report.set_defaults(command=_report)
    report.add_argument("directory", metavar="DIR", help="of a run")
    report.add_argument("--out", metavar="FILE", help="the picture: .png, .svg or .pdf (default DIR/course.png)")


def _regions(options: argparse.Namespace, command: list[str]) -> int:
    del command
    from jaxtract.pictures.draw_regions import draw_regions  # Matplotlib is imported for pictures only
    from jaxtract.pictures.figures import check_format, save_figure

    place = check_format(options.out or f"{_stem(options.target)}-regions.png")
    network = _known(options.target)
    window = _window(options, network.inputs)
    boundaries = boundaries_in(network, window)
    truth, words = None, []
    if options.reference is not None:
        truth, words = _against(options.reference, network, boundaries, window)
    name = Path(options.target).name if Path(options.target).exists() else options.target
    save_figure(
        draw_regions(window, boundaries, title=f"{name}: {boundaries.regions:,} regions", truth=truth, words=words),
        place,
    )
    for layer, width in enumerate(boundaries.widths, start=1):
        print(
            f"layer {layer}: {boundaries.seen(layer)} of {width} neurons in {len(boundaries.of_layer(layer)):,} pieces"
        )
    for sentence in words:
        print(sentence)
    print(f"{boundaries.regions:,} regions; drawn in {place}")
    return CLAIM_REACHED


def _against(
    reference: str, network: ReLUNetwork, boundaries: Boundaries, window: Window
) -> tuple[Boundaries, list[str]]:
    """The true boundaries, and what of them was met in words."""
    true = _known(reference)
    if true.inputs != network.inputs:
        raise ValueError(f"TARGET has {network.inputs} inputs and {reference} {true.inputs}; they are not one function")
    truth = boundaries_in(true, window)
    met, explained = layers_met(truth, network, window), layers_met(boundaries, true, window)
    return truth, [*true_in_words(met), found_in_words(explained)]


def _window(options: argparse.Namespace, inputs: int) -> Window:
    if inputs < 2:
        raise ValueError("a slice is a plane, and this network has one input only")
    if options.through is None:
        return random_window(inputs, options.seed, scale=options.scale)
    points = _points(Path(options.through))
    if points.shape != (3, inputs):
        raise ValueError(
            f"{options.through} holds an array of shape {points.shape}; a plane in a space of {inputs} inputs goes "
            f"through three of them: shape (3, {inputs})"
        )
    return window_through(points, scale=options.scale)


def _points(place: Path) -> np.ndarray:
    if not place.is_file():
        raise ValueError(f"{place} does not exist; give a file of three inputs, one a row (.npy or text)")
    try:
        if place.suffix == ".npy":
            return np.asarray(np.load(place, allow_pickle=False), dtype=np.float64)
        text = place.read_text(encoding="utf-8").replace(",", " ").splitlines()
        return np.array([[float(x) for x in line.split()] for line in text if line.strip()], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place} cannot be read as three rows of numbers ({error})") from error


def _known(place: str) -> ReLUNetwork:
    """The network at a place, in float64.

    Raises:
        ValueError: nothing there, or something that answers only.
    """
    if place.startswith(("http://", "https://", "onnxruntime:")) or (":" in place and not Path(place).exists()):
        raise ValueError(
            f"{place} is a black box, and boundaries are drawn of a network that is known: run "
            f"`jaxtract extract {place} --out DIR` first, then `jaxtract plot regions DIR`"
        )
    return nearest_float64(network_at(place))


def _report(options: argparse.Namespace, command: list[str]) -> int:
    del command
    from jaxtract.pictures.draw_course import accuracy, draw_course, draw_record
    from jaxtract.pictures.figures import check_format, save_figure

    directory = Path(options.directory)
    place = check_format(options.out or directory / "course.png")
    if not (directory / REPORT).exists() and (directory / ANSWERS).exists():
        batches = batch_sizes(directory / ANSWERS)
        save_figure(draw_record(directory.name, batches), place)
        print(f"{sum(batches):,} queries in {len(batches):,} batches; no report, so that their purpose is not known")
    else:
        report, course = load_report(directory), load_course(directory)
        save_figure(draw_course(report, course), place)
        last = course[-1]
        print(f"search {last.search:,}, measure {last.measure:,}, verify {last.verify:,} queries")
        print(f"{last.neurons} hidden neurons found in {last.seconds:.1f} seconds")
        bits, words = accuracy(report)
        print(", ".join(f"{name} {value} bits" for name, value in bits.items()) or words)
    print(f"drawn in {place}")
    return CLAIM_REACHED


def _stem(target: str) -> str:
    return re.sub("[:/]+", ".", target) if ":" in target else Path(target).stem


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value
