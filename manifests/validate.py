"""Let everybody else's validators judge what we ship: `python -m manifests.validate [GROUP...]`.

Each group installs what it needs under `.hosts/validate-*` from PyPI and npm. Hosts run with a home of their own, which
is thrown away; no account and no key is used. One line for each check; the exit code is the number that failed.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import anyio

from avm_mcp.cli.setup.hosts import HOSTS
from manifests import bundle, clients, facts, serving, video, wheels
from manifests.bench import ROOM, Bench, Check, Skipped
from manifests.facts import MANIFESTS, ROOT

SCHEMA = ROOT / "tests" / "manifests" / "server.schema.json"
SKILL = MANIFESTS / "skill" / facts.SKILL


def python(bench: Bench) -> Iterator[Check]:
    """Yield the checks that need only Python."""
    tools, built = bench.python("py"), bench.scratch / "built"
    yield Check("wheel and sdist build", lambda: "" if bench.wheel().is_file() else "no wheel")
    yield Check("twine check --strict", (tools / "twine", "check", "--strict", *built.glob("*")))
    yield Check("check-wheel-contents", (tools / "check-wheel-contents", *built.glob("*.whl")))
    yield Check("validate-pyproject", (tools / "validate-pyproject", ROOT / "pyproject.toml"))
    judge = (tools / "check-jsonschema", "--schemafile", SCHEMA)
    yield Check("server.json by the registry's schema", (*judge, MANIFESTS / "server.json"))
    for skill in (SKILL, MANIFESTS / "plugin" / "skills" / facts.SKILL):
        yield Check(f"agentskills {skill.relative_to(MANIFESTS)}", (tools / "agentskills", "validate", skill))
    yield Check("hadolint", (tools / "hadolint", ROOT / "Dockerfile"))
    code = "import sys, yaml; [yaml.safe_load(open(path)) for path in sys.argv[1:]]"
    yield Check("YAML can be read", (tools / "python", "-c", code, *MANIFESTS.rglob("*.yaml")))


def mcpb(bench: Bench) -> Iterator[Check]:
    """Yield the checks of the bundle: by its own tool, and by starting what that tool unpacks."""
    tool, staged = bench.modules("mcpb") / ".bin" / "mcpb", bench.scratch / "staged"
    bundle.stage(staged)
    bundle.lock(staged)
    ours, theirs = bench.scratch / facts.BUNDLE, bench.scratch / "theirs.mcpb"
    bundle.pack(staged, ours)
    extension = bench.scratch / "an extension"
    yield Check("mcpb validate", (tool, "validate", staged))
    yield Check("mcpb pack", (tool, "pack", staged, theirs))
    yield Check("mcpb unpack", (tool, "unpack", ours, extension))
    yield Check("mcpb validate, unpacked", (tool, "validate", extension))
    yield Check("mcpb info", (tool, "info", ours))
    yield Check("unpacked, started as Claude Desktop does: tools and a video", lambda: _starts(extension, bench.home))


def _starts(extension: Path, home: Path) -> str:
    server = video.of_bundle(extension, home)
    assert server.command == "uv", server
    try:
        anyio.run(video.makes_one, server.model_copy(update={"command": bundle.uv()}), video.tools_of(extension))
    except AssertionError as error:
        return str(error)
    return ""


def scanner(bench: Bench) -> Iterator[Check]:
    """Yield the scan of the skill for what a careful market refuses."""
    tool = bench.python("scanner") / "skill-scanner"
    yield Check("skill-scanner", (tool, "scan", SKILL, "--fail-on-severity", "medium"))


def hosts(bench: Bench) -> Iterator[Check]:
    """Yield the checks by the hosts' own programs, which find `avm-mcp` and `uvx` as a user's do."""
    tools, modules = bench.python("py"), bench.modules("hosts")
    host = _programs(modules)
    yield Check("uv tool install, as the README says it", lambda: _installed(bench, tools))
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
    yield from _set_up(bench, host)
    yield from _typed(bench, host)


def _programs(modules: Path) -> Mapping[str, tuple[str | Path, ...]]:
    # npm's own link to claude wants an install script to have run; its wrapper finds the program without one.
    wrapper = modules / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    plain = {name: (modules / ".bin" / name,) for name in ("codex", "gemini", "openclaw")}
    return {"claude": ("node", wrapper), **plain}


def _installed(bench: Bench, tools: Path) -> str:
    for name in ("uv", "uvx"):
        (bench.programs / name).symlink_to(tools / name)
    bench.environ |= {"UV_TOOL_DIR": str(bench.scratch / "tools"), "UV_TOOL_BIN_DIR": str(bench.programs)}
    source = f"{ROOT}[sandbox]"
    wrong = bench.runs(Check("", ("uv", "tool", "install", "--quiet", "--python", sys.executable, source)))
    return wrong or "".join(f"no {name}" for name in ("avm", "avm-mcp") if not (bench.programs / name).exists())


READ: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "claude-code": ("claude", ("mcp", "get", facts.NAME), "Type: stdio"),
    "codex": ("codex", ("mcp", "get", facts.NAME), "enabled: true"),
    "gemini": ("gemini", ("mcp", "list"), f"{facts.NAME}: "),
    "openclaw": ("openclaw", ("mcp", "probe", facts.NAME, "--json"), f"{facts.NAME}__text_to_video"),
}
"""How each host that runs here says that it has read our entry; Gemini's and OpenClaw's start the server for it."""


def _set_up(bench: Bench, host: Mapping[str, tuple[str | Path, ...]]) -> Iterator[Check]:
    """`avm setup`: written, read by the host itself, and out again without a trace."""
    avm = bench.programs / "avm"
    for name, (program, words, says) in READ.items():
        file = HOSTS[name].path(bench.home, bench.scratch)
        before = _contents(bench, file)
        yield Check(f"avm setup {name}", (avm, "setup", name))
        yield Check(f"{name} reads it", (*host[program], *words), says)
        yield Check(f"avm setup {name} --remove", (avm, "setup", name, "--remove"))
        yield Check(f"{name}: nothing of it is left", lambda b=before, f=file: _left(b, _contents(bench, f)))


def _typed(bench: Bench, host: Mapping[str, tuple[str | Path, ...]]) -> Iterator[Check]:
    """The commands that `clients/README.md` tells people to type, as they stand there, and what the host makes of them.

    Only the address differs, for a port that is free; a server listens there.
    """
    read = {
        "Claude Code": (("mcp", "get", facts.NAME), "Connected", ("mcp", "remove", facts.NAME)),
        "Codex": (("mcp", "get", facts.NAME), "enabled: true", ("mcp", "remove", facts.NAME)),
        "Gemini CLI": (("mcp", "list"), "Connected", ("mcp", "remove", "-s", "user", facts.NAME)),
        "OpenClaw": (("mcp", "probe", facts.NAME), "text_to_video", ("mcp", "unset", facts.NAME)),
    }
    with serving.over_http(bench.programs / "avm-mcp", bench.environ, bench.scratch) as url:
        for name, command in clients.COMMANDS.items():
            title = name.split(",")[0]
            if title not in read:
                continue
            words, says, remove = read[title]
            typed = shlex.split(command.replace(facts.MCP_URL, url))
            program = host[typed[0]]
            yield Check(f"typed for {name}", (*program, *typed[1:]))
            yield Check(f"typed for {name}: the host reaches it", (*program, *words), says)
            yield Check(f"typed for {name}: removed", (*program, *remove))


def _contents(bench: Bench, file: Path) -> dict[str, str]:
    """Return what might name us: the configuration files of all hosts, and whatever lies beside this one's."""
    found: dict[str, str] = {}
    beside = file.parent.iterdir() if file.parent.is_dir() else ()
    for path in {*bench.home.rglob("*"), *beside}:
        known = path.suffix in (".json", ".toml", ".yaml") or path.parent == file.parent
        if known and path.is_file() and path.stat().st_size < 1_000_000:
            found[str(path.relative_to(bench.scratch))] = path.read_text(errors="replace")
    return found


def _left(before: dict[str, str], after: dict[str, str]) -> str:
    """Return the files that name us now and did not before, and any copy that we kept."""
    ours = re.compile(rf'"{facts.NAME}"|\[mcp_servers\.{facts.NAME}\]')
    new = [name for name, text in after.items() if ours.search(text) and not ours.search(before.get(name, ""))]
    new += [name for name in after if "before-avm" in name]
    return f"still named in {', '.join(new)}" if new else ""


GROUPS: Mapping[str, Callable[[Bench], Iterator[Check]]] = {
    "python": python,
    "mcpb": mcpb,
    "wheels": wheels.checks,
    "scanner": scanner,
    "hosts": hosts,
}


def _judged(bench: Bench, group: str) -> Iterator[tuple[str, str, str]]:
    """Run a group; give the word, the name and the explanation of each check."""
    try:
        for check in GROUPS[group](bench):
            try:
                wrong = bench.runs(check)
                yield "FAIL" if wrong else "ok", check.name, wrong
            except Skipped as why:
                yield "skip", check.name, str(why)
            except subprocess.CalledProcessError as failed:
                yield "FAIL", check.name, f"{failed}\n{failed.stderr or ''}"[-2000:]
            except subprocess.TimeoutExpired as late:
                yield "FAIL", check.name, str(late)
    except Skipped as why:  # what the whole group needs cannot be had
        yield "skip", "all of it", str(why)


def main(groups: Sequence[str]) -> int:
    """Run the groups, all of them if none is named; return how many checks failed."""
    unknown = set(groups) - set(GROUPS)
    if unknown:
        sys.stderr.write(f"There is no group {', '.join(sorted(unknown))}; known: {', '.join(GROUPS)}.\n")
        return 2
    results: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="avm-validate-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder))
        for group in groups or GROUPS:
            for word, name, text in _judged(bench, group):
                results[f"{group}: {name}"] = [word, text]
                sys.stdout.write(f"{word:<4}  {group:<8} {name}\n")
                sys.stdout.write("".join(f"        {line}\n" for line in text.splitlines()))
                sys.stdout.flush()
    words = [word for word, _ in results.values()]
    counts = ", ".join(f"{words.count(word)} {said}" for word, said in _SAID.items())
    sys.stdout.write(f"{counts}\n")
    ROOM.mkdir(exist_ok=True)
    (ROOM / "validate.json").write_text(json.dumps(results, indent=1))
    return min(words.count("FAIL"), 100)


_SAID = {"ok": "passed", "FAIL": "failed", "skip": "skipped"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
