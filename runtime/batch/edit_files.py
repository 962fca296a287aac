"""Editing many images: read ahead, encode what is no inversion yet, edit, generate and write in batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER, paste_back, read_photo
from padinv.runtime.batch.sources import Loaded, Reader, Source, photo_path, photo_transform
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.files import digest
from padinv.runtime.images import read_image, to_uint8
from padinv.runtime.images.png_metadata import png_note, save_png
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import DEFAULT_BATCH

PHOTO = ".photo.png"


@dataclass(frozen=True)
class Job:
    """One image to edit, and the relative name (with /) of its result, without a suffix."""

    source: Source
    name: str


@dataclass(frozen=True)
class Task:
    """An edit, and what is written of it.

    Attributes:
        edit: a batch of the jobs' inversions -> variant -> edited batch of the same length. The variant '' is the
            result; others are written beside it as NAME.VARIANT.png. Must not depend on the batch's other images.
        recipe: what decides the results besides the jobs' sources, JSON-ready.
        variants: names of what `edit` gives, '' included.
        save_inversions: also write the result's inversion, as NAME.safetensors.
        paste: write NAME.photo.png, the result in its photograph: that of the job's source, or of `paste_into`.
        paste_into: see `paste`.
        feather: width of the seam in fractions of the square's side.
    """

    edit: Callable[[Inversion], Mapping[str, Inversion]]
    recipe: Mapping[str, Any]
    variants: tuple[str, ...] = ("",)
    save_inversions: bool = False
    paste: bool = False
    paste_into: Loaded | None = None
    feather: float = DEFAULT_FEATHER


@dataclass
class Edited:
    """What came of one job.

    Attributes:
        files: 'image', 'photo', 'inversion' or the name of a variant -> path.
        written: False where an earlier run had made all of them.
        problem: a sentence, where nothing came of it.
        notes: sentences the user should see.
        lost: sentences for files that could not be made while others were: a photograph that is gone.
        input: uint8 RGB [S, S, 3], the aligned picture; None for an inversion file and for earlier results.
        loaded: what was read; None for earlier results.
        pictures: variant -> uint8 RGB [R, R, 3]; for earlier results only what was asked for with `show`.
    """

    job: Job
    files: dict[str, Path] = field(default_factory=dict)
    written: bool = False
    problem: str | None = None
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    input: np.ndarray | None = None
    loaded: Loaded | None = None
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def edit_files(
    reader: Reader,
    jobs: Sequence[Job],
    task: Task,
    out: Path,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    show: int = 0,
) -> Iterator[Edited]:
    """Edit and write; one `Edited` a job, earlier results first.

    A result that the same recipe made of the same source with the same model is kept; another file of that name is left
    alone and named as a problem, unless `overwrite`. Closing the generator leaves finished results and no torn file.

    Args:
        show: keep the pixels of this many results in memory, for sheets and pages.

    Raises:
        OutputError: a result cannot be written. BundleError, BackendError: the model cannot run.
    """
    todo: list[tuple[Edited, dict[str, Any]]] = []
    for job in jobs:
        edited = Edited(job, _files(job, task, out))
        note = {
            "model": reader.model.bundle.fingerprint,
            "edit": digest(
                {
                    **task.recipe,
                    "of": job.source.identity(),
                    "align": reader.aligner.conditions,
                    "fit": reader.aligner.fit,
                    "precision": reader.model.precision,
                    "feather": task.feather if task.paste else None,
                }
            ),
        }
        there = [path for path in edited.files.values() if os.path.lexists(path)]
        ours = all(path.suffix != ".png" or png_note(path) == note for path in there)
        if not overwrite and there:
            if not ours or not any(path.suffix == ".png" for path in there):
                edited.problem = (
                    f"{there[0]} exists and is another result, so it was left alone; choose another --out, or allow it "
                    "with --overwrite"
                )
                yield edited
                continue
            if len(there) == len(edited.files):
                if show > 0:
                    show -= 1
                    edited.pictures = {variant: _read(edited.files[variant or "image"]) for variant in task.variants}
                yield edited
                continue
        todo.append((edited, note))
    if todo:
        yield from _Run(reader, task, batch_size, show).run(todo)


def _files(job: Job, task: Task, out: Path) -> dict[str, Path]:
    files = {variant or "image": out / f"{job.name}{f'.{variant}' if variant else ''}.png" for variant in task.variants}
    if task.paste:
        files["photo"] = out / f"{job.name}{PHOTO}"
    if task.save_inversions:
        files["inversion"] = out / f"{job.name}.safetensors"
    return files


def _read(path: Path) -> np.ndarray:
    return np.asarray(read_image(path)[0], np.uint8)


class _Run:
    def __init__(self, reader: Reader, task: Task, batch_size: int, show: int) -> None:
        self.reader, self.task, self.batch_size, self.show = reader, task, batch_size, show

    def run(self, todo: Sequence[tuple[Edited, dict[str, Any]]]) -> Iterator[Edited]:
        workers = min(4, len(todo), (os.cpu_count() or 1) + 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="padinv-edit") as pool:
            writing: deque[Future[Edited]] = deque()
            try:
                batch: list[tuple[Edited, dict[str, Any], Loaded]] = []
                for (edited, note), result in self._read_ahead(pool, todo):
                    if isinstance(result, Loaded):
                        edited.notes += [result.note] if result.note else []
                        batch.append((edited, note, result))
                    else:
                        edited.problem = str(result)
                        yield edited
                    if len(batch) == self.batch_size:
                        self._make(batch, pool, writing)
                        batch = []
                        while len(writing) > 2 * self.batch_size:
                            yield writing.popleft().result()
                if batch:
                    self._make(batch, pool, writing)
                while writing:
                    yield writing.popleft().result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _read_ahead(
        self, pool: ThreadPoolExecutor, todo: Sequence[tuple[Edited, dict[str, Any]]]
    ) -> Iterator[tuple[tuple[Edited, dict[str, Any]], Loaded | Exception]]:
        def read(source: Source) -> Loaded | Exception:
            try:
                return self.reader.read(source)
            except (InputError, MismatchError) as error:
                return error

        waiting: deque[tuple[tuple[Edited, dict[str, Any]], Future[Loaded | Exception]]] = deque()
        for item in todo:
            waiting.append((item, pool.submit(read, item[0].job.source)))
            if len(waiting) >= 2 * self.batch_size:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def _make(
        self,
        batch: Sequence[tuple[Edited, dict[str, Any], Loaded]],
        pool: ThreadPoolExecutor,
        writing: deque[Future[Edited]],
    ) -> None:
        model = self.reader.model
        inversion = self.reader.encode([loaded for _, _, loaded in batch], self.batch_size)
        made = dict(self.task.edit(inversion))
        pictures = {variant: to_uint8(model.generate_float(made[variant], self.batch_size)) for variant in made}
        for i, (edited, note, loaded) in enumerate(batch):
            mine = {variant: pictures[variant][i] for variant in self.task.variants}
            if self.show > 0:
                self.show -= 1
                edited.pictures, edited.input, edited.loaded = mine, loaded.pixels, loaded
            result = made[""][i] if self.task.save_inversions else None
            writing.append(pool.submit(self._write, edited, note, loaded, mine, result))

    def _write(
        self,
        edited: Edited,
        note: dict[str, Any],
        loaded: Loaded,
        pictures: Mapping[str, np.ndarray],
        inversion: Inversion | None,
    ) -> Edited:
        if inversion is not None:
            inversion.save(edited.files["inversion"])
        if self.task.paste:
            try:
                self._paste(edited.files["photo"], note, self.task.paste_into or loaded, pictures[""])
            except InputError as error:
                del edited.files["photo"]
                edited.lost.append(str(error))
        for variant, pixels in pictures.items():
            save_png(edited.files[variant or "image"], pixels, note)
        edited.written = True
        return edited

    def _paste(self, path: Path, note: dict[str, Any], into: Loaded, square: np.ndarray) -> None:
        transform = photo_transform(into)
        photo, profile = read_photo(photo_path(into), into.item.get("size"))
        pasted = paste_back(photo, square, transform, self.task.feather, profile=profile)
        save_png(path, pasted, note, profile)
