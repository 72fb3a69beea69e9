"""Pack the bundle for Claude Desktop: `python -m manifests.bundle`, or `make bundle`. Same content, same bytes.

The bundle holds the source and a lock of its dependencies; Claude Desktop brings uv and Python. The lock is made here
and not committed, because it names the registry that it was made with. Its versions are those of `constraints.txt`,
which the tests pass with. `server.json` with the bundle's sha256 is written beside the bundle, for the registry.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from manifests import build, facts
from manifests.facts import MANIFESTS, ROOT

DATE = (1980, 1, 1, 0, 0, 0)
LEFT_OUT = ("__pycache__", "*.pyc", ".*")
NOT_FOR_USERS = (
    "dependency-groups",
    "tool.pytest",
    "tool.coverage",
    "tool.pyright",
    "tool.ruff",
    "tool.hatch.build.targets.sdist",
)


def stage(folder: Path) -> None:
    """Put what belongs into the bundle, all but the lock, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = build.documents()
    (folder / "manifest.json").write_text(documents["mcpb/manifest.json"])
    for source in (
        *(MANIFESTS / "mcpb" / name for name in ("icon.png", "start.py")),
        ROOT / "README.md",
        ROOT / "LICENSE",
    ):
        shutil.copyfile(source, folder / source.name)
    shutil.copytree(ROOT / "avm_mcp", folder / "avm_mcp", ignore=shutil.ignore_patterns(*LEFT_OUT))
    (folder / "pyproject.toml").write_text(project())


def project() -> str:
    """Return pyproject.toml without what is for developers, held to the versions that were tested."""
    sections = re.split(r"^(?=\[)", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    kept = [section for section in sections if not section.lstrip("[").startswith(NOT_FOR_USERS)]
    pins = re.findall(r"^[\w.-]+==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return "".join(kept).rstrip() + f"\n\n[tool.uv]\nconstraint-dependencies = {json.dumps(pins, indent=2)}\n"


def uv() -> str:
    """Return the path of uv.

    Raises:
        SystemExit: There is none.
    """
    beside = Path(sys.executable).parent
    validators = ROOT / ".hosts" / "validate-py" / "bin"
    for folder in (str(beside), str(validators), None):
        if found := shutil.which("uv", path=folder):
            return found
    raise SystemExit("uv is needed to lock the bundle's dependencies; `make bundle` installs it.")


def lock(folder: Path) -> None:
    """Add the lock."""
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([uv(), "lock", "--quiet", "--directory", str(folder)], check=True, env=environ)  # noqa: S603
    named = sorted(set(re.findall(r'registry = "([^"]+)"', (folder / "uv.lock").read_text())))
    sys.stderr.write(f"The lock names {', '.join(named)}. Publish the bundle only if that is PyPI.\n")


def pack(folder: Path, bundle: Path) -> str:
    """Pack a folder and return the sha256; order, dates and rights do not depend on this machine."""
    bundle.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as downloader:
        for name in names:
            about = zipfile.ZipInfo(name, DATE)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = 0o100644 << 16
            about.create_system = 3
            downloader.writestr(about, (folder / name).read_bytes())
    return hashlib.sha256(bundle.read_bytes()).hexdigest()


def server_json(sha256: str) -> str:
    """Return server.json with the bundle's sha256 in it."""
    return build.documents()["server.json"].replace("0" * 64, sha256)


def main() -> int:
    """Make the bundle, and server.json beside it."""
    target = ROOT / "dist" / facts.BUNDLE
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        stage(folder)
        lock(folder)
        sha256 = pack(folder, target)
    (target.parent / "server.json").write_text(server_json(sha256))
    sys.stdout.write(f"{target.relative_to(ROOT)}  {target.stat().st_size / 1e6:.2f} MB  sha256 {sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
