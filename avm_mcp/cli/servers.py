"""The commands that run until a signal: MCP on stdio, MCP over HTTP, the sandbox."""

import argparse
import logging
import os
import signal
import socket
from pathlib import Path
from types import TracebackType

import anyio

from avm_mcp import fast_start
from avm_mcp.app import Runtime
from avm_mcp.cli import exits, sockets
from avm_mcp.cli.signals import STOPPING, stopping
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain.errors import AvmError, BadSetting
from avm_mcp.settings import Settings

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that a stdio server gives its runtime after a signal, since paid requests wait for their answers."""


class _ObservedRuntime(Runtime):
    """A runtime whose shutdown can be awaited."""

    def __init__(self, settings: Settings, refusal: AvmError | None) -> None:
        super().__init__(settings, refusal)
        self.down = anyio.Event()
        self.up = False

    async def __aenter__(self) -> "_ObservedRuntime":
        self.up = True
        started = False
        try:
            await super().__aenter__()
            started = True
        finally:
            if not started:  # a signal came meanwhile: the start was undone
                self.down.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self.down.set()


def stdio(settings: Settings, refusal: AvmError | None) -> int:
    """Serve MCP on stdin and stdout until stdin ends or a signal comes; with a refusal, each call answers that."""
    fast_start.attach()
    anyio.run(_stdio, settings, refusal)
    return exits.OK


async def _stdio(settings: Settings, refusal: AvmError | None) -> None:
    from avm_mcp.mcp_server.server import build_server

    runtime = _ObservedRuntime(settings, refusal)
    server = build_server(runtime)
    stop = anyio.Event()

    async def end(serving: anyio.CancelScope) -> None:
        await stop.wait()
        serving.cancel()
        if runtime.up:
            with anyio.move_on_after(SHUTDOWN_TIMEOUT):
                await runtime.down.wait()
        logging.shutdown()
        os._exit(exits.OK)  # a thread that reads stdin cannot be woken, and would keep the process alive

    async with stopping(stop), anyio.create_task_group() as group:
        with anyio.CancelScope() as serving:
            group.start_soon(end, serving)
            await server.run_stdio_async()
        if not stop.is_set():
            group.cancel_scope.cancel()


def http(
    settings: Settings, refusal: AvmError | None, host: str, port: int, path: Path | None, terminal: Terminal
) -> int:
    """Serve MCP over HTTP, on a port or on a Unix socket at a path, until a signal comes.

    With a refusal, each call answers that.

    Raises:
        BadSetting: The address cannot be listened on.
    """
    from avm_mcp.mcp_server.http import describe_exposure, uvicorn_server

    # Callers may be on another machine behind a tunnel: pictures come by link or as data, never by path.
    server = uvicorn_server(Runtime(settings, refusal, paths_allowed=False), host)

    def end(_number: int, _frame: object) -> None:
        """Handle a signal before uvicorn does, and again when uvicorn raises it after its shutdown."""
        server.should_exit = True

    for number in STOPPING:
        signal.signal(number, end)
    with _bind(host, port) if path is None else sockets.bind(path) as listener:
        listener.listen()
        if path is None:
            url = _url(listener) + "/mcp"
            terminal.result(lambda: f"MCP over HTTP: {url}", lambda: {"url": url})
            if warning := describe_exposure(settings):
                terminal.note(warning)
        else:
            fields = {"socket": str(path), "url": "http://localhost/mcp"}
            terminal.result(lambda: f"MCP over HTTP at /mcp, on the socket {path}", lambda: fields)
        anyio.run(server.serve, [listener])
    return exits.OK


def sandbox(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run a sandbox until a signal comes.

    Raises:
        BadSetting: The address cannot be listened on.
    """
    from avm_mcp.sandbox import SandboxOptions

    options = SandboxOptions(
        profile=args.profile,
        speed=args.speed,
        seed=args.seed,
        balance=args.balance,
        render=not args.no_render,
        control=args.control,
    )

    def ready(url: str) -> None:
        terminal.result(lambda: f"{url}\n{_explain_use(url, args.speed)}", lambda: {"url": url})

    try:
        anyio.run(_sandbox, options, args.host, args.port, ready)
    except ValueError as error:
        raise BadSetting(f"--host: {error}.", field="--host") from None
    except OSError as error:
        raise _port_error(args.host, args.port, error) from None
    return exits.OK


async def _sandbox(options: object, host: str, port: int, ready: object) -> None:
    from avm_mcp.sandbox.server import serve

    stop = anyio.Event()
    failures: list[Exception] = []
    async with stopping(stop), anyio.create_task_group() as group:

        async def run() -> None:
            try:
                await serve(options, host, port, ready=ready)  # type: ignore[arg-type]
            except (ValueError, OSError) as error:
                failures.append(error)
                stop.set()

        group.start_soon(run)
        await stop.wait()
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]


def _explain_use(url: str, speed: float) -> str:
    return (
        f"A sandbox of aivideomaker.ai, {speed:g} times as fast; no money is spent, its videos are placeholders.\n"
        f"Use it with: AVM_BASE_URL={url} AVM_API_KEY=anything avm text-to-video 'a red kite over the sea'\n"
        "Ctrl-C ends it, and its tasks with it."
    )


def _bind(host: str, port: int) -> socket.socket:
    """Bind the port here, so that a failure is one line and the number is known when 0 was asked for."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # elsewhere it would share a port that is taken
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise _port_error(host, port, error) from None
    return listener


def _port_error(host: str, port: int, error: Exception) -> BadSetting:
    why = getattr(error, "strerror", None) or str(error)
    return BadSetting(f"--port {port} on {host} cannot be used: {why}. 0 takes a free one.", field="--port")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
