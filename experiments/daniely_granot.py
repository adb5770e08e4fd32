"""Question: are both theorems of Daniely and Granot met, and how do queries grow with the size of the network?

Claim of the paper (Daniely, Granot 2023, "An Exact Poly-Time Membership-Queries Algorithm for Extracting a Three-Layer
ReLU Network"): networks of depth two with any number of neurons (first theorem), and of depth three whose first layer
maps onto and is no wider than the input (second theorem), in general position, are recovered exactly from
polynomially many queries; the paper counts no constants.

Set-up: He Gaussian networks (biases N(0, 0.1^2)), served without rounding. Depth three: 2n-n-2n-1, first width below
the input and the second width, n = 3 .. 12, five seeds each. Depth two: d-k-1 with k from d / 2 to 100 d. A network
counts if ``certify`` proves the recovered one identical; ``covered`` are those that meet the assumptions of the
theorem, measured on what was recovered. Queries are those of search and measurement; the fit is a least-squares line
through log queries over log parameters.

Run: python -m experiments.daniely_granot [--small] [--out DIR]    (seeds 0, 1, 2, ... for network and queries)

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, 2 cores, other work running; 15 minutes):

    widths      seeds  identical  covered  parameters  queries (median)  per parameter
    20-10-1     5      5          5        221         267               1.21
    20-20-1     5      5          5        441         511               1.16
    20-40-1     5      5          5        881         1025              1.16
    20-200-1    5      5          0        4401        4936              1.12
    4-400-1     5      5          0        2401        3439              1.43
    6-3-6-1     5      4          4        52          304               5.85
    8-4-8-1     5      5          5        85          474               5.58
    10-5-10-1   5      5          5        126         713               5.66
    12-6-12-1   5      5          5        175         1016              5.81
    14-7-14-1   5      5          5        232         1167              5.03
    16-8-16-1   5      5          5        297         1536              5.17
    18-9-18-1   5      5          5        370         1937              5.24
    20-10-20-1  5      5          5        451         2840              6.30
    22-11-22-1  5      5          5        540         2333              4.32
    24-12-24-1  5      5          5        637         2898              4.55

    depth 2: queries grow with the parameters to the power 1.01
    depth 3: queries grow with the parameters to the power 0.94

Conclusion: the growth is linear in the number of parameters, with 1.1 to 1.4 queries a parameter at depth two and 4 to
6 at depth three. The miss, 6-3-6-1 seed 3, takes a boundary of the second layer for one of the first: with three
neurons before it, a boundary is flat over most of what lines meet. Networks of 200 and 400 neurons are not ``covered``:
where the signs of that many neurons are not determined, an affine rest goes on two extra neurons, which are parallel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxtract import ExactContext, ExactNetworkOracle, certify
from jaxtract.methods import daniely_granot
from jaxtract.network.families import exact_network, he
from jaxtract.pictures.charts import exponent, growth, rates
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import save_figure

DEPTH_THREE = tuple((2 * n, n, 2 * n, 1) for n in range(3, 13))
DEPTH_TWO = ((20, 10, 1), (20, 20, 1), (20, 40, 1), (20, 200, 1), (4, 400, 1))
SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Trial:
    """One extraction: was it identical, did the theorem cover it, and what did it cost?"""

    widths: tuple[int, ...]
    seed: int
    identical: bool
    covered: bool
    parameters: int
    queries: int
    seconds: float


def run(widths: tuple[int, ...], seed: int) -> Trial:
    """Extract one network under the theorem's name and compare it with the truth."""
    network = exact_network(he(widths, seed))
    named = daniely_granot(ExactNetworkOracle(network), ExactContext(), depth=len(widths) - 1, seed=seed)
    found = named.extraction
    identical = found.network is not None and certify(found.network, network).verdict == "identical"
    queries = found.queries.search + found.queries.measure
    return Trial(widths, seed, identical, named.covered, network.parameters, queries, found.seconds)


def table(trials: Sequence[Trial]) -> Table:
    """One row per size."""
    out = Table("widths", "seeds", "identical", "covered", "parameters", "queries (median)", "per parameter", "seconds")
    for widths in dict.fromkeys(t.widths for t in trials):
        own = [t for t in trials if t.widths == widths]
        queries = float(np.median([t.queries for t in own]))
        out.add_row(
            "-".join(map(str, widths)),
            str(len(own)),
            str(sum(t.identical for t in own)),
            str(sum(t.covered for t in own)),
            str(own[0].parameters),
            f"{queries:.0f}",
            f"{queries / own[0].parameters:.2f}",
            f"{np.median([t.seconds for t in own]):.1f}",
        )
    return out


def of_depth(trials: Sequence[Trial], depth: int) -> list[Trial]:
    """Trials at a depth, in layers of weights."""
    return [t for t in trials if len(t.widths) == depth + 1]


def points(trials: Sequence[Trial]) -> list[tuple[float, float]]:
    """(parameters, queries) of the trials that were identical."""
    return [(t.parameters, t.queries) for t in trials if t.identical]


def draw(trials: Sequence[Trial], directory: Path) -> None:
    """Queries and success rates over the number of parameters."""
    by_depth = {f"depth {depth}": own for depth in (2, 3) if (own := of_depth(trials, depth))}
    queries = growth(
        {name: points(own) for name, own in by_depth.items()},
        x="parameters",
        y="queries (search and measure)",
        proportional="one query a parameter",
    )
    save_figure(queries, directory / "queries.svg")
    found = {
        name: [
            (size, sum(t.identical for t in own if t.parameters == size), sum(t.parameters == size for t in own))
            for size in sorted({t.parameters for t in own})
        ]
        for name, own in by_depth.items()
    }
    save_figure(rates(found, x="parameters", y="share proven identical", log=True), directory / "success.svg")


def main() -> None:
    options = document_parser(__doc__, small="two sizes of each depth and one seed").parse_args()
    two, three, seeds = (DEPTH_TWO[:2], DEPTH_THREE[:2], 1) if options.small else (DEPTH_TWO, DEPTH_THREE, SEEDS)
    console, trials = Console(), []
    jobs = [(widths, seed) for widths in (*two, *three) for seed in range(seeds)]
    for widths, seed in track(jobs, "networks", console=Console(stderr=True), transient=True):
        trials.append(run(widths, seed))
        if not trials[-1].identical:
            console.print(f"{'-'.join(map(str, widths))} seed {seed}: not identical")
    console.print(table(trials))
    for depth in (2, 3):
        power = exponent(points(of_depth(trials, depth)))
        console.print(f"depth {depth}: queries grow with the parameters to the power {power:.2f}")
    if options.out:
        draw(trials, options.out)


if __name__ == "__main__":
    main()
