"""The way to a video: hop by hop, each on a public address, with nothing of ours in it.

Requests are written here, so that no header, cookie or credential of the client that is lent, and never the key,
goes to the host of a video (P5).

Every hop must be http(s) on a public address; only the origin of the API itself is exempt, because the sandbox lives
on this machine. The address that was checked is the address that is connected to (with the host's name in the request
and in TLS), so a name that changes its answer in between gains nothing.
Through a proxy it is the proxy that looks names up: then names and literal addresses are judged as written.
"""

import contextlib
import email.utils
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import anyio
import httpx2

from avm_mcp.domain.links import NotPublic, UnsupportedLink, check_addresses, check_public_host, parse_host
from avm_mcp.downloads.failures import VideoGone, VideoRefused, VideoUnavailable
from avm_mcp.downloads.proxies import proxied
from avm_mcp.provider.exchange import limit_time, total_seconds

MAX_REDIRECTS = 5
MAX_ADDRESSES = 4

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks a host and port up, and returns its addresses."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({401, 403, 404, 410, 451})
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


async def look_up(host: str, port: int) -> list[str]:
    """Resolve a name with the system's resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(entry[4][0] for entry in found))


class Web:
    """Asks for videos.

    Args:
        http: Lends its connections and time-outs; HTTP/1.1.
        base_url: The API's address; its origin alone may be a private one.
        resolver: Looks names up.
    """

    def __init__(self, http: httpx2.AsyncClient, base_url: str, resolver: Resolver) -> None:
        self._http = http
        self._exempt = _origin(_parsed(base_url))
        self._resolver = resolver

    @contextlib.asynccontextmanager
    async def answer(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[httpx2.Response, None]:
        """Ask, follow redirects, and give the first answer that is none; its body is still to be read."""
        step = _parsed(url)
        for number in range(1 + MAX_REDIRECTS):
            try:
                response = await self._ask(step, headers)
            except VideoRefused as refused:
                refused.retryable |= number > 0  # a login page redirects into its own network, until somebody signs in
                raise
            try:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                step = _next(step, response)
            finally:
                await response.aclose()
        raise VideoRefused(f"The video's link redirects more than {MAX_REDIRECTS} times.", retryable=True)

    async def _ask(self, url: httpx2.URL, headers: Mapping[str, str]) -> httpx2.Response:
        failure: httpx2.TransportError | None = None
        for address in await self._addresses(url):
            request = self._request(url, address, headers)
            try:
                with limit_time(total_seconds(self._http.timeout)):  # to the end of its head, however it trickles
                    return await self._http.send(request, stream=True, auth=None, follow_redirects=False)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:  # the next address may answer
                failure = error
            except httpx2.TransportError as error:
                failure = error
                break
        why = "its certificate is not valid" if "CERTIFICATE_VERIFY_FAILED" in str(failure) else type(failure).__name__
        raise VideoUnavailable(f"{url.host} does not answer ({why}).") from failure

    def _request(self, url: httpx2.URL, address: str | None, headers: Mapping[str, str]) -> httpx2.Request:
        """Write a request of its own, not the client's: what the client would add belongs to other hosts."""
        extensions: dict[str, object] = {"timeout": self._http.timeout.as_dict()}
        if address is None:
            return httpx2.Request("GET", url, headers=headers, extensions=extensions)
        # By address, a connection could be reused for another name that lives there; so it is not kept.
        headers = {**headers, "Host": url.netloc.decode("ascii"), "Connection": "close"}
        extensions["sni_hostname"] = _host(url)
        return httpx2.Request("GET", url.copy_with(host=address), headers=headers, extensions=extensions)

    async def _addresses(self, url: httpx2.URL) -> Sequence[str | None]:
        """Return the checked addresses to connect to; None stands for the host as it is written."""
        try:
            host = parse_host(str(url))
            if _origin(url) == self._exempt or check_public_host(host) is not None or self._by_proxy(url):
                return [None]
        except UnsupportedLink as error:
            raise VideoRefused(f"The video's link cannot be used: {error}.") from None
        except NotPublic as error:
            raise VideoRefused(f"The video's link leads to {url.host}: {error}.") from None
        try:
            with anyio.fail_after(self._http.timeout.connect):
                found = await self._resolver(_host(url), url.port or _PORTS[url.scheme])
            if not found:
                raise OSError("no address")
            # Over https the host has to prove its name, so a local proxy's stand-in for its address is as good.
            return check_addresses(found, proxy_addresses=url.scheme == "https")[:MAX_ADDRESSES]
        except NotPublic as error:  # what a login page or a VPN says of a name: passes
            raise VideoRefused(f"The video's link leads to {url.host}: {error}.", retryable=True) from None
        except (OSError, UnicodeError) as error:
            raise VideoUnavailable(f"The name {url.host} is not found.") from error

    def _by_proxy(self, url: httpx2.URL) -> bool:
        return self._http.trust_env and proxied(url.scheme, _host(url))


def _parsed(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError):
        raise VideoRefused("The video's link is not a valid address.") from None


def _next(url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    location = response.headers.get("location")
    if not location:
        raise VideoUnavailable(f"{url.host} redirects to nowhere.")
    try:
        return url.join(location)
    except (httpx2.InvalidURL, UnicodeError):
        raise VideoRefused(f"{url.host} redirects to an address that is not valid.", retryable=True) from None


def _host(url: httpx2.URL) -> str:
    return url.raw_host.decode("ascii")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, _host(url), url.port or _PORTS.get(url.scheme)


def check_status(response: httpx2.Response) -> None:
    """Raise unless it is 200: what the others mean for a video."""
    status = response.status_code
    if status == 200:
        return
    if status in _GONE:
        raise VideoGone(f"The video's server, or something on the way to it, refused the link (HTTP {status}).")
    raise VideoUnavailable(f"The video's server answered HTTP {status}.", retry_after=_retry_after(response))


def _retry_after(response: httpx2.Response) -> float | None:
    """Read Retry-After; a date is compared with the server's own clock."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value)
        return max(0.0, (then - email.utils.parsedate_to_datetime(response.headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
