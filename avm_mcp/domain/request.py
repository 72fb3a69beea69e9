"""One video that somebody wants: its model and the values of its parameters."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, assert_never

Parameter = Literal["prompt", "prompts", "duration", "aspect_ratio", "resolution", "quality", "image"]
"""What a request can carry. A model's entry in the catalogue says how each goes to the API."""


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

    @property
    def embedded(self) -> bool:
        """Return whether `value` holds the picture's bytes."""
        return self.value.startswith("data:")


Value = str | int | tuple[str, ...] | ImageInput


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """One video that somebody wants. `catalog.check` says whether its model makes it.

    Attributes:
        model: The API's name of the model.
        seconds: Length of the video.
        prompts: None, one, or one for each segment.
        aspect_ratio: For models that take one; a video from a picture mostly keeps the picture's shape.
        image: The starting picture.
        take: Which take of the same request this is.
        resolution: For models that take one, as `720p`.
        quality: For models that take one.
    """

    model: str
    seconds: int
    prompts: tuple[str, ...]
    aspect_ratio: str | None = None
    image: ImageInput | None = None
    take: int = 1
    resolution: str | None = None
    quality: str | None = None

    @property
    def prompt(self) -> str:
        return " / ".join(self.prompts)

    def value(self, parameter: Parameter) -> Value | None:
        """Return the value of one parameter; None where the request does not have it."""
        match parameter:
            case "prompt":
                return self.prompts[0] if self.prompts else None
            case "prompts":
                return self.prompts or None
            case "duration":
                return self.seconds
            case "aspect_ratio":
                return self.aspect_ratio
            case "resolution":
                return self.resolution
            case "quality":
                return self.quality
            case "image":
                return self.image
        assert_never(parameter)

    def identity(self) -> str:
        """Return what makes two requests the same: everything but how long to wait and what to pay at most.

        The hash is a key of stored rows, so the list may grow only by what older requests did not have.
        """
        parts: list[Any] = [
            self.model,
            self.seconds,
            [" ".join(p.split()) for p in self.prompts],
            self.aspect_ratio,
            self.image.digest if self.image else None,
            self.take,
        ]
        if self.resolution is not None or self.quality is not None:
            parts += [self.resolution, self.quality]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
