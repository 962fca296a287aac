"""The step of `padinv interpolate`: two images, or the average image and one; a strip and an animation out."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from padinv.runtime.batch import engine
from padinv.runtime.batch.invert_files import inversion_bytes
from padinv.runtime.batch.ownership import Origin, exif, image_bytes
from padinv.runtime.batch.result_names import joined_name
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Loaded, Reader, Source
from padinv.runtime.editing import average, interpolate, interpolation_grid
from padinv.runtime.editing.region import Region
from padinv.runtime.errors import InputError, is_out_of_memory
from padinv.runtime.images import read_image
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import DEFAULT_BATCH
from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.reports.animation import animation_bytes, strip, tiled, unstrip

VERB = "interpolate"
Pair = tuple[Source | None, Source]  # without a first source, the average image


@dataclass(frozen=True, kw_only=True)
class Line:
    """How to go from one image to another.

    Attributes:
        steps: images, both ends included.
        space: what moves, 'padding', 'latent' or 'both'. fixed: which end supplies the rest, 'first' or 'second'.
        milliseconds: time of a step in the animation.
        grid: side of NAME.grid.png, latents down and paddings across (Fig. 6 and 7 of the paper); None: no grid.
    """

    steps: int = 9
    space: str = "both"
    fixed: str = "first"
    milliseconds: int = 120
    grid: int | None = None


def interpolate_files(
    reader: Reader,
    pairs: Sequence[Pair],
    line: Line,
    log: ResultsLog,
    *,
    region: Region | None = None,
    frames: bool = False,
    save_inversions: bool = False,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    marking: Marking | None = None,
) -> Generator[engine.Event, None, None]:
    """Write A--B.png, a strip, and A--B.webp, an endless animation, for each pair; one event for each pair.

    Args:
        region: where the padding may move. frames: also write every step as A--B.000.png and so on.
        save_inversions: also write all steps as one inversion file.

    Raises:
        OutputError: a result cannot be written. BundleError, BackendError: the model cannot run.
    """
    step = InterpolateStep(reader, line, region, frames, save_inversions, batch_size, marking)
    tasks = [step.task(pair) for pair in pairs]
    yield from engine.run(step, tasks, log, batch_size=1, overwrite=overwrite)


def show_again(kept: engine.Kept, out: Path) -> np.ndarray | None:
    """The frames of an earlier run, uint8 RGB [N, R, R, 3], for sheet and page; None where they cannot be read."""
    try:
        picture = np.asarray(read_image(out / kept.record["outputs"]["strip"]["file"])[0], np.uint8)
    except InputError:
        return None
    return unstrip(picture, kept.record["steps"])


class InterpolateStep:
    """Reads two ends and draws the way between them; see `engine.Step`. `Product.shown` are the frames."""

    def __init__(
        self,
        reader: Reader,
        line: Line,
        region: Region | None,
        frames: bool,
        save_inversions: bool,
        batch_size: int,
        marking: Marking | None = None,
    ) -> None:
        self.marking = marking or Marking.of(reader.model.bundle, Command(VERB))
        self.reader, self.line, self.region = reader, line, region
        self.frames, self.save_inversions, self.batch_size = frames, save_inversions, batch_size

    def task(self, pair: Pair) -> engine.Task:
        """The task of one pair."""
        a, b = pair
        path = PurePosixPath(b.name)
        name = joined_name("average" if a is None else PurePosixPath(a.name).name, path, path.name)
        outputs = {"strip": f"{name}.png", "animation": f"{name}.webp"}
        if self.line.grid is not None:
            outputs["grid"] = f"{name}.grid.png"
        if self.save_inversions:
            outputs["inversion"] = f"{name}.safetensors"
        if self.frames:
            outputs |= {f"frame {i}": f"{name}.{i:03d}.png" for i in range(self.line.steps)}
        conditions = {
            **asdict(self.line),
            "model": self.reader.model.bundle.fingerprint,
            "region": None if self.region is None else self.region.fingerprint(),
            "of": [None if a is None else a.identity(), b.identity()],
            "align": self.reader.aligner.conditions,
            "fit": self.reader.aligner.fit,
            "precision": self.reader.model.precision,
        }
        inputs = tuple(one.path.name for one in pair if one is not None)
        return engine.Task(VERB, name, str(b.path), conditions, conditions, outputs, pair, inputs, self.marking)

    def read(self, task: engine.Task) -> list[Loaded]:
        """The ends that are images."""
        return [self.reader.read(source) for source in task.payload if source is not None]

    def process(self, batch: Sequence[tuple[engine.Task, list[Loaded]]]) -> list[engine.Product]:
        """Encode the ends and draw the way between them."""
        return [self._product(task, loaded) for task, loaded in batch]

    def _product(self, task: engine.Task, loaded: list[Loaded]) -> engine.Product:
        side = self.line.grid
        start, end = self._ends(loaded, from_average=task.payload[0] is None)
        line = self._between(start, end)
        pictures = self._generate(line)
        square = None if side is None else tiled(self._generate(interpolation_grid(start, end, side)), side)
        files: dict[str, tuple[str, engine.Encode]] = {}
        for kind, name in task.outputs.items():
            if kind == "strip":
                encode: engine.Encode = partial(image_bytes, strip(pictures), "png")
            elif kind == "animation":
                encode = partial(_animation, pictures, self.line.milliseconds)
            elif kind == "inversion":
                encode = partial(inversion_bytes, line, "float16")
            elif kind == "grid":
                assert square is not None
                encode = partial(image_bytes, square, "png")
            else:
                encode = partial(image_bytes, pictures[int(kind.split()[1])], "png")
            files[kind] = (name, encode)
        record = {"inputs": [str(one.source.path) for one in loaded], **asdict(self.line)}
        notes = [one.note for one in loaded if one.note]
        return engine.Product(files, record, notes, pictures, all("seed" in one.item for one in loaded))

    def _ends(self, loaded: list[Loaded], *, from_average: bool) -> tuple[Inversion, Inversion]:
        model = self.reader.model
        ends = self.reader.encode(loaded, self.batch_size)
        start = average(model.spec, model.constants(), model.generator_hash) if from_average else ends[0]
        return start, ends[-1]

    def _between(self, start: Inversion, end: Inversion) -> Inversion:
        line = self.line
        moved = interpolate(start, end, line.steps, line.space, line.fixed)  # type: ignore[arg-type]
        return moved if self.region is None else self.region.limit(start if line.fixed == "first" else end, moved)

    def _generate(self, inversion: Inversion) -> np.ndarray:
        """Pictures, in smaller batches if memory is short."""
        while True:
            try:
                return self.reader.model.generate(inversion, self.batch_size)
            except Exception as error:
                if not is_out_of_memory(error) or self.batch_size == 1:
                    raise
                self.batch_size = max(1, self.batch_size // 2)


def _animation(pictures: np.ndarray, milliseconds: int, origin: Origin) -> bytes:
    return animation_bytes(pictures, milliseconds, exif(origin))
