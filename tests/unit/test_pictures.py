"""Pictures: what is read, what is never read, and what the errors say."""

import base64
import contextlib
import hashlib
import io
import os
import socket
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avm_mcp.domain.errors import FileRefused, InvalidInput
from avm_mcp.images import (
    MAX_PICTURE_BYTES,
    PathRules,
    Picture,
    default_input_folders,
    folders,
    input_folders,
    matches_shape,
    read_picture,
)
from avm_mcp.images.formats import Damaged, read_header
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.next_steps import write_next_step


def image_bytes(
    kind: str = "PNG", size: tuple[int, int] = (64, 36), orientation: int | None = None, **more: object
) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", size, (200, 30, 30))
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        more["exif"] = exif.tobytes()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


PIXELS = image_bytes()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "Pictures"
    folder.mkdir()
    (folder / "cat.png").write_bytes(PIXELS)
    return folder


def read(text: str, *allowed: Path, **more: object) -> Picture:
    more.setdefault("rules", PathRules(home=None))
    return read_picture(text, folders=allowed, **more)  # pyright: ignore[reportArgumentType]


def refusal(text: str, *allowed: Path, **more: object) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(text, *allowed, **more)
    assert caught.value.field == "image"
    return caught.value


def step(error: FileRefused) -> str:
    return write_next_step(error.next_step, MODEL_AUDIENCE)


# Formats


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_becomes_the_data_uri_of_its_bytes(pictures: Path, kind: str) -> None:
    data = image_bytes(kind)
    path = pictures / "x.png"  # the name does not decide
    path.write_bytes(data)
    picture = read(str(path), pictures)
    assert picture.value == f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"
    assert picture.digest == hashlib.sha256(data).hexdigest()
    assert (picture.source, picture.width, picture.height, picture.shape) == ("path", 64, 36, "16:9")
    assert picture.shown == str(path)
    assert len(repr(picture)) < 500


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("PNG", {})],
)
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_size_is_the_displayed_one(kind: str, options: dict[str, object], orientation: int | None) -> None:
    header = read_header(image_bytes(kind, (320, 180), orientation, **options))
    assert header is not None
    assert (header.width, header.height) == ((180, 320) if orientation in (6, 8) else (320, 180))


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_both_byte_orders(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(order + "IHHHIH", 8, 1, 0x0112, 3, 1, 6) + b"\0\0" + struct.pack(order + "I", 0)
    body = b"Exif\0\0" + tiff
    jpeg = image_bytes("JPEG", (40, 20))
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    header = read_header(turned)
    assert header is not None
    assert (header.width, header.height) == (20, 40)


def test_transparent_and_animated_webp_are_measured() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGBA", (70, 90), (1, 2, 3, alpha)) for alpha in (0, 100)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    header = read_header(buffer.getvalue())
    assert header is not None
    assert (header.width, header.height) == (70, 90)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((1920, 1080), "16:9"), ((1080, 1920), "9:16"), ((500, 500), "1:1"), ((1900, 1080), "16:9"),
        ((1024, 1000), "1:1"),
        ((1024, 768), "1024x768 (4:3-like)"), ((800, 1200), "800x1200 (2:3-like)"), ((1000, 100), "1000x100"),
    ],
)  # fmt: skip
def test_shape_is_a_ratio_of_the_api_or_a_description(size: tuple[int, int], shape: str) -> None:
    picture = Picture("data", "", "", *size, "")
    assert picture.shape == shape
    assert [ratio for ratio in ("16:9", "9:16", "1:1") if matches_shape(picture, ratio)] == (
        [shape] if ":" in shape and "x" not in shape else []
    )


def test_shape_of_a_link_is_unknown() -> None:
    picture = read("https://example.com/a.png")
    assert picture.shape is None
    assert matches_shape(picture, "1:1") is None


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x10\0\0\0WEBP", b"RIFF\x40\0\0\0WEBPVP8X"]),
)
def test_any_bytes_have_a_header_or_are_damaged(noise: bytes, start: bytes) -> None:
    try:
        header = read_header(start + noise)
    except Damaged:
        return
    assert header is None or (header.width > 0 and header.height > 0)


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_a_cut_or_changed_picture_is_refused_or_read(kind: str, data: st.DataObject) -> None:
    whole = bytearray(image_bytes(kind, (33, 44), 6))
    cut = data.draw(st.integers(0, len(whole)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    uri = "data:image/png;base64," + base64.b64encode(bytes(whole[:cut])).decode()
    with contextlib.suppress(FileRefused):
        read(uri)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_half_downloaded_picture_is_refused(pictures: Path, kind: str) -> None:
    (pictures / "half.png").write_bytes(image_bytes(kind, (300, 300))[:-30])
    assert "cut off" in refusal("half.png", pictures).message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"\0\0\0\x18ftypheic" + bytes(40),
            "a HEIC picture; convert it to JPEG: on macOS `sips -s format jpeg x.png --out x-converted.jpg`",
        ),
        (b"\0\0\0\x18ftypavif" + bytes(40), "an AVIF picture"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
        (b"GIF89a" + bytes(40), "a GIF picture"),
        (b"BM" + bytes(40), "a BMP picture"),
        (b"II*\0" + bytes(40), "a TIFF picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"API_KEY=secret\n", "a text file"),
        (bytes(50), "not a picture"),
        (b"", "empty"),
    ],
)
def test_another_format_is_named_by_its_bytes(pictures: Path, data: bytes, words: str) -> None:
    """P5: a text file is not sent because it is called .png."""
    (pictures / "x.png").write_bytes(data)
    message = refusal("x.png", pictures).message
    assert words in message
    assert "secret" not in message


def test_a_file_name_is_not_pasted_into_a_shell_command(pictures: Path) -> None:
    (pictures / "a`rm -rf`.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert "sips -s format jpeg picture.heic --out" in refusal("a`rm -rf`.heic", pictures).message


@pytest.mark.parametrize("name", ["holiday.jpg", "HOLIDAY.JPG", "holiday.jpeg", "holiday.heic", "holiday"])
def test_the_command_that_converts_a_picture_overwrites_nothing(pictures: Path, name: str) -> None:
    """P5: a HEIC named .jpg is recognized, and the command overwrites neither it nor another picture."""
    (pictures / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (pictures / "holiday-2.jpg").write_bytes(PIXELS)
    message = refusal(name, pictures).message
    assert "is a HEIC picture" in message
    target = message.partition("--out ")[2].partition("`")[0]
    assert target.endswith("-converted.jpg")
    assert not (pictures / target).exists()


def test_a_name_that_looks_like_an_option_is_not_pasted_into_a_command(pictures: Path) -> None:
    (pictures / "-rf.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert "sips -s format jpeg picture.heic" in refusal("-rf.heic", pictures).message


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "a HEIC picture"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0avix", "a HEIC picture"),
        (b"\xff\xff\xff\xffftypmif1" + b"abcd" * 1000, "a HEIC picture"),
    ],
)
def test_a_container_is_named_by_its_compatible_brands(pictures: Path, box: bytes, kind: str) -> None:
    (pictures / "x.jpg").write_bytes(box + bytes(40))
    assert kind in refusal("x.jpg", pictures).message


def test_more_than_ten_megabytes_are_refused(pictures: Path) -> None:
    (pictures / "big.png").write_bytes(PIXELS + bytes(MAX_PICTURE_BYTES))
    assert "10.0 MB; at most 10.0 MB" in refusal("big.png", pictures).message
    (pictures / "fits.png").write_bytes(PIXELS + bytes(MAX_PICTURE_BYTES - len(PIXELS)))
    assert read("fits.png", pictures).width == 64
    (pictures / "big.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(MAX_PICTURE_BYTES))
    assert "a video" in refusal("big.mp4", pictures).message


# Forms of paths


def test_paths_are_read_as_people_write_them(pictures: Path) -> None:
    (pictures / "my cat (1).png").write_bytes(PIXELS)
    home = PathRules(home=pictures.parent)
    spelled = str(pictures / "my cat (1).png")
    for text in (
        spelled, f'  "{spelled}" ', f"'{spelled}'", f"`{spelled}`", f"<{spelled}>", "my cat (1).png",
        "./my cat (1).png",
        "~/Pictures/my cat (1).png", "~/Pictures/my\\ cat\\ \\(1\\).png", spelled.replace(" ", "\\ "),
        "file://" + spelled.replace(" ", "%20"), "file://localhost" + spelled.replace(" ", "%20"),
        "file:" + spelled, "FILE://" + spelled, "file://~/Pictures/my%20cat%20(1).png",
    ):  # fmt: skip
        assert read(text, pictures, rules=home).shown == spelled, text


def test_a_backslash_that_is_part_of_the_name_is_kept(pictures: Path) -> None:
    (pictures / "a\\ b.png").write_bytes(PIXELS)
    assert read(str(pictures / "a\\ b.png"), pictures).width == 64


def test_windows_paths_are_translated_under_wsl(monkeypatch: pytest.MonkeyPatch, pictures: Path) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "avm_mcp.images.pictures.locate",
        lambda found, _: seen.extend(found) or (_ for _ in ()).throw(folders.Missing()),
    )
    wsl = PathRules(wsl=True)
    for text in (
        r"C:\Users\Me\My cat.png",
        "c:/Users/Me/My cat.png",
        "file:///C:/Users/Me/My%20cat.png",
        r'"C:\Users\Me\My cat.png"',
    ):
        seen.clear()
        refusal(text, pictures, rules=wsl)
        assert seen == ["/mnt/c/Users/Me/My cat.png"], text
    seen.clear()
    refusal(r"\\wsl.localhost\Ubuntu\home\me\x.png", pictures, rules=wsl)
    assert seen == ["/home/me/x.png"]


def test_on_windows_paths_are_not_translated(monkeypatch: pytest.MonkeyPatch, pictures: Path) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "avm_mcp.images.pictures.locate",
        lambda found, _: seen.extend(found) or (_ for _ in ()).throw(folders.Missing()),
    )
    refusal(r"C:\Users\Me\My\ cat.png", pictures, rules=PathRules(windows=True))
    refusal("/mnt/c/x.png", pictures, rules=PathRules(windows=True))
    assert seen == [r"C:\Users\Me\My\ cat.png", "/mnt/c/x.png"]


def test_windows_paths_without_windows_are_explained(pictures: Path) -> None:
    assert "path of Windows" in refusal(r"C:\Users\me\x.png", pictures).message
    assert "path of Windows" in refusal(r"\\wsl$\Ubuntu\home\x.png", pictures).message
    assert "network share" in refusal(r"\\server\share\x.png", pictures).message


def test_network_shares_are_not_resolved(monkeypatch: pytest.MonkeyPatch, pictures: Path) -> None:
    """P5: resolving a share sends the user's name to its host."""

    def resolved(*_: object, **__: object) -> Path:
        raise AssertionError("resolved")

    allowed = [(pictures, pictures)]
    monkeypatch.setattr(Path, "resolve", resolved)
    with pytest.raises(folders.Outside):
        folders._locate(Path("//evil.example/share/x.png"), allowed)


@pytest.mark.parametrize(
    "text",
    ["file://otherhost/x.png", "file:////server/x.png", "file:///a%ff.png", "a\0b.png", "a\nb.png", "/" + "a/" * 3000],
)
def test_impossible_paths_are_refused(pictures: Path, text: str) -> None:
    refusal(text, pictures)


def test_without_a_home_a_tilde_is_explained(pictures: Path) -> None:
    assert "no home folder" in refusal("~/x.png", pictures).message


@pytest.mark.parametrize("text", ["", "   ", "''", '""'])
def test_nothing_given_is_invalid_input(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text, field="picture")
    assert caught.value.field == "picture"


# Allowed folders


def test_symbolic_links_are_resolved_before_the_check(pictures: Path, tmp_path: Path) -> None:
    """P5: a link in an allowed folder does not lead out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").write_bytes(PIXELS)
    (pictures / "way.png").symlink_to(outside / "x.png")
    (pictures / "door").symlink_to(outside)
    (outside / "in.png").symlink_to(pictures / "cat.png")
    (pictures / "loop").symlink_to(pictures / "loop")
    for text in (
        "way.png",
        "door/x.png",
        str(pictures / "door/x.png"),
        "../outside/x.png",
        str(outside / "x.png"),
        "loop",
    ):
        refusal(text, pictures)
    assert read(str(outside / "in.png"), pictures).shown == str(pictures / "cat.png")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_valid_text_is_shown_as_text(pictures: Path, tmp_path: Path) -> None:
    """P4: bytes of another encoding can be neither sent nor stored."""
    old = pictures / "caf\udce9.png"
    old.write_bytes(PIXELS)
    (pictures / "way.png").symlink_to(old)
    assert read("way.png", pictures).shown == str(pictures / "caf?.png")
    (tmp_path / "\udce9").mkdir()
    assert default_input_folders(tmp_path / "home", tmp_path / "\udce9") == []


def test_an_allowed_folder_that_is_a_link_is_followed(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(pictures)
    for text in (tmp_path / "alias" / "cat.png", pictures / "cat.png", "cat.png"):
        assert read(str(text), tmp_path / "alias").shown == str(pictures / "cat.png")


def test_hidden_parts_are_not_read(pictures: Path, tmp_path: Path) -> None:
    """P5: .ssh, .config and the like are not for models."""
    for name in (".secret.png", ".git/x.png", "a/.b/c.png"):
        path = pictures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXELS)
        assert "hidden" in refusal(name, pictures).message
    (pictures / "plain.png").symlink_to(pictures / ".secret.png")
    assert "hidden" in refusal("plain.png", pictures).message
    (pictures / ".link.png").symlink_to(pictures / "cat.png")
    assert "hidden" in refusal(".link.png", pictures).message
    hidden = tmp_path / ".allowed"
    hidden.mkdir()
    (hidden / "x.png").write_bytes(PIXELS)
    assert read(str(hidden / "x.png"), hidden).width == 64  # named by the user: hidden parts count below it only


def test_existence_outside_the_folders_is_not_revealed(pictures: Path, tmp_path: Path) -> None:
    """P5: the errors for existing and missing files are the same."""
    (tmp_path / "door").mkdir()
    (tmp_path / "door" / "real.png").write_bytes(PIXELS)
    (pictures / "door").symlink_to(tmp_path / "door")
    (pictures / ".there").write_bytes(PIXELS)
    for real, absent in (
        (str(tmp_path / "door/real.png"), str(tmp_path / "door/none.png")),
        ("door/real.png", "door/none.png"),
        ("../door/real.png", "../door/none.png"),
        ("./.there", "./.absent"),
        ("/etc/passwd", "/etc/passwx"),
    ):
        one, other = refusal(real, pictures), refusal(absent, pictures)
        assert one.message.replace(real, "") == other.message.replace(absent, "")
        assert one.next_step == other.next_step


def test_only_regular_files_are_opened(pictures: Path) -> None:
    os.mkfifo(pictures / "pipe.png")
    (pictures / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(pictures)
        try:
            unix.bind("socket.png")
        finally:
            os.chdir(here)
        for name in ("pipe.png", "folder.png", "socket.png"):
            refusal(name, pictures)
    assert "a folder" in refusal(str(pictures), pictures).message


def test_a_file_replaced_by_a_link_after_the_check_is_not_read(pictures: Path, tmp_path: Path) -> None:
    """P5: the file that was checked is the one that is opened."""
    (tmp_path / "secret.png").write_bytes(PIXELS)
    (pictures / "sub").mkdir()
    (pictures / "sub" / "x.png").write_bytes(PIXELS)
    place = folders.locate(["sub/x.png"], [pictures])
    os.rename(pictures / "sub", pictures / "was")
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "x.png").write_bytes(PIXELS)
    (pictures / "sub").symlink_to(tmp_path / "trap")
    with pytest.raises(OSError):
        folders.read_file(place, 1000)
    place = folders.locate(["cat.png"], [pictures])
    (pictures / "cat.png").unlink()
    (pictures / "cat.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(folders.NotRegular):
        folders.read_file(place, 1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_the_system_forbids_is_explained(pictures: Path) -> None:
    (pictures / "cat.png").chmod(0)
    assert "does not let" in refusal("cat.png", pictures).message


def test_system_refusals_are_explained(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("avm_mcp.images.pictures.read_file", fails)
    assert "System Settings" in step(refusal("cat.png", pictures))

    def breaks(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("avm_mcp.images.pictures.read_file", breaks)
    assert "Input/output error" in refusal("cat.png", pictures).message


NAMES = st.sampled_from(["a", "b.png", ".h", "c d.png"])
STEPS = st.sampled_from(["a", "b.png", ".h", "c d.png", "..", ".", "link0", "link1", "link2", "in", "out"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["in", "out"]), st.lists(NAMES, min_size=1, max_size=3)), max_size=6),
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["in", "out", "in/a", "out/a", "in/.h"]), min_size=1, max_size=1),
            st.lists(STEPS, min_size=1, max_size=3),
        ),
        max_size=3,
    ),
    st.lists(STEPS, min_size=1, max_size=5),
    st.sampled_from(["", "in", "out", "file:"]),
)
def test_nothing_outside_the_allowed_folders_is_ever_read(
    files: list[tuple[str, list[str]]], links: list[tuple[list[str], list[str]]], asked: list[str], base: str
) -> None:
    """P5: for any tree, links and form of the path."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        (root / "in").mkdir()
        (root / "out").mkdir()
        for top, parts in files:
            path = root.joinpath(top, *parts)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(PIXELS)
            except OSError:
                continue
        for number, (where, target) in enumerate(links):
            try:
                (root / where[0] / f"link{number}").symlink_to(root.joinpath(*target) if number % 2 else Path(*target))
            except OSError:
                continue
        text = {"": "", "in": f"{root}/in/", "out": f"{root}/out/", "file:": f"file://{root}/"}[base] + "/".join(asked)
        try:
            picture = read(text, root / "in")
        except FileRefused:
            return
        real = Path(picture.shown)
        assert real == real.resolve()
        assert real.is_relative_to(root / "in")
        assert not any(part.startswith(".") for part in real.relative_to(root / "in").parts)


# Not found


def test_a_file_of_the_same_name_is_suggested_and_not_read(pictures: Path, tmp_path: Path) -> None:
    (pictures / "trip" / "day").mkdir(parents=True)
    (pictures / "trip" / "day" / "Beach Day.PNG").write_bytes(PIXELS)
    error = refusal(str(pictures / "beach day.png"), pictures)
    assert str(pictures / "trip/day/Beach Day.PNG") in error.message
    assert "ask the user" in step(error)
    assert str(pictures / "cat.png") in refusal(str(tmp_path / "elsewhere" / "cat.png"), pictures).message
    assert str(pictures / "cat.png") in refusal("/mnt/user-data/uploads/cat.png", pictures).message


def test_a_screenshot_is_found_with_other_kinds_of_blanks(pictures: Path) -> None:
    name = "Screenshot 2026-01-02 at 3.04.05\u202fPM.png"
    (pictures / name).write_bytes(PIXELS)
    assert read(str(pictures / name), pictures).width == 64
    assert "PM.png" in refusal(str(pictures / name.replace("\u202f", " ")), pictures).message


def test_the_search_is_bounded_and_skips_hidden_folders(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/b/deep/x.png", ".hidden/x.png", ".x.png"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).write_bytes(PIXELS)
    (pictures / "round").symlink_to(pictures)
    assert folders.find_by_name("x.png", [pictures]) == []
    for number in range(5):
        (pictures / f"n{number}").mkdir()
        (pictures / f"n{number}" / "y.png").write_bytes(PIXELS)
    assert len(folders.find_by_name("Y.PNG", [pictures, pictures / "gone"])) == 3
    monkeypatch.setattr(folders, "SEARCH_ENTRIES", 2)
    assert folders.find_by_name("y.png", [pictures]) == []


@pytest.mark.parametrize(
    "text",
    [
        "/mnt/user-data/uploads/dog.png", "/mnt/data/dog.png", "sandbox:/mnt/data/dog.png", "attachment://dog.png",
        "/home/claude/dog.png", "file-AbC123xyz456", "dog.png", "blob:https://chat.example/1",
    ],
)  # fmt: skip
def test_a_picture_that_only_the_chat_sees_is_explained(pictures: Path, text: str) -> None:
    error = refusal(text, pictures)
    assert error.message == "This server cannot see files attached in the chat."
    assert step(error) == f"ask the user to save the picture in {pictures} and give its path, or an https link."


def test_a_chat_path_that_the_user_allowed_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "mnt" / "data"
    folder.mkdir(parents=True)
    (folder / "x.png").write_bytes(PIXELS)
    assert read(str(folder / "x.png"), folder).width == 64


def test_errors_name_the_allowed_folders_and_the_next_step(pictures: Path) -> None:
    error = refusal("/etc/hostname.png", pictures)
    assert error.allowed == [str(pictures)]
    assert "AVM_INPUT_DIRS" in step(error)
    assert "was not found" in refusal(str(pictures / "none.png"), pictures).message
    assert "starts with https://" in refusal("www.example.com/x.png", pictures).message
    assert "AVM_INPUT_DIRS" in step(refusal("/x/none.png"))


def test_braces_in_a_folder_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "{get_task}"
    folder.mkdir()
    assert f"save the picture in {folder} and" in step(refusal("dog.png", folder))


def test_over_http_no_path_is_resolved_and_no_folder_named(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: a caller on another machine learns nothing about this one's disk."""
    monkeypatch.setattr("avm_mcp.images.pictures.locate", lambda *_: pytest.fail("resolved"))
    texts = (
        str(pictures / "cat.png"),
        str(pictures / "none.png"),
        "cat.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "~/x.png",
    )
    errors = [
        refusal(text, pictures, paths_allowed=False) for text in (*texts, r"C:\x.png", "sandbox:/x", "/mnt/data/x.png")
    ]
    assert {error.message for error in errors[:7]} == {"Over HTTP this server reads no files."}
    for error in errors:
        assert str(pictures) not in f"{error.message}{step(error)}{error.allowed}"
        assert "https link" in step(error)
    assert read("https://example.com/x.png", pictures, paths_allowed=False).source == "url"


# Links


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png", "http://example.com", "HTTPS://Example.COM:8443/a%20b.png?x=1&y=%2F#z",
        "https://93.184.216.34/x.png", "https://[2606:2800:220:1:248:1893:25c8:1946]/x.png", "https://bücher.example/ä.png",
    ],
)  # fmt: skip
def test_a_public_link_is_passed_on_as_it_is(url: str) -> None:
    picture = read(f"  {url} \n")
    assert (picture.source, picture.value, picture.shown) == ("url", url, url)
    assert picture.digest == hashlib.sha256(url.encode()).hexdigest()


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "printer.local", "db.internal", "nas.lan", "intranet",
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
        "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "１２７.0.0.1", "127。0。0。1",
        "[::1]", "[::]", "[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[2001:db8::1]", "[2001::1]", "[::ffff:0:127.0.0.1]", "[not]", "a..com", "999.1.1.1", "1.2.3", "",
    ],
)  # fmt: skip
def test_links_into_private_networks_are_refused(host: str) -> None:
    """P5: in every form that a program may read as an address."""
    for url in (f"http://{host}/x.png", f"https://{host}:8080/x.png"):
        error = refusal(url)
        assert "the service could not reach it" in error.message
        assert "https link" in step(error)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:pw@example.com/x.png", "https://example.com@127.0.0.1/x.png", "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/x", "https://example.com/a b.png", "https:///x.png", "https:example.com", "https://",
        "https://example.com:99999/", "https://example.com:0/", "https://example.com:x/", "https://ex%61mple.com/",
        "https://example.com/" + "a" * 8000, "https://example.com/\x00", "http://[::1", "https://example.com/\u202e",
    ],
)  # fmt: skip
def test_links_that_programs_read_differently_are_refused(url: str) -> None:
    refusal(url)


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/x.png", "s3://bucket/x.png", "javascript:alert(1)", "gs://b/x", "ssh://h/x", "foo+bar://x"],
)
def test_other_schemes_are_refused_naming_what_is_allowed(url: str, pictures: Path) -> None:
    assert refusal(url, pictures).allowed == "https links"


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for prefix in ("", "http://", "https://[", "data:image/png;base64,", "file://"):
        for allowed in (True, False):
            with contextlib.suppress(FileRefused, InvalidInput):
                read(prefix + text, Path("/nonexistent"), paths_allowed=allowed)


# Data URIs


def uri(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def test_a_data_uri_is_checked_and_made_canonical() -> None:
    jpeg = image_bytes("JPEG")
    wrapped = uri(jpeg, "IMAGE/JPG").replace("base64,", "BASE64,\n")
    for given_text in (uri(jpeg), wrapped[:60] + "\n " + wrapped[60:]):
        picture = read(given_text)
        assert picture.value == uri(jpeg, "image/jpeg")
        assert picture.source == "data"
        assert picture.shown.startswith("data:image/jpeg (")
        assert picture.digest == hashlib.sha256(jpeg).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "data:", "data:,x", "data:image/png,abc", "data:image/png;base64", "data:image/png;base64,", uri(b"hello"),
        uri(b"GIF89a" + bytes(60)), uri(PIXELS)[:-3], uri(PIXELS)[:60] + "!" + uri(PIXELS)[61:],
        uri(b"\xff\xef\xfe").replace("/", "_"),
        uri(bytes(MAX_PICTURE_BYTES + 1)), uri(PIXELS + bytes(MAX_PICTURE_BYTES)), "data:image/png;base64,ä",
    ],
)  # fmt: skip
def test_data_uris_that_are_damaged_or_of_another_format_are_refused(text: str) -> None:
    assert len(refusal(text).message) < 400


def test_base64_without_a_scheme_is_refused_with_advice(pictures: Path) -> None:
    for data in (image_bytes("PNG"), image_bytes("JPEG"), image_bytes("WEBP"), os.urandom(2000)):
        error = refusal(base64.b64encode(data).decode(), pictures)
        assert "base64" in error.message
        assert str(pictures) in step(error)


# Default folders


def test_default_folders_are_those_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "me"
    for name in ("Pictures", "Downloads", "Movies", "Bilder"):
        (home / name).mkdir(parents=True)
    work = tmp_path / "work"
    work.mkdir()
    # Some systems report the home itself as the desktop when there is none.
    monkeypatch.setattr(
        input_folders,
        "_USER_FOLDERS",
        (lambda: str(home / "Bilder"), lambda: str(home), lambda: str(home / "Pictures")),
    )
    assert default_input_folders(home, work) == [
        home / name for name in ("Bilder", "Pictures", "Downloads", "Movies")
    ] + [work]


def test_default_folders_without_a_home_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert default_input_folders(None, None) == []
    assert default_input_folders(None, Path("/")) == []


def test_a_system_that_reports_no_folders_is_tolerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise RuntimeError("no home")

    monkeypatch.setattr(input_folders, "_USER_FOLDERS", (fails,))
    assert default_input_folders(tmp_path, None) == []


@pytest.mark.parametrize(
    "cwd",
    [
        "/", "/usr/lib", "/etc", "/tmp", "/home", "/Users", "/Applications/X.app/Contents", "/Library/x",
        "/mnt/c", "relative",
        "/home/me/.cursor", "/home/me/x/site-packages/y", "/home/me/X.app/y", "/mnt/c/Windows/System32",
        "/mnt/c/Users/me",
        "/home/me/node_modules/z", "/home/me", "/proc/self",
    ],
)  # fmt: skip
def test_a_folder_where_a_host_started_the_server_is_not_a_default(cwd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_folders, "_exists", lambda _: True)
    monkeypatch.setattr(input_folders, "_USER_FOLDERS", ())
    monkeypatch.setattr(input_folders, "_USUAL_NAMES", ())
    assert default_input_folders(Path("/home/me"), Path(cwd)) == []
    assert default_input_folders(Path("/home/me"), Path("/home/me/video")) == [Path("/home/me/video")]


def test_the_rules_of_this_machine_have_its_home(home: Path) -> None:
    assert PathRules.detect().home == home


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff\xff\xd9", b"\xff\xd8\xff\xda" + bytes(9),
        b"\xff\xd8\xff\xe0\0\x04ab" + bytes(9),
        b"RIFF\x20\0\0\0WEBPVP8 " + bytes(30), b"RIFF\x20\0\0\0WEBPVP8L" + bytes(30),
        b"RIFF\x08\0\0\0WEBPVP8X\x01\0\0\0",
        b"RIFF\x20\0\0\0WEBPJUNK" + bytes(30), image_bytes().replace(b"\0\0\0\x40\0\0\0\x24", bytes(8)),
    ],
)  # fmt: skip
def test_headers_that_contradict_themselves_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        read_header(data)


@pytest.mark.parametrize("tiff", [b"", b"XX*\0", b"II*\0", b"II*\0\x08\0\0\0\x05\0", b"MM\0*\xff\xff\xff\xff"])
def test_broken_exif_means_upright(tiff: bytes) -> None:
    body = b"Exif\0\0" + tiff
    jpeg = image_bytes("JPEG", (40, 20))
    header = read_header(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff" + jpeg[2:])
    assert header is not None
    assert (header.width, header.height) == (40, 20)


def test_the_search_skips_folders_it_may_not_read(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "scandir", forbidden)
    assert folders.find_by_name("cat.png", [pictures]) == []


def test_without_openat_the_identity_of_the_file_is_compared(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: on Windows a file is opened by its whole path and compared with the one that was checked."""
    monkeypatch.setattr(os, "supports_dir_fd", set())
    place = folders.locate(["cat.png"], [pictures])
    assert folders.read_file(place, 10_000) == (PIXELS, len(PIXELS))
    (pictures / "other.png").write_bytes(PIXELS)
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags: real(str(path).replace("cat", "other"), flags))
    with pytest.raises(folders.NotRegular, match="changed"):
        folders.read_file(place, 10_000)
