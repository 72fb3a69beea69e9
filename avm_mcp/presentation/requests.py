"""From checked arguments to the request: the picture is read, and its shape compared with what was asked for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import InvalidInput
from avm_mcp.domain.next_steps import Action
from avm_mcp.domain.request import ImageInput, VideoRequest
from avm_mcp.images import Offload, Picture, matches_shape, read_picture
from avm_mcp.jobs.service import Found
from avm_mcp.presentation.arguments import KEEP_SHAPE, Arguments


def video_request(
    tool: str, given: Arguments, *, folders: Sequence[Path], paths_allowed: bool
) -> tuple[VideoRequest, Picture | None]:
    """Return the request that the arguments of a paid tool mean, and the picture it starts from.

    Args:
        tool: text_to_video, image_to_video or long_video.
        given: Its checked arguments.
        folders: The folders that pictures may be read from.
        paths_allowed: False where the caller is on another machine.

    Raises:
        FileRefused: The picture may not, or can not, be used.
        InvalidInput: The picture has another shape than was asked for, or the model does not make such a video.
    """
    picture: Picture | None = None
    if "image" in given.values:
        picture = read_picture(given["image"], folders=folders, paths_allowed=paths_allowed)
    if tool == "long_video":
        model, prompts = catalog.models_of(tool)[0], tuple(given["prompts"])
        seconds = catalog.SEGMENT_SECONDS * len(prompts)
    else:
        model, prompts = given["model"], (given["prompt"],) if given["prompt"] else ()
        seconds = given["duration"]
    if tool == "image_to_video" and picture is not None:
        _same_shape(picture, given["aspect_ratio"])
    request = VideoRequest(
        model,
        seconds,
        prompts,
        aspect_ratio=given["aspect_ratio"] if tool == "text_to_video" else None,
        image=ImageInput(picture.value, picture.digest, picture.shown) if picture is not None else None,
        take=given["take"],
    )
    catalog.check(request)
    return request, picture


async def read_request_in_thread(
    tool: str, given: Arguments, *, folders: Sequence[Path], paths_allowed: bool, offload: Offload
) -> tuple[VideoRequest, Picture | None]:
    """Return what `video_request` does; a picture that has to be read is read beside the event loop."""
    work = partial(video_request, tool, given, folders=folders, paths_allowed=paths_allowed)
    start = str(given.values.get("image") or "")[:8].lower()
    return work() if not start or start.startswith(("http://", "https://")) else await offload(work)


def add_notes(found: Found, picture: Picture | None, given: Arguments) -> Found:
    """Return what was found, with notes about what the caller may not expect."""
    notes = list(found.notes)
    if given["take"] > 1 and not found.deduplicated:
        notes.append(f"This is ONE video: take {given['take']} says which version, not how many.")
    wanted = given.values.get("aspect_ratio")
    if picture is not None and picture.source == "url" and wanted not in (None, KEEP_SHAPE):
        notes.append("The picture behind a link cannot be measured here; the video keeps its shape.")
    return replace(found, notes=tuple(notes))


def _same_shape(picture: Picture, wanted: str) -> None:
    """The API has no such field here: the video keeps the picture's shape, so asking for another is refused."""
    if wanted != KEEP_SHAPE and matches_shape(picture, wanted) is False:  # pyright: ignore[reportArgumentType]
        raise InvalidInput(
            f"The picture is {picture.shape} ({picture.width} x {picture.height}), not {wanted};"
            " the video keeps the picture's shape.",
            field="aspect_ratio",
            allowed=f"{KEEP_SHAPE}, or the picture's own shape",
            next_step=Action.ACCEPT_SHAPE(shape=wanted),
        )
