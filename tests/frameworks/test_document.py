"""What is shown in `docs/frameworks.md` is what runs here; it needs no framework, so it is always looked at."""

import ast
import re

import pytest

from tests.frameworks.examples import EXAMPLES, HERE

REQUIREMENTS = HERE / "requirements"
NAME = re.compile(r"[A-Za-z][\w-]*")


def test_every_example_in_the_folder_is_one_of_the_documents():
    assert {path.name for path in HERE.glob("*_agent.*")} == {example.file for example in EXAMPLES.values()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_changes_that_the_tests_and_the_document_make_still_fit(name: str):
    example = EXAMPLES[name]
    for changes in (example.timeout, example.http):
        source = example.changed(changes)
        assert changes == () or source != example.path.read_text()
        if example.path.suffix == ".py":
            ast.parse(source)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_that_sets_a_time_out_says_why(name: str):
    example = EXAMPLES[name]
    if example.limit is not None and example.timeout:
        assert re.search(rf"(#|//) (Left out|.*Left out).*\b{example.limit:g} s\b", example.shown()), example.shown()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_user_installs_what_was_tested(name: str):
    """And what was tested has an upper bound: a framework's next major is a change that somebody has to look at."""
    example = EXAMPLES[name]
    if example.tested in (None, "node"):
        return
    lines = (REQUIREMENTS / f"{example.tested}.txt").read_text().split()
    assert all("<" in line for line in lines)
    tested = {NAME.match(line)[0] for line in lines}
    installed = {NAME.match(word)[0] for word in example.install.replace("'", "").split()[2:]}
    assert installed <= tested
    assert tested - installed <= {"mcp"}, "that one only holds the SDK where the framework leaves it open"
