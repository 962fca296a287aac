"""Inverting many files: read ahead, encode and generate in batches, write, record; stoppable at any moment."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from padinv.runtime.alignment.aligner import Aligner, item_transform
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER, paste_back, read_photo
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.results_log import Journal
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.files import atomic_path
from padinv.runtime.images import (
    FITS,
    Prepared,
    array_to_image,
    average_pool,
    metrics,
    read_prepared,
    to_float,
    to_uint8,
)
from padinv.runtime.model import DEFAULT_BATCH, Model

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_SAVE: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 6},
    "jpg": {"quality": 95, "subsampling": 0},
    "webp": {"quality": 95},
}


@dataclass(frozen=True)
class Options:
    """What decides the results, besides the source and the model.

    Attributes:
        fit: how a picture becomes square, 'crop' or 'pad'.
        format: of the reconstruction: 'png', 'jpg' or 'webp'.
        dtype: of the inversion file: 'float16' or 'float32'.
        batch_size: images that go through the networks at once.
        overwrite: do everything again, and replace files that are not this tool's.
        paste_back: also write NAME.photo.png, the reconstruction in its photograph.
        feather: width of that seam in fractions of the square's side.
    """

    fit: str = "crop"
    format: str = "png"
    dtype: str = "float16"
    batch_size: int = DEFAULT_BATCH
    overwrite: bool = False
    paste_back: bool = False
    feather: float = DEFAULT_FEATHER

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("fit", self.fit, FITS),
            ("format", self.format, tuple(FORMATS)),
            ("dtype", self.dtype, ("float16", "float32")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if self.batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, not {self.batch_size}")


@dataclass(frozen=True)
class Done:
    """One image finished: its line in `results.jsonl`, its [S, S, 3] uint8 input, and what the user should know."""

    record: dict[str, Any]
    pixels: np.ndarray = field(repr=False)
    note: str | None = None


@dataclass(frozen=True)
class Kept:
    """One image that an earlier run had finished."""

    record: dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """One input that gave nothing, and a sentence that says why."""

    path: str
    reason: str


Event = Done | Kept | Skipped
_Read = tuple[Prepared, str | None]  # the picture, and what the user should know about it
PHOTO = ".photo.png"


@dataclass(frozen=True)
class _Task:
    """A file to do: the conditions of its result, and the results' relative names by kind."""

    found: Found
    like: dict[str, Any]
    outputs: dict[str, str]


@dataclass(frozen=True)
class _Job:
    """A task whose file was read, and what the user should know about it."""

    task: _Task
    prepared: Prepared
    note: str | None


def invert_files(
    model: Model, files: Sequence[Found], journal: Journal, options: Options, aligner: Aligner | None = None
) -> Generator[Event, None, None]:
    """Invert files into `journal.out`; one event a file, in no promised order.

    For each file NAME the folder receives NAME.png (or another format) and NAME.safetensors, and the journal a record.
    With an `aligner`, each picture's square is where that finds it; without, all pictures are taken as they are.
    Closing the generator, or an interruption, leaves every finished image recorded and no half-written file.

    Raises:
        OutputError: the results cannot be written. BundleError, BackendError: the model cannot run.
    """
    todo: list[_Task] = []
    conditions = _conditions(model, options, aligner)
    taken = {f"{found.name}.{options.format}".casefold() for found in files}
    for found in files:
        if any(parent.as_posix().casefold() in taken for parent in PurePosixPath(found.name).parents):
            yield Skipped(str(found.path), f"{found.path} was skipped: its folder has the name of another result")
            continue
        like = {"source": os.path.abspath(found.path), **_identity(found.path), **conditions}
        outputs = {"image": f"{found.name}.{options.format}", "inversion": f"{found.name}.safetensors"}
        if options.paste_back:
            outputs["photo"] = f"{found.name}{PHOTO}"
        if not options.overwrite:
            if journal.complete(found.name, like):
                yield Kept(journal.records[found.name])
                continue
            if foreign := _foreign(journal, found.name, like["source"], outputs):
                yield Skipped(str(found.path), foreign)
                continue
        todo.append(_Task(found, like, outputs))
    if not todo:
        return
    workers = min(4, len(todo), (os.cpu_count() or 1) + 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="padinv-io") as pool:
        try:
            batch: list[_Job] = []
            for task, result in _read_ahead(pool, todo, model.spec.image_size, options, aligner):
                if isinstance(result, InputError):
                    yield Skipped(str(task.found.path), str(result))
                else:
                    batch.append(_Job(task, *result))
                if len(batch) == options.batch_size:
                    yield from _run(model, batch, journal, options, pool)
                    batch = []
            if batch:
                yield from _run(model, batch, journal, options, pool)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _identity(path: Path) -> dict[str, Any]:
    try:
        status = os.stat(path)
    except OSError:
        return {"source_bytes": None, "source_mtime_ns": None}  # reading it will say why
    return {"source_bytes": status.st_size, "source_mtime_ns": status.st_mtime_ns}


def _conditions(model: Model, options: Options, aligner: Aligner | None) -> dict[str, Any]:
    """What besides the source decides a result; a change of any of it makes the image anew."""
    return {
        "model": model.bundle.fingerprint,
        "precision": model.precision,
        "fit": options.fit,
        "format": options.format,
        "dtype": options.dtype,
        "align": aligner.conditions if aligner is not None and aligner.active else None,
        "feather": options.feather if options.paste_back else None,
    }


def _foreign(journal: Journal, name: str, source: str, outputs: dict[str, str]) -> str | None:
    for output in outputs.values():
        path = journal.out / output
        if os.path.lexists(path) and not journal.ours(name, source, output):
            return (
                f"{path} exists and was not made from {source}, so that picture was skipped and nothing overwritten; "
                "choose another --out, or allow it with --overwrite"
            )
    return None


def _read_ahead(
    pool: ThreadPoolExecutor, todo: Sequence[_Task], size: int, options: Options, aligner: Aligner | None
) -> Iterator[tuple[_Task, _Read | InputError]]:
    """Read files in order, up to two batches ahead of their use."""

    def read(path: Path) -> _Read | InputError:
        try:
            if aligner is None or not aligner.active:
                return read_prepared(path, size, options.fit), None
            prepared, placement = aligner.prepare_file(path, size)
            return prepared, placement.note
        except InputError as error:
            return error

    waiting: deque[tuple[_Task, Future[_Read | InputError]]] = deque()
    for task in todo:
        waiting.append((task, pool.submit(read, task.found.path)))
        if len(waiting) >= 2 * options.batch_size:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _run(
    model: Model, batch: list[_Job], journal: Journal, options: Options, pool: ThreadPoolExecutor
) -> Iterator[Event]:
    started = time.perf_counter()
    x = to_float(np.stack([job.prepared.pixels for job in batch]))
    inversion = model.encode(x, options.batch_size)
    inversion.items = [{"source": job.task.found.name, **job.prepared.item()} for job in batch]
    y = model.generate_float(inversion, options.batch_size)
    seconds = (time.perf_counter() - started) / len(batch)
    figures = _figures(x, average_pool(y, model.spec.image_size))
    pictures = to_uint8(y)

    def write(i: int) -> dict[str, Any]:
        job = batch[i]
        _save_picture(journal.out / job.task.outputs["image"], pictures[i], options.format)
        inversion[i].save(journal.out / job.task.outputs["inversion"], options.dtype)
        if options.paste_back:
            _paste(job, pictures[i], journal.out / job.task.outputs["photo"], options.feather)
        sizes = {k: {"file": o, "bytes": (journal.out / o).stat().st_size} for k, o in job.task.outputs.items()}
        return {
            "name": job.task.found.name,
            **job.task.like,
            "size": list(job.prepared.size),
            "transform": job.prepared.transform,
            "outputs": sizes,
            **{name: values[i] for name, values in figures.items()},
            "seconds": round(seconds, 6),
            "backend": model.session("encoder").backend,
            "generator_hash": model.generator_hash,
        }

    journal.announce(output for job in batch for output in job.task.outputs.values())
    futures: list[Future[dict[str, Any]]] = []
    try:
        for i in range(len(batch)):
            futures.append(pool.submit(write, i))  # one by one: an interruption has to know
        wait(futures)
    finally:  # also when interrupted: what is written is recorded
        for future in futures:
            future.cancel()
        wait(futures)
        finished = [f for f in futures if not f.cancelled() and f.exception() is None]
        with _undisturbed():
            journal.add([f.result() for f in finished])
    for future, job in zip(futures, batch, strict=True):
        if isinstance(error := future.exception(), InputError):  # a photograph that went away before its paste-back
            yield Skipped(str(job.task.found.path), str(error))
        else:
            yield Done(future.result(), job.prepared.pixels, job.note)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is done; elsewhere than in the main thread they do not arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    watched = (signal.SIGINT, signal.SIGTERM)
    before = [(number, signal.signal(number, lambda caught, frame: held.append(caught))) for number in watched]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


def _figures(x: np.ndarray, y: np.ndarray) -> dict[str, list[float | None]]:
    values = {"mse": metrics.mse(x, y), "psnr": metrics.psnr(x, y)}
    size = x.shape[-1]
    values["ssim"] = metrics.ssim(x, y) if size >= 11 else np.full(len(x), np.nan)
    # JSON has no infinity (PSNR of equal images) and no NaN (SSIM of a picture smaller than its window).
    return {name: [float(v) if math.isfinite(v) else None for v in array] for name, array in values.items()}


def _paste(job: _Job, square: np.ndarray, path: Path, feather: float) -> None:
    transform = item_transform(job.prepared.item())
    assert transform is not None  # every prepared picture has a box or a transform
    photo, profile = read_photo(job.task.found.path, job.prepared.size)
    with atomic_path(path) as temporary:
        array_to_image(paste_back(photo, square, transform, feather)).save(temporary, "PNG", icc_profile=profile)


def _save_picture(path: Path, pixels: np.ndarray, kind: str) -> None:
    image = array_to_image(pixels)
    with atomic_path(path) as temporary:
        image.save(temporary, format=FORMATS[kind], **_SAVE[kind])
