"""Question: is every network of one hidden layer, whatever its position, learned to a small square loss from answers of
finite precision, and how do queries grow?

Claim of the paper (Chen, Klivans, Meka 2021, "Efficiently Learning One Hidden Layer ReLU Networks From Queries", main
theorem): for an arbitrary network F of one hidden layer an algorithm outputs F' with E (F(x) - F'(x))^2 at most epsilon
for x ~ N(0, I), from queries and in time polynomial in d, k, 1 / epsilon and the bounds R and B of weights and biases.
Its answers are real numbers; here they have 53 or 16 bits.

Set-up: 8-12-1 in every family of ``jaxtract.network.families``, in bundles of three neurons whose rows are 1e-3 to
1e-12 apart, in bumps (three neurons that cancel outside, 0.1 or 0.01 wide), with rows 1000 times as long and as
short, and 3-48-1. ``wide-range`` has weights over 12 orders of magnitude, and another one over 6. ``reached``: the
upper end of the method's own 99 % interval for the loss, measured at fresh inputs against the answers as they are, is
below epsilon. ``proven``: so is an upper limit at 99 % of the loss against the true network, at 50,000 other inputs
that depend on the seed alone (the same for all precisions and all epsilon), with the difference bounded wherever no
input was (``jaxtract.methods.low_loss.between``). ``rounding`` is the mean square of the rounding of answers. A run
is a miss where epsilon was not reached though it is more than ten times that.

Run: python -m experiments.chen_klivans_meka [--small] [--out DIR] [--parts PART ...] [--only FAMILY ...]
(seeds 0 .. 19 for network and queries)

Result (python 3.11.7, numpy 2.4.6, scipy 1.17.1, 2 cores, much other work running; families 28 minutes, thresholds 6,
growth 4). Reached / proven, out of 20; "loss" (against the truth) and "neurons" are medians at epsilon 1e-8:

                             53 bits                                  16 bits
    family                   1e-2   1e-4   1e-8   loss   neurons  1e-2   1e-4   1e-8   loss   rounding  neurons
    he                       20/20  20/20  20/20  6e-26  12       20/20  20/20  20/20  4e-11  7e-11     12
    uniform                  20/20  20/20  20/20  5e-28  12       20/20  20/20  20/20  1e-10  2e-12     12
    orthogonal               20/20  20/20  20/20  2e-26  12       20/20  20/20  20/20  5e-11  6e-11     12
    integer                  20/20  20/20  20/20  7e-21  12       20/20  20/20  0/0    5e-07  2e-06     12
    parallel                 20/20  20/20  20/20  3e-26  12       20/20  20/20  20/20  3e-10  1e-09     12
    coincident               20/20  20/20  20/20  2e-26  6        20/20  20/20  20/20  3e-10  9e-10     6
    bump                     20/20  20/20  20/20  4e-26  12       20/20  20/20  20/19  1e-10  3e-11     12
    gap                      20/20  20/20  20/20  5e-29  3        20/20  20/20  20/20  4e-10  4e-11     3
    wide-range               20/20  20/20  19/17  2e-10  12       0/0    0/0    0/0    1e+09  1e+10     6
    zero-rows                20/20  20/20  20/20  8e-27  8        20/20  20/20  20/20  5e-11  4e-11     8
    dead                     20/20  20/20  20/20  9e-28  6        20/20  20/20  20/20  2e-10  3e-11     6
    duplicate                20/20  20/20  20/20  1e-26  6        20/20  20/20  20/20  9e-11  4e-10     6
    wide-range, 6 orders     20/20  20/20  20/20  1e-16  12       1/2    0/0    0/0    2e-01  8e-01     11
    bundles, angle 0.001     20/20  20/20  20/20  2e-25  12       20/19  20/19  20/9   4e-10  2e-10     12
    bundles, angle 1e-06     20/20  20/19  20/20  6e-24  12       20/19  20/19  20/19  2e-10  2e-10     4
    bundles, angle 1e-09     20/20  20/20  20/19  7e-18  4        20/18  20/18  20/17  2e-10  2e-10     4
    bundles, angle 1e-12     20/20  20/19  20/18  1e-23  4        20/18  20/17  20/15  2e-10  2e-10     4
    bumps, 0.1 wide          20/20  20/20  20/20  5e-26  12       20/20  20/20  20/19  2e-10  3e-12     12
    bumps, 0.01 wide, steep  20/20  20/20  20/18  5e-19  12       20/20  20/17  20/15  1e-10  2e-12     12
    3-48-1                   20/20  20/19  20/20  4e-24  48       20/17  20/3   20/18  3e-10  7e-11     48
    norms 1000               20/20  20/19  20/20  5e-20  12       20/20  7/20   0/0    2e-05  6e-05     12
    norms 0.001              20/20  20/20  20/20  1e-29  12       20/20  20/20  20/20  1e-09  3e-13     10

No run said that epsilon was reached and was above it against the truth, of all 3,500. What was reached and not proven
has a mean below epsilon: where neurons are merged, the bound wherever no input was is what is large.

At 53 bits 1,319 of 1,320 were reached. The miss, wide-range at 1e-8, seed 4, has answers of 3e11, whose rounding to
doubles has a mean square of 2e-9 by itself; its loss is 8e-9, and the method says that it is down to the noise. At 16
bits 1,148 of 1,320 were: all but those whose rounding is above a tenth of epsilon (integer at 1e-8, both wide-range,
norms 1000 from 1e-4 on). Bundles 1e-3 apart at 16 bits are the hardest: 8 of 20 take more than 12 rounds and some
100,000 queries. Those 1e-6 and nearer are merged there, 12 neurons into 4, as are those 1e-9 and nearer at 53 bits.
What no rounds could reach (integer, 6 orders, norms 1000 at 16 bits) was given 12 rounds, all else the present 36.

Rounding of he at fewer and more bits: reached / proven out of 20 at every epsilon (with 12 rounds in place of 36):

    bits  rounding  1e-2   1e-4   1e-6   1e-8   1e-10
    8     4.7e-06   20/20  20/20  0/7    0/0    0/0
    12    1.8e-08   20/20  20/20  20/20  0/10   0/0
    16    7.2e-11   20/20  20/20  20/20  20/20  7/20
    20    2.8e-13   20/20  20/20  20/20  20/20  20/20
    24    1.1e-15   20/20  20/20  20/20  20/20  20/20

It stops where epsilon comes down to the mean square of the rounding, for the loss is measured against answers: 7 of 20
are reached at 1.4 times that, all at 21 times and more. The fits average over many answers and are better: 10 of 20 are
proven to be below 0.6 times it, 7 below 0.2 times.

Queries at float64, medians of 20; all 360 were reached and proven (epsilon 1e-6 and 10-10-1 where not varied; R is the
factor of the first layer's rows and biases):

    k, 10-k-1       5     10    20    40    80       d, d-10-1       5     10    20    40    80
    search+measure  1212  1397  1828  2776  4654     search+measure  1280  1397  1760  2318  3262
    verify          2000  2000  2000  2000  2000     verify          2000  2000  2000  2000  2000

    1 / epsilon     1e2   1e4   1e8   1e12           R               1     10    100    10000
    search+measure  1397  1397  1397  1397           search+measure  1397  1402  1398   1397
    verify          2000  2000  4548  20000          verify          2000  4548  20000  20000

    search+measure ~ k^0.49 d^0.34 (1 / epsilon)^0.00 R^0.00
    verify         ~ k^0.00 d^0.00 (1 / epsilon)^0.10 R^0.26    (at least 2,000 inputs, at most 20,000 a time)

Conclusion: the paper's bound is a polynomial in d, k, 1 / epsilon, R and B whose degrees it leaves open. Measured, what
finds the network grows no faster than linearly in k and d (47 queries more for a neuron from 40 to 80, 24 for an input;
about 1,000 go to the noise of answers and to checks at any size) and not with epsilon and R, as long as answers have
the digits: kinks are placed as well as answers allow at once. Only what shows the loss grows with them, as the cube
root of R^2 / epsilon that meeting the thinnest slab takes, up to the limit that is set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxtract import CallableOracle, ExactNetwork
from jaxtract.methods import LossOptions, chen_klivans_meka
from jaxtract.methods.low_loss.between import loss_between
from jaxtract.network.families import FAMILIES, he, wide_range
from jaxtract.network.relu_network import ReLUNetwork, nearest_float64
from jaxtract.pictures.charts import exponent, growth, rates
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import save_figure

PARTS = ("families", "thresholds", "growth")

WIDTHS = (8, 12, 1)
EPSILONS = (1e-2, 1e-4, 1e-8)
SEEDS = 20
POINTS = 50_000
CONFIDENCE = 0.99
DOUBLES, SIXTEEN = 53, 16

THRESHOLD_BITS = (8, 12, 16, 20, 24)
THRESHOLD_EPSILONS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)

NEURONS, INPUTS = (5, 10, 20, 40, 80), (5, 10, 20, 40, 80)
ACCURACIES = (1e-2, 1e-4, 1e-8, 1e-12)
BOUNDS = (1.0, 10.0, 100.0, 1e4)

Draw = Callable[[int], ReLUNetwork]


def _family(name: str) -> Draw:
    def draw(seed: int) -> ReLUNetwork:
        network = FAMILIES[name](WIDTHS, seed)
        return nearest_float64(network) if isinstance(network, ExactNetwork) else network

    return draw


def bundles(angle: float) -> Draw:
    """Three neurons each on four hyperplanes, whose rows are then moved by N(0, angle^2), with biases."""

    def draw(seed: int) -> ReLUNetwork:
        rng = np.random.default_rng(seed)
        inputs, hidden, _ = WIDTHS
        rows = np.repeat(rng.standard_normal((hidden // 3, inputs + 1)), 3, axis=0) / np.sqrt(inputs)
        rows += angle * rng.standard_normal(rows.shape)
        factors = rng.choice([-1.0, 1.0], (1, hidden)) * rng.uniform(0.5, 1.5, (1, hidden))
        return ReLUNetwork([rows[:, :-1], factors], [rows[:, -1], np.zeros(1)])

    return draw


def bumps(width: float, slope: float) -> Draw:
    """Four bumps ``width`` wide with sides of this slope: each three neurons that cancel outside."""

    def draw(seed: int) -> ReLUNetwork:
        rng = np.random.default_rng(seed)
        inputs, hidden, _ = WIDTHS
        normals = rng.standard_normal((hidden // 3, inputs))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        offsets = rng.standard_normal(hidden // 3)
        steps = width / 2 * np.arange(3)
        factors = np.tile(slope * np.array([1.0, -2.0, 1.0]), hidden // 3)[None]
        return ReLUNetwork(
            [np.repeat(normals, 3, axis=0), factors], [(offsets[:, None] - steps).ravel(), rng.standard_normal(1)]
        )

    return draw


def scaled(scale: float) -> Draw:
    """He with every row of the first layer, biases too, times this."""

    def draw(seed: int) -> ReLUNetwork:
        network = he(WIDTHS, seed)
        return ReLUNetwork(
            [scale * np.asarray(network.weights[0]), network.weights[1]],
            [scale * np.asarray(network.biases[0]), network.biases[1]],
        )

    return draw


CASES: dict[str, Draw] = {
    **{name: _family(name) for name in FAMILIES},
    "wide-range, 6 orders": lambda seed: wide_range(WIDTHS, seed, orders=6),
    **{f"bundles, angle {angle:g}": bundles(angle) for angle in (1e-3, 1e-6, 1e-9, 1e-12)},
    "bumps, 0.1 wide": bumps(0.1, 1.0),
    "bumps, 0.01 wide, steep": bumps(0.01, 100.0),
    "3-48-1": lambda seed: he((3, 48, 1), seed),
    "norms 1000": scaled(1e3),
    "norms 0.001": scaled(1e-3),
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        case, bits, epsilon, seed: what was asked.
        reached: the method's own measured interval is below epsilon.
        mean, upper: the loss against the truth, and its proven upper limit.
        rounding: mean square of the rounding of answers.
        neurons, search, verify, seconds: what was found, and what it took.
    """

    case: str
    bits: int
    epsilon: float
    seed: int
    reached: bool
    mean: float
    upper: float
    rounding: float
    neurons: int
    search: int
    verify: int
    seconds: float

    @property
    def confirmed(self) -> bool:
        """Whether the truth says so, too."""
        return self.upper <= self.epsilon


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """To so many bits each."""
    if bits >= DOUBLES:
        return values
    mantissa, power = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**bits), power - bits)


def run(case: str, network: ReLUNetwork, bits: int, epsilon: float, seed: int) -> Trial:
    """Learn one network and compare it with the truth, at inputs that depend on the seed alone."""
    (first, second), (inner, outer) = (list(map(np.asarray, x)) for x in (network.weights, network.biases))

    def exact(points: np.ndarray) -> np.ndarray:
        return np.maximum(points @ first.T + inner, 0) @ second.T + outer

    oracle = CallableOracle(lambda points: rounded(exact(points), bits), inputs=network.inputs)
    found = chen_klivans_meka(oracle, epsilon=epsilon, options=LossOptions(seed=seed, confidence=CONFIDENCE))
    points = np.random.default_rng((seed, 1)).standard_normal((POINTS, network.inputs))
    loss = loss_between(network.exact(), found.network, points, confidence=CONFIDENCE)
    values = exact(points)
    return Trial(
        case,
        bits,
        epsilon,
        seed,
        found.claim == "approximate",
        loss.mean,
        loss.upper,
        float(((rounded(values, bits) - values) ** 2).mean()),
        found.neurons,
        found.queries.search + found.queries.measure,
        found.queries.verify,
        found.seconds,
    )


def median(values: Sequence[float]) -> float:
    return float(np.median(np.array(values, dtype=np.float64)))


def families(trials: Sequence[Trial], epsilons: Sequence[float]) -> Table:
    """Reached and confirmed for every case, precision and epsilon."""
    out = Table("family", "bits", "rounding", *(f"{e:g}" for e in epsilons), "loss", "proven", "neurons", "queries")
    for case, bits in dict.fromkeys((t.case, t.bits) for t in trials):
        own = [t for t in trials if (t.case, t.bits) == (case, bits)]
        last = [t for t in own if t.epsilon == min(epsilons)]
        cells = []
        for epsilon in epsilons:
            at = [t for t in own if t.epsilon == epsilon]
            cells.append(f"{sum(t.reached for t in at)}, {sum(t.confirmed for t in at)}")
        out.add_row(
            case,
            str(bits),
            f"{median([t.rounding for t in own]):.0e}",
            *cells,
            f"{median([t.mean for t in last]):.0e}",
            f"{median([t.upper for t in last]):.0e}",
            f"{median([t.neurons for t in last]):.0f}",
            f"{median([t.search + t.verify for t in last]):.0f}",
        )
    return out


def thresholds(trials: Sequence[Trial], epsilons: Sequence[float]) -> Table:
    """How small a loss answers of so many bits allow."""
    out = Table("bits", "rounding", *(f"{e:g}" for e in epsilons))
    for bits in dict.fromkeys(t.bits for t in trials):
        own = [t for t in trials if t.bits == bits]
        cells = [
            f"{sum(t.reached for t in own if t.epsilon == e)}, {sum(t.confirmed for t in own if t.epsilon == e)}"
            for e in epsilons
        ]
        out.add_row(str(bits), f"{median([t.rounding for t in own]):.1e}", *cells)
    return out


@dataclasses.dataclass(frozen=True)
class Growth:
    """Runs over one parameter; ``size`` gives it for each."""

    name: str
    trials: tuple[tuple[float, Trial], ...]

    def points(self, count: Callable[[Trial], float]) -> list[tuple[float, float]]:
        """(parameter, median of a count)."""
        sizes = dict.fromkeys(size for size, _ in self.trials)
        return [(size, median([count(t) for s, t in self.trials if s == size])) for size in sizes]


def growths(laws: Sequence[Growth]) -> Table:
    """One row per parameter value, and the exponent of each column below."""
    out = Table("parameter", "value", "reached", "confirmed", "search and measure", "verify", "seconds")
    for law in laws:
        search, verify = law.points(lambda t: t.search), law.points(lambda t: t.verify)
        for (size, asked), (_, checked) in zip(search, verify, strict=True):
            own = [t for s, t in law.trials if s == size]
            out.add_row(
                law.name,
                f"{size:g}",
                f"{sum(t.reached for t in own)} of {len(own)}",
                str(sum(t.confirmed for t in own)),
                f"{asked:.0f}",
                f"{checked:.0f}",
                f"{median([t.seconds for t in own]):.1f}",
            )
        out.add_row(law.name, "exponent", "", "", f"{exponent(search):.2f}", f"{exponent(verify):.2f}", "")
    return out


def draw(laws: Sequence[Growth], limits: Sequence[Trial], directory: Path) -> None:
    """Queries over every parameter, and success over epsilon for every precision."""
    for law in laws:
        series = {"search and measure": law.points(lambda t: t.search), "verify": law.points(lambda t: t.verify)}
        save_figure(growth(series, x=law.name, y="queries (median)"), directory / f"queries_{law.name[0]}.svg")
    share = {}
    for bits in dict.fromkeys(t.bits for t in limits):
        own = [t for t in limits if t.bits == bits]
        share[f"{bits} bits"] = [
            (e, sum(t.confirmed for t in own if t.epsilon == e), sum(t.epsilon == e for t in own))
            for e in sorted({t.epsilon for t in own})
        ]
    if share:
        save_figure(rates(share, x="epsilon", y="share proven below epsilon", log=True), directory / "threshold.svg")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is run."""

    cases: Sequence[str]
    seeds: int
    epsilons: Sequence[float]
    bits: Sequence[int]
    limits: Sequence[float]
    neurons: Sequence[int]
    inputs: Sequence[int]
    accuracies: Sequence[float]
    bounds: Sequence[float]


FULL = Plan(tuple(CASES), SEEDS, EPSILONS, THRESHOLD_BITS, THRESHOLD_EPSILONS, NEURONS, INPUTS, ACCURACIES, BOUNDS)
SMALL = Plan(
    ("he", "gap", "bundles, angle 1e-12"),
    1,
    (1e-4, 1e-8),
    (8, 16),
    (1e-2, 1e-8),
    (3, 6),
    (3, 6),
    (1e-2, 1e-8),
    (1.0, 10.0),
)


def grow(plan: Plan) -> list[Growth]:
    """Queries over k, d, 1 / epsilon and the bound of the weights, at float64."""
    seeds = range(plan.seeds)

    def trial(widths: tuple[int, int, int], epsilon: float, seed: int, scale: float = 1.0) -> Trial:
        network = he(widths, seed)
        network = ReLUNetwork(
            [scale * np.asarray(network.weights[0]), network.weights[1]],
            [scale * np.asarray(network.biases[0]), network.biases[1]],
        )
        return run("growth", network, DOUBLES, epsilon, seed)

    jobs: list[tuple[str, float, tuple[int, int, int], float, float]] = [
        *(("k", k, (10, k, 1), 1e-6, 1.0) for k in plan.neurons),
        *(("d", d, (d, 10, 1), 1e-6, 1.0) for d in plan.inputs),
        *(("1 / epsilon", 1 / e, (10, 10, 1), e, 1.0) for e in plan.accuracies),
        *(("R", bound, (10, 10, 1), 1e-6, bound) for bound in plan.bounds),
    ]
    found: dict[str, list[tuple[float, Trial]]] = {}
    for name, size, widths, epsilon, scale in track(jobs, "growth", console=Console(stderr=True), transient=True):
        found.setdefault(name, []).extend((size, trial(widths, epsilon, seed, scale)) for seed in seeds)
    return [Growth(name, tuple(trials)) for name, trials in found.items()]


def try_families(plan: Plan, console: Console) -> list[Trial]:
    """Every case at both precisions and all epsilons."""
    trials = []
    for case in track(plan.cases, "families", console=Console(stderr=True), transient=True):
        for seed in range(plan.seeds):
            network = CASES[case](seed)
            trials += [run(case, network, b, e, seed) for b in (DOUBLES, SIXTEEN) for e in plan.epsilons]
    console.print("reached, proven to be below epsilon; out of", plan.seeds)
    console.print(families(trials, plan.epsilons))
    return trials


def try_thresholds(plan: Plan, console: Console) -> list[Trial]:
    """He networks at every precision and epsilon."""
    trials = [
        run("threshold", he(WIDTHS, seed), bits, epsilon, seed)
        for bits in track(plan.bits, "thresholds", console=Console(stderr=True), transient=True)
        for epsilon in plan.limits
        for seed in range(plan.seeds)
    ]
    console.print(thresholds(trials, plan.limits))
    return trials


def main() -> None:
    parser = document_parser(__doc__, small="three families, two epsilons and one seed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="FAMILY", help="families whose names are these")
    options = parser.parse_args()
    plan, console = SMALL if options.small else FULL, Console(width=150)
    plan = dataclasses.replace(plan, cases=options.only or plan.cases)
    trials = try_families(plan, console) if "families" in options.parts else []
    limits = try_thresholds(plan, console) if "thresholds" in options.parts else []
    laws = grow(plan) if "growth" in options.parts else []
    if laws:
        console.print(growths(laws))
    everything = [*trials, *limits, *(trial for law in laws for _, trial in law.trials)]
    wrong = [t for t in everything if t.reached and t.mean > t.epsilon]
    console.print(f"{len(everything)} runs; reached by the method's own interval, but above epsilon: {len(wrong)}")
    for t in [t for t in everything if not t.reached and t.rounding <= t.epsilon / 10] + wrong:
        console.print(
            f"miss: {t.case}, {t.bits} bits, epsilon {t.epsilon:g}, seed {t.seed}: loss {t.mean:.1e}, "
            f"rounding {t.rounding:.1e}, {t.neurons} neurons{', claimed' if t.reached else ''}"
        )
    if options.out:
        draw(laws, limits, options.out)


if __name__ == "__main__":
    main()
