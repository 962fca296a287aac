"""Which files are images: formats by their first bytes, and suffixes by what can be decoded here."""

from __future__ import annotations

from importlib.util import find_spec

# Format -> module of Pillow that reads it; only the one that is needed is imported.
PLUGINS = {
    "PNG": "PIL.PngImagePlugin",
    "JPEG": "PIL.JpegImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
    "HEIF": "pillow_heif",
}

HAS_AVIF = find_spec("PIL._avif") is not None
HAS_HEIF = find_spec("pillow_heif") is not None

# What counts as an image in a folder; a file named outright is recognised by its content alone.
SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff"]
    + [".avif"] * HAS_AVIF
    + [".heic", ".heif", ".hif"] * HAS_HEIF
)

# Images that people keep in folders and that are not read here: they are counted, and never passed over in silence.
_OTHER_IMAGES = (
    ".avif .heic .heif .hif .gif .jxl .jp2 .j2k .jpx .psd .tga .exr .hdr .svg .eps .ico .icns .ppm .pgm .pbm"
)
_CAMERA_RAW = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 "
    ".rwl .sr2 .srf .srw .x3f"
)
UNREAD_SUFFIXES = frozenset([*_OTHER_IMAGES.split(), *_CAMERA_RAW.split()]) - SUFFIXES

# Files that people feed by mistake, by their first bytes.
_FOREIGN = (
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"FUJIFILM", "a camera raw file"),
    (b"IIRO", "a camera raw file"),
    (b"IIU\0", "a camera raw file"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with: git lfs pull"),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def sniff(head: bytes) -> str | None:
    """The image format of a file that begins with these bytes, or None. HEIC and AVIF count where they can be read."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM"):
        return "BMP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    brand = _brand(head)
    if brand == "AVIF" and HAS_AVIF:
        return "AVIF"
    return "HEIF" if brand == "HEIF" and HAS_HEIF else None


def _brand(head: bytes) -> str | None:
    """AVIF or HEIF, by the brands of the first box of an ISO media file."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIF" if any(brand in _HEIF_BRANDS for brand in brands) else None


def describe_foreign(head: bytes) -> str:
    """What a file that cannot be read as an image seems to be."""
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return {
            "AVIF": "an AVIF image, which this Pillow does not read; pip install --upgrade pillow",
            "HEIF": "a HEIC image; to read it: pip install pillow-heif",
        }.get(_brand(head) or "", "a camera raw or video file")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML file"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "text"
    return "of an unknown kind"
