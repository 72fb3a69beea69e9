"""A saved video, checked by an independent decoder where one is installed."""

# PyAV leaves parts of its types open; this is the one module of the terminal that uses it.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from importlib.util import find_spec
from pathlib import Path


def probe(path: Path | None) -> str:
    """Return length and size of a video, as a decoder sees them; without one, how large the file is."""
    if path is None or not path.is_file():
        return "none"
    if find_spec("av") is None:
        return f"{path.stat().st_size / 1000:.0f} kB"
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = sum(1 for _ in container.decode(stream))
            seconds = (container.duration or 0) / 1_000_000
            return f"{seconds:.1f} s {stream.width}x{stream.height} {frames} frames"
    except (FFmpegError, IndexError) as error:
        return f"cannot be played: {error}"
