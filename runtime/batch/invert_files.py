"""The step of `padinv invert`: a picture in; its reconstruction, inversion file and metrics out."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from padinv.runtime.alignment.aligner import Aligner, item_transform
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.batch.engine import Event, Product, Skipped, Task, run
from padinv.runtime.batch.file_identity import identity_of
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.ownership import Origin, image_bytes
from padinv.runtime.batch.photo import PHOTO, photo_bytes
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.images import FITS, Prepared, average_pool, metrics, read_prepared, to_float, to_uint8
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import DEFAULT_BATCH, Model
from padinv.runtime.passes import checked_passes
from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.safetensors_file import all_finite

if TYPE_CHECKING:
    from padinv.runtime.batch.ray_engine import Cluster
    from padinv.runtime.refining import Refiner

VERB = "invert"
ImageFormat = Literal["png", "jpg", "webp"]
FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
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
        passes: of iterative encoding; None: as many as the model's encoder was trained for.
    """

    fit: str = "crop"
    format: str = "png"
    dtype: str = "float16"
    batch_size: int = DEFAULT_BATCH
    overwrite: bool = False
    paste_back: bool = False
    feather: float = DEFAULT_FEATHER
    passes: int | None = None

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


def invert_files(
    model: Model,
    files: Sequence[Found],
    log: ResultsLog,
    options: Options,
    aligner: Aligner | None = None,
    *,
    refiner: Refiner | None = None,
    cluster: Cluster | None = None,
    marking: Marking | None = None,
) -> Generator[Event, None, None]:
    """Invert files into `log.out`; one event for each file.

    For each file NAME the folder receives NAME.png (or another format) and NAME.safetensors, and the log a record.
    With an `aligner`, each picture's square is where that finds it; without, all pictures are taken as they are.
    An earlier result of the same picture and model is made again where an option differs; that of another model is left
    alone, unless `options.overwrite`.

    Args:
        refiner: improves each inversion before it is written; it must be picklable for a cluster.
        cluster: do the work on Ray; None: in this process. The results are the same.
        marking: how the pictures are marked; None: as results of this verb.

    Raises:
        OutputError: the results cannot be written. BundleError, BackendError: the model cannot run.
    """
    step = InvertStep(model, options, aligner, marking, refiner=refiner)
    hidden = _behind_results(files, options.format)
    for place in hidden:
        path = files[place].place
        yield Skipped(path, f"{path} was skipped: its folder has the name of another result")
    tasks = _Tasks(step, files, hidden)
    if cluster is None:
        yield from run(step, tasks, log, batch_size=options.batch_size, overwrite=options.overwrite)
        return
    from padinv.runtime.batch.ray_engine import run_on_ray
    from padinv.runtime.hub.cache import is_cached

    # A machine with a cache of its own fetches the same commit; a folder must be on every machine.
    folder = model.bundle.origin if is_cached(model.bundle.folder) else str(model.bundle.folder.resolve())
    how = (model.backend, model.threads, model.precision, model.device)
    make = partial(_step_elsewhere, folder, how, options, aligner, refiner)
    yield from run_on_ray(make, tasks, log, cluster, batch_size=options.batch_size, overwrite=options.overwrite)


def _behind_results(files: Sequence[Found], suffix: str) -> list[int]:
    """Places of files whose folder has the name of another file's result."""
    ending = f".{suffix}".casefold()
    folders = {found.name.casefold().rpartition("/")[0] for found in files if f"{ending}/" in found.name.casefold()}
    if not folders:  # almost always: no folder is called like a result
        return []
    taken = {f"{found.name}.{suffix}".casefold() for found in files}
    hidden = {folder for folder in folders if any(str(one) in taken for one in PurePosixPath(folder, "x").parents)}
    return [place for place, found in enumerate(files) if found.name.casefold().rpartition("/")[0] in hidden]


class _Tasks(Sequence[Task]):
    """The tasks of files, made when they are asked for."""

    def __init__(self, step: InvertStep, files: Sequence[Found], hidden: Sequence[int]) -> None:
        self._step, self._files, left_out = step, files, set(hidden)
        self._places = array("Q", (place for place in range(len(files)) if place not in left_out))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        return self._step.task(self._files[self._places[index]])

    def __iter__(self) -> Iterator[Task]:
        if len(self) == len(self._files):
            return map(self._step.task, self._files)
        return (self[place] for place in range(len(self)))


def _step_elsewhere(
    folder: str,
    how: tuple[str, int | None, str, str | None],
    options: Options,
    aligner: Aligner | None,
    refiner: Refiner | None,
) -> InvertStep:
    """The step in another process, with sessions of its own."""
    return InvertStep(Model.load(folder, *how), options, aligner, refiner=refiner)


@dataclass(frozen=True)
class _Read:
    """A picture, and what the user should know about it."""

    prepared: Prepared
    note: str | None


class InvertStep:
    """Reads, encodes and generates pictures; see `engine.Step`."""

    def __init__(
        self,
        model: Model,
        options: Options,
        aligner: Aligner | None = None,
        marking: Marking | None = None,
        *,
        refiner: Refiner | None = None,
    ) -> None:
        self.model, self.options = model, options
        self.passes = checked_passes(options.passes, model.passes, model.bundle.name)
        self._fingerprint = model.bundle.fingerprint  # of every file's task
        self.aligner = aligner
        self.marking = marking or Marking.of(model.bundle, Command(VERB))
        self.refiner = refiner

    def task(self, found: Found) -> Task:
        """The task of one picture."""
        options = self.options
        source, size, version = identity_of(found.place)
        outputs = {"image": f"{found.name}.{options.format}", "inversion": f"{found.name}.safetensors"}
        if options.paste_back:
            outputs["photo"] = f"{found.name}{PHOTO}"
        model, fingerprint = self.model, self._fingerprint
        conditions = {
            "source": source,
            "source_bytes": size,
            "source_mtime_ns": version,
            "model": fingerprint,
            "precision": model.precision,
            "fit": options.fit,
            "format": options.format,
            "dtype": options.dtype,
            "align": self.aligner.conditions if self.aligner is not None and self.aligner.active else None,
            "feather": options.feather if options.paste_back else None,
            # Results that neither of these decides have no such entry, as in older records.
            **({"passes": self.passes} if model.passes > 1 else {}),
            **({} if self.refiner is None else self.refiner.conditions),
        }
        owner = {"source": source, "model": fingerprint}
        return Task(
            VERB,
            found.name,
            found.place,
            conditions,
            owner,
            outputs,
            found,
            (os.path.basename(found.place),),
            self.marking,
        )

    def read(self, task: Task) -> _Read:
        """The picture's square."""
        size = self.model.spec.image_size
        if self.aligner is None:
            return _Read(read_prepared(task.payload.path, size, self.options.fit), None)
        prepared, placement = self.aligner.prepare_file(task.payload.path, size)
        return _Read(prepared, placement.note)

    def process(self, batch: Sequence[tuple[Task, _Read]]) -> list[Product | InputError]:
        """Encode and generate a batch."""
        model = self.model
        started = time.perf_counter()
        x = to_float(np.stack([read.prepared.pixels for _, read in batch]))
        inversion, y = model.reconstruct(x, len(batch), passes=self.passes)
        inversion.items = [{"source": task.name, **read.prepared.item()} for task, read in batch]
        facts: list[dict[str, Any]] = [{} for _ in batch]
        if self.refiner is not None:
            before = metrics.measured(x, average_pool(y, model.spec.image_size))["mse"]
            refined = self.refiner.refine(model, inversion, x)
            inversion, y = refined.inversion, model.generate_float(refined.inversion, len(batch))
            facts = [{"encoder_mse": mse, "refined": one} for mse, one in zip(before, refined.facts, strict=True)]
        seconds = (time.perf_counter() - started) / len(batch)
        measured = metrics.measured(x, average_pool(y, model.spec.image_size))
        pictures = to_uint8(y)
        finite = [all(all_finite(array[i]) for array in (*inversion.arrays().values(), y)) for i in range(len(batch))]
        return [
            InputError(f"the model gives values that are not finite for {task.path}, so it was skipped")
            if not finite[i]
            else self._product(task, read, pictures[i], inversion[i], {
                **{name: values[i] for name, values in measured.items()},
                "seconds": round(seconds, 6),
                **facts[i],
            })
            for i, (task, read) in enumerate(batch)
        ]  # fmt: skip

    def _product(
        self, task: Task, read: _Read, picture: np.ndarray, inversion: Inversion, measured: dict[str, Any]
    ) -> Product:
        options, prepared = self.options, read.prepared
        encode = {
            "image": partial(image_bytes, picture, options.format, **FORMATS[options.format]),
            "inversion": partial(inversion_bytes, inversion, options.dtype),
        }
        if options.paste_back:
            transform = item_transform(prepared.item())
            assert transform is not None  # every prepared picture has a box or a transform
            path, size = task.payload.path, prepared.size
            encode["photo"] = partial(photo_bytes, path, size, picture, transform, feather=options.feather)
        record = {
            **task.conditions,
            "size": list(prepared.size),
            "transform": prepared.transform,
            **measured,
            "backend": self.model.session("encoder").backend,
            "generator_hash": self.model.generator_hash,
        }
        if read.note:  # kept, so that the report of a later run can still warn
            record["note"] = read.note
        files = {kind: (name, encode[kind]) for kind, name in task.outputs.items()}
        return Product(files, record, [read.note] if read.note else [], prepared.pixels)


def inversion_bytes(inversion: Inversion, dtype: str, origin: Origin) -> bytes:
    """An inversion file that carries its origin.

    Raises:
        InputError: values that are not finite in `dtype`; this one image is lost, and not the run.
    """
    try:
        return inversion.to_bytes(dtype, {"origin": origin.text()})
    except OutputError as error:
        name = inversion.items[0].get("source", "one image") if inversion.items else "one image"
        raise InputError(f"no inversion file was written for {name}: {error}") from error
