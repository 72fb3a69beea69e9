"""What an account is in the state: a key at a service, however the service's address is spelled."""

import contextlib
import hashlib
import hmac
import ipaddress
import posixpath
import re
from urllib.parse import unquote, urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this machine, as `urlsplit` gives them."""

_HERE = ("127.0.0.1", "localhost", "[::1]")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_UNRESERVED = re.compile(r"%(?:2[dDeE]|3\d|[46][1-9a-fA-F]|[57][\daA]|5[fF]|7[eE])")


def account_of(key: str, base_url: str) -> str:
    """Return the name of an account in the state: it tells keys apart and cannot be turned back into one."""
    return _fingerprint(key, canonical(base_url))


def earlier_accounts(key: str, base_url: str) -> tuple[str, ...]:
    """Return the names that versions up to 0.1 gave to this account, by each likely spelling of its address."""
    known, parts = canonical(base_url), urlsplit(canonical(base_url))
    host, port = parts.netloc, ""
    if parts.port is not None:
        host, _, port = host.rpartition(":")
    hosts = _HERE if host == _HERE[0] else (host, f"{host}.")
    ports = {f":{port}" if port else "", f":{port or _DEFAULT_PORTS[parts.scheme]}"}
    spelled = {
        f"{parts.scheme}://{name}{at}{parts.path}{end}" for name in hosts for at in ports for end in ("", "/.", "//")
    }
    return tuple(sorted(_fingerprint(key, one) for one in {*spelled, base_url.rstrip("/")} - {known}))


def canonical(base_url: str) -> str:
    """Return the one spelling of a base URL: RFC 3986, section 6.2, and one name for this machine."""
    parts = urlsplit(base_url)
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    path = posixpath.normpath(re.sub("/+", "/", _UNRESERVED.sub(lambda code: unquote(code[0]), f"{parts.path}/")))
    return f"{parts.scheme}://{_host(parts.hostname or '')}{port}{path.rstrip('/')}"


def service(base_url: str) -> str:
    """Return which service this is, for the allowance of questions: a port of its own is another one."""
    return urlsplit(canonical(base_url)).netloc


def _host(name: str) -> str:
    """Return the one spelling of a host: in lower case, without a last dot; this machine has one name."""
    name = name.rstrip(".")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name)
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        name = _HERE[0] if address.is_loopback else str(address)
        return f"[{name}]" if ":" in name else name
    return _HERE[0] if name == "localhost" else name


def _fingerprint(key: str, url: str) -> str:
    return hmac.new(key.encode(), url.encode(), hashlib.sha256).hexdigest()[:16]
