"""Question: how many gradients, or values, does it take to read off a network of one hidden layer?

Claim of the paper (Milli, Schmidt, Dragan, Hardt 2019, "Model Reconstruction from Model Explanations", theorem on
gradient queries): h neurons without biases, whose rows are linearly independent, are recovered with high probability
from O(h log h) gradients, as a saliency map shows them. From values alone every gradient takes d of them.

Set-up: He Gaussian networks d-h-1 of unknown width, served without rounding, asked in four ways: gradients alone
(biases zero, as in the theorem); gradients and one value for the constant of the output, with biases N(0, 0.1^2);
gradients and values, where values place the kinks; values alone. ``identical``: ``certify`` proves the recovered
network equal to the true one. ``covered``: it meets the assumptions of the theorem, measured on what was recovered.
Queries are those of search and measurement.

Run: python -m experiments.milli [--small] [--out DIR] [--ways WAY ...] [--seeds N]
(seeds 0 .. 19 for network and queries)

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, 2 cores, much other work running; 10 minutes): all 960 networks
are identical, 20 at each of 12 sizes in each of 4 ways. Medians:

                      no biases  one value   gradients and values  values
    widths            gradients  gradients   gradients  values     values
    64-4-1            72         142         5          26         342
    64-8-1            138        200         9          50         616
    64-16-1           278        337         17         92         1164
    64-32-1           570        630         33         198        2277
    64-64-1           1197       1256        65         367        4462
    16-16-1           279        338         17         97         352
    32-16-1           275        334         17         96         622
    128-16-1          280        346         17         98         2257
    256-16-1          278        347         17         92         4427
    10-20-1           338        512         21         122        312
    10-40-1           708        994         41         222        591
    4-40-1            711        1484        41         227        350

    gradients, no biases:  gradients grow as h^1.02 d^0.00
    gradients, one value:  gradients grow as h^0.80 d^0.01
    gradients and values:  gradients grow as h^0.93 d^0.00, values as h^0.97 d^-0.01
    values:                values grow as h^0.93 d^0.92
    h log h itself grows as h^1.39 over these widths

Conclusion: the bound holds with room. A neuron takes 18.0, 17.3, 17.4, 17.8, 18.7 gradients at h = 4 .. 64: the
halvings that narrow the whole line down to one kink outweigh the log h of those that tell h kinks apart, so that the
fit shows h rather than h log h, and no growth with d. Biases, which the theorem leaves out, cost 59 to 70 gradients
more where rows are independent: a query halves the brackets of all neurons at a time. The last three sizes have more
neurons than inputs: the theorem does not speak of them, nor of any network with biases (``covered`` is 20 of 20 in
the first nine rows without biases, else 0), and they are read off all the same; a query then halves only d brackets,
and biases cost 174 to 773 gradients. Beside values, one gradient a region is all that is asked: h + 1. Values alone
cost d times as many, as the paper says.
"""

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
    gradients, values = (count.search + count.measure for count in (found.gradients, found.values))
    extraction = found.named.extraction
    said = extraction.outcome.value
    covered, seconds = found.named.covered, extraction.seconds
    return Trial(way.name, widths, seed, identical, covered, said, gradients, values, seconds)


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
