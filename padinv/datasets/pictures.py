"""One picture on its way into an archive: read, aligned if asked, resized, measured, encoded as PNG."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from padinv.picture_sources import PictureSource
from padinv.picture_sources.resizing import square_pixels
from padinv.runtime.batch.folder_walk import is_image_name
from padinv.runtime.errors import InputError
from padinv.runtime.images.reading import read_image_bytes

if TYPE_CHECKING:
    from padinv.runtime.alignment.aligner import Aligner

BINS = 32  # of the brightness histogram


@dataclass(frozen=True)
class Made:
    """A picture as it goes into the archive.

    Attributes:
        name: inside the archive.
        data: PNG.
        digest: of the pixels; equal for duplicates.
        size: [w, h] of the source in pixels.
        mean, square: of each channel, over [0, 1].
        histogram: shares of BINS brightness levels.
        aligned: whether a face was moved onto the template.
    """

    name: str
    data: bytes
    digest: int
    size: tuple[int, int]
    mean: list[float]
    square: list[float]
    histogram: list[float]
    aligned: bool


def archive_name(name: str) -> str:
    """Where a picture goes in the archive: its own name, ending in .png, with no way out of the archive."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    clean = "/".join("".join(c if c.isprintable() else "_" for c in part)[-200:] for part in parts)
    stem, dot, suffix = clean.rpartition(".")
    return clean if dot and suffix == "png" and not is_image_name(stem) else f"{clean}.png"


class PictureMaker:
    """Makes one picture after another. Safe to share between threads: sources are read by one at a time.

    Args:
        source: where the pictures come from.
        size: side of the results in pixels.
        resize: 'lanczos', or 'area' (each pixel is the mean of those it covers).
        align, template: see `Aligner`; 'never' crops the centred square.
    """

    def __init__(self, source: PictureSource, size: int, resize: str, align: str, template: str | None) -> None:
        self.source, self.size, self.resize = source, size, resize
        self._reading = threading.Lock()
        self.aligner: Aligner | None = None
        if align != "never":
            from padinv.runtime.alignment.aligner import Aligner

            self.aligner = Aligner(template, align, threads=1)

    def make(self, index: int) -> Made:
        """The picture of an index.

        Raises:
            InputError: it cannot be read, or shows no face where one is asked for.
        """
        with self._reading:
            label, name, data = self.source.label(index), self.source.name(index), self.source.data(index)
        image, full = read_image_bytes(data, label)
        aligned = False
        if self.aligner is not None:
            prepared, placement = self.aligner.prepare(image, self.size, full, label)
            aligned, pixels = placement.transform is not None, prepared.pixels
        if not aligned:
            pixels = square_pixels(image, self.size, full, self.resize)
        values = pixels.reshape(-1, 3).astype(np.float64) / 255
        grey = values @ (0.299, 0.587, 0.114)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return Made(
            archive_name(name),
            buffer.getvalue(),
            int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "little"),
            full,
            values.mean(axis=0).tolist(),
            np.square(values).mean(axis=0).tolist(),
            (np.histogram(grey, BINS, (0, 1))[0] / len(grey)).tolist(),
            aligned,
        )

    def make_some(self, indices: list[int]) -> list[Made | str]:
        """Pictures of some indices, or a sentence on each that cannot be used."""
        results: list[Made | str] = []
        for index in indices:
            try:
                results.append(self.make(index))
            except InputError as error:
                results.append(str(error))
        return results
