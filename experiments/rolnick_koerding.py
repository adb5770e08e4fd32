"""Question: is a network of any depth, its depth and widths unknown, read off exactly, and what does it cost?

Claim of the papers: Rolnick and Koerding 2020, sections 4.2 and 4.3: the first layer from boundaries that never bend,
deeper layers from boundaries that bend at known ones, where the boundaries are connected and intersect. Daniely and
Granot 2023, Theorem 2: depth three, exactly, when the first width is below the input and the second width.

Set-up: He Gaussian networks (biases N(0, 0.1^2)) and the trained target digits-deep, served without rounding; depth and
widths unknown to the extractor. A run counts as a success if ``certify`` proves the recovered network identical.
"per parameter" is (search + measure) / (weights and biases of the true network); "total / oracle" compares wall clocks
of the same run.

Run: python -m experiments.rolnick_koerding [--small] [--only CASE ...]    (seeds 0, 1, 2, ... for network and queries)

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, 2 cores, much other work running, so that times say little):

    case                         seeds  identical  per parameter (median, max)
    20-16-16-1, input to layer 2   10     10          8.94, 9.33
    20-16-16-1, input to output    10     10         12.54, 14.58
    20-16-16-1, residual block     10     10          3.35, 4.11
    20-16-16-3, residual block     10     10          2.97, 3.31
    digits-conv                     1      1          2.04

Skips and convolutions are not announced either; each row's skips, and the two convolutions with their kernels, were
named (``structure_of``). Where everything that reads a neuron reads its inputs, too, its sign is a symmetry: all of
layer 1 in the first row, all of layer 2 in the residual ones. The plain networks:

    case           seeds  identical  per parameter (median, max)
    10-10-10-1     50     50         4.33, 8.86
    10-15-15-1     20     20         4.14, 4.99
    10-20-20-1     20     20         4.43, 10.80
    40-20-10-10-1  10     10         4.05, 6.23
    80-40-20-1     5      5          1.91, 1.96
    784-64-32-10   3      3          1.03, 1.06
    digits-deep    3      3          1.76, 1.77

784-64-32-10 took 4.7, 6.3 and 7.0 times the time of its oracle on a machine at three times its load, and 8.7 times
(seed 0, 43 s) on an idle one: more than the 5 that are aimed at. Of 16-32-32-16-4 only seeds 0 and 1 were run:
identical, at 9.0 and 7.8 queries per parameter; the last neurons of the second layer, on or off for less than one
input in a hundred, cost most. Eight hidden layers are not read off: the second layer was complete but for one neuron
after 19,000 queries, and kinks of deeper layers crowd the pool.

Conclusion: what made the difference was to follow every counterexample to the border of what is missing (some twenty
queries) in place of searching lines through it, and inputs at which most activations of a layer are small: neurons that
none of 200,000 random inputs switches on were found by them.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from jaxtract import (
    ExactContext,
    ExactNetwork,
    ExactNetworkOracle,
    ExtractOptions,
    certify,
    extract_network,
    load_target,
)
from jaxtract.network.families import exact_network, he, residual, with_skips
from jaxtract.network.structure import structure_of
from jaxtract.pictures.document import document_parser


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table: networks by seed, and how many of them."""

    name: str
    build: Callable[[int], ExactNetwork]
    seeds: int


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one extraction reached."""

    verdict: str
    outcome: str
    per_parameter: float
    ratio: float
    seconds: float
    structure: tuple[str, ...]


def cases() -> list[Case]:
    """All rows in the order of the table."""
    return [
        _he((10, 10, 10, 1), 50),
        _he((10, 15, 15, 1), 20),
        _he((10, 20, 20, 1), 20),
        _he((40, 20, 10, 10, 1), 10),
        _he((80, 40, 20, 1), 5),
        _he((16, 32, 32, 16, 4), 3),
        _he((784, 64, 32, 10), 3),
        Case("digits-deep", lambda seed: load_target("digits-deep").exact(), 3),
        Case("digits-conv", lambda seed: load_target("digits-conv").exact(), 3),
        _skipping("20-16-16-1, input to layer 2", [(0, 2)]),
        _skipping("20-16-16-1, input to output", [(0, 3)]),
        Case("20-16-16-1, residual block", lambda seed: residual((20, 16, 16, 1), seed).exact(), 10),
        Case("20-16-16-3, residual block", lambda seed: residual((20, 16, 16, 3), seed).exact(), 10),
    ]


def run(case: Case, seed: int) -> Trial:
    """Extract one network and compare it with the truth."""
    network = case.build(seed)
    extraction = extract_network(ExactNetworkOracle(network), ExactContext(), options=ExtractOptions(seed=seed))
    verdict, structure = "no network", ()
    if extraction.network is not None:
        verdict = certify(extraction.network, network).verdict
        structure = tuple(structure_of(extraction.network).in_words())
    return Trial(
        verdict,
        extraction.outcome.name.lower(),
        (extraction.queries.search + extraction.queries.measure) / network.parameters,
        extraction.seconds / extraction.oracle_seconds,
        extraction.seconds,
        structure,
    )


def table(chosen: Sequence[Case], seeds: int | None, console: Console) -> Table:
    """One row per case; every run that is not identical is named as it happens."""
    out = Table("case", "seeds", "identical", "per parameter (median, max)", "total / oracle", "seconds (median)")
    for case in chosen:
        count = case.seeds if seeds is None else min(seeds, case.seeds)
        trials = [run(case, seed) for seed in range(count)]
        for seed, trial in enumerate(trials):
            if trial.verdict != "identical":
                console.print(f"{case.name} seed {seed}: {trial.verdict}, {trial.outcome}")
        for line in sorted({line for trial in trials for line in trial.structure}):
            console.print(f"{case.name}: {line}")
        out.add_row(*_cells(case.name, trials))
        console.print("  ".join(_cells(case.name, trials)))
    return out


def _cells(name: str, trials: Sequence[Trial]) -> list[str]:
    costs = [trial.per_parameter for trial in trials]
    return [
        name,
        str(len(trials)),
        str(sum(trial.verdict == "identical" for trial in trials)),
        f"{statistics.median(costs):.2f}, {max(costs):.2f}",
        f"{statistics.median(trial.ratio for trial in trials):.1f}",
        f"{statistics.median(trial.seconds for trial in trials):.1f}",
    ]


def _he(widths: tuple[int, ...], seeds: int) -> Case:
    return Case("-".join(map(str, widths)), lambda seed: exact_network(he(widths, seed)), seeds)


def _skipping(name: str, places: list[tuple[int, int]]) -> Case:
    return Case(name, lambda seed: with_skips((20, 16, 16, 1), seed, places).exact(), 10)


def main() -> None:
    parser = document_parser(__doc__, small="one seed of the small cases")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="rows to run")
    options = parser.parse_args()
    chosen = [case for case in cases() if not options.only or case.name in options.only]
    if options.small:
        small = ("10-10-10-1", "10-15-15-1", "digits-deep", "20-16-16-1, residual block")
        chosen = [case for case in chosen if case.name in small]
    console = Console()
    console.print(table(chosen, 1 if options.small else None, console))


if __name__ == "__main__":
    main()
