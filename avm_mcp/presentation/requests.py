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
from avm_mcp.jobs.views import Found
from avm_mcp.presentation.inputs import Arguments, ImageToVideo, LongVideo, PaidInput, TextToVideo
from avm_mcp.presentation.parameters import KEEP_SHAPE


def video_request(
    given: Arguments[PaidInput], *, folders: Sequence[Path], paths_allowed: bool
) -> tuple[VideoRequest, Picture | None]:
    """Return the request that the arguments of a paid tool mean, and the picture it starts from.

    Args:
        given: Its checked arguments.
        folders: The folders that pictures may be read from.
        paths_allowed: False where the caller is on another machine.

    Raises:
        FileRefused: The picture may not, or can not, be used.
        InvalidInput: The picture has another shape than was asked for, or the model does not make such a video.
    """
    video, aspect_ratio, picture = given.input, None, None
    if isinstance(video, ImageToVideo | LongVideo):
        picture = read_picture(video.image, folders=folders, paths_allowed=paths_allowed)
    if isinstance(video, LongVideo):
        model, prompts = catalog.models_of(given.tool)[0], tuple(video.prompts)
        seconds = catalog.SEGMENT_SECONDS * len(prompts)
    else:
        assert isinstance(video, TextToVideo | ImageToVideo)
        model, seconds, prompts = video.model, video.duration, (video.prompt,) if video.prompt else ()
    if isinstance(video, TextToVideo):
        aspect_ratio = video.aspect_ratio
    elif isinstance(video, ImageToVideo) and picture is not None:
        _check_shape(picture, video.aspect_ratio)
    image = ImageInput(picture.value, picture.digest, picture.shown) if picture is not None else None
    request = VideoRequest(model, seconds, prompts, aspect_ratio=aspect_ratio, image=image, take=video.take)
    catalog.check(request)
    return request, picture


async def read_request_in_thread(
    given: Arguments[PaidInput], *, folders: Sequence[Path], paths_allowed: bool, offload: Offload
) -> tuple[VideoRequest, Picture | None]:
    """Return what `video_request` does; a picture that has to be read is read beside the event loop."""
    work = partial(video_request, given, folders=folders, paths_allowed=paths_allowed)
    if not isinstance(given.input, ImageToVideo | LongVideo):
        return work()
    start = given.input.image[:8].lower()
    return work() if start.startswith(("http://", "https://")) else await offload(work)


def add_notes(found: Found, picture: Picture | None, given: Arguments[PaidInput]) -> Found:
    """Return what was found, with notes about what the caller may not expect."""
    notes = list(found.notes)
    take = given.input.take
    if take > 1 and not found.deduplicated:
        notes.append(f"This is ONE video: take {take} says which version, not how many.")
    wanted = given.input.aspect_ratio if isinstance(given.input, ImageToVideo) else KEEP_SHAPE
    if picture is not None and picture.source == "url" and wanted != KEEP_SHAPE:
        notes.append("The picture behind a link cannot be measured here; the video keeps its shape.")
    return replace(found, notes=tuple(notes))


def _check_shape(picture: Picture, wanted: str) -> None:
    """The API has no such field here: the video keeps the picture's shape, so asking for another is refused."""
    if wanted != KEEP_SHAPE and matches_shape(picture, wanted) is False:  # pyright: ignore[reportArgumentType]
        raise InvalidInput(
            f"The picture is {picture.shape} ({picture.width} x {picture.height}), not {wanted};"
            " the video keeps the picture's shape.",
            field="aspect_ratio",
            allowed=f"{KEEP_SHAPE}, or the picture's own shape",
            next_step=Action.ACCEPT_SHAPE(shape=wanted),
        )
