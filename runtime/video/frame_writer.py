"""The results of a folder of frames: one PNG file for each frame, through the batch engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from padinv.runtime.alignment.paste_back import paste_back, read_photo
from padinv.runtime.batch import engine
from padinv.runtime.batch.ownership import Origin, image_bytes
from padinv.runtime.video.clip import Frame
from padinv.runtime.video.edited_squares import EditedSquares, Samples
from padinv.runtime.video.frame_folder import FrameFolder
from padinv.runtime.video.placing import Placing


class FrameStep:
    """Writes the frames of a folder, each a result of its own."""

    def __init__(
        self, clip: FrameFolder, placing: Placing, squares: EditedSquares, samples: Samples, feather: float
    ) -> None:
        self.clip, self.placing, self.squares = clip, placing, squares
        self.samples, self.feather = samples, feather

    def task(self, index: int, whole: engine.Task) -> engine.Task:
        """The task of one frame."""
        file = self.clip.files[index]
        name = f"{whole.name}/{file.name}"
        conditions = {**whole.conditions, "frame": index}
        outputs = {"frame": f"{name}.png"}
        return engine.Task(
            whole.verb, name, str(file), conditions, conditions, outputs, index, whole.inputs, whole.marking
        )

    def read(self, task: engine.Task) -> tuple[np.ndarray, bytes | None]:
        """The frame in its own colours, and its profile."""
        return read_photo(task.path, self.clip.size)

    def process(self, batch: Sequence[tuple[engine.Task, tuple[np.ndarray, bytes | None]]]) -> list[engine.Product]:
        """Paste the squares into a batch of frames."""
        return [self._product(task, *read) for task, read in batch]

    def _product(self, task: engine.Task, photo: np.ndarray, profile: bytes | None) -> engine.Product:
        transform, square = self.placing.transforms[task.payload], self.squares.of(task.payload)
        if transform is not None and square is not None:
            self.samples.add(Frame(task.payload, 0.0, None, lambda: photo), transform, square)
            photo = paste_back(photo, square, transform, self.feather, profile=profile)
        encode = partial(_frame_bytes, photo, profile)
        return engine.Product({"frame": (task.outputs["frame"], encode)})


def _frame_bytes(pixels: np.ndarray, profile: bytes | None, origin: Origin) -> bytes:
    return image_bytes(pixels, "png", origin, profile=profile)
