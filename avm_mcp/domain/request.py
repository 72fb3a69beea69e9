"""A video that somebody wants, checked against the catalogue."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ImageInput:
    """A picture as it goes to the API.

    Attributes:
        value: The https URL as given, or a data URI.
        digest: sha256 of the picture's bytes; of the text for a URL.
        shown: How to name it to a person.
    """

    value: str
    digest: str
    shown: str


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """One video that somebody wants, checked against the catalogue.

    Attributes:
        model: The API's name: t2v, t2v_v3, i2v, i2v_v3 or lv.
        seconds: Length of the video.
        prompts: None, one, or for lv one for each five seconds.
        aspect_ratio: Sent for text models only; a video from a picture keeps the picture's shape.
        image: The starting picture, for i2v, i2v_v3 and lv.
        take: Which take of the same request this is.
    """

    model: str
    seconds: int
    prompts: tuple[str, ...]
    aspect_ratio: str | None = None
    image: ImageInput | None = None
    take: int = 1

    @property
    def prompt(self) -> str:
        return " / ".join(self.prompts)

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields that `POST /generate/{model}` takes for this request (field tables of the API)."""
        if self.model == "lv":
            assert self.image is not None
            return {"image": self.image.value, "prompt": list(self.prompts)}
        body: dict[str, Any] = {}
        if self.image is not None:
            body["image"] = self.image.value
        if self.prompts:
            body["prompt"] = self.prompts[0]
        if self.aspect_ratio is not None:
            body["aspectRatio"] = self.aspect_ratio
        return {**body, "duration": str(self.seconds)}

    def body(self) -> bytes:
        """Return the exact bytes to send; a resend must repeat them, so they are made once and kept."""
        return json.dumps(self.fields(), ensure_ascii=False, separators=(",", ":")).encode()

    def identity(self) -> str:
        """Return what makes two requests the same: everything but how long to wait and what to pay at most."""
        parts: list[Any] = [
            self.model,
            self.seconds,
            [" ".join(p.split()) for p in self.prompts],
            self.aspect_ratio,
            self.image.digest if self.image else None,
            self.take,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
