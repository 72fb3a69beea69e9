"""How the text of an environment variable is read, by the fast start and by the settings; standard library only.

Blanks around a value and one pair of quotes are not part of it. Switches may be spelled in several ways. A placeholder
that a host or a shell did not fill in is recognised.
"""

import re
from collections.abc import Mapping

_QUOTES: Mapping[str, str] = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
_INVISIBLE = "\ufeff\u200b"

_SWITCHES: Mapping[str, str] = {
    **dict.fromkeys(("on", "true", "yes", "1", "enabled"), "on"),
    **dict.fromkeys(("off", "false", "no", "0", "disabled"), "off"),
}

EMPTY_FIELD = re.compile(r"\$\{user_config\.[^}]*\}")
"""What Claude Desktop passes on for an empty field; the setting then counts as unset."""

_UNFILLED = re.compile(
    r"""
    \$\{[^}]*\}            # ${VAR}, anywhere
    | ^ \$\(? [A-Za-z_]    # $VAR, $(VAR), $env:VAR, and a path that begins with one
    | ^ % [A-Za-z_]\w* %   # %VAR%
    | ^ \{\{ .* \}\} $     # {{ var }}
    | ^ <[^<>]*> $         # <your key>
    """,
    re.VERBOSE,
)
_NO_KEY = re.compile(
    r"""
    \{\w+\} | \[[^\[\]]*\]
    | (your|my|the|insert|paste|enter|put|replace|add)[-_. ].*
    | ((ak|sk)[-_])? (x{3,} | \*{3,} | \.{3} | \u2026 | your([-_. ].*|.*key.*))
    | ((avm|aivideo|ai_?video_?maker)[-_ ]?)? api[-_ ]?key ([-_ ]here)?
    | change[-_ ]?me | todo | none | null | undefined | placeholder | key | secret | token
    """,
    re.VERBOSE | re.IGNORECASE,
)


def value(environ: Mapping[str, str], name: str) -> str:
    """Return the value of a variable; empty where it is unset, blank, or an optional field that was left empty."""
    text = plain(environ.get(name, ""))
    return "" if EMPTY_FIELD.fullmatch(text) else text


def plain(text: str) -> str:
    """Return a text without the blanks around it and one pair of quotes."""
    text = text.strip().strip(_INVISIBLE).strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not {text[0], text[-1]} & {*text[1:-1]}:
        text = text[1:-1].strip()
    return text


def switch(text: str) -> str:
    """Return "on" or "off" for a word that means it, and any other text in lower case."""
    return _SWITCHES.get(text.lower(), text.lower())


def is_unfilled(text: str, *, key: bool = False) -> bool:
    """Return whether a text is a placeholder; for a key, words that only ask for one count too."""
    return _UNFILLED.search(text) is not None or (key and _NO_KEY.fullmatch(text) is not None)
