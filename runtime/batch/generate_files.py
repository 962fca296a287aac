"""The steps of `padinv generate`: seeds or saved inversions in, images out."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

from padinv.runtime.batch import engine
from padinv.runtime.batch.invert_files import inversion_bytes
from padinv.runtime.batch.ownership import image_bytes
from padinv.runtime.batch.result_names import distinct_names
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Source
from padinv.runtime.errors import MismatchError, UsageError
from padinv.runtime.inversion import Inversion, require_same_generator
from padinv.runtime.model import DEFAULT_BATCH, Model
from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.marking import Marking

VERB = "generate"
MAX_SEEDS = 1_000_000
_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?\Z")


def parse_seeds(text: str) -> list[int]:
    """'0-15', '3', '1,5,9-12' -> seeds in the order given, each once.

    Raises:
        UsageError: not of this form, a range that runs backwards, or too many.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if not match:
            raise UsageError(f"{text!r} names no seeds; write them like 0-15 or 1,5,9")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first or last >= 1 << 32:
            raise UsageError(f"{part.strip()!r} is not a range of seeds; they run upwards, from 0 to 4294967295")
        if last - first + len(seeds) >= MAX_SEEDS:
            raise UsageError(f"{text!r} are more than {MAX_SEEDS} seeds; take fewer at once")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def sample_files(
    model: Model,
    seeds: Sequence[int],
    truncation: float,
    log: ResultsLog,
    *,
    save_inversions: bool = False,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    marking: Marking | None = None,
) -> Generator[engine.Event, None, None]:
    """Write `seed-0007.png` for every seed (and its inversion file, when asked); one event for each seed.

    Raises:
        OutputError, BundleError, BackendError.
    """
    step = SampleStep(model, truncation, save_inversions, marking)
    tasks = [step.task(seed) for seed in seeds]
    yield from engine.run(step, tasks, log, batch_size=batch_size, overwrite=overwrite)


def render_files(
    model: Model,
    paths: Sequence[Path],
    log: ResultsLog,
    *,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    marking: Marking | None = None,
) -> Generator[engine.Event, None, None]:
    """Write the pictures of inversion files: NAME.png, or NAME-0000.png ... where one holds several images.

    Raises:
        OutputError, BundleError, BackendError.
    """
    step = RenderStep(model, batch_size, marking)
    names = distinct_names([(path, path.name) for path in paths])
    tasks = [step.task(path, name) for path, name in zip(paths, names, strict=True)]
    yield from engine.run(step, tasks, log, batch_size=1, overwrite=overwrite)


class SampleStep:
    """Draws seeds; see `engine.Step`."""

    def __init__(self, model: Model, truncation: float, save_inversions: bool, marking: Marking | None = None) -> None:
        self.model, self.truncation, self.save_inversions = model, truncation, save_inversions
        self.marking = marking or Marking.of(model.bundle, Command(VERB))

    def task(self, seed: int) -> engine.Task:
        """The task of one seed."""
        name = f"seed-{seed:04d}"
        outputs = {"image": f"{name}.png"}
        if self.save_inversions:
            outputs["inversion"] = f"{name}.safetensors"
        conditions = {
            "model": self.model.bundle.fingerprint,
            "precision": self.model.precision,
            "seed": seed,
            "truncation": float(self.truncation),
        }
        inputs = ("--seeds", str(seed))
        return engine.Task(VERB, name, f"seed {seed}", conditions, conditions, outputs, seed, inputs, self.marking)

    def read(self, task: engine.Task) -> int:
        """The seed."""
        return int(task.payload)

    def process(self, batch: Sequence[tuple[engine.Task, int]]) -> list[engine.Product]:
        """Draw a batch."""
        latents = self.model.sample([seed for _, seed in batch], self.truncation)
        pictures = self.model.generate(latents, len(batch))
        products = []
        for i, (task, seed) in enumerate(batch):
            encode: dict[str, engine.Encode] = {
                "image": partial(image_bytes, pictures[i], "png"),
                "inversion": partial(inversion_bytes, latents[i], "float32"),
            }
            files = {kind: (name, encode[kind]) for kind, name in task.outputs.items()}
            record = {"seed": seed, "truncation": float(self.truncation)}
            products.append(engine.Product(files, record, generated=True))
        return products


class RenderStep:
    """Draws inversion files; see `engine.Step`."""

    def __init__(self, model: Model, batch_size: int, marking: Marking | None = None) -> None:
        self.model, self.batch_size = model, batch_size
        self.marking = marking or Marking.of(model.bundle, Command(VERB))

    def task(self, path: Path, name: str) -> engine.Task:
        """The task of one file; how many pictures it gives is known when it is read."""
        conditions = {
            "model": self.model.bundle.fingerprint,
            "precision": self.model.precision,
            "of": Source(path, name).identity(),
        }
        stem = name.removesuffix(".safetensors")
        return engine.Task(VERB, stem, str(path), conditions, conditions, {}, path, (path.name,), self.marking)

    def read(self, task: engine.Task) -> Inversion:
        """The inversion."""
        inversion = Inversion.load(task.payload)
        require_same_generator(self.model.generator_hash, inversion.generator_hash, task.path)
        return inversion

    def process(self, batch: Sequence[tuple[engine.Task, Inversion]]) -> list[engine.Product | MismatchError]:
        """Draw each file."""
        return [self._product(task, inversion) for task, inversion in batch]

    def _product(self, task: engine.Task, inversion: Inversion) -> engine.Product | MismatchError:
        try:
            pictures = self.model.generate(inversion, self.batch_size)
        except MismatchError as error:
            return error
        files: dict[str, tuple[str, engine.Encode]] = {}
        for i, picture in enumerate(pictures):
            kind, name = ("image", task.name) if len(pictures) == 1 else (f"image {i}", f"{task.name}-{i:04d}")
            files[kind] = (f"{name}.png", partial(image_bytes, picture, "png"))
        return engine.Product(files, {"inputs": [task.path]}, generated=inversion.is_generated)
