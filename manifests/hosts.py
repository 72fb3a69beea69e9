"""The checks by the hosts' own programs: what we ship is validated, installed, set up, started and removed."""

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import PIPE

from avm_mcp.cli.setup.hosts import HOSTS
from manifests import clients, facts, serving
from manifests.bench import Bench, Check
from manifests.facts import MANIFESTS, ROOT

SKILL = MANIFESTS / "skill" / facts.SKILL

Program = tuple[str | Path, ...]


def checks(bench: Bench) -> Iterator[Check]:
    """Yield the checks by the hosts' own programs, which find `avm-mcp` and `uvx` as a user's do."""
    tools, modules = bench.python("py"), bench.modules("hosts")
    host = _programs(modules)
    yield Check("uv tool install, as the README says it", lambda: _install(bench, tools))
    claude, gemini, openclaw = host["claude"], host["gemini"], host["openclaw"]
    plugin = MANIFESTS / "plugin"
    strict = (*claude, "plugin", "validate", "--strict", plugin / ".claude-plugin")
    yield Check("claude plugin validate, plugin", (*strict[:-1], strict[-1] / "plugin.json"))
    yield Check("claude plugin validate, market", (*strict[:-1], strict[-1] / "marketplace.json"))
    yield Check("claude plugin marketplace add", (*claude, "plugin", "marketplace", "add", plugin))
    yield Check("claude plugin install", (*claude, "plugin", "install", "avm-mcp@avm-mcp"))
    yield Check("claude mcp list: the plugin's server", (*claude, "mcp", "list"), "plugin:avm-mcp:avm-mcp: uvx avm-mcp")
    yield Check("claude plugin uninstall", (*claude, "plugin", "uninstall", "avm-mcp@avm-mcp"))
    yield Check("gemini extensions validate", (*gemini, "extensions", "validate", MANIFESTS / "gemini"))
    quick = modules / "openclaw" / "skills" / "skill-creator" / "scripts" / "quick_validate.py"
    yield Check("OpenClaw's quick_validate", (tools / "python", quick, SKILL), "valid")
    yield Check("openclaw skills install", (*openclaw, "skills", "install", SKILL, "--force"))
    yield Check(
        "openclaw skills info: eligible", (*openclaw, "skills", "info", facts.SKILL, "--json"), '"eligible": true'
    )
    force = ("--force", "--accept-capabilities")
    yield Check("openclaw plugins install", (*openclaw, "plugins", "install", plugin, *force))
    yield Check("openclaw plugins uninstall", (*openclaw, "plugins", "uninstall", facts.NAME, "--force"))
    (bench.home / ".claude" / "settings.json").write_text('{"enableAllProjectMcpServers": true}')  # "allow the server"
    yield from _set_up(bench, host)
    yield from _run_commands(bench, host)


def _programs(modules: Path) -> Mapping[str, Program]:
    # npm's own link to claude wants an install script to have run; its wrapper finds the program without one.
    wrapper = modules / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    plain = {name: (modules / ".bin" / name,) for name in ("codex", "gemini", "openclaw")}
    return {"claude": ("node", wrapper), **plain}


def _install(bench: Bench, tools: Path) -> str:
    for name in ("uv", "uvx"):  # beside what they install: where uv itself lives on a user's machine
        (bench.programs / name).symlink_to(tools / name)
    source = f"{ROOT}[sandbox]"
    wrong = bench.runs(Check("", ("uv", "tool", "install", "--quiet", "--python", sys.executable, source)))
    return wrong or "".join(f"no {name}" for name in ("avm", "avm-mcp") if not (bench.programs / name).exists())


READ: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "claude-code": ("claude", ("mcp", "get", facts.NAME), "Connected"),
    "codex": ("codex", ("mcp", "get", facts.NAME), "enabled: true"),
    "gemini": ("gemini", ("mcp", "list"), "Connected"),
    "openclaw": ("openclaw", ("mcp", "probe", facts.NAME, "--json"), f"{facts.NAME}__text_to_video"),
}
"""How each host that runs here says that it has read our entry; Gemini's and OpenClaw's start the server for it."""


def _set_up(bench: Bench, host: Mapping[str, Program]) -> Iterator[Check]:
    """`avm setup`: written, read by the host itself, and out again without a trace."""
    avm = bench.programs / "avm"
    for name, (program, words, says) in READ.items():
        file = HOSTS[name].path(bench.home, bench.scratch)
        before = _contents(bench, file)
        yield Check(f"avm setup {name}", (avm, "setup", name))
        yield Check(f"{name} reads it", (*host[program], *words), says)
        if name == "codex":
            yield Check("codex starts it: its tools", lambda: _codex_lists(bench, host["codex"]))
        yield Check(f"avm setup {name} --remove", (avm, "setup", name, "--remove"))
        yield Check(f"{name}: nothing of it is left", lambda b=before, f=file: _left(b, _contents(bench, f)))


def _run_commands(bench: Bench, host: Mapping[str, Program]) -> Iterator[Check]:
    """The commands that `clients/README.md` tells people to type, as they stand there, and what the host makes of them.

    Only the address differs, for a port that is free; a server listens there.
    """
    read = {
        "Claude Code": (("mcp", "get", facts.NAME), "Connected", ("mcp", "remove", facts.NAME)),
        "Codex": (("mcp", "get", facts.NAME), "enabled: true", ("mcp", "remove", facts.NAME)),
        "Gemini CLI": (("mcp", "list"), "Connected", ("mcp", "remove", "-s", "user", facts.NAME)),
        "OpenClaw": (("mcp", "probe", facts.NAME), f"{len(facts.TOOLS)} tools", ("mcp", "unset", facts.NAME)),
    }
    serve = [bench.programs / "avm-mcp", "serve", "--port", "0", "--json"]
    with serving.over_http(serve, bench.environ, bench.scratch) as url:
        for name, command in clients.commands().items():
            title = name.split(",")[0]
            if title not in read:
                continue
            words, says, remove = read[title]
            typed = shlex.split(command.replace(facts.MCP_URL, url))
            program = host[typed[0]]
            yield Check(f"typed for {name}", (*program, *typed[1:]))
            yield Check(f"typed for {name}: the host reaches it", (*program, *words), says)
            if title == "Codex":
                yield Check(f"typed for {name}: its tools", lambda: _codex_lists(bench, host["codex"]))
            yield Check(f"typed for {name}: removed", (*program, *remove))


def _contents(bench: Bench, file: Path) -> dict[str, str]:
    """Return what might name us: the configuration files of all hosts, and whatever lies beside this one's."""
    found: dict[str, str] = {}
    beside = file.parent.iterdir() if file.parent.is_dir() else ()
    for path in {*bench.home.rglob("*"), *beside}:
        known = path.suffix in (".json", ".toml", ".yaml") or path.parent == file.parent
        if known and bench.home / ".local" not in path.parents and path.is_file() and path.stat().st_size < 1_000_000:
            found[str(path.relative_to(bench.scratch))] = path.read_text(errors="replace")
    return found


def _left(before: dict[str, str], after: dict[str, str]) -> str:
    """Return the files that name us now and did not before, and any copy that we kept."""
    ours = re.compile(rf'"{facts.NAME}"|\[mcp_servers\.{facts.NAME}\]')
    new = [name for name, text in after.items() if ours.search(text) and not ours.search(before.get(name, ""))]
    new += [name for name in after if "before-avm" in name]
    return f"still named in {', '.join(new)}" if new else ""


def _codex_lists(bench: Bench, codex: Program) -> str:
    """Codex's commands only read its file; what its editors talk to starts the servers as well."""
    command = [str(word) for word in (*codex, "app-server")]
    asked = (
        {"id": 0, "method": "initialize", "params": {"clientInfo": {"name": facts.NAME, "version": facts.VERSION}}},
        {"method": "initialized"},
        {"id": 1, "method": "mcpServerStatus/list", "params": {}},
    )
    with subprocess.Popen(  # noqa: S603
        command, env=bench.environ, cwd=bench.scratch, stdin=PIPE, stdout=PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        late = threading.Timer(90, process.kill)
        late.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("".join(f"{json.dumps(message)}\n" for message in asked))
            process.stdin.flush()
            answers = (json.loads(line) for line in process.stdout)
            answer = next((answer for answer in answers if answer.get("id") == 1), {})
        finally:
            late.cancel()
            process.kill()
    tools = {tool for server in answer.get("result", {}).get("data", []) for tool in server["tools"]}
    return "" if tools == set(facts.TOOLS) else f"it lists {sorted(tools)}: {answer}"
