"""What `make wheels` tries: every Python that the package says it runs on, with what the wheel itself asks for."""

import tomllib
import zipfile

import pytest

from manifests import wheels
from manifests.bench import Skipped
from manifests.facts import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

METADATA = """Metadata-Version: 2.4
Name: avm-mcp
Requires-Dist: anyio<5,>=4.15
Requires-Dist: mcp<3,>=2.3
Requires-Dist: av<20,>=14; extra == 'sandbox'
Requires-Dist: psycopg>=3; extra == 'postgres'
"""


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "avm_mcp-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as downloader:
        downloader.writestr("avm_mcp-0.dist-info/METADATA", METADATA)
    return path


def test_the_pythons_tried_are_those_of_the_classifiers_from_the_oldest_allowed():
    assert wheels.versions()
    assert PROJECT["requires-python"] == f">={wheels.versions()[0]}"


def test_what_a_wheel_asks_for_is_direct_and_extras_count_only_when_asked_for(wheel):
    assert wheels.required(wheel, ()) == ["anyio<5,>=4.15", "mcp<3,>=2.3"]
    assert wheels.required(wheel, ("sandbox",))[2:] == ["av<20,>=14"]


@pytest.mark.process
def test_a_python_that_cannot_be_had_is_skipped_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "ROOM", tmp_path)
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho no such version >&2\nexit 2\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Skipped, match="no such version"):
        wheels.interpreter("3.99", uv)
