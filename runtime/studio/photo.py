"""One photograph of a session: the file, its faces, its inversion, and the history of its edits."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.inversion import Inversion
from padinv.runtime.studio.edit_state import EditState, Placing
from padinv.runtime.studio.history import History
from padinv.runtime.studio.placing import corners

SHOWN_SIDE = 1280  # longer side of the photograph as the browser shows it
THUMB_SIDE = 160
MAX_RENDERED = 4  # pictures of earlier states that are kept: letting go of a slider and undo ask for them again


@dataclass
class Photo:
    """A photograph that is edited.

    Attributes:
        id: hex digits, the name in addresses; never a path.
        name: the file's name, for people and for results.
        path: as given on the command line; None for one that came through the browser.
        data: the file.
        size: [w, h] upright, in pixels.
        faces: transforms of the faces found, photograph pixels -> fractions of the square.
        placing: which of them is edited, and how its square was moved.
        landmarks: of a moved square; else None.
        transform: of the square that is edited; None: the picture as it is.
        pixels: uint8 RGB [S, S, 3], the encoder's input.
        inversion: of `pixels`, one image.
        image: uint8 RGB [R, R, 3], the plain reconstruction.
        metrics: MSE, PSNR and SSIM of the reconstruction.
        note: a sentence that the user should see, or None.
        version: another one each time that a photograph is read, so that no picture of an older square is shown.
    """

    id: str
    name: str
    data: bytes
    size: tuple[int, int]
    faces: list[np.ndarray]
    placing: Placing
    transform: np.ndarray | None
    pixels: np.ndarray
    inversion: Inversion
    image: np.ndarray
    metrics: dict[str, float]
    shown: bytes
    thumb: bytes
    path: str | None = None
    landmarks: np.ndarray | None = None
    note: str | None = None
    history: History[EditState] = field(default_factory=lambda: History(EditState()))
    version: int = field(default_factory=itertools.count().__next__)
    _rendered: OrderedDict[Hashable, np.ndarray] = field(default_factory=OrderedDict, repr=False)

    def rendered(self, key: Hashable) -> np.ndarray | None:
        """A picture that was kept, uint8 RGB [R, R, 3]; None where there is none."""
        return self._rendered.get(key)

    def keep(self, key: Hashable, pixels: np.ndarray) -> None:
        """Keep a picture; the oldest one makes room."""
        self._rendered[key] = pixels
        while len(self._rendered) > MAX_RENDERED:
            self._rendered.popitem(last=False)

    def describe(self) -> dict[str, Any]:
        """JSON-ready: what the browser shows about it."""
        return {
            "id": self.id,
            "name": self.name,
            "path": self.path,
            "size": list(self.size),
            "faces": [corners(face) for face in self.faces],
            "placing": self.placing.model_dump(),
            "square": None if self.transform is None else corners(self.transform),
            "moved": self.landmarks is not None,
            "metrics": self.metrics,
            "note": self.note,
            "state": self.history.now.model_dump(mode="json"),
            "history": {"labels": [step.label for step in self.history.steps], "position": self.history.position},
        }


def jpeg_of(image: Image.Image, side: int) -> bytes:
    """A small copy of a photograph, to be shown."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = BytesIO()
    small.save(out, "JPEG", quality=88, icc_profile=image.info.get("icc_profile"))
    return out.getvalue()
