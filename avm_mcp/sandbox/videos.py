"""Real videos: H.264 with a silent AAC track, the index at the front, drawn with Pillow and encoded with PyAV.

Text videos show their prompt as a title over a moving gradient. Picture videos move slowly over the given picture,
prompt below; a picture given by address is never fetched, a card names it instead. Long videos join their
segments, each with its own prompt. Every frame says SANDBOX. Imported only where the extra `sandbox` is installed.
"""

# PyAV and Pillow leave parts of their types open (numpy, packets); this is the one module that meets them.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
import math
from collections.abc import Iterator
from fractions import Fraction

import av
from PIL import Image, ImageOps

from avm_mcp.sandbox.orders import VideoOrder, even
from avm_mcp.sandbox.titles import mark, subtitle, title

FPS = 12
SAMPLE_RATE = 44100
SAMPLES = 1024  # per AAC frame
_FADE = 0.6  # seconds a text takes to come and to go
_ZOOM = 0.14  # share of the picture that the camera travels
_PALETTES = (
    ((24, 28, 72), (92, 64, 168), (244, 132, 95)),
    ((6, 46, 68), (16, 122, 138), (160, 222, 196)),
    ((58, 12, 50), (176, 42, 92), (250, 176, 92)),
    ((18, 32, 26), (44, 110, 74), (214, 222, 120)),
    ((16, 20, 40), (40, 88, 160), (150, 200, 240)),
)


def render(order: VideoOrder, *, fps: int = FPS, quality: int = 28) -> bytes:
    """The video as an MP4 file.

    Args:
        order: What to draw.
        fps: Frames per second; few, since a sandbox shares its machine.
        quality: x264's constant rate factor; higher is smaller.
    """
    scene = _Scene(order)
    sink = _Sink()
    with av.open(sink, "w", format="mp4", options={"movflags": "faststart"}, io_open=sink.again) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "stillimage", "crf": str(quality), "threads": "1"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 32000
        for number, image in enumerate(scene.frames(fps)):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number in range(math.ceil(order.seconds * SAMPLE_RATE / SAMPLES)):
            container.mux(audio.encode(_silence(number)))
        container.mux(audio.encode(None))
    return sink.getvalue()


class _Sink(io.BytesIO):
    """A file in memory that the muxer can open once more, to move the index to the front."""

    def again(self, url: str, flags: int, options: dict[str, str]) -> io.RawIOBase:  # noqa: ARG002
        return _Reader(self)


class _Reader(io.RawIOBase):
    """Reads what a sink holds at present, at a place of its own."""

    def __init__(self, sink: io.BytesIO) -> None:
        self._sink, self._place = sink, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._sink.getbuffer() as whole:
            end = len(whole) if size < 0 else self._place + size
            found = bytes(whole[self._place : end])
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._sink.getbuffer() as whole:
            base = (0, self._place, len(whole))[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place


def _silence(number: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=SAMPLES)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate, frame.pts = SAMPLE_RATE, number * SAMPLES
    frame.time_base = Fraction(1, SAMPLE_RATE)
    return frame


class _Scene:
    """The frames of one video."""

    def __init__(self, order: VideoOrder) -> None:
        self._order = order
        self._picture = _opened(order.picture)
        self.width, self.height = _size(order, self._picture)
        self._size = (self.width, self.height)
        if self._picture is None and (order.picture or order.picture_name):
            self._picture = self._card(order.picture_name or "a picture that could not be read")
        if self._picture is not None:
            self._picture = ImageOps.fit(self._picture, (even(self.width * 1.25), even(self.height * 1.25)))
        self._mark = mark(self._size, f"SANDBOX · {order.model}" if order.model else "SANDBOX")
        draw = title if self._picture is None else subtitle
        self._texts = [draw(self._size, text, self._place(number)) for number, text in enumerate(order.texts)]
        first = int(order.digest[:8], 16)
        self._gradients = [_Gradient(self._size, (first + number) % len(_PALETTES)) for number in range(self._parts)]

    @property
    def _parts(self) -> int:
        return len(self._order.texts)

    def _place(self, number: int) -> str:
        return f"{number + 1} / {self._parts}" if self._parts > 1 else ""

    def _card(self, name: str) -> Image.Image:
        """A picture that stands for one that is not here."""
        card = _Gradient(self._size, int(self._order.digest[:8], 16) % len(_PALETTES)).at(0)
        layer = title(self._size, name, "picture by address, not fetched by the sandbox", largest=14)
        return Image.alpha_composite(card.convert("RGBA"), layer).convert("RGB")

    def frames(self, fps: int) -> Iterator[Image.Image]:
        """Every frame, in order."""
        total = max(1, round(self._order.seconds * fps))
        part = self._order.seconds / self._parts
        for number in range(total):
            at = number / fps
            segment = min(int(at / part), self._parts - 1)
            inside = at - segment * part
            frame = self._ground(segment, inside / part)
            fade = max(0.0, min(1.0, inside / _FADE + 0.25, (part - inside) / _FADE))
            layer = self._texts[segment]
            # The text rises to its place and fades; its alpha alone is scaled.
            alpha = layer.getchannel("A").point([int(value * fade) for value in range(256)])
            frame.paste(layer.convert("RGB"), (0, round((1 - min(1.0, inside / _FADE)) * self.height / 30)), alpha)
            frame.paste(self._mark, (0, 0), self._mark)
            yield frame

    def _ground(self, segment: int, share: float) -> Image.Image:
        """What is behind the text: the picture under a slow camera, or the gradient."""
        if self._picture is None:
            return self._gradients[segment].at(share)
        zoom = _ZOOM * (share if segment % 2 == 0 else 1 - share)
        width, height = self._picture.size
        left, top = width * zoom / 2, height * zoom / 2
        drift = width * zoom / 4 * (1 if segment % 2 == 0 else -1)
        box = (left + drift, top, width - left + drift, height - top)
        return self._picture.resize(self._size, Image.Resampling.BILINEAR, box=box)


class _Gradient:
    """Two colour slopes, mixed by a soft light that moves across."""

    def __init__(self, size: tuple[int, int], palette: int) -> None:
        dark, middle, light = _PALETTES[palette]
        slope = Image.linear_gradient("L")
        self._size = size
        self._far = ImageOps.colorize(slope, dark, middle).resize(size, Image.Resampling.BICUBIC)
        turned = slope.rotate(90)
        self._near = ImageOps.colorize(turned, middle, light).resize(size, Image.Resampling.BICUBIC)
        self._light = ImageOps.invert(Image.radial_gradient("L"))

    def at(self, share: float) -> Image.Image:
        """The gradient when so much of its time has passed."""
        x, y = 63 - 60 * math.cos(share * math.pi), 63 - 50 * math.cos(share * math.tau * 0.7)
        light = self._light.resize(self._size, Image.Resampling.BILINEAR, box=(x, y, x + 130, y + 130))
        return Image.composite(self._near, self._far, light)


def _opened(data: bytes) -> Image.Image | None:
    """The picture, upright and of a size to work with; None when it is none."""
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                return None
            image.draft("RGB", (1600, 1600))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        return None
    upright.thumbnail((1600, 1600))
    return upright


def _size(order: VideoOrder, picture: Image.Image | None) -> tuple[int, int]:
    """The video's size: the picture's shape, where there is one, with the area that was ordered."""
    if picture is None:
        return order.width, order.height
    ratio = min(3.0, max(1 / 3, picture.width / picture.height))
    area = order.width * order.height
    return even(math.sqrt(area * ratio)), even(math.sqrt(area / ratio))
