"""The bundle's own start: what a form can answer becomes what the server takes."""

import os
import sys

import pytest

from avm_mcp.settings import Settings
from manifests.mcpb import start

UNFILLED = "${user_config.output_dir}"


def filled(environ, *folders):
    environ = dict(environ)
    start.fill(environ, folders)
    return environ


def test_answers_become_settings(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two, with a comma"
    environ = filled(
        {"AVM_API_KEY": " k1 ", "AVM_NOTIFY": "true", "AVM_MAX_CREDITS_PER_DAY": "1000"}, str(one), str(two)
    )
    settings = Settings.from_env(environ)
    assert settings.api_key == "k1"
    assert settings.AVM_NOTIFY == "on"
    assert settings.AVM_MAX_CREDITS_PER_DAY == 1000
    assert (one, two) == settings.AVM_INPUT_DIRS


@pytest.mark.parametrize("empty", ["", "  ", UNFILLED, "undefined", "null"])
def test_what_was_left_empty_is_unset_and_no_key_means_the_free_sandbox(empty):
    names = ("AVM_API_KEY", "AVM_OUTPUT_DIR", "AVM_MAX_CREDITS_PER_DAY", "AVM_NOTIFY")
    settings = Settings.from_env(filled(dict.fromkeys(names, empty), empty))
    unset = Settings.from_env({})
    assert settings.sandboxed
    assert settings.model_dump(exclude={"AVM_API_KEY"}) == unset.model_dump(exclude={"AVM_API_KEY"})


def test_the_other_name_of_the_key_counts():
    assert Settings.from_env(filled({"AVM_API_KEY": "", "AIVIDEO_API_KEY": "k2"})).api_key == "k2"


@pytest.mark.parametrize(("printed", "meant"), [("true", "on"), ("True", "on"), ("false", "off"), ("on", "on")])
def test_a_switch_is_on_or_off(printed, meant):
    assert filled({"AVM_NOTIFY": printed})["AVM_NOTIFY"] == meant


def test_the_folders_are_no_arguments_of_the_server(monkeypatch, tmp_path):
    seen = {}

    def server_main():
        seen.update(argv=sys.argv[1:], folders=os.environ["AVM_INPUT_DIRS"])
        return 0

    monkeypatch.setattr("avm_mcp.cli.server_main", server_main)
    monkeypatch.setattr(sys, "argv", ["start.py", str(tmp_path)])
    for name in ("AVM_API_KEY", "AVM_NOTIFY", "AVM_INPUT_DIRS"):
        monkeypatch.setenv(name, "")
    assert start.main() == 0
    assert seen == {"argv": [], "folders": str(tmp_path)}
