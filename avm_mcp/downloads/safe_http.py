"""Requests for videos: redirects are followed step by step, each to a public address (P5).

Requests are built here, so that no header, cookie or password of the lent pool, and never the key, goes to a video's
host. Each step must be http(s) to a public address. Only the API's own origin is exempt, since the sandbox runs on this
machine. The connection is made to the address that was checked, with the host's name in the request and in TLS, so a
name that resolves differently after the check gains nothing. A proxy resolves names itself, so behind one, names and
literal addresses are checked as they are written.
"""

import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import anyio
import httpx2

from avm_mcp.domain import rate_limit
from avm_mcp.domain.links import NotPublic, UnsupportedLink, check_addresses, check_public_host, parse_host
from avm_mcp.downloads.failures import VideoGone, VideoRefused, VideoUnavailable
from avm_mcp.downloads.proxies import uses_proxy
from avm_mcp.provider.exchange import limit_time, total_seconds

MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
"""Addresses of a name that are tried."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host and port to addresses."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({401, 403, 404, 410, 451})
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


async def look_up(host: str, port: int) -> list[str]:
    """Resolve a name by the system's resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(entry[4][0] for entry in found))


class PublicWeb:
    """Sends GET requests to public addresses.

    Args:
        http: The pool, for its connections and time-outs; HTTP/1.1.
        base_url: Address of the API. Only its origin may be private.
        resolver: Resolves host names.
    """

    def __init__(self, http: httpx2.AsyncClient, base_url: str, resolver: Resolver) -> None:
        self._http = http
        self._exempt = _origin(_parse(base_url))
        self._resolver = resolver

    @contextlib.asynccontextmanager
    async def stream(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[httpx2.Response, None]:
        """Follow redirects, and yield the first response that is none, with its body still unread.

        Raises:
            VideoRefused: A step is not http(s) to a public address, or there are too many.
            VideoUnavailable: A host does not answer, or its name is not found.
        """
        step = _parse(url)
        for number in range(1 + MAX_REDIRECTS):
            try:
                response = await self._send(step, headers)
            except VideoRefused as refused:
                refused.retryable |= number > 0  # a login page redirects to its own network until somebody signs in
                raise
            try:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                step = _redirect_target(step, response)
            finally:
                await response.aclose()
        raise VideoRefused(f"The video's link redirects more than {MAX_REDIRECTS} times.", retryable=True)

    async def _send(self, url: httpx2.URL, headers: Mapping[str, str]) -> httpx2.Response:
        failure: httpx2.TransportError | None = None
        for address in await self._resolve(url):
            request = self._build_request(url, address, headers)
            try:
                with limit_time(total_seconds(self._http.timeout)):  # until the headers are complete
                    return await self._http.send(request, stream=True, auth=None, follow_redirects=False)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:  # the next address may answer
                failure = error
            except httpx2.TransportError as error:
                failure = error
                break
        why = "its certificate is not valid" if "CERTIFICATE_VERIFY_FAILED" in str(failure) else type(failure).__name__
        raise VideoUnavailable(f"{url.host} does not answer ({why}).") from failure

    def _build_request(self, url: httpx2.URL, address: str | None, headers: Mapping[str, str]) -> httpx2.Request:
        """Build a request without the pool's own headers, cookies and parameters, which are not for this host."""
        extensions: dict[str, object] = {"timeout": self._http.timeout.as_dict()}
        if address is None:
            return httpx2.Request("GET", url, headers=headers, extensions=extensions)
        # The pool keeps connections by address, and could reuse this one for another name; so it is closed.
        headers = {**headers, "Host": url.netloc.decode("ascii"), "Connection": "close"}
        extensions["sni_hostname"] = _host(url)
        return httpx2.Request("GET", url.copy_with(host=address), headers=headers, extensions=extensions)

    async def _resolve(self, url: httpx2.URL) -> Sequence[str | None]:
        """Return the addresses to connect to, checked; None stands for the host as it is written."""
        resolving = False
        try:
            host = parse_host(str(url.join("/")))  # the path does not decide where it leads
            if _origin(url) == self._exempt or check_public_host(host) is not None or self._by_proxy(url):
                return [None]
            resolving = True
            with anyio.fail_after(self._http.timeout.connect):
                found = await self._resolver(_host(url), url.port or _PORTS[url.scheme])
            if not found:
                raise OSError("no address")
            # Over https the host proves its name, so the address that a local proxy gives for it is accepted.
            return check_addresses(found, proxy_addresses=url.scheme == "https")[:MAX_ADDRESSES]
        except UnsupportedLink as error:
            raise VideoRefused(f"The video's link cannot be used: {error}.") from None
        except NotPublic as error:  # a login page or a VPN may resolve names so for a while
            raise VideoRefused(f"The video's link leads to {url.host}: {error}.", retryable=resolving) from None
        except (OSError, UnicodeError) as error:
            raise VideoUnavailable(f"The name {url.host} is not found.") from error

    def _by_proxy(self, url: httpx2.URL) -> bool:
        return self._http.trust_env and uses_proxy(url.scheme, _host(url))


def _parse(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError):
        raise VideoRefused("The video's link is not a valid address.") from None


def _redirect_target(url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
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
    """Raise what a status other than 200 means for a video."""
    status = response.status_code
    if status == 200:
        return
    if status in _GONE:
        raise VideoGone(f"The video's server, or something on the way to it, refused the link (HTTP {status}).")
    raise VideoUnavailable(f"The video's server answered HTTP {status}.", retry_after=_read_retry_after(response))


def _read_retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that `Retry-After` asks for. A date in it is compared with the server's own `Date`."""
    header = response.headers.get("retry-after", "").strip()
    date = rate_limit.http_date(response.headers.get("date"))
    return None if date is None and not header.isdigit() else rate_limit.retry_after(header, date or 0.0)
