"""The words of a report: what they say follows from its figures, and they never say more."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxtract.layers.depth_two import DepthTwoOptions, extract_depth_two
from jaxtract.network.families import he
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.report.report import report_of
from jaxtract.report.statement import statement
from precision.exact import ExactContext


def report(context="exact", prec=None, widths=(2, 3, 1), inputs=1000, disagreements=0, lines=20, unexplained=0):
    return {
        "widths": widths,
        "context": context,
        "prec": prec,
        "verified": {
            "inputs": inputs,
            "disagreements": disagreements,
            "lines": lines,
            "unexplained_kinks": unexplained,
            "residual_bits": None,
        },
        "resolution": {"kinks_apart": "2^-256", "line_reach": "2^70"},
    }


def test_the_usual_statement_word_for_word():
    assert statement(report()) == [
        "1,000 fresh random inputs (Gaussian, scales 2^-6 to 2^40): the recovered network and the black box agree "
        "exactly, over the rationals, at all of them.",
        "With 99 % confidence, an input drawn in this way disagrees less than 0.46 % of the time.",
        "At scale 1 alone, from 273 inputs: less than 1.7 %.",
        "20 fresh random lines: every predicted piece was asked beside both ends and once between, and agreed.",
        "Kinks nearer to each other on a line than 2^-256 were not told apart, and none was looked for beyond "
        "2^70 from a line's base.",
        "Not shown: that no input differs. A bump narrower than anything asked, and not on a line asked, would "
        "not be seen; with the true network at hand, `jaxtract certify` proves equality.",
    ]


@pytest.mark.parametrize(
    ("context", "prec", "words"),
    [("mp", 200, "agree to 2^-200 of the largest answer met"), ("float64", None, "agree to 2^-20 of the largest")],
)
def test_rounded_answers_agree_to_so_many_bits(context, prec, words):
    sentences = statement(report(context, prec))
    assert words in sentences[0] and "exactly" not in " ".join(sentences)
    assert "2^-6 to 2^4)" in sentences[0]


def test_without_a_network_or_queries_nothing_is_claimed():
    assert statement(report(widths=None)) == ["No network was found, so nothing was verified."]
    sentences = statement(report(inputs=0, lines=0))
    assert "No fresh input was asked" in sentences[0] and sentences[1] == "No fresh line was asked."
    assert not any("confidence" in sentence for sentence in sentences)


def test_what_was_refuted_is_said():
    sentences = statement(report(disagreements=3, unexplained=2))
    assert sentences[0].endswith("at 997 of them, not at 3.")
    assert "less than 1.1 %" in sentences[1]
    assert "2 did not agree" in sentences[2]
    assert sentences[-1] == "The recovered network is not the black box: fresh queries refute it."
    assert not any("At scale 1" in sentence for sentence in sentences)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 50), st.integers(0, 40), st.integers(0, 40))
def test_no_figures_lead_to_an_overclaim(inputs, wrong, lines, unexplained):
    sentences = statement(
        report(inputs=inputs, disagreements=min(wrong, inputs), lines=lines, unexplained=min(unexplained, lines))
    )
    text = " ".join(sentences)
    assert not re.search(r"\b(proves? that|identical|guarantee|certain|never|always|(?<![0-9.])0 % of)\b", text)
    assert ("Not shown" in text) != ("not the black box" in text)
    limits = [float(x) for x in re.findall(r"less than ([0-9.]+) %", text)]
    assert all(0 < limit <= 100 for limit in limits) and bool(limits) == (inputs > 0)


def test_the_report_carries_it():
    extraction = extract_depth_two(
        ExactNetworkOracle(he((2, 3, 1), 0)), ExactContext(), options=DepthTwoOptions(verify_inputs=100, verify_lines=1)
    )
    made = report_of(extraction, "net", "command")
    assert made["statement"] == statement(made)
    assert made["statement"][0].startswith("100 fresh random inputs")
    assert "1 fresh random line:" in made["statement"][3]
