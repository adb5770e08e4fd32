"""Every experiment runs in its ``--small`` mode."""

import math
import re
import runpy
import sys
from pathlib import Path

import pytest

from jaxtract.network.relu_network import ReLUNetwork

FOLDER = Path(__file__).parents[1] / "experiments"
EXPERIMENTS = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.name != "__init__.py"}

RUN_ELSEWHERE = {
    "depth_two": "test_experiments.py",
    "exact_evaluation": "test_evaluation.py",
    "float64_line_search": "test_search_float64.py",
    "train_targets": "test_targets.py",
}
"""Small modes whose tables are looked at by a test of their own subject."""


def run_small(name, monkeypatch, capsys, folder):
    """What the experiment prints; it leaves pictures in the folder, as text that can be searched."""
    monkeypatch.setattr(sys, "argv", [name, "--small", "--out", str(folder)])
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    runpy.run_path(str(EXPERIMENTS[name]), run_name="__main__")
    pictures = list(folder.glob("*.svg"))
    assert pictures and all("</svg>" in picture.read_text() for picture in pictures)
    return capsys.readouterr().out


def test_depth_two(monkeypatch, capsys, tmp_path):
    """Every family is a row, every network of an exact row is identical, every mp row has its bits."""
    out = run_small("depth_two", monkeypatch, capsys, tmp_path)
    cells = [[cell.strip() for cell in re.split("[│┃|]", line) if cell.strip()] for line in out.splitlines()]
    rows = {row[0]: row for row in cells if len(row) == 7 and row[1] == "1"}
    assert {"20-10-1", "10-40-1", "20-10-1 mp 200", "he", "gap 2^-200", "duplicate"} <= set(rows)
    for name, row in rows.items():
        if " mp " in name:
            assert row[4] == "refined" and float(row[3]) < 2.0**-190
        else:
            assert row[2] == "1" and row[4] == "exact", row
        assert float(row[5].split(",")[0]) < (12 if "gap" in name else 2)


@pytest.mark.parametrize("name", sorted(set(EXPERIMENTS) - set(RUN_ELSEWHERE)))
def test_other_experiments(name, monkeypatch, capsys, tmp_path):
    """Also one that is added later: its small mode ends in seconds, prints its table and leaves a picture."""
    assert run_small(name, monkeypatch, capsys, tmp_path).strip()


@pytest.mark.parametrize("name", sorted(RUN_ELSEWHERE))
def test_the_others_are_run_where_it_says(name):
    text = (Path(__file__).parent / RUN_ELSEWHERE[name]).read_text()
    assert name in EXPERIMENTS and f"{name}" in text and "--small" in text


def test_what_a_budget_leaves(monkeypatch):
    """What ``Watch`` sees after so many queries is what an extraction with that budget has found, and no more."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    document = runpy.run_path(str(EXPERIMENTS["rolnick_koerding"]))
    whole = document["watched"]((6, 5, 4, 1), 0)
    assert whole.identical and whole.counts() == (5, 4)
    for look in whole.course[1:3]:
        assert document["watched"]((6, 5, 4, 1), 0, look.total).found() == look.found == whole.found(look.total)
        assert document["watched"]((6, 5, 4, 1), 0, look.total - 1).found() == whole.found(look.total - 1) != look.found
    assert len(whole.course) > 3
    first, second = whole.complete_after(0), whole.complete_after(1)
    assert 0 < first <= second <= whole.queries
    after = next(look for look in whole.course if look.asked == first)
    assert len(whole.found(after.total)[0]) == 5 > len(whole.found(after.total - 1)[0])


def test_where_boundaries_meet(monkeypatch):
    """x1 + x2 = 1 (both on) meets both boundaries of the first layer, x1 = 2 only x2 = 0, and the last is never on."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    document = runpy.run_path(str(EXPERIMENTS["rolnick_koerding"]))
    rows = [[1, 1], [1, 0], [-1, -1]]
    network = ReLUNetwork([[[1, 0], [0, 1]], rows, [[1, 1, 1]]], [[0, 0], [-1, -2, -1], [0]])
    assert document["meetings"](network) == {(2, 0, 0), (2, 0, 1), (2, 1, 1)}


def test_trained_networks_are_the_same_again(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    trained = runpy.run_path(str(EXPERIMENTS["carlini_2020"]))["trained"]
    first, again, other = trained((4, 5, 3, 1), 0), trained((4, 5, 3, 1), 0), trained((4, 5, 3, 1), 1)
    assert isinstance(first, ReLUNetwork) and first.widths == (4, 5, 3, 1)
    assert first.exact() == again.exact() != other.exact()
    with pytest.raises(ValueError, match="one output"):
        trained((4, 5, 2), 0)


def test_accuracy_against_precision_where_networks_were_not_found():
    """Every entry has its row, and is a point or a cross."""
    precision = runpy.run_path(str(EXPERIMENTS["precision"]), run_name="precision")
    trial = precision["Trial"]
    results = {
        (5, "exact"): [trial(math.inf, math.inf, "exact", 1.0)],
        (5, "mp 64"): [trial(None, 171.0, "incomplete", 1.0)],
        (5, "mp 128"): [trial(250.0, 256.0, "refined", 1.0), trial(None, 256.0, "not within 1 s", 1.0)],
        (6, "exact"): [trial(None, math.inf, "not within 1 s", 1.0)],
        (7, "exact"): [],
    }
    assert precision["table"](results).row_count == 5
    assert precision["law"](results)
    (axes,) = precision["plot"](results).axes
    places = [line.get_xydata().tolist() for line in axes.lines]
    assert [[256.0, 250.0]] in places and [[171.0, 32.0], [256.0, 32.0]] in places
