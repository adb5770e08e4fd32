"""Question: does a black box that answers in doubles give its network away, and for how many queries?

Claim of the paper (Carlini, Jagielski, Mironov 2020, "Cryptanalytic Extraction of Neural Network Models", abstract):
with the architecture given, a network of 4,000 parameters in 2^18.5 queries with a worst-case error of 2^-40.4, one
of 100,000 parameters in 2^21.5 queries with 2^-25. Its code, run by us on one seed of each shape below, asked the
queries of the column "theirs".

Set-up: He Gaussian networks (biases N(0, 0.1^2)), served in float64 by JAX on the CPU; depth and widths unknown to the
extractor. 200 fresh inputs and 5 fresh lines verify a result; these queries count. "error" is the largest error of a
weight or bias against the largest of its row, both networks in canonical form; a network counts as recovered if the
result is complete, its widths are right and every row has a partner. "epsilon" is the largest |f - f'| at 2,000
Gaussian inputs, both evaluated without rounding: a search, no bound. "unverified" is per parameter, too, without the
queries that verify. Each column of figures has the median over the networks recovered, "error" the largest and in
brackets the median.

Run: python -m experiments.carlini_2020 [--small] [--only SHAPE ...] [--seeds SEED ...] [--trained] [--out DIR]
(seeds 0, 1, 2, ... unless told)

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, scikit-learn 1.9.1, 2 cores that did other work too, so that
times say little; one shape after the other, --only SHAPE):

    He Gaussian    seeds  recovered  queries  per parameter  unverified  theirs / ours  error              epsilon
    20-10-1        10     10         973      4.40           2.67        18             2.6e-15 (1.3e-15)  5.2e-15
    10-10-10-1     10     10         3004     13.01          7.90        18             7.2e-12 (1.4e-15)  6.8e-16
    10-15-15-1     10     10         4990     11.85          9.06        21             9.4e-14 (7.8e-15)  7.9e-16
    10-20-20-1     10     10         9212     13.94          11.93       27             4.2e-14 (2.1e-14)  1.1e-15
    40-20-10-10-1  3      3          8309     7.22           5.83        58             6.5e-14 (2.6e-14)  3.6e-14
    80-40-20-1     3      3          28481    6.98           6.58        15             4.4e-14 (8.2e-15)  2.3e-15
    784-32-1       3      3          27674    1.10           1.07        92             1.2e-14 (7.3e-15)  2.1e-14
    784-128-1      3      3          125306   1.25           1.22        21             1.8e-14 (1.2e-14)  2.1e-14

    trained        seeds  recovered  queries  per parameter  unverified  theirs / ours  error              epsilon
    20-10-1        10     10         972      4.40           2.66        19             2.1e-14 (6.5e-15)  4.9e-15
    10-10-10-1     10     10         2554     11.05          6.66        21             1.0e-14 (1.2e-15)  4.4e-16
    10-15-15-1     10     10         5062     12.02          9.20        20             2.9e-14 (1.4e-15)  4.9e-16
    10-20-20-1     10     10         8557     12.95          10.98       29             1.7e-14 (3.1e-15)  7.1e-16

The rows of two hidden layers of 20 drawn and of 40-20-10-10-1 are of the present code, 10-10-10-1, 10-15-15-1 and
20-10-1 were run again beside the document and are what they were but for single seeds, the others are of older code.
Before the fourth layer is walked, every layer before it is sharpened by sightings all over its boundaries, four queries
each; after the polish, inputs are looked for that tell the parameters that are known worst, ten to forty queries. The
polish begins with what the search asked, and asks for what that hardly shows: where nothing was lacking, for hardly any
in place of 250 to 700 inputs (medians before: 3,246, 5,428 and 9,904 queries drawn, 2,735, 5,580 and 9,236 trained).

40-20-10-10-1 takes 11,409, 8,309 and 7,102 queries (9.9, 7.2 and 6.2 per parameter; 12,292, 9,185 and 8,097 before).
What the search asked polishes a network that lacks a neuron, too, with some 120 inputs at random in place of 1,220. An
input that shows a parameter better than all others together was taken for a sign of a missing neuron, though it was far
off for the error of that parameter alone: whole rounds of new lines were spent on it. Seeds 3 to 9, beside the
document: 13,587, 16,478, 9,688, 8,648, 7,569, 10,120 and 47,568 queries, 16,596, 17,612, 30,698, 9,665, 7,569, 11,649
and 15,722 before: a network of seed 9 whose rows are right to a few bits only is polished in turns that hang on the
inputs drawn. The largest counts are 15,184 for He 10-10-10-1 (seed 5, of which older code asked less than 4,344),
23,553 for He 10-20-20-1 (seed 4; 9,607 with 1,000 inputs at random in the polish, 11,942 before) and 10,345 for trained
10-20-20-1. 80-40-20-1 takes 36,133, 27,382 and 28,481 queries (epsilon of seeds 0 and 2 only).

Errors above 1e-13, with what the rounding of answers alone leaves at the inputs of the polish (``rounding_bound``):
10-10-10-1 seed 5 7.2e-12 (bound 1.6e-11; a neuron of the last hidden layer bends f by 2^-18 of the others). 10-15-15-1
seed 1 is at 9.4e-14 (1.9e-13; 2.2e-13 before more answers than inputs of the polish told it). The bound leaves out what
no input of its own shows: 10-20-20-1 seed 4 has a neuron that is on at 2 of 10,000 Gaussian inputs, and reads another
that is on at one in twenty of these. One input that was asked showed that weight, by little, and left an error of
2.2e-11, 30 bits by its own estimate. Inputs in that corner tell it: 1.4e-14 now. So it was with 40-20-10-10-1 seed 1
(1.7e-12 before, 1.9e-14 now, 42 queries more). 20-10-1 seed 5, an output weight of 7e-6 beside a constant of 0.28,
shows that the bound is none for one hidden layer: 2.6e-15 against 4.7e-12, since the steps of the rounding can be met
one by one (``jaxtract/polish/rounding_steps.py``, 96 queries).

One hidden layer takes one gradient a neuron in all coordinates, 100,480 of the 123,153 queries of 784-128-1 seed 0
before verification, and the gradients of its first line on a slice of 164 dimensions, 21,548 with those for longer
steps; 721 are the search of that line, 404 all else. 4 of the steps outside the slice were too long and asked again.
With a gradient a region of the line in all coordinates (the code before) it took 2.018 per parameter without
verification, 784-32-1 1.96 at 3.8e-13, and 20-10-1 1,377 queries at the median. Now and then a hyperplane was taken
for a deeper neuron, as with 784-128-1 seed 2, since it was looked for farther out than its slope was known for: in 9 of
80 networks of one hidden layer (20 each of 20-10-1, 60-8-1, 200-60-1 and 300-40-1), in none of these now.

One run each beside the document: digits-eight (eight hidden layers of 16, seed 0, 500 s with two other processes on the
two cores): after 64,939 queries layers 1, 2 and 3 whole, to 1e-11, 8e-11 and 6e-8 at worst and 1e-12, 2e-13 and 9e-11
at the median (a row against the true one), and 13 neurons of layer 4, to 7e-7 at worst and 1e-8 at the median; no row
wrong, one weight open; no network. What had stopped it at layer 3: its 16 signs take part in fewer equations than there
are unknowns, and between roundings only a full system was believed. They are one of two each: three equations of one
neuron, with 25 bits to spare, told six of them, and the others followed (``walk/rounded_signs.py``). What stops it now:
two neurons of layer 4 are on wherever a line comes; between rationals they are read as linear units, from walks over
both layers before them, and such walks do not get through between roundings (tried once, eight walks, four of them of
layer 5: no row). Another 40,000 queries brought nothing.
10-10-10-1 from answers in float32, seeds 0, 1, 2: none (taken for one hidden layer of 14 neurons and refuted; twice
incomplete after 52,611 and 56,075 queries).

Conclusion: what is recovered is right to the rounding of the oracle in nearly every weight, and a tenth of the queries
is enough at the median for two or three hidden layers; with one hidden layer of 784 inputs 1.1 to 1.25 queries a
parameter. A neuron that is on for one input in ten thousand is read from what the polished network leaves. What is
missing is the rest of a network that is deep and narrow (digits-eight), and fewer queries where the last neurons of a
layer are met by few lines.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxtract import ExactNetwork, ExtractOptions, Float64NetworkOracle, Outcome, extract_network, float64
from jaxtract.certificate.matching import match
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.families import he
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from jaxtract.pictures.charts import growth
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import save_figure
from jaxtract.polish.chosen_inputs import MOST_PARAMETERS
from jaxtract.polish.gauss_newton import rounding_bound
from jaxtract.search.random_lines import gaussian_points
from precision.balls import to_float

THEIRS = {
    (20, 10, 1): 17_989,
    (10, 10, 10, 1): 52_676,
    (10, 15, 15, 1): 102_717,
    (10, 20, 20, 1): 249_320,
    (40, 20, 10, 10, 1): 482_734,
    (80, 40, 20, 1): 432_407,
    (784, 32, 1): 2_549_971,
    (784, 128, 1): 2_600_000,
}
"""Queries of the paper's code as measured; medians of runs without a network for 784 inputs and 40-20-10-10-1."""

SEEDS = {(40, 20, 10, 10, 1): 3, (80, 40, 20, 1): 3, (784, 32, 1): 3, (784, 128, 1): 3}
MOST_SEEDS = 10
SMALL = ((20, 10, 1), (10, 10, 10, 1))
INPUTS = 2000

SAMPLES, BATCH, EPOCHS = 1000, 32, 100
"""Random inputs with random labels that ``--trained`` networks are fitted to, rows per step and times over all."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one extraction reached; ``error`` is None where the network was not recovered.

    ``bound``: what the rounding of answers to doubles leaves (``rounding_bound``); None where it was not computed.
    """

    outcome: str
    widths: tuple[int, ...] | None
    queries: int
    unverified: int
    parameters: int
    error: float | None
    bound: float | None
    claimed_bits: int | None
    epsilon: float
    seconds: float


def trained(widths: tuple[int, ...], seed: int) -> ReLUNetwork:
    """A network that was trained to fit labels drawn at random, as those of the paper are (its ``train_models.py``).

    Args:
        widths: (inputs, hidden widths ..., 1).
        seed: of the inputs, labels, first weights and batches.

    Raises:
        ValueError: more than one output.
    """
    # Comes with the extra "test"; networks that are drawn need none of it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    if widths[-1] != 1:
        raise ValueError(f"a regression has one output, got the widths {'-'.join(map(str, widths))}")
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((SAMPLES, widths[0]))
    labels = (rng.standard_normal(SAMPLES) > 0).astype(np.float64)
    model = MLPRegressor(
        hidden_layer_sizes=widths[1:-1],
        alpha=0.0,
        batch_size=BATCH,
        max_iter=EPOCHS,
        random_state=seed,
        tol=0.0,
        n_iter_no_change=EPOCHS,
    )
    with warnings.catch_warnings():
        # A fixed number of epochs is what was decided; that the loss might fall further is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, labels)
    return ReLUNetwork([weight.T for weight in model.coefs_], model.intercepts_)


def run(widths: tuple[int, ...], seed: int, network_of: Callable[[tuple[int, ...], int], ReLUNetwork] = he) -> Trial:
    """Extract one network from its answers in float64 and compare it with the truth."""
    drawn = network_of(widths, seed)
    network = drawn.exact()
    options = ExtractOptions(seed=seed, verify_inputs=200, verify_lines=5)
    found = extract_network(Float64NetworkOracle(drawn), float64(), options=options)
    complete = found.network is not None and found.outcome is Outcome.COMPLETE
    error = error_of(found.network, network) if complete else None
    return Trial(
        found.outcome.name.lower(),
        None if found.network is None else found.network.widths,
        found.queries.total,
        found.queries.search + found.queries.measure,
        network.parameters,
        error,
        rounding_bound(network, np.random.default_rng(seed), 53) if network.parameters <= MOST_PARAMETERS else None,
        found.accuracy_bits,
        float("nan") if found.network is None else epsilon(found.network, network, seed),
        found.seconds,
    )


def error_of(found: ExactNetwork, truth: ExactNetwork) -> float | None:
    """The largest error against the largest number of its row; None where the networks have no common rows."""
    forms = [canonical_form(n) for n in (found, truth)]
    if forms[0].widths != forms[1].widths:
        return None
    matching = match(*map(float64_scaled, forms))
    return None if matching.unmatched else to_float(matching.error)


def epsilon(found: ExactNetwork, truth: ExactNetwork, seed: int) -> float:
    """The largest difference that was met."""
    points = scattered(gaussian_points(INPUTS, truth.inputs, 0, np.random.default_rng(seed)))
    differences = FlintEvaluator(found)(points) - FlintEvaluator(truth)(points)
    return max(abs(to_float(x)) for x in differences.ravel())


def sentence(trial: Trial) -> str:
    """One extraction in words."""
    error = "not recovered" if trial.error is None else f"largest error {trial.error:.1e}"
    if trial.bound is not None:
        error += f" (rounding alone: {trial.bound:.1e})"
    return f"{trial.outcome}, {trial.widths}, {trial.queries} queries, {error}, {trial.seconds:.0f} s"


def table(results: dict[tuple[int, ...], list[Trial]]) -> Table:
    """One row per shape."""
    columns = ("network", "seeds", "recovered", "queries", "per parameter", "unverified", "theirs / ours")
    out = Table(*columns, "error", "epsilon", "seconds")
    for widths, trials in results.items():
        good = [t for t in trials if t.error is not None]
        queries = float(np.median([t.queries for t in good])) if good else float("nan")
        errors = [t.error for t in good if t.error is not None]
        out.add_row(
            "-".join(map(str, widths)),
            str(len(trials)),
            str(len(good)),
            f"{queries:.0f}",
            f"{queries / trials[0].parameters:.2f}",
            f"{np.median([t.unverified / t.parameters for t in good]):.2f}" if good else "-",
            f"{THEIRS[widths] / queries:.0f}",
            f"{max(errors):.1e} ({np.median(errors):.1e})" if errors else "-",
            f"{np.median([t.epsilon for t in good]):.1e}" if good else "-",
            f"{np.median([t.seconds for t in trials]):.0f}",
        )
    return out


def draw(results: dict[tuple[int, ...], list[Trial]], directory: Path) -> None:
    """Queries over the number of parameters, ours and those of the paper's code."""
    ours = [(t.parameters, t.queries) for trials in results.values() for t in trials if t.error is not None]
    theirs = [(trials[0].parameters, THEIRS[widths]) for widths, trials in results.items()]
    figure = growth({"jaxtract": ours, "code of the paper": theirs}, x="parameters", y="queries")
    save_figure(figure, directory / "queries.svg")


def chosen_shapes(names: Sequence[str] | None) -> list[tuple[int, ...]]:
    """The shapes named, all where none is."""
    wanted = [tuple(map(int, name.split("-"))) for name in names or ()]
    unknown = [name for name, widths in zip(names or (), wanted, strict=True) if widths not in THEIRS]
    if unknown:
        known = ", ".join("-".join(map(str, widths)) for widths in THEIRS)
        raise SystemExit(f"no shape {', '.join(unknown)}; there are {known}")
    return wanted or list(THEIRS)


def main() -> None:
    parser = document_parser(__doc__, small="two shapes and one seed")
    parser.add_argument("--only", nargs="+", metavar="SHAPE", help="such as 10-20-20-1")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="instead of 0, 1, 2, ...")
    parser.add_argument("--trained", action="store_true", help="networks that were trained, not drawn")
    options = parser.parse_args()
    shapes = list(SMALL) if options.small else chosen_shapes(options.only)
    console = Console(width=150)
    results: dict[tuple[int, ...], list[Trial]] = {}
    for widths in shapes:
        seeds = options.seeds or range(1 if options.small else SEEDS.get(widths, MOST_SEEDS))
        name = "-".join(map(str, widths))
        results[widths] = []
        for seed in track(seeds, name, console=Console(stderr=True)):
            trial = run(widths, seed, trained if options.trained else he)
            results[widths].append(trial)
            console.print(f"{name} seed {seed}: {sentence(trial)}")
    console.print(table(results))
    if options.out:
        draw(results, options.out)


if __name__ == "__main__":
    main()
