"""Pictures: boundaries as segments against the networks that they are of, found against true, the course of a run."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from jaxtract.cli.exit_codes import BAD_INPUT, CLAIM_REACHED
from jaxtract.cli.main import main
from jaxtract.network.families import coincident, he, residual, with_skips
from jaxtract.network.files import save_network
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.counting import QueryCount
from jaxtract.pictures.boundaries import boundaries_in
from jaxtract.pictures.draw_regions import draw_regions
from jaxtract.pictures.met import LayerMet, distances, found_in_words, layers_met, true_in_words
from jaxtract.pictures.plane import random_window, window_through
from jaxtract.report.course import MOST_MOMENTS, CourseMeter, course_as_dict, course_from_dict
from jaxtract.report.progress import NoProgressMeter
from jaxtract.report.run_directory import load_course

NETWORKS = {
    "10-12-1": lambda: he((10, 12, 1), 3),
    "2-9-7-2": lambda: he((2, 9, 7, 2), 0, bias_std=0.5),
    "12-8-8-8-1": lambda: he((12, 8, 8, 8, 1), 1),
    "residual": lambda: residual((9, 8, 8, 1), 0),
    "skip": lambda: with_skips((7, 6, 6, 1), 2, [(0, 2)]),
}
"""Plain networks and networks with skips; in general position, so that no boundary runs along another."""


def heights(network, inputs):
    """Pre-activations of the hidden layers at inputs (points, inputs), (points, all hidden neurons)."""
    states, found = [inputs], []
    for layer in range(1, len(network.weights)):
        z = states[-1] @ np.asarray(network.weights[layer - 1]).T + np.asarray(network.biases[layer - 1])
        for (source, target), matrix in network.skips.items():
            z = z + states[source] @ np.asarray(matrix).T if target == layer else z
        states.append(np.maximum(z, 0))
        found.append(z)
    return np.concatenate(found, axis=1)


def unit_of(boundaries):
    """For every segment the place of its neuron in ``heights``."""
    starts = np.cumsum([0, *boundaries.widths])
    return starts[boundaries.layers - 1] + boundaries.neurons


def lengths(boundaries):
    return np.linalg.norm(boundaries.segments[:, 1] - boundaries.segments[:, 0], axis=1)


@pytest.fixture(params=NETWORKS)
def pictured(request):
    """(network, window, boundaries)."""
    network = NETWORKS[request.param]()
    window = random_window(network.inputs, 5, scale=2)
    return network, window, boundaries_in(network, window)


# --- segments against the network


def test_a_neuron_changes_state_across_its_segments(pictured):
    network, window, boundaries = pictured
    start, end = boundaries.segments[:, 0], boundaries.segments[:, 1]
    across = np.stack([start[:, 1] - end[:, 1], end[:, 0] - start[:, 0]], axis=1) / lengths(boundaries)[:, None]
    rows, unit = np.arange(len(start)), unit_of(boundaries)
    size = np.abs(heights(network, window.embed(window.corners()))).max()
    step = 1e-7 * window.reach
    for share in (0.1, 0.5, 0.9):
        middle = start + share * (end - start)
        on_it = heights(network, window.embed(middle))[rows, unit]
        sides = [heights(network, window.embed(middle + sign * step * across))[rows, unit] for sign in (-1, 1)]
        assert np.abs(on_it).max() < 1e-12 * size
        assert np.all(np.minimum(*sides) < 0) and np.all(np.maximum(*sides) > 0)


def test_every_change_of_state_on_a_line_is_on_a_segment(pictured):
    """Counted neuron by neuron at 20,000 places of ten chords of the window."""
    network, window, boundaries = pictured
    rng = np.random.default_rng(7)
    unit, total = unit_of(boundaries), 0
    for _ in range(10):
        ends = rng.uniform(-window.reach, window.reach, (2, 2))
        places = ends[0] + np.linspace(0, 1, 20_001)[:, None] * (ends[1] - ends[0])
        changes = np.sum(np.diff(heights(network, window.embed(places)) > 0, axis=0), axis=0)
        crossed = np.bincount(unit[crossing(boundaries.segments, ends)], minlength=len(changes))
        assert np.array_equal(changes, crossed)
        total += changes.sum()
    assert total > 40


def crossing(segments, ends):
    """Which segments (segments, 2, 2) cross the one between the ends (2, 2)."""

    def side(a, b, c):
        return np.sign(
            (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        )

    one, two = segments[:, 0], segments[:, 1]
    p, q = ends
    return (side(one, two, p) != side(one, two, q)) & (side(p, q, one) != side(p, q, two))


def test_boundaries_end_at_the_edge_of_the_window_only(pictured):
    """Inside, every end of a segment is the end of one more segment of the same neuron: there the boundary bends."""
    _, window, boundaries = pictured
    for unit in np.unique(unit_of(boundaries)):
        ends = boundaries.segments[unit_of(boundaries) == unit].reshape(-1, 2)
        inside = ends[np.abs(ends).max(axis=1) < (1 - 1e-9) * window.reach]
        near = np.linalg.norm(inside[:, None] - inside[None], axis=-1) < 1e-8 * window.reach
        assert np.all(near.sum(axis=1) == 2)


def test_every_segment_parts_a_region(pictured):
    _, _, boundaries = pictured
    assert boundaries.regions == len(boundaries.segments) + 1


def test_first_layer_boundaries_are_straight(pictured):
    network, window, boundaries = pictured
    first = boundaries.of_layer(1)
    forms = np.asarray(network.weights[0]) @ window.coordinates()
    forms[:, 0] += np.asarray(network.biases[0])
    own = forms[boundaries.neurons[boundaries.layers == 1]]
    values = own[:, None, 0] + np.einsum("nkx,nx->nk", first, own[:, 1:])
    assert np.abs(values).max() < 1e-11 * window.reach


def test_the_axes_of_the_plane():
    """s(x1) and s(x2 - 1): two lines, each in two pieces, four regions; nothing of a neuron that is never on."""
    rows = [[1, 0], [0, 1], [0, 0]]
    boundaries = boundaries_in(ReLUNetwork([rows, [[1, 1, 1]]], [[0, -1, -1], [0]]), random_window(2, 0))
    assert (boundaries.regions, boundaries.seen(1)) == (4, 2)
    pieces = {tuple(sorted(map(tuple, segment.tolist()))) for segment in boundaries.segments}
    assert pieces == {
        ((0.0, -3.0), (0.0, 3.0)), ((-3.0, 1.0), (0.0, 1.0)), ((0.0, 1.0), (3.0, 1.0)),
    }  # fmt: skip


def test_neurons_on_one_hyperplane_are_all_drawn():
    """The second of a pair parts no region any more; its boundary runs along edges, on the side where it is on."""
    network = coincident((6, 8, 1), 0)
    boundaries = boundaries_in(network, random_window(6, 1))
    drawn = [lengths(boundaries)[boundaries.neurons == neuron].sum() for neuron in range(8)]
    assert min(drawn) > 0
    assert drawn[::2] == pytest.approx(drawn[1::2], rel=1e-9)


def test_a_network_of_no_hidden_layer_has_no_boundary():
    boundaries = boundaries_in(he((4, 2), 0), random_window(4, 0))
    assert (len(boundaries.segments), boundaries.regions, boundaries.widths) == (0, 1, ())


# --- planes


def test_the_plane_goes_through_its_inputs():
    points = np.random.default_rng(3).standard_normal((3, 11))
    window = window_through(points, scale=4)
    assert window.embed(window.marks) == pytest.approx(points)
    assert window.axes @ window.axes.T == pytest.approx(np.eye(2))
    assert window.reach == pytest.approx(6 * np.linalg.norm(points - points.mean(axis=0), axis=1).max())


@pytest.mark.parametrize(
    ("points", "scale", "message"),
    [
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], 1, "lie on one line"),
        ([[0, 0], [1, 1]], 1, "3 inputs of 2 or more"),
        ([[0, 0], [1, np.nan], [1, 0]], 1, "NaN"),
        ([[0, 0], [1, 2], [1, 0]], 0, "scale is 0"),
    ],
)
def test_no_plane(points, scale, message):
    with pytest.raises(ValueError, match=message):
        window_through(np.array(points, dtype=float), scale=scale)


def test_the_plane_must_be_of_the_networks_inputs():
    with pytest.raises(ValueError, match="4 inputs; the network has 5"):
        boundaries_in(he((5, 3, 1), 0), random_window(4, 0))


# --- found against true


def turned(network, rng):
    """The same boundaries: neurons of the first layer permuted, scaled, and turned to the other side."""
    order = rng.permutation(network.widths[1])
    scale = rng.uniform(0.1, 9, len(order))
    factors = scale * rng.choice([-1, 1], len(order)) if len(network.weights) == 2 else scale
    weights, biases = [np.asarray(w) for w in network.weights], [np.asarray(b) for b in network.biases]
    weights[0], biases[0] = factors[:, None] * weights[0][order], factors * biases[0][order]
    weights[1] = weights[1][:, order] / scale
    return ReLUNetwork(weights, biases)


@pytest.mark.parametrize("widths", [(6, 9, 1), (6, 9, 5, 1)])
def test_neurons_in_other_order_and_scale_are_met(widths):
    network = he(widths, 0)
    window = random_window(6, 0)
    boundaries = boundaries_in(network, window)
    met = layers_met(boundaries, turned(network, np.random.default_rng(0)), window)
    assert [(m.neurons, m.whole, m.none, m.share) for m in met] == [
        (boundaries.seen(layer), boundaries.seen(layer), 0, 1.0) for layer in range(1, len(widths) - 1)
    ]


def test_a_neuron_that_was_not_found_is_missed():
    network = he((6, 9, 1), 0)
    window = random_window(6, 0)
    less = ReLUNetwork(
        [network.weights[0][:-1], network.weights[1][:, :-1]], [network.biases[0][:-1], network.biases[1]]
    )
    (met,) = layers_met(boundaries_in(network, window), less, window)
    assert (met.neurons, met.whole, met.none) == (9, 8, 1) and 0 < met.share < 1
    (back,) = layers_met(boundaries_in(less, window), network, window)
    assert (back.neurons, back.whole) == (8, 8)


def test_a_row_with_a_wrong_weight_is_met_in_part():
    """The second layer's boundary is right where the neuron of the wrong weight is off."""
    network = he((6, 9, 1, 1), 4)
    weights = [np.asarray(w) for w in network.weights]
    wrong = ReLUNetwork([weights[0], weights[1] + np.eye(9)[3:4], weights[2]], network.biases)
    window = random_window(6, 1)
    first, second = layers_met(boundaries_in(network, window), wrong, window)
    assert first.share == 1
    assert (second.neurons, second.whole, second.none) == (1, 0, 0) and 0 < second.share < 1


def test_the_distance_to_a_boundary():
    network = ReLUNetwork([[[3, 4]], [[1]]], [[-5], [0]])
    assert distances(network, random_window(2, 0), np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx([1, 4])


def test_in_words():
    met = [LayerMet(1, 5, 5, 0, 1.0), LayerMet(2, 4, 1, 2, 0.9999), LayerMet(3, 0, 0, 0, 1.0)]
    assert true_in_words(met) == [
        "True boundaries of the slice: 9, of which 6 were met in full.",
        "layer 1: 5 of 5 in full, all of them",
        "layer 2: 1 of 4 in full, 1 in part, 2 not at all; 99.9 % of the length",
        "layer 3: 0 of 0 in full, none runs through the slice",
    ]
    assert found_in_words(met) == "Found boundaries: 9, of which 3 are not true, or only in part."
    assert found_in_words(met[:1]) == "Found boundaries: 5, all of them true."
    assert true_in_words(met[2:]) == ["No true boundary runs through the slice."]


# --- the pictures themselves


def test_all_segments_are_drawn_and_counted():
    network = he((6, 9, 5, 1), 0)
    window = random_window(6, 0)
    boundaries = boundaries_in(network, window)
    figure = draw_regions(window, boundaries, title="a title", truth=boundaries, words=["so many"])
    (axes,) = figure.axes
    collections = [c for c in axes.collections if isinstance(c, LineCollection)]
    drawn = [len(collection.get_segments()) for collection in collections]
    assert sorted(drawn) == sorted(2 * [len(boundaries.of_layer(layer)) for layer in (1, 2)])
    wide, thin = sorted({float(np.max(c.get_linewidth())) for c in collections}, reverse=True)
    assert wide > 3 * thin
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert [line.split(":")[0] for line in said] == [
        "true, layer 1", "true, layer 2", "found, layer 1", "found, layer 2", "inputs of the plane",
    ]  # fmt: skip
    assert f"{boundaries.seen(2)} of 5 neurons, {len(boundaries.of_layer(2))} pieces" in said[1]
    assert legend.get_title().get_text() == "so many"


# --- on the command line


@pytest.fixture(autouse=True)
def work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(capsys, *arguments):
    """(exit code, standard output, standard error)."""
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def run_of(network, *arguments):
    """A run directory ``run`` of this network."""
    save_network(network, Path("net.npz"))
    few = ["--verify-inputs", "22", "--verify-lines", "2", "--json"]
    return main(["extract", "net.npz", "--out", "run", *few, *arguments])


def test_plot_regions_of_a_run_against_its_reference(capsys):
    run_of(he((5, 6, 4, 1), 0, bias_std=0.5))
    code, out, _ = command(
        capsys, "plot", "regions", "run", "--reference", "net.npz", "--scale", 2, "--out", "a/slice.svg"
    )
    assert code == CLAIM_REACHED
    true, found = (line for line in out.splitlines() if "boundaries" in line)
    count = int(true.split(",")[0].split(":")[1])
    assert count > 4 and true.endswith(f": {count}, of which {count} were met in full.")
    assert found == f"Found boundaries: {count}, all of them true."
    assert "</svg>" in Path("a/slice.svg").read_text()


def test_plot_regions_of_what_ships_and_through_given_inputs(capsys):
    code, out, _ = command(capsys, "plot", "regions", "diabetes")
    assert code == CLAIM_REACHED and Path("diabetes-regions.png").read_bytes().startswith(b"\x89PNG")
    assert "of 20 neurons" in out
    points = np.random.default_rng(0).standard_normal((3, 10))
    np.save("points.npy", points)
    np.savetxt("points.csv", points, delimiter=", ", fmt="%.17g")
    for file, picture in itertools.product(("points.npy", "points.csv"), ("one.svg", "two.svg")):
        assert command(capsys, "plot", "regions", "diabetes", "--through", file, "--out", picture)[0] == CLAIM_REACHED
        assert Path("one.svg").read_bytes() == Path(picture).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://127.0.0.1:1"], "is a black box"),
        (["onnxruntime:net.onnx"], "is a black box"),
        (["module:oracle"], "run `jaxtract extract module:oracle --out DIR` first"),
        (["nothing.npz"], "nothing.npz does not exist"),
        (["diabetes", "--reference", "digits"], "TARGET has 10 inputs and digits 64"),
        (["diabetes", "--out", "slice.jpeg"], "choose one of .png, .svg, .pdf"),
        (["diabetes", "--scale", "-1"], "scale is -1"),
        (["diabetes", "--through", "nothing.npy"], "nothing.npy does not exist"),
        (["diabetes", "--through", "two.txt"], "array of shape (2, 2)"),
        (["diabetes", "--through", "ragged.txt"], "cannot be read as three rows of numbers"),
        (["diabetes", "--through", "words.txt"], "cannot be read as three rows of numbers"),
        (["one.npz"], "one input only"),
    ],
    ids=" ".join,
)
def test_plot_regions_bad_input(capsys, arguments, message):
    Path("two.txt").write_text("1 2\n3 4\n")
    Path("ragged.txt").write_text("1 2\n3\n4 5\n")
    Path("words.txt").write_text("one two\n")
    save_network(he((1, 3, 1), 0), Path("one.npz"))
    code, out, err = command(capsys, "plot", "regions", *arguments)
    assert (code, out) == (BAD_INPUT, "") and message in err


@pytest.mark.parametrize("context", [(), ("--context", "mp", "--prec", "120"), ("--context", "float64")])
def test_plot_report(capsys, context):
    """The course ends with the counts of the report, never goes back, and says what is known of accuracy."""
    run_of(he((5, 6, 2), 0), *context)
    report, course = json.loads(Path("run/report.json").read_text()), load_course(Path("run"))
    last = course[-1]
    assert {name: getattr(last, name) for name in ("search", "measure", "verify")} | {"total": last.queries} == report[
        "queries"
    ]
    assert last.neurons == 6 and last.phase == "signs"
    for name in ("seconds", "queries", "neurons"):
        assert [getattr(m, name) for m in course] == sorted(getattr(m, name) for m in course)
    code, out, _ = command(capsys, "plot", "report", "run")
    assert code == CLAIM_REACHED and Path("run/course.png").read_bytes().startswith(b"\x89PNG")
    assert f"search {last.search:,}, measure {last.measure:,}, verify {last.verify:,} queries" in out
    assert (f"asked {report['prec']} bits" if context else "no bit is lost") in out


def test_plot_report_of_an_incomplete_run_and_of_a_killed_one(capsys):
    run_of(he((5, 6, 4, 1), 0, bias_std=0.5), "--max-queries", "60")
    assert command(capsys, "plot", "report", "run", "--out", "x.svg")[0] == CLAIM_REACHED
    assert "no network, incomplete" in Path("x.svg").read_text()
    total = load_course(Path("run"))[-1].queries
    Path("run/report.json").unlink()
    code, out, _ = command(capsys, "plot", "report", "run", "--out", "x.svg")
    assert code == CLAIM_REACHED and f"{total:,} queries in " in out and "purpose is not known" in out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda: Path("run/report.json").unlink(), "report.json does not exist"),
        (lambda: Path("run/course.json").unlink(), "course.json does not exist"),
        (lambda: Path("run/course.json").write_text("{"), "course.json is not JSON"),
        (lambda: Path("run/course.json").write_text("[]"), "has the columns seconds, phase"),
        (lambda: Path("run/report.json").write_text("{}"), "is not the report of a run"),
    ],
)
def test_plot_report_bad_input(capsys, spoil, message):
    run_of(he((3, 2, 1), 0), "--no-record")
    spoil()
    code, _, err = command(capsys, "plot", "report", "run")
    assert code == BAD_INPUT and message in err


def test_a_run_without_a_course_leaves_no_former_one():
    run_of(he((3, 2, 1), 0))
    before = Path("run/course.json").read_text()
    run_of(he((3, 4, 1), 0))
    assert Path("run/course.json").read_text() != before


def test_matplotlib_is_imported_for_pictures_only():
    code = "import jaxtract.cli.main, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the course


def test_a_long_course_is_thinned_evenly():
    told, ticks = [], itertools.count()

    class Meter(NoProgressMeter):
        def queries(self, count):
            told.append(count.total)

    meter = CourseMeter(Meter(), clock=lambda: next(ticks))
    count = QueryCount()
    for batch in range(10_000):
        count.search += batch % 3
        count.measure += 1
        meter.queries(count)
        meter.neurons(batch // 100, None)
    moments = meter.moments()
    assert len(told) == 10_000 and told[-1] == count.total == moments[-1].queries
    assert MOST_MOMENTS <= len(moments) <= 2 * MOST_MOMENTS + 1
    steps = np.diff([moment.measure for moment in moments[:-1]])
    assert len(set(steps.tolist())) == 1
    assert course_from_dict(json.loads(json.dumps(course_as_dict(moments)))) == moments


def test_neurons_found_after_the_last_batch_belong_to_it():
    meter = CourseMeter(NoProgressMeter())
    meter.queries(QueryCount(search=5))
    for found in range(4):
        meter.neurons(found, None)
    assert [(moment.queries, moment.neurons) for moment in meter.moments()] == [(5, 3), (5, 3)]


@pytest.mark.parametrize("change", [{"search": [1, 2]}, {"search": ["1"]}, {"phase": [1]}, {"search": None}])
def test_what_is_no_course(change):
    columns = course_as_dict(CourseMeter(NoProgressMeter()).moments())
    with pytest.raises(ValueError, match="course"):
        course_from_dict(columns | change)
