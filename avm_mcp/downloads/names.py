"""What a saved video is called, on every file system."""

import hashlib
import re
import unicodedata
from datetime import datetime

_SLUG_CHARACTERS, _SLUG_BYTES, _ID_CHARACTERS = 40, 60, 40  # eCryptfs takes 143 bytes a name, all others 255


def video_name(created: datetime, prompt: str, task_id: str) -> str:
    """Return `<date>-<slug>-<id>.mp4`; the date is that of `created` in its own zone.

    Starting with the date, no name is one that Windows reserves; ending with .mp4, none ends with a dot.
    """
    return f"{created:%Y-%m-%d}-{_slug(prompt)}-{_identifier(task_id)}.mp4"


def _slug(prompt: str) -> str:
    """Return the prompt's first words, lowercase, joined by hyphens; letters of every script are kept."""
    words = re.split(r"[^\w]|_", _folded(prompt[:400]))
    slug = ""
    for word in filter(None, words):
        longer = f"{slug}-{word}" if slug else word
        if len(longer) > _SLUG_CHARACTERS or len(longer.encode()) > _SLUG_BYTES:
            break
        slug = longer
    # One word beyond all limits, or a script that writes without blanks: cut it, between characters.
    return slug or _cut(next(filter(None, words), "")) or "video"


def _folded(text: str) -> str:
    """Lowercase, without Latin accents; without what no file name should hold: signs, controls, joiners, marks."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = re.sub(r"(?<=[a-z])[\u0300-\u036f]+", "", apart)
    kept = "".join(ch if unicodedata.category(ch)[0] in "LMN" else " " for ch in unicodedata.normalize("NFC", plain))
    return re.sub(r"[^\w\s]", "", kept)  # marks that \w does not count as letters


def _cut(word: str) -> str:
    word = word[:_SLUG_CHARACTERS]
    while len(word.encode()) > _SLUG_BYTES:
        word = word[:-1]
    return word


def _identifier(task_id: str) -> str:
    """Return the id if it is harmless, else what is harmless of it and a digest, so that two ids stay two."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "", task_id)
    if safe == task_id and 0 < len(safe) <= _ID_CHARACTERS:
        return safe
    digest = hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: _ID_CHARACTERS - 9]}-{digest}".removeprefix("-")
