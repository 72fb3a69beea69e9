"""Videos are saved whole and once, and their host learns nothing of ours."""

import asyncio
import contextlib
import errno
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.downloads import partials, safe_http
from avm_mcp.downloads.failures import VideoCut, VideoError, VideoGone, VideoRefused, VideoUnavailable, VideoUnwritable
from avm_mcp.downloads.mp4 import video_is_whole
from avm_mcp.downloads.names import video_name
from avm_mcp.downloads.partials import Partial, video_present
from avm_mcp.downloads.saving import SavedVideo, save_video
from avm_mcp.provider.exchange import build_timeout

API = "http://127.0.0.1:8800"
URL = "https://static.example.com/a.mp4"
NAME = "2026-09-01-cat-ck9x1.mp4"
PUBLIC = ["93.184.216.34"]
CONTENT = bytes(range(256)) * 4000


def mp4(content: bytes) -> bytes:
    """Return the smallest whole video with this content."""
    return struct.pack(">I4s4sII4sI4s", 16, b"ftyp", b"isom", 512, 8, b"moov", 8 + len(content), b"mdat") + content


VIDEO = mp4(CONTENT)
HALF = VIDEO[: len(VIDEO) // 2]
ETAG = {"etag": '"v1"'}
SECRET = "avm-secret-key"

Handler = Callable[[httpx2.Request], httpx2.Response]


class InterruptedBody(httpx2.AsyncByteStream):
    """A response body in pieces, which may end with an error."""

    def __init__(self, *pieces: bytes, error: Exception | None = None, pause: float = 0) -> None:
        self.pieces, self.error, self.pause = pieces, error, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if self.pause:
                await anyio.sleep(self.pause)
            yield piece
        if self.error is not None:
            raise self.error


class Host:
    """A file host with range requests and validators, which records the requests."""

    def __init__(self, video: bytes = VIDEO, headers: dict[str, str] | None = None, pause: float = 0) -> None:
        self.video, self.headers, self.pause = video, ETAG if headers is None else headers, pause
        self.cuts: list[int] = []  # after how many bytes each answer breaks off
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        start, status, headers = 0, 200, dict(self.headers)
        if "range" in request.headers and request.headers.get("if-range") in self.headers.values():
            start, status = int(request.headers["range"][6:-1]), 206
            headers["content-range"] = f"bytes {start}-{len(self.video) - 1}/{len(self.video)}"
        rest = self.video[start:]
        headers["content-length"] = str(len(rest))
        cut = self.cuts.pop(0) if self.cuts else None
        error = None if cut is None else httpx2.ReadError("cut")
        pieces = [rest[place : min(place + 65536, cut or len(rest))] for place in range(0, cut or len(rest), 65536)]
        return httpx2.Response(status, headers=headers, stream=InterruptedBody(*pieces, error=error, pause=self.pause))


async def resolve(host: str, port: int) -> list[str]:
    assert host.endswith("example.com")
    assert port in (80, 443)
    return PUBLIC


async def save(handler: Handler, folder: Path, url: str = URL, *, name: str = NAME, **more: object) -> SavedVideo:
    more.setdefault("resolver", resolve)
    headers = {"key": SECRET, "Authorization": f"Bearer {SECRET}"}
    async with httpx2.AsyncClient(
        transport=httpx2.MockTransport(handler),
        headers=headers,
        cookies={"key": SECRET},
        auth=("u", SECRET),
        params={"key": SECRET},
    ) as http:
        return await save_video(url, folder=folder, name=name, http=http, base_url=API, **more)  # pyright: ignore[reportArgumentType]


def always(status: int, content: bytes = b"", **headers: str) -> Handler:
    return lambda _: httpx2.Response(
        status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Saving


async def test_a_video_is_saved_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    """P3."""
    seen: list[tuple[int, int | None]] = []
    saved = await save(Host(), tmp_path / "a" / "b", on_bytes=lambda done, total: seen.append((done, total)))
    assert saved == SavedVideo(tmp_path / "a" / "b" / NAME, len(VIDEO))
    assert saved.path.read_bytes() == VIDEO
    assert left(saved.path.parent) == [NAME]
    assert seen[-1] == (len(VIDEO), len(VIDEO))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert video_present(saved.path)
    assert video_present(saved.path, len(VIDEO))
    assert not video_present(saved.path, 1)
    assert not video_present(tmp_path)
    assert not video_present(tmp_path / "none")


async def test_no_secret_goes_to_the_host_of_a_video(tmp_path: Path) -> None:
    """P5: not as header, cookie, parameter or password, and not after redirects, although the pool has all of them."""
    asked: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        if len(asked) == 1:
            return httpx2.Response(
                302, headers={"location": "https://cdn.example.com/b.mp4", "set-cookie": "a=b; path=/"}
            )
        if len(asked) == 2:
            return httpx2.Response(307, headers={"location": f"{API}/c.mp4"})
        return Host()(request)

    await save(handler, tmp_path)
    assert len(asked) == 3
    for request in asked:
        assert SECRET not in f"{request.url}{request.headers.raw}"
        assert {"key", "authorization", "cookie"}.isdisjoint(request.headers)
        assert set(request.headers) <= {"host", "accept", "accept-encoding", "user-agent", "connection"}


async def test_the_address_that_was_checked_is_the_one_connected_to(tmp_path: Path) -> None:
    """P5: a name that resolves differently after the check gains nothing."""
    host = Host()
    await save(host, tmp_path)
    (request,) = host.asked
    assert request.url.host == PUBLIC[0]
    assert request.headers["host"] == "static.example.com"
    assert request.extensions["sni_hostname"] == "static.example.com"
    assert request.extensions["timeout"]["read"] == 5


async def test_the_next_address_is_tried_when_one_does_not_answer(tmp_path: Path) -> None:
    host, tried = Host(), []

    async def two(*_: object) -> list[str]:
        return ["2606:2800:220:1::1", "93.184.216.34"]

    def handler(request: httpx2.Request) -> httpx2.Response:
        tried.append(request.url.host)
        if ":" in request.url.host:
            raise httpx2.ConnectError("no route")
        return host(request)

    await save(handler, tmp_path, resolver=two)
    assert tried == ["2606:2800:220:1::1", "93.184.216.34"]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools of these tests trust the environment, as the real one does."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


async def test_behind_a_proxy_names_are_checked_as_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    host = Host()
    await save(host, tmp_path)
    assert host.asked[0].url.host == "static.example.com"
    for private in ("https://10.0.0.1/a.mp4", "https://localhost/a.mp4", "https://metadata.internal/a.mp4"):
        with pytest.raises(VideoRefused):
            await save(host, tmp_path, private)


@pytest.mark.parametrize("url", ["http://static.example.com/a.mp4", "http://static.example.com:443/a.mp4"])
async def test_without_a_proxy_for_the_scheme_the_resolved_address_is_checked(
    tmp_path: Path, monkeypatch, url: str
) -> None:
    """P5: the pool chooses a proxy by the scheme, whatever the port is."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    async def private(_host: str, _port: int) -> list[str]:
        return ["10.0.0.1"]

    with pytest.raises(VideoRefused):
        await save(Host(), tmp_path, url, resolver=private)


@pytest.mark.process
async def test_behind_a_proxy_a_video_is_saved_although_its_name_does_not_resolve_here(tmp_path, monkeypatch) -> None:
    """P3: as in many offices and clouds. The pool and the proxy are real."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        while await reader.readline() != b"\r\n":
            pass
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(VIDEO)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + VIDEO)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        url = "http://videos.no-such-name.example.com/a.mp4"
        async with httpx2.AsyncClient() as http:
            saved = await save_video(url, folder=tmp_path, name=NAME, http=http, base_url=API)
    assert saved.path.read_bytes() == VIDEO
    assert asked == [f"GET {url} HTTP/1.1\r\n".encode()]


@pytest.mark.parametrize(
    ("proxies", "scheme", "through"),
    [
        ({}, "https", False),
        ({"https": "http://p:1"}, "https", True),
        ({"https": "http://p:1"}, "http", False),
        ({"http": "http://p:1"}, "https", False),
        ({"all": "socks5://p:1"}, "https", True),
        ({"https": "http://p:1", "no": "localhost, 127.0.0.1"}, "https", True),
        ({"https": "http://p:1", "no": "example.com"}, "https", False),
        ({"https": "http://p:1", "no": ".Example.com"}, "https", False),
        ({"https": "http://p:1", "no": "https://*.example.com:443"}, "https", False),
        ({"https": "http://p:1", "no": "le.com"}, "https", False),  # some libraries read it so
        ({"https": "http://p:1", "no": "*"}, "https", False),
    ],
)
def test_the_environment_decides_about_proxies_and_in_doubt_there_is_none(
    proxies: dict[str, str], scheme: str, through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: without a proxy, the resolved address is always checked."""
    for name, value in proxies.items():
        monkeypatch.setenv(f"{name}_proxy", value)
    assert safe_http.uses_proxy(scheme, "VIDEOS.example.com") is through


async def test_the_system_resolver_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("1.2.3.4", 443)), (2, 2, 17, "", ("1.2.3.4", 443)), (10, 1, 6, "", ("2606::1", 443))]

    monkeypatch.setattr(anyio, "getaddrinfo", found)
    assert await safe_http.look_up("example.com", 443) == ["1.2.3.4", "2606::1"]


# Private addresses


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/x.mp4", "http://127.0.0.1:8801/x.mp4", "https://127.0.0.1:8800/x.mp4",
        "http://localhost:8800/x", "http://[::1]/x",
        "http://169.254.169.254/latest/meta-data", "http://2130706433/x", "http://0x7f.1/x", "http://10.0.0.7/x",
        "http://[::ffff:10.0.0.1]/x", "file:///etc/passwd", "ftp://example.com/x", "https://u:p@example.com/x",
        "//db.internal/x",
        "https://inside.example.com/x", "https://mixed.example.com/x", "gopher:x", "http://", "http://[::1",
    ],
)  # fmt: skip
async def test_a_link_or_redirect_into_a_private_network_is_refused(tmp_path: Path, location: str) -> None:
    """P5, P3: at every redirect, before a request. What a name resolves to may change, a literal address may not."""
    asked: list[str] = []

    async def names(host: str, port: int) -> list[str]:
        return {"inside.example.com": ["192.168.1.1"], "mixed.example.com": [*PUBLIC, "127.0.0.1"]}.get(host, PUBLIC)

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers["host"])
        return httpx2.Response(302, headers={"location": location})

    with pytest.raises(VideoRefused) as caught:
        await save(handler, tmp_path, resolver=names)
    assert caught.value.retryable, "a login page redirects so until somebody signs in"
    assert asked == ["static.example.com"]
    if not location.startswith("//"):
        with pytest.raises(VideoRefused) as caught:
            await save(handler, tmp_path, location, resolver=names)
        assert len(asked) == 1
        assert caught.value.retryable is ("example.com/x" in location and "@" not in location and "https" in location)
    assert left(tmp_path) == []


async def test_the_origin_of_the_api_alone_may_be_private(tmp_path: Path) -> None:
    saved = await save(Host(), tmp_path, f"{API}/files/a.mp4")
    assert saved.size == len(VIDEO)


async def test_odd_characters_behind_the_host_do_not_matter(tmp_path: Path) -> None:
    """P3: they do not decide where a link leads, and a signature may have any."""
    host = Host()
    await save(host, tmp_path, "https://static.example.com/a\\b`.mp4?signature=`\\|")
    assert host.asked[0].url.host == PUBLIC[0]


async def test_the_number_of_redirects_is_limited(tmp_path: Path) -> None:
    asked: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(302, headers={"location": f"/step{len(asked)}"})

    with pytest.raises(VideoRefused, match="more than 5 times"):
        await save(handler, tmp_path)
    assert len(asked) == 6
    with pytest.raises(VideoUnavailable, match="to nowhere"):
        await save(always(302), tmp_path)


async def test_a_name_that_does_not_resolve_is_retryable(tmp_path: Path) -> None:
    async def fails(*_: object) -> list[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(VideoUnavailable, match="not found"):
        await save(Host(), tmp_path, resolver=fails)


# Cuts


async def test_a_cut_is_continued_where_it_was(tmp_path: Path) -> None:
    """P3: by the same call."""
    host = Host()
    host.cuts = [300_000, 65_536]
    saved = await save(host, tmp_path)
    assert saved.path.read_bytes() == VIDEO
    assert [request.headers.get("range") for request in host.asked] == [None, "bytes=300000-", "bytes=365536-"]
    assert host.asked[1].headers["if-range"] == '"v1"'


async def test_a_cut_is_continued_by_the_next_call(tmp_path: Path) -> None:
    """P3: and by the next process."""
    host = Host()
    host.cuts = [100_000, 1000, 1000, 1000, 1000]
    with pytest.raises(VideoUnavailable, match="broke off") as caught:
        await save(host, tmp_path)
    assert caught.value.retryable
    assert left(tmp_path) == [f".{NAME}.part", f".{NAME}.part.info"]
    saved = await save(host, tmp_path)
    assert host.asked[-1].headers["range"] == "bytes=104000-"
    assert saved.path.read_bytes() == VIDEO
    assert left(tmp_path) == [NAME]


async def test_a_body_that_ends_early_without_an_error_is_noticed(tmp_path: Path) -> None:
    """P3: a video shorter than its Content-Length is not put in place."""

    def short(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={**ETAG, "content-length": "999999999"}, stream=InterruptedBody(VIDEO))

    with pytest.raises(VideoUnavailable, match="of 999,999,999 bytes"):
        await save(short, tmp_path)
    assert NAME not in left(tmp_path)


@pytest.mark.parametrize("headers", [{}, {"etag": 'W/"weak"'}])
async def test_without_a_validator_the_first_bytes_are_compared(tmp_path: Path, headers: dict[str, str]) -> None:
    host = Host(headers=headers)
    host.cuts = [100_000]
    saved = await save(host, tmp_path)
    assert saved.path.read_bytes() == VIDEO
    assert [request.headers.get("range") for request in host.asked] == [None, "bytes=0-65535"]
    assert "if-range" not in host.asked[1].headers


class HostWithoutValidators:
    """A file host with range requests and without validators."""

    def __init__(self, video: bytes) -> None:
        self.video = video
        self.cut: int | None = None  # after how many bytes answers break off
        self.asked: list[str | None] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        asked = request.headers.get("range")
        self.asked.append(asked)
        if asked is None:
            body, status, headers = self.video, 200, {}
        else:
            first, last = asked.removeprefix("bytes=").split("-")
            end = int(last) + 1 if last else len(self.video)
            body, status = self.video[int(first) : end], 206
            headers = {"content-range": f"bytes {first}-{end - 1}/{len(self.video)}"}
        headers |= {"content-length": str(len(body))}
        if self.cut is None or len(body) <= 65536:
            return httpx2.Response(status, headers=headers, content=body)
        return httpx2.Response(
            status, headers=headers, stream=InterruptedBody(body[: self.cut], error=httpx2.ReadError("cut"))
        )


async def test_without_a_validator_a_cut_is_continued_where_length_and_both_ends_are_the_same(tmp_path: Path) -> None:
    """P3: by the same call, and by the next one, which may be another process."""
    host = HostWithoutValidators(VIDEO)
    host.cut = 150_000
    with pytest.raises(VideoUnavailable, match="broke off"):
        await save(host, tmp_path)
    assert host.asked[:3] == [None, "bytes=0-65535", f"bytes={150_000 - 65536}-"]
    held = (tmp_path / f".{NAME}.part").stat().st_size
    assert held == 150_000 + 4 * (150_000 - 65536)
    host.cut, host.asked = None, []
    assert (await save(host, tmp_path)).path.read_bytes() == VIDEO
    assert host.asked == ["bytes=0-65535", f"bytes={held - 65536}-"]
    assert left(tmp_path) == [NAME]


def changed(place: int) -> bytes:
    return VIDEO[:place] + bytes([VIDEO[place] ^ 1]) + VIDEO[place + 1 :]


@pytest.mark.parametrize("other", [changed(100), changed(100_000), VIDEO + bytes(8), VIDEO[:-8]])
async def test_without_a_validator_two_versions_of_a_video_are_never_mixed(tmp_path: Path, other: bytes) -> None:
    """P3: a different length, first bytes or last bytes start the download over."""
    host = HostWithoutValidators(VIDEO)
    host.cut = 120_000
    with anyio.move_on_after(0.5), contextlib.suppress(VideoError):
        await save(host, tmp_path)
    assert (tmp_path / f".{NAME}.part").stat().st_size == 120_000
    host.video, host.cut = other, None
    if len(other) < len(VIDEO):
        with pytest.raises(VideoCut):
            await save(host, tmp_path)
        return
    assert (await save(host, tmp_path)).path.read_bytes() == other


@pytest.mark.parametrize("headers", [ETAG, {}])
@pytest.mark.parametrize(
    "page",
    [
        always(403, b"error code: 1010"),
        always(404),
        always(401),
        always(502, b"x"),
        always(200, b"<html>Sign in to the Wi-Fi</html>", content_type="text/html"),
        always(200, b""),
        always(200, b"x", content_encoding="gzip"),
        always(302, location="http://192.168.1.1/login"),
    ],
)
async def test_no_response_in_the_hosts_place_empties_the_partial_file(
    tmp_path: Path, page: Handler, headers: dict[str, str]
) -> None:
    """P3: a login page must not cost a gigabyte that has arrived."""
    host = Host(headers=headers) if headers else HostWithoutValidators(VIDEO)
    if isinstance(host, Host):
        host.cuts = [120_000]
    else:
        host.cut = 120_000
    with anyio.move_on_after(0.5), contextlib.suppress(VideoError):
        await save(host, tmp_path)
    with pytest.raises(VideoError) as caught:
        await save(page, tmp_path)
    assert caught.value.retryable
    assert (tmp_path / f".{NAME}.part").stat().st_size == 120_000
    if isinstance(host, HostWithoutValidators):
        host.cut = None
    host.asked = []
    assert (await save(host, tmp_path)).path.read_bytes() == VIDEO
    asked = [one if isinstance(one, str) else one.headers.get("range") for one in host.asked]
    assert asked[-1] == (f"bytes={120_000 - 65536}-" if isinstance(host, HostWithoutValidators) else "bytes=120000-")


async def test_a_download_at_a_few_bytes_a_minute_is_ended_and_a_slow_one_is_not(tmp_path: Path) -> None:
    """P3: one byte every four seconds never reaches the read time-out."""
    still = InterruptedBody(VIDEO[:100], *[b"x"] * 1000, pause=4)
    began = anyio.current_time()
    with pytest.raises(VideoUnavailable, match="bytes came in"):
        await save(lambda _: httpx2.Response(200, headers=ETAG, stream=still), tmp_path)
    assert anyio.current_time() - began < 5 * 70 + 15
    slow = InterruptedBody(*[VIDEO[place : place + 500] for place in range(0, len(VIDEO), 500)], pause=4)
    began = anyio.current_time()
    await save(lambda _: httpx2.Response(200, headers=ETAG, stream=slow), tmp_path / "slow")
    assert anyio.current_time() - began > 8000


async def test_headers_and_name_resolution_are_bounded_in_time(tmp_path: Path) -> None:
    """P3, P4."""

    async def never(*_: object) -> list[str]:
        await anyio.sleep_forever()
        raise AssertionError

    class Deaf(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await anyio.sleep_forever()
            raise AssertionError

    for resolver, words in ((never, "not found"), (resolve, "does not answer")):
        began = anyio.current_time()
        async with httpx2.AsyncClient(transport=Deaf(), timeout=build_timeout(30, 10)) as http:
            with pytest.raises(VideoUnavailable, match=words):
                await save_video(URL, folder=tmp_path, name=NAME, http=http, base_url=API, resolver=resolver)
        assert anyio.current_time() - began <= 50


@pytest.mark.parametrize(
    ("found", "url", "connected"),
    [
        (["198.18.0.7"], URL, "198.18.0.7"),
        (["fdfe:dcba:9876::7", "198.19.255.1"], URL, "198.19.255.1"),
        (["127.0.0.1", "198.18.0.7"], URL, "198.18.0.7"),
        (["198.18.0.7"], URL.replace("https", "http"), None),
        (PUBLIC, "https://198.18.0.7/a.mp4", None),
        (["198.20.0.1"], URL, "198.20.0.1"),
        (["198.17.0.1", "10.0.0.1"], URL, None),
        (["fdfe:dcba:9876::7"], URL, None),
    ],
)
async def test_the_address_of_a_local_proxy_is_accepted_for_names_over_https_only(
    tmp_path: Path, found: list[str], url: str, connected: str | None
) -> None:
    """P3, P5: 198.18.0.0/15, since TLS proves the host; not as a literal and not over http."""

    async def stand_in(*_: object) -> list[str]:
        return found

    host = Host()
    if connected is None:
        with pytest.raises(VideoRefused):
            await save(host, tmp_path, url, resolver=stand_in)
        assert host.asked == []
        return
    await save(host, tmp_path, url, resolver=stand_in)
    assert [request.url.host for request in host.asked] == [connected]
    assert host.asked[0].extensions["sni_hostname"] == "static.example.com"


async def test_a_certificate_that_is_not_valid_is_named(tmp_path: Path) -> None:
    """P3: as behind a login page or an inspecting proxy, so that the user can act."""

    def handler(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")

    with pytest.raises(VideoUnavailable, match="its certificate is not valid"):
        await save(handler, tmp_path)


async def test_a_date_is_a_validator_too(tmp_path: Path) -> None:
    host = Host(headers={"last-modified": "Wed, 21 Oct 2026 07:28:00 GMT"})
    host.cuts = [100_000]
    saved = await save(host, tmp_path)
    assert saved.path.read_bytes() == VIDEO
    assert host.asked[1].headers["if-range"] == "Wed, 21 Oct 2026 07:28:00 GMT"


# Half a video in a flawless answer


@pytest.mark.parametrize("headers", [ETAG, {}])
async def test_half_a_video_in_a_complete_response_is_fetched_again_from_its_first_byte(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    """P3: past caches on the way; the partial file is kept meanwhile."""
    host = Host(HALF, headers)
    for _ in range(2):
        with pytest.raises(VideoCut, match="looks cut at the service: it ends 512,0"):
            await save(host, tmp_path)
    assert NAME not in left(tmp_path)
    assert [request.headers.get("range") for request in host.asked] == [None, None]
    if headers:
        assert host.asked[1].headers["cache-control"] == "no-cache"
    host.video = VIDEO
    assert (await save(host, tmp_path)).path.read_bytes() == VIDEO
    assert left(tmp_path) == [NAME]


async def test_with_take_cut_half_a_video_is_saved_if_it_arrives_twice_the_same(tmp_path: Path) -> None:
    """P3: a video that still grows is fetched again."""
    sizes = [1_000, 50_000, 100_000, 100_000]

    def growing(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=ETAG, content=VIDEO[: sizes.pop(0)])

    assert (await save(growing, tmp_path, take_cut=True)).size == 100_000
    assert sizes == []
    assert not video_is_whole(tmp_path / NAME)


async def test_with_take_rest_half_a_video_is_saved_when_its_link_is_refused(tmp_path: Path) -> None:
    """P3: half a video is more than none."""
    with pytest.raises(VideoCut):
        await save(Host(HALF), tmp_path)
    with pytest.raises(VideoGone):
        await save(always(404), tmp_path)
    assert left(tmp_path) == [f".{NAME}.part", f".{NAME}.part.info"], "the host may have it again in a minute"
    with pytest.raises(VideoGone):
        await save(always(404), tmp_path, take_cut=True)
    saved = await save(always(404), tmp_path, take_rest=True)
    assert saved.path.read_bytes() == HALF
    assert left(tmp_path) == [NAME]


async def test_a_video_that_changed_meanwhile_starts_over(tmp_path: Path) -> None:
    host = Host()
    host.cuts = [100_000] * 5
    with pytest.raises(VideoUnavailable):
        await save(host, tmp_path)
    other = Host(mp4(CONTENT[:5000:-1]), {"etag": '"v2"'})
    saved = await save(other, tmp_path)
    assert saved.path.read_bytes() == other.video


@pytest.mark.parametrize("content_range", ["bytes 0-9/10", "bytes 100000-9/5", "", "bytes */99", "nonsense"])
@pytest.mark.parametrize("status", [206, 416])
async def test_a_response_with_another_range_starts_over(tmp_path: Path, status: int, content_range: str) -> None:
    host = Host()
    host.cuts = [100_000]

    def handler(request: httpx2.Request) -> httpx2.Response:
        if "range" in request.headers:
            return httpx2.Response(status, headers={"content-range": content_range}, content=b"x" * 50)
        return host(request)

    saved = await save(handler, tmp_path)
    assert saved.path.read_bytes() == VIDEO


async def test_a_video_of_unknown_length_is_saved(tmp_path: Path) -> None:
    calls: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        calls.append(request.headers.get("range"))
        if len(calls) == 1:
            return httpx2.Response(
                200, headers=ETAG, stream=InterruptedBody(VIDEO[:3], VIDEO[3:50], error=httpx2.ReadTimeout("slow"))
            )
        return httpx2.Response(
            206,
            headers={**ETAG, "content-range": f"bytes 50-{len(VIDEO) - 1}/{len(VIDEO)}"},
            stream=InterruptedBody(VIDEO[50:]),
        )

    saved = await save(handler, tmp_path)
    assert saved.path.read_bytes() == VIDEO
    assert calls == [None, "bytes=50-"]


async def test_a_cancelled_download_is_continued(tmp_path: Path) -> None:
    """P3: if the host ends the process, no synced byte is lost."""
    host = Host(pause=1)
    with anyio.move_on_after(5.5):
        await save(host, tmp_path)
    assert NAME not in left(tmp_path)
    await save(host, tmp_path)
    assert host.asked[-1].headers["range"] == f"bytes={5 * 65536}-"
    assert (tmp_path / NAME).read_bytes() == VIDEO


async def test_bytes_that_were_not_synced_are_not_trusted(tmp_path: Path) -> None:
    """P3: after a power cut a file can have its length and not its bytes."""
    part, info = tmp_path / f".{NAME}.part", tmp_path / f".{NAME}.part.info"
    for record in (
        "",
        "{",
        "[]",
        '{"held": 1}',
        json.dumps({"held": 9e9, "validator": '"v1"', "total": None}),
        json.dumps({"held": 99, "validator": None, "total": 5}),
    ):
        part.write_bytes(VIDEO[:5000])
        info.write_text(record)
        host = Host()
        saved = await save(host, tmp_path)
        assert "range" not in host.asked[0].headers
        assert saved.path.read_bytes() == VIDEO
        saved.path.unlink()
    part.write_bytes(VIDEO[:5000] + bytes(5000))
    info.write_text(json.dumps({"held": 5000, "validator": '"v1"', "total": len(VIDEO)}))
    host = Host()
    saved = await save(host, tmp_path)
    assert host.asked[0].headers["range"] == "bytes=5000-"
    assert saved.path.read_bytes() == VIDEO


async def test_long_videos_are_synced_while_they_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "CHECKPOINT_BYTES", 100_000)
    records: list[int] = []

    def read_record(_done: int, _total: int | None) -> None:
        with contextlib.suppress(ValueError):
            records.append(json.loads((tmp_path / f".{NAME}.part.info").read_text())["held"])

    await save(Host(), tmp_path, on_bytes=read_record)
    assert len(set(records)) > 5


async def test_a_complete_partial_file_is_renamed_without_a_request(tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.part").write_bytes(VIDEO)
    (tmp_path / f".{NAME}.part.info").write_text(
        json.dumps({"held": len(VIDEO), "validator": '"v1"', "total": len(VIDEO)})
    )
    saved = await save(always(500), tmp_path)
    assert saved.path.read_bytes() == VIDEO
    assert left(tmp_path) == [NAME]


# Bad answers


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_refused_link_is_retryable_and_a_fresh_one_may_help(tmp_path: Path, status: int) -> None:
    """P3: a firewall may have refused it, or its signature has expired. Only the end of the link is final."""
    with pytest.raises(VideoGone) as caught:
        await save(always(status), tmp_path)
    assert caught.value.retryable
    assert caught.value.link_at_fault
    assert left(tmp_path) == []
    (tmp_path / NAME).write_bytes(VIDEO)
    assert await save(always(status), tmp_path) == SavedVideo(tmp_path / NAME, len(VIDEO))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7), ({}, None), ({"retry_after": "soon"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "never"}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 500, 503, 400, 206, 204])
async def test_other_statuses_are_retryable_after_the_time_the_server_asks_for(
    tmp_path: Path, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(VideoUnavailable) as caught:
        await save(always(status, **headers), tmp_path)
    assert caught.value.retryable
    assert caught.value.retry_after == seconds
    assert str(status) in caught.value.message


@pytest.mark.parametrize("error", [httpx2.ConnectError("x"), httpx2.ReadTimeout("x"), httpx2.RemoteProtocolError("x")])
async def test_network_errors_are_retryable(tmp_path: Path, error: Exception) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(VideoUnavailable, match="does not answer"):
        await save(handler, tmp_path)


@pytest.mark.parametrize("content", [b"<html>Sign in to the Wi-Fi</html>", b"", b"1234567", bytes(1000)])
async def test_what_is_not_a_video_is_not_saved(tmp_path: Path, content: bytes) -> None:
    """P3."""
    with pytest.raises(VideoRefused, match="not an MP4") as caught:
        await save(always(200, content), tmp_path)
    assert caught.value.retryable
    assert left(tmp_path) == []


async def test_a_video_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoRefused, match="more than"):
        await save(Host(), tmp_path, max_bytes=1000)

    def endless(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=InterruptedBody(*[VIDEO] * 10))

    with pytest.raises(VideoRefused, match="more than"):
        await save(endless, tmp_path, max_bytes=len(VIDEO) + 1)
    assert left(tmp_path) == []


async def test_responses_that_are_compressed_or_longer_than_announced_are_refused(tmp_path: Path) -> None:

    def longer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-length": "100"}, stream=InterruptedBody(VIDEO))

    with pytest.raises(VideoRefused, match="announced"):
        await save(longer, tmp_path)
    with pytest.raises(VideoRefused, match="compressed"):
        await save(
            lambda _: httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=InterruptedBody(b"x")), tmp_path
        )
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["", "a.mp4", "https://", "http://[", "https://exa mple/", "data:video/mp4;base64,AAAA"]
)
async def test_a_text_that_is_not_a_link_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(VideoRefused):
        await save(Host(), tmp_path, url)


# The folder


async def test_a_video_that_is_in_place_is_not_downloaded_again(tmp_path: Path) -> None:
    taken: list[int] = []
    for _ in range(2):
        saved = await save(Host(), tmp_path, on_bytes=lambda done, _: taken.append(done))
        count = len(taken)
    assert saved.path == tmp_path / NAME
    assert len(taken) == count
    assert left(tmp_path) == [NAME]


async def test_another_file_of_that_name_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    (tmp_path / NAME.replace(".mp4", "-2.mp4")).symlink_to("/nowhere")
    for _ in range(2):
        saved = await save(Host(), tmp_path)
        assert saved.path.name == NAME.replace(".mp4", "-3.mp4")
    assert (tmp_path / NAME).read_bytes() == b"mine"
    unknown = await save(lambda _: httpx2.Response(200, stream=InterruptedBody(VIDEO)), tmp_path)
    assert unknown.path == saved.path
    assert len(left(tmp_path)) == 3


async def test_a_file_that_appears_before_the_rename_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, target = os.link, tmp_path / NAME

    def late(source: Path, place: Path) -> None:
        if not target.exists():
            target.write_bytes(b"mine")
        real(source, place)

    monkeypatch.setattr(os, "link", late)
    saved = await save(Host(), tmp_path)
    assert saved.path.name == NAME.replace(".mp4", "-2.mp4")
    assert target.read_bytes() == b"mine"


async def test_without_hard_links_no_file_is_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    assert (await save(Host(), tmp_path)).path.read_bytes() == VIDEO
    assert left(tmp_path) == [NAME]
    part = Partial.hold(tmp_path, "other.mp4")
    assert part is not None
    part.append(VIDEO[:100])
    real = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: Path(path).name == "other.mp4" or real(path))
    assert part.place().name == "other-2.mp4"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "may not write"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
async def test_errors_of_the_disk_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    """P3: they are retried, since the user can correct them."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "append", fails)
        with pytest.raises(VideoUnwritable) as caught:
            await save(Host(), tmp_path)
    assert caught.value.retryable
    assert words in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert left(tmp_path) == []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", fails)
        with pytest.raises(VideoUnwritable, match=words):
            await save(Host(), tmp_path)


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    for folder in (tmp_path / "x", tmp_path / "x" / "y"):
        with pytest.raises(VideoUnwritable, match="not a folder"):
            await save(Host(), folder)


async def test_a_link_or_pipe_in_place_of_the_partial_file_is_refused(tmp_path: Path) -> None:
    """P5: nothing is written to where it leads."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (f".{NAME}.part", f".{NAME}.part.info"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).symlink_to(victim)
        with pytest.raises(VideoUnwritable):
            await save(Host(), folder)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / f".{NAME}.part")
    with pytest.raises(VideoUnwritable):
        await save(Host(), tmp_path / "pipe")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "../x.mp4", "a/b.mp4", "a\\b.mp4", ".x.mp4", "a\0.mp4"])
async def test_a_path_as_the_file_name_raises_value_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        await save(Host(), tmp_path, name=name)


# Two at once


async def test_two_calls_for_one_video_save_one_file(tmp_path: Path) -> None:
    """P3: the second waits for the first, and returns its file."""
    hosts = [Host(pause=1) for _ in range(3)]
    saved: list[SavedVideo] = []

    async def one(host: Host) -> None:
        saved.append(await save(host, tmp_path))

    async with anyio.create_task_group() as group:
        for host in hosts:
            group.start_soon(one, host)
    assert saved == [SavedVideo(tmp_path / NAME, len(VIDEO))] * 3
    assert (tmp_path / NAME).read_bytes() == VIDEO
    assert sum(len(host.asked) for host in hosts) == 1
    assert left(tmp_path) == [NAME]


async def test_when_the_first_call_ends_the_second_continues_its_file(tmp_path: Path) -> None:
    """P3."""
    first, second = Host(pause=1), Host()
    saved: list[SavedVideo] = []

    async def one() -> None:
        with anyio.move_on_after(4.5):
            await save(first, tmp_path)

    async def other() -> None:
        await anyio.sleep(1)
        saved.append(await save(second, tmp_path))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(other)
    assert second.asked[0].headers["range"] == f"bytes={4 * 65536}-"
    assert saved[0].path.read_bytes() == VIDEO


async def test_the_wait_for_another_call_is_bounded(tmp_path: Path) -> None:
    part = Partial.hold(tmp_path, NAME)
    assert part is not None
    with pytest.raises(VideoUnavailable, match="too long"):
        await save(Host(), tmp_path)
    assert Partial.hold(tmp_path, NAME) is None
    part.discard()
    assert left(tmp_path) == []


async def test_without_locks_a_video_is_saved_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(partials, "_lock", none)
    assert (await save(Host(), tmp_path)).size == len(VIDEO)


def test_the_lock_holds_between_processes_and_ends_with_them(tmp_path: Path) -> None:
    """P3: a killed process leaves nothing locked."""
    code = (
        "import sys, pathlib\nfrom avm_mcp.downloads.partials import Partial\n"
        f"part = Partial.hold(pathlib.Path({str(tmp_path)!r}), {NAME!r})\n"
        "print(part is not None, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert Partial.hold(tmp_path, NAME) is None
        other.kill()
        other.wait()
    part = Partial.hold(tmp_path, NAME)
    assert part is not None
    part.keep()
    part.keep()
    part.discard()
    assert left(tmp_path) == []


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, removed = partials._lock, []

    def lock(descriptor: int) -> None:
        real(descriptor)
        if not removed:
            removed.append((tmp_path / f".{NAME}.part.info").unlink())

    monkeypatch.setattr(partials, "_lock", lock)
    part = Partial.hold(tmp_path, NAME)
    assert part is not None
    assert left(tmp_path) == [f".{NAME}.part", f".{NAME}.part.info"]
    assert Partial.hold(tmp_path, NAME) is None
    part.discard()


# Faults in any order


@given(st.data())
def test_after_any_interruptions_the_saved_video_is_whole(data: st.DataObject) -> None:
    """P3: connections and calls may end anywhere; a file with the video's name is always the whole video."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def run() -> None:
            headers = data.draw(st.sampled_from([{}, ETAG]))
            for _ in range(data.draw(st.integers(0, 3))):
                host = Host(headers=headers, pause=data.draw(st.sampled_from([0, 1])))
                host.cuts = data.draw(st.lists(st.integers(1, len(VIDEO)), max_size=7))
                with anyio.move_on_after(data.draw(st.integers(1, 40))), contextlib.suppress(VideoError):
                    await save(host, folder)
                assert not (folder / NAME).exists() or (folder / NAME).read_bytes() == VIDEO
            saved = await save(Host(headers=headers), folder)
            assert saved.path.read_bytes() == VIDEO
            assert left(folder) == [NAME]

        trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


# Names

DAY = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prompt", "task_id", "name"),
    [
        ("A cat, jumping over the Moon!", "ck9x1", "2026-09-01-a-cat-jumping-over-the-moon-ck9x1.mp4"),
        ("Café am Strand — Größe", "x", "2026-09-01-cafe-am-strand-grosse-x.mp4"),
        ("", "x", "2026-09-01-video-x.mp4"),
        ("../../etc/passwd", "x", "2026-09-01-etc-passwd-x.mp4"),
        ("🎬🎬", "x", "2026-09-01-video-x.mp4"),
        ("月の上を猫が飛ぶ", "x", "2026-09-01-月の上を猫が飛ぶ-x.mp4"),
        ("word " * 30, "x", "2026-09-01-word-word-word-word-word-word-word-word-x.mp4"),
        ("con", "x", "2026-09-01-con-x.mp4"),
        ("x" * 99, "x", f"2026-09-01-{'x' * 40}-x.mp4"),
    ],
)
def test_a_name_has_date_words_and_id(prompt: str, task_id: str, name: str) -> None:
    assert video_name(DAY, prompt, task_id) == name


@given(st.text(max_size=200), st.text(max_size=80))
def test_every_name_is_valid_on_every_file_system(prompt: str, task_id: str) -> None:
    name = video_name(DAY, prompt, task_id)
    assert name.startswith("2026-09-01-")
    assert name.endswith(".mp4")
    assert len(f".{name}.part.info".encode()) <= 143
    assert not set(name) & set('<>:"/\\|?*\0 \n\r\t')
    assert name.count(".") == 1
    slug = name[11:-4].rpartition("-")[0]
    assert slug
    assert all(ch.isprintable() for ch in name)


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    assert (video_name(DAY, "p", one) == video_name(DAY, "p", other)) == (one == other)
