"""The DNS of a test: what host names lead to, which a hotel, a local proxy or a VPN can change for a while."""

from collections.abc import Sequence
from dataclasses import dataclass, field

PUBLIC = ("93.184.216.34",)
FAKE = ("198.18.0.7",)
"""What a local proxy in "fake IP" mode answers for every name (198.18.0.0/15)."""

PRIVATE = ("192.168.1.1",)
"""What a captive portal answers for every name."""


@dataclass
class Names:
    """A resolver for `Runtime(resolver=...)` that gives every name the same addresses; set them at any time.

    Attributes:
        addresses: The answer for every name; none at all is an `OSError`, as for a name that is not found.
        asked: Names that were looked up.
    """

    addresses: Sequence[str] = PUBLIC
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if not self.addresses:
            raise OSError(-2, "Name or service not known")
        return self.addresses
