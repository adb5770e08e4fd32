"""The precision experiment: its small mode, and how it measures bits."""

import math
import sys

import pytest
from flint import fmpq

from experiments import precision
from jaxtract.network.families import he


@pytest.mark.parametrize("bits", [0, 1, 30, 1000, 5000])
def test_bits_are_measured_far_below_float64(bits):
    assert precision.bits_of(fmpq(1, 1 << bits)) == bits
    assert precision.bits_of(fmpq(3, 1 << bits)) == pytest.approx(bits - math.log2(3))
    assert precision.bits_of(fmpq(0)) == math.inf


def test_longer_numbers_are_near_the_given_ones():
    given = he((3, 4, 1), 0).exact()
    longer = precision.lengthened(given, 0)
    pairs = zip(given.weights[0].entries(), longer.weights[0].entries(), strict=True)
    assert all(0 < abs(y / x - 1) < fmpq(1, 1 << 52) for x, y in pairs)
    assert longer == precision.lengthened(given, 0) != given


def test_exact_loses_nothing_and_mp_delivers_what_is_asked():
    assert precision.run(1, "exact", 0).bits == math.inf
    trial = precision.run(1, "mp 64", 0)
    assert trial.bits is not None and 64 <= trial.bits < trial.answer_bits


def test_small_mode(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["precision", "--small", "--out", str(tmp_path)])
    precision.main()
    shown = capsys.readouterr().out
    assert "mp 1024" in shown and "attained =" in shown
    assert (tmp_path / "accuracy.svg").stat().st_size > 1000


def test_an_extraction_ends_in_time_and_networks_live():
    trial = precision.run(3, "exact", 0, limit=0.01)
    assert trial.bits is None and trial.end == "not within 0.01 s"
    assert precision.living(3, 2) == [0, 2]
