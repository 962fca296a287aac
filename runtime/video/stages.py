"""The three stages before a clip is written, in chunks of frames that the batch engine makes, records and resumes.

Each chunk of a stage is a file in the clip's work folder: where the face is (`track`), the codes of the aligned squares
(`codes`), and the edited squares (`squares`). A stage reads what the stage before it wrote, never what it holds in
memory, so that a run which was interrupted ends in the same bytes as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import cut
from padinv.runtime.batch import engine
from padinv.runtime.batch.invert_files import inversion_bytes
from padinv.runtime.batch.ownership import Origin, image_bytes
from padinv.runtime.errors import InputError
from padinv.runtime.files import parse_json, read_regular
from padinv.runtime.images import read_image, to_float, to_uint8
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.safetensors_file import all_finite
from padinv.runtime.video.clip import Clip
from padinv.runtime.video.code_smoothing import CUT, coarse_change, smooth_codes
from padinv.runtime.video.flicker import change
from padinv.runtime.video.placing import Placing
from padinv.runtime.video.tracking import FaceTracker

CHUNK = 32  # frames; also how far smoothing looks beyond a chunk: at 30 per second the filter forgets 99.8 % by then
MAX_TRACK_BYTES = 1 << 20
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Chunk:
    """Frames `start` to `stop` - 1 of a clip."""

    number: int
    start: int
    stop: int


def chunk(number: int, count: int | None = None) -> Chunk:
    """The chunk of a number; the last one ends at `count`."""
    start = number * CHUNK
    return Chunk(number, start, start + CHUNK if count is None else min(start + CHUNK, count))


def chunk_task(verb: str, suffix: str, part: Chunk, clip: Clip, conditions: Mapping[str, Any]) -> engine.Task:
    """The engine's task of one chunk of a stage."""
    name = f"{verb}-{part.number:06d}"
    owner = {"clip": clip.identity()["path"]}
    whole = {"clip": clip.identity(), "chunk": [part.start, part.stop], **conditions}
    return engine.Task(verb, name, str(clip.path), whole, owner, {verb: f"{name}{suffix}"}, part)


class _Stage:
    """One chunk after another, decoded in the engine's main thread: frames come in order, one at a time."""

    def read(self, task: engine.Task) -> None:
        return None

    def process(self, batch: Sequence[tuple[engine.Task, Any]]) -> list[engine.Product | InputError]:
        return [self.make(task, task.payload) for task, _ in batch]

    def make(self, task: engine.Task, part: Chunk) -> engine.Product | InputError:
        raise NotImplementedError


class TrackStage(_Stage):
    """Finds the face in every frame.

    Args:
        tracker: None: the whole frames are taken, and only their times are noted.
    """

    def __init__(self, clip: Clip, tracker: FaceTracker | None, tick: Tick) -> None:
        self.clip, self.tracker, self.tick = clip, tracker, tick

    def make(self, task: engine.Task, part: Chunk) -> engine.Product:
        """Times and landmarks of a chunk; fewer than it has frames where the clip ends."""
        times: list[float] = []
        landmarks: list[Any] = []
        for frame in self.clip.frames(part.start, part.stop):
            found = None if self.tracker is None else self.tracker.find(frame.pixels)
            times.append(frame.time)
            landmarks.append(None if found is None else found.tolist())
            self.tick(1)
        return engine.Product({"track": (task.outputs["track"], partial(_track_bytes, times, landmarks))})


def _track_bytes(times: list[float], landmarks: list[Any], origin: Origin) -> bytes:
    return json.dumps({"origin": origin.text(), "times": times, "landmarks": landmarks}).encode()


def read_track(path: Path) -> tuple[list[float], list[np.ndarray | None]]:
    """Times and landmarks of a chunk.

    Raises:
        InputError: damaged.
    """
    try:
        found = parse_json(read_regular(path, MAX_TRACK_BYTES))
        times = [float(time) for time in found["times"]]
        landmarks = [None if one is None else np.asarray(one, np.float64).reshape(5, 2) for one in found["landmarks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; remove its folder and run the command again") from error
    return times, landmarks


class CodesStage(_Stage):
    """Cuts out and encodes the aligned squares."""

    def __init__(
        self,
        model: Model,
        clip: Clip,
        placing: Placing,
        times: Sequence[float],
        *,
        batch_size: int,
        passes: int | None,
        tick: Tick,
    ) -> None:
        self.model, self.clip, self.placing, self.times = model, clip, placing, times
        self.batch_size, self.passes, self.tick = batch_size, passes, tick
        self._last: tuple[int, np.ndarray] | None = None  # the last square, and its frame

    def make(self, task: engine.Task, part: Chunk) -> engine.Product | InputError:
        squares: list[np.ndarray] = []
        items: list[dict[str, Any]] = []
        for index, square in self._squares(part):
            item = self._item(index, square)
            if index >= part.start:
                squares.append(square)
                items.append(item)
            self._last = (index, square)
        arrays: list[Inversion] = []
        for first in range(0, len(squares), self.batch_size):
            pixels = to_float(np.stack(squares[first : first + self.batch_size]))
            arrays.append(self.model.encode(pixels, self.batch_size, passes=self.passes))
            self.tick(len(pixels))
        codes = Inversion.concat(arrays)
        codes.items = items
        if not all(all_finite(array) for array in codes.arrays().values()):
            return InputError(
                f"the model gives values that are not finite for {self.clip.path}; nothing was made of it"
            )
        return engine.Product({"codes": (task.outputs["codes"], partial(inversion_bytes, codes, "float32"))})

    def _squares(self, part: Chunk) -> Iterator[tuple[int, np.ndarray]]:
        """The squares of a chunk; after a restart, first the one before it, to measure the change from."""
        known = self._last is not None and self._last[0] == part.start - 1
        start = part.start if known or part.start == 0 else part.start - 1
        for frame in self.clip.frames(start, part.stop):
            transform = self.placing.transforms[frame.index]
            if transform is not None:
                image = Image.fromarray(frame.pixels)
                side = self.model.spec.image_size
                yield frame.index, cut(image, transform, side, name=f"{self.clip.name}, frame {frame.index}").pixels

    def _item(self, index: int, square: np.ndarray) -> dict[str, Any]:
        transform = self.placing.transforms[index]
        assert transform is not None
        item: dict[str, Any] = {
            "source": f"{self.clip.name} frame {index}",
            "size": list(self.clip.size),
            "transform": transform.tolist(),
            "fit": "crop",
            "box": None,
            "frame": index,
            "time": self.times[index],
            "coarse": None,
            "change": None,
        }
        segments = self.placing.segments
        if self._last is not None and self._last[0] == index - 1 and segments[index] == segments[index - 1]:
            coarse = coarse_change(square, self._last[1])
            if coarse <= CUT:
                item["coarse"], item["change"] = coarse, change(square, self._last[1])
        return item


class SquaresStage(_Stage):
    """Smooths the codes over time, edits them and generates the squares, stacked in one lossless picture."""

    def __init__(
        self,
        model: Model,
        folder: Path,
        edit: Callable[[Inversion], Mapping[str, Inversion]],
        files: Mapping[int, str],
        *,
        smooth: float,
        batch_size: int,
        tick: Tick,
    ) -> None:
        self.model, self.folder, self.edit, self.files = model, folder, edit, files
        self.smooth, self.batch_size, self.tick = smooth, batch_size, tick
        self._last: tuple[int, np.ndarray] | None = None

    def make(self, task: engine.Task, part: Chunk) -> engine.Product | InputError:
        codes, wanted = self._window(part)
        smooth = smooth_codes(codes, wanted, self.smooth)
        parts = []
        for first in range(0, len(smooth), self.batch_size):
            edited = self.edit(smooth[first : first + self.batch_size])[""]
            made = self.model.generate_float(edited, self.batch_size)
            if not all_finite(made):
                return InputError(f"the edit gives values that are not finite for {task.path}; nothing was made of it")
            parts.append(to_uint8(made))
            self.tick(len(made))
        squares = np.concatenate(parts)
        changes = self._changes(smooth.items, squares)
        strip = squares.reshape(-1, *squares.shape[2:])
        return engine.Product(
            {"squares": (task.outputs["squares"], partial(image_bytes, strip, "png"))},
            {"frames": [item["frame"] for item in smooth.items], "changes": changes},
        )

    def _window(self, part: Chunk) -> tuple[Inversion, list[int]]:
        """The codes of a chunk and of its neighbours, and the positions of the chunk's own."""
        numbers = [n for n in (part.number - 1, part.number, part.number + 1) if n in self.files]
        parts = {n: Inversion.load(self.folder / self.files[n]) for n in numbers}
        before = len(parts[part.number - 1]) if part.number - 1 in parts else 0
        return Inversion.concat(list(parts.values())), list(range(before, before + len(parts[part.number])))

    def _changes(self, items: Sequence[Mapping[str, Any]], squares: np.ndarray) -> list[list[float]]:
        """[change of the source, change of the result] of each frame that follows another one."""
        size = self.model.spec.image_size
        changes = []
        for item, square in zip(items, squares, strict=True):
            if item["change"] is not None:
                before = self._before(item["frame"])
                changes.append([item["change"], change(square, before, size)])
            self._last = (item["frame"], square)
        return changes

    def _before(self, index: int) -> np.ndarray:
        if self._last is None or self._last[0] != index - 1:  # the first chunk after a restart
            number = (index - 1) // CHUNK
            name = self.files[number].replace("codes-", "squares-").replace(".safetensors", ".png")
            last: np.ndarray = read_squares(self.folder / name)[-1]
            return last
        return self._last[1]


def read_squares(path: Path) -> np.ndarray:
    """A file of `SquaresStage` -> uint8 RGB [N, R, R, 3].

    Raises:
        InputError: damaged.
    """
    pixels = np.asarray(read_image(path)[0], np.uint8)
    side = pixels.shape[1]
    if pixels.shape[0] % side:
        raise InputError(f"{path} is damaged; remove its folder and run the command again")
    squares: np.ndarray = pixels.reshape(-1, side, side, 3)
    return squares
