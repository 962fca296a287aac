from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images import prepare, read_image, read_prepared, sniff, square_box
from padinv.runtime.images.limits import MAX_PIXELS


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height grey pixels and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def pixels(path: Path) -> np.ndarray:
    image, _ = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_formats_are_told_by_content(tmp_path, picture, kind):
    image = picture(48, 32)
    image.save(tmp_path / "misnamed.xyz", kind)
    assert sniff((tmp_path / "misnamed.xyz").read_bytes()) == kind
    assert np.abs(pixels(tmp_path / "misnamed.xyz") - np.asarray(image)).mean() < 6


def test_rgb_is_kept_exactly(tmp_path, picture):
    picture(16, 16).save(tmp_path / "a.png")
    prepared = read_prepared(tmp_path / "a.png", 16)
    np.testing.assert_array_equal(prepared.pixels, np.asarray(picture(16, 16)))
    assert prepared.item() == {"size": [16, 16], "transform": None, "fit": "crop", "box": [0.0, 0.0, 16.0, 16.0]}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    upright = np.zeros((8, 12, 3), np.uint8)
    upright[:4, :6] = (255, 0, 0)
    upright[:4, 6:] = (0, 255, 0)
    upright[4:, :6] = (0, 0, 255)
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo[orientation](upright))).save(tmp_path / "a.png", exif=exif)
    image, full = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(image), upright)
    assert full == image.size == (12, 8)


def test_damaged_exif_counts_as_upright(tmp_path, picture):
    picture().save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff\x01")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(picture()))


def test_palettes_and_their_transparency(tmp_path):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (2, 0, 4, 2))
    image.save(tmp_path / "plain.png")
    assert pixels(tmp_path / "plain.png")[0].tolist() == [[10, 20, 30]] * 2 + [[200, 100, 50]] * 2
    image.save(tmp_path / "clear.png", transparency=1)
    assert pixels(tmp_path / "clear.png")[0].tolist() == [[10, 20, 30]] * 2 + [[255, 255, 255]] * 2


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (200, 100, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 100, 0, 255), (200, 100, 0)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 128), (127, 127, 127)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
    ],
)
def test_transparency_lies_on_white_and_grey_becomes_rgb(tmp_path, mode, colour, expected):
    Image.new(mode, (3, 3), colour).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png")[1, 1].tolist() == pytest.approx(list(expected), abs=1)


def test_the_transparent_colour_of_an_rgb_png(tmp_path):
    Image.new("RGB", (3, 3), (1, 2, 3)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert pixels(tmp_path / "a.png")[0, 0].tolist() == [255, 255, 255]


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert pixels(tmp_path / name)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_jpeg_and_tiff(tmp_path):
    for name in ("a.jpg", "a.tif"):
        Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / name)
        red, green, blue = pixels(tmp_path / name)[8, 8]
        assert red > 200
        assert max(green, blue) < 60


def test_floating_point_pixels_have_no_range(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="stores floating-point numbers, which is not supported"):
        read_image(tmp_path / "a.tif")


def test_the_first_of_several_pictures_counts(tmp_path, picture):
    picture(seed=1).save(tmp_path / "a.tif", save_all=True, append_images=[picture(seed=2)])
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), np.asarray(picture(seed=1)))


def test_a_bomb_is_refused_by_its_header(tmp_path):
    for width, height in ((30_000, 30_000), (MAX_PIXELS // 10_000 + 1, 10_000)):
        (tmp_path / "bomb.png").write_bytes(png_header(width, height))
        with pytest.raises(InputError, match=r"bomb\.png has .* pixels, .*so it was not read"):
            read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_truncated_files(tmp_path, picture, kind, part):
    buffer = io.BytesIO()
    picture(200, 200).save(buffer, kind)
    data = buffer.getvalue()
    (tmp_path / "cut").write_bytes(data[: max(16, int(len(data) * part))])
    with pytest.raises(InputError, match=r"cut is (truncated|damaged) and was skipped"):
        read_image(tmp_path / "cut")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"hello, I am text\n", "it is text"),
        (b"<!DOCTYPE html><title>Sign in</title>", "it is a web page"),
        (b"<svg xmlns='x'/>", "it is an SVG or XML file"),
        (b"GIF89a" + bytes(30), "it is a GIF image"),
        (b"%PDF-1.7", "it is a PDF document"),
        (b"\0\0\0\x18ftypisom", "it is a camera raw or video file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (bytes(range(200)), "it is of an unknown kind"),
    ],
)
def test_foreign_files_are_named(tmp_path, data, what):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=f"a.png is not a PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC image .*{what}"):
        read_image(tmp_path / "a.png")


def test_what_is_no_file(tmp_path):
    (tmp_path / "zero.png").touch()
    with pytest.raises(InputError, match=r"is empty \(0 bytes\)"):
        read_image(tmp_path / "zero.png")
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="is not a regular file"):  # and does not wait for a writer
        read_image(tmp_path / "pipe.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutated_files_are_read_or_refused(tmp_path, picture):
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        buffer = io.BytesIO()
        picture(24, 24).save(buffer, kind)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for position in rng.integers(0, len(data), 4):
                data[position] = rng.integers(0, 256)
            (tmp_path / "a").write_bytes(data)
            with contextlib.suppress(InputError):
                assert read_image(tmp_path / "a")[0].mode == "RGB"


def test_square_boxes():
    assert square_box((640, 480), "crop") == (80, 0, 560, 480)
    assert square_box((640, 480), "pad") == (0, -80, 640, 560)
    assert square_box((3, 4), "crop") == (0, 0.5, 3, 3.5)
    with pytest.raises(UsageError):
        square_box((1, 1), "stretch")


def test_crop_takes_the_middle_and_pad_keeps_everything():
    image = Image.new("RGB", (30, 10), (255, 0, 0))
    image.paste((0, 0, 255), (10, 0, 20, 10))
    assert (prepare(image, 10).pixels == (0, 0, 255)).all()
    padded = prepare(image, 30, "pad").pixels
    assert (padded[:10] == 255).all()
    assert (padded[20:] == 255).all()
    np.testing.assert_array_equal(padded[10:20], np.asarray(image))
    assert prepare(Image.new("RGB", (1000, 1)), 16, "pad").pixels.shape == (16, 16, 3)
    assert prepare(Image.new("RGB", (1, 1000)), 16, "crop").pixels.shape == (16, 16, 3)


def test_a_large_jpeg_is_decoded_small_but_reports_its_size(tmp_path, picture):
    picture(1600, 1200).save(tmp_path / "a.jpg", quality=95)
    small, full = read_image(tmp_path / "a.jpg", enough=100)
    assert full == (1600, 1200)
    assert 100 <= min(small.size) < 600
    quick, whole = read_prepared(tmp_path / "a.jpg", 32), prepare(read_image(tmp_path / "a.jpg")[0], 32)
    assert quick.box == whole.box == (200, 0, 1400, 1200)
    assert np.abs(quick.pixels.astype(int) - whole.pixels).mean() < 1.5
