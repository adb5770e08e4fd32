"""The record of answers: exact, on disk before use, replayed in order, and refused where it belongs to another run."""

import json
import shutil
import sqlite3
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from flint import fmpq, fmpz, fmpz_mat
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxtract.oracle.record
from jaxtract import ExactContext, ExactNetworkOracle, OracleError, float64
from jaxtract.cli.exit_codes import BAD_INPUT, CLAIM_REACHED, INCOMPLETE
from jaxtract.cli.main import main
from jaxtract.network.exact_file import read_exact
from jaxtract.network.families import he
from jaxtract.network.files import save_network
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.points import PointBatch, scattered
from jaxtract.oracle.record import RecordedOracle, RecordError, read_about
from precision.dyadic import DyadicMatrix, dyadic_matrix
from tests.helpers import Recording

FEW = ["--verify-inputs", "55", "--verify-lines", "3"]


class Answers(Oracle):
    """Gives these rows, batch after batch, and stops with an error when there are none left."""

    def __init__(self, *batches, inputs=1, outputs=1, number_system="exact"):
        self.inputs, self.outputs, self.number_system = inputs, outputs, number_system
        self.batches = list(batches)

    def answer(self, points, answer_bits):
        if not self.batches:
            raise OracleError("nothing left to say")
        return self.batches.pop(0)


def points(*rows):
    return scattered(dyadic_matrix([[fmpq(x) for x in row] for row in rows], len(rows[0])))


def column(*numbers):
    out = np.empty((len(numbers), 1), dtype=object)
    out[:, 0] = numbers
    return out


def some(count):
    return points(*([i] for i in range(count)))


def test_answers_are_on_disk_before_they_are_used(tmp_path):
    """Copies of the files, taken as each batch returns, replay everything up to it."""
    with RecordedOracle(Answers(column(fmpq(1, 3)), column(fmpq(5))), tmp_path / "record") as oracle:
        for number in (1, 2):
            oracle.answer(some(1), None)
            shutil.copytree(tmp_path, tmp_path.with_name(f"copy{number}"))
    for number in (1, 2):
        copy = tmp_path.with_name(f"copy{number}")
        with RecordedOracle(Answers(), copy / "record") as again:
            assert [again.answer(some(1), None)[0, 0] for _ in range(number)] == [fmpq(1, 3), fmpq(5)][:number]
            assert (again.replayed, again.asked, again.held) == (number, 0, number)
            with pytest.raises(OracleError, match="nothing left"):
                again.answer(some(1), None)


def test_beyond_the_record_only_what_is_new_is_asked(tmp_path):
    net = he((3, 4, 2), 0)
    batches = [points([1, 2, i], [i, 0, fmpq(1, 4)]) for i in range(6)]
    with RecordedOracle(ExactNetworkOracle(net), tmp_path / "r") as first:
        whole = [first.answer(batch, None) for batch in batches[:4]]
    seen = Recording(ExactNetworkOracle(net))
    with RecordedOracle(seen, tmp_path / "r") as second:
        again = [second.answer(batch, None) for batch in batches]
    assert seen.batches == batches[4:] and (second.replayed, second.asked) == (8, 4)
    assert all((a == b).all() for a, b in zip(whole, again, strict=False))
    with RecordedOracle(Answers(inputs=3, outputs=2), tmp_path / "r") as third:
        assert all((third.answer(b, None) == a).all() for a, b in zip(again, batches, strict=True))


rationals = st.fractions() | st.integers().map(Fraction)
dyadics = st.builds(lambda p, e: Fraction(p, 1 << e), st.integers(-(1 << 700), 1 << 700), st.integers(0, 900))


@settings(max_examples=30)
@given(numbers=st.lists(rationals | dyadics, min_size=1))
def test_rationals_come_back_exactly(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("record") / "r"
    with RecordedOracle(Answers(column(*numbers)), path) as oracle:
        now = oracle.answer(some(len(numbers)), None)
    with RecordedOracle(Answers(), path) as oracle:
        later = oracle.answer(some(len(numbers)), None)
    for answers in (now, later):
        assert {type(x) for x in answers.flat} == {fmpq}
        assert [Fraction(int(x.p), int(x.q)) for x in answers.flat] == numbers


@settings(max_examples=30)
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_doubles_come_back_bit_by_bit(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("record") / "r"
    values = np.array(numbers)[:, None]
    with RecordedOracle(Answers(values, number_system="float64"), path) as oracle:
        now = oracle.answer(some(len(numbers)), None)
    with RecordedOracle(Answers(number_system="float64"), path) as oracle:
        later = oracle.answer(some(len(numbers)), None)
    assert now.tobytes() == later.tobytes() == values.tobytes() and later.dtype == np.float64


def test_every_kind_of_answer_in_mp(tmp_path):
    """A first run and a replay see the same rationals, whatever the oracle gave."""
    with mpmath.workprec(300):
        fine = mpmath.mpf(2) / 3
    given_ = [Fraction(1, 3), 7, -0.375, np.float64(0.1), mpmath.mpf("-2.5"), mpmath.mpf(2) ** 90, mpmath.mpf(0), fine]
    wanted = [fmpq(1, 3), 7, fmpq(-3, 8), fmpq(*(0.1).as_integer_ratio()), fmpq(-5, 2), fmpq(2) ** 90, 0]
    with RecordedOracle(Answers(column(*given_), number_system="mp"), tmp_path / "r") as oracle:
        now = oracle.answer(some(8), 300).ravel().tolist()
    with RecordedOracle(Answers(number_system="mp"), tmp_path / "r") as oracle:
        later = oracle.answer(some(8), 300).ravel().tolist()
    assert now == later and now[:7] == wanted and {type(x) for x in now} == {fmpq}
    assert mpmath.mpf(int(now[7].p)) / int(now[7].q) == +fine and 2**299 < now[7].q < 2**302


def test_float32_and_flat_answers(tmp_path):
    flat = Answers(np.array([0.1, 2], np.float32), np.array([3, 4]), number_system="float64")
    with RecordedOracle(flat, tmp_path / "r") as oracle:
        assert oracle.answer(some(2), None).tolist() == [[float(np.float32(0.1))], [2.0]]
        assert oracle.answer(some(2), None).tolist() == [[3.0], [4.0]]


@pytest.mark.parametrize(
    ("bad", "system", "message"),
    [
        (column(fmpq(1)), "exact", r"shape \(1, 1\)"),
        (column(fmpq(1), 0.5), "exact", "of type float"),
        (column("a", "b"), "exact", "of type str"),
        (np.ones((2, 1)), "exact", "declares exact answers"),
        (np.array([[1], [np.nan]]), "float64", "is \\[nan\\]"),
        (column(1, mpmath.mpf("inf")), "mp", "of type mpf"),
        (column(1, float("nan")), "mp", "of type float"),
    ],
)
def test_broken_answers_are_passed_on_and_not_recorded(tmp_path, bad, system, message):
    """The error is the oracle's own; once it is mended, the run goes on from there."""
    from precision.rounded import mp

    context = {"exact": ExactContext(), "mp": mp(80), "float64": float64()}[system]
    good = np.array([[1.0], [2.0]]) if system == "float64" else column(fmpq(1), fmpq(2))
    with RecordedOracle(Answers(good, bad, number_system=system), tmp_path / "r") as oracle:
        counting = CountingOracle(oracle, context)
        counting.ask(some(2), "search")
        with pytest.raises(OracleError, match=message):
            counting.ask(some(2), "search")
    with RecordedOracle(Answers(good, number_system=system), tmp_path / "r") as oracle:
        assert oracle.held == 1
        for _ in range(2):
            assert [float(x) for x in CountingOracle(oracle, context).ask(some(2), "search").flat] == [1, 2]
        assert (oracle.replayed, oracle.asked) == (2, 2)


# --- batches in pieces


def test_pieces_are_kept_one_by_one(tmp_path):
    pieces = [column(fmpq(i), fmpq(i + 1)) for i in (0, 2)]
    with (
        RecordedOracle(Answers(*pieces), tmp_path / "r", batch=2) as oracle,
        pytest.raises(OracleError, match="nothing left"),
    ):
        oracle.answer(some(5), None)
    with RecordedOracle(Answers(column(fmpq(4))), tmp_path / "r", batch=2) as oracle:
        assert oracle.answer(some(5), None).ravel().tolist() == [0, 1, 2, 3, 4]
        assert (oracle.replayed, oracle.asked) == (4, 1)


def test_a_wrong_shape_in_a_piece(tmp_path):
    with (
        RecordedOracle(Answers(column(1, 2), column(1)), tmp_path / "r", batch=2) as oracle,
        pytest.raises(OracleError, match=r"asked 2 points .* shape \(1, 1\)"),
    ):
        oracle.answer(some(4), None)


def test_pieces_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="batch is 0"):
        RecordedOracle(Answers(), tmp_path / "r", batch=0)


# --- a replay that asks other points


def star(*, step=3, exponent=2, directions=((1, 0), (0, 1)), base=(0, 0), direction=(0, 1)):
    return PointBatch(
        DyadicMatrix(fmpz_mat([list(base)]), 1),
        None if directions is None else DyadicMatrix(fmpz_mat([list(v) for v in directions]), 0),
        (0,) * len(direction),
        direction,
        (fmpz(step),) * len(direction),
        exponent,
    )


@pytest.mark.parametrize(
    ("other", "bits", "message"),
    [
        (star(step=4), None, r"\(other steps\)"),
        (star(exponent=1), None, r"\(other steps\)"),
        (star(base=(0, 1)), None, r"\(other anchors\)"),
        (star(directions=((1, 1), (0, 1))), None, r"\(other directions\)"),
        (star(directions=None), None, r"\(other directions\)"),
        (star(direction=(1, 0)), None, r"\(other indices\)"),
        (star(direction=(0,)), None, r"2 points there and 1 now; other indices, steps"),
        (star(), 64, "answer bits None there and 64 now"),
    ],
)
def test_other_points_are_named(tmp_path, other, bits, message):
    with RecordedOracle(Answers(column(1, 2), inputs=2), tmp_path / "r") as oracle:
        oracle.answer(star(), None)
    with RecordedOracle(Answers(inputs=2), tmp_path / "r") as oracle:
        with pytest.raises(RecordError, match=rf"batch 0 of the record .*{message}.*continue with the seed"):
            oracle.answer(other, bits)
        assert oracle.answer(star(), None).ravel().tolist() == [1, 2]  # nothing is lost


def test_another_version_is_named(tmp_path, monkeypatch):
    with RecordedOracle(Answers(column(1)), tmp_path / "r") as oracle:
        oracle.answer(some(1), None)
    monkeypatch.setattr(jaxtract.oracle.record.metadata, "version", lambda name: "9.9")
    with (
        RecordedOracle(Answers(), tmp_path / "r") as oracle,
        pytest.raises(RecordError, match=r"made by .*, this is 9\.9\)"),
    ):
        oracle.answer(points([8]), None)


def test_another_run_is_refused_at_once(tmp_path):
    RecordedOracle(Answers(), tmp_path / "r", identity={"seed": 1, "target": "a"}, arguments={"x": 2}).close()
    about = read_about(tmp_path / "r")
    assert about["identity"]["seed"] == 1 and about["arguments"] == {"x": 2}
    with pytest.raises(RecordError, match=r"record of another run: seed was 1 and is 2; target was 'a' and is None\."):
        RecordedOracle(Answers(), tmp_path / "r", identity={"seed": 2})
    with pytest.raises(RecordError, match="inputs was 1 and is 2; number_system was 'exact' and is 'mp'"):
        RecordedOracle(Answers(inputs=2, number_system="mp"), tmp_path / "r", identity={"seed": 1, "target": "a"})
    RecordedOracle(Answers(), tmp_path / "r", identity={"seed": 1, "target": "a"}).close()


# --- files that are no records


def test_files_that_are_no_records(tmp_path):
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(RecordError, match="cannot be used as a record"):
        RecordedOracle(Answers(), tmp_path / "text")
    assert (tmp_path / "text").read_text() == "hello" * 1000
    database = sqlite3.connect(tmp_path / "other")
    database.execute("CREATE TABLE something (x)")
    database.close()
    with pytest.raises(RecordError, match="cannot be used as a record"):
        RecordedOracle(Answers(), tmp_path / "other")
    with pytest.raises(RecordError, match="is the folder there"):
        RecordedOracle(Answers(), tmp_path / "missing" / "r")
    with pytest.raises(RecordError, match="does not exist"):
        read_about(tmp_path / "r")


def changed(path, statement):
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE batches SET answers = x'00' WHERE number = 1", "batch 1 of .* is damaged"),
        ("DELETE FROM batches WHERE number = 0", "lacks batch 0"),
        ("UPDATE about SET value = '7' WHERE key = 'format'", "a record of format 7; this version reads 1"),
    ],
)
def test_damage_is_noticed(tmp_path, statement, message):
    with RecordedOracle(Answers(*[column(fmpq(i)) for i in range(3)]), tmp_path / "r") as oracle:
        for i in range(3):
            oracle.answer(points([i]), None)
    changed(tmp_path / "r", statement)

    def replay():
        with RecordedOracle(Answers(), tmp_path / "r") as oracle:
            for i in range(3):
                oracle.answer(points([i]), None)

    with pytest.raises(RecordError, match=message):
        replay()


def test_two_runs_cannot_share_a_record(tmp_path):
    with (
        RecordedOracle(Answers(column(1)), tmp_path / "r") as oracle,
        pytest.raises(RecordError, match="in use by another run"),
    ):
        oracle.answer(some(1), None)
        RecordedOracle(Answers(), tmp_path / "r")


# --- the command line


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_network(he((5, 6, 2), 0), Path("small.npz"))
    return "small.npz"


def extract(capsys, *arguments, code=CLAIM_REACHED):
    assert main(["extract", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_budget_is_raised_without_asking_twice(capsys, small):
    whole = extract(capsys, small, *FEW, "--seed", 3, "--out", "whole")
    assert whole["record"] == {"file": "answers.sqlite", "replayed": 0, "asked": whole["queries"]["total"]}
    part = extract(capsys, small, *FEW, "--seed", 3, "--max-queries", 60, "--out", "run", code=INCOMPLETE)
    found = extract(capsys, "--resume", "run", "--max-queries", 10**6)
    assert found["record"]["replayed"] == part["record"]["asked"] > 0
    assert found["record"]["asked"] == whole["record"]["asked"] - part["record"]["asked"]
    assert found["queries"] == whole["queries"] and found["seed"] == 3 and found["target"] == small
    assert Path("run/exact.json").read_bytes() == Path("whole/exact.json").read_bytes()
    again = extract(capsys, "--resume", "run")
    assert again["record"]["asked"] == 0 and again["queries"] == whole["queries"]


def test_a_float64_run_is_replayed(capsys, small):
    whole = extract(capsys, small, *FEW, "--context", "float64", "--out", "run")
    before = read_exact(Path("run/exact.json"))
    assert extract(capsys, "--resume", "run")["record"]["replayed"] == whole["record"]["asked"]
    after = read_exact(Path("run/exact.json"))
    assert after.weights == before.weights and after.biases == before.biases


FAILS = """
import os
from jaxtract import CallableOracle
LEFT = [60]
def fails():
    def answer(batch):
        LEFT[0] -= len(batch)
        if LEFT[0] < 0:
            raise ConnectionError("the line is dead")
        return [[max(x + 2 * y - 1, 0) - max(3 - x, 0)] for x, y in batch]
    return CallableOracle(answer, inputs=2, number_system="exact")
"""


def test_nothing_is_lost_when_the_oracle_breaks(capsys, small, monkeypatch):
    Path("breaking_oracle.py").write_text(FAILS)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    import breaking_oracle  # pyright: ignore[reportMissingImports]

    assert main(["extract", "breaking_oracle:fails", *FEW, "--out", "run", "--json"]) == BAD_INPUT
    assert "the line is dead" in capsys.readouterr().err
    breaking_oracle.LEFT[0] = 10**6
    found = extract(capsys, "--resume", "run")
    assert found["claim"] == "exact" and 0 < found["record"]["replayed"] <= 60
    assert found["record"]["asked"] == found["queries"]["total"] - found["record"]["replayed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "9"], "seed was 0 and is 9"),
        (["--pack", "2"], "pack was 1 and is 2"),
        (["--context", "mp", "--prec", "96"], "context was 'exact' and is 'mp'; prec was 200 and is 96"),
        (["digits"], "inputs was 5 and is 64"),
        (["--out", "elsewhere"], "leave --out away"),
        (["--no-record"], "leave --no-record away"),
    ],
)
def test_other_options_do_not_continue_a_run(capsys, small, arguments, message):
    extract(capsys, small, *FEW, "--out", "run")
    assert main(["extract", "--resume", "run", *arguments]) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_file_that_changed_is_not_the_same_target(capsys, small):
    extract(capsys, small, *FEW, "--out", "run")
    save_network(he((5, 6, 2), 1), Path(small))
    assert main(["extract", "--resume", "run"]) == BAD_INPUT
    assert "target was 'sha256 " in capsys.readouterr().err


def test_a_file_that_moved_is(capsys, small):
    extract(capsys, small, *FEW, "--out", "run")
    Path(small).rename("moved.npz")
    assert extract(capsys, "moved.npz", "--resume", "run")["record"]["asked"] == 0


def test_records_of_earlier_runs(capsys, small):
    """That of a finished run is replaced, that of an unfinished one set aside."""
    extract(capsys, small, *FEW, "--max-queries", 40, "--out", "run", code=INCOMPLETE)
    extract(capsys, small, *FEW, "--max-queries", 50, "--out", "run", code=INCOMPLETE)
    assert {p.name for p in Path("run").iterdir()} >= {"answers.sqlite", "answers.1.sqlite"}
    for _ in range(2):
        extract(capsys, small, *FEW, "--out", "run")
    records = {p.name: read_about(p)["arguments"]["max_queries"] for p in Path("run").glob("*.sqlite")}
    assert records == {"answers.1.sqlite": 40, "answers.2.sqlite": 50, "answers.sqlite": None}


def test_runs_without_a_record(capsys, small):
    assert extract(capsys, small, *FEW, "--out", "run", "--no-record")["record"] is None
    assert extract(capsys, small, *FEW)["record"] is None
    assert not list(Path().rglob("*.sqlite"))
    assert main(["extract", "--resume", "run"]) == BAD_INPUT
    assert "holds no answers.sqlite" in capsys.readouterr().err


def test_the_table_shows_what_was_replayed(capsys, small):
    extract(capsys, small, *FEW, "--out", "run")
    assert main(["extract", "--resume", "run"]) == CLAIM_REACHED
    assert "queries replayed, 0 asked" in capsys.readouterr().out
