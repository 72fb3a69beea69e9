"""The documents say what the code does, today."""

import re
from pathlib import Path

import pytest

from avm_mcp import __version__
from avm_mcp.settings import Settings
from tests import docs

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("document", docs.made(), ids=lambda path: path.name)
def test_what_a_document_repeats_is_what_the_code_says(document: Path):
    """`make docs` writes it."""
    assert docs.filled(document.read_text(), docs.made()[document]) == document.read_text()


def test_every_variable_that_the_documents_name_is_a_setting():
    known = {*Settings.model_fields, "AIVIDEO_API_KEY"}
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*"), *(ROOT / "manifests").rglob("*")):
        if path.is_file() and path.suffix in {".md", ".json", ".yaml", ".toml"}:
            named = set(re.findall(r"\b(?:AVM|AIVIDEO)_[A-Z_]+\b", path.read_text()))
            assert named <= known, path


def test_every_setting_says_what_it_means():
    assert all(field.description for field in Settings.model_fields.values())


def test_the_map_names_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {
        path.stem for path in (ROOT / "avm_mcp").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {name for name in modules if not name.startswith("_") and f"`{name}" not in text} == set()


def test_no_document_or_module_names_a_place_of_the_machine_it_was_written_on():
    documents = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    for path in (*documents, *(ROOT / "avm_mcp").rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        assert not re.search(r"(^|[^.\w])/(work|farm)/", path.read_text()), path


def test_the_version_is_one():
    assert re.search(rf'^version = "{re.escape(__version__)}"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
