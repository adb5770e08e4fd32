"""Question: is a network of one hidden layer read off exactly, in any position, and what does it cost?

Claim of the papers: Daniely and Granot 2023, Theorem 1: a polynomial number of queries recovers any depth-two
network in general position, with two neurons more than it has. Chen, Klivans, Meka 2021: without any
condition on the position, up to a small square loss.

Set-up: He Gaussian networks (biases N(0, 0.1^2)) served without rounding, widths unknown to the extractor; then the
worst cases: every family of ``jaxtract.network.families`` at five shapes, and pairs 2^-60 and 2^-200 apart.
A run counts as a success if ``certify`` proves the recovered network identical. "per parameter" is
(search + measure) / (weights + biases); "total / oracle" compares wall clocks of the same run.

Run: python -m experiments.depth_two [--small] [--only CASE ...]        (seeds 0, 1, 2, ... for network and queries)

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, 2 cores, other work running; three minutes):

    case             seeds  identical  max rel. error  claim    per parameter (median, max)  total / oracle
    20-10-1          20     20         0               exact    1.210, 1.281                 3.39
    10-40-1          20     20         0               exact    1.229, 1.318                 2.55
    784-32-1         3      3          0               exact    1.035, 1.035                 1.75
    784-128-1        3      3          0               exact    1.011, 1.012                 1.31
    10-100-1         5      5          0               exact    1.228, 1.256                 2.98
    20-10-1 mp 200   20     0          9.1e-126        refined  1.204, 1.281                 4.31
    10-40-1 mp 200   20     0          9.6e-126        refined  1.217, 1.268                 3.12
    he               20     20         0               exact    1.217, 1.641                 2.85
    uniform          20     20         0               exact    1.182, 1.655                 2.94
    orthogonal       20     20         0               exact    1.201, 1.545                 2.81
    integer          20     20         0               exact    1.191, 1.609                 2.98
    parallel         20     20         0               exact    1.180, 1.669                 2.91
    coincident       20     20         0               exact    0.822, 1.400                 3.10
    bump             20     20         0               exact    1.192, 1.641                 2.89
    gap              20     20         0               exact    7.868, 9.586                 2.90
    wide-range       20     20         0               exact    1.129, 1.469                 2.97
    zero-rows        20     20         0               exact    1.194, 1.732                 2.67
    dead             20     20         0               exact    1.195, 1.629                 2.77
    duplicate        20     20         0               exact    1.297, 1.857                 2.91
    gap 2^-60        20     20         0               exact    2.991, 3.846                 2.84
    gap 2^-200       20     20         0               exact    7.868, 9.586                 2.93

Conclusion: all 331 networks of the exact rows are recovered as the same function, over the rationals, the
worst cases included; the mp rows agree with the truth to 2^-415 where 2^-200 was asked. One query per
weight is the information limit when an answer is one number; what is above it is the search (about six
queries a kink) and one gradient more than there are neurons. Pairs 2^-200 apart cost up to 9.6 queries per
parameter on these small networks: 200 halvings for each pair whose output weights cancel. In the row
"coincident" the recovered network is smaller than the given one, which had neurons to spare.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from jaxtract import DepthTwoOptions, ExactContext, ExactNetwork, ExactNetworkOracle, certify, extract_depth_two, mp
from jaxtract.network.families import FAMILIES, exact_network, gap, he
from jaxtract.pictures.charts import growth
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import save_figure

SHAPES = ((8, 12, 2), (20, 16, 1), (4, 24, 1), (2, 9, 3), (1, 6, 2))


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table: networks by seed, how many of them, and the context."""

    name: str
    build: Callable[[int], ExactNetwork]
    seeds: int
    prec: int | None = None


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one extraction reached."""

    identical: bool
    error: float | None
    claim: str
    parameters: int
    queries: int
    ratio: float

    @property
    def per_parameter(self) -> float:
        return self.queries / self.parameters if self.parameters else float("nan")


def cases() -> list[Case]:
    """All rows in the order of the table."""
    rows = [
        _he((20, 10, 1), 20),
        _he((10, 40, 1), 20),
        _he((784, 32, 1), 3),
        _he((784, 128, 1), 3),
        _he((10, 100, 1), 5),
        _he((20, 10, 1), 20, prec=200),
        _he((10, 40, 1), 20, prec=200),
    ]
    hard = {**FAMILIES, "gap 2^-60": functools.partial(gap, bits=60), "gap 2^-200": functools.partial(gap, bits=200)}
    rows += [Case(name, functools.partial(_of_shape, family), 4 * len(SHAPES)) for name, family in hard.items()]
    return rows


def run(case: Case, seed: int) -> Trial:
    """Extract one network and compare it with the truth."""
    network = case.build(seed)
    context = ExactContext() if case.prec is None else mp(case.prec)
    extraction = extract_depth_two(ExactNetworkOracle(network), context, options=DepthTwoOptions(seed=seed))
    if extraction.network is None:
        return Trial(False, None, extraction.claim, 0, 0, float("nan"))
    certificate = certify(extraction.network, network)
    return Trial(
        certificate.verdict == "identical",
        certificate.max_relative_error,
        extraction.claim,
        extraction.network.parameters,
        extraction.queries.search + extraction.queries.measure,
        extraction.seconds / extraction.oracle_seconds,
    )


def measure(chosen: Sequence[Case], seeds: int | None) -> dict[str, list[Trial]]:
    """All trials by case."""
    return {case.name: [run(case, seed) for seed in range(min(case.seeds, seeds or case.seeds))] for case in chosen}


def table(results: dict[str, list[Trial]]) -> Table:
    """The figures of the cases side by side."""
    out = Table("case", "seeds", "identical", "max rel. error", "claim", "per parameter, max", "total / oracle")
    for name, trials in results.items():
        errors = [trial.error for trial in trials if trial.error is not None]
        costs = [trial.per_parameter for trial in trials]
        out.add_row(
            name,
            str(len(trials)),
            str(sum(trial.identical for trial in trials)),
            f"{max(errors):.2g}" if errors else "-",
            ", ".join(sorted({trial.claim for trial in trials})),
            f"{statistics.median(costs):.3f}, {max(costs):.3f}",
            f"{statistics.median(trial.ratio for trial in trials):.2f}",
        )
    return out


def plot(results: dict[str, list[Trial]]) -> Figure:
    """Queries over parameters."""
    kinds: dict[str, list[tuple[float, float]]] = {}
    for name, trials in results.items():
        kind = "rounded to 200 bits" if " mp " in name else "He Gaussian" if name[0].isdigit() else "worst cases"
        kinds.setdefault(kind, []).extend((trial.parameters, trial.queries) for trial in trials if trial.queries)
    return growth(kinds, x="parameters", y="queries (search and measure)", proportional="one query a parameter")


def _he(widths: tuple[int, ...], seeds: int, *, prec: int | None = None) -> Case:
    name = "-".join(str(width) for width in widths) + ("" if prec is None else f" mp {prec}")
    return Case(name, lambda seed: exact_network(he(widths, seed)), seeds, prec)


def _of_shape(family: Callable[..., object], seed: int) -> ExactNetwork:
    widths = SHAPES[seed % len(SHAPES)]
    return exact_network(family(widths, seed // len(SHAPES)))  # type: ignore[arg-type]


def main() -> None:
    parser = document_parser(__doc__, small="one seed of the small cases")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="rows by name")
    options = parser.parse_args()
    chosen = [case for case in cases() if options.only is None or case.name in options.only]
    if options.small:
        chosen = [case for case in chosen if "784" not in case.name and "100" not in case.name]
    results = measure(chosen, 1 if options.small else None)
    Console(width=150).print(table(results))
    if options.out:
        save_figure(plot(results), options.out / "queries.svg")


if __name__ == "__main__":
    main()
