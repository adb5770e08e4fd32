"""The evaluators behind a served network: equal answers, the choice batch by batch, and what the report says of it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from flint import fmpq, fmpz
from helpers import random_rational_network

import jaxtract.evaluation.served as served
from jaxtract import ExactContext, ExactNetworkOracle, certify, extract_depth_two
from jaxtract.cli.main import main
from jaxtract.evaluation import InputFormat
from jaxtract.evaluation.served import AutoEvaluator, PackedPointEvaluator, checked_pieces, point_evaluator, rounded_up
from jaxtract.network.families import exact_network, he
from jaxtract.network.files import save_network
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import on_lines, scattered, stars
from precision.dyadic import from_float64

NAMES = ("auto", "flint", "pieces", "int8", "float64", "residues")


def batches(inputs, seed=0):
    rng = np.random.default_rng(seed)
    anchors, directions = (from_float64(rng.standard_normal((2, inputs))) for _ in range(2))
    yield stars(anchors, [fmpq(1, 1 << 30), fmpq(-5, 1 << 9)], list(range(inputs)) * (1 + 40 // inputs))
    positions = [fmpq(int(k), 1 << 12) for k in rng.integers(-(1 << 14), 1 << 14, 80)]
    yield on_lines(anchors, directions, [k % 2 for k in range(80)], positions)
    yield scattered(from_float64(rng.standard_normal((70, inputs))))
    yield scattered(anchors)


@pytest.mark.parametrize("name", NAMES)
def test_all_evaluators_answer_alike(name):
    net = exact_network(he((4, 5, 3, 2), 0))
    flint, evaluate = FlintEvaluator(net), point_evaluator(net, name)
    for batch in batches(4):
        assert (evaluate(batch) == flint(batch)).all()
    assert evaluate.describe().startswith(name)
    if name in ("int8", "float64", "residues"):
        assert "self-tests passed" in evaluate.describe()
        assert f"{name} 168 points" in evaluate.describe() and "flint 72 points" in evaluate.describe()


def test_few_formats_are_built():
    net = exact_network(he((3, 2, 1), 0))
    evaluate = PackedPointEvaluator(net, "float64")
    anchors = from_float64(np.ones((1, 3)))
    for exponent in (60, 64, 50, 40):
        evaluate(stars(anchors, [fmpq(1, 1 << exponent)], list(range(3)) * 30))
    assert evaluate.describe().count("P =") == 1
    evaluate(stars(anchors, [fmpq(1, fmpz(1) << 300)], list(range(3)) * 30))
    evaluate(stars(anchors, [fmpq(1, 4)], list(range(3)) * 30))
    assert evaluate.describe().count("P =") == 3


def test_formats_are_rounded_up():
    assert rounded_up(InputFormat(65, 70)) == InputFormat(96, 128)
    assert rounded_up(InputFormat(0, 3)) == InputFormat(32, 64)
    assert rounded_up(InputFormat(64, 129)) == InputFormat(64, 160)


def test_the_choice_goes_by_batch(monkeypatch):
    """Small batches and single points to FLINT, large ones to pieces, and residues once they would have paid."""
    net = exact_network(he((4, 5, 3, 2), 0))
    flint, evaluate = FlintEvaluator(net), AutoEvaluator(net)
    star, line, loose, few = batches(4)
    for batch in (loose, few):
        evaluate(batch)
    assert evaluate.describe() == "auto: flint 72 points"
    small = AutoEvaluator(net)
    small(star)
    assert small.describe() == "auto: flint 88 points"
    monkeypatch.setattr(served, "SMALL_WORK", 0)
    evaluate(star)
    assert "pieces 88 points" in evaluate.describe() and "residues" not in evaluate.describe()
    monkeypatch.setattr(served, "PURCHASE_SECONDS", 0.0)
    assert (evaluate(line) == flint(line)).all()
    assert (evaluate(line) == flint(line)).all()
    assert "residues: residues 80 points" in evaluate.describe()
    assert "self-test of pieces passed, 64 points equal flint" in evaluate.describe()


def test_nothing_is_compiled_for_one_hidden_layer_or_for_other_denominators(monkeypatch):
    monkeypatch.setattr(served, "PURCHASE_SECONDS", 0.0)
    monkeypatch.setattr(served, "SMALL_WORK", 0)
    rational = random_rational_network((4, 5, 3, 2), np.random.default_rng(0))
    for net in (exact_network(he((4, 5, 2), 0)), rational):
        evaluate = AutoEvaluator(net)
        star, *_ = batches(4)
        for _ in range(3):
            assert (evaluate(star) == FlintEvaluator(net)(star)).all()
        assert "residues" not in evaluate.describe()
    with pytest.raises(ValueError, match="no power of two"):
        point_evaluator(rational, "residues")


def test_networks_without_hidden_layers():
    net = exact_network(he((4, 2), 0))
    for batch in batches(4):
        assert (AutoEvaluator(net)(batch) == FlintEvaluator(net)(batch)).all()


def test_wrong_float64_is_noticed(monkeypatch):
    def wrong(*arguments):
        masks, decided = real(*arguments)
        return ~masks, decided

    real = served.PieceEvaluator.__call__.__globals__["_Batch"].fill.__globals__["active_units"]
    monkeypatch.setattr("jaxtract.evaluation.pieces.active_units", wrong)
    with pytest.raises(RuntimeError, match="disagree with FLINT"):
        checked_pieces(FlintEvaluator(exact_network(he((20, 9, 2), 0))))


def test_unknown_evaluator():
    with pytest.raises(ValueError, match="evaluator is 'fast'; choose one of auto, flint, pieces"):
        ExactNetworkOracle(he((2, 2, 1), 0), evaluator="fast")


@pytest.mark.parametrize("name", ["flint", "pieces", "float64"])
def test_extraction_with_every_kind(name):
    net = exact_network(he((6, 5, 1), 1))
    oracle = ExactNetworkOracle(net, evaluator=name)
    extraction = extract_depth_two(oracle, ExactContext())
    assert extraction.claim == "exact"
    assert certify(extraction.network, net).verdict == "identical"


def test_the_command_line_takes_and_reports_it(tmp_path, capsys):
    save_network(he((5, 4, 1), 0), tmp_path / "net.npz")
    for name, said in (("auto", "auto: flint"), ("pieces", "pieces (float64 signs")):
        out = tmp_path / name
        assert main(["extract", str(tmp_path / "net.npz"), "--evaluator", name, "--out", str(out)]) == 0
        assert "evaluator" in capsys.readouterr().out
        assert json.loads((out / "report.json").read_text())["evaluator"].startswith(said)
    arguments = ["extract", str(tmp_path / "net.npz"), "--context", "float64", "--evaluator", "flint"]
    assert main([*arguments, "--out", str(tmp_path / "float64")]) == 2
    assert "leave it out for the float64 context" in " ".join(capsys.readouterr().err.split())


MILLION = """
import resource, sys
import numpy as np
from flint import fmpz
from jaxtract import ExactNetworkOracle
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.points import PointBatch
from precision.dyadic import from_float64
name, count = sys.argv[1], 10**6
rng = np.random.default_rng(0)
oracle = ExactNetworkOracle(exact_network(he((784, 128, 1), 0)), evaluator=name)
rows = from_float64(rng.standard_normal((20, 784)).astype(np.float32).astype(np.float64))
steps = tuple((fmpz(int(k)) << 194) + 1 for k in rng.integers(-(1 << 62), 1 << 62, count))
line = tuple((np.arange(count) % 20).tolist())
points = PointBatch(rows, rows, line, line, steps, 256 - rows.exponent)
assert points.exponent == 256 and len(points) == count
values = oracle.answer(points, None)
chosen = rng.integers(0, count, 200).tolist()
truth = ExactNetworkOracle(exact_network(he((784, 128, 1), 0)), evaluator="flint").answer(points.select(chosen), None)
assert (values[chosen] == truth).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auto", "float64", "residues"])
def test_a_million_queries_need_less_than_4_gib(name):
    """784-128-1 at P = 256, answers included; in a process of its own, whose peak the system has recorded (KiB)."""
    done = subprocess.run([sys.executable, "-c", MILLION, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4 << 20
