"""Where the container's health check connects to."""

import pytest

from manifests.docker.health import address


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("python avm-mcp", None),
        ("python avm-mcp serve", ("127.0.0.1", 8765)),
        ("python avm-mcp serve --port 8000", ("127.0.0.1", 8000)),
        ("tini -- avm-mcp serve --port=8000 --host localhost", ("localhost", 8000)),
    ],
)
def test_it_asks_where_the_server_listens_and_nobody_on_stdio(command, where):
    assert address(command.split()) == where


def test_its_defaults_are_those_of_serve():
    from avm_mcp.cli.parser import COMMANDS

    defaults = {option.flag: option.default for option in COMMANDS["serve"].options}
    assert address(["serve"]) == (defaults["--host"], defaults["--port"])
