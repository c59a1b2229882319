"""What tests of several rooms share."""

import os

import pytest

from mien.errors import WeightsMissing
from mien.weights import SETS, Weights, fetch, resolve


@pytest.fixture(scope="session")
def small_weights() -> dict[str, Weights]:
    """The set ``small`` by role, fetched into the ordinary cache when it is not there.

    With ``MIEN_NO_NETWORK`` set, what is cached is used, and the test is skipped when something is missing.
    """
    try:
        return resolve("small")
    except WeightsMissing as missing:
        if os.environ.get("MIEN_NO_NETWORK"):
            pytest.skip(f"MIEN_NO_NETWORK is set and {missing}")
    fetch(["small"])
    return resolve("small", SETS["small"])
