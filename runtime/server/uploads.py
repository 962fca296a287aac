"""What clients send, as the same objects that the command line works on: photographs and inversions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import Aligner, cut, item_transform
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER, paste_back
from padinv.runtime.editing import Direction
from padinv.runtime.errors import InputError, MismatchError, PadInvError
from padinv.runtime.images import array_to_image, read_image_bytes, sniff
from padinv.runtime.images.png_metadata import png_bytes
from padinv.runtime.inversion import Inversion, require_same_generator
from padinv.runtime.model import Model
from padinv.runtime.server.limits import Limits

MAX_NAME = 200  # characters of an uploaded file's name


@dataclass
class Photograph:
    """A photograph that was sent, with the square that the model looks at.

    Attributes:
        image: the whole picture, upright RGB.
        pixels: uint8 RGB [S, S, 3], the encoder's input.
        item: what an `Inversion` keeps about the picture.
        profile: ICC profile of the file, for pictures that are pasted back.
        faces: how many faces were found; None where nobody looked.
        note: a sentence that the user should see, or None.
    """

    name: str
    image: Image.Image
    pixels: np.ndarray
    item: dict[str, Any]
    profile: bytes | None = None
    faces: int | None = None
    note: str | None = None

    def paste(self, square: np.ndarray, feather: float = DEFAULT_FEATHER) -> np.ndarray:
        """The photograph with `square`, uint8 RGB [R, R, 3], put back in its place.

        Raises:
            InputError: it is not known where the square lies. UsageError: a seam out of range.
        """
        transform = item_transform(self.item)
        if transform is None:
            raise InputError(f"{self.name} does not say where its square was cut out, so nothing was pasted back")
        return paste_back(np.asarray(self.image, np.uint8), square, transform, feather)


def safe_name(name: str | None, default: str = "picture") -> str:
    """A file name as sent, reduced to something to show and to name results by: no folders, nothing unprintable."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c if c.isprintable() else "?" for c in last).strip()[:MAX_NAME]
    return default if shown in ("", ".", "..") else shown


def decode_image(data: bytes, name: str, limits: Limits) -> tuple[Image.Image, bytes | None]:
    """The picture in an uploaded file, upright RGB, and its ICC profile where that fits RGB.

    The size is read from the file's header and checked against `limits.pixels` before anything is decoded.

    Raises:
        InputError: not a picture, damaged, or too large.
    """
    kind = sniff(data[:512])
    profile = None
    if kind is not None:
        try:
            with Image.open(BytesIO(data), formats=(kind,)) as header:
                (width, height), mode = header.size, header.mode
                found = header.info.get("icc_profile")
        except Image.DecompressionBombError as error:  # Pillow's own limit comes before ours for very large ones
            raise InputError(
                f"{name} has more than the {limits.pixels // 1_000_000} million pixels that are taken here; "
                "send a smaller copy"
            ) from error
        except Exception as error:  # Pillow raises about a dozen unrelated types for damaged files
            raise InputError(f"{name} is damaged, so it was not read ({type(error).__name__})") from error
        if width * height > limits.pixels:
            raise InputError(
                f"{name} has {width} x {height} pixels, and at most {limits.pixels // 1_000_000} million are taken "
                "here; send a smaller copy"
            )
        if mode in ("RGB", "RGBA", "P", "PA") and isinstance(found, bytes):
            profile = found
    image, _ = read_image_bytes(data, name)
    return image, profile


def read_photograph(data: bytes, name: str, model: Model, aligner: Aligner, limits: Limits) -> Photograph:
    """Decode an uploaded picture and cut out the model's square, exactly as the command line does with a file.

    Raises:
        InputError: see `decode_image` and `Aligner.place`.
    """
    image, profile = decode_image(data, name, limits)
    prepared, placement = aligner.prepare(image, model.spec.image_size, name=name)
    return Photograph(
        name, image, prepared.pixels, {"source": name, **prepared.item()}, profile, placement.faces, placement.note
    )


def cut_like(photograph: Photograph, other: Photograph, side: int, fit: str = "crop") -> Photograph:
    """`other` with the square of `photograph`, where both have one size: what the detector sees differently in an
    edited copy must not count as an edit."""
    if other.image.size != photograph.image.size:
        return other
    transform = photograph.item.get("transform")
    placed = None if transform is None else np.asarray(transform, np.float64)
    prepared = cut(other.image, placed, side, fit, name=other.name)
    return Photograph(
        other.name, other.image, prepared.pixels, {"source": other.name, **prepared.item()}, other.profile
    )


def pack_inversion(inversion: Inversion, dtype: str = "float32") -> bytes:
    """The bytes of the file that `Inversion.save` writes."""
    with tempfile.TemporaryDirectory(prefix="padinv-") as folder:
        path = Path(folder) / "inversion.safetensors"
        inversion.save(path, dtype)
        return path.read_bytes()


def unpack_inversion(data: bytes, model: Model, name: str = "the inversion") -> Inversion:
    """An uploaded inversion file, checked like any file from outside, and against the model.

    Raises:
        InputError: not an inversion. MismatchError: of another generator, or of another shape.
    """
    inversion = _load(Inversion, data, name)
    require_same_generator(model.generator_hash, inversion.generator_hash, name)
    if {key: array.shape[1:] for key, array in inversion.arrays().items()} != model.spec.latent_shapes:
        raise MismatchError(f"{name} has other shapes than this model's inversions; invert the picture again")
    return inversion


def unpack_direction(data: bytes, model: Model, name: str = "the direction") -> Direction:
    """An uploaded direction file, checked like any file from outside, and against the model.

    Raises:
        InputError: not a direction. MismatchError: of another generator.
    """
    direction = _load(Direction, data, name)
    direction.require_generator(model.generator_hash, name)
    return direction


def _load(kind: Any, data: bytes, name: str) -> Any:
    """`kind.load` of a file that exists only while it is read; messages name what the client sent, not our file."""
    with tempfile.TemporaryDirectory(prefix="padinv-") as folder:
        path = Path(folder) / "upload.safetensors"
        path.write_bytes(data)
        try:
            return kind.load(path)
        except PadInvError as error:
            raise type(error)(str(error).replace(str(path), name)) from error


def encode_png(pixels: np.ndarray, note: dict[str, Any] | None = None, profile: bytes | None = None) -> bytes:
    """uint8 RGB [H, W, 3] -> the bytes of a PNG file. Without a note it is packed fast, for a picture that is shown."""
    if note is not None:
        return png_bytes(pixels, note, profile)
    out = BytesIO()
    array_to_image(pixels).save(out, format="PNG", compress_level=1)
    return out.getvalue()
