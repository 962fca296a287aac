"""What the commands do, as one call each: whole folders of files in, results, log and skipped inputs out.

Every function takes paths (files, folders, glob patterns), writes below `out` through the command's own engine, and
continues where an earlier call stopped. Pages and contact sheets are the commands' own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.runtime.alignment.aligner import Align, Aligner
from padinv.runtime.alignment.landmarks_csv import read_landmarks
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.alignment.templates import read_template
from padinv.runtime.batch.align_files import align_files as align_events
from padinv.runtime.batch.edit_files import Job, Task
from padinv.runtime.batch.edit_files import edit_files as edit_events
from padinv.runtime.batch.engine import Done, Event, Note, Outcome, Skipped
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.generate_files import sample_files
from padinv.runtime.batch.invert_files import ImageFormat, Options, invert_files
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Reader, find_sources
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.operations import Space, apply
from padinv.runtime.errors import ExitCode, InputError
from padinv.runtime.files import sha256_bytes
from padinv.runtime.hub.directions import find_direction
from padinv.runtime.images import Fit
from padinv.runtime.inversion import Dtype
from padinv.runtime.loading import load
from padinv.runtime.model import DEFAULT_BATCH, Model

Paths = str | Path | Sequence[str | Path]
OnEvent = Callable[[Event], None]
_log = logging.getLogger("padinv")


@dataclass(frozen=True)
class FolderResult:
    """What came of a call.

    Attributes:
        out: folder of the results.
        outcome: what was done, kept of an earlier call, and skipped, with a sentence and a code for each.
    """

    out: Path
    outcome: Outcome

    @property
    def files(self) -> dict[str, dict[str, Path]]:
        """Name of a result -> kind ('image', 'inversion', 'photo', ...) -> file."""
        return {
            str(record["name"]): {kind: self.out / entry["file"] for kind, entry in record["outputs"].items()}
            for record in self.outcome.records
        }

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """Lines of `results.jsonl`, with the metrics of an inversion."""
        return list(self.outcome.records)

    @property
    def skipped(self) -> list[Skipped]:
        """Inputs that gave nothing: path, reason and code."""
        return self.outcome.skipped

    @property
    def exit_code(self) -> ExitCode:
        """What the command would exit with."""
        return self.outcome.exit_code

    def __repr__(self) -> str:
        done, kept, skipped = len(self.outcome.done), len(self.outcome.kept), len(self.outcome.skipped)
        return f"FolderResult({str(self.out)!r}: {done} done, {kept} kept, {skipped} skipped)"


def invert_folder(
    paths: Paths,
    *,
    out: str | Path = "padinv-out",
    model: Model | str | Path | None = None,
    align: Align = "auto",
    landmarks: str | Path | None = None,
    face: int = 1,
    fit: Fit = "crop",
    format: ImageFormat = "png",
    dtype: Dtype = "float16",
    paste_back: bool = False,
    feather: float = DEFAULT_FEATHER,
    batch_size: int = DEFAULT_BATCH,
    limit: int | None = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Invert image files and folders, as `padinv invert` does.

    Example:
        result = padinv.invert_folder("photos", out="inverted", paste_back=True)
        result.files["a.jpg"]["inversion"]

    Args:
        paths: image files, folders (recursive) or glob patterns.
        model: a loaded model, or what `padinv.load` takes.
        landmarks: CSV file of landmarks, used instead of the face detector.
        paste_back: also write NAME.photo.png, the reconstruction in its photograph.
        limit: take the first images only, by name.
        on_event: called with every event of `padinv.runtime.batch.engine` while the work goes on.

    Raises:
        InputError: no image was found. OutputError, BundleError, BackendError: the work cannot be done.
    """
    loaded = _model(model)
    found = gather(_listed(paths), out)
    _require(found.files, found.skipped())
    given = None if landmarks is None else read_landmarks(Path(landmarks))
    aligner = Aligner(loaded.spec.template, align, landmarks=given, face=face, fit=fit, threads=loaded.threads)
    options = Options(fit, format, dtype, batch_size, overwrite, paste_back, feather)
    with ResultsLog(Path(out)) as log:
        return _run(invert_files(loaded, found.files[:limit], log, options, aligner), out, found.skipped(), on_event)


def align_folder(
    paths: Paths,
    *,
    out: str | Path = "padinv-out/aligned",
    size: int = 256,
    template: str = "faces",
    landmarks: str | Path | None = None,
    everyone: bool = True,
    limit: int | None = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Cut aligned faces out of photographs, as `padinv align` does.

    Args:
        size: side of the crops in pixels.
        template: 'faces', 'ffhq', or a TOML file of five points.
        everyone: all faces of a photograph; False: the largest.

    Raises:
        InputError: no image was found, or a template that does not exist.
    """
    found = gather(_listed(paths), out)
    _require(found.files, found.skipped())
    given = None if landmarks is None else read_landmarks(Path(landmarks))
    aligner = Aligner(read_template(template).code, "always", landmarks=given)
    with ResultsLog(Path(out)) as log:
        events = align_events(aligner, found.files[:limit], log, size=size, everyone=everyone, overwrite=overwrite)
        return _run(events, out, found.skipped(), on_event)


def generate_images(
    seeds: Sequence[int],
    *,
    out: str | Path = "padinv-out/generated",
    model: Model | str | Path | None = None,
    truncation: float = 1.0,
    save_inversions: bool = False,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Sample images from the generator into files, as `padinv generate --seeds` does."""
    loaded = _model(model)
    with ResultsLog(Path(out)) as log:
        events = sample_files(
            loaded,
            list(seeds),
            truncation,
            log,
            save_inversions=save_inversions,
            batch_size=batch_size,
            overwrite=overwrite,
        )
        return _run(events, out, (), on_event)


def edit_folder(
    direction: Direction | str | Path,
    paths: Paths,
    *,
    out: str | Path = "padinv-out/edit",
    model: Model | str | Path | None = None,
    space: Space | None = None,
    strength: float = 1.0,
    align: Align = "auto",
    fit: Fit = "crop",
    paste_back: bool = False,
    feather: float = DEFAULT_FEATHER,
    save_inversions: bool = False,
    batch_size: int = DEFAULT_BATCH,
    limit: int | None = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Add a direction to image and inversion files. With `padinv.difference` it is the edit of one pair (section 4.4).

    Example:
        change = padinv.difference(*model.invert(["plain.jpg", "glasses.jpg"]))
        padinv.edit_folder(change, "photos", space="padding", paste_back=True)

    Args:
        direction: a direction, its file, or its address on a hub (hf:USER/NAME/DIRECTION).
        space: 'padding', 'latent' or 'both'; None: the direction's own, or both.

    Raises:
        InputError: no image was found. MismatchError: a direction of another generator.
    """
    chosen = direction if isinstance(direction, Direction) else Direction.load(find_direction(direction))
    loaded = _model(model)
    chosen.require_generator(loaded.generator_hash)
    moved: Any = space or chosen.space or "both"
    sources, problems = find_sources(_listed(paths), Path(out))
    lost = [("", sentence) for sentence in problems]
    _require(sources, lost)
    values = sha256_bytes(b"".join(array.tobytes() for array in chosen.arrays().values()))
    task = Task(
        lambda batch: {"": apply(batch, chosen, moved, strength)},
        {"verb": "edit", "direction": values, "space": moved, "strength": strength},
        save_inversions=save_inversions,
        paste=paste_back,
        feather=feather,
    )
    reader = Reader(loaded, Aligner(loaded.spec.template, align, fit=fit, threads=loaded.threads))
    jobs = [Job(source, source.name) for source in sources[:limit]]
    with ResultsLog(Path(out)) as log:
        events = edit_events(reader, jobs, task, log, batch_size=batch_size, overwrite=overwrite)
        return _run(events, out, lost, on_event)


def _model(model: Model | str | Path | None) -> Model:
    return model if isinstance(model, Model) else load(model)


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def _require(found: Sequence[Any], problems: Iterable[tuple[str, str]]) -> None:
    if not found:
        reasons = "; ".join(sentence for _, sentence in problems)
        raise InputError(f"{reasons or 'no images were found'}; nothing was done")


def _run(
    events: Generator[Event, None, None],
    out: str | Path,
    problems: Iterable[tuple[str, str]],
    on_event: OnEvent | None,
) -> FolderResult:
    """Follow the events; skipped inputs are warnings of the logger "padinv", notes are its information."""
    outcome = Outcome([], [], [Skipped(path, sentence) for path, sentence in problems])
    for one in outcome.skipped:
        _log.warning("%s", one.reason)
    for event in events:
        outcome.add(event)
        if isinstance(event, Skipped):
            _log.warning("%s", event.reason)
        elif isinstance(event, Note):
            _log.info("%s", event.text)
        elif isinstance(event, Done):
            event.product.shown = None  # pixels for a page, which would fill the memory
        if on_event is not None:
            on_event(event)
    return FolderResult(Path(out), outcome)
