"""Where an inversion in memory came from: its model and its photographs, so that it can show and paste itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import item_transform
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER, paste_back, read_photo
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images import array_to_image, to_rgb, turn_upright

if TYPE_CHECKING:
    from padinv.runtime.inversion import Inversion

# A notebook shows this many images of a batch, each at most this many pixels wide.
SHOWN, SHOWN_SIDE = 8, 256


class Generates(Protocol):
    """What an inversion needs of a model."""

    def generate(self, inversion: Inversion, batch_size: int = ...) -> np.ndarray:
        """Inversion -> uint8 RGB [N, R, R, 3]."""


@dataclass(frozen=True)
class Origin:
    """The model an inversion belongs to and the photographs it was cut out of. Files do not keep it.

    Attributes:
        model: draws the images.
        photographs: one per image: a path, an upright Pillow image, or None where there is none.
    """

    model: Generates
    photographs: tuple[Path | Image.Image | None, ...]

    def take(self, indices: Iterable[int]) -> Origin:
        """The origin of some of the images."""
        return Origin(self.model, tuple(self.photographs[i] for i in indices))

    def of_results(self, count: int) -> Origin:
        """The origin of images that were made, and lie in no photograph."""
        return Origin(self.model, (None,) * count)


def joined(origins: Sequence[Origin | None]) -> Origin | None:
    """The origin of batches that are joined; None where they do not agree on the model."""
    known = [origin for origin in origins if origin is not None]
    if not known or len(known) < len(origins) or any(one.model is not known[0].model for one in known):
        return None
    return Origin(known[0].model, tuple(photograph for one in known for photograph in one.photographs))


def render(inversion: Inversion, model: Generates | None) -> list[Image.Image]:
    """The images that the generator makes of an inversion. Raises as `Inversion.images`."""
    if model is None:
        model = inversion.origin.model if inversion.origin is not None else None
    if model is None:
        raise UsageError("an inversion from a file does not know its model; give one: images(model=padinv.load())")
    return [array_to_image(pixels) for pixels in model.generate(inversion)]


def pasted(
    inversion: Inversion,
    photo: Any = None,
    *,
    model: Generates | None = None,
    feather: float = DEFAULT_FEATHER,
) -> Image.Image:
    """The image of an inversion of one, in its photograph. Raises as `Inversion.paste_back`."""
    if len(inversion) != 1:
        raise UsageError(
            f"paste_back takes one image, and this inversion has {len(inversion)}; "
            "write: [one.paste_back() for one in inversion]"
        )
    item = inversion.items[0]
    if photo is None and inversion.origin is not None:
        photo = inversion.origin.photographs[0]
    if photo is None:
        raise UsageError("the photograph of this inversion is not known; give it: paste_back('photo.jpg')")
    transform = item_transform(item)
    if transform is None:
        raise InputError("this inversion does not say where its square was cut out, so nothing was pasted back")
    (square,) = render(inversion, model)
    pixels, profile = _photograph(photo, item.get("size"))
    result = array_to_image(paste_back(pixels, np.asarray(square), transform, feather, profile=profile))
    if profile:
        result.info["icc_profile"] = profile
    return result


def _photograph(photo: Any, size: Any) -> tuple[np.ndarray, bytes | None]:
    """Upright RGB pixels [H, W, 3] of a path, a Pillow image, an array or a tensor, and its colour profile."""
    from padinv.runtime.images.inputs import input_images

    found = input_images(photo)
    if len(found) != 1:
        raise UsageError(f"paste_back takes one photograph, not {len(found)}")
    if found[0].path is not None:
        return read_photo(found[0].path, size)
    image = found[0].image
    assert image is not None
    if size is not None and list(size) != list(image.size):
        raise InputError(
            f"the photograph has {image.width} x {image.height} pixels, and the one that was inverted had "
            f"{size[0]} x {size[1]}, so nothing was pasted back"
        )
    rgb = to_rgb(turn_upright(image), keep_profile=True)
    return np.asarray(rgb, np.uint8), rgb.info.get("icc_profile")


def preview(inversion: Inversion) -> bytes | None:
    """The first images of an inversion side by side, as a PNG file for notebooks; None without a model."""
    from io import BytesIO

    if inversion.origin is None or len(inversion) == 0:
        return None
    images = render(inversion[:SHOWN], None)
    for image in images:
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    sheet = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width
    file = BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
