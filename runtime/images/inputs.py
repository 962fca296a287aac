"""The images a caller hands to `Model.invert`: paths, Pillow images, NumPy arrays and torch tensors, one or many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images.reading import turn_upright

Layout = Literal["auto", "HWC", "CHW"]
_CHANNELS = (1, 3, 4)
# Resampling overshoots a little. An unclamped generator, whose range is [-1, 1], overshoots more. What lies further out
# shows that the range was misunderstood, and clamping it would give a wrong picture without a word.
_OVERSHOOT_FROM_ZERO = 0.02
_OVERSHOOT = 2.0


@dataclass(frozen=True)
class InputImage:
    """One image to invert: a file that is read later, or pixels.

    Attributes:
        name: what messages and the items of an `Inversion` call it.
        path: of the file, absolute; None for pixels.
        image: upright Pillow image; None for a file.
    """

    name: str
    path: Path | None = None
    image: Image.Image | None = None

    @property
    def photograph(self) -> Path | Image.Image:
        """What a result can be pasted back into."""
        photograph = self.path or self.image
        assert photograph is not None
        return photograph


def input_images(
    images: Any, *, layout: Layout = "auto", value_range: tuple[float, float] = (0.0, 1.0)
) -> list[InputImage]:
    """Everything that `Model.invert` takes, as a flat list.

    Args:
        images: a path, a Pillow image, a NumPy array, a torch tensor, or a sequence of these. An array or tensor is
            grey [H, W], one image [H, W, C] or [C, H, W], or a batch of either, with C = 1 (grey), 3 (RGB) or
            4 (RGBA, whose transparent parts become white). Its dtype is uint8 with values 0 to 255, uint16 with values
            0 to 65535, or floating point with values in `value_range`.
        layout: 'HWC' or 'CHW'; 'auto' looks for the axis of length 1, 3 or 4. Where both ends could be it, arrays
            count as HWC and torch tensors as CHW.
        value_range: the darkest and the brightest value of floating-point images: (0, 1) as in torchvision, or (-1, 1)
            as `Model.generate_float` gives.

    Raises:
        UsageError: nothing was given, or something that is not an image, or floating-point values out of range.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"layout must be one of {', '.join(get_args(Layout))}, not {layout!r}")
    low, high = map(float, value_range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(f"value_range must be (darkest, brightest), like (0, 1) or (-1, 1), not {value_range!r}")
    given = list(images) if _is_sequence(images) else [images]
    single = not _is_sequence(images)
    found: list[InputImage] = []
    for i, one in enumerate(given):
        found += _inputs(one, "the image" if single else f"image {i}", len(found), layout, (low, high))
    if not found:
        raise UsageError("no images were given, so nothing was inverted")
    return found


def _is_sequence(images: Any) -> bool:
    return not isinstance(images, str) and isinstance(images, Sequence)


def _inputs(one: Any, what: str, start: int, layout: Layout, value_range: tuple[float, float]) -> Iterator[InputImage]:
    if isinstance(one, (str, os.PathLike)):
        path = Path(one)
        if path.is_dir():
            raise InputError(f"{path} is a folder, and images are needed here; padinv.invert_folder inverts folders")
        yield InputImage(path.name, Path(os.path.abspath(path)))
    elif isinstance(one, Image.Image):
        yield InputImage(f"image {start}", image=turn_upright(one))
    elif isinstance(one, np.ndarray) or _is_tensor(one):
        for i, pixels in enumerate(_batch(one, what, layout)):
            yield InputImage(f"image {start + i}", image=_pillow(_to_uint8(pixels, what, value_range)))
    else:
        raise UsageError(
            f"{what} is {_article(type(one).__name__)}; give a path, a Pillow image, a NumPy array or a torch tensor"
        )


def _is_tensor(one: Any) -> bool:
    """Whether something behaves like a torch tensor; torch itself is not imported for the question."""
    return all(hasattr(one, name) for name in ("detach", "cpu", "numpy", "dtype", "shape"))


def _batch(one: Any, what: str, layout: Layout) -> np.ndarray:
    """An array or tensor as [N, H, W, C]."""
    tensor = not isinstance(one, np.ndarray)
    array = _tensor_array(one) if tensor else one
    shape = list(array.shape)
    if array.ndim == 2:
        return array[None, :, :, None]
    if array.ndim not in (3, 4) or 0 in shape:
        raise UsageError(f"{what} has the shape {shape}; {_SHAPES}")
    batch = array[None] if array.ndim == 3 else array
    last, first = batch.shape[-1] in _CHANNELS, batch.shape[1] in _CHANNELS
    channels_first = layout == "CHW" or (layout == "auto" and first and (tensor or not last))
    if not (first if channels_first else last):
        raise UsageError(f"{what} has the shape {shape}; {_SHAPES}")
    return batch.transpose(0, 2, 3, 1) if channels_first else batch


_SHAPES = "images are [H, W], [H, W, C] or [C, H, W], or batches [N, H, W, C] or [N, C, H, W], where C is 1, 3 or 4"


def _tensor_array(tensor: Any) -> np.ndarray:
    value = tensor.detach().cpu()
    if str(value.dtype) == "torch.bfloat16":  # NumPy has no such type
        value = value.float()
    return np.asarray(value.numpy())


def _to_uint8(pixels: np.ndarray, what: str, value_range: tuple[float, float]) -> np.ndarray:
    """One image [H, W, C] of any accepted dtype -> uint8 [H, W, C]."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise UsageError(f"{what} has the dtype {pixels.dtype}; images are uint8, uint16 or floating point")
    low, high = value_range
    found_low, found_high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(found_low) and np.isfinite(found_high)):
        raise UsageError(f"{what} holds values that are not finite")
    slack = (high - low) * (_OVERSHOOT_FROM_ZERO if low >= 0 else _OVERSHOOT)
    if found_low < low - slack or found_high > high + slack:
        raise UsageError(
            f"{what} has values from {found_low:.3g} to {found_high:.3g}, and value_range says {low:g} to {high:g}; "
            "give the range it has, such as value_range=(-1, 1) or (0, 255)"
        )
    scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _pillow(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W, C] -> a Pillow image of mode L, RGB or RGBA."""
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
