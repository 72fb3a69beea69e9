"""Refusals of environment variables: what may be shown of a value, which is no key and no password."""

import re

from avm_mcp.domain.errors import quoted

KEY_NAMES = frozenset({"AVM_API_KEY", "AVM_HTTP_TOKEN", "AIVIDEO_API_KEY"})
"""Settings whose values are never shown."""


def refuse_value(name: str, text: str, allowed: str) -> str:
    """Return the sentence that refuses a variable: what it holds, as far as that may be shown, and what is allowed."""
    if name in KEY_NAMES:
        held = f"holds {len(text)} characters, which are not shown and cannot be used"
    else:
        held = f"is {quoted(mask(text), 60)}, which cannot be used"
    return f"{name} {held}: allowed is {allowed}."


def refuse_placeholder(name: str, text: str) -> str:
    """Return the sentence that refuses a placeholder which a host or a shell should have replaced."""
    allowed = "a key from https://aivideomaker.ai" if name in KEY_NAMES - {"AVM_HTTP_TOKEN"} else "the value itself"
    return f"{name} is {quoted(mask(text), 60)}, a placeholder that was not filled in: allowed is {allowed}."


def mask(text: str) -> str:
    """Return a value without the user and password of an address, and without what looks like a key."""
    text = re.sub(
        r"(?<=://).*@|^(?![\w+.-]+://)[^/@]+:.*@", "***@", text.encode(errors="replace").decode(), flags=re.DOTALL
    )
    text = re.sub(r"\b[as]k[-_][\w-]{6,}|[0-9A-Fa-f]{20,}", "***", text)
    return re.sub(r"[\w-]{24,}", lambda found: "***" if re.search(r"\d", found[0]) else found[0], text)


def describe_allowed(kind: str, message: str) -> str:
    """Return the words after "allowed is" for an error of pydantic, whose message is "Input should be …"."""
    if kind == "value_error":
        return message
    plain = message.removeprefix("Input should be ").split(", unable to parse")[0]
    plain = plain.removeprefix("String should have ")
    return "a whole number" if kind.startswith("int_") else re.sub(r"^a valid ", "a ", plain)
