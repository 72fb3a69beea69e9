"""Prompts, and the completions of their arguments and of task ids."""

from mcp.server import MCPServer
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from avm_mcp.app import Runtime
from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AvmError


def add_prompts(server: MCPServer[Runtime]) -> None:
    """Add the prompts to a server."""

    @server.prompt(title="Storyboard", description="Plan a long video: one prompt for each five seconds.")
    def storyboard(idea: str, seconds: str = "30") -> str:
        model = catalog.models_of("long_video")[0]
        return (
            f"Plan a video of {seconds} seconds about: {idea}\n"
            "Write one prompt for each five seconds, six at most, each a single shot that follows from the one before: "
            "subject, action, camera. Keep names, clothes and light the same in all. Ask the user for the starting "
            f"picture (a file path or an https link), say the price with quote_video(model={model}, segments=…), and "
            "call long_video once they agree."
        )

    @server.prompt(title="Animate a picture", description="Bring a picture to life with one movement.")
    def animate_picture(image: str, mood: str = "calm") -> str:
        return (
            f"Animate the picture at {image} in a {mood} way. Describe one plausible movement of the subject and one "
            "of the camera, nothing that is not in the picture, and call image_to_video with that as prompt. The video "
            "keeps the picture's shape."
        )

    @server.prompt(title="Cinematic prompt", description="Turn an idea into a prompt for text_to_video.")
    def cinematic_prompt(idea: str, aspect_ratio: str = "16:9") -> str:
        return (
            f"Turn this idea into one prompt of two or three sentences: {idea}\n"
            "Name subject, action, setting, light, lens and camera movement, and style. Show it to the user, then call "
            f"text_to_video with aspect_ratio={aspect_ratio}."
        )

    _ = (storyboard, animate_picture, cinematic_prompt)


def add_completions(server: MCPServer[Runtime], runtime: Runtime) -> None:
    """Add the completions of a runtime to its server."""
    words = {"aspect_ratio": list(catalog.SHAPES), "seconds": [str(5 * n) for n in range(1, catalog.MAX_SEGMENTS + 1)]}

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference,  # noqa: ARG001 - the SDK's signature
        argument: CompletionArgument,
        context: CompletionContext | None,  # noqa: ARG001
    ) -> Completion | None:
        if argument.name == "task_id":
            try:
                newest = await runtime.store.newest(runtime.service.account, 100)
            except AvmError:
                newest = []
            offered = [job.public_id for job in newest]
        else:
            offered = words.get(argument.name, [])
        return Completion(values=[word for word in offered if word.startswith(argument.value)][:100])

    _ = complete
