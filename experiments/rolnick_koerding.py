"""Question: is a network of any depth, its depth and widths unknown, read off exactly, and what does it cost?

Claim of the papers: Rolnick and Koerding 2020, sections 4.2 and 4.3: the first layer from boundaries that never bend,
deeper layers from boundaries that bend at known ones, where the boundaries are connected and intersect. Daniely and
Granot 2023, Theorem 2: depth three, exactly, when the first width is below the input and the second width.

Set-up: He Gaussian networks (biases N(0, 0.1^2)) and the trained target digits-deep, served without rounding; depth and
widths unknown to the extractor. A run counts as a success if ``certify`` proves the recovered network identical.
"per parameter" is (search + measure) / (weights and biases of the true network); "total / oracle" compares wall clocks
of the same run.

Run: python -m experiments.rolnick_koerding [--small] [--out DIR] [--parts PART ...] [--only NAME ...] [--seeds N]
(seeds 0, 1, 2, ... for network and queries)

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, 2 cores, much other work running, so that times say little):

    case                         seeds  identical  per parameter (median, max)
    20-16-16-1, input to layer 2   20     20         8.91, 12.27
    20-16-16-1, input to output    20     20         7.98, 12.90
    20-16-16-1, residual block     20     20         3.01, 3.35
    20-16-16-3, residual block     20     20         2.58, 6.75
    digits-conv                     3      3          1.84, 3.22

Skips and convolutions are not announced either; each row's skips, and the two convolutions with their kernels, were
named (``structure_of``). Where everything that reads a neuron reads its inputs, too, its sign is a symmetry: all of
layer 1 in the first row, all of layer 2 in the residual ones. The plain networks:

    case           seeds  identical  per parameter (median, max)
    10-10-10-1     50     50         3.96, 8.73
    10-15-15-1     20     20         3.78, 4.24
    10-20-20-1     20     20         3.63, 6.12
    40-20-10-10-1  10     10         3.40, 5.89
    80-40-20-1     5      5          1.74, 1.77
    16-32-32-16-4  10     10         4.71, 7.14
    784-64-32-10   3      3          0.99, 1.00
    digits-deep    3      3          1.54, 1.61

784-64-32-10 took 4.1 times the time of its oracle at the median, with another process on the two cores; 5 is aimed at.
Kinks of one neuron are put together before a walk, which is the shorter for it: 16-32-32-16-4 took 5.20 at the median
without (5 is aimed at). It helps at the median and not everywhere: 40-20-10-10-1 seed 5 took 4.08 before and takes
5.89, seed 0 went from 4.51 to 6.24 and, with smaller first waves at a new layer, to 3.83.

Eight hidden layers (digits-eight, 3,114 parameters), from the start: after 134,282 queries of search and measurement,
10,302 that verify and 764 s a network of 16, 16, 16, 16, 16, 15, 12 and 16 neurons agreed with the black box at 1,000
fresh inputs of eleven scales and on all pieces of 20 fresh lines. Every row is that of a neuron of the truth, one of
layer 5 without its boundary; 20 weights of the layers 6, 7 and 8 were shown by no query and are zero. It lacks neurons
that hardly any input switches on. (With other random choices it had a false row in layer 4 and five layers after
132,000 queries, and was stopped: it hangs on what lines happen to meet.)

200,000 fresh inputs in place of 1,000 meet what is lacking. A run continued from saved states while the code changed
under it has all 125 neurons that are ever on, 14 weights of the layers 6, 7 and 8 zero that no query showed, after
154,001 queries of search and measurement and 719,204 that verify. ``certify`` proves it identical: 1,944 of its cases
(124,387 linear programs), 392 s with a profiler and other work beside, 21,784 leaves, 147 MB. (The checker was not run
over that: it writes every case out anew, and would take hours.) Three of the 128 neurons are on nowhere: the shipped
network and the one without them take 9 s and 3.6 MB.

What had stopped the proof: of 29 questions about open weights one took 97,000 programs for the truth, and its twin for
the recovered network more than 200,000. Programs knew of a unit s(z) >= z and s(z) >= 0. That s(z) is at most the part
of z with positive weights is the other half of what is known without cases; to judge splits by those before them takes
fewer programs for each, and lets 24 units be judged in place of 6. Six questions of the truth together took 35,100
programs, 23,900 with the first and 11,200 with both; the worst one 97,000, 105,000 and 14,500. And the cases of a unit
are tried first on the one that should be its equal.

Through ``extract_network`` from the start (seed 0, other random choices, 250,000 fresh inputs) it was complete after
149,395 queries of search and measurement and 347,034 that verify, and ``certify`` proves it identical (1,944 cases, 377
s). It took 3,760 s, two other processes on the two cores: every row that is ever on after 1,933 s, the rest are inputs
at which open weights act, 290,000 fresh inputs, and linear programs for what no input shows. A row of layer 7 was
false, read while layer 6 lacked a neuron; nothing reads it, and it is not in the network. An earlier run had used up
its 12 rounds of new lines, most of which had brought neurons, and spent 83,000 queries on the hypothesis of skips, in
vain; rounds that bring a neuron are not counted any more. And of its weights 39 were open, and every 100,000 fresh
inputs showed one of them. They are looked for before fresh inputs are asked now, and an input at which the recovered
function is wrong is an equation for every output (``unseen/at_inputs.py``): from the state with 39 open weights, 191
queries told 25 of them in six rounds, and that run, too, is complete and identical.

What had stopped it earlier: inputs at which open weights act are rarer than one in ten million. Inputs that climb
together find most in a second, and linear programs over all layers the others (``unseen/meeting.py``,
``equality/few_layers.py``); they are programs of HiGHS that are kept from case to case, fifty times as many a second.
What was told before: the boundary of a neuron of layer 8 lies almost wholly in one region of layer 7 and passed for a
row of that layer; a row all of whose kinks are a later neuron's, too, is dropped. The output is told at few places at
which hardly any open weight can act, as more equations than unknowns must agree. An open weight takes two places.
Straight continuations of boundaries are asked again whenever a layer before them grows, 59,000 of the 134,000 queries;
to ask seldomer cost 16-32-32-16-4 seed 4 half as much again and led the run from the start to false rows.

40-16-12-8-6-4-1 seeds 5, 17 and 26 took 10.8, 10.1 and 11.9 by older code. 8-8-6-6-1 with two neurons of layer 2 that
are always on (He, their weights and biases without sign): seeds 1, 2 and 4 identical, 0 and 3 not within 15,000
queries.

64-16-16-16-16-16-16-16-16-10 (He, random: neurons from hardly ever to always on). Seed 0, continued from its states as
the code grew: all 128 neurons of all eight layers, COMPLETE with 20,000 fresh inputs, 284,858 queries of search and
measurement (91 a parameter) and 154,578 that verify; three weights of layer 5 were not seen and are zero. From the
start, its state after 191,656 queries (23 minutes) continued by this code for another 45: all 128 neurons, two false
rows of layer 7 beside them, all rows right but for 16 open weights of the layers 7 and 8 after 294,429 queries for any
purpose. Code before had set weights that inputs tell of several layers at once one layer after the other, the later
ones in a scale that the earlier ones had changed: wrong weights in layer 5, and nothing fitted after 320,000. Seed 1:
two rows of layer 5 have weights that nothing shows on a neuron that is on nearly everywhere, and no walk behind them
fits. Seed 2: layers 1, 2, 4, 5 and 6 whole and 15 rows of 3 after 431,000 queries; layer 7 has three neurons that are
always on, over 13 activations that are ever on, and what layer 8 reads past the 12 rows tells no signs. Both stopped.

Growth with one number of the shape (--parts growth; seeds 0 .. 19; 14 minutes). "layer 1 after": median queries of
search and measurement after which layer 1 was complete.

    network     identical  queries (median)  per parameter  layer 1 after
    5-10-10-1   19 of 20   938               5.18           484
    10-10-10-1  20 of 20   981               4.25           572
    20-10-10-1  20 of 20   1218              3.68           754
    40-10-10-1  20 of 20   1330              2.51           1007
    80-10-10-1  20 of 20   1805              1.94           1395
    10-4-10-1   20 of 20   674               6.42           422
    10-6-10-1   20 of 20   886               6.03           476
    10-14-10-1  20 of 20   1320              4.19           686
    10-20-10-1  20 of 20   1682              3.81           864
    10-10-4-1   20 of 20   622               3.91           473
    10-10-6-1   20 of 20   771               4.21           504
    10-10-14-1  20 of 20   1668              5.98           658
    10-10-20-1  20 of 20   2104              6.00           822

    queries                  all ~    layer 1 ~  parameters ~
    inputs d, d-10-10-1      d^0.24   d^0.38     d^0.59
    first width, 10-n-10-1   n^0.56   n^0.51     n^0.89
    second width, 10-10-n-1  n^0.70   n^0.22     n^0.49

The paper bounds nothing by a formula; parameters are what any method has to ask for, and queries grow more slowly than
they do with the inputs and the first width, faster with the second. The miss, 5-10-10-1 seed 10, was claimed exact: one
row of layer 2 is wrong, and f with it at 25 of a million Gaussian inputs of standard deviation 1000, at 5 of a million
of 10 and at none of a million of 1, so that 1,000 fresh inputs hardly show it; ``certify`` has a witness.

What a budget leaves (--parts budget; seeds 0 .. 19): the share of a layer's neurons of which all weights are found,
exactly, mean and worst, when queries for any purpose end at so many per parameter; "all" of 20 networks. What is found
is exact, so that there is no other error.

                   10-10-10-1                     20-10-10-1
    per parameter  layer 1     layer 2     all    layer 1     layer 2     all
    2              0.00, 0.00  0.00, 0.00  0      0.03, 0.00  0.00, 0.00  0
    2.25           0.10, 0.00  0.00, 0.00  0      0.45, 0.00  0.00, 0.00  0
    2.5            0.50, 0.00  0.05, 0.00  0      0.75, 0.00  0.16, 0.00  0
    3              0.90, 0.00  0.24, 0.00  0      0.90, 0.00  0.55, 0.00  0
    3.5            1.00, 1.00  0.57, 0.00  0      0.95, 0.00  0.80, 0.00  3
    4              1.00, 1.00  0.79, 0.60  1      0.95, 0.00  0.86, 0.00  6
    5              1.00, 1.00  0.89, 0.70  6      0.95, 0.00  0.89, 0.00  8
    6              1.00, 1.00  0.90, 0.70  7      0.95, 0.00  0.93, 0.00  16
    8              1.00, 1.00  0.98, 0.90  17     0.95, 0.00  0.95, 0.00  19
    10             1.00, 1.00  1.00, 1.00  20     0.95, 0.00  0.95, 0.00  19

One network of 20-10-10-1 shows nothing of its layers with 10 queries a parameter; without a budget it is read off.

Narrow networks (--parts narrow; 6,000 queries at most; seeds 0 .. 19): the share of every layer's neurons that are
found, and, of neurons of layer 2, found and missed, the share of layer 1 whose boundaries theirs is seen to meet in 100
random planes, the paper's condition.

    network  identical  layer 1  layer 2  worst network  meets: found, missed
    8-8-8-1  20 of 20   1.00     1.00     1.00           1.00 of 160, -
    4-4-4-1  18 of 20   0.94     0.90     0.00           0.90 of 72, 0.91 of 8

4-4-4-1 seeds 7 and 8 spend the budget at none and three of eight neurons found, and say so; that boundaries do not
meet is not what stops them. 2-4-4-1 and three hidden layers (8-8-8-8-1, 6-6-6-6-1, 4-4-4-4-1) have no full run yet.

Conclusion: what made the difference was to follow every counterexample to the border of what is missing (some twenty
queries) in place of searching lines through it, and inputs at which most activations of a layer are small: neurons that
none of 200,000 random inputs switches on were found by them.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from flint import fmpq
from rich.console import Console
from rich.table import Table

from jaxtract import (
    AnyDepthOptions,
    DepthTwoOptions,
    ExactContext,
    ExactNetwork,
    ExactNetworkOracle,
    ExtractOptions,
    Outcome,
    certify,
    extract_network,
    load_target,
)
from jaxtract.certificate.matching import Pair, match_rows
from jaxtract.layers.any_depth.extract import AnyDepth
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.depth_two import DepthTwo
from jaxtract.network.families import exact_network, he, residual, with_skips
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.network.structure import structure_of
from jaxtract.oracle.counting import QueryCount
from jaxtract.pictures.boundaries import boundaries_in, next_forms, values_of
from jaxtract.pictures.charts import exponent, growth, rates, spread
from jaxtract.pictures.document import document_parser, varied
from jaxtract.pictures.figures import save_figure
from jaxtract.pictures.plane import Window, random_window
from jaxtract.report.progress import NoProgressMeter

PARTS = ("networks", "growth", "budget", "narrow")
SEEDS = 20

SWEEPS = {
    "inputs d, d-10-10-1": [(d, 10, 10, 1) for d in (5, 10, 20, 40, 80)],
    "first width n, 10-n-10-1": [(10, n, 10, 1) for n in (4, 6, 10, 14, 20)],
    "second width n, 10-10-n-1": [(10, 10, n, 1) for n in (4, 6, 10, 14, 20)],
}
"""Shapes that differ in one number each."""

BUDGETED = ((10, 10, 10, 1), (20, 10, 10, 1), (10, 20, 10, 1))
BUDGETS = (1.5, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 5, 6, 8, 10)
"""Queries per parameter of the true network."""

NARROW = ((8, 8, 8, 1), (4, 4, 4, 1), (2, 4, 4, 1), (8, 8, 8, 8, 1), (6, 6, 6, 6, 1), (4, 4, 4, 4, 1))
NARROW_BUDGET = 6000
SLICES = 100
"""Random planes, of scales 1 and 10 in turn, in which boundaries of adjacent layers are looked for that intersect."""

MEETING = 1e-9
"""How near, in units of the window, the end of a segment must be to the boundary that it meets."""


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
    parameters: int
    queries: int
    ratio: float
    seconds: float
    structure: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return self.verdict == "identical"

    @property
    def per_parameter(self) -> float:
        return self.queries / self.parameters


# --- part 1: networks


def cases() -> list[Case]:
    """All rows in the order of the table."""
    return [
        _he((10, 10, 10, 1), 50),
        _he((10, 15, 15, 1), 20),
        _he((10, 20, 20, 1), 20),
        _he((40, 20, 10, 10, 1), 10),
        _he((80, 40, 20, 1), 5),
        _he((16, 32, 32, 16, 4), 10),
        _he((784, 64, 32, 10), 3),
        Case("10-10-10-2, biases N(0, 1)", lambda seed: exact_network(he((10, 10, 10, 2), seed, bias_std=1.0)), 20),
        Case("digits-deep", lambda seed: load_target("digits-deep").exact(), 3),
        Case("digits-conv", lambda seed: load_target("digits-conv").exact(), 3),
        _skipping("20-16-16-1, input to layer 2", [(0, 2)]),
        _skipping("20-16-16-1, input to output", [(0, 3)]),
        Case("20-16-16-1, residual block", lambda seed: residual((20, 16, 16, 1), seed).exact(), 20),
        Case("20-16-16-3, residual block", lambda seed: residual((20, 16, 16, 3), seed).exact(), 20),
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
        network.parameters,
        extraction.queries.search + extraction.queries.measure,
        extraction.seconds / extraction.oracle_seconds,
        extraction.seconds,
        structure,
    )


def networks(chosen: Sequence[Case], seeds: int | None, console: Console, out: Path | None) -> None:
    """One row per case; every run that is not identical is named as it happens."""
    table = Table("case", "seeds", "identical", "per parameter (median, max)", "total / oracle", "seconds (median)")
    costs: dict[str, list[tuple[float, float]]] = {}
    for case in chosen:
        count = case.seeds if seeds is None else min(seeds, case.seeds)
        trials = [run(case, seed) for seed in range(count)]
        for seed, trial in enumerate(trials):
            if not trial.identical:
                console.print(f"{case.name} seed {seed}: {trial.verdict}, {trial.outcome}")
        for line in sorted({line for trial in trials for line in trial.structure}):
            console.print(f"{case.name}: {line}")
        table.add_row(*_cells(case.name, trials))
        costs[case.name] = [(trial.parameters, trial.queries) for trial in trials if trial.identical]
    console.print(table)
    if out is not None:
        found = {name: points for name, points in costs.items() if points}
        figure = growth(found, x="parameters", y="queries (search and measure)", proportional="one query a parameter")
        save_figure(figure, out / "queries_by_network.svg")


def _cells(name: str, trials: Sequence[Trial]) -> list[str]:
    costs = [trial.per_parameter for trial in trials]
    return [
        name,
        str(len(trials)),
        str(sum(trial.identical for trial in trials)),
        f"{statistics.median(costs):.2f}, {max(costs):.2f}",
        f"{statistics.median(trial.ratio for trial in trials):.1f}",
        f"{statistics.median(trial.seconds for trial in trials):.1f}",
    ]


def _he(widths: tuple[int, ...], seeds: int) -> Case:
    return Case(shape(widths), lambda seed: exact_network(he(widths, seed)), seeds)


def _skipping(name: str, places: list[tuple[int, int]]) -> Case:
    return Case(name, lambda seed: with_skips((20, 16, 16, 1), seed, places).exact(), 20)


def shape(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


# --- what is found by when

Found = tuple[frozenset[int], ...]
"""For every hidden layer, the neurons of the true network that were found."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What was found after so many queries.

    Attributes:
        total: queries for any purpose; an extraction with this budget ends with what was found.
        asked: of them, those of search and measurement.
        found: neurons of every hidden layer.
    """

    total: int
    asked: int
    found: Found


@dataclasses.dataclass(frozen=True)
class Watched:
    """One extraction, looked at whenever it learned something.

    Attributes:
        widths: of the hidden layers.
        course: what was found, whenever it changed, and after how many queries.
        identical, outcome: of the whole extraction.
        parameters: of the true network.
        queries: of search and measurement.
    """

    widths: tuple[int, ...]
    course: tuple[Look, ...]
    identical: bool
    outcome: str
    parameters: int
    queries: int

    def found(self, budget: float | None = None) -> Found:
        """What was found with so many queries in all; in the end where None."""
        reached = [look.found for look in self.course if budget is None or look.total <= budget]
        return reached[-1] if reached else (frozenset(),) * len(self.widths)

    def counts(self, budget: float | None = None) -> tuple[int, ...]:
        return tuple(map(len, self.found(budget)))

    def complete_after(self, layer: int) -> int | None:
        """Queries of search and measurement after which a layer (from 0) was complete for good; None: it never was."""
        since = None
        for look in self.course:
            complete = len(look.found[layer]) == self.widths[layer]
            since = (look.asked if since is None else since) if complete else None
        return since


class Watch(NoProgressMeter):
    """Looks at an extraction after every batch: what it had before it is what that many queries would have left."""

    def __init__(self, truth: ExactNetwork):
        self.truth = truth
        self.state: Recovery | None = None
        self.course: list[Look] = []
        self._before = QueryCount()
        self._seen: list[tuple[int, ...]] = []

    def queries(self, count: QueryCount) -> None:
        self.look(self._before)
        self._before = dataclasses.replace(count)

    def look(self, count: QueryCount) -> None:
        """Note what is found after so many queries, if it is not what it was."""
        layers = [] if self.state is None else self.state.layers
        seen = [(len(row.missing), *layer.signs) for layer in layers for row in layer.rows]
        if self.state is None or seen == self._seen:
            return
        self._seen = seen
        found = found_neurons(self.state, self.truth)
        if not self.course or self.course[-1].found != found:
            self.course.append(Look(count.total, count.search + count.measure, found))


@functools.cache
def watched(widths: tuple[int, ...], seed: int, max_queries: int | None = None, verify_inputs: int = 1000) -> Watched:
    """Extract a He Gaussian network as ``extract_network`` does, under the eyes of ``Watch``."""
    network, context = exact_network(he(widths, seed)), ExactContext()
    watch = Watch(network)
    limits = {"seed": seed, "max_queries": max_queries, "verify_inputs": verify_inputs}
    shallow = DepthTwo(ExactNetworkOracle(network), context, DepthTwoOptions(**limits), watch, test_bends=True)
    extraction = shallow.run(None)
    if extraction.outcome is Outcome.NOT_ONE_HIDDEN_LAYER:
        deep = AnyDepth(shallow.oracle, context, AnyDepthOptions(**limits), watch, first_line=shallow.first_line)
        watch.state = deep.state
        extraction = deep.run(None)
    count = extraction.queries
    asked = count.search + count.measure
    watch.look(count)
    identical = extraction.network is not None and certify(extraction.network, network).verdict == "identical"
    hidden = network.widths[1:-1]
    if identical:
        # The last weights of the last layer may be read together with the output layer, whose rows are not looked at.
        complete = tuple(frozenset(range(width)) for width in hidden)
        watch.course.append(Look(count.total, asked, complete))
    outcome = extraction.outcome.name.lower()
    return Watched(hidden, tuple(watch.course), identical, outcome, network.parameters, asked)


def found_neurons(state: Recovery, truth: ExactNetwork) -> Found:
    """True neurons of which there is a row with all their weights, exactly, up to scale and sign.

    The bias counts, too, where the signs of the layers before are known: it depends on them.
    """
    pairs = [Pair(i, i, fmpq(1), fmpq(0)) for i in range(truth.inputs)]
    found, oriented = [], True
    for depth, layer in enumerate(state.layers[: len(truth.weights) - 1]):
        rows = [row.in_integers() for row in layer.oriented().rows]
        weights = np.array([row.weights for row in rows], dtype=object).reshape(len(rows), -1)
        weights = state.slice.full_rows(weights) if depth == 0 else weights
        ones = [_on_true_columns(list(row), pairs, truth.widths[depth]) for row in weights]
        twos = [[*row, fmpq(0)] for row in truth.weights[depth].tolist()]
        if oriented:
            ones = [[*one, row.bias] for one, row in zip(ones, rows, strict=True)]
            twos = [[*two, bias] for two, bias in zip(twos, truth.biases[depth].entries(), strict=True)]
        pairs = [pair for pair in match_rows(ones, twos, opposite=True) if pair.error == 0]
        oriented = oriented and all(layer.signs)
        found.append(frozenset(pair.two for pair in pairs))
    return (*found, *(frozenset() for _ in truth.widths[1 + len(found) : -1]))


def _on_true_columns(row: Sequence[fmpq], pairs: Sequence[Pair], width: int) -> list[fmpq]:
    """A found row over the true neurons of the layer before; behind them, what it has on anything else."""
    out = [fmpq(0)] * (width + 1)
    for pair in pairs:
        out[pair.two] = row[pair.one] * abs(pair.scale)
    known = {pair.one for pair in pairs}
    out[width] = sum((abs(w) for i, w in enumerate(row) if i not in known), fmpq(0))
    return out


def _name_missed(widths: Sequence[int], trials: Sequence[Watched], console: Console) -> None:
    for seed, trial in enumerate(trials):
        if not trial.identical:
            console.print(f"{shape(widths)} seed {seed}: {trial.outcome}, found {trial.counts()} of {trial.widths}")


# --- part 2: growth with every number of the shape


def sweeps(seeds: int, chosen: Mapping[str, Sequence[tuple[int, ...]]], console: Console, out: Path | None) -> None:
    """Success and queries when one number of the shape changes, with the exponents."""
    table = Table("sweep", "network", "seeds", "identical", "queries (median)", "per parameter", "layer 1 after")
    laws = Table("sweep", "queries ~", "layer 1 after ~", "parameters ~")
    costs: dict[str, list[tuple[float, float]]] = {}
    firsts: dict[str, list[tuple[float, float]]] = {}
    success: dict[str, list[tuple[float, int, int]]] = {}
    for name, shapes in chosen.items():
        costs[name], firsts[name], success[name], sizes = [], [], [], []
        for widths in shapes:
            value = varied(shapes, widths)
            trials = [watched(widths, seed) for seed in range(seeds)]
            _name_missed(widths, trials, console)
            good = [trial for trial in trials if trial.identical]
            first = [after for trial in good if (after := trial.complete_after(0)) is not None]
            costs[name] += [(value, trial.queries) for trial in good]
            firsts[name] += [(value, after) for after in first]
            sizes.append((value, trials[0].parameters))
            success[name].append((value, len(good), len(trials)))
            table.add_row(name, shape(widths), str(len(trials)), str(len(good)), *_medians(good, first))
        laws.add_row(name, *(f"{exponent(points):.2f}" for points in (costs[name], firsts[name], sizes)))
    console.print(table)
    console.print(laws)
    if out is not None:
        label = "the number that changes"
        save_figure(growth(costs, x=label, y="queries (search and measurement)"), out / "queries_by_size.svg")
        save_figure(growth(firsts, x=label, y="queries until layer 1 is complete"), out / "layer_1_by_size.svg")
        save_figure(rates(success, x=label, y="share proven identical"), out / "success_by_size.svg")


def _medians(trials: Sequence[Watched], first: Sequence[int]) -> list[str]:
    if not trials:
        return ["-", "-", "-"]
    queries = statistics.median(trial.queries for trial in trials)
    after = f"{statistics.median(first):.0f}" if first else "-"
    return [f"{queries:.0f}", f"{queries / trials[0].parameters:.2f}", after]


# --- part 3: too few queries


def budgets(seeds: int, shapes: Sequence[tuple[int, ...]], console: Console, out: Path | None) -> None:
    """The share of every layer that is found with so many queries per parameter."""
    table = Table("network", "per parameter", "seeds", "layer 1 (mean, worst)", "layer 2 (mean, worst)", "all found")
    curves: dict[str, list[tuple[float, Sequence[float]]]] = {}
    for widths in shapes:
        trials = [watched(widths, seed) for seed in range(seeds)]
        for budget in BUDGETS:
            counts = np.array([trial.counts(budget * trial.parameters) for trial in trials])
            shares = counts / np.array(widths[1:-1])
            for layer, share in enumerate(shares.T, start=1):
                curves.setdefault(f"{shape(widths)}, layer {layer}", []).append((budget, share.tolist()))
            cells = [f"{share.mean():.2f}, {share.min():.2f}" for share in shares.T]
            complete = int(np.all(shares == 1, axis=1).sum())
            table.add_row(shape(widths), f"{budget:g}", str(len(trials)), *cells, str(complete))
    console.print(table)
    if out is not None:
        figure = spread(curves, x="queries per parameter", y="share of the layer's neurons found", log=True)
        save_figure(figure, out / "found_by_budget.svg")


# --- part 4: where the conditions fail


def narrow(seeds: int, shapes: Sequence[tuple[int, ...]], console: Console, out: Path | None) -> None:
    """The share of every layer that is found of narrow networks, and whether boundaries intersect."""
    table = Table(
        "network", "seeds", "identical", "found in layers 1, 2, ...", "worst", "meets: found", "meets: missed"
    )
    curves: dict[str, list[tuple[float, Sequence[float]]]] = {}
    for widths in shapes:
        trials = [watched(widths, seed, NARROW_BUDGET, verify_inputs=100) for seed in range(seeds)]
        _name_missed(widths, trials, console)
        shares = np.array([trial.counts() for trial in trials]) / np.array(widths[1:-1])
        identical = sum(trial.identical for trial in trials)
        table.add_row(
            shape(widths),
            str(len(trials)),
            str(identical),
            ", ".join(f"{share:.2f}" for share in shares.mean(axis=0)),
            f"{min(sum(trial.counts()) / sum(trial.widths) for trial in trials):.2f}",
            *met_by_found_and_missed(widths, trials),
        )
        curves[shape(widths)] = [(layer, share.tolist()) for layer, share in enumerate(shares.T, start=1)]
    console.print(table)
    if out is not None:
        save_figure(spread(curves, x="hidden layer", y="share of its neurons found"), out / "found_when_narrow.svg")


def met_by_found_and_missed(widths: tuple[int, ...], trials: Sequence[Watched]) -> tuple[str, str]:
    """Of neurons behind the first layer, found and missed: the share of the layer before that they are seen to meet."""
    shares: dict[bool, list[float]] = {True: [], False: []}
    for seed, trial in enumerate(trials):
        seen, found = meetings(he(widths, seed)), trial.found()
        for layer, neuron in ((x, q) for x in range(2, len(widths) - 1) for q in range(widths[x])):
            met = sum((layer, neuron, before) in seen for before in range(widths[layer - 1]))
            shares[neuron in found[layer - 1]].append(met / widths[layer - 1])
    one, other = (f"{np.mean(own):.2f} of {len(own)}" if own else "-" for own in shares.values())
    return one, other


def meetings(network: ReLUNetwork) -> set[tuple[int, int, int]]:
    """Boundaries that are seen to intersect in some slice: see ``meetings_in``."""
    windows = (random_window(network.inputs, i, scale=10.0 if i % 2 else 1.0) for i in range(SLICES))
    return {pair for window in windows for pair in meetings_in(network, window)}


def meetings_in(network: ReLUNetwork, window: Window) -> set[tuple[int, int, int]]:
    """(layer, neuron, neuron of the layer before) where a segment of the first ends on the boundary of the second."""
    boundaries = boundaries_in(network, window)
    later = boundaries.layers > 1
    ends = boundaries.segments[later].reshape(-1, 2)
    layers, neurons = (np.repeat(x[later], 2) for x in (boundaries.layers, boundaries.neurons))
    states, near = [window.coordinates()[None]], []
    for _ in boundaries.widths:
        forms = next_forms(network, states)
        z = values_of(np.broadcast_to(forms, (len(ends), *forms.shape[1:])), ends)
        near.append(np.abs(z) <= MEETING * window.reach * np.hypot(forms[..., 1], forms[..., 2]))
        states.append(forms * (z > 0)[..., None])
    return {
        (int(layer), int(neuron), int(before))
        for end, (layer, neuron) in enumerate(zip(layers, neurons, strict=True))
        for before in np.flatnonzero(near[layer - 2][end])
    }


def main() -> None:
    parser = document_parser(__doc__, small="one or two seeds of the small cases")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases, sweeps and shapes whose names begin so")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="of all parts but the first (default 20)")
    options = parser.parse_args()
    chosen, sizes, budgeted, thin, seeds = cases(), SWEEPS, BUDGETED, NARROW, options.seeds
    if options.small:
        small = ("10-10-10-1", "10-15-15-1", "digits-deep", "20-16-16-1, residual block")
        chosen = [case for case in chosen if case.name in small]
        sizes = {"inputs d, d-4-4-1": [(6, 4, 4, 1), (12, 4, 4, 1)]}
        budgeted, thin, seeds = [(6, 4, 4, 1)], [(4, 3, 3, 1)], 2

    def wanted(name: str) -> bool:
        return options.only is None or name.startswith(tuple(options.only))

    console = Console()
    if "networks" in options.parts:
        named = [case for case in chosen if wanted(case.name)]
        networks(named, 1 if options.small else None, console, options.out)
    if "growth" in options.parts:
        sweeps(seeds, {name: shapes for name, shapes in sizes.items() if wanted(name)}, console, options.out)
    if "budget" in options.parts:
        budgets(seeds, [widths for widths in budgeted if wanted(shape(widths))], console, options.out)
    if "narrow" in options.parts:
        narrow(seeds, [widths for widths in thin if wanted(shape(widths))], console, options.out)


if __name__ == "__main__":
    main()
