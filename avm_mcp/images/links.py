"""Which web addresses are public: for links to pictures, and for every hop on the way to a video.

Nothing here looks a name up; `videos` checks the looked-up addresses with `public_address`.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINK_CHARACTERS = 8000
"""This server's own limit; links that are signed for a time have up to a few thousand."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Beyond what `ipaddress` calls private, and the same in every Python version.
_CLOSED_V4 = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata service of Alibaba
        "168.63.129.16/32",  # Azure's host, reachable from its machines only
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
    )
)
_STAND_INS = ipaddress.IPv4Network("198.18.0.0/15")
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    ipaddress.IPv6Network(net)
    for net in ("2001::/23", "2001:db8::/32", "3fff::/20")  # Teredo and other protocols; documentation
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Names that mean something on one machine or one network only.
_HERE = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "localdomain", "home.arpa")


class NotPublic(ValueError):
    """The address cannot be reached from the internet; the reason is the text."""


class Unsent(NotPublic):
    """The text is no link that this server sends on, wherever it leads."""


@dataclass(frozen=True)
class Link:
    """The parts of an http(s) address that decide where it leads."""

    scheme: str
    host: str


def parse_link(text: str) -> Link:
    """Take an http(s) address apart, strictly; `NotPublic` says why it is not taken.

    Characters that parsers read differently (backslashes, blanks, a second "@") are refused rather than
    interpreted, because another program, at the service, will parse the same text again.
    """
    if len(text) > MAX_LINK_CHARACTERS:
        raise Unsent(f"it has {len(text):,} characters; this server takes {MAX_LINK_CHARACTERS:,} at most")
    if any(ch.isspace() or not ch.isprintable() or ch in '\\"<>`' for ch in text):
        raise Unsent("it contains a character that no link may contain")
    match = re.fullmatch(r"(https?)://([^/?#]*)(?:[/?#].*)?", text, re.IGNORECASE)
    if match is None:
        raise Unsent("it does not start with https:// and a host")
    authority = match[2]
    if "@" in authority:
        raise Unsent("it contains a user name or password")
    host_port = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?", authority)
    if host_port is None or int(host_port[2] or 1) not in range(1, 65536):
        raise NotPublic("its host or port is not valid")
    host = _plain(host_port[1])
    if not host or "%" in host:
        raise NotPublic("it names no host" if not host else "its host is not valid")
    return Link(match[1].lower(), host)


def check_public_link(text: str) -> None:
    """Raise `NotPublic` unless the address could be public, judged by its text alone."""
    check_public_host(parse_link(text).host)


def check_public_host(host: str) -> None:
    """Raise `NotPublic` for hosts that are not on the internet: by their address in any spelling, or their name."""
    address = literal_address(host)
    if address is not None:
        if not public_address(address):
            raise NotPublic("not a public address")
        return
    labels = host.split(".")
    if any(host == name or host.endswith("." + name) for name in _HERE) or len(labels) < 2 or "" in labels:
        raise NotPublic("not a public address")


def literal_address(host: str) -> Address | None:
    """Return the address a host spells out, None for a name.

    Spellings that only some programs read as an address (2130706433, 0x7f.1, 0177.0.0.1) raise `NotPublic`:
    programs disagree about where they lead.
    """
    host = _plain(host)
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


def public_address(address: Address) -> bool:
    """Tell whether an address is one of the internet's, looking through IPv4 wrapped in IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        closed = any(address in net for net in _CLOSED_V4)
        return address.is_global and not address.is_multicast and not closed
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return public_address(address.ipv4_mapped)
    if address in _NAT64:
        return public_address(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return public_address(address.sixtofour)
    return address in _UNICAST_V6 and address.is_global and not any(address in net for net in _CLOSED_V6)


def public_addresses(found: Sequence[str], *, stand_ins: bool = False) -> list[str]:
    """Return looked-up addresses if every one of them is public, else raise `NotPublic`: a mix is an attack.

    With `stand_ins`, addresses in 198.18.0.0/15 are taken, alone where others came with them: local proxies hand them
    out for every name, and put the real host behind them.
    """
    addresses = [ipaddress.ip_address(text) for text in found]
    if stand_ins and (ours := [str(one) for one in addresses if one in _STAND_INS]):
        return ours
    for address in addresses:
        if not public_address(address):
            raise NotPublic(f"it leads to {address}, not a public address")
    return [str(address) for address in addresses]


def _plain(host: str) -> str:
    """Fold a host the way resolvers do: full-width digits and dots, case, the final dot."""
    folded = unicodedata.normalize("NFKC", host).replace("。", ".").lower()
    return folded.removesuffix(".")
