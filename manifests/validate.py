"""Run the validators of others on what we ship: `python -m manifests.validate [GROUP...]`.

Each group installs what it needs under `.hosts/validate-*` from PyPI and npm. Hosts run with a home of their own, which
is thrown away; no account and no key is used. One line for each check; the exit code is the number that failed.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import anyio

from manifests import bundle, facts, hosts, image, trial, wheels
from manifests.bench import ROOM, Bench, Check, Skipped
from manifests.facts import MANIFESTS, ROOT

SCHEMA = ROOT / "tests" / "manifests" / "server.schema.json"


def python(bench: Bench) -> Iterator[Check]:
    """Yield the checks that need only Python."""
    tools, built = bench.python("py"), bench.scratch / "built"
    yield Check("wheel and sdist build", lambda: "" if bench.wheel().is_file() else "no wheel")
    yield Check("twine check --strict", (tools / "twine", "check", "--strict", *built.glob("*")))
    yield Check("check-wheel-contents", (tools / "check-wheel-contents", *built.glob("*.whl")))
    yield Check("validate-pyproject", (tools / "validate-pyproject", ROOT / "pyproject.toml"))
    judge = (tools / "check-jsonschema", "--schemafile", SCHEMA)
    yield Check("server.json by the registry's schema", (*judge, MANIFESTS / "server.json"))
    for skill in (hosts.SKILL, MANIFESTS / "plugin" / "skills" / facts.SKILL):
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
    yield Check("unpacked, started as Claude Desktop does: tools and a video", lambda: _start(extension, bench.home))


def _start(extension: Path, home: Path) -> str:
    server = trial.of_bundle(extension, home)
    assert server.command == "uv", server
    anyio.run(trial.make_video, server.model_copy(update={"command": bundle.uv()}), trial.tools_of(extension))
    return ""


def scanner(bench: Bench) -> Iterator[Check]:
    """Yield the scan of the skill for what a careful market refuses."""
    tool = bench.python("scanner") / "skill-scanner"
    yield Check("skill-scanner", (tool, "scan", hosts.SKILL, "--fail-on-severity", "medium"))


GROUPS: Mapping[str, Callable[[Bench], Iterator[Check]]] = {
    "python": python,
    "mcpb": mcpb,
    "wheels": wheels.checks,
    "scanner": scanner,
    "hosts": hosts.checks,
    "image": image.checks,
}


def _run_group(bench: Bench, group: str) -> Iterator[tuple[str, str, str]]:
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
            except (AssertionError, BaseExceptionGroup) as failed:
                yield "FAIL", check.name, _describe(failed)
            except subprocess.TimeoutExpired as late:
                yield "FAIL", check.name, str(late)
    except Skipped as why:  # what the whole group needs cannot be had
        yield "skip", "all of it", str(why)


def _describe(failed: BaseException) -> str:
    """Return what a failure says, without the groups that tasks wrap it in."""
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    return f"{type(failed).__name__}: {failed}"


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
            for word, name, text in _run_group(bench, group):
                results[f"{group}: {name}"] = [word, text]
                sys.stdout.write(f"{word:<4}  {group:<8} {name}\n")
                sys.stdout.write("".join(f"        {line}\n" for line in text.splitlines()))
                sys.stdout.flush()
    words = [word for word, _ in results.values()]
    counts = ", ".join(f"{words.count(word)} {name}" for word, name in _COUNTED.items())
    sys.stdout.write(f"{counts}\n")
    ROOM.mkdir(exist_ok=True)
    (ROOM / "validate.json").write_text(json.dumps(results, indent=1))
    return min(words.count("FAIL"), 100)


_COUNTED = {"ok": "passed", "FAIL": "failed", "skip": "skipped"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
