"""Question: how accurate is a recovered network, for how much working precision, and how many bits does a layer cost?

Claim: in rational arithmetic nothing is lost at any depth; with P-bit answers a fixed number of bits is lost, so that P
decides the accuracy; with doubles the loss is the same, but 53 bits are all there is (Carlini, Jagielski,
Mironov 2020 reach 2^-26 to 2^-39 in float64; their section 7 refines what is left).

Set-up: He Gaussian networks with 1 to 8 hidden layers that narrow towards the output (widths in the table), biases
N(0, 0.1^2), served without rounding (exact), in float64, or with as many bits as the context asks for (mp). For mp
every number gets 2,048 further random bits, so that answers really are rounded (those of float64 weights at short
inputs fit into 256 bits and are exact). Seeds: the first ones whose neurons are all on for 1 to 99 % of Gaussian
inputs; the same for the queries. "asked" is what mp is told to deliver, "answer bits" what the oracle rounds to.
Attained: -log2 of the largest error of a weight or bias, relative to the largest of its row, over the matched neurons,
computed over the rationals; "all" when it is zero. Lost = answer bits - worst attained. Incomplete results count as not
found. An extraction is stopped after --limit seconds; networks that are not found exactly are not tried with rounding.

Run: python -m experiments.precision [--small] [--depths 1 2 ...] [--seeds N] [--limit S] [--out DIR]

Result (python 3.11.7, jax 0.10.2, python-flint 0.9.0, 2 cores with other work beside; --depths 1 2 3 4 --seeds 2
--limit 180, seeds 0 and 1, from three layers on 0 and 2; four layers at mp 1024 again, since the first run ended there
on an error that is mended; deeper networks one context at a time by the same ``run``: five layers seeds 5 and 17
(rounded: 5), six seeds 8 and 15 (rounded: 8), seven seed 334, limits 150 to 300 s; five layers in mp again with a limit
of 400 s, their seconds with eight other processes on the two cores; six at mp 256 and 512 with limits of 1,480 and
1,200 s beside six others (386 and 363 s of a core), at 128 and 1024 with 780 s beside two; "bits" of an answer,
"attained" by the worst and by the median network; s is the median):

    widths                  context  found   bits  attained    lost  end                      s
    32-12-1                 float64  2 of 2  53    49, 49      4     approximate              0
    32-12-1                 mp 64    2 of 2  171   112, 115    59    refined                  0
    32-12-1                 mp 128   2 of 2  256   176, 177    80    refined                  0
    32-12-1                 mp 256   2 of 2  427   304, 307    123   refined                  0
    32-12-1                 mp 512   2 of 2  768   560, 562    208   refined                  0
    32-12-1                 mp 1024  2 of 2  1451  1071, 1074  380   refined                  0
    32-12-1                 exact    2 of 2  all   all, all    0     exact                    0
    32-12-8-1               float64  2 of 2  53    49, 49      4     approximate              3
    32-12-8-1               mp 64    2 of 2  171   168, 168    3     refined                  3
    32-12-8-1               mp 128   2 of 2  256   254, 255    2     refined                  4
    32-12-8-1               mp 256   2 of 2  427   425, 425    2     refined                  4
    32-12-8-1               mp 512   2 of 2  768   765, 766    3     refined                  4
    32-12-8-1               mp 1024  2 of 2  1451  1449, 1449  2     refined                  5
    32-12-8-1               exact    2 of 2  all   all, all    0     exact                    0
    32-12-8-6-1             float64  2 of 2  53    48, 49      5     approximate              21
    32-12-8-6-1             mp 64    2 of 2  171   170, 170    1     refined                  7
    32-12-8-6-1             mp 128   2 of 2  256   254, 254    2     refined                  8
    32-12-8-6-1             mp 256   2 of 2  427   424, 424    3     refined                  8
    32-12-8-6-1             mp 512   2 of 2  768   766, 766    2     refined                  9
    32-12-8-6-1             mp 1024  2 of 2  1451  1449, 1449  2     refined                  13
    32-12-8-6-1             exact    2 of 2  all   all, all    0     exact                    2
    32-12-8-6-4-1           float64  1 of 2  53    48, 48      5     approximate; not within  130
    32-12-8-6-4-1           mp 64    2 of 2  171   168, 168    3     refined                  13
    32-12-8-6-4-1           mp 128   2 of 2  256   253, 253    3     refined                  15
    32-12-8-6-4-1           mp 256   2 of 2  427   423, 424    4     refined                  25
    32-12-8-6-4-1           mp 512   2 of 2  768   765, 765    3     refined                  28
    32-12-8-6-4-1           mp 1024  2 of 2  1451  1447, 1447  4     refined                  34
    32-12-8-6-4-1           exact    2 of 2  all   all, all    0     exact                    4
    40-16-12-8-6-4-1        float64  1 of 1  53    48, 48      5     approximate              147
    40-16-12-8-6-4-1        mp 64    1 of 1  171   165, 165    6     refined                  247
    40-16-12-8-6-4-1        mp 128   1 of 1  256   249, 249    7     refined                  171
    40-16-12-8-6-4-1        mp 256   1 of 1  427   421, 421    6     refined                  217
    40-16-12-8-6-4-1        mp 512   1 of 1  768   760, 760    8     refined                  196
    40-16-12-8-6-4-1        mp 1024  1 of 1  1451  1444, 1444  7     refined                  126
    40-16-12-8-6-4-1        exact    2 of 2  all   all, all    0     exact                    8
    48-20-16-12-8-6-4-1     mp 128   1 of 1  256   253, 253    3     refined                  300
    48-20-16-12-8-6-4-1     mp 256   1 of 1  427   424, 424    3     refined                  1146
    48-20-16-12-8-6-4-1     mp 512   1 of 1  768   766, 766    2     refined                  1147
    48-20-16-12-8-6-4-1     mp 1024  1 of 1  1451  1447, 1447  4     refined                  521
    48-20-16-12-8-6-4-1     exact    2 of 2  all   all, all    0     exact                    48
    56-24-20-16-12-8-6-4-1  exact    1 of 1  all   all, all    0     exact                    111
    64-28-24-20-...-4-1     exact    1 of 1  all   all, all    0     exact                    1936

    1 hidden layer(s): attained = 0.750 answer bits -13.8; 120.2 bits lost (median)
    2 hidden layer(s): attained = 1.000 answer bits -2.1; 1.9 bits lost (median)
    3 hidden layer(s): attained = 1.000 answer bits -1.9; 1.8 bits lost (median)
    4 hidden layer(s): attained = 0.999 answer bits -2.7; 3.1 bits lost (median)
    5 hidden layer(s): attained = 1.000 answer bits -6.6; 6.8 bits lost (median)
    6 hidden layer(s): attained = 0.999 answer bits -2.4; 2.8 bits lost (median)
    from two hidden layers on, a layer costs 0.7 bits

Six layers took 59,947 queries at mp 256 and 44,926 at mp 512. One of the second layer is on at 92 % of Gaussian inputs,
and no line met its boundary before all else was read: until then it is a linear row, told from what the third layer
reads past the second. As walks alone told it it kept 151 of 427 bits, and rows of the third and the fourth layer 106 to
134; such a run ended at four layers. With its readers seen again at some seventy places each before it is told, it
keeps 308, and the rows behind it 250 to 326, 195 to 262, 146 to 243 and 126 to 168 in the layers three to six. Six at
mp 128 had rows of three layers, 20, 16 and 11 of 12, after 669 s and 97,525 queries; those of the third kept 67 to 108
of 256 bits, and it was stopped there. Few kinks that were much sharper than the others had hidden what only the others
show. All kinks above the median counting alike they keep 152 to 159, and rows of all six layers are there after 39,798
queries: the figures at mp 128 and 1024 are from after that, those at 256 and 512 from before. Six at mp 64 did not end
within 400 s. Seven and eight were not tried with rounding. Eight in the exact context (seed 148, the only one of 500
whose neurons all live; 1,936 s beside six other processes) had rows of all eight layers after 92,970 queries, none of
them linear. One weight of the last layer was open then that acts at none of 2,800,000 random inputs of seven scales,
and far out at few: the way uphill to where both its neurons are on showed it, at coordinates of thousands.

Conclusion: from two hidden layers on all parameters are polished together at the end, and the accuracy is that of an
answer less 1 to 4 bits up to four layers, 6 to 8 at five and 2 to 4 at six, whatever the number of bits. What depth
costs are bits on the way there: a walk hands errors on from crossing to crossing, some 4 bits a step, and rows of the
second layer keep 64 of the 171 bits of an answer at five layers, of the third 40 to 50, too few for the fourth. Seen
again at some thirty places all over their boundaries they keep 103, 97, 80 and, but for one, 86 in the layers two to
five; linear rows must be told from readers that were seen again, too. float64 stops at 48 to 49 bits, 4 or 5 short of a
double, at every depth at which it finds the network; what ends it at depth is that it does not find it (one of two at
four layers, the one tried at five). One hidden layer in mp is not polished, and of every four bits three arrive: the
fourth goes into differences that are chosen short so that near kinks are told apart. Networks that lost 100 bits and
more before had one weight that no polishing input showed: inputs near the places where its neuron was seen show it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq, fmpq_mat
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxtract import (
    DepthTwoOptions,
    ExactContext,
    ExactNetwork,
    ExactNetworkOracle,
    Extraction,
    Float64NetworkOracle,
    Oracle,
    extract_depth_two,
    float64,
    mp,
)
from jaxtract.certificate.matching import match
from jaxtract.layers.any_depth.extract import AnyDepthOptions, extract_any_depth
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.families import he
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.points import PointBatch
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import one_axes, save_figure
from precision.context import Context

SHAPES = {
    1: (32, 12, 1),
    2: (32, 12, 8, 1),
    3: (32, 12, 8, 6, 1),
    4: (32, 12, 8, 6, 4, 1),
    5: (40, 16, 12, 8, 6, 4, 1),
    6: (48, 20, 16, 12, 8, 6, 4, 1),
    7: (56, 24, 20, 16, 12, 8, 6, 4, 1),
    8: (64, 28, 24, 20, 16, 12, 8, 6, 4, 1),
}
"""Widths by the number of hidden layers."""

RARE, DRAWN = 0.01, 500
"""Every neuron of a network is on at this share of 2,000 Gaussian inputs, and off at as many; seeds that are tried."""

LENGTH = 2048
PRECISIONS = (64, 128, 256, 512, 1024)

CONTEXTS: dict[str, Callable[[], Context]] = {
    "float64": float64,
    **{f"mp {bits}": (lambda bits=bits: mp(bits)) for bits in PRECISIONS},
    "exact": ExactContext,
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one extraction attained: bits (infinite when exact), None if the network was not found; and how it ended."""

    bits: float | None
    answer_bits: float
    end: str
    seconds: float = math.nan


class OutOfTime(Exception):  # noqa: N818  (an end of a trial, not a failure of it)
    """The time of one extraction is over."""


class TimedOracle(Oracle):
    """Another oracle that answers for so many seconds."""

    def __init__(self, oracle: Oracle, seconds: float):
        self.oracle = oracle
        self.inputs, self.outputs, self.number_system = oracle.inputs, oracle.outputs, oracle.number_system
        self.end = time.monotonic() + seconds

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        if time.monotonic() > self.end:
            raise OutOfTime
        return self.oracle.answer(points, answer_bits)


def run(depth: int, name: str, seed: int, limit: float = 0) -> Trial:
    """Extract one network of ``depth`` hidden layers and measure it against the truth, in ``limit`` seconds if any."""
    begun = time.perf_counter()
    return dataclasses.replace(_tried(depth, name, seed, limit), seconds=time.perf_counter() - begun)


def _tried(depth: int, name: str, seed: int, limit: float) -> Trial:
    drawn = he(SHAPES[depth], seed)
    context = CONTEXTS[name]()
    network = lengthened(drawn.exact(), seed) if context.name == "mp" else drawn.exact()
    oracle = Float64NetworkOracle(drawn) if name == "float64" else ExactNetworkOracle(network)
    given = 53.0 if name == "float64" else math.inf if context.answer_bits is None else float(context.answer_bits)
    try:
        extraction = _extract(depth, TimedOracle(oracle, limit) if limit else oracle, context, seed)
    except OutOfTime:
        return Trial(None, given, f"not within {limit:g} s")
    if extraction.claim == "incomplete":
        return Trial(None, given, f"incomplete: {extraction.outcome.name.lower().replace('_', ' ')}")
    assert extraction.network is not None
    # A row against its largest entry: primitive integers as scales would leave an output weight next to nothing.
    found, truth = (float64_scaled(canonical_form(n)) for n in (extraction.network, network))
    if found.widths != truth.widths:
        return Trial(None, given, f"{extraction.claim}, but with widths {found.widths}")
    matching = match(found, truth)
    return Trial(None if matching.error is None else bits_of(matching.error), given, extraction.claim)


def living(depth: int, count: int) -> list[int]:
    """The first seeds of networks in which no neuron is on for hardly any, or for nearly every, Gaussian input.

    One layer of few neurons that are all off would leave nothing to find, and most narrow networks have such layers.
    """
    x = np.random.default_rng(0).standard_normal((2000, SHAPES[depth][0]))
    return list(itertools.islice((seed for seed in range(DRAWN) if _lives(he(SHAPES[depth], seed), x)), count))


def _lives(network: ReLUNetwork, x: np.ndarray) -> bool:
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        z = x @ np.asarray(weight).T + np.asarray(bias)
        on = np.mean(z > 0, axis=0)
        if np.any((on < RARE) | (on > 1 - RARE)):
            return False
        x = np.maximum(z, 0)
    return True


def lengthened(network: ExactNetwork, seed: int) -> ExactNetwork:
    """Every number times 1 + 2^-52 u, with u of 2,048 random bits below 1: no float64, and no short rational."""
    rng = random.Random(seed)
    unit = fmpq(1, 1 << (LENGTH + 52))

    def longer(matrix: fmpq_mat) -> fmpq_mat:
        numbers = [x * (1 + unit * rng.getrandbits(LENGTH)) for x in matrix.entries()]
        return fmpq_mat(matrix.nrows(), matrix.ncols(), numbers)

    return ExactNetwork(tuple(map(longer, network.weights)), tuple(map(longer, network.biases)))


def bits_of(error: fmpq) -> float:
    """-log2 of a rational, also of one far below float64."""
    if error == 0:
        return math.inf
    numerator, denominator = int(error.p), int(error.q)
    shift = denominator.bit_length() - numerator.bit_length()
    scaled = (numerator << max(shift, 0)) / (denominator << max(-shift, 0))
    return shift - math.log2(scaled)


def _extract(depth: int, oracle: Oracle, context: Context, seed: int) -> Extraction:
    if depth == 1:
        chosen = DepthTwoOptions(seed=seed, verify_inputs=100, verify_lines=4)
        return extract_depth_two(oracle, context, options=chosen)
    deep = AnyDepthOptions(seed=seed, verify_inputs=100, verify_lines=4)
    return extract_any_depth(oracle, context, options=deep)


def measure(depths: Sequence[int], seeds: int, limit: int) -> dict[tuple[int, str], list[Trial]]:
    """All trials by (depth, context). Deeper networks that are not even found exactly are not tried with rounding."""
    console = Console(stderr=True, width=150)
    results: dict[tuple[int, str], list[Trial]] = {}
    for depth in track(depths, "depths", console=console):
        for name in sorted(CONTEXTS, key=lambda name: name != "exact"):
            if name == "exact" or any(t.bits is not None for t in results[depth, "exact"]):
                results[depth, name] = [run(depth, name, seed, limit) for seed in living(depth, seeds)]
                console.print(f"{depth} hidden layer(s), {name}: {results[depth, name]}")
    return results


def table(results: dict[tuple[int, str], list[Trial]]) -> Table:
    """The figures side by side."""
    out = Table("widths", "context (asked)", "found", "answer bits", "attained (worst, median)", "lost", "end", "s")
    for (depth, name), trials in results.items():
        if not trials:
            widths = "-".join(map(str, SHAPES[depth]))
            out.add_row(widths, name, "0 of 0", "-", "-", "-", f"all neurons live in none of {DRAWN} networks", "-")
            continue
        bits = [trial.bits for trial in trials if trial.bits is not None]
        given = trials[0].answer_bits
        worst = min(bits, default=None)
        out.add_row(
            "-".join(map(str, SHAPES[depth])),
            name,
            f"{len(bits)} of {len(trials)}",
            _shown(given),
            "-" if worst is None else f"{_shown(worst)}, {_shown(statistics.median(bits))}",
            "-" if worst is None else "0" if worst == given else f"{given - worst:.0f}",
            ", ".join(sorted({trial.end for trial in trials})),
            f"{statistics.median(trial.seconds for trial in trials):.0f}",
        )
    return out


def law(results: dict[tuple[int, str], list[Trial]]) -> list[str]:
    """attained = slope * answer bits + offset, least squares over the mp contexts of a depth; bits lost per layer."""
    lost: dict[int, float] = {}
    found = []
    for depth in sorted({depth for depth, _ in results}):
        points = rounded(results, depth)
        if len({given for given, _ in points}) > 1:
            answers, attained = zip(*points, strict=True)
            slope, offset = np.polyfit(answers, attained, 1)
            lost[depth] = statistics.median(given - bits for given, bits in points)
            found.append(
                f"{depth} hidden layer(s): attained = {slope:.3f} answer bits {offset:+.1f}; "
                f"{lost[depth]:.1f} bits lost (median)"
            )
    polished = {depth: bits for depth, bits in lost.items() if depth > 1}
    if len(polished) > 1:
        layers = np.polyfit(list(polished), list(polished.values()), 1)
        found.append(f"from two hidden layers on, a layer costs {layers[0]:.1f} bits")
    return found or ["no depth was found in mp at two lengths of answers: there is no law to state"]


def rounded(results: dict[tuple[int, str], list[Trial]], depth: int) -> list[tuple[float, float]]:
    """(answer bits, attained bits) of the networks of a depth that were found in mp."""
    rows = [trials for (d, name), trials in results.items() if d == depth and name.startswith("mp")]
    return [(trial.answer_bits, trial.bits) for trials in rows for trial in trials if trial.bits is not None]


def plot(results: dict[tuple[int, str], list[Trial]]) -> Figure:
    """Attained bits against answer bits by depth, crosses on the floor where no network came out.

    Exact answers have no place on such axes.
    """
    figure, axes = one_axes()
    floor = 32
    for depth in sorted({depth for depth, _ in results}):
        points = [
            (trial.answer_bits, trial.bits)
            for (d, _), trials in results.items()
            for trial in trials
            if d == depth and trial.bits is not None and math.isfinite(trial.bits)
        ]
        failed = [
            trial.answer_bits
            for (d, _), trials in results.items()
            for trial in trials
            if d == depth and trial.bits is None and math.isfinite(trial.answer_bits)
        ]
        if points or failed:
            (drawn,) = axes.plot(*np.array(sorted(points)).reshape(-1, 2).T, "o", label=f"{depth} hidden layer(s)")
            axes.plot(failed, [floor] * len(failed), "x", color=drawn.get_color())
    axes.plot([floor, 2200], [floor, 2200], color="grey", linewidth=0.8, label="nothing lost")
    axes.set(xscale="log", yscale="log", xlabel="bits of an answer", ylabel="bits attained (worst weight)")
    axes.legend()
    return figure


def _shown(bits: float) -> str:
    return "all" if math.isinf(bits) else f"{bits:.0f}"


def main() -> None:
    parser = document_parser(__doc__, small="one seed, one hidden layer")
    parser.add_argument("--depths", nargs="+", type=int, default=list(SHAPES), metavar="N", help="hidden layers")
    parser.add_argument("--seeds", type=int, default=5, metavar="N")
    parser.add_argument("--limit", type=int, default=180, metavar="S", help="seconds for one extraction (default 180)")
    options = parser.parse_args()
    depths, seeds = ([1], 1) if options.small else (options.depths, options.seeds)
    results = measure(depths, seeds, options.limit)
    console = Console(width=150)
    console.print(table(results))
    for sentence in law(results):
        console.print(sentence)
    if options.out:
        save_figure(plot(results), options.out / "accuracy.svg")


if __name__ == "__main__":
    main()
