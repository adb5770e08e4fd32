"""Two hundred pairs that are equal though they look different, and two hundred that differ in one last bit."""

import numpy as np
import pytest
from certificate_helpers import accepted, altered_bit, disguised
from hypothesis import given, settings
from hypothesis import strategies as st
from test_canonical import same_values, symmetric_copy

from jaxtract.certificate.certify import CertifyOptions, certify
from jaxtract.network.families import FAMILIES, exact_network, he

NARROW = (2, 5, 5, 5, 5, 1)
SHAPES = ((4, 6, 2), (3, 5, 4, 2), (6, 8, 6, 4, 1), NARROW, (8, 10, 3))


def equal_pair(seed):
    """A network and the same function under permutation, scales, duplicates, dead, split and turned units."""
    rng = np.random.default_rng(seed)
    family = sorted(FAMILIES)[seed % len(FAMILIES)] if seed % 2 else "he"
    shape = SHAPES[seed % len(SHAPES)]
    original = exact_network(FAMILIES[family]((shape[0], max(shape[1], 4), *shape[2:]), seed))
    return symmetric_copy(disguised(original, rng), rng), original


@pytest.mark.parametrize("seed", range(200))
def test_equal_pairs_are_identical(seed):
    copy, original = equal_pair(seed)
    assert same_values(copy, original, np.random.default_rng(seed))
    certificate = certify(copy, original)
    assert certificate.verdict == "identical" and certificate.proof == {"zero": True}
    assert accepted(certificate, copy, original) == "identical"


def last_bit_pair(shape, seed, *, visible):
    """One weight is another float64; ``visible``: one that random inputs show when it is changed by 1."""
    rng = np.random.default_rng(seed)
    original = he(shape, seed)
    return symmetric_copy(altered_bit(original, rng, visible=visible).exact(), rng), original.exact()


@pytest.mark.parametrize("seed", range(200))
def test_one_last_bit_is_a_difference(seed):
    other, original = last_bit_pair(SHAPES[seed % len(SHAPES)], seed, visible=True)
    certificate = certify(other, original)
    assert certificate.verdict == "different" and certificate.witness is not None
    assert accepted(certificate, other, original) == "different"


@pytest.mark.parametrize("seed", [103, 143, 163, *(pytest.param(s, marks=pytest.mark.slow) for s in (38, 83, 198))])
def test_one_last_bit_that_no_input_shows_is_none(seed):
    """In narrow deep networks 3 % of the weights are never seen: then equality is the truth, and it is proved."""
    other, original = last_bit_pair(NARROW, seed, visible=False)
    certificate = certify(other, original)
    assert certificate.verdict == "identical" and certificate.proof != {"zero": True}
    assert accepted(certificate, other, original) == "identical"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_disguises_are_never_called_different(widths, seed):
    rng = np.random.default_rng(seed)
    original = exact_network(FAMILIES["integer"](widths, seed))
    once, twice = disguised(original, rng), disguised(disguised(original, rng), rng)
    certificate = certify(twice, once, options=CertifyOptions(cases=300))
    assert certificate.verdict in ("identical", "undecided")
    if certificate.verdict == "identical":
        assert accepted(certificate, twice, once) == "identical"
