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

Run: python -m experiments.daniely_granot [--small] [--out DIR] [--parts PART ...]
(seeds 0 .. 19 for network and queries)

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
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxtract import ExactContext, ExactNetworkOracle, certify
from jaxtract.methods import daniely_granot
from jaxtract.methods.assumptions import largest_cosine, singular_margin
from jaxtract.network.families import exact_network, he
from jaxtract.pictures.charts import exponent, growth, rates
from jaxtract.pictures.document import document_parser, varied
from jaxtract.pictures.figures import save_figure

PARTS = ("sweeps", "wide", "beyond")

SWEEPS = {
    "depth 2: inputs d, d-20-1": [(d, 20, 1) for d in (5, 10, 20, 40, 80)],
    "depth 2: width k, 20-k-1": [(20, k, 1) for k in (5, 10, 20, 40, 80)],
    "depth 3: size 2n, 2n-n-2n-1": [(2 * n, n, 2 * n, 1) for n in (3, 4, 6, 8, 12)],
}
"""Shapes that differ in one number, or in one size."""

WIDE = [(20, 200, 1), (4, 400, 1)]
"""10 and 100 times as many neurons as inputs: more than lattice reduction finds the signs of."""

BEYOND = [(6, 9, 9, 1), (8, 12, 12, 1), (8, 8, 4, 1)]
"""First layers wider than the input, or than the second layer: the second theorem does not speak of them."""

SEEDS = 20


@dataclasses.dataclass(frozen=True)
class Trial:
    """One extraction: was it identical, how did it end, did the theorem cover it, and what did it cost?

    Attributes:
        singular: smallest over largest singular value of the first layer that was recovered; NaN where none was.
        cosine: the largest between two of its hyperplanes.
    """

    widths: tuple[int, ...]
    seed: int
    identical: bool
    outcome: str
    covered: bool
    singular: float
    cosine: float
    parameters: int
    queries: int
    seconds: float


def run(widths: tuple[int, ...], seed: int) -> Trial:
    """Extract one network under the theorem's name and compare it with the truth."""
    network = exact_network(he(widths, seed))
    named = daniely_granot(ExactNetworkOracle(network), ExactContext(), depth=len(widths) - 1, seed=seed)
    found = named.extraction
    identical, margins = False, (math.nan, math.nan)
    if found.network is not None:
        identical = certify(found.network, network).verdict == "identical"
        margins = singular_margin(found.network), largest_cosine(found.network)
    queries = found.queries.search + found.queries.measure
    outcome = found.outcome.name.lower()
    return Trial(widths, seed, identical, outcome, named.covered, *margins, network.parameters, queries, found.seconds)


def table(trials: Sequence[Trial]) -> Table:
    """One row per size."""
    columns = ("widths", "seeds", "identical", "covered", "singular values, cosine", "parameters", "queries (median)")
    out = Table(*columns, "per parameter", "seconds")
    for widths in dict.fromkeys(t.widths for t in trials):
        own = [t for t in trials if t.widths == widths]
        queries = float(np.median([t.queries for t in own]))
        out.add_row(
            "-".join(map(str, widths)),
            str(len(own)),
            str(sum(t.identical for t in own)),
            str(sum(t.covered for t in own)),
            f"{min(t.singular for t in own):.0e}, {max(t.cosine for t in own):.3f}",
            str(own[0].parameters),
            f"{queries:.0f}",
            f"{queries / own[0].parameters:.2f}",
            f"{np.median([t.seconds for t in own]):.1f}",
        )
    return out


def points(trials: Sequence[Trial]) -> list[tuple[float, float]]:
    """(parameters, queries) of the trials that were identical."""
    return [(t.parameters, t.queries) for t in trials if t.identical]


def laws(sweeps: Mapping[str, Sequence[tuple[int, ...]]], trials: Sequence[Trial]) -> Table:
    """Exponents of queries and of parameters against the number that a sweep varies, and of one against the other."""
    out = Table("sweep", "queries ~", "parameters ~", "queries ~ parameters")
    for name, shapes in sweeps.items():
        good = [(varied(shapes, t.widths), t) for t in trials if t.widths in shapes and t.identical]
        against = exponent([(x, t.queries) for x, t in good]), exponent([(x, t.parameters) for x, t in good])
        out.add_row(name, *(f"{power:.2f}" for power in (*against, exponent(points([t for _, t in good])))))
    return out


def draw(sweeps: Mapping[str, Sequence[tuple[int, ...]]], trials: Sequence[Trial], directory: Path) -> None:
    """Queries over the number of parameters, and success rates over the number that a sweep varies."""
    own = {name: [t for t in trials if t.widths in shapes] for name, shapes in sweeps.items()}
    queries = growth(
        {name: found for name, part in own.items() if (found := points(part))},
        x="parameters",
        y="queries (search and measurement)",
        proportional="one query a parameter",
    )
    save_figure(queries, directory / "queries.svg")
    found = {}
    for name, shapes in sweeps.items():
        by_shape = [(varied(shapes, widths), [t for t in own[name] if t.widths == widths]) for widths in shapes]
        found[name] = [(x, sum(t.identical for t in part), len(part)) for x, part in by_shape]
    figure = rates(found, x="the number that changes", y="share proven identical", log=True)
    save_figure(figure, directory / "success.svg")


def main() -> None:
    parser = document_parser(__doc__, small="two sizes of each depth and one seed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    options = parser.parse_args()
    sweeps, wide, beyond, seeds = SWEEPS, WIDE, BEYOND, SEEDS
    if options.small:
        sweeps, wide, beyond, seeds = {name: shapes[:2] for name, shapes in SWEEPS.items()}, [], BEYOND[-1:], 1
    if "sweeps" not in options.parts:
        sweeps = {}
    chosen: list[tuple[int, ...]] = [widths for shapes in sweeps.values() for widths in shapes]
    for part, shapes in (("wide", wide), ("beyond", beyond)):
        chosen += shapes if part in options.parts else []
    jobs = [(widths, seed) for widths in dict.fromkeys(chosen) for seed in range(seeds)]
    console, trials = Console(width=130), []
    for widths, seed in track(jobs, "networks", console=Console(stderr=True), transient=True):
        trials.append(run(widths, seed))
        if not trials[-1].identical:
            console.print(f"{'-'.join(map(str, widths))} seed {seed}: not identical, {trials[-1].outcome}")
    console.print(table(trials))
    if sweeps:
        console.print(laws(sweeps, trials))
    if options.out and sweeps:
        draw(sweeps, trials, options.out)


if __name__ == "__main__":
    main()
