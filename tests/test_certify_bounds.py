"""Bounds on a domain: never upside down, near each other, and what random inputs add."""

from fractions import Fraction

import numpy as np
import pytest
from certificate_helpers import accepted, document_of
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from test_canonical import symmetric_copy
from test_certify import noisy

from jaxtract.certificate.bound import rounded_up, upper_bound
from jaxtract.certificate.certify import CertifyOptions, certify
from jaxtract.certificate.confidence import tail, upper_limit
from jaxtract.certificate.domain import Ball, Box, root_up
from jaxtract.certificate.lower import largest_differences, lower_bound
from jaxtract.certificate.pairing import pair
from jaxtract.certificate.zonotope import Propagator
from jaxtract.network.exact_network import fraction
from jaxtract.network.families import he

UNIT = Box(fmpq(-1), fmpq(1))
ZERO_ONE = Box(fmpq(0), fmpq(1))
QUICK = CertifyOptions(starts=32, steps=40, samples=100, parts=8)


NINE = fmpq(1, 10**9)


def near_pair(widths, seed, size=NINE):
    """A network, and a copy in disguise with every number off by up to ``size`` of itself."""
    original = he(widths, seed).exact()
    disturbed = noisy(original, size, np.random.default_rng(seed))
    return symmetric_copy(disturbed, np.random.default_rng(seed + 1)), original


DEEP, WIDE = (40, 20, 10, 10, 1), (784, 32, 1)


@pytest.mark.parametrize(
    ("widths", "domain", "most"),
    [
        (DEEP, UNIT, 50),
        (DEEP, ZERO_ONE, 50),
        (DEEP, Ball(fmpq(1)), 50),
        (WIDE, UNIT, 10),
        pytest.param(WIDE, ZERO_ONE, 10, marks=pytest.mark.slow),
        pytest.param(WIDE, Ball(fmpq(1)), 10, marks=pytest.mark.slow),
    ],
)
def test_the_bounds_of_pairs_1e9_apart(widths, most, domain, record_property):
    """Upper over lower, measured: 14 to 38, median 18, on 12 seeds of 40-20-10-10-1; 4.1 to 7.1 on 784-32-1."""
    recovered, original = near_pair(widths, 0)
    certificate = certify(recovered, original, domain=domain, options=CertifyOptions(samples=100))
    assert certificate.verdict == "close" and certificate.bounds is not None
    bounds = certificate.bounds
    record_property("ratio", bounds.ratio)
    assert 0 < bounds.lower.bound <= bounds.upper.bound <= most * bounds.lower.bound
    assert domain.contains(bounds.lower.point)
    assert accepted(certificate, recovered, original) == "close"


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=5),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 9, 300]),
    st.sampled_from([UNIT, ZERO_ONE, Box(fmpq(-1, 3), fmpq(22, 7)), Ball(fmpq(1)), Ball(fmpq(5, 3))]),
)
def test_no_input_differs_by_more_than_the_upper_bound(widths, seed, digits, domain):
    recovered, original = near_pair(widths, seed, fmpq(1, 10**digits))
    certificate = certify(recovered, original, domain=domain, options=QUICK)
    if certificate.bounds is None:
        assert certificate.verdict == "identical"
        return
    bounds = certificate.bounds
    points = [domain.sample(seed, i, original.inputs) for i in range(50)]
    assert all(domain.contains(point) for point in points)
    found = max([*largest_differences(recovered, original, points), bounds.lower.bound])
    assert found <= bounds.upper.bound
    if certificate.verdict == "close":
        assert accepted(certificate, recovered, original) == "close"


def test_in_two_dimensions_cutting_the_box_makes_the_bound_sharp():
    recovered, original = near_pair((2, 8, 8, 1), 0)
    paired = pair(recovered, original)
    whole, cut = (upper_bound(paired, UNIT, parts=parts) for parts in (1, 64))
    lower = lower_bound(paired, recovered, original, UNIT, seed=0)
    assert whole.bound > 3 * lower.bound
    assert lower.bound <= cut.bound <= lower.bound * fmpq(10001, 10000)
    assert cut.parts > 1 and set(cut.evidence) == {"axis", "low", "high"}


def test_networks_that_are_not_alike_are_bounded_too():
    """Unpaired units on both sides: the bound is large, and still one."""
    one, two = he((3, 6, 5, 2), 0).exact(), he((3, 4, 4, 3, 2), 1).exact()
    certificate = certify(one, two, domain=UNIT, options=QUICK)
    assert certificate.verdict == "different" and certificate.bounds is not None
    assert 0 < certificate.bounds.lower.bound <= certificate.bounds.upper.bound
    assert certificate.bounds.tolerance < certificate.bounds.lower.bound


def test_the_tolerance_decides_what_is_close():
    recovered, original = near_pair((4, 6, 1), 3, fmpq(1, 1000))
    for tolerance, verdict in ((fmpq(1), "close"), (fmpq(1, 10**6), "different"), (None, "different")):
        options = CertifyOptions(starts=32, steps=40, samples=200, tolerance=tolerance)
        certificate = certify(recovered, original, domain=UNIT, options=options)
        assert certificate.verdict == verdict and certificate.bounds is not None
        random = certificate.bounds.random
        expected = {fmpq(1): 0, fmpq(1, 10**6): random.exceed, None: 0}[tolerance]
        assert random.exceed == expected and random.delta == upper_limit(random.exceed, 200, Fraction(99, 100))
    assert accepted(certificate, recovered, original) == "different"


def test_networks_that_differ_elsewhere_only_have_the_bound_zero():
    """s(x - 5) is nothing on the box: equal there, proved; different outside, shown."""
    from helpers import network

    one = network(([[1], [1]], [0, -5]), ([[1, 1]], [0]))
    two = network(([[1]], [0]), ([[1]], [0]))
    certificate = certify(one, two, domain=UNIT, options=QUICK)
    assert certificate.verdict == "close" and certificate.bounds is not None
    assert certificate.bounds.upper.bound == 0 and certificate.bounds.ratio is None
    assert accepted(certificate, one, two) == "close"
    assert document_of(certificate, one, two)["evidence"]["upper"] == "0"


@pytest.mark.parametrize("seed", range(4))
def test_balls_and_rationals_give_the_same_bound(seed):
    recovered, original = near_pair((5, 6, 6, 2), seed, fmpq(1, 10 ** (3**seed)))
    paired = pair(recovered, original)
    for domain in (UNIT, Ball(fmpq(2))):
        upper = upper_bound(paired, domain, parts=1)
        from jaxtract.certificate.bound import whole

        exact = Propagator(paired, None)(whole(domain, 5), upper.evidence["slopes"]).bound
        assert rounded_up(exact) == upper.bound


@pytest.mark.parametrize(("failures", "trials"), [(0, 1), (0, 1000), (3, 1000), (40, 50), (50, 50)])
@pytest.mark.parametrize("confidence", [Fraction(1, 2), Fraction(99, 100)])
def test_clopper_pearson(failures, trials, confidence):
    """The limit holds, and one grid step less does not; SciPy's beta quantile agrees."""
    from scipy.stats import beta

    limit = upper_limit(failures, trials, confidence)
    if failures == trials:
        assert limit == 1
        return
    assert tail(failures, trials, limit) <= 1 - confidence < tail(failures, trials, limit - Fraction(1, 1 << 24))
    assert abs(float(limit) - beta.ppf(float(confidence), failures + 1, trials - failures)) < 2.0**-23


def test_clopper_pearson_covers():
    """Of 400 experiments with a known rate, the limit at 90 % misses it in about 10 %."""
    rng = np.random.default_rng(0)
    limits = [upper_limit(int(k), 60, Fraction(9, 10)) for k in rng.binomial(60, 0.1, 400)]
    assert sum(limit < Fraction(1, 10) for limit in limits) <= 400 * 0.1 + 3 * (400 * 0.09) ** 0.5


@pytest.mark.parametrize("value", [Fraction(0), Fraction(1), Fraction(2, 3), Fraction(10**50), Fraction(1, 10**900)])
def test_square_roots_are_rounded_up_a_little(value):
    root = root_up(value)
    assert root**2 >= value and (root * (1 - Fraction(1, 2**120))) ** 2 <= value


def test_bad_domains_and_counts_say_so():
    with pytest.raises(ValueError, match="box from 1 to 1 is empty"):
        Box(fmpq(1), fmpq(1))
    with pytest.raises(ValueError, match="positive radius"):
        Ball(fmpq(0))
    with pytest.raises(ValueError, match="failures <= trials"):
        upper_limit(2, 1, Fraction(1, 2))
    with pytest.raises(ValueError, match="between 0 and 1"):
        upper_limit(0, 1, Fraction(1))
    with pytest.raises(ValueError, match="at least 1"):
        upper_bound(pair(*near_pair((2, 2, 1), 0)), UNIT, parts=0)
    assert fraction(fmpq(3, 7)) == Fraction(3, 7)
