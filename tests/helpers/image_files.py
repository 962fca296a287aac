"""Image files of every container, mode, bit depth and orientation, with what an independent reader says of each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from padinv.runtime.images.formats import HAS_AVIF

SIDE = (9, 13)  # rows and columns: unequal, and multiples of nothing
WHITE = 255.0


@dataclass(frozen=True)
class Case:
    """A file and the picture in it.

    Attributes:
        data: the file. name: says what is special about it.
        expected: float64 RGB [H, W, 3] of 0 to 255, upright; None: it must be refused.
        tolerance: largest difference of a sample; lossy codecs differ a little between implementations.
    """

    name: str
    data: bytes
    expected: np.ndarray | None
    tolerance: float = 1.01


def pixels(channels: int, top: int, seed: int = 0) -> np.ndarray:
    """Smooth whole numbers of 0 to `top`, [H, W] or [H, W, C], both ends included."""
    y, x = np.mgrid[0 : SIDE[0], 0 : SIDE[1]].astype(np.float64)
    phase = np.arange(channels) * 1.7 + seed
    waves = np.sin(x[..., None] / 4 + phase) * np.cos(y[..., None] / 3 + phase * 0.6)
    waves = (waves - waves.min()) / (waves.max() - waves.min())
    values = np.rint(waves * top).astype(np.int64)
    return values[..., 0] if channels == 1 else values


def as_rgb(values: np.ndarray, top: float = 255) -> np.ndarray:
    """Grey [H, W] or colours [H, W, 3] of 0 to `top` -> float64 RGB of 0 to 255."""
    scaled = np.asarray(values, np.float64) * (255 / top)
    return np.repeat(scaled[..., None], 3, axis=2) if scaled.ndim == 2 else scaled


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours laid on white; `alpha` of 0 to 1, [H, W]."""
    return colours * alpha[..., None] + WHITE * (1 - alpha[..., None])


def stored(picture: np.ndarray, orientation: int) -> np.ndarray:
    """The rows and columns that a file with this EXIF orientation holds of an upright picture."""
    transposed = picture.swapaxes(0, 1)
    forms = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: transposed,
        6: transposed[::-1],
        7: transposed[::-1, ::-1],
        8: transposed[:, ::-1],
    }
    return np.ascontiguousarray(forms[orientation])


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `stored`."""
    return stored(values, {6: 8, 8: 6}.get(orientation, orientation))


def exif(orientation: int) -> bytes:
    """EXIF data that states an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


# TIFF


def tiff_bytes(values: np.ndarray, **options: object) -> bytes:
    """A TIFF by tifffile, with its pixels read back by tifffile."""
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)  # type: ignore[arg-type]
    return out.getvalue()


def tiff_cases() -> Iterator[Case]:
    """Every photometric interpretation, depth, plane order, byte order, compression and orientation."""
    for orientation in range(1, 9):
        for depth in (8, 16):
            top = (1 << depth) - 1
            for order in "<>":
                for compression in (None, "zlib", "lzw", "packbits"):
                    for tile in (None, (16, 16)):
                        yield from _tiff_pixels(orientation, depth, top, order, compression, tile)
    yield from _tiff_oddities()


def _tiff_pixels(
    orientation: int, depth: int, top: int, order: str, compression: str | None, tile: tuple[int, int] | None
) -> Iterator[Case]:
    kind = np.uint8 if depth == 8 else np.uint16
    common = {
        "byteorder": order,
        "compression": compression,
        "tile": tile,
        "extratags": [(274, 3, 1, orientation, True)],
        "metadata": None,
    }
    label = f"{depth}-bit {order} {compression} tile={tile} orientation={orientation}"
    for photometric in ("minisblack", "miniswhite"):
        grey = pixels(1, top)
        data = tiff_bytes(stored(grey, orientation).astype(kind), photometric=photometric, **common)
        shown = top - grey if photometric == "miniswhite" else grey
        yield Case(f"TIFF {photometric} {label}", data, as_rgb(shown, top))
    colours = pixels(3, top)
    held = stored(colours, orientation).astype(kind)
    yield Case(f"TIFF RGB {label}", tiff_bytes(held, photometric="rgb", **common), as_rgb(colours, top))
    planes = np.ascontiguousarray(held.transpose(2, 0, 1))
    data = tiff_bytes(planes, photometric="rgb", planarconfig="separate", **common)
    yield Case(f"TIFF RGB planes {label}", data, as_rgb(colours, top) if depth == 8 else None)
    alpha = pixels(1, top, seed=2)
    both = stored(np.dstack([colours, alpha]), orientation).astype(kind)
    data = tiff_bytes(both, photometric="rgb", extrasamples=["unassalpha"], **common)
    yield Case(f"TIFF RGBA {label}", data, on_white(as_rgb(colours, top), alpha / top), 1.6)
    data = tiff_bytes(both, photometric="rgb", extrasamples=["unspecified"], **common)
    yield Case(f"TIFF RGB and a channel that is not alpha {label}", data, as_rgb(colours, top))


def _tiff_oddities() -> Iterator[Case]:
    for bits in (1, 2, 4):
        for white_is_zero in (False, True):
            for order in "II", "MM":
                values = pixels(1, (1 << bits) - 1)
                shown = (1 << bits) - 1 - values if white_is_zero else values
                data = bare_tiff(values, bits, photometric=0 if white_is_zero else 1, order=order)
                yield Case(f"TIFF {bits}-bit grey white0={white_is_zero} {order}", data, as_rgb(shown, (1 << bits) - 1))
    values = pixels(1, 4095)
    yield Case("TIFF 12-bit grey", bare_tiff(values, 12, photometric=1), as_rgb(values, 4095))
    table = pixels(3, 65535).reshape(-1, 3)[:16]
    index = pixels(1, 15)
    data = bare_tiff(index, 4, photometric=3, tags={320: (3, table.T.reshape(-1).tolist())})
    yield Case("TIFF palette", data, as_rgb(table[index], 65535))
    for kind in (np.int8, np.int16, np.int32, np.uint32, np.float32, np.float16):
        name = np.dtype(kind).name
        yield Case(f"TIFF {name}", tiff_bytes(pixels(1, 100).astype(kind), photometric="minisblack"), None)
        yield Case(f"TIFF RGB {name}", tiff_bytes(pixels(3, 100).astype(kind), photometric="rgb"), None)
    grey = np.dstack([pixels(1, 255), pixels(1, 255, 1)]).astype(np.uint8)
    data = tiff_bytes(grey, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    yield Case("TIFF grey and alpha", data, on_white(as_rgb(grey[..., 0]), grey[..., 1] / 255.0), 1.6)
    wide = (grey.astype(np.uint16) * 257).astype(np.uint16)
    data = tiff_bytes(wide, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    yield Case("TIFF 16-bit grey and alpha", data, None)
    colours = pixels(3, 255)
    for factor in (0.25, 1.0):
        alpha = np.full(SIDE, int(255 * factor))
        premultiplied = np.rint(colours * (alpha[..., None] / 255))
        both = np.dstack([premultiplied, alpha]).astype(np.uint8)
        data = tiff_bytes(both, photometric="rgb", extrasamples=["assocalpha"])
        yield Case(f"TIFF premultiplied alpha {factor}", data, on_white(colours.astype(float), alpha / 255.0), 2.5)
    clear = np.dstack([colours, np.zeros(SIDE)]).astype(np.uint8)
    data = tiff_bytes(clear, photometric="rgb", extrasamples=["unassalpha"])
    yield Case("TIFF alpha that is zero everywhere", data, as_rgb(colours))
    data = tiff_bytes(np.dstack([colours, pixels(1, 255)]).astype(np.uint8), photometric="rgb")
    yield Case("TIFF four samples, no word of alpha", _without_tag(data, 338), as_rgb(colours))
    inks = pixels(4, 255).astype(np.uint8)
    shown = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    yield Case("TIFF CMYK", tiff_bytes(inks, photometric="separated"), shown, 1.6)
    yield Case("TIFF CIELab", tiff_bytes(pixels(3, 255).astype(np.uint8), photometric="cielab"), None)
    yield Case("TIFF camera raw", tiff_bytes(pixels(1, 255).astype(np.uint8), photometric="cfa"), None)
    small, large = np.full((4, 5), 9, np.uint8), pixels(3, 255).astype(np.uint8)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(small, subfiletype=1, photometric="minisblack", metadata=None)
        writer.write(large, photometric="rgb", metadata=None)
    yield Case("TIFF thumbnail first", out.getvalue(), as_rgb(large))
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(small, subfiletype=1, photometric="minisblack", metadata=None, subifds=1)
        writer.write(large, photometric="rgb", metadata=None)
    yield Case("TIFF picture in a sub-directory", out.getvalue(), None)
    out = io.BytesIO()
    with tifffile.TiffWriter(out, bigtiff=True) as writer:
        writer.write(large, photometric="rgb", metadata=None)
    yield Case("BigTIFF", out.getvalue(), as_rgb(large))


def bare_tiff(
    values: np.ndarray,
    bits: int,
    *,
    photometric: int,
    order: str = "II",
    tags: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip with samples of any number of bits."""
    mark = "<" if order == "II" else ">"
    rows = b"".join(_packed(row, bits) for row in values)
    entries = {
        256: (3, [values.shape[1]]),
        257: (3, [values.shape[0]]),
        258: (3, [bits]),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8]),
        277: (3, [1]),
        278: (3, [values.shape[0]]),
        279: (4, [len(rows)]),
        **(tags or {}),
    }
    body = rows + b"\0" * (len(rows) % 2)
    directory, beyond = b"", b""
    start = 8 + len(body)
    end = start + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in sorted(entries.items()):
        data = struct.pack(mark + ("H" if kind == 3 else "I") * len(numbers), *numbers)
        if len(data) > 4:
            place = struct.pack(mark + "I", end + len(beyond))
            beyond += data
        else:
            place = data.ljust(4, b"\0")
        directory += struct.pack(mark + "HHI", tag, kind, len(numbers)) + place
    header = order.encode() + struct.pack(mark + "HI", 42, start)
    return header + body + struct.pack(mark + "H", len(entries)) + directory + bytes(4) + beyond


def _packed(row: np.ndarray, bits: int) -> bytes:
    """Numbers as bits, the highest first, filled up to a byte."""
    text = "".join(format(int(value), f"0{bits}b") for value in row.reshape(-1))
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def _without_tag(data: bytes, tag: int) -> bytes:
    """A little-endian TIFF whose entry for `tag` became a private one that nobody reads."""
    at = data.index(struct.pack("<HH", tag, 3))
    return data[:at] + struct.pack("<H", 65000) + data[at + 2 :]


# PNG


def png_chunk(kind: bytes, data: bytes, *, sound: bool = True) -> bytes:
    """A PNG chunk, with a right or a wrong checksum."""
    check = zlib.crc32(kind + data) ^ (0 if sound else 1)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png_bytes(
    values: np.ndarray, depth: int, colour: int, extra: list[bytes] | None = None, *, interlaced: bool = False
) -> bytes:
    """A PNG of any kind; `extra` are chunks before the pixels.

    Args:
        values: [H, W] or [H, W, C] samples. colour: PNG's colour type.
    """
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        part = values[top::down, left::across]
        if part.size:
            rows += b"".join(b"\0" + _packed(row, depth) for row in part)
    chunks = [png_chunk(b"IHDR", header), *(extra or []), png_chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, png_chunk(b"IEND", b"")])


def png_cases() -> Iterator[Case]:
    """Every colour type, depth, interlacing, transparent colour and orientation."""
    for interlaced in (False, True):
        for orientation in range(1, 9):
            turn = [png_chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))]
            for depth in (1, 2, 4, 8, 16):
                yield from _png_grey(depth, orientation, turn, interlaced)
            for depth in (8, 16):
                yield from _png_colours(depth, orientation, turn, interlaced)
            for depth in (1, 2, 4, 8):
                yield from _png_palette(depth, orientation, turn, interlaced)


def _png_grey(depth: int, orientation: int, turn: list[bytes], interlaced: bool) -> Iterator[Case]:
    top = (1 << depth) - 1
    grey = pixels(1, top)
    label = f"{depth}-bit interlaced={interlaced} orientation={orientation}"
    held = stored(grey, orientation)
    yield Case(f"PNG grey {label}", png_bytes(held, depth, 0, turn, interlaced=interlaced), as_rgb(grey, top))
    clear = int(grey[2, 3])
    data = png_bytes(held, depth, 0, [*turn, png_chunk(b"tRNS", struct.pack(">H", clear))], interlaced=interlaced)
    yield Case(f"PNG grey with a transparent one {label}", data, on_white(as_rgb(grey, top), (grey != clear) * 1.0))
    if depth >= 8:
        alpha = pixels(1, top, 2)
        data = png_bytes(stored(np.dstack([grey, alpha]), orientation), depth, 4, turn, interlaced=interlaced)
        yield Case(f"PNG grey and alpha {label}", data, on_white(as_rgb(grey, top), alpha / top), 1.6)


def _png_colours(depth: int, orientation: int, turn: list[bytes], interlaced: bool) -> Iterator[Case]:
    top = (1 << depth) - 1
    colours = pixels(3, top)
    label = f"{depth}-bit interlaced={interlaced} orientation={orientation}"
    held = stored(colours, orientation)
    yield Case(f"PNG RGB {label}", png_bytes(held, depth, 2, turn, interlaced=interlaced), as_rgb(colours, top))
    near = colours.copy()
    near[0, 0] = near[4, 5] + [0, 0, 1 if near[4, 5, 2] < top else -1]  # all but equal to the transparent colour
    clear = near[4, 5]
    data = png_bytes(
        stored(near, orientation), depth, 2, [*turn, png_chunk(b"tRNS", struct.pack(">HHH", *clear))],
        interlaced=interlaced,
    )  # fmt: skip
    opaque = (near != clear).any(axis=2) * 1.0
    yield Case(f"PNG RGB with a transparent colour {label}", data, on_white(as_rgb(near, top), opaque))
    alpha = pixels(1, top, 2)
    data = png_bytes(stored(np.dstack([colours, alpha]), orientation), depth, 6, turn, interlaced=interlaced)
    yield Case(f"PNG RGBA {label}", data, on_white(as_rgb(colours, top), alpha / top), 1.6)


def _png_palette(depth: int, orientation: int, turn: list[bytes], interlaced: bool) -> Iterator[Case]:
    table = pixels(3, 255, 4).reshape(-1, 3)[: 1 << depth]
    index = pixels(1, len(table) - 1)
    label = f"{depth}-bit interlaced={interlaced} orientation={orientation}"
    colours = png_chunk(b"PLTE", table.astype(np.uint8).tobytes())
    held = stored(index, orientation)
    data = png_bytes(held, depth, 3, [*turn, colours], interlaced=interlaced)
    yield Case(f"PNG palette {label}", data, as_rgb(table[index]))
    alphas = np.linspace(0, 255, len(table)).astype(np.uint8)
    data = png_bytes(held, depth, 3, [*turn, colours, png_chunk(b"tRNS", alphas.tobytes())], interlaced=interlaced)
    yield Case(f"PNG palette with alpha {label}", data, on_white(as_rgb(table[index]), alphas[index] / 255.0), 1.6)


# The rest, through Pillow's encoders and read back by imagecodecs


def lossy_cases() -> Iterator[Case]:
    """JPEG, WebP, AVIF and BMP in their modes and orientations."""
    for orientation in range(1, 9):
        for mode in ("L", "RGB", "CMYK"):
            for options in ({}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}, {"restart": 2}):
                yield _jpeg(mode, orientation, options)
        for mode in ("RGB", "RGBA"):
            for lossless in (True, False):
                yield _webp(mode, orientation, lossless)
        for mode in ("L", "RGB", "RGBA") if HAS_AVIF else ():
            yield _avif(mode, orientation)
    for mode in ("1", "L", "P", "RGB"):
        yield _bmp(mode)


def _large(channels: int) -> np.ndarray:
    """A picture that lossy codecs hardly change."""
    return np.repeat(np.repeat(pixels(channels, 255), 8, axis=0), 8, axis=1)


def _jpeg(mode: str, orientation: int, options: dict[str, object]) -> Case:
    options = {{"restart": "restart_marker_blocks"}.get(key, key): value for key, value in options.items()}
    values = _large({"L": 1, "RGB": 3, "CMYK": 4}[mode])
    image = Image.fromarray(stored(values, orientation).astype(np.uint8), mode if mode == "CMYK" else None)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95, exif=exif(orientation), **options)
    seen = imagecodecs.jpeg8_decode(out.getvalue()).astype(np.float64)
    if mode == "CMYK":  # Adobe's inks are stored inverted
        seen = seen[..., :3] * seen[..., 3:] / 255
    return Case(
        f"JPEG {mode} {options} orientation={orientation}", out.getvalue(), as_rgb(upright(seen, orientation)), 3
    )


def _webp(mode: str, orientation: int, lossless: bool) -> Case:
    values = _large(len(mode))
    out = io.BytesIO()
    image = Image.fromarray(stored(values, orientation).astype(np.uint8))
    image.save(out, "WEBP", lossless=lossless, quality=95, exif=exif(orientation))
    seen = imagecodecs.webp_decode(out.getvalue()).astype(np.float64)
    shown = upright(seen, orientation)
    expected = on_white(shown[..., :3], shown[..., 3] / 255) if mode == "RGBA" else shown[..., :3]
    return Case(f"WebP {mode} lossless={lossless} orientation={orientation}", out.getvalue(), expected, 2)


def _avif(mode: str, orientation: int) -> Case:
    values = _large({"L": 1}.get(mode, len(mode)))
    out = io.BytesIO()
    image = Image.fromarray(stored(values, orientation).astype(np.uint8))
    image.save(out, "AVIF", quality=95, exif=exif(orientation), speed=10)
    seen = upright(imagecodecs.avif_decode(out.getvalue()).astype(np.float64), orientation)
    shown = as_rgb(seen if seen.ndim == 2 else seen[..., :3])
    if mode == "RGBA":
        shown = on_white(shown, seen[..., 3] / 255)
    return Case(f"AVIF {mode} orientation={orientation}", out.getvalue(), shown, 3)


def _bmp(mode: str) -> Case:
    image = Image.fromarray(pixels(3, 255).astype(np.uint8)).convert(mode)
    out = io.BytesIO()
    image.save(out, "BMP")
    return Case(f"BMP {mode}", out.getvalue(), np.asarray(image.convert("RGB"), np.float64))


# Colour profiles


def display_p3() -> bytes:
    """An ICC profile of Display P3, written by hand: three primaries for D50 and sRGB's curve."""
    curve = b"para\0\0\0\0\0\3\0\0" + b"".join(map(_fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    primaries = [(name, _xyz(*P3_TO_XYZ[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    return _profile(b"RGB ", [*primaries, *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def linear_grey() -> bytes:
    """An ICC profile of grey pixels that are proportional to light."""
    return _profile(b"GRAY", [(b"kTRC", b"curv\0\0\0\0" + struct.pack(">IHH", 1, 256, 0))])


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(x) + _fixed(y) + _fixed(z)


def _profile(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    """An ICC profile of a display in version 2.4, for D50."""
    text = b"desc\0\0\0\0" + struct.pack(">I", 3) + b"P3\0" + bytes(4 + 4 + 2 + 1 + 67)
    tags = [(b"desc", text), (b"wtpt", _xyz(0.9642, 1.0, 0.8249)), *tags]
    table, data, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags:
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", at + len(data), len(body))
        data += body
    head = struct.pack(">I4sI4s4s4s", at + len(data), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + table + data


# Columns: red, green and blue in XYZ for D50 (Bradford-adapted), of Display P3 and of sRGB.
P3_TO_XYZ = np.array([[0.515102, 0.291965, 0.157153], [0.241182, 0.692236, 0.066582], [-0.001050, 0.041882, 0.784378]])
SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)


def p3_to_srgb(values: np.ndarray) -> np.ndarray:
    """Display P3 pixels of 0 to 255 -> sRGB pixels, by the definition of both spaces."""
    scaled = np.asarray(values, np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    moved = np.clip(linear @ (np.linalg.inv(SRGB_TO_XYZ) @ P3_TO_XYZ).T, 0, 1)
    return np.where(moved <= 0.0031308, moved * 12.92, 1.055 * moved ** (1 / 2.4) - 0.055) * 255


def srgb_profile() -> bytes:
    """LittleCMS's own sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
