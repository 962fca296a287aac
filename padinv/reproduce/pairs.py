"""The pairs of Table 3: painted by padinv, or the user's own with their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.reproduce.painted import ATTRIBUTES, SPATIAL, paint
from padinv.runtime.batch.masks import read_mask
from padinv.runtime.editing.pair_change import changed_region
from padinv.runtime.errors import InputError
from padinv.runtime.images import prepare, read_prepared, to_float

MAX_PAIRS = 10_000
_BEFORE, _AFTER, _MASK = ".before", ".after", ".mask"


@dataclass(frozen=True)
class EditPair:
    """An edit as a pair shows it.

    Attributes:
        name: of the pair.
        before, after: float32 [1, 3, S, S] in [-1, 1].
        region: float64 [S, S] in [0, 1], 1 where the edit is; None: painted, so that it is known for every face.
        attribute: what is painted where there is no region.
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    region: np.ndarray | None
    attribute: str

    def regions(self, faces: Sequence[Image.Image]) -> np.ndarray:
        """Where the edit is on other faces: [N, 1, S, S]."""
        size = self.before.shape[-1]
        if self.region is not None:
            return np.broadcast_to(self.region, (len(faces), 1, size, size))
        plain, painted = (batch_of(some, size) for some in (faces, [paint(f, self.attribute) for f in faces]))
        return np.stack([changed_region(x, y) for x, y in zip(plain, painted, strict=True)])[:, None]


def painted_pairs(faces: Sequence[Image.Image], size: int) -> dict[str, list[EditPair]]:
    """Every attribute painted onto every face."""
    return {
        attribute: [
            EditPair(str(k), batch_of([face], size), batch_of([paint(face, attribute)], size), None, attribute)
            for k, face in enumerate(faces)
        ]
        for attribute in ATTRIBUTES
    }


def read_pairs(folder: Path, size: int) -> dict[str, list[EditPair]]:
    """The user's pairs: one folder for each attribute, with NAME.before.png, NAME.after.png and, if any, NAME.mask.png.

    Any image format does. Images are square crops, aligned as the model's faces; a mask is white where the edit is.
    Without a mask the region is where the two images differ.

    Raises:
        InputError: no pair, an incomplete one, an unreadable image, or a mask that does not fit.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; --pairs takes a number, or a folder with one folder per attribute")
    found = {place.name: _pairs_in(place, size) for place in sorted(folder.iterdir()) if place.is_dir()}
    found = {name: pairs for name, pairs in found.items() if pairs}
    if not found:
        raise InputError(
            f"{folder} holds no pairs; expected ATTRIBUTE/NAME{_BEFORE}.png and ATTRIBUTE/NAME{_AFTER}.png"
        )
    if (count := sum(map(len, found.values()))) > MAX_PAIRS:
        raise InputError(f"{folder} holds {count:,} pairs, and {MAX_PAIRS:,} are the limit")
    return found


def _pairs_in(folder: Path, size: int) -> list[EditPair]:
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        name, kind = Path(path.stem).stem, Path(path.stem).suffix
        if path.is_file() and kind in (_BEFORE, _AFTER, _MASK):
            if kind in files.setdefault(name, {}):
                raise InputError(f"{folder} holds {files[name][kind].name} and {path.name}; keep one of them")
            files[name][kind] = path
    return [_pair(folder, name, parts, size) for name, parts in files.items()]


def _pair(folder: Path, name: str, parts: dict[str, Path], size: int) -> EditPair:
    for kind in (_BEFORE, _AFTER):
        if kind not in parts:
            raise InputError(f"{folder} has no {name}{kind}.png beside {next(iter(parts.values())).name}")
    before, after = (to_float(read_prepared(parts[kind], size).pixels[None]) for kind in (_BEFORE, _AFTER))
    if _MASK in parts:
        region = read_mask(parts[_MASK], None, size)
    else:
        region = changed_region(before[0], after[0])
    return EditPair(name, before, after, region, folder.name)


def batch_of(faces: Sequence[Image.Image], size: int) -> np.ndarray:
    """float32 [N, 3, S, S] in [-1, 1]."""
    return to_float(np.stack([prepare(face, size).pixels for face in faces]))


def kind_of(attribute: str) -> str:
    """'spatial' or 'style' for what the paper has, '' for the user's own."""
    return ("spatial" if attribute in SPATIAL else "style") if attribute in ATTRIBUTES else ""
