"""About 2,000 small files over all containers, modes, depths and orientations, against independent readers; and what
else people and attackers put into image files."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bounded_read import read_bounded
from image_files import (
    Case,
    display_p3,
    exif,
    linear_grey,
    lossy_cases,
    p3_to_srgb,
    pixels,
    png_bytes,
    png_cases,
    png_chunk,
    srgb_profile,
    stored,
    tiff_bytes,
    tiff_cases,
)
from PIL import Image

from padinv.runtime.alignment.paste_back import paste_back, read_photo
from padinv.runtime.alignment.similarity import square_transform
from padinv.runtime.errors import InputError
from padinv.runtime.images import read_image, read_image_bytes, turn_upright
from padinv.runtime.images.formats import HAS_AVIF, SUFFIXES, UNREAD_SUFFIXES
from padinv.runtime.images.limits import jpeg_layout

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks about damaged metadata


def decoded(data: bytes, name: str = "a") -> np.ndarray:
    image, full = read_image_bytes(data, name)
    assert image.mode == "RGB"
    assert image.size == full
    assert not image.info
    return np.asarray(image, np.float64)


@pytest.mark.parametrize(("cases", "least"), [(tiff_cases, 1500), (png_cases, 300), (lossy_cases, 150)])
def test_every_kind_of_file_is_read_right_or_refused(cases: Callable[[], Iterator[Case]], least: int) -> None:
    wrong = []
    count = 0
    for case in cases():
        count += 1
        try:
            seen = decoded(case.data, case.name)
        except InputError as error:
            if case.expected is not None or not re.search("which is not supported|thumbnail", str(error)):
                wrong.append(f"{case.name}: {error}")
            continue
        if case.expected is None:
            wrong.append(f"{case.name}: it was read")
        elif seen.shape != case.expected.shape:
            wrong.append(f"{case.name}: shape {seen.shape}, not {case.expected.shape}")
        elif (off := np.abs(seen - case.expected).max()) > case.tolerance:
            wrong.append(f"{case.name}: off by {off}")
    assert not wrong, f"{len(wrong)} of {count}: " + "\n".join(wrong[:20])
    assert count >= least


def test_the_comparison_would_see_a_wrong_orientation() -> None:
    picture = pixels(3, 255)
    forms = {stored(picture, orientation).tobytes() for orientation in range(1, 9)}
    assert len(forms) == 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", *(["AVIF"] if HAS_AVIF else [])])
def test_a_reduced_or_full_decode_reports_the_upright_size(kind: str, orientation: int) -> None:
    image = Image.fromarray(stored(np.zeros((40, 90, 3), np.uint8), orientation))
    out = io.BytesIO()
    block = Image.Exif()
    block[0x0112] = orientation
    image.save(out, kind, exif=block)
    small, full = read_image_bytes(out.getvalue(), "a", enough=10)
    assert full == (90, 40)
    assert (small.width > small.height) is True


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_an_opened_image_is_turned_once(tmp_path: Path, kind: str) -> None:
    picture = np.repeat(np.repeat(pixels(3, 255), 8, axis=0), 8, axis=1).astype(np.uint8)
    block = Image.Exif()
    block[0x0112] = 6
    Image.fromarray(stored(picture, 6)).save(tmp_path / "a", kind, exif=block)
    with Image.open(tmp_path / "a") as image:
        turned = turn_upright(image)
    assert np.abs(np.asarray(turned, float) - picture).mean() < 4


# Colour profiles.


def encoded(picture: np.ndarray, kind: str, profile: bytes | None, **options: object) -> bytes:
    out = io.BytesIO()
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100}}
    Image.fromarray(picture).save(out, kind, icc_profile=profile, **lossless.get(kind, {}), **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", *(["AVIF"] if HAS_AVIF else [])])
def test_display_p3_becomes_srgb(kind: str) -> None:
    picture = np.repeat(np.repeat(pixels(3, 255), 8, axis=0), 8, axis=1).astype(np.uint8)
    plain = decoded(encoded(picture, kind, None))
    converted = decoded(encoded(picture, kind, display_p3()))
    expected = p3_to_srgb(plain)
    assert np.abs(expected - plain).mean() > 4  # ignoring the profile would be seen
    assert np.abs(converted - expected).max() < 3
    np.testing.assert_array_equal(decoded(encoded(picture, kind, srgb_profile())), plain)
    np.testing.assert_array_equal(decoded(encoded(picture, kind, b"not a profile" * 20)), plain)
    cmyk = display_p3().replace(b"RGB XYZ ", b"CMYKXYZ ", 1)  # of another kind of picture
    np.testing.assert_array_equal(decoded(encoded(picture, kind, cmyk)), plain)


def test_a_profile_applies_under_transparency_and_in_palettes() -> None:
    colours = pixels(3, 255)
    alpha = np.where(pixels(1, 255, 2) > 128, 255, 0)
    data = encoded(np.dstack([colours, alpha]).astype(np.uint8), "PNG", display_p3())
    expected = np.where(alpha[..., None] == 255, p3_to_srgb(colours), 255)
    assert np.abs(decoded(data) - expected).max() < 2
    table = colours.reshape(-1, 3)[:16]
    index = pixels(1, 15)
    profile = png_chunk(b"iCCP", b"p3\0\0" + zlib.compress(display_p3()))
    data = png_bytes(index, 8, 3, [profile, png_chunk(b"PLTE", table.astype(np.uint8).tobytes())])
    assert np.abs(decoded(data) - p3_to_srgb(table[index])).max() < 2


def test_a_profile_of_grey_pixels() -> None:
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert profile[16:20] == b"RGB "
    grey = np.repeat(pixels(1, 255)[..., None], 3, axis=2)
    out = io.BytesIO()
    Image.fromarray(pixels(1, 255).astype(np.uint8)).save(out, "PNG", icc_profile=bytes(profile))
    np.testing.assert_array_equal(decoded(out.getvalue()), grey)  # an RGB profile says nothing about grey
    ramp = np.arange(256, dtype=np.uint8).reshape(8, 32)
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, "PNG", icc_profile=linear_grey())
    light = ramp / 255.0
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(decoded(out.getvalue())[..., 0] - expected).max() <= 1


def test_pasting_back_keeps_the_photographs_own_colours(tmp_path: Path) -> None:
    photo = np.repeat(np.repeat(pixels(3, 255), 6, axis=0), 6, axis=1).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(photo, "PNG", display_p3()))
    kept, profile = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(kept, photo)
    assert profile == display_p3()
    # A square that shows the photograph in sRGB changes nothing but for rounding: its colours go back into P3.
    srgb, _ = read_image(tmp_path / "a.png")
    square = np.asarray(srgb.crop((10, 10, 50, 50)), np.uint8)
    transform = square_transform((10, 10, 50, 50))
    result = paste_back(kept, square, transform, profile=profile)
    inside = (p3_to_srgb(photo[20:40, 20:40]) > 1).all(axis=2) & (p3_to_srgb(photo[20:40, 20:40]) < 254).all(axis=2)
    off = np.abs(result[20:40, 20:40].astype(int) - photo[20:40, 20:40])[inside]
    assert off.max() <= 3
    untagged = paste_back(kept, square, transform)
    assert np.abs(untagged[20:40, 20:40].astype(int) - photo[20:40, 20:40])[inside].mean() > 2


# Metadata that does not matter.


def sound_png(*extra: bytes, late: tuple[bytes, ...] = ()) -> bytes:
    data = png_bytes(pixels(3, 255), 8, 2, list(extra))
    return data[:-12] + b"".join(late) + data[-12:]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0" + b"x" * (3 << 20)),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (3 << 20))),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * (3 << 20))),
        png_chunk(b"iCCP", b"large\0\0" + zlib.compress(b"x" * (3 << 20))),
        png_chunk(b"tEXt", b"Comment\0hello", sound=False),
        png_chunk(b"tIME", b"\x07\xea\1\1\0\0\0", sound=False),
        png_chunk(b"iCCP", b"large\0\0broken"),
        png_chunk(b"eXIf", exif(6), sound=False),
        png_chunk(b"tRNS", b"\0", sound=False),
        png_chunk(b"pHYs", b"\1"),
        b"".join(png_chunk(b"tEXt", b"Comment\0" + b"y" * 900_000) for _ in range(80)),
    ],
    ids=lambda chunk: chunk[4:8].decode(),
)
def test_png_metadata_does_not_stand_in_the_way_of_the_pixels(chunk: bytes, late: bool) -> None:
    data = sound_png(late=(chunk,)) if late else sound_png(chunk)
    np.testing.assert_array_equal(decoded(data), pixels(3, 255))


def test_a_large_profile_is_applied_all_the_same() -> None:
    profile = display_p3() + bytes(2 << 20)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    data = sound_png(png_chunk(b"iCCP", b"p3\0\0" + zlib.compress(profile)))
    assert np.abs(decoded(data) - p3_to_srgb(pixels(3, 255))).max() < 2


def test_a_damaged_pixel_chunk_is_still_damage() -> None:
    data = bytearray(sound_png())
    data[data.index(b"IDAT") + 20] ^= 0xFF
    with pytest.raises(InputError, match="damaged and was skipped"):
        decoded(bytes(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}])
def test_a_jpeg_without_its_end_marker_is_read_and_a_cut_one_is_not(options: dict[str, object]) -> None:
    picture = np.repeat(np.repeat(pixels(3, 255), 12, axis=0), 12, axis=1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=90, **options)
    data = out.getvalue()
    assert jpeg_layout(data, "a").end == len(data)
    whole = decoded(data)
    np.testing.assert_array_equal(decoded(data[:-2]), whole)
    np.testing.assert_array_equal(decoded(data[:-1]), whole)
    np.testing.assert_array_equal(decoded(data[:-2] + bytes(100)), whole)  # a camera's padding
    np.testing.assert_array_equal(decoded(data + b"trailing notes" * 99), whole)
    scan = data.index(b"\xff\xda")
    for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99):
        cut = scan + 20 + int((len(data) - scan - 24) * part)
        with pytest.raises(InputError, match=r"a is truncated and was skipped \(JPEG decoder: "):
            decoded(data[:cut])


def test_no_message_quotes_an_object() -> None:
    for data in (
        b"\x89PNG\r\n\x1a\nrubbish" * 9,
        b"BM" + bytes(40),
        b"II*\0\x08\0\0\0\1\0",
        b"\xff\xd8\xff\xe0",
        b"MM\0*",
    ):
        with pytest.raises(InputError) as caught:
            decoded(data, "broken.xyz")
        assert "<" not in str(caught.value)
        assert "0x" not in str(caught.value)
        assert str(caught.value).startswith("broken.xyz is damaged and was skipped")


def test_a_damaged_tiff_is_one_sentence_and_nothing_else(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "TIFF", compression="tiff_lzw")
    data = bytearray(out.getvalue())
    data[60:200] = bytes(140)
    (tmp_path / "bad.tif").write_bytes(data)
    code = "import sys; from padinv.runtime.images import read_image\ntry: read_image(sys.argv[1])\n"
    code += "except Exception as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bad.tif"], capture_output=True, text=True, check=True
    )
    assert "bad.tif is damaged and was skipped (TIFF decoder: " in done.stdout
    assert done.stderr == ""  # libtiff would write a line of its own


# Files that are not to be read.


def webp_bomb(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    body = (
        b"WEBPVP8L" + struct.pack("<I", 13) + b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08\x07\x10\x11\x11\x01\0"
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def rle_bomb() -> bytes:
    data = b"\0\2\1\0" * 11_000
    header = struct.pack("<IiiHHIIiiII", 40, 10_000, 10_000, 1, 8, 1, len(data), 0, 0, 256, 0) + bytes(1024)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data


def scan_bomb() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4000, 4000), (90, 60, 30)).save(out, "JPEG", progressive=True, quality=40)
    data = out.getvalue()
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * 400 + b"\xff\xd9"


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def avif_bomb() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "AVIF")
    return out.getvalue().replace(
        b"ispe" + struct.pack(">III", 0, 64, 64), b"ispe" + struct.pack(">III", 0, 16000, 16000)
    )


def tiff_bomb() -> bytes:
    data = tiff_bytes(np.zeros((16, 16), np.uint8), photometric="minisblack", metadata=None)
    return data.replace(struct.pack("<HHII", 256, 4, 1, 16), struct.pack("<HHII", 256, 4, 1, 11_000)).replace(
        struct.pack("<HHII", 257, 4, 1, 16), struct.pack("<HHII", 257, 4, 1, 10_000)
    )


def tile_bomb() -> bytes:
    data = tiff_bytes(np.zeros((16, 16), np.uint8), photometric="minisblack", metadata=None, tile=(16, 16))
    for tag in (322, 323):
        small = struct.pack("<HHII", tag, 4, 1, 16)
        assert small in data
        data = data.replace(small, struct.pack("<HHII", tag, 4, 1, 32_768))
    return data


BOMBS: dict[str, Callable[[], bytes]] = {
    "34-byte WebP": lambda: webp_bomb(16383, 16383),
    "WebP below the limit of pixels": lambda: webp_bomb(7000, 7000),
    "run lengths": rle_bomb,
    "scans": scan_bomb,
    "PNG beyond the limit": lambda: png_bomb(30_000, 30_000),
    "PNG with a few bytes": lambda: png_bomb(10_900, 10_900),
    "TIFF with a few bytes": tiff_bomb,
    "TIFF of one enormous tile": tile_bomb,
    "many chunks": lambda: sound_png(png_chunk(b"tEXt", b"") * 250_000),
    "many segments": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 100_000 + b"\xff\xd9",
    **({"AVIF": avif_bomb} if HAS_AVIF else {}),
}


def test_bombs_are_refused_before_they_cost_memory_or_time(tmp_path: Path) -> None:
    paths = {}
    for name, make in BOMBS.items():
        paths[name] = tmp_path / f"{name}.image"
        paths[name].write_bytes(make())
    (tmp_path / "fine.png").write_bytes(encoded(np.full((6000, 4000, 3), 9, np.uint8), "PNG", None))
    outcomes = read_bounded("padinv.runtime.images:read_image", [*paths.values(), tmp_path / "fine.png"])
    for name, path in paths.items():
        outcome = outcomes[path]
        assert outcome.error.startswith("InputError: "), (name, outcome)
        assert ".image" in outcome.error
        assert outcome.growth < 64 << 20, (name, outcome)
        assert outcome.seconds < 5, (name, outcome)
    fine = outcomes[tmp_path / "fine.png"]
    assert fine.error == ""
    assert fine.growth > 64 << 20  # the measurement sees a decoded picture


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, why in (("pipe.png", "not a regular file"), ("zero.png", "not a regular file"), ("loop.png", "symbolic")):
        with pytest.raises(InputError, match=rf"{name} cannot be read: .*{why}"):
            read_image(tmp_path / name)


def test_suffixes_that_are_read_and_that_are_only_counted() -> None:
    assert {".png", ".jpg", ".webp", ".bmp", ".tif"} <= SUFFIXES
    assert {".gif", ".cr2", ".nef", ".dng", ".jxl"} <= UNREAD_SUFFIXES
    assert not SUFFIXES & UNREAD_SUFFIXES
    assert (".avif" in SUFFIXES) is HAS_AVIF


def test_heic_is_read_where_pillow_heif_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is an optional package")
    picture = np.repeat(np.repeat(pixels(3, 255), 8, axis=0), 8, axis=1).astype(np.uint8)
    for orientation in (1, 6):
        out = io.BytesIO()
        block = Image.Exif()
        block[0x0112] = orientation
        file = heif.from_pillow(Image.fromarray(stored(picture, orientation)))
        file.save(out, quality=95, exif=block.tobytes())
        assert np.abs(decoded(out.getvalue()) - picture).mean() < 3
