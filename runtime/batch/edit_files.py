"""The step of every editing verb: encode what is not an inversion yet, edit, generate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.batch import engine
from padinv.runtime.batch.invert_files import inversion_bytes
from padinv.runtime.batch.ownership import Origin, image_bytes
from padinv.runtime.batch.photo import PHOTO, photo_bytes
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Loaded, Reader, Source, photo_path, photo_transform
from padinv.runtime.files import digest
from padinv.runtime.images import read_image, to_uint8
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import DEFAULT_BATCH
from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.marking import Marking


@dataclass(frozen=True)
class Job:
    """One image to edit, and the relative name (with /) of its result, without a suffix.

    Attributes:
        inputs: names of all images that the result is made of; only the source, if left out.
    """

    source: Source
    name: str
    inputs: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """What the result is made of, for the command that it records."""
        return self.inputs or (self.source.path.name,)


@dataclass(frozen=True)
class Task:
    """An edit, and what is written of it.

    Attributes:
        edit: a batch of the jobs' inversions -> variant -> edited batch of the same length. The variant '' is the
            result; others are written beside it as NAME.VARIANT.png. Must not depend on the batch's other images.
        recipe: what decides the results besides the jobs' sources, JSON-ready; `verb` is the command.
        variants: names of what `edit` gives, '' included.
        save_inversions: also write the result's inversion, as NAME.safetensors.
        paste: write NAME.photo.png, the result in its photograph: that of the job's source, or of `paste_into`.
        paste_into: see `paste`.
        feather: width of the seam in fractions of the square's side.
        marking: how the pictures are marked; None: as results of this verb.
    """

    edit: Callable[[Inversion], Mapping[str, Inversion]]
    recipe: Mapping[str, Any]
    variants: tuple[str, ...] = ("",)
    save_inversions: bool = False
    paste: bool = False
    paste_into: Loaded | None = None
    feather: float = DEFAULT_FEATHER
    marking: Marking | None = None


@dataclass
class Edited:
    """A finished job, for sheets and pages.

    Attributes:
        files: 'image', 'photo', 'inversion' or the name of a variant -> path.
        written: False where an earlier run had made all of them.
        input: uint8 RGB [S, S, 3], the aligned picture; None for an inversion file and for earlier results.
        loaded: what was read; None for earlier results.
        pictures: variant -> uint8 RGB [R, R, 3]; empty where it was not to be kept.
    """

    job: Job
    files: dict[str, Path] = field(default_factory=dict)
    written: bool = False
    input: np.ndarray | None = None
    loaded: Loaded | None = None
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def edit_files(
    reader: Reader,
    jobs: Sequence[Job],
    task: Task,
    log: ResultsLog,
    *,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
) -> Generator[engine.Event, None, None]:
    """Edit and write into `log.out`; one event for each job, earlier results first.

    A result that the same recipe made of the same source with the same model is kept; any other file of that name is
    left alone, unless `overwrite`.

    Raises:
        OutputError: a result cannot be written. BundleError, BackendError: the model cannot run.
    """
    step = EditStep(reader, task)
    tasks = [step.task(job) for job in jobs]
    yield from engine.run(step, tasks, log, batch_size=batch_size, overwrite=overwrite)


def edited_results(outcome: engine.Outcome, jobs: Sequence[Job], task: Task, out: Path, show: int) -> list[Edited]:
    """What came of the jobs, in their order; earlier results are read again until `show` of them have pixels."""
    results: dict[int, Edited] = {}
    finished: list[engine.Done | engine.Kept] = [*outcome.done, *outcome.kept]
    for event in finished:
        job = event.task.payload
        files = {kind: out / entry["file"] for kind, entry in event.record["outputs"].items()}
        edited = Edited(job, files, isinstance(event, engine.Done))
        if isinstance(event, engine.Done) and event.product.shown is not None:
            edited.pictures, edited.loaded = event.product.shown
            edited.input = edited.loaded.pixels
        results[id(job)] = edited
    ordered = [results[id(job)] for job in jobs if id(job) in results]
    shown = sum(bool(edited.pictures) for edited in ordered)
    for edited in ordered:
        if shown < show and not edited.written:
            edited.pictures = {variant: _read(edited.files[variant or "image"]) for variant in task.variants}
            shown += 1
    return ordered


def _read(path: Path) -> np.ndarray:
    return np.asarray(read_image(path)[0], np.uint8)


class EditStep:
    """Reads, encodes, edits and generates; see `engine.Step`."""

    def __init__(self, reader: Reader, task: Task) -> None:
        self.reader, self.edit = reader, task

    def task(self, job: Job) -> engine.Task:
        """The task of one job."""
        edit, reader = self.edit, self.reader
        outputs = {v or "image": f"{job.name}{f'.{v}' if v else ''}.png" for v in edit.variants}
        if edit.paste:
            outputs["photo"] = f"{job.name}{PHOTO}"
        if edit.save_inversions:
            outputs["inversion"] = f"{job.name}.safetensors"
        conditions = {
            "model": reader.model.bundle.fingerprint,
            "recipe": digest(edit.recipe),
            "of": job.source.identity(),
            "align": reader.aligner.conditions,
            "fit": reader.aligner.fit,
            "precision": reader.model.precision,
            "feather": edit.feather if edit.paste else None,
        }
        verb = str(edit.recipe.get("verb", "edit"))
        marking = edit.marking or Marking.of(reader.model.bundle, Command(verb))
        path = str(job.source.path)
        return engine.Task(verb, job.name, path, conditions, conditions, outputs, job, job.named, marking)

    def read(self, task: engine.Task) -> Loaded:
        """The job's picture or inversion."""
        return self.reader.read(task.payload.source)

    def process(self, batch: Sequence[tuple[engine.Task, Loaded]]) -> list[engine.Product]:
        """Encode, edit and generate a batch."""
        model, count = self.reader.model, len(batch)
        inversion = self.reader.encode([loaded for _, loaded in batch], count)
        made = dict(self.edit.edit(inversion))
        pictures = {variant: to_uint8(model.generate_float(one, count)) for variant, one in made.items()}
        return [
            self._product(task, loaded, {v: pictures[v][i] for v in self.edit.variants}, made[""][i])
            for i, (task, loaded) in enumerate(batch)
        ]

    def _product(
        self, task: engine.Task, loaded: Loaded, pictures: Mapping[str, np.ndarray], result: Inversion
    ) -> engine.Product:
        files: dict[str, tuple[str, engine.Encode]] = {}
        for kind, name in task.outputs.items():
            if kind == "inversion":
                encode: engine.Encode = partial(inversion_bytes, result, "float16")
            elif kind == "photo":
                encode = partial(self._photo, self.edit.paste_into or loaded, pictures[""])
            else:
                encode = partial(image_bytes, pictures["" if kind == "image" else kind], "png")
            files[kind] = (name, encode)
        record = {"inputs": [str(loaded.source.path)], "recipe": task.conditions["recipe"]}
        notes = [loaded.note] if loaded.note else []
        return engine.Product(files, record, notes, (dict(pictures), loaded), result.is_generated)

    def _photo(self, into: Loaded, square: np.ndarray, origin: Origin) -> bytes:
        path, size, transform = photo_path(into), into.item.get("size"), photo_transform(into)
        return photo_bytes(path, size, square, transform, origin, feather=self.edit.feather)
