"""Question: how many gradients, or values, does it take to read off a network of one hidden layer?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from flint import fmpq_mat
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxtract import DepthTwoOptions, ExactContext, ExactNetwork, ExactNetworkOracle, certify
from jaxtract.methods import Milli, milli
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.serve import exact_gradients
from jaxtract.pictures.charts import exponent, growth, rates
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import save_figure

Widths = tuple[int, ...]

SEEDS = 20
OPTIONS = DepthTwoOptions(verify_inputs=100, verify_lines=4)


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to ask: what networks it is tried on, and how it asks."""

    name: str
    biases: bool
    extract: Callable[[ExactNetwork, DepthTwoOptions], Milli]


def _gradients(network: ExactNetwork, options: DepthTwoOptions) -> Milli:
    return milli(exact_gradients(network), ExactContext(), options=options)


def _one_value(network: ExactNetwork, options: DepthTwoOptions) -> Milli:
    values = ExactNetworkOracle(network)
    return milli(exact_gradients(network), ExactContext(), values=values, kinks="gradients", options=options)


def _both(network: ExactNetwork, options: DepthTwoOptions) -> Milli:
    return milli(exact_gradients(network), ExactContext(), values=ExactNetworkOracle(network), options=options)


def _values(network: ExactNetwork, options: DepthTwoOptions) -> Milli:
    return milli(ExactNetworkOracle(network), ExactContext(), options=options)


NO_BIASES = Way("gradients, no biases", False, _gradients)
ONE_VALUE = Way("gradients, one value", True, _one_value)
BOTH = Way("gradients and values", True, _both)
VALUES = Way("values", True, _values)
WAYS = {way.name: way for way in (NO_BIASES, ONE_VALUE, BOTH, VALUES)}

BY_WIDTH = tuple((64, h, 1) for h in (4, 8, 16, 32, 64))
BY_INPUTS = tuple((d, 16, 1) for d in (16, 32, 64, 128, 256))
DEPENDENT = ((10, 20, 1), (10, 40, 1), (4, 40, 1))
SMALL = ((12, 4, 1), (12, 8, 1), (24, 8, 1), (3, 8, 1))


@dataclasses.dataclass(frozen=True)
class Trial:
    """One extraction: was it identical, did the theorem cover it, what did it cost?"""

    way: str
    widths: Widths
    seed: int
    identical: bool
    covered: bool
    outcome: str
    gradients: int
    values: int
    seconds: float


def run(way: Way, widths: Widths, seed: int) -> Trial:
    """Extract one network and compare it with the truth; verification is not counted."""
    network = exact_network(he(widths, seed))
    if not way.biases:
        zeros = tuple(fmpq_mat(bias.nrows(), 1) for bias in network.biases)
        network = ExactNetwork(network.weights, zeros)
    found = way.extract(network, dataclasses.replace(OPTIONS, seed=seed))
    identical = found.network is not None and certify(found.network, network).verdict == "identical"
    counts = [count.search + count.measure for count in (found.gradients, found.values)]
    extraction = found.named.extraction
    said = extraction.outcome.value
    return Trial(way.name, widths, seed, identical, found.named.covered, said, *counts, extraction.seconds)


def table(trials: Sequence[Trial]) -> Table:
    """One row per way and size."""
    columns = ("asked", "widths", "identical", "covered", "gradients (median, max)", "/ h log2 h", "values", "seconds")
    out = Table(*columns)
    for way, widths in dict.fromkeys((t.way, t.widths) for t in trials):
        own = [t for t in trials if (t.way, t.widths) == (way, widths)]
        gradients = [t.gradients for t in own]
        h = widths[1]
        out.add_row(
            way,
            "-".join(map(str, widths)),
            f"{sum(t.identical for t in own)} of {len(own)}",
            str(sum(t.covered for t in own)),
            f"{np.median(gradients):.0f}, {max(gradients)}",
            f"{np.median(gradients) / (h * np.log2(h)):.2f}",
            f"{np.median([t.values for t in own]):.0f}",
            f"{np.median([t.seconds for t in own]):.1f}",
        )
    return out


def points(trials: Sequence[Trial], along: int, kind: str) -> list[tuple[float, float]]:
    """(widths[along], queries of a kind) of the trials that were identical and asked more than one."""
    counts = [(t.widths[along], t.gradients if kind == "gradients" else t.values) for t in trials if t.identical]
    return [(width, count) for width, count in counts if count > 1]


def by_way(trials: Sequence[Trial], sizes: Sequence[Widths], along: int) -> dict[str, list[tuple[float, float]]]:
    """Points of every way and kind of query that is more than one, over these sizes."""
    found = {
        f"{way}: {kind}": points([t for t in trials if t.way == way and t.widths in sizes], along, kind)
        for way in dict.fromkeys(t.way for t in trials)
        for kind in ("gradients", "values")
    }
    return {name: own for name, own in found.items() if own}


def laws(trials: Sequence[Trial], by_width: Sequence[Widths], by_inputs: Sequence[Widths]) -> list[str]:
    """Fitted exponents of either kind of query against the width and the number of inputs."""
    of_width, of_inputs = by_way(trials, by_width, 1), by_way(trials, by_inputs, 0)
    found = [
        f"{name} grow as h^{exponent(own):.2f} d^{exponent(of_inputs[name]):.2f}" for name, own in of_width.items()
    ]
    itself = exponent([(w[1], w[1] * np.log2(w[1])) for w in by_width])
    return [*found, f"h log h itself grows as h^{itself:.2f} over these widths"]


def draw(trials: Sequence[Trial], by_width: Sequence[Widths], by_inputs: Sequence[Widths], directory: Path) -> None:
    """Queries over the width and over the inputs, and success rates over the width."""
    shown = {"y": "queries (search and measure)"}
    of_width = growth(by_way(trials, by_width, 1), x="hidden neurons h", proportional="h", **shown)
    save_figure(of_width, directory / "queries-by-width.svg")
    save_figure(growth(by_way(trials, by_inputs, 0), x="inputs d", **shown), directory / "queries-by-inputs.svg")
    found = {}
    for way in dict.fromkeys(t.way for t in trials):
        own = [[t for t in trials if (t.way, t.widths) == (way, widths)] for widths in by_width]
        found[way] = [(o[0].widths[1], sum(t.identical for t in o), len(o)) for o in own]
    success = rates(found, x="hidden neurons h", y="share proven identical", log=True)
    save_figure(success, directory / "success.svg")


def main() -> None:
    parser = document_parser(__doc__, small="a few small sizes and one seed")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"of {list(WAYS)}")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N")
    options = parser.parse_args()
    by_width, by_inputs, dependent = (BY_WIDTH, BY_INPUTS, DEPENDENT)
    if options.small:
        by_width, by_inputs, dependent = SMALL[:2], SMALL[1:3], SMALL[3:]
    sizes = dict.fromkeys((*by_width, *by_inputs, *dependent))
    ways = [WAYS[name] for name in options.ways]
    jobs = [(w, s, k) for w in ways for s in sizes for k in range(1 if options.small else options.seeds)]
    console, trials = Console(width=130), []
    for way, widths, seed in track(jobs, "networks", console=Console(stderr=True), transient=True):
        trials.append(run(way, widths, seed))
        if not trials[-1].identical:
            console.print(f"{way.name}, {'-'.join(map(str, widths))} seed {seed}: not identical; {trials[-1].outcome}")
    console.print(table(trials))
    for sentence in laws(trials, by_width, by_inputs):
        console.print(sentence)
    if options.out:
        draw(trials, by_width, by_inputs, options.out)


if __name__ == "__main__":
    main()
