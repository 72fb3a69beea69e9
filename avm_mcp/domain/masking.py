"""How a variable is refused: what may be shown of it, no key and no password, and what is allowed."""

import re

from avm_mcp.domain.errors import quoted

KEY_NAMES = frozenset({"AVM_API_KEY", "AVM_HTTP_TOKEN", "AIVIDEO_API_KEY"})
"""Settings whose values are never shown."""


def refused(name: str, text: str, allowed: str) -> str:
    """Return the sentence that refuses a variable: what it holds, as far as that may be told, and what is allowed."""
    if name in KEY_NAMES:
        held = f"holds {len(text)} characters, which are not shown and cannot be used"
    else:
        held = f"is {quoted(masked(text), 60)}, which cannot be used"
    return f"{name} {held}: allowed is {allowed}."


def masked(text: str) -> str:
    """Return a value as it may be shown: without the user and password of an address, and what looks like a key."""
    text = re.sub(
        r"(?<=://).*@|^(?![\w+.-]+://)[^/@]+:.*@", "***@", text.encode(errors="replace").decode(), flags=re.DOTALL
    )
    text = re.sub(r"\b[as]k[-_][\w-]{6,}|[0-9A-Fa-f]{20,}", "***", text)
    return re.sub(r"[\w-]{24,}", lambda found: "***" if re.search(r"\d", found[0]) else found[0], text)


def allowed_words(kind: str, message: str) -> str:
    """Turn pydantic's "Input should be …" into the words after "allowed is"."""
    if kind == "value_error":
        return message
    plain = message.removeprefix("Input should be ").split(", unable to parse")[0]
    plain = plain.removeprefix("String should have ")
    return "a whole number" if kind.startswith("int_") else re.sub(r"^a valid ", "a ", plain)
