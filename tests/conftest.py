"""Fixtures shared by several test packages."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from mien.errors import WeightsMissing
from mien.weights import SETS, Weights, fetch, resolve
from tests.object_storage import Bucket, environment, s3_server


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


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An S3 server, to which the environment leads: its address, and its log."""
    if missing := [name for name in ("moto", "obstore") if find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    log = tmp_path_factory.mktemp("s3") / "log"
    with s3_server(log) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(url).items():
            patch.setenv(name, value)
        yield url, log


@pytest.fixture
def bucket(s3: tuple[str, Path], request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket; its name comes from the test."""
    return Bucket(s3[0], f"b{abs(hash(request.node.nodeid)) % 10**12}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests have an hour, unless they say otherwise."""
    for item in items:
        if item.get_closest_marker("soak") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))
