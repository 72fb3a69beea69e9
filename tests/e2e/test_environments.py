# ruff: noqa: E501 - a table is read by its rows
"""Whatever the environment: the handshake, `get_account` and `avm doctor` answer, in words, and nothing is a traceback.

Each row of the table is one environment. A dozen run by default; AVM_FULL=1 runs them all, and `-rP` shows the table.
"""

import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.e2e.gateways import PASSWORD, USER, Gateways, gateways
from tests.e2e.workspace import AVM, FAST, Workspace, open_workspace, program, side_by_side

pytestmark = [pytest.mark.process, pytest.mark.skipif(os.name != "posix", reason="environments as POSIX has them")]

FULL = bool(os.environ.get("AVM_FULL"))
SECRET = "ak_c0ffee0123456789abcdef"
NOBODY = 65534

# Nobody's number for who asks who runs it, with root's rights to read the interpreter; and root without root's rights.
NAMELESS = (sys.executable, "-c", "import os, sys; os.setreuid(54321, 0); os.execv(sys.argv[1], sys.argv[1:])")
POWERLESS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")

OK, NC, SU, UP = "ok", "NOT_CONFIGURED", "STATE_UNAVAILABLE", "UPSTREAM_UNAVAILABLE"


@dataclass(frozen=True)
class Row:
    """One environment.

    Attributes:
        name: As the table shows it.
        environ: Variables; `{folder}`, `{ca}`, `{http}`, `{socks}` and `{strict}` are filled in, None takes one away.
        answer: What `get_account` comes to: ok, or the code of its error.
        says: What the answer and doctor name.
        far: The service has its public name, which is reached through a proxy only.
        doctor: Exit codes of `avm doctor` that are right.
        small: Runs by default.
        before: Prepares the folder.
        under: What starts it.
        gone: The working folder is deleted once the process runs.
    """

    name: str
    environ: Mapping[str, str | None] = field(default_factory=dict)
    answer: str = OK
    says: tuple[str, ...] = ()
    far: bool = False
    doctor: tuple[int, ...] = (0,)
    small: bool = False
    before: Callable[[Path], None] | None = None
    under: tuple[str, ...] = ()
    gone: bool = False


def newer(folder: Path) -> None:
    (folder / "state").mkdir()
    with sqlite3.connect(folder / "state" / "journal.db") as file:
        file.execute("PRAGMA user_version = 9999")
    file.close()


def damaged(folder: Path) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "journal.db").write_bytes(b"no database at all" * 400)


def locked_away(folder: Path) -> None:
    (folder / "state").mkdir(mode=0o700)
    os.chown(folder / "state", NOBODY, NOBODY)


def a_file(folder: Path) -> None:
    (folder / "state").write_text("")


def empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def garbage(folder: Path) -> None:
    (folder / "garbage").write_text("not a certificate\n")
    (folder / "nothing").write_text("")


def bad(name: str, environ: Mapping[str, str | None], *says: str, **how: Any) -> Row:
    """A setting that is refused: every call says which."""
    return Row(name, environ, NC, says, doctor=(2,), **how)


HOMELESS = {"AVM_STATE_DIR": None, "AVM_OUTPUT_DIR": None}
CA = {"SSL_CERT_FILE": "{ca}"}
THROUGH = {"ALL_PROXY": "socks5://127.0.0.1:{socks}"}

ROWS = (
    Row("nothing special", small=True),
    # proxies
    Row("https through an HTTP proxy", CA | {"HTTPS_PROXY": "http://127.0.0.1:{http}"}, far=True),
    Row("the same in small letters", CA | {"https_proxy": "http://127.0.0.1:{http}"}, far=True),
    Row("a proxy without a scheme", CA | {"HTTPS_PROXY": "127.0.0.1:{http}"}, far=True),
    Row("a proxy with a password", CA | {"HTTPS_PROXY": f"http://{USER}:{PASSWORD}@127.0.0.1:{{http}}"}, far=True),
    Row("SOCKS5", CA | THROUGH, far=True, small=True),
    Row("SOCKS5 with remote names", CA | {"ALL_PROXY": "socks5h://127.0.0.1:{socks}"}, far=True),
    Row("SOCKS5 with a password", CA | {"ALL_PROXY": f"socks5://{USER}:{PASSWORD}@127.0.0.1:{{strict}}"}, far=True),
    Row(
        "SOCKS5 with a wrong password",
        CA | {"ALL_PROXY": f"socks5://{USER}:hunter3wrong@127.0.0.1:{{strict}}"},
        UP, ("proxy",), far=True, doctor=(6,),
    ),
    Row("an HTTP proxy that is down", CA | {"HTTPS_PROXY": "http://127.0.0.1:1"}, UP, far=True, doctor=(6,)),
    Row("a SOCKS proxy that is down", CA | {"ALL_PROXY": "socks5://127.0.0.1:1"}, UP, far=True, doctor=(6,)),
    bad("SOCKS4", {"ALL_PROXY": "socks4://127.0.0.1:7890"}, "ALL_PROXY", "socks4", "socks5", far=True, small=True),
    bad("an unknown proxy scheme", {"HTTPS_PROXY": f"vmess://{USER}:{PASSWORD}@h:1"}, "HTTPS_PROXY", "vmess", far=True),
    bad("a proxy with an open bracket", {"HTTPS_PROXY": f"http://{USER}:{PASSWORD}@[::1"}, "HTTPS_PROXY", far=True),
    bad("a proxy whose port is a word", {"https_proxy": "http://h:port"}, "https_proxy", "h:port", far=True),
    bad("a proxy without a host", {"ALL_PROXY": "http://"}, "ALL_PROXY", far=True),
    bad("a proxy that is prose", {"ALL_PROXY": "see the wiki"}, "ALL_PROXY", "see the wiki", far=True),
    bad("a bad HTTP_PROXY beside a good one", THROUGH | {"http_proxy": "gopher://x"}, "http_proxy", far=True),
    Row("a bad NO_PROXY", CA | THROUGH | {"NO_PROXY": "[::1,http://[,*x*,%%,\x7f, ,//"}, far=True, small=True),
    Row("SOCKS for others, the service on this machine", {"ALL_PROXY": "socks5://127.0.0.1:7890"}),
    Row("a bad proxy that is not used", {"ALL_PROXY": "socks4://127.0.0.1:7890", "SSL_CERT_FILE": "/nowhere"}),
    # certificates
    bad("SSL_CERT_FILE leads nowhere", THROUGH | {"SSL_CERT_FILE": "/no/ca.pem"}, "SSL_CERT_FILE", "/no/ca.pem", far=True, small=True),
    bad("SSL_CERT_FILE is garbage", THROUGH | {"SSL_CERT_FILE": "{folder}/garbage"}, "SSL_CERT_FILE", far=True, before=garbage),
    bad("SSL_CERT_FILE is empty", THROUGH | {"SSL_CERT_FILE": "{folder}/nothing"}, "SSL_CERT_FILE", far=True, before=garbage),
    bad("SSL_CERT_FILE is a folder", THROUGH | {"SSL_CERT_FILE": "{folder}"}, "SSL_CERT_FILE", far=True),
    bad("SSL_CERT_DIR leads nowhere", THROUGH | {"SSL_CERT_DIR": "/no/certs"}, "SSL_CERT_DIR", "/no/certs", far=True),
    bad("SSL_CERT_DIR is a file", THROUGH | {"SSL_CERT_DIR": "{folder}/garbage"}, "SSL_CERT_DIR", far=True, before=garbage),
    bad("SSL_CERT_DIR is empty", THROUGH | {"SSL_CERT_DIR": "{folder}/empty"}, "SSL_CERT_DIR", far=True, before=empty_folder),
    bad("SSLKEYLOGFILE leads nowhere", CA | THROUGH | {"SSLKEYLOGFILE": "/no/keys"}, "SSLKEYLOGFILE", far=True),
    Row("nobody vouches for the service", THROUGH, UP, ("certificate",), far=True, doctor=(6,)),
    Row("a bundle for other programs", {"REQUESTS_CA_BUNDLE": "/nowhere", "CURL_CA_BUNDLE": "/nowhere"}),
    # locales
    Row("LC_ALL=C", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    Row("a locale that is not there", {"LC_ALL": "xx_YY.bogus", "LANG": "??"}),
    Row("Latin-1", {"LANG": "de_DE.ISO-8859-1", "PYTHONIOENCODING": "latin-1"}),
    Row("ASCII streams", {"PYTHONIOENCODING": "ascii:strict"}),
    Row("no time zone of this world", {"TZ": "Nowhere/At_All"}),
    Row("a strange terminal", {"TERM": "", "COLUMNS": "wide", "NO_COLOR": "1", "FORCE_COLOR": "yes"}),
    # homes and folders
    Row("no HOME", HOMELESS | {"HOME": None, "XDG_STATE_HOME": "{folder}/xdg"}),
    Row("no HOME and no name", HOMELESS | {"HOME": None, "XDG_STATE_HOME": "{folder}/xdg"}, under=NAMELESS, small=True),
    Row("a HOME that is not there", HOMELESS | {"HOME": "{folder}/no/home"}),
    Row("a HOME that cannot be written", HOMELESS | {"HOME": "/proc/1"}, doctor=(9,)),
    Row("a relative HOME", HOMELESS | {"HOME": "home"}, doctor=(0, 9)),
    Row("a HOME that is no text", HOMELESS | {"HOME": "{folder}/\udce9"}, doctor=(0, 9)),
    Row("a strange XDG", HOMELESS | {"XDG_STATE_HOME": "rel", "XDG_VIDEOS_DIR": "\udce9"}, doctor=(0, 9)),
    Row("TMPDIR is gone", {"TMPDIR": "/no/tmp"}),
    Row("TMPDIR cannot be written", {"TMPDIR": "/proc", "TMP": "/proc", "TEMP": "/proc"}),
    Row("the working folder is gone", gone=True, small=True),
    # settings
    Row("AVM_LOG_LEVEL=debug", {"AVM_LOG_LEVEL": "debug"}, small=True),
    Row("Off, FALSE, no", {"AVM_WORKER": "Off", "AVM_NOTIFY": "FALSE", "AVM_SAVE": "no", "AVM_FAST_START": "No"}),
    Row("ON, true, 1", {"AVM_NOTIFY": "ON", "AVM_SAVE": "true", "AVM_FAST_START": "1"}),
    Row("quotes and blanks", {"AVM_API_KEY": ' "ak_quoted_0123" ', "AVM_SAVE": "'all'", "AVM_STATE_DIR": '"{folder}/st"'}),
    bad("AVM_LOG_LEVEL=LOUD", {"AVM_LOG_LEVEL": "LOUD"}, "AVM_LOG_LEVEL", "LOUD", "DEBUG", small=True),
    bad("a cap in words", {"AVM_MAX_CREDITS_PER_DAY": "ten"}, "AVM_MAX_CREDITS_PER_DAY", "ten", "whole number"),
    bad("a cap that was not filled in", {"AVM_MAX_CREDITS_PER_DAY": "${CAP}"}, "AVM_MAX_CREDITS_PER_DAY", "${CAP}"),
    bad("a folder that is relative", {"AVM_OUTPUT_DIR": "videos"}, "AVM_OUTPUT_DIR", "videos", "absolute"),
    bad("an address without TLS", {"AVM_BASE_URL": f"http://{USER}:{PASSWORD}@h"}, "AVM_BASE_URL", "https"),
    bad("a key in the wrong line", {"AVM_EGRESS_ID": SECRET * 6}, "AVM_EGRESS_ID", "100"),
    bad("two wrong at once", {"AVM_SAVE": "perhaps", "AVM_WORKER": "later"}, "AVM_SAVE", "perhaps", "AVM_WORKER", "later"),
    bad("$AVM_API_KEY", {"AVM_API_KEY": "$AVM_API_KEY"}, "AVM_API_KEY", "$AVM_API_KEY", "https://aivideomaker.ai", small=True),
    bad("${AVM_API_KEY}", {"AVM_API_KEY": "${AVM_API_KEY}"}, "AVM_API_KEY", "${AVM_API_KEY}"),
    bad("%AVM_API_KEY%", {"AVM_API_KEY": "%AVM_API_KEY%"}, "AVM_API_KEY", "%AVM_API_KEY%"),
    bad("YOUR_API_KEY", {"AIVIDEO_API_KEY": "YOUR_API_KEY", "AVM_API_KEY": None}, "AIVIDEO_API_KEY", "YOUR_API_KEY"),
    bad("<your key>", {"AVM_API_KEY": "<your key>"}, "AVM_API_KEY", "<your key>"),
    bad("a key of two words", {"AVM_API_KEY": f"{SECRET} {SECRET}"}, "AVM_API_KEY"),
    Row("no key", {"AVM_API_KEY": None}, OK, ("API key",), doctor=(3,)),
    # the state
    Row("a journal of a newer version", {}, SU, ("newer version", "9999"), doctor=(9,), before=newer, small=True),
    Row("a damaged journal", {}, OK, doctor=(0,), before=damaged),
    Row("a file where the state folder should be", {}, OK, doctor=(0,), before=a_file),
    Row("a state folder of somebody else", {}, OK, doctor=(0, 9), before=locked_away, under=POWERLESS),
    # what the interpreter and the libraries read
    Row("every warning is an error", {"PYTHONWARNINGS": "error"}),
    Row("development mode", {"PYTHONDEVMODE": "1", "PYTHONOPTIMIZE": "2"}),
    Row("telemetry of another program", {"OTEL_PROPAGATORS": "nobody"}, "INTERNAL", ("nobody",), doctor=(3,), small=True),
    Row("more of it", {"OTEL_PYTHON_CONTEXT": "nobody", "OTEL_SDK_DISABLED": "?", "OTEL_TRACES_EXPORTER": "x"}),
    Row("settings of other servers", {"FASTMCP_LOG_LEVEL": "loud", "MCP_DEBUG": "maybe", "UVICORN_PORT": "x", "PORT": "x"}),
)  # fmt: skip

CHOSEN = ROWS if FULL else tuple(row for row in ROWS if row.small)


@dataclass
class Cells:
    """What one environment came to."""

    handshake: str = "-"
    account: str = "-"
    doctor: str = "-"
    wrong: list[str] = field(default_factory=list)


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with open_workspace(tmp_path, FAST) as workspace:
        yield workspace


def environ(row: Row, workspace: Workspace, ways: Gateways) -> dict[str, str]:
    given = workspace.environ(AVM_BASE_URL=ways.url) if row.far else workspace.environ()
    given = {name: text for name, text in given.items() if "proxy" not in name.lower() and not name.startswith("SSL")}
    if row.far:
        given |= {"AVM_CONNECT_TIMEOUT": "5", "AVM_READ_TIMEOUT": "5"}
    words = {
        "{folder}": str(workspace.folder),
        "{ca}": str(ways.authority),
        "{http}": str(ways.http_port),
        "{socks}": str(ways.socks_port),
        "{strict}": str(ways.strict_port),
    }
    for name, text in row.environ.items():
        if text is None:
            given.pop(name, None)
            continue
        for word, value in words.items():
            text = text.replace(word, value)
        given[name] = text
    return given


def started(row: Row, argv: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Return the command; one whose folder is to be gone is started by a shell that stands in it."""
    if not row.gone:
        return (*row.under, *argv)
    (folder / "gone").mkdir(exist_ok=True)
    return ("/bin/sh", "-c", f'cd "{folder}/gone" && rmdir "{folder}/gone" && exec "$@"', "sh", *argv)


async def talked(row: Row, workspace: Workspace, given: Mapping[str, str], cells: Cells) -> str:
    """Shake hands, ask for the account; return everything that was said."""
    argv = started(row, (sys.executable, "-m", "avm_mcp"), workspace.folder)
    err = workspace.folder.parent / f"{workspace.folder.name}.err"
    printed: list[Any] = []
    ask = [
        ("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        ("tools/list", {}),
        ("tools/call", {"name": "get_account", "arguments": {}}),
    ]  # fmt: skip
    lines = [{"jsonrpc": "2.0", "id": at, "method": name, "params": params} for at, (name, params) in enumerate(ask)]
    lines.insert(1, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    async with program(argv, given, err=err, cwd=workspace.folder) as process:
        with anyio.move_on_after(40), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await process.stdin.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            pending = b""
            while len(printed) < 3:
                while b"\n" not in pending:
                    pending += await process.stdout.receive()
                line, _, pending = pending.partition(b"\n")
                printed.append(json.loads(line))
    answers = {one["id"]: one for one in printed}
    cells.handshake = "ok" if {0, 1} <= answers.keys() and len(answers[1]["result"]["tools"]) == 8 else "NO ANSWER"
    if 2 in answers:
        result = answers[2].get("result", {"structuredContent": {"error": {"code": str(answers[2].get("error"))}}})
        found = result["structuredContent"]
        cells.account = found["error"]["code"] if "error" in found else "ok"
    else:
        cells.account = "NO ANSWER"
    return json.dumps(answers.get(2, ""), ensure_ascii=False) + err.read_text(errors="replace")


async def examined(row: Row, workspace: Workspace, given: Mapping[str, str], cells: Cells) -> str:
    argv = started(row, (*AVM, "doctor"), workspace.folder)
    with anyio.fail_after(60):
        done = await anyio.run_process(argv, env=given, check=False, cwd=workspace.folder)
    cells.doctor = str(done.returncode)
    return (done.stdout + done.stderr).decode(errors="replace")


async def tried(row: Row, workspace: Workspace, ways: Gateways) -> Cells:
    cells = Cells()
    if row.before is not None:
        row.before(workspace.folder)
    given = environ(row, workspace, ways)
    reply = await talked(row, workspace, given, cells)
    shown = await examined(row, workspace, given, cells)
    wrong = cells.wrong
    if cells.handshake != "ok":
        wrong.append("no handshake")
    if cells.account != row.answer:
        wrong.append(f"get_account: {cells.account} instead of {row.answer}: {reply[-600:]}")
    if int(cells.doctor) not in row.doctor:
        wrong.append(f"doctor: exit {cells.doctor} instead of {row.doctor}: {shown[-900:]}")
    for kind, text in (("answer", reply), ("doctor", shown)):
        wrong += [f"{kind} does not say {word}: {text[-600:]}" for word in row.says if word.lower() not in text.lower()]
        wrong += [f"{kind} tells a secret" for secret in (PASSWORD, SECRET, "hunter3wrong") if secret in text]
        if "Traceback" in text:
            wrong.append(f"{kind}: a traceback: {text[-1500:]}")
    if "What to do" not in shown and "All is well" not in shown:
        wrong.append(f"doctor has no end: {shown[-600:]}")
    return cells


@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() != 0, reason="some rows are other users'")
async def test_whatever_the_environment_every_call_and_doctor_answer(workspace, tmp_path):
    """P7: the server stays up, and what is wrong with the environment is named where somebody reads it."""
    async with gateways(tmp_path, workspace.url) as ways:
        found = await side_by_side(
            [lambda row=row, at=at: tried(row, workspace.mine(f"e{at}"), ways) for at, row in enumerate(CHOSEN)]
        )
        asked = list(ways.asked)
    _shown(found)
    wrong = [f"{row.name}: {what}" for row, cells in zip(CHOSEN, found, strict=True) for what in cells.wrong]
    assert not wrong, "\n".join(wrong)
    assert {kind for kind, _ in asked} == {"name"}, "whoever goes through a SOCKS proxy looks no name up here"


def _shown(found: list[Cells]) -> None:
    print(f"\n{'environment':<46} {'handshake':<10} {'get_account':<21} doctor")
    for row, cells in zip(CHOSEN, found, strict=True):
        print(
            f"{row.name:<46} {cells.handshake:<10} {cells.account:<22} exit {cells.doctor}{'  WRONG' if cells.wrong else ''}"
        )
    bad = sum(1 for cells in found if cells.wrong)
    print(f"{len(found)} environments, {sum(len(cells.wrong) for cells in found)} things wrong, in {bad} of them")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"AVM_LOG_LEVEL": "LOUD"}, "LOUD"),
        ({"AVM_BASE_URL": "https://api.avm.test", "ALL_PROXY": "socks4://h:1"}, "socks4"),
    ],
    ids=["setting", "proxy"],
)
async def test_over_http_it_starts_and_answers_with_what_is_wrong(workspace, given, names):
    """P7: a supervisor sees a server that is up and not ready, and why; a caller is told at each call."""
    argv = (*AVM, "serve", "--port", "0", "--json")
    async with (
        program(argv, workspace.environ(**given), err=workspace.folder / "serve.err") as process,
        httpx2.AsyncClient() as http,
    ):
        with anyio.fail_after(30):
            url = json.loads(await process.stdout.receive())["url"]
        ready = await http.get(url.removesuffix("/mcp") + "/readyz", timeout=30)
        assert ready.status_code == 503
        assert names in ready.json()["why"]
        assert (await http.get(url.removesuffix("/mcp") + "/healthz")).status_code == 200
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_account", "arguments": {}}}
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
        answer = await http.post(url, json=body, headers=headers, timeout=30)
    assert "NOT_CONFIGURED" in answer.text
    assert names in answer.text
    assert "Traceback" not in (workspace.folder / "serve.err").read_text()
