"""The ASGI app: routes, faults and the video host around the endpoints.

It is written against ASGI itself, without a framework, since a framework's error pages would turn a connection
that has to die into a 500.
"""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

import anyio

from avm_mcp.sandbox.answers import Answer, http_date, not_found, wrong_method
from avm_mcp.sandbox.control import Control
from avm_mcp.sandbox.endpoints import Call, Endpoints, route, spoiled
from avm_mcp.sandbox.faults import DroppedConnection, Fault
from avm_mcp.sandbox.ledger import fingerprint
from avm_mcp.sandbox.options import SandboxOptions
from avm_mcp.sandbox.state import Sandbox, Seen
from avm_mcp.sandbox.video_host import VideoHost

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHUNK = 65536
LARGEST_BODY = 64 * 1024 * 1024
DROP = "avm.drop"  # in scope["extensions"]: a function that kills the connection
SPEED = "x-avm-sandbox-speed"
_CUTS = ("cut", "truncated", "stall")


class SandboxApp:
    """The app; `sandbox` is its state, with the methods a test needs."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._endpoints = Endpoints(sandbox)
        self._videos = VideoHost(sandbox)
        self._control = Control(sandbox)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await _Exchange(self.sandbox, self._endpoints, self._videos, self._control, scope, receive, send).run()


def build_sandbox(options: SandboxOptions | None = None, *, now: Callable[[], float] | None = None) -> SandboxApp:
    """An ASGI app that behaves like the API; `now` is the wall clock (`time.time` when left out)."""
    return SandboxApp(Sandbox(options or SandboxOptions(), now))


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        sandbox: Sandbox,
        endpoints: Endpoints,
        videos: VideoHost,
        control: Control,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._sandbox, self._endpoints, self._videos, self._control = sandbox, endpoints, videos, control
        self._scope, self._receive, self._send = scope, receive, send
        self._path: str = scope["path"]
        self._method: str = scope["method"]
        self._headers: dict[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._seen: Seen | None = None
        self._fault: Fault | None = None

    async def run(self) -> None:
        if self._path.startswith("/_control/") and self._sandbox.options.control:
            given = self._control.serve(self._method, self._path, await self._body())
            return await self._answer(given)
        if self._path.startswith("/files/"):
            return await self._file()
        found = route(self._path, live=self._sandbox.live)
        if found is None:
            return await self._answer(not_found())
        endpoint, name, method = found
        if self._method != method:
            return await self._answer(wrong_method(method))
        body = await self._body()
        if len(body) > LARGEST_BODY:
            return await self._answer(Answer(413, b"Payload Too Large", content_type="text/plain"))
        return await self._endpoint(endpoint, name, body)

    async def _endpoint(self, endpoint: str, name: str, body: bytes) -> None:
        sandbox = self._sandbox
        at = sandbox.tick()
        client = self._scope.get("client") or ("", 0)
        fault = self._arrived(endpoint, at, str(client[0]), body)
        call = Call(endpoint, name, self._headers, body, self._base_url(), str(client[0]), fault)
        if sandbox.options.user_agent_required and "Mozilla/5.0" not in self._headers.get("user-agent", ""):
            return await self._answer(Answer(403, b"Forbidden", content_type="text/plain"))
        limited = self._endpoints.limited(call, at)
        if limited:
            return await self._answer(limited)
        if fault and not fault.after and await self._instead(fault):
            return None
        given = await self._act(call, fault)
        if sandbox.options.answer_delay_seconds:
            await anyio.sleep(sandbox.options.answer_delay_seconds)
        return await self._finish(given, fault)

    async def _act(self, call: Call, fault: Fault | None) -> Answer:
        sandbox = self._sandbox
        if fault is None or fault.kind != "hang" or fault.after:
            return self._endpoints.serve(call, sandbox.tick())
        deferred = sandbox.later(fault.seconds, lambda at: self._endpoints.serve(call, at))
        await anyio.sleep(fault.seconds)
        return deferred.run(sandbox.tick())

    async def _file(self) -> None:
        if self._method not in ("GET", "HEAD"):
            return await self._answer(wrong_method("GET, HEAD"))
        at = self._sandbox.tick()
        client = self._scope.get("client") or ("", 0)
        fault = self._arrived("file", at, str(client[0]), b"")
        if fault and not fault.after and await self._instead(fault):
            return None
        if fault and fault.kind == "hang" and not fault.after:
            await anyio.sleep(fault.seconds)
        name = self._path.removeprefix("/files/")
        query = self._scope.get("query_string", b"").decode("latin-1")
        await anyio.sleep(self._sandbox.options.file_first_byte_seconds)
        given = await self._videos.serve(name, query, self._headers, self._sandbox.tick())
        return await self._finish(given, fault, self._sandbox.options.file_rate)

    # Faults

    async def _instead(self, fault: Fault) -> bool:
        """What happens in place of the work; False when the work is still to be done."""
        if fault.kind not in ("answer", "drop"):
            return False
        await anyio.sleep(fault.seconds)
        if fault.kind == "drop":
            await self._drop(fault)
        else:
            await self._answer(_answer_of(fault))
        return True

    async def _finish(self, given: Answer, fault: Fault | None, rate: float | None = None) -> None:
        """Send the answer, spoiled by the fault if there is one, at so many bytes a second."""
        if fault is None or not fault.after:
            return await self._answer(spoiled(given, fault), rate)
        if fault.kind == "trickle":
            return await self._answer(given, fault.size / fault.seconds, fault.size)
        if fault.kind in _CUTS:
            return await self._cut(given, fault)
        await anyio.sleep(fault.seconds)
        if fault.kind == "drop":
            return await self._drop(fault)
        if fault.kind == "answer":
            return await self._answer(_answer_of(fault))
        if fault.kind == "half":
            given = replace(given, body=given.body[: len(given.body) // 2])
        return await self._answer(spoiled(given, fault))

    async def _cut(self, given: Answer, fault: Fault) -> None:
        await self._head(given)
        await self._send({"type": "http.response.body", "body": given.body[: len(given.body) // 2], "more_body": True})
        await anyio.sleep(fault.seconds)
        await self._drop(fault)

    async def _drop(self, fault: Fault) -> None:
        """Let the connection die: under a real server by its transport, else by an exception."""
        drop: Callable[[bool], None] | None = self._scope.get("extensions", {}).get(DROP)
        if drop is None:
            raise DroppedConnection(self._path, reset=fault.reset)
        drop(fault.reset)
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # HTTP

    def _arrived(self, endpoint: str, at: float, client: str, body: bytes) -> Fault | None:
        sandbox, headers = self._sandbox, self._headers
        self._fault = fault = sandbox.faults.take(endpoint)
        self._seen = Seen(
            endpoint=endpoint,
            method=self._method,
            path=self._path,
            at=at,
            key=fingerprint(headers["key"]) if headers.get("key") else "",
            client=client,
            idempotency_key=headers.get("idempotency-key"),
            max_credits=headers.get("x-max-credits"),
            body_sha256=hashlib.sha256(body).hexdigest(),
            headers={name: value for name, value in headers.items() if name not in ("key", "authorization")},
            fault=fault.kind if fault else "",
        )
        sandbox.requests.append(self._seen)
        sandbox.counts[endpoint] += 1
        return fault

    async def _body(self) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return bytes(body)
            if len(body) <= LARGEST_BODY:
                body += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(body)

    def _base_url(self) -> str:
        server = self._scope.get("server") or ("localhost", None)
        host = self._headers.get("host") or ":".join(str(part) for part in server if part)
        return f"{self._scope.get('scheme', 'http')}://{host}"

    async def _head(self, given: Answer) -> None:
        if self._seen:
            self._seen.status = given.status
        now = self._sandbox.tick() + self._sandbox.options.clock_skew_seconds
        if self._fault and self._fault.kind == "date":
            now += self._fault.seconds
        headers = {
            "date": http_date(now),
            "content-type": given.content_type,
            "content-length": str(len(given.body)),
            **({SPEED: f"{self._sandbox.options.speed:g}"} if self._sandbox.options.says_speed else {}),
            **given.headers,
        }
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": given.status, "headers": raw})

    async def _answer(self, given: Answer, rate: float | None = None, piece: int | None = None) -> None:
        """Send it; at `rate` bytes a second where one is given, `piece` bytes at a time."""
        await self._head(given)
        body = b"" if self._method == "HEAD" else given.body
        chunk = CHUNK if rate is None else piece or max(1, min(CHUNK, int(rate)))
        for start in range(0, len(body), chunk):
            more = start + chunk < len(body)
            part = body[start : start + chunk]
            if rate is not None:
                await anyio.sleep(len(part) / rate)
            await self._send({"type": "http.response.body", "body": part, "more_body": more})
        if not body:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _answer_of(fault: Fault) -> Answer:
    headers = {"retry-after": fault.retry_after, "location": fault.location}
    given = {name: value for name, value in headers.items() if value is not None}
    return Answer(fault.status, fault.body.encode(), given, fault.content_type)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
