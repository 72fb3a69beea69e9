"""Connection pools, and which environment variable is at fault where none can be built.

Proxies come from the environment, or from the system's settings on macOS and Windows. Certificates come from
`SSL_CERT_FILE` or `SSL_CERT_DIR`, or from the system. A SOCKS5 proxy resolves all names itself, with `socks5://` as
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
from avm_mcp.domain.masking import refuse_value
from avm_mcp.provider.exchange import build_timeout

SCHEMES = ("http", "https", "socks5", "socks5h")
"""The kinds of proxies that can be used."""

TRIAL_TIMEOUT = 10.0
"""Seconds for a connection that is only tried."""

_PROXY = "the address of an http, https, socks5 or socks5h proxy, as in socks5://127.0.0.1:1080"
_HASHED = re.compile(r"[0-9a-fA-F]{8}\.\d+")
"""How certificates in a folder are named; OpenSSL ignores all others."""


def build_pool(
    transport: httpx2.AsyncBaseTransport | None, base_url: str, timeout: httpx2.Timeout
) -> httpx2.AsyncClient:
    """Return a connection pool. It never follows redirects: they could take the key along, or lead to a private host.

    It uses a proxy of the environment, but not for an API on this machine, which a proxy could not reach.
    """
    return httpx2.AsyncClient(
        transport=transport,
        follow_redirects=False,
        trust_env=_leaves_machine(base_url),
        timeout=timeout,
        limits=httpx2.Limits(max_connections=20),
    )


def check_environment(base_url: str, variables: Mapping[str, str]) -> None:
    """Check what pools for this address would take from the environment.

    Args:
        base_url: Where requests go.
        variables: The environment's proxies and certificates, as `settings.network_variables` returns them.

    Raises:
        BadSetting: A proxy, a certificate file or a folder of certificates cannot be used.
    """
    wrong = dict(_find_wrong(variables)) if _leaves_machine(base_url) else {}
    if wrong:
        raise BadSetting(" ".join(wrong.values()), field=next(iter(wrong)))


def describe_failure(error: Exception) -> str:
    """Return the kind of a failed exchange, and the variable to set where a certificate was at fault."""
    kind = type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return kind
    return f"{kind}: its certificate is not trusted here; SSL_CERT_FILE names a file with the authority to trust"


async def try_connection(base_url: str) -> str | None:
    """Connect with the proxy and the certificates of a call, but no key; return why it failed, or None."""
    try:
        with anyio.fail_after(TRIAL_TIMEOUT):
            async with build_pool(None, base_url, build_timeout(TRIAL_TIMEOUT, TRIAL_TIMEOUT)) as http:
                await http.head(base_url)
                return None
    except (httpx2.HTTPError, OSError) as error:
        return f"no connection ({describe_failure(error)})"


def _leaves_machine(base_url: str) -> bool:
    """Return whether requests to this address leave the machine."""
    return urlsplit(base_url).hostname not in LOOPBACK


def _find_wrong(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that cannot be used, and the sentence that refuses it."""
    exceptions = [given[name] for name in ("no_proxy", "NO_PROXY") if name in given][:1]
    if "*" not in [name.strip() for text in exceptions for name in text.split(",")]:
        for name, text in given.items():
            if name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") and not _is_proxy(text):
                yield name, refuse_value(name, text, _PROXY)
    if "SSL_CERT_FILE" in given:
        if not _is_bundle(given["SSL_CERT_FILE"]):
            yield (
                "SSL_CERT_FILE",
                refuse_value("SSL_CERT_FILE", given["SSL_CERT_FILE"], "a file with certificates in PEM"),
            )
    elif "SSL_CERT_DIR" in given and not any(map(_is_hashed, given["SSL_CERT_DIR"].split(":"))):
        allowed = "a folder with certificates that `openssl rehash` has named"
        yield "SSL_CERT_DIR", refuse_value("SSL_CERT_DIR", given["SSL_CERT_DIR"], allowed)
    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & given.keys() and "SSLKEYLOGFILE" in given:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = given["SSLKEYLOGFILE"]
        except (OSError, ValueError):
            yield "SSLKEYLOGFILE", refuse_value("SSLKEYLOGFILE", given["SSLKEYLOGFILE"], "a file that can be written")


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
