"""File names of saved videos, valid on every file system."""

import hashlib
import re
import unicodedata
from datetime import datetime

_SLUG_CHARACTERS, _SLUG_BYTES, _ID_CHARACTERS = 40, 60, 40  # eCryptfs allows 143 bytes a name, other file systems 255


def video_name(created: datetime, prompt: str, task_id: str) -> str:
    """Return `<date>-<slug>-<id>.mp4`, with the date of `created` in its own zone.

    A name that begins with a date is not reserved on Windows, and one that ends with .mp4 does not end with a dot.
    """
    return f"{created:%Y-%m-%d}-{_slug(prompt)}-{_identifier(task_id)}.mp4"


def _slug(prompt: str) -> str:
    """Return the prompt's first words, lowercase, joined by hyphens; letters of every script are kept."""
    words = re.split(r"[^\w]|_", _fold(prompt[:400]))
    slug = ""
    for word in filter(None, words):
        longer = f"{slug}-{word}" if slug else word
        if len(longer) > _SLUG_CHARACTERS or len(longer.encode()) > _SLUG_BYTES:
            break
        slug = longer
    # The first word alone is too long, as in scripts without blanks: it is cut between characters.
    return slug or _cut(next(filter(None, words), "")) or "video"


def _fold(text: str) -> str:
    """Return the text in lower case, without Latin accents, signs, control characters and joiners."""
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
    """Return the id if all its characters are safe; else the safe ones and a digest, so that two ids stay different."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "", task_id)
    if safe == task_id and 0 < len(safe) <= _ID_CHARACTERS:
        return safe
    digest = hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: _ID_CHARACTERS - 9]}-{digest}".removeprefix("-")
