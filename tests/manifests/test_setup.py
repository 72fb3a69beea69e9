"""`avm setup`: an entry is added, added again without a change, and removed without a trace; other files are left."""

import json
import os
import re
import stat
import tempfile
import tomllib
from io import StringIO
from pathlib import Path

import pytest

from avm_mcp.cli import demo, exits, setup
from avm_mcp.cli.entry import run
from avm_mcp.cli.parser import build_parser
from avm_mcp.cli.setup.hosts import HOSTS
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain.errors import AvmError
from avm_mcp.settings import Settings

KEY = "ak_0123456789abcdef"
JSON = [host for host in HOSTS.values() if host.form == "json"]
every = pytest.mark.parametrize("host", HOSTS.values(), ids=lambda host: host.name)
every_json = pytest.mark.parametrize("host", JSON, ids=lambda host: host.name)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """The folder in which a person stands; the home is the one that every test gets."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def avm_setup(*argv: str, key: str | None = None) -> str:
    """Run it and return what it printed on stdout."""
    args = build_parser("avm").parse_args(["setup", *argv])
    out = StringIO()
    code = setup.run(args, Settings.from_env({"AVM_API_KEY": key or ""}), Terminal(out, StringIO(), "--json" in argv))
    assert code == exits.OK
    return out.getvalue()


def path_of(host) -> Path:
    return host.path(Path.home(), Path.cwd())


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def written(host) -> dict:
    text = path_of(host).read_text()
    if host.form == "yaml":
        assert text.count("  avm-mcp:\n") == 1
        return {"command": text.split("cmd: ")[1].split("\n")[0].strip('"')}
    content = json.loads(text) if host.form == "json" else tomllib.loads(text)
    for name in host.path_to_servers:
        content = content[name]
    return content["avm-mcp"]


def filled(host, text: str) -> Path:
    path = path_of(host)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@every
def test_from_nothing_it_is_written_once_and_removed_without_a_trace(host, home, project):
    before = everything(home), everything(project)
    avm_setup(host.name)
    first = path_of(host).read_bytes()
    assert "nothing to change" in avm_setup(host.name)
    assert path_of(host).read_bytes() == first
    assert written(host)["command"]
    assert not path_of(host).with_name(path_of(host).name + ".before-avm").exists()
    avm_setup(host.name, "--remove")
    assert (everything(home), everything(project)) == before
    assert not path_of(host).exists()
    assert "Nothing to remove" in avm_setup(host.name, "--remove")


@every
@pytest.mark.parametrize("key", [KEY, "ak$0123456789abcdef"])
def test_no_key_is_printed_whatever_is_in_it(host, key):
    """P5: a dollar sign makes no key a reference."""
    assert key not in avm_setup(host.name, "--print", key=key) + avm_setup(host.name, "--json", key=key)


@every
def test_a_key_is_written_only_where_the_host_leaves_no_other_way(host):
    printed = avm_setup(host.name, key=KEY)
    assert KEY not in printed
    text = path_of(host).read_text()
    assert (KEY in text) == (host.name in ("claude-desktop", "lm-studio"))
    assert ("stands in that file" in printed) == (KEY in text)
    if KEY in text and os.name == "posix":
        assert stat.S_IMODE(path_of(host).stat().st_mode) == 0o600
    assert KEY not in avm_setup(host.name, "--json", key=KEY)


@every
def test_a_free_try_needs_no_key_and_gives_way_to_a_real_one(host):
    assert "placeholder" in avm_setup(host.name, "--sandbox")
    assert "sandbox" in path_of(host).read_text()
    avm_setup(host.name, key=KEY)
    assert '"sandbox"' not in path_of(host).read_text()


@pytest.mark.parametrize("name", ["claude-desktop", "lm-studio"])
def test_the_key_that_stands_in_the_file_is_the_one_that_is_told(name):
    """A real key spends money: no word may call it the sandbox's, and a new one takes the old one's place."""
    avm_setup(name, key=KEY)
    printed = avm_setup(name)
    assert KEY in path_of(HOSTS[name]).read_text()
    assert "videos are real" in printed
    assert "placeholders" not in printed
    assert '"sandbox"' not in printed
    assert KEY not in printed
    assert "yours stands in that file" in avm_setup(name, key="ak_the_new_one")
    assert '"ak_the_new_one"' in path_of(HOSTS[name]).read_text()
    assert "ak_the_new_one" not in avm_setup(name)
    assert "placeholders" in avm_setup(name, "--sandbox")


@every_json
def test_a_key_that_somebody_wrote_by_hand_is_said_to_stay(host):
    avm_setup(host.name)
    key = json.loads(path_of(host).read_text())
    for name in (*host.path_to_servers, "avm-mcp"):
        key = key[name]
    path = path_of(host)
    path.write_text(path.read_text().replace(json.dumps(key["env"]["AVM_API_KEY"]), f'"{KEY}"'))
    printed = avm_setup(host.name)
    assert KEY in path.read_text()
    assert "The key that stood in that file stays" in printed
    assert KEY not in printed


@every
def test_only_showing_changes_nothing(host, home, project):
    assert "avm-mcp" in avm_setup(host.name, "--print", "--sandbox")
    assert (everything(home), everything(project)) == ({}, {})
    avm_setup(host.name)
    before = path_of(host).read_bytes()
    avm_setup(host.name, "--remove", "--print")
    assert path_of(host).read_bytes() == before


@every
def test_a_desktop_program_gets_the_whole_path_and_a_shared_file_none(host, monkeypatch, tmp_path):
    program = tmp_path / "bin" / "avm-mcp"
    program.parent.mkdir()
    program.write_text("")
    monkeypatch.setattr("avm_mcp.cli.setup.sys.executable", str(program.with_name("python")))
    monkeypatch.setattr("avm_mcp.cli.setup.sys.argv", ["avm"])
    monkeypatch.setattr("avm_mcp.cli.setup.shutil.which", lambda _name: None)
    avm_setup(host.name)
    assert written(host)["command"] == ("avm-mcp" if host.in_project else str(program))


def test_a_bare_name_that_no_path_finds_is_said(monkeypatch, tmp_path):
    """`uv tool install` may put it into a folder that is not on the PATH."""
    monkeypatch.setattr(setup, "find_program", lambda: (str(tmp_path / "bin" / "avm-mcp"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"add {tmp_path / 'bin'} to PATH first" in avm_setup("claude-code")
    assert "PATH" not in avm_setup("cursor")


def test_a_copy_that_uvx_made_for_one_run_is_not_named(monkeypatch, tmp_path):
    program = tmp_path / "archive-v0" / "x" / "bin" / "avm-mcp"
    program.parent.mkdir(parents=True)
    program.write_text("")
    monkeypatch.setattr("avm_mcp.cli.setup.sys.executable", str(program.with_name("python")))
    monkeypatch.setattr("avm_mcp.cli.setup.sys.argv", ["avm"])
    monkeypatch.setattr("avm_mcp.cli.setup.shutil.which", lambda name: "/opt/uvx" if name == "uvx" else None)
    assert setup.find_program() == ("/opt/uvx", "avm-mcp")


# JSON


def others(host) -> dict:
    """A file in use: another server, and things that are none of our business."""
    content: dict = {"other": {"command": "x", "env": {"A": "ä"}}}
    for name in reversed(host.path_to_servers):
        content = {name: content}
    return {"theme": "dark", **content, "last": [1, 2.50, None]}


@every_json
@pytest.mark.parametrize("form", ["two", "four", "tabs", "windows", "mark", "no end"])
def test_what_else_is_in_the_file_stays_and_comes_back_to_the_byte(host, form):
    indent = {"four": 4, "tabs": "\t"}.get(form, 2)
    text = json.dumps(others(host), indent=indent, ensure_ascii=False) + ("" if form == "no end" else "\n")
    text = {"windows": text.replace("\n", "\r\n"), "mark": "\ufeff" + text}.get(form, text)
    path = filled(host, text)
    avm_setup(host.name)
    content = json.loads(path.read_bytes().decode("utf-8-sig"))
    assert {**content, host.path_to_servers[0]: None, "inputs": None} == {
        **others(host),
        host.path_to_servers[0]: None,
        "inputs": None,
    }
    assert path.with_name(path.name + ".before-avm").read_bytes() == text.encode()
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == (form == "mark")
    assert (b"\r\n" in path.read_bytes()) == (form == "windows")
    avm_setup(host.name, "--remove")
    assert everything(path.parent) == {path.name: text.encode()}


@every_json
def test_after_the_host_changed_its_file_only_our_entry_goes(host):
    path = filled(host, json.dumps(others(host), indent=2))
    avm_setup(host.name)
    changed = json.loads(path.read_text()) | {"theme": "light"}
    path.write_text(json.dumps(changed))
    avm_setup(host.name, "--remove")
    assert json.loads(path.read_text()) == others(host) | {"theme": "light"}


@every_json
def test_the_users_own_settings_in_our_entry_stay(host):
    avm_setup(host.name)
    path = path_of(host)
    content = json.loads(path.read_text())
    entry = content
    for name in (*host.path_to_servers, "avm-mcp"):
        entry = entry[name]
    entry["env"] |= {"AVM_OUTPUT_DIR": "/videos", "AVM_API_KEY": "mine"}
    entry |= {"disabled": True, "command": "old"}
    path.write_text(json.dumps(content))
    avm_setup(host.name)
    assert written(host)["env"] == {"AVM_OUTPUT_DIR": "/videos", "AVM_API_KEY": "mine"}
    assert written(host)["disabled"]
    assert written(host)["command"] != "old"


@every_json
@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"a": 1,}',
        "// a comment\n{}",
        "[]",
        '{"a": 1, "a": 2}',
        '{"mcpServers": [], "servers": 3, "mcp": []}',
        '{"mcpServers": {"avm-mcp": {"url": "https://x.example"}}, "servers": {"avm-mcp": 1}, '
        '"mcp": {"servers": {"avm-mcp": null, "avm-mcp": {}}}}',
        '{"mcpServers": {}, "a": 1e999}',
        '{"mcpServers": {}, "a": NaN}',
        '{"mcpServers": {}, "a": "\\ud83d"}',
        "[" * 5000,
        "\udcff",
    ],
)
@pytest.mark.parametrize("argv", [(), ("--print",)])
def test_a_file_that_is_not_understood_is_left_as_it_is(host, text, argv):
    path = path_of(host)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = everything(path.parent)
    with pytest.raises(AvmError, match="was left as it is") as refusal:
        avm_setup(host.name, *argv, key=KEY)
    assert "by hand" in str(refusal.value)
    assert KEY not in str(refusal.value)
    assert everything(path.parent) == before
    assert "file not readable" in avm_setup() or text.startswith('{"mcpServers": {')


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_stays_a_link_and_rights_stay(home):
    real = home / "dotfiles" / "mcp.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o640)
    path = path_of(HOSTS["cursor"])
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    avm_setup("cursor")
    assert path.is_symlink()
    assert "avm-mcp" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    avm_setup("cursor", "--remove")
    assert path.is_symlink()
    assert real.read_text() == "{}"


@pytest.mark.parametrize("argv", [(), ("--remove",)])
@every
def test_what_a_host_writes_meanwhile_is_not_written_over(host, argv, monkeypatch):
    """A host that runs writes its own file; what it wrote between our reading and our writing was lost."""
    path = filled(host, "{}" if host.form == "json" else "a: 1\n" if host.form == "yaml" else "a = 1\n")
    if argv:
        avm_setup(host.name)
    theirs = path.read_text() + "\n"
    make = tempfile.mkstemp

    def meanwhile(**where: object) -> tuple[int, str]:
        if ".before-avm" not in str(where["prefix"]):
            path.write_text(theirs)
        return make(**where)

    monkeypatch.setattr("avm_mcp.cli.setup.files.tempfile.mkstemp", meanwhile)
    with pytest.raises(AvmError, match="another program has just changed it"):
        avm_setup(host.name, *argv)
    assert path.read_text() == theirs
    assert not [one for one in path.parent.iterdir() if one.name.startswith(f".{path.name}.")]


@pytest.mark.skipif(os.name != "posix", reason="making links takes rights elsewhere")
@pytest.mark.parametrize("linked", [".lmstudio/mcp.json", ".lmstudio"])
def test_behind_a_link_our_file_goes_without_a_trace_too(home, tmp_path, linked):
    """P5: the key stands in it, so it is not the link that has to go; folders of dotfiles are links as well."""
    kept = tmp_path / "dotfiles"
    kept.mkdir()
    (home / linked).parent.mkdir(exist_ok=True)
    (home / linked).symlink_to(kept if linked == ".lmstudio" else kept / "lm.json")
    avm_setup("lm-studio", key=KEY)
    assert [KEY in path.read_text() for path in kept.iterdir()] == [True]
    avm_setup("lm-studio", "--remove")
    assert list(kept.iterdir()) == []
    assert (home / linked).is_symlink()


def test_vs_code_asks_for_the_key_once():
    avm_setup("vscode")
    content = json.loads(path_of(HOSTS["vscode"]).read_text())
    assert content["servers"]["avm-mcp"]["env"] == {"AVM_API_KEY": "${input:avm-key}"}
    assert [one["id"] for one in content["inputs"]] == ["avm-key"]
    assert content["inputs"][0]["password"]


# TOML and YAML

CODEX = '# mine\nmodel = "m"\n\n[mcp_servers.other]\ncommand = "x"\n'


@pytest.mark.parametrize("text", [CODEX, CODEX.rstrip("\n"), 'model = "m"', "\n"])
def test_codex_keeps_its_file_and_its_comments(text):
    path = filled(HOSTS["codex"], text)
    avm_setup("codex")
    content = tomllib.loads(path.read_text())
    ours = content["mcp_servers"].pop("avm-mcp")
    assert ours["env_vars"] == ["AVM_API_KEY"]
    assert "env" not in ours
    assert {k: v for k, v in content.items() if v} == tomllib.loads(text)
    assert path.read_text().startswith(text.rstrip())
    avm_setup("codex", "--sandbox")
    assert tomllib.loads(path.read_text())["mcp_servers"]["avm-mcp"]["env"] == {"AVM_API_KEY": "sandbox"}
    avm_setup("codex", "--remove")
    assert everything(path.parent) == {"config.toml": text.encode()}


@pytest.mark.parametrize("text", [CODEX, "\n"])
def test_what_codex_has_added_since_stays(text):
    """It adds tables of its own, as for a feature or a trusted folder, and what a person allows to our tools."""
    path = filled(HOSTS["codex"], text)
    avm_setup("codex")
    theirs = '\n[features]\nx = true\n\n[projects."/a"]\ntrust_level = "trusted"\nlist = [\n  [1],\n]\n'
    about_us = '\n[mcp_servers.avm-mcp.tools.get_task]\napproval_mode = "approve"\n'
    path.write_text(path.read_text() + theirs + about_us)
    avm_setup("codex", "--sandbox")
    content = tomllib.loads(path.read_text())
    assert content["features"] == {"x": True}
    assert content["projects"]["/a"]["list"] == [[1]]
    assert content["mcp_servers"]["avm-mcp"]["tools"] == {"get_task": {"approval_mode": "approve"}}
    avm_setup("codex", "--remove")
    assert tomllib.loads(path.read_text()) == tomllib.loads(text + theirs)


def test_codex_may_have_other_servers_further_down():
    text = CODEX + "\n[features]\nx = true\n\n[mcp_servers.third]\nurl = 'https://x.example'\n"
    path = filled(HOSTS["codex"], text)
    avm_setup("codex")
    content = tomllib.loads(path.read_text())
    assert set(content["mcp_servers"]) == {"other", "third", "avm-mcp"}
    path.write_text(path.read_text().replace("x = true", "x = false"))
    avm_setup("codex", "--remove")
    assert tomllib.loads(path.read_text()) == tomllib.loads(text.replace("x = true", "x = false"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("codex", '# mine\n[mcp_servers.avm-mcp]\ncommand = "mine"\nenabled = false # for now\n'),
        ("goose", 'extensions:\n  avm-mcp:\n    cmd: mine\n    enabled: false\n\n    # next\nlast: "1"\n'),
    ],
)
def test_an_entry_that_another_hand_wrote_is_brought_up_to_date(name, text):
    """As in the files that are JSON: how we are started is ours, further settings are the user's."""
    path = filled(HOSTS[name], text)
    avm_setup(name)
    assert written(HOSTS[name])["command"] != "mine"
    assert re.search(r"enabled(:| =) false", path.read_text())
    path.write_text(path.read_text().replace('"avm-mcp"\n', "'avm-mcp' # still us\n"))
    assert "nothing to change" in avm_setup(name)
    avm_setup(name, "--remove")
    assert "avm-mcp" not in path.read_text()
    assert "mine" not in path.read_text() or name == "codex"


@pytest.mark.parametrize(
    "text", ["a = ", "mcp_servers = 3", "mcp_servers = {}", '[mcp_servers.avm-mcp]\nurl = "mine"\n', "a=1\na=2"]
)
def test_codex_is_left_alone_where_it_is_not_sure(text):
    path = filled(HOSTS["codex"], text)
    with pytest.raises(AvmError, match="was left as it is"):
        avm_setup("codex")
    assert everything(path.parent) == {"config.toml": text.encode()}


GOOSE = "GOOSE_MODEL: m\nextensions:\n  developer:\n    enabled: true\n    type: builtin\nlast: 1\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOSE,
        GOOSE.replace("  ", "    "),
        GOOSE.replace("last: 1\n", ""),
        "a: 1\nextensions: {}\n",
        "a: 1\nextensions:\nlast: 1\n",
        "a: 1",
        GOOSE.replace("extensions:\n", "extensions: # mine\n\n  # and this\n"),
        GOOSE.replace("extensions:\n", "extensions:\n\n").replace("  ", "    ").replace("\n", "\r\n"),
        "list:\n- a\n" + GOOSE,
    ],
)
def test_goose_keeps_its_file(text):
    path = filled(HOSTS["goose"], text)
    avm_setup("goose")
    lines = path.read_text().splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("extensions:"))
    at = next(number for number, line in enumerate(lines) if line.endswith(" avm-mcp:"))
    assert not [line for line in lines[head + 1 : at] if line.strip() and not line.lstrip().startswith("#")]
    indent = lines[at].removesuffix("avm-mcp:")
    assert not indent.strip()
    assert all(line.startswith(indent) for line in lines[at : at + 3])
    after = next((at for at in range(at + 1, len(lines)) if not lines[at].startswith(f"{indent} ")), len(lines))
    assert "\n".join(lines[:at] + lines[after:]).startswith(text.replace("\r\n", "\n").replace(" {}", "").strip())
    if "developer" in text:
        assert f"{indent}developer:" in lines
    assert "nothing to change" in avm_setup("goose")
    avm_setup("goose", "--remove")
    assert everything(path.parent) == {"config.yaml": text.encode()}


@pytest.mark.parametrize(
    "text",
    [
        *("extensions: {a: {}}\n", "a: 1\n---\nb: 1\n", "extensions:\n\ta: 1\n"),
        "extensions:\n  avm-mcp:\n    uri: mine\n",
        # With a table of ours behind it none of these would be YAML any more, or it would have two tables of one name.
        *("{}\n", "{extensions: {}}\n", "[]\n", " a: 1\n", "\ufeff" + GOOSE),
    ],
)
def test_goose_is_left_alone_where_it_is_not_sure(text):
    path = filled(HOSTS["goose"], text)
    with pytest.raises(AvmError, match="was left as it is"):
        avm_setup("goose")
    assert everything(path.parent) == {"config.yaml": text.encode()}


# The verb


def test_alone_it_lists_the_hosts_of_this_machine(home):
    (home / ".cursor").mkdir()
    avm_setup("codex")
    rows = {row["host"]: row["state"] for row in json.loads(avm_setup("--json"))["hosts"]}
    assert rows["cursor"] == "found"
    assert rows["codex"] == "set up"
    assert set(rows) == set(HOSTS)


def test_an_unknown_host_is_refused_with_the_known_ones(capsys):
    assert run("avm", ["setup", "emacs", "--json"]) == exits.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert "cursor" in error["allowed"]


def test_the_demo_ends_with_commands_that_work(tmp_path, monkeypatch):
    monkeypatch.setattr("avm_mcp.cli.demo.sys.executable", str(tmp_path / "python"))
    for there, name in ((False, "avm"), (True, str(tmp_path / "avm"))):
        if there:
            (tmp_path / "avm").write_text("")
        commands = re.findall(rf"{re.escape(name)} (setup[ a-z-]*?)(?= lists| is)", demo._next())
        assert commands == ["setup", "setup claude-desktop --sandbox"]
        for command in commands:
            args = build_parser("avm").parse_args(command.split())
            assert args.host is None or args.host in HOSTS


def test_a_file_that_cannot_be_written_is_one_line(home, capsys):
    (home / ".cursor").write_text("a file where a folder should be")
    assert run("avm", ["setup", "cursor"]) == exits.USAGE
    assert "was left as it is" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="modes as POSIX has them")
@pytest.mark.parametrize("name", ["claude-desktop", "lm-studio"])
def test_a_file_that_others_could_read_is_its_owners_once_a_key_stands_in_it(name):
    """P5: hosts make their files 0644; the copy of it as it was may hold a key too."""
    host = HOSTS[name]
    path = filled(host, json.dumps(others(host)))
    path.chmod(0o644)
    avm_setup(name, "--sandbox")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "no secret, no change"
    avm_setup(name, key=KEY)
    assert KEY in path.read_text()
    backup = path.with_name(path.name + ".before-avm")
    assert [stat.S_IMODE(file.stat().st_mode) for file in (path, backup)] == [0o600, 0o600]
    path.chmod(0o644)
    assert "now only you can" in avm_setup(name, key=KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
