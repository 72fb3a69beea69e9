"""Parameters that a tool does not have: those that hosts add by themselves, and answers to known wishes."""

import difflib
from collections.abc import Mapping

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import InvalidInput, quoted

LONGEST_NAME = 100
"""Characters of an unknown name that are compared: finding a near one takes as long as the name is."""

_BY_RESOLUTION: dict[str, list[str]] = {}
for _model in catalog.MODELS.values():
    if _model.resolution is not None:
        _BY_RESOLUTION.setdefault(_model.resolution, []).append(_model.name)
_RESOLUTIONS = ", ".join(
    f"{' and '.join(names)} {'' if place else 'make '}about {resolution}"
    for place, (resolution, names) in enumerate(_BY_RESOLUTION.items())
)
_SHARPEST = " and ".join(list(_BY_RESOLUTION.values())[-1])

_WISHES: Mapping[str, tuple[str, str]] = {
    "n": ("take", "one call makes one video; for another version repeat the call with take=2"),
    "count": ("take", "one call makes one video; for another version repeat the call with take=2"),
    "num_videos": ("take", "one call makes one video; for another version repeat the call with take=2"),
    "seed": ("take", "no model takes a seed; take=2 makes another version"),
    "negative_prompt": ("take", "no model takes one; say in the prompt what to show instead"),
    "image_url": ("image", "the parameter is called image"),
    "image_path": ("image", "the parameter is called image"),
    "first_frame": ("image", "the parameter is called image"),
    "last_frame": ("take", "no model here takes a last frame"),
    "url": ("image", "the parameter is called image"),
    "text": ("prompt", "the parameter is called prompt"),
    "seconds": ("duration", "the parameter is called duration"),
    "length": ("duration", "the parameter is called duration"),
    "ratio": ("aspect_ratio", "the parameter is called aspect_ratio"),
    "resolution": ("model", f"the model decides it: {_RESOLUTIONS}"),
    "quality": ("model", f"the model decides it: {_SHARPEST} are sharper"),
    "size": ("aspect_ratio", "say aspect_ratio instead; the model decides the resolution"),
    "fps": ("take", "no model takes a frame rate"),
    "audio": ("take", "the service adds its own sound; no model here takes one"),
    "wait": ("wait_seconds", "the parameter is called wait_seconds"),
    "timeout": ("wait_seconds", "the parameter is called wait_seconds"),
    "budget": ("max_credits", "the parameter is called max_credits"),
    "id": ("task_id", "the parameter is called task_id"),
    "webhook": ("take", "not needed: get_task waits for the end"),
    "video": ("take", "a finished video cannot be extended or edited; image_to_video starts from a picture"),
}
"""The answer to a known wish, and the parameter that a tool must have for it to apply."""

HOST_ARGUMENTS: Mapping[str, str] = {
    **dict.fromkeys(("tool", "toolCallId"), "n8n: the AI Agent node; n8n-io/n8n#21500"),
    **dict.fromkeys(("sessionId", "action", "chatInput", "metadata"), "n8n: the Chat Trigger node; n8n-io/n8n#22787"),
    "random_string": "Cursor: the dummy parameter of a tool that has none",
    "wait_for_previous": "Gemini CLI: the order of calls; MemPalace/mempalace#322",
    "task_progress": "Cline: its list of things to do; cline/cline#9951",
}
"""Arguments that hosts add by themselves, so that no model can leave them out, and who adds each: they are ignored."""

_PICTURE_WISHES = ("image", "image_url", "image_path", "first_frame")
_WISHES_OF: Mapping[tuple[str, str], str] = {
    ("long_video", "duration"): "its length is five seconds for each prompt; give more prompts for a longer video",
    ("long_video", "prompt"): "the parameter is called prompts: one for each five seconds",
    ("long_video", "aspect_ratio"): "the video keeps the picture's shape",
    ("long_video", "model"): "there is one model for long videos",
    **{("text_to_video", name): "use image_to_video to start from a picture" for name in _PICTURE_WISHES},
    ("long_video", "text"): "the parameter is called prompts: one for each five seconds",
    ("long_video", "seconds"): "its length is five seconds for each prompt; give more prompts for a longer video",
    ("long_video", "length"): "its length is five seconds for each prompt; give more prompts for a longer video",
    ("text_to_video", "prompts"): "use long_video for several prompts, or put everything into prompt",
    ("image_to_video", "prompts"): "use long_video for several prompts, or put everything into prompt",
}


def unknown(tool: str, name: str, known: list[str]) -> InvalidInput:
    """Return the refusal of a parameter that a tool does not have, with what it has in its place."""
    name = name[:LONGEST_NAME]
    needs, answer = _WISHES.get(name, ("", ""))
    wish = _WISHES_OF.get((tool, name)) or (answer if needs in known else None)
    near = difflib.get_close_matches(name, known, 1)
    if wish is not None:
        hint = f": {wish}"
    elif near:
        hint = f"; did you mean {near[0]}?"
    else:
        hint = ""
    takes = ", ".join(known) or "no parameters"
    end = "" if hint.endswith("?") else "."
    return InvalidInput(
        f"{tool} has no parameter {quoted(name, 40)}{hint}{end} It takes: {takes}.",
        field=name[:40].encode("utf-8", "replace").decode(),
        allowed=takes,
    )
