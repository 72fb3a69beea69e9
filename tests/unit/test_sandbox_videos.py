"""The sandbox's videos are real: length, codec, size, sound, and the index in front."""

import io
import subprocess
import sys

import av
import httpx2
import pytest
from PIL import Image

from avm_mcp.sandbox import SandboxOptions, build_sandbox, video_host
from avm_mcp.sandbox.ledger import Task
from avm_mcp.sandbox.orders import VideoOrder, order_of
from avm_mcp.sandbox.video_host import clip
from avm_mcp.sandbox.videos import render


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(held, kind)
    return held.getvalue()


def probe(video: bytes) -> tuple[float, str, int, int, str]:
    with av.open(io.BytesIO(video)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert container.duration is not None
        frames = sum(1 for _ in container.decode(video=0))
        assert frames > 10
        return container.duration / 1e6, video.codec.name, video.width, video.height, audio.codec.name


def order(**changes: object) -> VideoOrder:
    plain = {"texts": ("a quiet street",), "seconds": 5.17, "width": 320, "height": 180, "model": "t2v"}
    return VideoOrder(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "width", "height"),
    [
        (order(width=624, height=352), 624, 352),
        (order(width=176, height=312, texts=("Größe 猫 🐈 \ud800 " * 30,)), 176, 312),
        (order(picture=picture(300, 400, "JPEG"), model="i2v"), 208, 278),
        (order(picture=picture(8, 4000), texts=("",), model="i2v"), 138, 416),
        (order(picture_name="https://example.com/cat.png", texts=("",), model="i2v"), 320, 180),
        (order(picture=b"no picture at all", model="i2v"), 320, 180),
        (order(seconds=15.17, texts=("one", "two", "three"), picture=picture(64, 36), model="lv"), 320, 180),
    ],
    ids=["title", "tall title", "picture", "thin picture", "picture by address", "broken picture", "long"],
)
def test_a_video_has_the_length_the_shape_and_the_sound_it_should(asked: VideoOrder, width: int, height: int) -> None:
    video = render(asked, fps=6)
    seconds, codec, wide, high, sound = probe(video)
    assert abs(seconds - asked.seconds) <= 0.2
    assert (codec, sound) == ("h264", "aac")
    assert (wide, high) == pytest.approx((width, height), abs=4)
    assert video[4:8] == b"ftyp"
    assert video.index(b"moov") < video.index(b"mdat")


def test_a_video_moves_and_shows_its_prompt() -> None:
    with av.open(io.BytesIO(render(order()))) as container:
        frames = [frame.to_image().convert("L") for frame in container.decode(video=0)]
    with av.open(io.BytesIO(render(order(texts=("",))))) as container:
        silent = container.decode(video=0)
        empty = next(frame.to_image().convert("L") for number, frame in enumerate(silent) if number == 30)
    assert frames[10].tobytes() != frames[40].tobytes()
    middle = (80, 60, 240, 120)
    brightest = [image.crop(middle).getextrema()[1] for image in (frames[30], empty)]
    assert brightest[0] > brightest[1]


@pytest.mark.parametrize("shape", ["wide", "vertical", "square"])
def test_the_bundled_clips_are_small_real_videos(shape: str) -> None:
    video = clip(shape)
    seconds, codec, width, height, sound = probe(video)
    assert len(video) < 25_000
    assert abs(seconds - 5.17) <= 0.2
    assert (codec, sound) == ("h264", "aac")
    assert {"wide": width > height, "vertical": width < height, "square": width == height}[shape]


def a_task(model: str, **fields: object) -> Task:
    pictures = {"data:x": b"bytes"}
    return Task("ck1", 1, "k", model, dict(fields), dict(fields), pictures, 1, 0.0, 0.0, 0.0)


def test_an_order_follows_the_request() -> None:
    asked = order_of(a_task("t2v", prompt="p", aspectRatio="9:16", duration="8"), 0.5)
    assert (asked.texts, asked.seconds, asked.width, asked.height) == (("p",), 8.17, 352, 624)
    asked = order_of(a_task("lv", prompt=["a", "b"], image="data:x"), 0.25)
    assert (asked.texts, asked.seconds, asked.picture, asked.picture_name) == (("a", "b"), 10.17, b"bytes", "")
    asked = order_of(a_task("i2v", image="https://x.test/a.png", duration="5", prompt=None), 0.5)
    assert (asked.texts, asked.picture, asked.picture_name) == (("",), b"", "https://x.test/a.png")
    asked = order_of(a_task("minimax", content="c", duration=6, resolution="720p", aspectRatio="1:1"), 0.5)
    assert (asked.seconds, asked.shape) == (6.17, "square")


@pytest.mark.asyncio_backend
async def test_the_host_draws_a_video_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[VideoOrder] = []

    def draw(asked: VideoOrder) -> bytes:
        drawn.append(asked)
        return render(asked, fps=4)

    monkeypatch.setattr(video_host, "_render", draw)
    app = build_sandbox(SandboxOptions(video_scale=0.2, durations={"t2v": 60.0}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://box") as client:
        body = {"prompt": "x", "aspectRatio": "1:1", "duration": "5"}
        videos = []
        for _ in range(2):
            made = (await client.post("/api/v1/generate/t2v", json=body, headers={"key": "k"})).json()["taskId"]
            app.sandbox.finish(made)
            videos.append((await client.get(f"/files/{app.sandbox.task(made).file}")).content)
    assert videos[0] == videos[1]
    assert len(drawn) == 1
    assert probe(videos[0])[2:4] == (188, 188)


@pytest.mark.parametrize("lacking", [1, 8, 5000])
async def test_a_video_that_is_too_short_is_filled_up_and_still_one(lacking: int) -> None:
    size = len(clip("wide")) + lacking
    app = build_sandbox(SandboxOptions(render=False, video_bytes=size))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://box") as client:
        body = {"prompt": "x", "aspectRatio": "16:9", "duration": "5"}
        made = (await client.post("/api/v1/generate/t2v", json=body, headers={"key": "k"})).json()["taskId"]
        app.sandbox.finish(made)
        video = (await client.get(f"/files/{app.sandbox.task(made).file}")).content
    assert len(video) == max(size, len(clip("wide")) + 8)
    assert probe(video) == probe(clip("wide"))


def test_neither_pyav_nor_pillow_is_imported_before_a_video_is_drawn() -> None:
    code = (
        "import sys, avm_mcp.sandbox as s; a = s.build_sandbox(); import avm_mcp.sandbox.server;"
        "from avm_mcp.sandbox.video_host import can_render; assert can_render();"
        "sys.exit(any(name.split('.')[0] in ('av', 'PIL') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
