# ruff: noqa: INP001 - a script at the top of the bundle, not a module of a package
"""Start the server as an extension of Claude Desktop: the answers of its form become the server's settings.

The form has its own values: several folders come as arguments, a switch as true or false, and an empty field as
nothing or as its own name in `${…}`. Without a key the free sandbox is used, so that a first video, marked as a
placeholder, can be made before anything is bought.
"""

import os
import re
import sys
from collections.abc import MutableMapping, Sequence

SWITCHES = {"true": "on", "false": "off"}


def read_answer(value: str) -> str:
    """Return an answer of the form, empty where there is none."""
    value = value.strip()
    return "" if value in ("undefined", "null") or re.fullmatch(r"\$\{[^}]*\}", value) else value


def fill(environ: MutableMapping[str, str], folders: Sequence[str]) -> None:
    """Turn the answers into settings."""
    for name in [name for name in environ if name.startswith("AVM_")]:
        environ[name] = read_answer(environ[name])
    notify = environ.get("AVM_NOTIFY", "")
    environ["AVM_NOTIFY"] = SWITCHES.get(notify.lower(), notify)
    if not environ.get("AVM_API_KEY") and not read_answer(environ.get("AIVIDEO_API_KEY", "")):
        environ["AVM_API_KEY"] = "sandbox"
    chosen = [folder for folder in map(read_answer, folders) if folder]
    if chosen:
        environ["AVM_INPUT_DIRS"] = os.pathsep.join(chosen)


def main() -> int:
    """Run the server on stdin and stdout."""
    fill(os.environ, sys.argv[1:])
    del sys.argv[1:]
    from avm_mcp.cli import server_main

    return server_main()


if __name__ == "__main__":
    sys.exit(main())
