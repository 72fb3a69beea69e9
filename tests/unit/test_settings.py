"""Every setting: its default, what counts as unset, and the one line that refuses a value."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from avm_mcp.domain.errors import BadSetting
from avm_mcp.domain.masking import KEY_NAMES, mask
from avm_mcp.settings import ALIASES, HTTP_ONLY, NO_HOME, Settings, child_environment

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
    "AVM_OUTPUT_DIR": [("/videos", Path("/videos"))],
    "AVM_STATE_DIR": [("/state", Path("/state"))],
    "AVM_INPUT_DIRS": [
        ("/a", (Path("/a"),)),
        (os.pathsep.join(["/a", "/b c", "/d"]), (Path("/a"), Path("/b c"), Path("/d"))),
        (f"/a{os.pathsep} {os.pathsep}{os.pathsep} /b ", (Path("/a"), Path("/b"))),
    ],
    "AVM_MAX_CREDITS_PER_CALL": [("0", 0), ("15", 15), ("1000000", 1_000_000)],
    "AVM_MAX_CREDITS_PER_DAY": [("0", 0), ("500", 500)],
    "AVM_APPROVE_ABOVE": [("0", 0), ("1000", 1000)],
    "AVM_DEDUPE_MINUTES": [("0", 0.0), ("1.5", 1.5), ("1440", 1440.0)],
    "AVM_SAVE": [("mine", "mine"), ("all", "all"), ("off", "off"), ("Mine", "mine"), ("true", "mine"), ("No", "off")],
    "AVM_WORKER": [("on", "on"), ("off", "off"), ("ON", "on"), ("Off", "off"), ("1", "on"), ("false", "off")],
    "AVM_ALLOW_MEMORY_STATE": [("on", "on"), ("off", "off")],
    "AVM_NOTIFY": [("on", "on"), ("off", "off"), ("TRUE", "on"), ("no", "off")],
    "AVM_FAST_START": [("on", "on"), ("off", "off"), ("yes", "on"), ("0", "off")],
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
    "AVM_LOG_LEVEL": [("DEBUG", "DEBUG"), ("debug", "DEBUG"), ("Warn", "WARNING"), ("critical", "ERROR")],
}
CREDITS = [("-1", "0"), ("ten", "a whole number"), ("1.5", "a whole number"), ("1000001", "1000000"), ("9" * 5000, "")]
SECONDS = [("0", "0"), ("-1", "0"), ("601", "600"), ("nan", "0"), ("inf", "600"), ("soon", "a number")]
BAD: dict[str, list[tuple[str, str]]] = {
    "AVM_API_KEY": [("a b", "without spaces"), ("a\nb", "line breaks"), ("schlüssel", "key"), ("k1" * 300, "512")],
    "AVM_BASE_URL": [
        (text, "an https URL")
        for text in (
            "http://aivideomaker.ai", "aivideomaker.ai", "ftp://aivideomaker.ai", "https://", "https:///x",
            "https://user@aivideomaker.ai", "https://user:pw@aivideomaker.ai", "https://:pw@aivideomaker.ai",
            "https://aivideomaker.ai/?a=1", "https://aivideomaker.ai/#x", "https://[::1", "https://h:99999",
            "https://h:port", "https://ho st", "http://127.0.0.1.evil.example", "http://0.0.0.0:1", "file:///etc",
        )
    ],
    "AVM_OUTPUT_DIR": [("videos", "an absolute folder"), ("~nobody-here/x", "without ~"), (NO_TEXT, "text in UTF-8")],
    "AVM_STATE_DIR": [("state", "an absolute folder"), ("~nobody-here/x", "without ~"), (NO_TEXT, "text in UTF-8")],
    "AVM_INPUT_DIRS": [
        ("pictures", "an absolute folder"),
        (f"/a{os.pathsep}b", "an absolute folder"),
        (f"/a{os.pathsep}{NO_TEXT}", "text in UTF-8"),
    ],
    "AVM_MAX_CREDITS_PER_CALL": CREDITS,
    "AVM_MAX_CREDITS_PER_DAY": CREDITS,
    "AVM_APPROVE_ABOVE": CREDITS,
    "AVM_DEDUPE_MINUTES": [("-1", "0"), ("1441", "1440"), ("an hour", "a number"), ("nan", "0")],
    "AVM_SAVE": [("some", "'mine', 'all' or 'off'"), ("mine,all", "'mine', 'all' or 'off'")],
    "AVM_WORKER": [("2", "'on' or 'off'")],
    "AVM_ALLOW_MEMORY_STATE": [("2", "'on' or 'off'")],
    "AVM_NOTIFY": [("truthy", "'on' or 'off'")],
    "AVM_FAST_START": [("fast", "'on' or 'off'")],
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


@pytest.mark.parametrize("text", ["", "  ", "\n", "${user_config.api_key}", " ${user_config.x} ", '""', "' '"])
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
    assert message.startswith(f"{name} ")
    assert " cannot be used: allowed is " in message
    assert allowed in message
    assert re.fullmatch(r"[ -~\u2026ä]{20,250}\.", message), message
    assert "Input" not in message
    assert "String" not in message
    assert caught.value.__cause__ is None
    if name in KEY_NAMES:
        assert f" {text} " not in message
    elif len(text) < 40 and "@" not in text and text.isprintable():
        assert f'"{text}"' in message, "what it holds is what its writer recognises"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@proxy:1", "http://***@proxy:1"),
        ("http://me:se@cret@proxy:1", "http://***@proxy:1"),
        ("socks5://me:secret/word@[::1", "socks5://***@[::1"),
        ("me:secret@proxy:1", "***@proxy:1"),
        (KEY, "***"),
        (f"key is {KEY}", "key is ***"),
        ("0123456789abcdef0123456789abcdef", "***"),
        ("https://h/?token=QWxhZGRpbjpvcGVuIHNlc2FtZQ123", "https://h/?token=***"),
        ("/home/me/certs/company-root.pem", "/home/me/certs/company-root.pem"),
        ("socks4://127.0.0.1:7890", "socks4://127.0.0.1:7890"),
        ("caf\udce9", "caf?"),
    ],
)
def test_no_secret_is_shown_whatever_line_it_stands_in(text: str, shown: str) -> None:
    """P5: neither a password in an address nor what may be a key."""
    assert mask(text) == shown


UNFILLED = ["$AVM_API_KEY", "${AVM_API_KEY}", "${env:AVM_API_KEY}", "$env:AVM_API_KEY", "$(pass avm)",
            "%AVM_API_KEY%", "{{api_key}}", "<your key>", "${}", '"${KEY}"', "${KEY:-}"]  # fmt: skip
NO_KEYS = ["YOUR_API_KEY", "your-api-key-here", "your_key",
           "YOUR_AVM_API_KEY", "paste-your-key-here", "ak_xxx", "xxxx",
           "ak_...", "changeme", "<key>", "[your key]", "{key}", "api_key", "API-KEY-HERE", "null",
           "undefined", "..."]  # fmt: skip


@pytest.mark.parametrize("text", UNFILLED)
@pytest.mark.parametrize("name", [name for name in (*NAMES, *ALIASES) if name != "AVM_INPUT_DIRS"])
def test_a_placeholder_that_nobody_filled_in_is_named(name: str, text: str) -> None:
    """A cap that was never filled in is no cap (P8), and a key that was not is never sent."""
    settings, refusal = Settings.read({name: text})
    assert refusal is not None
    assert refusal.field == name
    assert f'{name} is "{text.strip(chr(34))}", a placeholder that was not filled in: allowed is ' in refusal.message
    assert settings == Settings.from_env({})


@pytest.mark.parametrize("text", NO_KEYS)
@pytest.mark.parametrize("name", ["AVM_API_KEY", "AIVIDEO_API_KEY"])
def test_words_that_ask_for_a_key_are_none(name: str, text: str) -> None:
    settings, refusal = Settings.read({name: text})
    assert settings.api_key is None
    assert refusal is not None
    assert f'{name} is "{text}", a placeholder' in refusal.message
    assert "https://aivideomaker.ai" in refusal.message


@pytest.mark.parametrize(
    "text", [KEY, "sandbox", "k", "ak$0123456789abcdef", "anything", "your", "ak_your0123", "100%25"]
)
def test_a_key_is_taken_as_it_is(text: str) -> None:
    assert Settings.from_env({"AVM_API_KEY": text}).api_key == text


@pytest.mark.parametrize("around", ['"{}"', "'{}'", " {} ", '\t" {} "\n', "\ufeff{}", "\u201c{}\u201d", "\u200b{}\xa0"])
def test_blanks_and_one_pair_of_quotes_are_no_part_of_a_value(around: str) -> None:
    """Shells take them away; the files of hosts do not."""
    given = {"AVM_API_KEY": KEY, "AVM_SAVE": "all", "AVM_MAX_CREDITS_PER_DAY": "500", "AVM_STATE_DIR": "/a b"}
    plain = Settings.from_env(given)
    assert Settings.from_env({name: around.format(text) for name, text in given.items()}) == plain
    folders = os.pathsep.join(around.format(folder) for folder in ("/a b", "/c"))
    assert (Path("/a b"), Path("/c")) == Settings.from_env({"AVM_INPUT_DIRS": folders}).AVM_INPUT_DIRS


def test_all_that_is_wrong_is_named_at_once_and_the_rest_holds() -> None:
    """One restart of the host, not one for each mistake."""
    given = {
        "AVM_SAVE": "some",
        "AVM_WORKER": "Off",
        "AVM_LOG_LEVEL": "LOUD",
        "AVM_API_KEY": "$KEY",
        "AVM_NOTIFY": "on",
    }
    settings, refusal = Settings.read(given)
    assert refusal is not None
    assert [name for name in given if name in refusal.message] == ["AVM_SAVE", "AVM_LOG_LEVEL", "AVM_API_KEY"]
    assert (settings.AVM_WORKER, settings.AVM_NOTIFY, settings.AVM_SAVE) == ("off", "on", "mine")
    assert settings.api_key is None


@given(
    st.sampled_from([*NAMES, *ALIASES]), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)
)
def test_no_value_breaks_it(name: str, text: str) -> None:
    try:
        reply = str(Settings.from_env({name: text}))
    except BadSetting as refusal:
        reply = f"{refusal.field}: {refusal}"
    assert name in ALIASES or name in reply
    assert "\n" not in reply


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
        {"AVM_OUTPUT_DIR": "~/videos", "AVM_STATE_DIR": "~", "AVM_INPUT_DIRS": os.pathsep.join(["~/a", "/b", "~"])}
    )
    assert home / "videos" == settings.AVM_OUTPUT_DIR
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
        Settings.from_env({"AVM_OUTPUT_DIR": "~/videos"})
    assert "no home folder" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_videos_go_to_no_default_folder_that_no_answer_could_name(monkeypatch: pytest.MonkeyPatch) -> None:
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
    environ = {name: cases[-1][0] for name, cases in GOOD.items() if name not in {"AVM_WORKER", *HTTP_ONLY}}
    settings = Settings.from_env({**environ, "AVM_API_KEY": KEY})
    child = child_environment(settings)
    assert Settings.from_env(child) == settings.model_copy(update={"AVM_WORKER": "off"})
    assert "AIVIDEO_API_KEY" not in child
    assert child["PATH"] == os.environ["PATH"]
