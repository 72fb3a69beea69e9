"""Which http(s) links and addresses are public: for links to pictures, and for every redirect of a video's link.

Nothing here resolves a name. Whoever does checks the resolved addresses with `check_addresses`.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence

MAX_LINK_CHARACTERS = 8000
"""This server's own limit. Signed links have up to a few thousand characters."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What `ipaddress` calls private differs between Python versions; these networks are refused by all.
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT and Alibaba's metadata service
        "168.63.129.16/32",  # Azure's host, which only Azure's machines reach
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
    )
)
_PROXY_NETWORK = ipaddress.IPv4Network("198.18.0.0/15")
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(net)
    for net in ("2001::/23", "2001:db8::/32", "3fff::/20")  # Teredo and other protocols; documentation
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Names with a meaning on one machine or in one network only.
_LOCAL_NAMES = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "localdomain",
    "home.arpa",
)


class NotPublic(ValueError):
    """The address cannot be reached from the internet. The text of the exception is the reason."""


class UnsupportedLink(NotPublic):
    """The text is not an http(s) link that this server uses, wherever it leads."""


def parse_host(text: str) -> str:
    """Parse an http(s) link strictly, and return its host, normalized.

    Characters that parsers read differently (backslashes, blanks, a second "@") are refused, because the service
    parses the same text again.

    Raises:
        UnsupportedLink: It is not an http(s) link without user name and password.
        NotPublic: Its host or port is not valid.
    """
    if any(ch.isspace() or not ch.isprintable() or ch in '\\"<>`' for ch in text):
        raise UnsupportedLink("it contains a character that no link may contain")
    match = re.fullmatch(r"https?://([^/?#]*)(?:[/?#].*)?", text, re.IGNORECASE)
    if match is None:
        raise UnsupportedLink("it does not start with https:// and a host")
    authority = match[1]
    if "@" in authority:
        raise UnsupportedLink("it contains a user name or password")
    host_port = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?", authority)
    if host_port is None or int(host_port[2] or 1) not in range(1, 65536):
        raise NotPublic("its host or port is not valid")
    host = _normalize(host_port[1])
    if not host or "%" in host:
        raise NotPublic("it names no host" if not host else "its host is not valid")
    return host


def check_public_link(text: str) -> None:
    """Check a picture's link by its text alone.

    Raises:
        UnsupportedLink: It is too long, or not an http(s) link without user name and password.
        NotPublic: Its host is not public.
    """
    if len(text) > MAX_LINK_CHARACTERS:
        raise UnsupportedLink(f"it has {len(text):,} characters; this server takes {MAX_LINK_CHARACTERS:,} at most")
    check_public_host(parse_host(text))


def check_public_host(host: str) -> Address | None:
    """Return the address that a normalized host spells out, None for a name.

    Raises:
        NotPublic: The address or the name is not public.
    """
    address = _literal_address(host)
    if address is not None:
        if not is_public(address):
            raise NotPublic("not a public address")
        return address
    labels = host.split(".")
    if any(host == name or host.endswith("." + name) for name in _LOCAL_NAMES) or len(labels) < 2 or "" in labels:
        raise NotPublic("not a public address")
    return None


def _literal_address(host: str) -> Address | None:
    """Return the address that a host spells out, None for a name.

    Raises:
        NotPublic: Only some programs read it as an address (2130706433, 0x7f.1, 0177.0.0.1).
    """
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise NotPublic("its host is not valid") from None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2]):
        raise NotPublic("not a public address")
    return None


def is_public(address: Address) -> bool:
    """Return whether an address is on the internet; an IPv4 address inside an IPv6 address is judged itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in net for net in _NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    return address in _UNICAST_V6 and address.is_global and not any(address in net for net in _NOT_PUBLIC_V6)


def check_addresses(resolved: Sequence[str], *, proxy_addresses: bool = False) -> list[str]:
    """Return the addresses that a name resolved to, if every one is public. A mix is an attack.

    With `proxy_addresses`, those in 198.18.0.0/15 are returned alone: local proxies give such an address for every
    name, and connect to the real host themselves.

    Raises:
        NotPublic: One of them is not public.
    """
    addresses = [ipaddress.ip_address(text) for text in resolved]
    if proxy_addresses and (fake := [str(address) for address in addresses if address in _PROXY_NETWORK]):
        return fake
    for address in addresses:
        if not is_public(address):
            raise NotPublic(f"it leads to {address}, not a public address")
    return [str(address) for address in addresses]


def _normalize(host: str) -> str:
    """Normalize a host as resolvers do: full-width digits and dots, case, the final dot."""
    folded = unicodedata.normalize("NFKC", host).replace("。", ".").lower()
    return folded.removesuffix(".")
