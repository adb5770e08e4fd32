"""Question: how fast can a known network be evaluated without any rounding, and which way is fastest?

Claim: none of a paper. An exact query needs P fractional bits where float64 has 53; every method below
returns the same integers, bit for bit, and each row is checked for that before it is timed.

Set-up: He Gaussian networks (seed 0). Every row of tables 1 to 5 comes from a process of its own, in which the methods
take turns; best of several calls. "plain" are the float64 products of the same network and batch in one jitted
function: the floor. "ratio" is FLINT / the automatic choice (starred), "floor" the choice / plain, both of the same
row. "cpu" is the ratio in processor time, as FLINT runs on one core and JAX on all.

1. Packed points: uniform inputs in [-2, 2) with P fractional bits. FLINT is the time of the integer matrices alone,
   from FLINT integers to FLINT integers; "packed" adds the packing; the others take and return packed words.
2. Set-up: seconds to build an evaluator (digits or residues of the weights, bounds), and of its first call.
3. Structured points, as an extraction asks them: 4000 points around 5 anchors or along 20 lines, from exact rationals
   to exact rationals. FLINT here is the structured one, which maps anchors and directions once, so that most of
   the first layer is gone for everybody.
4. P-bit mode: activations keep P fractional bits; "radius" is the proven error, "undecided" the points sent to the
   exact path.
5. Whole extractions with one hidden layer, and what ``certify`` says of the result.
6. ``jaxtract extract`` on a saved network as a user runs it, best of three of each in turns. "total" and "oracle" are
   of its report, "process" and "processor" include the start of Python and JAX.

Run: python -m experiments.exact_evaluation [--small] [--seed 0] [--only TABLE ...]

Result (seed 0, all tables in one run of 32 minutes; python 3.11.7, jax 0.10.2, python-flint 0.9.0, numpy 2.4.6; 2 cores
without an accelerator, shared with other work all the time at a load of 3 to 10: times are not those of an idle
machine and vary by half and more, ratios vary less, and those in processor time least):

1. Packed points, microseconds per query at P bits

    network              P  batch  plain    FLINT   packed    int8  float64  residues  ratio   cpu  floor
    80-40-20-1          64   1024   0.13    120.4    280.2     8.7     3.9*       6.6   31.2  14.8     29
    80-40-20-1         128   1024   0.13    128.3    290.9    12.8     5.7*      18.4   22.5  11.6     43
    80-40-20-1         256      1  38.09   138.7*    335.2   415.0    428.5     452.5    1.0   1.0      4
    80-40-20-1         256     64   0.57     85.0    222.9    23.4    12.5*      16.2    6.8   6.0     22
    80-40-20-1         256   1024   0.13     91.4    233.4    17.6     8.9*      14.3   10.3   7.8     67
    80-40-20-1         512   1024   0.14    170.1    246.6    62.6    19.8*      25.0    8.6   5.8    145
    80-40-20-1        1024   1024   0.13    234.5    351.5    95.2    33.1*      40.3    7.1   6.8    253
    80-40-20-1        2048   1024   0.13    867.6   1125.5   194.5    50.8*      87.7   17.1   9.9    377
    784-128-1           64   1024   0.97    334.7    773.9    53.1    37.6*      50.6    8.9   6.3     39
    784-128-1          128   1024   0.95    308.9    840.8   129.1    64.4*      84.3    4.8   4.2     68
    784-128-1          256      1  41.16   2378.1   3799.7   598.6   511.9*     654.9    4.6   4.6     12
    784-128-1          256     64   2.45    510.2   1328.7   248.7   104.0*     113.5    4.9   3.8     42
    784-128-1          256   1024   1.17    423.6   1056.2   252.6   133.5*     131.6    3.2   3.1    114
    784-128-1          512   1024   1.95    832.5   1478.8   485.8   253.4*     215.8    3.3   3.3    130
    784-128-1         1024   1024   1.17   1994.2   2991.7   963.7   501.2*     495.6    4.0   3.9    429
    784-128-1         2048   1024   1.02   5817.3   7092.4  1867.8   996.7*    1146.7    5.8   5.7    978
    784-128-64-32-10    64   1024   1.28    766.3   1331.2   120.8    57.2*     126.7   13.4   6.7     45
    784-128-64-32-10   128   1024   1.47    649.5   1484.5   216.0   107.0*     136.2    6.1   4.9     73
    784-128-64-32-10   256      1  44.18   2918.6   6204.7   704.5   576.1*    1048.8    5.1   5.1     13
    784-128-64-32-10   256     64   2.18    763.1   1479.0   200.6   141.9*     154.5    5.4   4.9     65
    784-128-64-32-10   256   1024   2.41   1171.4   2479.2   613.7   329.7*     424.4    3.6   3.5    137
    784-128-64-32-10   512   1024   1.32   1546.4   2481.8   724.0   307.4*     327.9    5.0   3.8    232
    784-128-64-32-10  1024   1024   1.99   3687.4   5084.8  1641.7   752.1*     652.0    4.9   4.4    378
    784-128-64-32-10  2048   1024   2.23  19506.6  14492.4  3020.6  1523.1*    1656.8   12.8   6.1    683

2. Set-up: seconds to build an evaluator and of its first call

    network             P  int8  first  float64  first  residues  first
    80-40-20-1        256  0.19   2.13     0.13   1.80      0.61   2.11
    784-128-1         256  0.55   1.72     1.11   1.57      1.78   2.06
    784-128-64-32-10  256  1.03   2.58     1.07   2.84      2.51   3.40

3. Structured points, microseconds per query

    network           batch  flint  pieces   int8  float64  residues  FLINT / pieces  FLINT / best packed
    80-40-20-1        stars   43.4     4.1   17.1     18.1      15.0            10.7                  2.9
    80-40-20-1        lines   49.6     9.5   39.0     11.3      10.7             5.2                  4.6
    784-128-1         stars  169.0    17.2   63.6     26.0      27.3             9.8                  6.5
    784-128-1         lines  105.4    26.1  155.8     65.7      68.8             4.0                  1.6
    784-128-64-32-10  stars  370.9   198.5  168.6     86.8      71.3             1.9                  5.2
    784-128-64-32-10  lines  347.8   232.4  193.7    108.3     133.1             1.5                  3.2

4. P-bit mode, microseconds per query

    network                         P  exact  P-bit  ratio  radius  undecided  pays
    80-40-40-40-40-40-40-40-40-1   64   31.6   15.0    2.1   2^-50          0   yes
    80-40-40-40-40-40-40-40-40-1  128   34.9   17.4    2.0  2^-114          0   yes
    80-40-40-40-40-40-40-40-40-1  256  105.5   56.8    1.9  2^-242          0   yes
    784-128-64-32-10               64   52.9   46.2    1.1   2^-59          0    no
    784-128-64-32-10              128   77.6   72.0    1.1  2^-123          0    no
    784-128-64-32-10              256  160.0  147.3    1.1  2^-251          0    no

5. Extractions, seconds

    network    evaluator  total  oracle  processor  claim
    64-32-10   flint       0.53    0.13       0.49  exact, identical
    64-32-10   auto        0.57    0.13       0.53  exact, identical
    64-32-10   float64     3.09    2.72       3.08  exact, identical
    64-32-10   residues    6.38    5.86       4.24  exact, identical
    784-32-1   flint       1.80    0.72       1.18  exact, identical
    784-32-1   auto        1.37    0.37       0.92  exact, identical
    784-32-1   float64     8.09    6.84       5.44  exact, identical
    784-32-1   residues   11.57   10.35       7.58  exact, identical
    784-128-1  flint      22.02   15.24      10.93  exact, identical
    784-128-1  auto        9.78    3.82       4.92  exact, identical
    784-128-1  float64    16.86   11.53       9.97  exact, identical
    784-128-1  residues   24.80   18.31      12.38  exact, identical

6. jaxtract extract, seconds

    network    evaluator  total  oracle  process  processor  claim  FLINT / total
    784-128-1  flint      20.75   14.38    30.55      15.14  exact            1.0
    784-128-1  auto        9.84    3.54    20.17      10.21  exact            2.1

Conclusion: at batch 1024 and P = 256 the automatic choice takes 10.3 times less time than FLINT on 80-40-20-1,
3.2 times on 784-128-1 and 3.6 times on 784-128-64-32-10 (7.8, 3.1 and 3.5 times in processor time), at 70 to 140
times the floor. On these networks it chooses float64 digits at every precision; on the two wide ones residues are
as fast from P = 512 on, within the noise. On this processor int8 products gain nothing. In an extraction the first
layer is shared, and pieces are the fastest up to two hidden layers, float64 digits or residues with three. The
command on 784-128-1 takes 2.1 times less in total, by the clock of its report; as a whole process only 1.5 times,
because start and end cost 10 s at that load with either. P-bit mode halves the time of eight hidden layers and
gains next to nothing on three. An earlier run had all rows in one process, in which FLINT was up to 12 times slower
at batch 1 and the extraction of 784-128-1 three times (36 s of processor time; 11 s here); why was not looked for.
It flattered the ratios and was dropped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from flint import fmpq
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import jaxtract
from jaxtract import ExactContext, ExactNetworkOracle, ReLUNetwork, certify, extract_depth_two
from jaxtract.evaluation import (
    ExactEvaluator,
    FlintPackedEvaluator,
    InputFormat,
    Packed,
    RoundedEvaluator,
    exact_evaluator,
    integer_network,
    rounding_pays,
    sample_words,
)
from jaxtract.evaluation.choose import build, choose_method
from jaxtract.evaluation.packing import matrix_of, words_of
from jaxtract.evaluation.served import EvaluatorName, point_evaluator
from jaxtract.network.families import he
from jaxtract.network.files import save_network
from jaxtract.oracle.points import PointBatch, on_lines, stars
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import one_axes, save_figure
from precision.dyadic import from_float64

NETWORKS = ((80, 40, 20, 1), (784, 128, 1), (784, 128, 64, 32, 10))
DEEP = ((80, *(40,) * 8, 1), (784, 128, 64, 32, 10))
PRECISIONS = (64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 64, 1024)
METHODS = ("int8", "float64", "residues")
SERVED: tuple[EvaluatorName, ...] = ("flint", "pieces", *METHODS)
TABLES = ("setup", "packed", "structured", "rounded", "extraction", "command")
TURNS = 3


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything: full or ``--small``."""

    seed: int
    networks: Sequence[tuple[int, ...]] = NETWORKS
    deep: Sequence[tuple[int, ...]] = DEEP
    extracted: Sequence[tuple[int, ...]] = ((64, 32, 10), (784, 32, 1), (784, 128, 1))
    commanded: Sequence[tuple[int, ...]] = ((784, 128, 1),)
    commands: int = 3
    evaluators: Sequence[EvaluatorName] = ("flint", "auto", "float64", "residues")
    precisions: Sequence[int] = PRECISIONS
    batches: Sequence[int] = BATCHES
    points: int = 4000
    seconds: float = 2.0
    fresh: bool = True


def small(seed: int) -> Scale:
    return Scale(
        seed,
        networks=((20, 10, 5, 1),),
        deep=((6, 5, 5, 5, 1),),
        extracted=((8, 6, 1),),
        commanded=((8, 6, 1),),
        commands=1,
        evaluators=("flint", "auto"),
        precisions=(64,),
        batches=(8,),
        points=100,
        seconds=0.01,
        fresh=False,
    )


def alone(make: Callable[..., Sequence[str]], *arguments: Any, scale: Scale) -> Sequence[str]:
    """One row of a table, from a process of its own: what earlier rows left in memory would slow FLINT down."""
    if not scale.fresh:
        return make(*arguments, scale)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(make, *arguments, scale).result()


@dataclasses.dataclass(frozen=True)
class Seconds:
    """On the clock, and of the processor: all threads of this process, without what other work took."""

    clock: float
    processor: float


def best_in_turns(calls: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, Seconds]:
    """The least times of every call. They take turns, so that other work on the machine meets all of them alike."""
    times: dict[str, list[Seconds]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            turn = [once(call)]
            while sum(one.clock for one in turn) < seconds / TURNS:
                turn.append(once(call))
            times[name] += turn
    return {
        name: Seconds(min(one.clock for one in all_), min(one.processor for one in all_))
        for name, all_ in times.items()
    }


def once(call: Callable[[], object]) -> Seconds:
    processor, clock = time.process_time(), time.perf_counter()
    call()
    return Seconds(time.perf_counter() - clock, time.process_time() - processor)


def title(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


def plain_float64(network: ReLUNetwork, batch: int, scale: Scale) -> Callable[[], object]:
    """The plain float64 products of a batch."""
    forward = eqx.filter_jit(network.__call__)
    inputs = jnp.asarray(np.random.default_rng(scale.seed).uniform(-2, 2, (batch, network.inputs)))
    forward(inputs).block_until_ready()
    return lambda: forward(inputs).block_until_ready()


def packed(scale: Scale) -> Table:
    """Microseconds per query of packed points; the automatic choice is starred."""
    names = ("plain float64", "FLINT", "flint packed", *METHODS)
    out = _table("network", "P", "batch", *names, "ratio", "cpu ratio", "floor")
    for widths in scale.networks:
        for prec in scale.precisions:
            # Small batches matter less: one precision shows them.
            for batch in scale.batches if prec == 256 else scale.batches[-1:]:
                row = alone(_packed_row, widths, prec, batch, scale=scale)
                out.add_row(title(widths), str(prec), str(batch), *row)
    return out


def _packed_row(widths: Sequence[int], prec: int, batch: int, scale: Scale) -> list[str]:
    network = he(widths, scale.seed)
    exact, format = network.exact(), InputFormat(prec, prec + 2)
    points = Packed(sample_words(batch, network.inputs, format, seed=scale.seed), prec)
    reference = FlintPackedEvaluator(exact, format)
    mantissas, integers = matrix_of(points.words), reference.integers
    expected = words_of(reference.evaluate_matrix(mantissas)[0], integers.bits[-1])
    calls: dict[str, Callable[[], object]] = {
        "plain float64": plain_float64(network, batch, scale),
        "FLINT": partial(reference.evaluate_matrix, mantissas),
    }
    evaluators: dict[str, ExactEvaluator] = {"flint packed": reference}
    evaluators |= {method: exact_evaluator(exact, format, batch=batch, method=method) for method in METHODS}
    for name, evaluator in evaluators.items():
        if evaluator(points) != Packed(expected, integers.exponents[-1]):
            raise AssertionError(f"{name} differs from FLINT on {title(network.widths)} at P = {prec}")
        calls[name] = partial(evaluator, points)
    times = best_in_turns(calls, seconds=scale.seconds)
    method = choose_method(integers, batch=batch)
    chosen = "FLINT" if method == "flint" else method
    floor, flint, best = times["plain float64"], times["FLINT"], times[chosen]
    each = {name: one.clock / batch * 1e6 for name, one in times.items()}
    cells = [f"{x:.{2 if name == 'plain float64' else 1}f}{'*' * (name == chosen)}" for name, x in each.items()]
    ratios = flint.clock / best.clock, flint.processor / best.processor
    return [*cells, *(f"{ratio:.1f}" for ratio in ratios), f"{best.clock / floor.clock:.0f}"]


def picture(measured: Table) -> Figure:
    """How many times faster than FLINT the chosen method is, by precision, for the largest batch of every network."""
    columns = {str(column.header): list(map(str, column.cells)) for column in measured.columns}
    rows = zip(*(columns[name] for name in ("network", "P", "batch", "ratio")), strict=True)
    largest = max(map(int, columns["batch"]))
    figure, axes = one_axes()
    series: dict[str, list[tuple[int, float]]] = {}
    for network, prec, batch, ratio in rows:
        if int(batch) == largest:
            series.setdefault(network, []).append((int(prec), float(ratio)))
    for network, points in series.items():
        axes.plot(*zip(*points, strict=True), "o-", markersize=4, label=network)
    axes.axhline(1, color="grey", linewidth=0.8, label="FLINT")
    axes.set(xscale="log", yscale="log", xlabel="bits of an input", ylabel=f"times faster than FLINT, batch {largest}")
    axes.legend(frameon=False, fontsize="small")
    return figure


def setup(scale: Scale) -> Table:
    """Seconds before the second call of a packed evaluator, at the middle precision."""
    out = _table("network", "P", *(f"{method} {what}" for method in METHODS for what in ("build", "first call")))
    for widths in scale.networks:
        prec = 256 if 256 in scale.precisions else scale.precisions[0]
        out.add_row(title(widths), str(prec), *alone(_setup_row, widths, prec, scale=scale))
    return out


def _setup_row(widths: Sequence[int], prec: int, scale: Scale) -> list[str]:
    network, format = he(widths, scale.seed).exact(), InputFormat(prec, prec + 2)
    points, cells = Packed(sample_words(64, network.inputs, format), prec), []
    for method in METHODS:
        begun = time.perf_counter()
        evaluator = build(network, format, method)
        cells.append(time.perf_counter() - begun)
        cells.append(once(partial(evaluator, points)).clock)
    return [f"{seconds:.2f}" for seconds in cells]


def structured(scale: Scale) -> Table:
    """Microseconds per query of the batches of an extraction, from rationals to rationals."""
    out = _table("network", "batch", *SERVED, "FLINT / pieces", "FLINT / best packed")
    for widths in scale.networks:
        for name in ("stars", "lines"):
            out.add_row(title(widths), name, *alone(_structured_row, widths, name, scale=scale))
    return out


def _structured_row(widths: Sequence[int], name: str, scale: Scale) -> list[str]:
    network = he(widths, scale.seed).exact()
    points = dict(batches(network.inputs, scale))[name]
    expected, calls = point_evaluator(network, "flint")(points), {}
    for method in SERVED:
        evaluate = point_evaluator(network, method)
        if (evaluate(points) != expected).any():
            raise AssertionError(f"{method} differs from FLINT on {title(widths)}, {name}")
        calls[method] = partial(evaluate, points)
    seconds = best_in_turns(calls, seconds=scale.seconds)
    times = [one.clock / len(points) * 1e6 for one in seconds.values()]
    return [f"{x:.1f}" for x in (*times, times[0] / times[1], times[0] / min(times[2:]))]


def batches(inputs: int, scale: Scale) -> Iterator[tuple[str, PointBatch]]:
    """Small steps along all axes from 5 anchors; random positions with 60 fractional bits on 20 lines."""
    rng = np.random.default_rng(scale.seed)
    rows = from_float64(rng.standard_normal((25, inputs)).astype(np.float32).astype(np.float64))
    axes = list(range(inputs)) * (1 + scale.points // (5 * inputs))
    yield "stars", stars(rows, [fmpq(1, 1 << 70)] * 5, axes[: scale.points // 5])
    positions = [fmpq(int(k), 1 << 60) for k in rng.integers(-(1 << 62), 1 << 62, scale.points)]
    yield "lines", on_lines(rows, rows, [k % 20 for k in range(scale.points)], positions)


def rounded(scale: Scale) -> Table:
    """Microseconds per query of P-bit mode against the exact digit slices, in float64."""
    out = _table("network", "P", "exact slices", "P-bit", "ratio", "radius", "undecided", "pays by count")
    for widths in scale.deep:
        for prec in scale.precisions[:3]:
            out.add_row(title(widths), str(prec), *alone(_rounded_row, widths, prec, scale=scale))
    return out


def _rounded_row(widths: Sequence[int], prec: int, scale: Scale) -> list[str]:
    network, format, batch = he(widths, scale.seed).exact(), InputFormat(prec, prec + 2), scale.batches[-1]
    points = Packed(sample_words(batch, network.inputs, format, seed=scale.seed), prec)
    exact, dropping = build(network, format, "float64"), RoundedEvaluator(network, format, prec)
    exact(points)
    result = dropping(points)
    calls = {"exact": partial(exact, points), "dropping": partial(dropping, points)}
    times = [one.clock for one in best_in_turns(calls, seconds=scale.seconds).values()]
    return [
        *(f"{seconds / batch * 1e6:.1f}" for seconds in times),
        f"{times[0] / times[1]:.1f}",
        f"2^{result.radius.bit_length() - result.values.exponent}",
        str(int(result.exact.sum())),
        "yes" if rounding_pays(integer_network(network, format), prec) else "no",
    ]


def extraction(scale: Scale) -> Table:
    """Seconds of whole extractions; processor time leaves out what other work on the machine took."""
    out = _table("network", "evaluator", "total", "in the oracle", "processor", "claim", "points")
    for widths in scale.extracted:
        for name in scale.evaluators:
            out.add_row(title(widths), name, *alone(_extraction_row, widths, name, scale=scale))
    return out


def _extraction_row(widths: Sequence[int], name: EvaluatorName, scale: Scale) -> list[str]:
    network = he(widths, scale.seed).exact()
    oracle, begun = ExactNetworkOracle(network, evaluator=name), time.process_time()
    result = extract_depth_two(oracle, ExactContext())
    seconds = result.seconds, result.oracle_seconds, time.process_time() - begun
    claim = f"{result.claim}, {certify(result.network, network).verdict}" if result.network else result.claim
    return [*(f"{x:.2f}" for x in seconds), claim, oracle.evaluator.split(";")[0]]


def command(scale: Scale) -> Table:
    """Whole processes of ``jaxtract extract`` on a saved network, best of some that take turns.

    "total" and "in the oracle" are what the report says; "process" adds the start of Python and the files.
    """
    out = _table("network", "evaluator", "total", "in the oracle", "process", "processor", "claim", "points")
    out.add_column("FLINT / total", justify="right", no_wrap=True)
    for widths in scale.commanded:
        with tempfile.TemporaryDirectory() as folder:
            save_network(he(widths, scale.seed), Path(folder) / "net.npz")
            runs = [(name, _one_command(folder, name)) for _ in range(scale.commands) for name in ("flint", "auto")]
            weights = {path.read_bytes() for path in Path(folder).glob("*/jaxtract-runs/*/exact.json")}
        if len(weights) != 1:
            raise AssertionError(f"the runs left {len(weights)} different networks on {title(widths)}")
        best = {
            name: min((run for known, run in runs if known == name), key=itemgetter(0)) for name in ("flint", "auto")
        }
        for name, (*seconds, claim, said) in best.items():
            ratio = f"{best['flint'][0] / seconds[0]:.1f}"
            out.add_row(title(widths), name, *(f"{x:.2f}" for x in seconds), claim, said.split(";")[0], ratio)
    return out


def _one_command(folder: str, name: str) -> tuple[float, float, float, float, str, str]:
    """(total, in the oracle, process, processor seconds, claim, who evaluated)."""
    program = "from jaxtract.cli.main import run; run()"
    arguments = ["extract", f"{folder}/net.npz", "--evaluator", name, "--json"]
    Path(folder, name).mkdir(exist_ok=True)
    call = partial(subprocess.run, stdout=subprocess.PIPE, check=True, cwd=Path(folder, name), env=_environment())
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = call([sys.executable, "-c", program, *arguments])
    process, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads(done.stdout)
    seconds = report["seconds"]
    return seconds["total"], seconds["oracle"], process, processor, report["claim"], report["evaluator"]


def _environment() -> dict[str, str]:
    """This one, in which the package is found from any folder."""
    root = str(Path(jaxtract.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _table(*columns: str) -> Table:
    out = Table(box=None)
    for name in columns:
        out.add_column(name, justify="left" if name in ("network", "batch", "points") else "right", no_wrap=True)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = document_parser(__doc__, small="tiny networks")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and the inputs")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables by name")
    options = parser.parse_args(arguments)
    scale = small(options.seed) if options.small else Scale(options.seed)
    makers = dict(zip(TABLES, (setup, packed, structured, rounded, extraction, command), strict=True))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "python-flint", "numpy"))
    console = Console(width=180)
    console.print(f"seed {options.seed}, python {platform.python_version()}, {versions}, {os.cpu_count()} cores")
    for name in options.only:
        made = makers[name](scale)
        console.print(f"\n{name}", made)
        if name == "packed" and options.out:
            save_figure(picture(made), options.out / "packed.svg")


if __name__ == "__main__":
    main()
