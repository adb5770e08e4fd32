"""One hypothesis profile for all tests, and one random seed that can be pinned."""

import os
import secrets

import hypothesis
import pytest

hypothesis.settings.register_profile("jaxtract", derandomize=False, deadline=None, print_blob=True)
hypothesis.settings.load_profile("jaxtract")

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
