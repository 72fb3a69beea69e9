"""These tests need what `make frameworks` installs, so they only run where `AVM_FRAMEWORKS=1` says that it is there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.machine import FAST, Machine, machine_at

RUNS = os.environ.get("AVM_FRAMEWORKS") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if RUNS:
        return
    skip = pytest.mark.skip(reason="needs the frameworks that `make frameworks` installs")
    for item in items:
        if item.get_closest_marker("frameworks"):
            item.add_marker(skip)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with a fast service."""
    with machine_at(FAST, tmp_path) as machine:
        yield machine


@pytest.fixture(params=["stdio", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param
