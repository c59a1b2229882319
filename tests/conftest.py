"""Fixtures shared by several test packages."""

import os

import pytest

from mien.errors import WeightsMissing
from mien.weights import SETS, Weights, fetch, resolve


@pytest.fixture(scope="session")
def small_weights() -> dict[str, Weights]:
    """The set ``small`` by role, downloaded into the default cache if needed.

    With ``MIEN_NO_NETWORK`` set, only the cache is used, and the test is skipped if something is missing.
    """
    try:
        return resolve("small")
    except WeightsMissing as missing:
        if os.environ.get("MIEN_NO_NETWORK"):
            pytest.skip(f"MIEN_NO_NETWORK is set and {missing}")
    fetch(["small"])
    return resolve("small", SETS["small"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests have an hour, unless they say otherwise."""
    for item in items:
        if item.get_closest_marker("soak") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))
