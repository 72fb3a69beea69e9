"""The terminal in virtual time: commands, exit codes, signals, and what a help text imports."""

import io
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from PIL import Image

from avm_mcp import cli
from avm_mcp.cli import bars, doctor, entry, exits, servers, tasks, videos, worker_status
from avm_mcp.cli.doctor import examine
from avm_mcp.cli.parser import COMMANDS, Usage, build_parser, given, read
from avm_mcp.cli.signals import Stopped
from avm_mcp.cli.tasks import Session
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain import errors
from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.job import UNKNOWN
from avm_mcp.jobs.views import Progress
from avm_mcp.presentation import arguments
from avm_mcp.presentation.audience import MODEL_AUDIENCE, SHELL_AUDIENCE, Place
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.presentation.parameters import PARAMETERS
from avm_mcp.presentation.task import build_task, format_task
from avm_mcp.sandbox import faults
from tests.stack import KEY


class Reply:
    """What a command came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def fields(self):
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


async def avm(stack, *argv, stop=None, **environ) -> Reply:
    """Run one command as `avm` would, on a runtime of its own."""
    args = build_parser("avm").parse_args(argv)
    terminal = Terminal(io.StringIO(), io.StringIO(), args.json)
    command = COMMANDS[args.command]
    async with stack.runtime(**environ) as runtime:
        try:
            checked = arguments.read(command.tool, given(command, args))
        except AvmError as error:
            terminal.refuse(error)
            code = exits.of_error(error)
        else:
            code = await Session(runtime, terminal, stop or anyio.Event()).run(checked)
    return Reply(code, terminal.out.getvalue(), terminal.err.getvalue())


def picture(path: Path, size=(640, 360)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "navy").save(path)
    return path


# --- the parser ---


def test_every_parameter_of_every_tool_can_be_typed():
    shown = {command.tool: command for command in COMMANDS.values() if command.tool}
    assert set(shown) == set(PARAMETERS)
    for tool, command in shown.items():
        help_text = " ".join(
            build_parser("avm")._subparsers._group_actions[0].choices[command.name].format_help().split()
        )
        for parameter in PARAMETERS[tool]:
            flag = {"wait_seconds": "--wait"}.get(parameter.name, "--" + parameter.name.replace("_", "-"))
            assert flag in help_text or parameter.name in command.positionals
            assert all(str(word) in help_text for word in (*parameter.words, *parameter.numbers))


def test_no_help_text_speaks_of_the_user_to_the_user():
    for command in build_parser("avm")._subparsers._group_actions[0].choices.values():
        assert "the user" not in " ".join(command.format_help().split())


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["text-to-video", "2001"], {"prompt": "2001"}),
        (
            ["text-to-video", "a", "--duration", "8s", "--wait", "0"],
            {"prompt": "a", "duration": "8s", "wait_seconds": 0},
        ),
        (["image-to-video", "a.png"], {"image": "a.png"}),
        (["image-to-video", "a.png", "it moves", "--take", "2"], {"image": "a.png", "prompt": "it moves", "take": 2}),
        (["long-video", "a.png", "one", "two"], {"image": "a.png", "prompts": ["one", "two"]}),
        (["get", "ck1", "--wait", "5"], {"task_id": "ck1", "wait_seconds": 5}),
        (["list", "--status", "active"], {"status": "active"}),
        (["quote", "lv", "--segments", "2"], {"model": "lv", "segments": 2}),
        (["account"], {}),
    ],
)
def test_a_command_line_becomes_the_arguments_of_a_tool(argv, wanted):
    args = build_parser("avm").parse_args(argv)
    assert given(COMMANDS[args.command], args) == wanted


@pytest.mark.parametrize(
    "argv", [["download"], ["get"], ["list", "--limits", "3"], ["sandbox", "--port", "x"], ["--lis"]]
)
def test_what_cannot_be_read_is_one_line_and_exit_2(argv, capsys):
    assert entry.run("avm", argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--help" in err


@pytest.mark.parametrize("command", ["serve", "sandbox"])
@pytest.mark.parametrize("port", ["65536", "99999", "-1", "1e3", "x", "9" * 5000])
def test_what_is_no_port_is_bad_usage_and_never_another_port(command, port, monkeypatch, capsys):
    """The system takes 99999 for 34463, so the server would listen on a port that nobody expects."""
    monkeypatch.setattr(entry, "_RUNNERS", {})
    assert entry.run("avm", [command, f"--port={port}"]) == exits.USAGE
    assert "allowed: 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [("save", "ck_nobody", "--to"), ("demo", "--out")])
@pytest.mark.parametrize("folder", ["~nobody-here/videos", "/videos/caf\udce9"])
def test_what_is_no_folder_is_bad_usage_and_no_bug(argv, folder, monkeypatch, capsys):
    monkeypatch.setattr(entry, "_RUNNERS", {})
    assert entry.run("avm", [*argv, folder]) == exits.USAGE
    assert "no path that can be named" in capsys.readouterr().err
    assert read(build_parser("avm"), [*argv, "~/videos"]) is not None


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_what_is_no_speed_is_bad_usage(speed, monkeypatch, capsys):
    monkeypatch.setattr(entry, "_RUNNERS", {})
    assert entry.run("avm", ["sandbox", f"--speed={speed}"]) == exits.USAGE
    assert "a number above 0" in capsys.readouterr().err


def test_usage_errors_are_json_too(capsys):
    assert entry.run("avm", ["get", "--json"]) == 2
    reply = json.loads(capsys.readouterr().out)
    assert reply["error"]["code"] == "INVALID_INPUT"
    with pytest.raises(Usage):
        build_parser("avm").parse_args(["get"])


@pytest.mark.parametrize("program", [cli.main, cli.server_main])
def test_an_interrupt_while_modules_load_is_no_traceback(program, monkeypatch):
    class Interrupted:
        def find_spec(self, name, *_given):
            if name == "avm_mcp.cli.entry":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["avm", "--version"])
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "avm_mcp.cli.entry")
    monkeypatch.delattr(cli, "entry")
    assert program() == 130


def test_json_may_stand_before_the_command(capsys, monkeypatch):
    monkeypatch.setenv("AVM_API_KEY", "")
    assert entry.run("avm", ["--json", "quote", "t2v"]) == 0
    assert json.loads(capsys.readouterr().out)["credits"] == 15
    assert entry.run("avm", ["--version", "--json"]) == 0
    assert "version" in json.loads(capsys.readouterr().out)
    assert entry.run("avm", ["--json"]) == 2
    assert "goes with a command" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_bare_avm_prints_help_with_every_exit_code(capsys):
    assert entry.run("avm", []) == 0
    out = capsys.readouterr().out
    assert all(f"  {code:>3}  " in out for code in exits.MEANINGS)
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("program", ["avm", "avm-mcp"])
def test_both_names_tell_the_version(program, capsys):
    assert entry.run(program, ["--version"]) == 0
    assert capsys.readouterr().out.startswith("avm-mcp ")


def test_a_bad_setting_is_one_line_that_names_it_and_exit_2(monkeypatch, capsys):
    monkeypatch.setenv("AVM_BASE_URL", "http://example.com")
    for program, argv in (("avm-mcp", ["list"]), ("avm", ["list"]), ("avm", ["get", "x"]), ("avm", ["setup"])):
        assert entry.run(program, argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert 'AVM_BASE_URL is "http://example.com", which cannot be used: allowed is an https URL' in err


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["list", "--help"], ["text-to-video", "--help"], ["--version"]],
)
def test_a_help_text_imports_nothing_heavy(argv):
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom avm_mcp.cli import entry\n"
        f"try: entry.run('avm', {argv!r})\nexcept SystemExit: pass\n"
        "heavy = {'mcp', 'uvicorn', 'starlette', 'rich', 'httpx2', 'sqlite3', 'asyncio', 'anyio'}\n"
        "heavy &= set(sys.modules) - before\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_answer_over_http_does_not_wait_for_the_acknowledgement_of_its_headers():
    """asyncio sets TCP_NODELAY on the connections of a listener that names its protocol, and only on those."""
    with servers._bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_the_commands_import_no_mcp():
    code = "import sys\nimport avm_mcp.cli.tasks, avm_mcp.cli.doctor\nassert not {'mcp', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- exit codes ---


def leaves(kind):
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] or [kind]


def test_every_error_has_an_exit_code_and_every_code_a_meaning():
    known = [leaf for leaf in leaves(AvmError) if leaf.__module__ == errors.__name__]
    assert set(known) == set(exits.BY_ERROR)
    assert {*exits.BY_ERROR.values(), *exits.BY_STATUS.values()} <= set(exits.MEANINGS)
    assert exits.of_error(errors.BadSetting("x")) == 2
    assert exits.of_error(errors.NotConfigured("x")) == 3


# --- the main job ---


async def test_a_video_is_waited_for_and_its_path_is_printed(stack):
    """P3. By default a paid command ends when the video is on the disk."""
    reply = await avm(stack, "text-to-video", "a red kite", "--duration", "5s", "--aspect-ratio", "vertical")
    assert reply.code == 0
    saved = next(stack.videos.glob("*.mp4"))
    assert f"File: {saved}" in reply.out
    assert "Understood aspect_ratio as 9:16." in reply.out
    assert "avm get" in reply.err.splitlines()[0]
    again = (await avm(stack, "list", "--json")).fields["tasks"]
    assert [task["file"] for task in again] == [str(saved)]


async def test_json_is_one_object_and_the_id_is_said_before_the_wait(stack):
    """P2."""
    reply = await avm(stack, "text-to-video", "a red kite", "--json")
    assert reply.fields["status"] == "COMPLETED"
    assert Path(reply.fields["file"]).is_file()
    first, *lines = reply.err.splitlines()
    assert reply.fields["task_id"] in first
    assert 3 < len(lines) < 30  # a plain line about every half minute, for a job of six


@pytest.mark.parametrize(("argv", "code"), [(["--wait", "0"], 0), (["--wait", "20"], 75)])
async def test_a_wait_that_runs_out_says_how_to_go_on(stack, argv, code):
    """P4. --wait 0 asked for a start only; a wait that ran out is not finished."""
    reply = await avm(stack, "text-to-video", "a red kite", *argv)
    assert reply.code == code
    assert "NOT ready yet" in reply.out
    assert "avm get ck" in reply.out
    task = (await avm(stack, "list", "--json")).fields["tasks"][0]
    done = await avm(stack, "get", task["task_id"], "--json")
    assert done.code == 0
    assert Path(done.fields["file"]).is_file()
    assert stack.sandbox.posts == 1


async def test_a_signal_while_waiting_prints_the_task_and_exits_75(stack):
    """P2. Whatever ends the wait, the id was printed, and the job goes on."""
    stop = anyio.Event()
    results = []

    async def run():
        results.append(await avm(stack, "text-to-video", "a red kite", "--json", stop=stop))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.sleep(60)
        stop.set()
    (reply,) = results
    assert reply.code == 75
    assert reply.fields["done"] is False
    assert reply.fields["elapsed_seconds"] >= 55
    done = await avm(stack, "get", reply.fields["task_id"], "--json")
    assert (done.code, done.fields["status"]) == (0, "COMPLETED")


async def test_a_signal_while_the_request_is_being_sent_loses_no_id(stack):
    """P1, P2. The request goes on for as long as its answer may take; the id in the result is good for ever."""
    stack.sandbox.faults.next("generate", faults.hang(20))
    stop = anyio.Event()
    results = []

    async def run():
        results.append(await avm(stack, "text-to-video", "a red kite", "--json", stop=stop))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.sleep(1)
        stop.set()
    (reply,) = results
    assert reply.code == 75
    assert reply.fields["task_id"].startswith("sub_")
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize(
    "stack", [{"options": {"answer_delay_seconds": 20}, "environ": {"AVM_MAX_CREDITS_PER_CALL": "99"}}], indirect=True
)
async def test_a_signal_before_anything_was_sent_starts_nothing(stack):
    """P1. The price was being asked for; nothing was reserved."""
    stop = anyio.Event()
    stop.set()
    reply = await avm(stack, "text-to-video", "a red kite", stop=stop)
    assert (reply.code, reply.out) == (exits.INTERRUPTED, "")
    assert stack.sandbox.posts == 0


async def test_a_free_command_can_be_interrupted_too(stack):
    stop = anyio.Event()
    stop.set()
    stack.sandbox.change(answer_delay_seconds=20)
    reply = await avm(stack, "list", stop=stop)
    assert (reply.code, reply.out) == (exits.INTERRUPTED, "")


@pytest.mark.parametrize("argv", [("list",), ("text-to-video", "a red kite"), ("cancel", "ck_nobody")])
async def test_an_interruption_in_json_is_one_object_too(stack, argv):
    stop = anyio.Event()
    stop.set()
    stack.sandbox.change(answer_delay_seconds=20)
    reply = await avm(stack, *argv, "--json", stop=stop)
    assert reply.code == exits.INTERRUPTED
    assert reply.fields["error"]["code"] == "INTERRUPTED"
    assert (reply.fields["error"]["charged"], stack.sandbox.posts) == ("no", 0)


@pytest.mark.parametrize("module", ["videos", "doctor"])
async def test_the_other_commands_say_so_too(stack, module, monkeypatch):
    async def stopped(*_args: object) -> None:
        raise Stopped

    args = build_parser("avm").parse_args(["open", "ck_nobody", "--json"])
    terminal = Terminal(io.StringIO(), io.StringIO(), json=True)
    program = {"videos": videos, "doctor": doctor}[module]
    monkeypatch.setattr(program, "unless_stopped", stopped)
    given = (args, stack.runtime(), terminal) if module == "videos" else (stack.runtime(), terminal)
    assert await program.run(*given) == exits.INTERRUPTED
    assert json.loads(terminal.out.getvalue())["error"]["code"] == "INTERRUPTED"


def test_an_interruption_while_a_command_is_loaded_is_one_object_too(monkeypatch, capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_settings", interrupted)
    assert entry.run("avm", ["list", "--json"]) == exits.INTERRUPTED
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "INTERRUPTED"


def test_a_stream_that_was_closed_is_no_end(monkeypatch, capsys):
    """`2>&-`: Python has None there; a command that was about to ask about an expensive video failed on it."""
    monkeypatch.setattr(sys, "stderr", None)
    terminal = Terminal.standard(json=False)
    with terminal.err:
        assert not terminal.can_ask
        terminal.note("Interrupted.")
    terminal.say("a result")
    assert capsys.readouterr().out == "a result\n"


# --- refusals ---


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (["text-to-video", ""], 2, "prompt"),
        (["text-to-video", "a", "--duration", "7"], 2, "5 or 8"),
        (["text-to-video", "a", "--max-credits", "few"], 2, "max_credits"),
        (["text-to-video", "a", "--max-credits", "0"], 4, "15"),
        (["text-to-video", "a", "--max-credits", "1"], 4, "15"),
        (["image-to-video", "http://127.0.0.1/x.png"], 8, "127.0.0.1"),
        (["image-to-video", "absent.png"], 8, "absent.png"),
        (["get", "ck_nobody"], 7, "ck_nobody"),
        (["cancel", "ck_nobody"], 7, "ck_nobody"),
        (["quote", "t2v", "--segments", "2"], 2, "segments"),
    ],
)
async def test_a_refusal_has_its_exit_code_and_starts_nothing(stack, argv, code, word):
    reply = await avm(stack, *argv)
    assert reply.code == code
    assert reply.out == ""
    assert word in reply.err
    assert "Next: " in reply.err
    assert stack.sandbox.posts == 0


async def test_an_error_in_json_is_one_object_with_its_code(stack):
    reply = await avm(stack, "text-to-video", "a", "--max-credits", "1", "--json")
    assert reply.code == 4
    assert reply.err == ""
    assert reply.fields["error"]["code"] == "BUDGET_EXCEEDED"


@pytest.mark.parametrize("stack", [{"options": {"fail_rate": 1.0}}], indirect=True)
async def test_a_video_that_failed_is_exit_5(stack):
    reply = await avm(stack, "text-to-video", "a", "--json")
    assert (reply.code, reply.fields["status"]) == (5, "FAILED")


async def test_a_cancelled_task_is_a_success_for_cancel_and_no_video_for_get(stack):
    started = await avm(stack, "text-to-video", "a", "--wait", "0", "--json")
    task = started.fields["task_id"]
    assert (await avm(stack, "cancel", task, "--json")).code == 0
    assert (await avm(stack, "get", task)).code == 5


async def test_a_lost_answer_is_unclear_and_exit_75(stack):
    """P1, P2. It is searched for a while, then printed with its id; never sent again."""
    stack.sandbox.change(honours_idempotency=False)
    stack.sandbox.faults.next("generate", faults.drop())
    reply = await avm(stack, "text-to-video", "a", "--json")
    assert reply.code == 75
    assert reply.fields["task_id"].startswith("sub_")
    assert reply.fields["error"]["code"] == "SUBMISSION_UNKNOWN"


# --- pictures ---


async def test_a_relative_path_is_relative_to_where_the_user_stands(stack, tmp_path, monkeypatch):
    """P5. A file the user names may be in any folder of theirs."""
    place = tmp_path / "elsewhere"
    picture(place / "cat.png")
    monkeypatch.chdir(place)
    reply = await avm(stack, "image-to-video", "cat.png", "it blinks", "--wait", "0", "--json")
    assert reply.code == 0, reply.out


@pytest.mark.parametrize("name", [".cat.png", "link.png", "text.png"])
async def test_hidden_files_links_out_and_false_pictures_stay_refused(stack, tmp_path, name):
    """P5. Only the folder of the named file is allowed besides; every other check holds."""
    place = tmp_path / "elsewhere"
    picture(place / ".cat.png")
    picture(tmp_path / "secret" / "cat.png")
    (place / "link.png").symlink_to(tmp_path / "secret" / "cat.png")
    (place / "text.png").write_text("no picture")
    reply = await avm(stack, "image-to-video", str(place / name), "--json")
    assert reply.code == 8
    assert reply.fields["error"]["code"] == "FILE_REFUSED"
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("image", ["https://example.com/a.png", "file:///a.png", "data:image/png;base64,AA", None])
def test_links_are_left_as_they_are(image):
    assert tasks._resolve_image(image, [Path("/p")]) == (image, [Path("/p")])


async def test_the_clock_of_a_video_that_is_ready_does_not_go_back(stack):
    """It ended before it was looked at: after "1 h of usually 5 min" no line may say "4 min of usually 5 min"."""
    task = (await avm(stack, "text-to-video", "a kite", "--wait", "0", "--json")).fields["task_id"]
    await anyio.sleep(3600)
    reply = await avm(stack, "get", task)
    assert reply.code == 0
    *_, last = reply.err.splitlines()
    assert last.startswith(f"Task {task}: ready after ")
    assert ", usually " in last


# --- free commands ---


async def test_quote_account_and_list_tell_text_and_fields(stack):
    price = await avm(stack, "quote", "lv", "--segments", "2", "--json")
    assert price.fields["credits"] == 150
    assert "150 credits" in (await avm(stack, "quote", "lv", "--segments", "2")).out
    account = (await avm(stack, "account", "--json")).fields
    assert account["balance"] == 1000
    assert account["output_folder"] == str(stack.videos)
    assert "Balance: 1000 credits" in (await avm(stack, "account")).out
    assert "No videos found." in (await avm(stack, "list")).out


async def test_a_task_of_a_sandbox_that_ended_is_said_to_be_forgotten(stack):
    reply = await avm(stack, "get", "ckgone")
    assert reply.code == 7
    assert "A sandbox forgets its tasks when it ends" in reply.err


async def test_the_next_page_is_asked_for_as_the_reader_asks(stack):
    for number in range(2):
        await avm(stack, "text-to-video", f"kite {number}", "--wait", "0")
        await anyio.sleep(1)  # tasks of one moment have no order but that of their ids
    reply = await avm(stack, "list", "--limit", "1")
    assert "More: the same command with --cursor " in reply.out
    cursor = reply.out.split("--cursor ")[1].split(".")[0]
    assert '"kite 0"' in (await avm(stack, "list", "--limit", "1", "--cursor", cursor)).out


async def test_an_account_whose_jobs_are_not_kept_says_so(stack, tmp_path):
    """P1, P2: a host shows nobody its server's stderr, and without the state a request is paid again."""
    (tmp_path / "file").write_text("")
    reply = await avm(stack, "account", AVM_STATE_DIR=str(tmp_path / "file"))
    assert "for a while: all processes here share them" in reply.out
    assert "for a while" not in (await avm(stack, "account")).out


async def test_a_price_that_may_not_be_spent_is_not_offered(stack):
    """What "Next:" says is done to the letter: a start that a cap or the key refuses is no next step."""
    assert "Next: start it" in (await avm(stack, "quote", "t2v")).out
    reply = await avm(stack, "quote", "t2v", AVM_MAX_CREDITS_PER_CALL="10")
    assert "Next: make it cheaper, or raise AVM_MAX_CREDITS_PER_CALL." in reply.out
    reply = await avm(stack, "quote", "t2v", AVM_MAX_CREDITS_PER_DAY="10")
    assert "Next: make it cheaper, or raise AVM_MAX_CREDITS_PER_DAY." in reply.out
    await avm(stack, "text-to-video", "a kite", "--wait", "0")
    reply = await avm(stack, "quote", "t2v", AVM_MAX_CREDITS_PER_DAY="20")
    assert "Next: wait for the new day at 00:00 UTC, or raise AVM_MAX_CREDITS_PER_DAY." in reply.out
    stack.sandbox.revoke(KEY)
    reply = await avm(stack, "quote", "t2v")
    assert "the service refused the API key" in reply.out
    assert "Next: check AVM_API_KEY" in reply.out


async def test_a_list_that_nobody_could_be_asked_for_is_not_an_empty_one(stack):
    """Whose key is refused, or whose service is down, has not lost the videos that were paid for."""
    stack.sandbox.revoke(KEY)
    reply = await avm(stack, "list")
    assert reply.code == 3
    assert "No videos found" not in reply.out + reply.err
    assert "Next: check AVM_API_KEY" in reply.err
    stack.sandbox.revoke(KEY, revoked=False)
    await avm(stack, "text-to-video", "a kite", "--wait", "0")
    stack.sandbox.revoke(KEY)
    reply = await avm(stack, "list")
    assert reply.code == 0
    assert "This is what is known here." in reply.out
    assert '"a kite"' in reply.out


async def test_control_characters_from_elsewhere_never_reach_the_terminal(stack):
    """A prompt may be somebody else's, and a terminal obeys escapes."""
    await avm(stack, "text-to-video", "a \x1b[2J\x07 video", "--wait", "0")
    reply = await avm(stack, "list")
    assert "\x1b" not in reply.out
    assert "\x07" not in reply.out


async def test_control_characters_in_an_id_never_reach_the_terminal_by_the_bar(monkeypatch):
    """An id is what the service says it is; rich takes some control characters out, and leaves the escape."""

    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(io.StringIO(), Screen())
    with bars.draw_bars(terminal) as drawn:
        job = SimpleNamespace(public_id="ck\x1b[2J\x1b]0;x\x07\x9b31m", status="PROGRESS", final=False)
        await bars.Bar(drawn)(job, Progress(3.0, 9.0, 3.0, overdue=False, age=9.0))
        drawn.refresh()
    assert "[2J" in terminal.err.getvalue()
    assert not [bad for bad in ("\x1b[2J", "\x1b]", "\x9b") if bad in terminal.err.getvalue()]


def test_json_holds_nothing_that_a_terminal_obeys_and_means_the_same():
    text = "a\x1b[2J\x9b31m\x7f\u202eb\u2066\u2028 – ü 滝"
    terminal = Terminal(io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO(), json=True)
    terminal.fields({"prompt": text})
    terminal.out.seek(0)
    reply = terminal.out.read()
    assert json.loads(reply) == {"prompt": text}
    assert reply.rstrip("\n").isprintable()
    assert "– ü 滝" in reply


def test_json_is_ascii_where_the_stream_is_not_utf8():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Terminal(out, io.StringIO(), True).fields({"prompt": "Käfer"})
    out.seek(0)
    assert json.loads(out.read()) == {"prompt": "Käfer"}


# --- doctor ---


async def silent(_url):
    return None


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


async def test_doctor_finds_all_well(stack):
    """P5. The key is named by its fingerprint only."""
    stack.videos.mkdir()
    runtime = stack.runtime()
    checks = await examine(runtime, silent)
    assert set(verdicts(checks).values()) == {"ok"}
    terminal = Terminal(io.StringIO(), io.StringIO())
    assert doctor.print_checks(checks, terminal) == 0
    printed = terminal.out.getvalue()
    assert printed.endswith("All is well.\n")
    assert "1000 credits" in printed
    assert runtime.settings.api_key not in printed


async def test_doctor_says_when_the_fast_start_is_off(stack, monkeypatch):
    """Some hosts show no tools of a late server; doctor says so."""
    assert verdicts(await examine(stack.runtime(), silent))["fast start"] == "ok"
    monkeypatch.setattr(sys, "path", [str(stack.folder)])
    (check,) = [check for check in await examine(stack.runtime(), silent) if check.name == "fast start"]
    assert check.verdict == "warn"
    assert check.found.startswith("off: the SDK that is installed")
    assert "update avm-mcp" in check.todo


async def test_doctor_without_a_key_says_where_to_get_one_and_exits_3(stack):
    checks = await examine(stack.runtime(AVM_API_KEY=""), silent)
    terminal = Terminal(io.StringIO(), io.StringIO(), True)
    assert doctor.print_checks(checks, terminal) == 3
    reply = json.loads(terminal.out.getvalue())
    assert reply["ok"] is False
    assert reply["todo"][0].startswith("API key: get a key at https://aivideomaker.ai")


@pytest.mark.parametrize(
    ("stack", "name", "verdict", "code"),
    [
        ({"options": {"keys": frozenset({"other"})}}, "API key", "FAIL", 3),
        ({"options": {"balance": 3}}, "balance", "FAIL", 4),
        ({"options": {"clock_skew_seconds": 600}}, "clock", "warn", 0),
        ({"options": {"profile": "seed"}}, "API key", "ok", 0),
        ({"environ": {"AVM_SAVE": "off"}}, "output folder", "warn", 0),
        ({"environ": {"AVM_INPUT_DIRS": "/nowhere/at/all"}}, "input folders", "warn", 0),
        ({"environ": {"AVM_STATE_DIR": "/dev/null/x"}}, "state folder", "warn", 0),
        ({"environ": {"AVM_STATE_DIR": "/dev/null/x", "AVM_MAX_CREDITS_PER_DAY": "9"}}, "state folder", "FAIL", 9),
        ({"environ": {"AVM_OUTPUT_DIR": "/dev/null/x"}}, "output folder", "FAIL", 9),
    ],
    indirect=["stack"],
)
async def test_doctor_names_what_is_wrong(stack, name, verdict, code):
    checks = await examine(stack.runtime(), silent)
    assert verdicts(checks)[name] == verdict
    assert doctor.print_checks(checks, Terminal(io.StringIO(), io.StringIO())) == code


async def test_doctor_tells_an_unreachable_service_from_a_bad_key(stack):
    async def unreachable(_url):
        return "no connection (gaierror)"

    without_key = verdicts(await examine(stack.runtime(AVM_API_KEY=""), unreachable))
    assert (without_key["API key"], without_key["service"]) == ("FAIL", "FAIL")
    stack.link.up = False
    with_key = verdicts(await examine(stack.runtime(), silent))
    assert (with_key["API key"], with_key["service"]) == ("warn", "FAIL")


# --- videos by hand ---


async def test_a_video_is_saved_somewhere_else_and_shown(stack, tmp_path):
    """P3. `avm save --to` and `avm open`."""
    made = (await avm(stack, "text-to-video", "a", "--json")).fields
    async with stack.runtime() as runtime:
        terminal = Terminal(io.StringIO(), io.StringIO(), True)
        assert await videos.save(made["task_id"], tmp_path / "usb", runtime, terminal) == 0
        assert [path.suffix for path in (tmp_path / "usb").iterdir()] == [".mp4"]
        shown = []
        assert await videos.show(made["task_id"], runtime, Terminal(io.StringIO(), io.StringIO()), shown.append) == 0
        assert Path(shown[0][-1]).is_file()

        def missing(_command):
            raise FileNotFoundError(2, "No such file or directory")

        printed = Terminal(io.StringIO(), io.StringIO())
        assert await videos.show(made["task_id"], runtime, printed, missing) == 0
        assert "No player could be started" in printed.err.getvalue()


async def test_open_does_not_send_to_open(stack):
    made = (await avm(stack, "text-to-video", "a", "--json")).fields
    async with stack.runtime() as runtime:
        printed = Terminal(io.StringIO(), io.StringIO())
        assert await videos.show(made["task_id"], runtime, printed, lambda _command: None) == 0
    assert "Next: For another version" in printed.out.getvalue()


async def test_a_video_that_cannot_be_saved_where_it_was_asked_for_goes_elsewhere(stack, tmp_path):
    """The service has nothing to do with a folder that cannot be written."""
    made = (await avm(stack, "text-to-video", "a", "--json")).fields
    (tmp_path / "file").write_text("")
    async with stack.runtime() as runtime:
        with pytest.raises(AvmError) as caught:
            await runtime.service.save(made["task_id"], tmp_path / "file")
    assert ".." not in caught.value.message
    assert (
        write_next_step(caught.value.next_step, SHELL_AUDIENCE, "ck1")
        == "run avm save ck1 --to FOLDER with one that can be written."
    )


async def test_a_video_on_its_way_has_a_next_step_that_gets_it(stack):
    """P3."""
    stack.sandbox.faults.next("file", faults.http_error(503), count=99)
    done = await avm(stack, "text-to-video", "five")
    assert f"Next: run avm get {stack.sandbox.tasks()[0].id} to save it. For another version" in done.out


async def test_where_no_video_can_be_saved_the_next_step_saves_it_elsewhere(stack):
    """P3. Looking again does not help where the folder cannot be written."""
    stack.sandbox.faults.next("file", faults.http_error(503), count=99)
    made = (await avm(stack, "text-to-video", "a", "--json")).fields
    async with stack.runtime() as runtime:
        found = await runtime.service.find(made["task_id"])
        full = Place(stack.videos, trouble="it may not be written to")
        shell, model = (format_task(build_task(found, audience, full)) for audience in (SHELL_AUDIENCE, MODEL_AUDIENCE))
    assert f"Next: run avm save {made['task_id']} --to FOLDER with one that can be written." in shell
    assert "Next: say why the file is not saved yet, and give the user the link exactly as written." in model


async def test_a_video_that_is_not_saved_here_can_be(stack):
    """P3. It was made elsewhere, or AVM_SAVE is off: after a day its link is dead."""
    made = (await avm(stack, "text-to-video", "a", "--json", AVM_SAVE="off")).fields
    assert "file" not in made
    reply = await avm(stack, "get", made["task_id"])
    assert f"Next: run avm save {made['task_id']} to have it on this disk. For another version" in reply.out


@pytest.mark.parametrize(
    ("audience", "goes_on", "printed"),
    [
        (MODEL_AUDIENCE, False, "This server keeps looking and does not pay twice."),
        (SHELL_AUDIENCE, True, "It is looked for by itself, in the background, and not paid twice."),
        (SHELL_AUDIENCE, False, "looks for it; nothing is paid twice."),
    ],
)
async def test_who_looks_for_a_lost_answer_is_said_truly(stack, audience, goes_on, printed):
    """P1. A command that has ended does not search."""
    made = (await avm(stack, "text-to-video", "a", "--wait", "0", "--json")).fields
    async with stack.runtime() as runtime:
        found = await runtime.service.find(made["task_id"])
        lost = replace(found, job=replace(found.job, status=UNKNOWN))
        assert printed in format_task(build_task(lost, audience, Place(stack.videos, goes_on=goes_on)))


async def test_what_has_ended_is_not_waited_for(stack):
    made = (await avm(stack, "text-to-video", "a", "--json")).fields
    refused = await avm(stack, "cancel", made["task_id"])
    assert f"Next: run avm get {made['task_id']} to see it.\n" in refused.err


async def test_a_tool_is_a_command_at_a_terminal(stack):
    refused = await avm(stack, "text-to-video", "a", "--model", "i2v")
    assert "Next: run avm image-to-video" in refused.err


async def test_a_folder_is_named_once(stack, monkeypatch):
    monkeypatch.chdir(stack.pictures)
    refused = await avm(stack, "image-to-video", "nope.png")
    assert f"Allowed for image: {stack.pictures}\n" in refused.err


def test_words_left_over_are_said_by_their_command():
    parser = build_parser("avm")
    for argv, hint in (
        (["text-to-video", "a", "red", "kite"], "quotes"),
        (["text-to-video", "a", "--seed", "3"], "--seed"),
    ):
        with pytest.raises(Usage, match=hint) as caught:
            read(parser, argv)
        assert caught.value.program == "avm text-to-video"


async def test_an_account_without_a_key_has_something_to_do(stack):
    printed = await avm(stack, "account", AVM_API_KEY="")
    assert "Next: get a key at https://aivideomaker.ai" in printed.out


def test_the_embedded_sandbox_says_that_its_tasks_end_with_it(stack):
    embedded = stack.runtime(AVM_API_KEY="sandbox", AVM_BASE_URL="")
    assert "ends with each command, and its tasks with it" in worker_status.describe(embedded, "off")
    assert worker_status.describe(stack.runtime(), "off") == worker_status.DESCRIPTIONS["off"]


async def test_a_take_is_said_to_be_which_and_not_how_many(stack):
    printed = (await avm(stack, "text-to-video", "a", "--take", "2")).out
    assert "Note: This is ONE video: take 2 says which version, not how many." in printed


# --- what is saved, pending, lost ---


async def test_a_list_shows_what_is_saved_pending_and_lost_and_whether_a_background_worker_is_at_work(stack):
    """P3. For a person, and with --json for whoever reads that."""
    await stack.with_history()
    saved = (await avm(stack, "text-to-video", "one", "--json")).fields
    gone = (await avm(stack, "text-to-video", "two", "--json")).fields
    Path(gone["file"]).unlink()
    await avm(stack, "text-to-video", "three", "--wait", "0")
    off = (await avm(stack, "text-to-video", "four", "--json", AVM_SAVE="off")).fields
    stack.sandbox.faults.next("file", faults.http_error(503), count=99)
    pending = (await avm(stack, "text-to-video", "five", "--json")).fields
    reply = (await avm(stack, "list", "--json", AVM_SAVE="off")).fields
    videos = {task["task_id"]: task.get("download") for task in reply["tasks"]}
    assert (videos[saved["task_id"]], videos[gone["task_id"]]) == ("saved", "missing")
    assert (videos[off["task_id"]], videos[pending["task_id"]]) == ("not saved", "pending")
    assert reply["worker"] == "off"
    printed = (await avm(stack, "list")).out
    assert f"File: {saved['file']}" in printed
    assert "Video missing (moved or deleted since it was saved). Link: http" in printed
    assert "Video pending (" in printed
    assert "\nBackground worker: none here: a video is saved when it is waited for" in printed
    await anyio.sleep(25 * 3600)
    stack.sandbox.faults.clear()
    lost = (await avm(stack, "get", pending["task_id"])).out
    assert "could not be saved" in lost
    printed = (await avm(stack, "list")).out
    assert "Video lost (" in printed
    async with stack.runtime() as runtime:
        service = runtime.service
        assert await runtime.store.lease(f"worker:{service.account}", "somebody", stack.wall(), 30)
    assert "Background worker: at work" in (await avm(stack, "list")).out


async def test_what_is_ready_can_be_opened_unless_nobody_will_know_it(stack):
    """A task of the embedded sandbox ends with its process, so no command that names it is offered."""
    done = await avm(stack, "text-to-video", "one")
    assert f"Next: avm open {stack.sandbox.tasks()[0].id} shows it. For another version, repeat the command" in done.out
    async with stack.runtime() as runtime:
        found = await runtime.service.find(stack.sandbox.tasks()[0].id)
        printed = format_task(build_task(found, SHELL_AUDIENCE, Place(stack.videos, fleeting=True)))
        assert "avm open" not in printed
        assert "Next: For another version" in printed
        assert runtime.place.fleeting is False
    assert stack.runtime(AVM_API_KEY="sandbox", AVM_BASE_URL="").place.fleeting is True
