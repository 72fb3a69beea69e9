"""Every setting: its default, what counts as unset, and the one line that refuses a value."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from avm_mcp.config import ALIASES, HTTP_ONLY, NO_HOME, Settings, child_environment
from avm_mcp.errors import BadSetting

KEY = "ak_0123456789abcdef"
NAMES = tuple(Settings.model_fields)
NO_TEXT = "/caf\udce9"  # a name in an old encoding, as Python reads it

# Each variable: a good text and what it means; bad texts and the words that say what is allowed.
GOOD: dict[str, list[tuple[str, Any]]] = {
    "AVM_BASE_URL": [
        ("https://aivideomaker.ai/", "https://aivideomaker.ai"),
        ("https://proxy.example:8443/avm", "https://proxy.example:8443/avm"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
    "AVM_OUTPUT_DIR": [("/films", Path("/films"))],
    "AVM_STATE_DIR": [("/state", Path("/state"))],
    "AVM_INPUT_DIRS": [
        ("/a", (Path("/a"),)),
        (os.pathsep.join(["/a", "/b c", "/d"]), (Path("/a"), Path("/b c"), Path("/d"))),
        (f"/a{os.pathsep} {os.pathsep}{os.pathsep} /b ", (Path("/a"), Path("/b"))),
    ],
    "AVM_MAX_CREDITS_PER_CALL": [("0", 0), ("15", 15), ("1000000", 1_000_000)],
    "AVM_MAX_CREDITS_PER_DAY": [("0", 0), ("500", 500)],
    "AVM_CONFIRM_ABOVE": [("0", 0), ("1000", 1000)],
    "AVM_DEDUPE_MINUTES": [("0", 0.0), ("1.5", 1.5), ("1440", 1440.0)],
    "AVM_SAVE": [("mine", "mine"), ("all", "all"), ("off", "off")],
    "AVM_KEEPER": [("on", "on"), ("off", "off")],
    "AVM_NOTIFY": [("on", "on"), ("off", "off")],
    "AVM_FAST_START": [("on", "on"), ("off", "off")],
    "AVM_CONNECT_TIMEOUT": [("0.5", 0.5), ("600", 600.0)],
    "AVM_READ_TIMEOUT": [("5", 5.0)],
    "AVM_SUBMIT_TIMEOUT": [("120", 120.0)],
    "AVM_USER_AGENT": [("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)")],
    "AVM_EGRESS_ID": [("office", "office")],
    "AVM_HTTP_TOKEN": [
        ("0123456789abcdef", SecretStr("0123456789abcdef")),
        ("a" * 40 + "==", SecretStr("a" * 40 + "==")),
    ],
    "AVM_ALLOWED_HOSTS": [
        ("host.docker.internal", ("host.docker.internal",)),
        (" Avm.Example ,, [fd00::1], 10.0.0.7 ", ("avm.example", "[fd00::1]", "10.0.0.7")),
    ],
    "AVM_ALLOWED_ORIGINS": [
        ("https://Agent.example", ("https://agent.example",)),
        ("http://10.0.0.7:3000, app://obsidian.md", ("http://10.0.0.7:3000", "app://obsidian.md")),
    ],
    "AVM_SANDBOX_SPEED": [("1", 1.0), ("10000", 10_000.0)],
    "AVM_LOG_LEVEL": [("DEBUG", "DEBUG")],
}
CREDITS = [("-1", "0"), ("ten", "a whole number"), ("1.5", "a whole number"), ("1000001", "1000000"), ("9" * 5000, "")]
SECONDS = [("0", "0"), ("-1", "0"), ("601", "600"), ("nan", "0"), ("inf", "600"), ("soon", "a number")]
BAD: dict[str, list[tuple[str, str]]] = {
    "AVM_API_KEY": [("a b", "without spaces"), ("a\nb", "line breaks"), ("schlüssel", "key"), ("x" * 513, "512")],
    "AVM_BASE_URL": [
        (text, "an https URL")
        for text in (
            "http://aivideomaker.ai", "aivideomaker.ai", "ftp://aivideomaker.ai", "https://", "https:///x",
            "https://user@aivideomaker.ai", "https://user:pw@aivideomaker.ai", "https://:pw@aivideomaker.ai",
            "https://aivideomaker.ai/?a=1", "https://aivideomaker.ai/#x", "https://[::1", "https://h:99999",
            "https://h:port", "https://ho st", "http://127.0.0.1.evil.example", "http://0.0.0.0:1", "file:///etc",
        )
    ],
    "AVM_OUTPUT_DIR": [("films", "an absolute folder"), ("~nobody-here/x", "without ~"), (NO_TEXT, "text in UTF-8")],
    "AVM_STATE_DIR": [("state", "an absolute folder"), ("~nobody-here/x", "without ~"), (NO_TEXT, "text in UTF-8")],
    "AVM_INPUT_DIRS": [
        ("pictures", "an absolute folder"),
        (f"/a{os.pathsep}b", "an absolute folder"),
        (f"/a{os.pathsep}{NO_TEXT}", "text in UTF-8"),
    ],
    "AVM_MAX_CREDITS_PER_CALL": CREDITS,
    "AVM_MAX_CREDITS_PER_DAY": CREDITS,
    "AVM_CONFIRM_ABOVE": CREDITS,
    "AVM_DEDUPE_MINUTES": [("-1", "0"), ("1441", "1440"), ("an hour", "a number"), ("nan", "0")],
    "AVM_SAVE": [("yes", "'mine', 'all' or 'off'"), ("MINE", "'mine', 'all' or 'off'")],
    "AVM_KEEPER": [("1", "'on' or 'off'")],
    "AVM_NOTIFY": [("true", "'on' or 'off'")],
    "AVM_FAST_START": [("ON", "'on' or 'off'")],
    "AVM_CONNECT_TIMEOUT": SECONDS,
    "AVM_READ_TIMEOUT": SECONDS,
    "AVM_SUBMIT_TIMEOUT": SECONDS,
    "AVM_USER_AGENT": [("a\nb", "one line"), ("ä", "plain characters"), ("x" * 257, "one line")],
    "AVM_EGRESS_ID": [("x" * 101, "at most 100 characters")],
    "AVM_HTTP_TOKEN": [(text, "16 to 512 letters") for text in ("short", "x" * 513, "a token with blanks", "ä" * 16)],
    "AVM_ALLOWED_HOSTS": [
        (text, "names such as")
        for text in ("*", "*.example", "https://a.example", "a.example:80", "a.example/x", "a b", "a.example.", ":80")
    ],
    "AVM_ALLOWED_ORIGINS": [
        (text, "origins such as")
        for text in ("*", "null", "a.example", "https://*.example", "https://a.example/", "https://a.example:x", "https://")
    ],
    "AVM_SANDBOX_SPEED": [("0", "0"), ("10001", "10000"), ("fast", "a number")],
    "AVM_LOG_LEVEL": [("LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'")],
}  # fmt: skip


def _cases(table: dict[str, list[tuple[str, Any]]]) -> list[Any]:
    return [pytest.param(n, t, v, id=f"{n}={t[:30]!r}") for n, cases in table.items() for t, v in cases]


def test_every_variable_is_in_these_tables() -> None:
    assert set(BAD) == set(NAMES)
    assert set(GOOD) == set(NAMES) - {"AVM_API_KEY"}


def test_the_defaults(home: Path) -> None:
    settings = Settings.from_env({})
    given = settings.model_dump()
    assert given["AVM_API_KEY"] is None
    assert settings.api_key is None
    assert not settings.sandboxed
    assert given["AVM_BASE_URL"] == "https://aivideomaker.ai"
    for name in ("AVM_OUTPUT_DIR", "AVM_STATE_DIR"):
        assert given[name].is_absolute()
        assert given[name].is_relative_to(home)
    assert (given["AVM_MAX_CREDITS_PER_CALL"], given["AVM_MAX_CREDITS_PER_DAY"], given["AVM_INPUT_DIRS"]) == (None,) * 3
    assert not list(home.rglob("avm-mcp*")), "reading settings must not write"
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("text", ["", "  ", "\n", "${user_config.api_key}", " ${user_config.x} ", "${}", "${HOME}"])
@pytest.mark.parametrize("name", [*NAMES, *ALIASES])
def test_what_counts_as_unset(name: str, text: str) -> None:
    assert Settings.from_env({name: text}) == Settings.from_env({})


@pytest.mark.parametrize(("name", "text", "value"), _cases(GOOD))
def test_a_good_value(name: str, text: str, value: Any) -> None:
    assert getattr(Settings.from_env({name: text}), name) == value
    assert getattr(Settings.from_env({name: f"  {text}\n"}), name) == value


@pytest.mark.parametrize(("name", "text", "allowed"), _cases(BAD))
def test_a_bad_value_is_refused_in_one_line_that_helps(name: str, text: str, allowed: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Settings.from_env({name: text})
    message = str(caught.value)
    assert caught.value.field == name
    assert message.startswith(f"{name} cannot be used: allowed is ")
    assert allowed in message
    assert re.fullmatch(r"[ -~]{20,200}\.", message), message
    assert "Input" not in message
    assert "String" not in message
    assert caught.value.__cause__ is None
    if len(text) > 12:
        assert text not in message  # it may be a key pasted into the wrong line


@given(
    st.sampled_from([*NAMES, *ALIASES]), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)
)
def test_no_value_breaks_it(name: str, text: str) -> None:
    try:
        told = str(Settings.from_env({name: text}))
    except BadSetting as refusal:
        told = f"{refusal.field}: {refusal}"
    assert name in ALIASES or name in told
    assert "\n" not in told


# The key


def test_the_other_name_of_the_key() -> None:
    assert Settings.from_env({"AIVIDEO_API_KEY": KEY}).api_key == KEY
    assert Settings.from_env({"AIVIDEO_API_KEY": "other", "AVM_API_KEY": KEY}).api_key == KEY
    assert Settings.from_env({"AIVIDEO_API_KEY": KEY, "AVM_API_KEY": "${user_config.api_key}"}).api_key == KEY
    assert Settings.from_env({"AIVIDEO_API_KEY": "sandbox"}).sandboxed
    with pytest.raises(BadSetting) as caught:
        Settings.from_env({"AIVIDEO_API_KEY": "two words"})
    assert caught.value.field == "AIVIDEO_API_KEY"  # the name that the user wrote
    with pytest.raises(BadSetting) as caught:
        Settings.from_env({"AIVIDEO_API_KEY": "two words", "AVM_API_KEY": "three more words"})
    assert caught.value.field == "AVM_API_KEY"


def test_the_key_is_in_no_text_of_the_settings() -> None:
    settings = Settings.from_env({"AVM_API_KEY": KEY})
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json(), f"{settings}"):
        assert KEY not in text
    with pytest.raises(BadSetting) as caught:
        Settings.from_env({"AVM_API_KEY": f"{KEY} {KEY}"})
    assert KEY not in str(caught.value) + repr(caught.value) + str(vars(caught.value))


def test_settings_do_not_change() -> None:
    settings = Settings.from_env({})
    with pytest.raises(ValueError, match="frozen"):
        settings.AVM_SAVE = "off"  # type: ignore[misc]


def test_unknown_variables_are_nobodys_business() -> None:
    assert Settings.from_env({"AVM_NO_SUCH_THING": "1", "PATH": "/bin"}) == Settings.from_env({})


# Folders


def test_tilde_is_the_home_folder(home: Path) -> None:
    settings = Settings.from_env(
        {"AVM_OUTPUT_DIR": "~/films", "AVM_STATE_DIR": "~", "AVM_INPUT_DIRS": os.pathsep.join(["~/a", "/b", "~"])}
    )
    assert home / "films" == settings.AVM_OUTPUT_DIR
    assert home == settings.AVM_STATE_DIR
    assert (home / "a", Path("/b"), home) == settings.AVM_INPUT_DIRS


def test_from_the_real_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVM_API_KEY", KEY)
    monkeypatch.setenv("AVM_STATE_DIR", "/state")
    settings = Settings.from_env()
    assert (settings.api_key, settings.AVM_STATE_DIR) == (KEY, Path("/state"))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user without a home and without a name, as in a container that runs under any number."""
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("only root can become a user that does not exist")
    for name in [name for name in os.environ if name == "HOME" or name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    os.setreuid(54321, 0)
    try:
        yield
    finally:
        os.setreuid(0, 0)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_settings_can_be_read_and_no_folder_is_relative() -> None:
    settings = Settings.from_env({"AVM_API_KEY": KEY})
    assert settings.AVM_STATE_DIR.is_absolute()
    assert settings.AVM_OUTPUT_DIR.is_absolute()
    assert "~" not in str(settings.AVM_STATE_DIR)
    with pytest.raises(BadSetting) as caught:
        Settings.from_env({"AVM_OUTPUT_DIR": "~/films"})
    assert "no home folder" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_films_go_to_no_default_folder_that_no_answer_could_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: bytes that are no text in an answer end the connection, and with it every call that waits."""
    monkeypatch.setenv("HOME", "/home/jos\udce9")
    assert Settings.from_env({}).AVM_OUTPUT_DIR == NO_HOME


def test_without_home_in_the_environment_the_systems_word_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name == "HOME" or name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    settings = Settings.from_env({})
    assert settings.AVM_STATE_DIR.is_absolute()
    assert settings.AVM_OUTPUT_DIR.is_absolute()


# What a child of ours gets


def test_a_child_has_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIVIDEO_API_KEY", "another")
    monkeypatch.setenv("AVM_SAVE", "all")
    environ = {name: cases[-1][0] for name, cases in GOOD.items() if name not in {"AVM_KEEPER", *HTTP_ONLY}}
    settings = Settings.from_env({**environ, "AVM_API_KEY": KEY})
    child = child_environment(settings)
    assert Settings.from_env(child) == settings.model_copy(update={"AVM_KEEPER": "off"})
    assert "AIVIDEO_API_KEY" not in child
    assert child["PATH"] == os.environ["PATH"]
