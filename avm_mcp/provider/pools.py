"""How HTTP leaves: the connection pools, and which variable is to blame where none can be made.

Proxies come from the environment, or from the system's settings on macOS and Windows; certificates from
`SSL_CERT_FILE` or `SSL_CERT_DIR`, or from the system. A SOCKS5 proxy looks all names up itself, with `socks5://` as
with `socks5h://`.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx2

from avm_mcp.domain.accounts import LOOPBACK
from avm_mcp.domain.errors import BadSetting
from avm_mcp.domain.masking import refused
from avm_mcp.provider.exchange import phases

SCHEMES = ("http", "https", "socks5", "socks5h")
"""The proxies that there are."""

KNOCK = 10.0
"""Seconds for a connection to the service when there is no key to ask with."""

_PROXY = "the address of an http, https, socks5 or socks5h proxy, as in socks5://127.0.0.1:1080"
_HASHED = re.compile(r"[0-9a-fA-F]{8}\.\d+")
"""How certificates in a folder are named; OpenSSL sees no others."""


def pool(transport: httpx2.AsyncBaseTransport | None, base_url: str, timeout: httpx2.Timeout) -> httpx2.AsyncClient:
    """Return a connection pool. Redirects are never followed by it: the key, and private hosts, are at stake.

    A proxy of the environment is used, but not for an API on this machine, which a proxy could not reach.
    """
    return httpx2.AsyncClient(
        transport=transport,
        follow_redirects=False,
        trust_env=_leaves(base_url),
        timeout=timeout,
        limits=httpx2.Limits(max_connections=20),
    )


def check(base_url: str, variables: Mapping[str, str]) -> None:
    """Look at what pools for this address would take from the environment.

    Args:
        base_url: Where requests go.
        variables: The environment's proxies and certificates, as `settings.network_variables` returns them.

    Raises:
        BadSetting: A proxy, a certificate file or a folder of certificates cannot be used.
    """
    wrong = dict(_wrong(variables)) if _leaves(base_url) else {}
    if wrong:
        raise BadSetting(" ".join(wrong.values()), field=next(iter(wrong)))


def told(error: Exception) -> str:
    """Return what a failed exchange is called, and what to look at where its certificate was at fault."""
    kind = type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return kind
    return f"{kind}: its certificate is not trusted here; SSL_CERT_FILE names a file with the authority to trust"


async def knock(base_url: str) -> str | None:
    """Return why no connection comes about, by the proxy and with the certificates of a call; no key is sent."""
    try:
        with anyio.fail_after(KNOCK):
            async with pool(None, base_url, phases(KNOCK, KNOCK)) as http:
                await http.head(base_url)
                return None
    except (httpx2.HTTPError, OSError) as error:
        return f"no connection ({told(error)})"


def _leaves(base_url: str) -> bool:
    """Return whether requests to this address leave the machine."""
    return urlsplit(base_url).hostname not in LOOPBACK


def _wrong(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give each variable that cannot be used, and the sentence that says so."""
    exceptions = [given[name] for name in ("no_proxy", "NO_PROXY") if name in given][:1]
    if "*" not in [name.strip() for text in exceptions for name in text.split(",")]:
        for name, text in given.items():
            if name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") and not _is_proxy(text):
                yield name, refused(name, text, _PROXY)
    if "SSL_CERT_FILE" in given:
        if not _is_bundle(given["SSL_CERT_FILE"]):
            yield "SSL_CERT_FILE", refused("SSL_CERT_FILE", given["SSL_CERT_FILE"], "a file with certificates in PEM")
    elif "SSL_CERT_DIR" in given and not any(map(_is_hashed, given["SSL_CERT_DIR"].split(":"))):
        allowed = "a folder with certificates that `openssl rehash` has named"
        yield "SSL_CERT_DIR", refused("SSL_CERT_DIR", given["SSL_CERT_DIR"], allowed)
    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & given.keys() and "SSLKEYLOGFILE" in given:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = given["SSLKEYLOGFILE"]
        except (OSError, ValueError):
            yield "SSLKEYLOGFILE", refused("SSLKEYLOGFILE", given["SSLKEYLOGFILE"], "a file that can be written")


def _is_proxy(text: str) -> bool:
    try:
        url = httpx2.URL(text if "://" in text else f"http://{text}")
        return url.scheme in SCHEMES and re.fullmatch(r"[\w.:-]+", url.host) is not None and url.port != 0
    except (httpx2.InvalidURL, ValueError):
        return False


def _is_bundle(text: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=text)
    except (OSError, ValueError):
        return False
    return True


def _is_hashed(text: str) -> bool:
    try:
        return any(_HASHED.fullmatch(entry.name) for entry in Path(text).iterdir())
    except (OSError, ValueError):
        return False
