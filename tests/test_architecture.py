"""The house, held: who imports whom, one door per library, and what no module may do. The tables are the rules.

`violations()` works on any folder, so that the last tests can show on made-up modules that each rule bites.
"""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import avm_mcp

PACKAGE = Path(avm_mcp.__file__).parent

# A room is a folder of the package, or a module beside them. It may import every room above its own line, and none
# beside it: section 3 of the design.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__", "fast_start", "notify"),  # nothing of ours; the fast start runs before anything else is imported
    ("domain",),
    ("settings", "provider", "images"),
    ("store",),
    ("downloads",),
    ("jobs",),
    ("presentation",),
    ("app",),
    ("mcp_server", "worker"),
    ("cli",),
    ("__main__",),
)
ALONE: Mapping[str, str] = {
    "sandbox": "a second transcription of the API; sharing anything would hide a slip in both",
    "fast_start": "runs before our modules are loaded",
    "notify": "is about a desktop, not about videos",
}
# Imports inside a function only, each with its reason.
LATE: Mapping[tuple[str, str], str] = {
    ("app", "sandbox"): "AVM_API_KEY=sandbox starts the embedded one",
    ("cli", "sandbox"): "avm sandbox and avm demo run it",
}
# The order allows these; what the rooms are for does not.
NEVER: Mapping[tuple[str, str], str] = {
    ("mcp_server", "provider"): "a tool asks the service",
    ("mcp_server", "store"): "a tool asks the service",
    ("presentation", "provider"): "it only words what it is given",
    ("presentation", "store"): "it only words what it is given",
    ("presentation", "settings"): "what a tool takes is the same for everybody; what depends on a setting is given",
    ("cli", "store"): "a command asks the service",
}

# One door per library: the rooms, or the one module, that may import it.
DOORS: Mapping[str, tuple[str, ...]] = {
    "httpx2": ("provider", "downloads", "app"),
    "httpx": (),
    "requests": (),
    "urllib.request": ("downloads/proxies",),  # only to read which proxies there are
    "aiohttp": (),
    "sqlite3": ("store/sqlite",),
    "psycopg": ("store",),
    "mcp": ("mcp_server", "cli/demo"),
    "pydantic": ("domain/bounds", "provider/wire", "settings", "presentation/results", "mcp_server"),
    "starlette": ("mcp_server/http",),
    "uvicorn": ("mcp_server/http", "sandbox/server"),
    "rich": ("cli",),
    "tomlkit": ("cli/setup",),
    "ruamel": ("cli/setup",),
    "platformdirs": ("settings", "images/input_folders"),
    "asyncio": ("sandbox/server", "mcp_server/http/connections"),  # under uvicorn, in real time
    "threading": ("fast_start",),  # one thread answers while the SDK is imported
    "concurrent": (),
    "multiprocessing": (),
    "subprocess": ("jobs/start_worker", "notify", "cli"),
    "trio": (),
    "av": ("sandbox/videos", "cli/demo"),
    "PIL": ("sandbox",),
}

# Who may use these names: a call or an attribute, however it was imported.
NAMES: Mapping[str, tuple[str, ...]] = {
    "os.environ": ("settings", "fast_start"),
    "os.getenv": (),
    "os.putenv": (),
    "print": ("cli/terminal",),
    "input": (),
    "time.sleep": (),
    "anyio.to_thread": ("images", "sandbox"),  # a name is looked up, and a sandbox's video is rendered, in a thread
    "anyio.from_thread": (),
    "eval": (),
    "exec": (),
    "breakpoint": (),
    "datetime.now": (),
    "datetime.utcnow": (),
    "date.today": (),
}
# `time.time` is the one wall clock: the runtime injects it, and the sandbox has its own default.
CLOCKS: tuple[str, ...] = ("app", "sandbox/state", "cli/doctor")

# Only these know a model by its name; everybody else reads its entry in the catalogue. Docstrings may name one.
MODEL_NAMES = re.compile(r"(?<!\w)(t2v|t2v_v3|i2v|i2v_v3|lv|minimax|seedance20|wan27|happyhorse)(?!\w)")
KNOW_MODELS: tuple[str, ...] = ("domain/catalog", "provider", "sandbox")

FORBIDDEN_STEMS = ("util", "utils", "helper", "helpers", "common", "base", "misc", "shared_utils", "core")

MAX_LINES = 330

# Catching everything is for the edge of a task, where an error must not take the others along.
CATCH_ALL: Mapping[str, str] = {
    "jobs/discover": "one bad look must not be the last",
    "downloads/downloader": "one video's trouble must not stop the others",
    "cli/entry": "the one place where a program of ours ends",
    "cli/__init__": "a library that cannot be loaded is told at each call",
    "cli/doctor": "a library that cannot be loaded is a finding",
    "cli/signals": "raised again outside of the group",
    "fast_start": "anything odd ends the fast start, and the SDK answers",
    "worker": "logged, since nobody sees the background worker's stderr",
    "jobs/reconcile": "the search for one answer must not stop the others",
    "jobs/sending": "runs in the background; whoever waits is told",
    "mcp_server/client_timeouts": "raised again, for whoever answers it",
    "mcp_server/tools": "a bug is INTERNAL, with its trace in the log and not in the answer",
    "jobs/poller": "one bad look must not end the watch",
    # BaseException, always raised again: what was begun is taken back
    "store/opening": "closes what could not be started",
    "store/sqlite": "rolls back",
    "downloads/partials": "gives the lock back",
    "app": "what keeps it from starting is told at each call",
    "sandbox": "a server of its own",
}


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path
    name: str  # "journal/sqlite"

    @property
    def room(self) -> str:
        return self.name.split("/")[0]

    def within(self, places: tuple[str, ...] | Mapping[str, object]) -> bool:
        return any(self.name == place or self.name.startswith(f"{place}/") for place in places)

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> list[tuple[str, bool]]:
        """Every imported module, dotted and absolute, and whether it is imported late (inside a function)."""
        return list(self._walk(self.tree, late=False))

    def _walk(self, node: ast.AST, *, late: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from ((name, late) for name in self._from(child))
            else:
                inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from self._walk(child, late=inside or _is_type_checking(child))

    def _from(self, node: ast.ImportFrom) -> list[str]:
        here = ["avm_mcp", *self.name.split("/")]
        start = ".".join(here[: -node.level]) if node.level else ""
        module = ".".join(part for part in (start, node.module or "") if part)
        return [f"{module}.{alias.name}" for alias in node.names]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def modules(package: Path = PACKAGE) -> list[Module]:
    found: list[Module] = []
    for path in sorted(package.rglob("*.py")):
        found.append(Module(path, path.relative_to(package).with_suffix("").as_posix()))
    return found


def violations(package: Path = PACKAGE) -> list[str]:
    """Return everything that is against the rules."""
    checks = (_order, _doors, _names, _catch_alls, _time_outs, _models, _form)
    return [f"{module.name}: {what}" for module in modules(package) for check in checks for what in check(module)]


def _level(room: str) -> int | None:
    return next((number for number, rooms in enumerate(LAYERS) if room in rooms), None)


def _order(module: Module) -> Iterator[str]:
    level = _level(module.room)
    if level is None and module.room not in ALONE:
        yield "is in no layer: give it a place in LAYERS"
        return
    for name, late in module.imports:
        parts = name.split(".")
        if parts[0] != "avm_mcp":
            continue
        target = parts[1] if len(parts) > 1 else "__init__"
        if target in ("__version__", "__init__") or target == module.room:
            continue
        if (module.room, target) in NEVER:
            yield f"imports {target}: {NEVER[module.room, target]}"
        elif (module.room, target) in LATE:
            if not late:
                yield f"imports {target} at its top; only inside a function"
        elif module.room in ALONE:
            yield f"imports {target}, but {ALONE[module.room]}"
        else:
            above = _level(target)
            if above is None or level is None or above >= level:
                yield f"imports {target}, which is not above it"


def _doors(module: Module) -> Iterator[str]:
    for name, _ in module.imports:
        for library, rooms in DOORS.items():
            if (name == library or name.startswith(f"{library}.")) and not module.within(rooms):
                yield f"imports {library}, whose doors are {', '.join(rooms) or 'none'}"


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def _names(module: Module) -> Iterator[str]:
    nodes = list(ast.walk(module.tree))
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    used = {_dotted(node) for node in nodes if isinstance(node, ast.Attribute)} | {name for name, _ in module.imports}
    for name, rooms in NAMES.items():
        if "." in name:
            hit = any(use == name or use.startswith(f"{name}.") or use.endswith(f".{name}") for use in used)
        else:
            hit = name in called
        if hit and not module.within(rooms):
            yield f"uses {name}, which is for {', '.join(rooms) or 'nobody'}"
    if {"time.time", "time.time_ns"} & used and not module.within(CLOCKS):
        yield "reads the wall clock; dates come from the injected `now`"


def _catch_alls(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = [
            _dotted(n) for n in (node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]) if n is not None
        ]
        if node.type is None or {"Exception", "BaseException"} & set(caught):
            if not module.within(CATCH_ALL):
                yield f"catches everything in line {node.lineno}"
            elif "BaseException" in caught and not any(isinstance(n, ast.Raise) for n in ast.walk(node)):
                yield f"swallows BaseException in line {node.lineno}, cancellations too"


def _time_outs(module: Module) -> Iterator[str]:
    """No time-out of HTTP is left to the library, whose default is 5 s."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not _dotted(node.func).startswith("httpx2."):
            continue
        given = {keyword.arg for keyword in node.keywords}
        what = _dotted(node.func).removeprefix("httpx2.")
        if what in ("AsyncClient", "Client", "get", "post", "request", "stream") and "timeout" not in given:
            yield f"leaves the time-outs of {what} in line {node.lineno} to the library"
        if what == "Timeout" and given != {"connect", "read", "write", "pool"}:
            yield f"leaves a time-out in line {node.lineno} unset"


def _models(module: Module) -> Iterator[str]:
    if module.within(KNOW_MODELS):
        return
    statements = (node for node in ast.walk(module.tree) if isinstance(node, ast.Expr))
    documented = {id(node.value) for node in statements}  # docstrings, of attributes too
    for node in ast.walk(module.tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in documented else None
        if isinstance(text, str) and (found := MODEL_NAMES.search(text)) is not None:
            yield f"names the model {found[0]} in line {node.lineno}"


def _form(module: Module) -> Iterator[str]:
    stem = module.name.removesuffix("/__init__").split("/")[-1]
    if stem.strip("_") in FORBIDDEN_STEMS:
        yield "is a drawer; name it by what is in it"
    if not (ast.get_docstring(module.tree) or "").strip():
        yield "has no docstring"
    lines = len(module.text.splitlines())
    if lines > MAX_LINES:
        yield f"has {lines} lines; at most {MAX_LINES}: split it by noun"


# The house as it is


def test_the_rules_are_kept() -> None:
    assert violations() == []


def test_every_place_in_the_tables_exists() -> None:
    """A rule about a module that is gone is a hole for the next one of that name."""
    names = {module.name for module in modules()}
    rooms = {name.split("/")[0] for name in names}
    folders = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}
    for room in (*(room for layer in LAYERS for room in layer), *ALONE):
        assert room in rooms, f"LAYERS: {room}"
    assert rooms - set(ALONE) <= {room for layer in LAYERS for room in layer}
    for pair in (*LATE, *NEVER):
        assert set(pair) <= rooms, pair
    for place in (
        *CATCH_ALL,
        *CLOCKS,
        *KNOW_MODELS,
        *(p for places in (*DOORS.values(), *NAMES.values()) for p in places),
    ):
        assert place in names | folders, place


def test_exceptions_that_are_not_needed_any_more_are_taken_back() -> None:
    for pair in LATE:
        used = {(m.room, imported.split(".")[1]) for m in modules() for imported, _ in m.imports if imported.count(".")}
        assert pair in used, f"LATE: {pair} is not used"


def test_the_order_is_the_designs() -> None:
    """Section 3: domain, then settings, provider and images, then store and so on; the first column may be imported."""
    order = (
        "domain > settings provider images > store > downloads > jobs > presentation > app > mcp_server worker > cli"
    )
    levels = [{_level(room) for room in rooms.split()} for rooms in order.split(" > ")]
    assert all(len(level) == 1 for level in levels)
    numbers = [level.pop() for level in levels]
    assert None not in numbers
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    flat = [room for layer in LAYERS for room in layer]
    assert len(flat) == len(set(flat))


def circles(package: Path = PACKAGE) -> list[set[str]]:
    """Return the circles of imports between modules, late imports included; a package stands for its `__init__`."""
    names = {module.name.removesuffix("/__init__"): module for module in modules(package)}
    edges: dict[str, set[str]] = {}
    for name, module in names.items():
        edges[name] = set()
        for imported, _ in module.imports:
            path = imported.removeprefix("avm_mcp.").replace(".", "/")
            for target in (path, path.rpartition("/")[0]):
                if imported.startswith("avm_mcp.") and target in names and target != name:
                    edges[name].add(target)
                    break

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = list(edges[start])
        while left:
            if (at := left.pop()) not in seen:
                seen.add(at)
                left.extend(edges[at])
        return seen

    reach = {name: reached(name) for name in names}
    found = [frozenset(o for o in names if o in reach[name] and name in reach[o]) for name in names]
    return [set(circle) for circle in {circle for circle in found if circle}]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles() == []


# Each rule bites


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    package = tmp_path / "avm_mcp"
    for folder in (
        *("domain", "provider", "store", "images", "downloads", "jobs", "presentation", "mcp_server", "sandbox", "cli"),
    ):
        (package / folder).mkdir(parents=True)
    return package


GOOD = '"""A module."""\n'


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("domain/job", "import avm_mcp.provider.client", "imports provider, which is not above it"),
        ("domain/job", "from avm_mcp import provider", "imports provider"),
        ("domain/job", "from .. import provider", "imports provider"),
        ("store/jobs", "from ..jobs.service import Service", "imports jobs"),
        ("store/__init__", "from ..downloads import mp4", "imports downloads"),
        ("provider/client", "from avm_mcp.store import Journal", "imports store"),
        ("provider/client", "def f():\n    from avm_mcp.store import Journal", "imports store"),
        ("provider/client", "from avm_mcp.settings import Settings", "imports settings, which is not above it"),
        ("jobs/service", "def f():\n    from avm_mcp.mcp_server import Tools", "imports mcp_server"),
        ("jobs/service", "class A:\n    from avm_mcp.mcp_server.server import build_server", "imports mcp_server"),
        ("jobs/service", "if True:\n    from avm_mcp.cli import main", "imports cli"),
        ("mcp_server/tools", "from avm_mcp.provider.client import AvmClient", "a tool asks the service"),
        ("downloads/x", "from avm_mcp.jobs.poller import Poller", "imports jobs, which is not above it"),
        ("presentation/x", "from avm_mcp.store import Journal", "it only words what it is given"),
        ("app", "from avm_mcp.sandbox import SandboxOptions", "only inside a function"),
        ("jobs/service", "def f():\n    from avm_mcp.sandbox import SandboxOptions", "imports sandbox"),
        ("sandbox/tables", "from avm_mcp.domain.catalog import MODELS", "a second transcription"),
        ("sandbox/tables", "def f():\n    from ..errors import AvmError", "a second transcription"),
        ("fast_start", "from avm_mcp.settings import Settings", "before our modules are loaded"),
        ("brand_new", "x = 1", "give it a place in LAYERS"),
        ("jobs/service", "import httpx2", "imports httpx2"),
        ("images/x", "import requests", "imports requests"),
        ("store/jobs", "import sqlite3", "imports sqlite3"),
        ("jobs/service", "from mcp.types import Tool", "imports mcp"),
        ("cli/commands", "import mcp", "imports mcp"),
        ("jobs/poller", "import asyncio", "imports asyncio"),
        ("provider/client", "from threading import Thread", "imports threading"),
        ("provider/client", "def f():\n    import urllib.request", "imports urllib.request"),
        ("provider/client", "import os\nx = os.environ['A']", "uses os.environ"),
        ("provider/client", "from os import environ", "uses os.environ"),
        ("provider/client", "import os\nx = os.getenv('A')", "uses os.getenv"),
        ("jobs/service", "print('x')", "uses print"),
        ("cli/commands", "print('x')", "uses print"),
        ("cli/commands", "import time\ntime.sleep(1)", "uses time.sleep"),
        ("cli/commands", "from time import sleep", "uses time.sleep"),
        ("provider/client", "import time\nnow = time.time", "wall clock"),
        ("provider/client", "from datetime import datetime\nx = datetime.now()", "uses datetime.now"),
        ("provider/client", "import datetime\nx = datetime.datetime.now()", "uses datetime.now"),
        ("store/jobs", "import anyio\nx = anyio.to_thread.run_sync", "uses anyio.to_thread"),
        ("provider/client", "try:\n    pass\nexcept Exception:\n    raise", "catches everything in line 3"),
        ("provider/client", "try:\n    pass\nexcept (ValueError, Exception):\n    raise", "catches everything"),
        ("provider/client", "try:\n    pass\nexcept:\n    raise", "catches everything"),
        ("app", "try:\n    pass\nexcept BaseException:\n    pass", "swallows BaseException"),
        (
            "provider/client",
            "import httpx2\nx = httpx2.AsyncClient(trust_env=True)",
            "leaves the time-outs of AsyncClient",
        ),
        ("images/x", "import httpx2\nx = httpx2.Timeout(5, connect=1)", "leaves a time-out in line"),
        ("jobs/service", "def f(model):\n    return model == 'lv'", "names the model lv"),
        ("presentation/x", "x = f'{1} s with t2v_v3'", "names the model t2v_v3"),
        ("domain/request", "x = {'wan27': 1}", "names the model wan27"),
        ("images/utils", "x = 1", "is a drawer"),
        ("helpers", "x = 1", "is a drawer"),
        ("provider/client", "x = 1\n" * 500, "500 lines"),
        ("domain/errors", "x = 1\n" * 331, "331 lines"),
    ],
)
def test_a_wrong_module_is_found(made_up: Path, name: str, source: str, words: str) -> None:
    path = made_up / f"{name}.py"
    path.write_text(source if "lines" in words or "line 3" in words else GOOD + source)
    found = [line for line in violations(made_up) if line.startswith(f"{name}: ")]
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("jobs/service", "from avm_mcp.domain import catalog\nfrom avm_mcp.provider.client import AvmClient"),
        ("provider/client", "from avm_mcp import __version__\nimport httpx2\nimport time\nx = time.monotonic()"),
        (
            "app",
            "import httpx2\nx = httpx2.AsyncClient(timeout=httpx2.Timeout(connect=1, read=1, write=1, pool=1))",
        ),
        (
            "store/jobs",
            "from avm_mcp.store.driver import Driver\nfrom .driver import Row\nfrom ..domain.rate_limit import Want",
        ),
        ("sandbox/app", "from avm_mcp.sandbox.state import Sandbox"),
        ("domain/catalog", "x = 't2v'"),
        ("jobs/service", "def f():\n    '''One i2v_v3 took 13 minutes.'''\nx = 't2vs relevance'"),
        ("app", "def f():\n    from avm_mcp.sandbox import SandboxOptions"),
        ("settings", "import os\nx = os.environ"),
        ("cli/terminal", "print('x')"),
        ("downloads/downloader", "try:\n    pass\nexcept Exception:\n    pass"),
        ("provider/client", "from requests_toolbelt import x\nblueprint = pprint = None\nblueprint()"),
    ],
)
def test_a_right_module_is_left_alone(made_up: Path, name: str, source: str) -> None:
    (made_up / f"{name}.py").write_text(GOOD + source)
    assert violations(made_up) == []


def test_a_module_without_a_docstring_is_found(made_up: Path) -> None:
    (made_up / "domain" / "errors.py").write_text("x = 1\n")
    assert violations(made_up) == ["domain/errors: has no docstring"]


def test_a_circle_is_found(made_up: Path) -> None:
    for one, other in itertools.pairwise(("a", "b", "c", "a")):
        (made_up / "domain" / f"{one}.py").write_text(f"{GOOD}from avm_mcp.domain import {other}\n")
    (made_up / "domain" / "d.py").write_text(f"{GOOD}from avm_mcp.domain.a import x\n")
    assert circles(made_up) == [{"domain/a", "domain/b", "domain/c"}]
