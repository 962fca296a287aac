"""What clients send, as the same objects that the command line works on: photographs and inversions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import Aligner, item_transform
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER, paste_back
from padinv.runtime.editing import Direction
from padinv.runtime.editing.region import MASK_SIDE
from padinv.runtime.editing.saved_edit import SavedEdit
from padinv.runtime.errors import InputError, MismatchError, PadInvError, UsageError
from padinv.runtime.images import array_to_image, check_image_bytes, read_image_bytes
from padinv.runtime.inversion import Inversion, require_same_generator
from padinv.runtime.model import Model
from padinv.runtime.server.limits import Limits

MAX_NAME = 120  # bytes of an uploaded file's name: with a suffix of ours it is legal everywhere, in any script


@dataclass
class Photograph:
    """A photograph that was sent, with the square that the model looks at.

    Attributes:
        data: the file.
        pixels: uint8 RGB [S, S, 3], the encoder's input.
        item: what an `Inversion` keeps about the picture.
        faces: how many faces were found; None where nobody looked.
        note: a sentence that the user should see, or None.
    """

    name: str
    data: bytes
    pixels: np.ndarray
    item: dict[str, Any]
    faces: int | None = None
    note: str | None = None


def paste(
    photo: tuple[Image.Image, str], square: np.ndarray, item: Mapping[str, Any], feather: float = DEFAULT_FEATHER
) -> np.ndarray:
    """A photograph with an edited square put back in its place, uint8 RGB [H, W, 3].

    Args:
        photo: the picture, as `decode_image` gives it, and its name.
        square: uint8 RGB [R, R, 3].
        item: of the photograph's inversion.

    Raises:
        InputError: it is not known where the square lies. UsageError: a seam out of range.
    """
    image, name = photo
    transform = item_transform(item)
    if transform is None:
        raise InputError(f"{name} does not say where its square was cut out, so nothing was pasted back")
    profile = image.info.get("icc_profile")
    return paste_back(np.asarray(image, np.uint8), square, transform, feather, profile=profile)


def safe_name(name: str | None, default: str = "picture") -> str:
    """A file name as sent, reduced to something to show and to name results by: no folders, nothing unprintable."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c if c.isprintable() else "_" for c in last).strip()
    while len(shown.encode("utf-8", "replace")) > MAX_NAME:
        shown = shown[1:]  # the end holds the suffix
    return default if shown in ("", ".", "..") else shown


def decode_image(data: bytes, name: str, limits: Limits) -> Image.Image:
    """The whole picture in an uploaded file, upright RGB in its own colours; `info` holds their ICC profile, if any.

    Raises:
        InputError: not a picture, damaged, or too large.
    """
    return read_image_bytes(data, name, keep_profile=True, max_pixels=limits.pixels)[0]


def read_photograph(
    data: bytes, name: str, model: Model, aligner: Aligner, limits: Limits, *, like: Mapping[str, Any] | None = None
) -> Photograph:
    """Read an uploaded picture and cut out the model's square, exactly as the command line does with a file.

    Args:
        name: as `safe_name` gives it.
        like: see `Aligner.prepare_file`: what is read is an edited copy of this picture.

    Raises:
        InputError: not a picture, damaged, too large; see also `Aligner.place`.
    """
    check_image_bytes(data, name, max_pixels=limits.pixels)
    with _temporary(data, name) as path:
        prepared, placement = aligner.prepare_file(path, model.spec.image_size, like=like)
    note = None if placement.note is None else placement.note.replace(str(path), name)
    item = {"source": name, **prepared.item()}
    return Photograph(name, data, prepared.pixels, item, placement.faces, note)


def unpack_inversion(data: bytes, model: Model, name: str = "the inversion") -> Inversion:
    """An uploaded inversion file, checked like any file from outside, and against the model.

    Raises:
        InputError: not an inversion. MismatchError: of another generator, or of another shape.
    """
    inversion: Inversion = _load(Inversion, data, name)
    require_same_generator(model.generator_hash, inversion.generator_hash, name)
    if not model.spec.accepts({key: array.shape[1:] for key, array in inversion.arrays().items()}):
        raise MismatchError(f"{name} has other shapes than this model's inversions; invert the picture again")
    return inversion


def unpack_direction(data: bytes, model: Model, name: str = "the direction") -> Direction:
    """An uploaded direction file, checked like any file from outside, and against the model.

    Raises:
        InputError: not a direction. MismatchError: of another generator.
    """
    direction: Direction = _load(Direction, data, name)
    direction.require_generator(model.generator_hash, name)
    return direction


def unpack_saved_edit(data: bytes, model: Model, name: str = "the saved edit") -> SavedEdit:
    """An uploaded edit, checked like any file from outside, and against the model.

    Raises:
        InputError: not a saved edit. MismatchError: of another generator, or it does not fit the model.
    """
    edit: SavedEdit = _load(SavedEdit, data, name)
    edit.check(model.generator_hash, model.spec, name)
    return edit


def read_square_mask(data: bytes, limits: Limits) -> np.ndarray:
    """An uploaded mask over the aligned square -> float32 [MASK_SIDE, MASK_SIDE] in [0, 1]; white may change.

    Raises:
        InputError: not a picture. UsageError: not square, or black everywhere.
    """
    image = decode_image(data, "the mask", limits)
    if image.width != image.height:
        raise UsageError(f"the mask must be square, not {image.width} x {image.height}")
    grey = image.convert("L").resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, np.float32) / 255
    if values.max() <= 0:
        raise UsageError("the mask is black everywhere, so nothing could change; paint where padding may change")
    return values


def _load(kind: Any, data: bytes, name: str) -> Any:
    """`kind.load` of an uploaded file."""
    with _temporary(data, "upload.safetensors", name) as path:
        return kind.load(path)


@contextmanager
def _temporary(data: bytes, file_name: str, shown: str | None = None) -> Iterator[Path]:
    """A file that exists only while it is read; messages name what the client sent, not our file.

    `file_name` has no folders and is short, see `safe_name`. It is kept, because landmarks are found by it.
    """
    with tempfile.TemporaryDirectory(prefix="padinv-") as folder:
        path = Path(folder) / file_name
        try:
            path.write_bytes(data)
            yield path
        except PadInvError as error:
            raise type(error)(str(error).replace(str(path), shown or file_name)) from error


def encode_png(pixels: np.ndarray, profile: bytes | None = None) -> bytes:
    """uint8 RGB [H, W, 3] -> the bytes of a PNG file, packed fast, for a picture that is shown."""
    out = BytesIO()
    array_to_image(pixels).save(out, format="PNG", compress_level=1, icc_profile=profile)
    return out.getvalue()


def encode_webp(pixels: np.ndarray) -> bytes:
    """uint8 RGB [H, W, 3] -> the bytes of a lossless WebP file: packed faster than `encode_png`, and smaller."""
    out = BytesIO()
    array_to_image(pixels).save(out, format="WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()
