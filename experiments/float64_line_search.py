"""How fast are all kinks of thousands of lines found in float64, and how many queries does a kink cost?

Question: The line search advances all open intervals of all lines in lock-step. What does it cost in time, against
    the plain forward passes for the same number of points, and in queries?

Claim: About 4.5 queries per kink on every network, whatever the number of lines. With thousands of lines the whole
    search, from lines to sorted kinks with errors and slopes, takes a few times as long as the bare forward passes.

Set-up: He-Gaussian networks with Gaussian biases of size 0.3; lines p + t v with p and v/2 Gaussian, t in [-1, 1].
    Floor: the jitted forward pass on batches of 4096 random points, as many as the search asked, in the same run,
    best of three. Search: best of three after one run that compiles. Queries include both ends of every line and
    the estimate of the noise (32 queries). Two CPU cores.

Seed: 0.

Result:

    network         lines    kinks  unresolved  queries per kink  kinks/s  time / floor
    80-40-20-1          1       46           0              5.37    1,810         524.1
    80-40-20-1         10      385           0              4.66    9,497          77.2
    80-40-20-1        100    4,398           0              4.57  165,988          11.8
    80-40-20-1      1,000   42,649           0              4.58  372,974           5.0
    80-40-20-1     10,000  427,160           2              4.59  325,696           5.5
    10-15-15-1          1       19           0              6.26    1,966         345.4
    10-15-15-1         10      200           0              4.88   18,428         172.8
    10-15-15-1        100    2,112           0              4.69  119,275          41.7
    10-15-15-1      1,000   21,653           0              4.69  483,416          13.3
    10-15-15-1     10,000  217,080           0              4.67  653,010           8.0
    784-128-64-10       1      128           0              4.71    1,233          74.2
    784-128-64-10      10    1,347           0              4.50    7,829           7.4
    784-128-64-10     100   13,544           0              4.49   25,097           2.3
    784-128-64-10   1,000  134,241           0              4.48   35,586           2.0

Conclusion: The queries per kink hold: 4.5 to 4.9 from ten lines on, of which two prove the kink and two to three make
    the piece beside it. The time does not reach a small multiple of the floor on small networks: five floors on
    80-40-20-1 from a thousand lines on, eight on 10-15-15-1, two on the large network. Bookkeeping costs a few hundred
    nanoseconds per query whatever the network. A single line costs 10 to 100 ms, the fixed cost of the loop.
    Times vary by about a third between runs, because the two cores were shared.

Run: python experiments/float64_line_search.py [--small] [--seed 0]
"""

import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxtract.pictures.charts import growth
from jaxtract.pictures.document import document_parser
from jaxtract.pictures.figures import save_figure
from jaxtract.search.float64_lines import LineKinks, LineSearch, search_lines

NETWORKS = ((80, 40, 20, 1), (10, 15, 15, 1), (784, 128, 64, 10))
BATCHES = (1, 10, 100, 1000, 10_000)
SMALL_NETWORKS = ((20, 10, 5, 1),)
SMALL_BATCHES = (10,)
LARGE_INPUT_LINES = 1000  # at 784 inputs, 10^4 lines fill the memory with lines, not with kinks


def he_gaussian(widths, rng):
    """Forward pass of a ReLU network with weights of variance 2 / fan-in."""
    pairs = itertools.pairwise(widths)
    layers = [(rng.standard_normal((k, n)) * np.sqrt(2 / k), 0.3 * rng.standard_normal(n)) for k, n in pairs]
    layers = [(jnp.asarray(A), jnp.asarray(b)) for A, b in layers]

    def forward(x):
        for A, b in layers[:-1]:
            x = jax.nn.relu(x @ A + b)
        A, b = layers[-1]
        return x @ A + b

    return forward


def best_time(run, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def floor_time(forward, d, queries, rng, repeats, batch=4096):
    """Seconds for the bare forward passes of so many points."""
    jitted = jax.jit(forward)
    points = jnp.asarray(rng.standard_normal((min(batch, queries), d)))
    jax.block_until_ready(jitted(points))
    rounds = max(queries // len(points), 1)
    seconds = best_time(lambda: jax.block_until_ready([jitted(points) for _ in range(rounds)]), repeats)
    return seconds * queries / (rounds * len(points))


def measure(widths, lines, seed, repeats=3) -> tuple[LineKinks, float, float]:
    """The kinks, seconds for the search, seconds for the floor."""
    rng = np.random.default_rng([seed, lines, *widths])
    forward = he_gaussian(widths, rng)
    points, directions = rng.standard_normal((lines, widths[0])), 2 * rng.standard_normal((lines, widths[0]))
    options = LineSearch()
    found = search_lines(forward, points, directions, options=options)
    seconds = best_time(lambda: search_lines(forward, points, directions, options=options), repeats)
    return found, seconds, floor_time(forward, widths[0], found.total_queries, rng, repeats)


def main(arguments=None):
    parser = document_parser(__doc__, small="one small network")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rates: dict[str, list[tuple[float, float]]] = {}
    table = Table("network", "lines", "kinks", "unresolved", "queries per kink", "kinks/s", "time / floor")
    for widths in SMALL_NETWORKS if options.small else NETWORKS:
        for lines in SMALL_BATCHES if options.small else BATCHES:
            if widths[0] > 100 and lines > LARGE_INPUT_LINES:
                continue
            found, seconds, floor = measure(widths, lines, options.seed)
            kinks = len(found.kinks)
            rates.setdefault("-".join(map(str, widths)), []).append((lines, max(kinks, 1) / seconds))
            table.add_row(
                "-".join(map(str, widths)),
                f"{lines:,}",
                f"{kinks:,}",
                str(len(found.clusters)),
                f"{found.total_queries / max(kinks, 1):.2f}",
                f"{kinks / seconds:,.0f}",
                f"{seconds / floor:.1f}",
            )
    Console(width=110).print(table)
    if options.out:
        save_figure(growth(rates, x="lines searched together", y="kinks a second"), options.out / "kinks_a_second.svg")


if __name__ == "__main__":
    main()
