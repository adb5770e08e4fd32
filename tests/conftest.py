"""The hypothesis profiles of all tests, and one random seed that can be pinned."""

import os
import secrets

import hypothesis
import pytest

# The same examples in every run, so that a test that fails points at what was changed; fresh ones on demand:
# HYPOTHESIS_PROFILE=fresh python -m pytest -n 2
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("fresh", derandomize=False, deadline=None, print_blob=True, max_examples=300)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

SEED_VARIABLE = "JAXTRACT_TEST_SEED"


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, help=f"pin the seed of the random tests (or set {SEED_VARIABLE})")


@pytest.fixture
def seed(request):
    """A fresh random seed, or the pinned one. The report of a failing test shows it."""
    pinned = request.config.getoption("--seed")
    if pinned is None:
        pinned = os.environ.get(SEED_VARIABLE)
    chosen = secrets.randbits(32) if pinned is None else int(pinned)
    request.node.add_report_section("call", "seed", f"seed {chosen}; run again with --seed {chosen}")
    return chosen
