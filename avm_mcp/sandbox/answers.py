"""Answers as data: status, headers, body; and the error bodies of both generations."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime

AUTH_MESSAGE = "Invalid API key. Please check your API key."  # measured
_NOT_FOUND = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>404: This page could not be found.</title>'
    "</head><body><h1>404</h1><h2>This page could not be found.</h2></body></html>"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    Args:
        status: The HTTP status.
        body: The whole body.
        headers: Headers beside `Content-Type`, `Content-Length` and `Date`.
        content_type: The body's type.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = "application/json"

    def with_status_word(self, word: str) -> "Answer":
        """The same answer with another `status` word: in a list, every task's."""
        body: dict[str, object] = json.loads(self.body)
        rows: object = body.get("tasks", [body])
        assert isinstance(rows, list)
        for row in rows:  # pyright: ignore[reportUnknownVariableType]
            row["status"] = word
        return replace(self, body=dump(body))


def dump(body: object) -> bytes:
    """Compact JSON in UTF-8; lone surrogates are escaped, as JavaScript does."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; an underscore in a header's name stands for a hyphen."""
    return Answer(status, dump(body), {name.replace("_", "-"): value for name, value in headers.items()})


def refusal(status: int, code: str | None, message: str, *, live: bool, **headers: str) -> Answer:
    """The error envelope; the seed page knows no `errorCode`."""
    named = {"errorCode": code} if live and code else {}
    return answer({"status": "FAILED", **named, "message": message}, status, **headers)


def wrong_method(allowed: str) -> Answer:
    """405 with `Allow` and plain text (the body is a guess; that it comes before auth is measured)."""
    return Answer(405, b"Method Not Allowed", {"allow": allowed}, "text/plain; charset=utf-8")


def not_found() -> Answer:
    """What a web framework says of a path it does not know (guess)."""
    return Answer(404, _NOT_FOUND.encode(), content_type="text/html; charset=utf-8")


def http_date(at: float) -> str:
    """A date as HTTP headers write it."""
    return format_datetime(datetime.fromtimestamp(int(at), UTC), usegmt=True)
