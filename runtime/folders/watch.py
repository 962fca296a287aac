"""`padinv watch` as a call: every new picture of a folder is inverted or edited, as it arrives."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from padinv.runtime.batch.edit_files import Job, Task, edit_files
from padinv.runtime.batch.engine import Event
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.invert_files import Options, invert_files
from padinv.runtime.batch.results_log import ResultsLog, check_out
from padinv.runtime.batch.sources import Reader, Source
from padinv.runtime.batch.watching import NewPictures, Process, watch
from padinv.runtime.editing.direction_edit import DirectionEdit
from padinv.runtime.editing.gallery import parse_edit
from padinv.runtime.editing.saved_edit import SavedEditChange, is_saved_edit
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.provenance.marking import Marking

DEFAULT_OUT = Path("padinv-out/watch")


def watch_folder(
    folder: Path,
    reader: Reader,
    out: Path,
    options: Options,
    stop: threading.Event,
    *,
    edit: str | None = None,
    interval: float = 1.0,
    marking: Marking | None = None,
) -> Generator[Event, None, None]:
    """Do with every picture that arrives what `padinv invert`, or with `edit` `padinv edit`, does; one event for each.

    Args:
        stop: ends the work after the batch at hand, once it is set.
        edit: names of directions with their strengths, direction files, or an edit that `padinv studio` saved.
        interval: seconds between two looks at the folder.
        marking: how the pictures are marked; None: as results of that command.

    Raises:
        InputError: not a folder, or no such direction. UsageError: results would go into the folder itself.
        OutputError: not writable, or in use. BundleError, BackendError: the model cannot run.
    """
    check_watched(folder, out)
    with ResultsLog(out) as log:
        process = _inverting(reader, options, log, marking)
        if edit is not None:
            process = _editing(reader, edit, options, log, marking)
        yield from watch(NewPictures(folder, out), process, stop, interval=interval, batch_size=options.batch_size)


def check_watched(folder: Path, out: Path) -> None:
    """Refuse what cannot be watched, before a model is loaded.

    Raises:
        InputError: not a folder. UsageError: results would go into the folder itself. OutputError: `out` is a file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder, so there is nothing to watch")
    if out.is_dir() and os.path.samefile(folder, out):
        raise UsageError(f"--out {out} is the folder to watch; nothing was done; choose another one for the results")
    check_out(out)


def _inverting(reader: Reader, options: Options, log: ResultsLog, marking: Marking | None) -> Process:
    def process(files: Sequence[Found]) -> Generator[Event, None, None]:
        yield from invert_files(reader.model, files, log, options, reader.aligner, marking=marking)

    return process


def _editing(reader: Reader, edit: str, options: Options, log: ResultsLog, marking: Marking | None) -> Process:
    model = reader.model
    change: SavedEditChange | DirectionEdit
    if is_saved_edit(edit):
        change = SavedEditChange.load(edit, model.generator_hash, model.spec)
    else:
        terms = parse_edit(edit, model.bundle)
        if any(term.direction.space == "padding" for term in terms):
            model.require_padding("this edit")
        change = DirectionEdit(terms=terms)
    task = Task(
        change, {"verb": "edit", **change.recipe()}, change.variants,
        paste=options.paste_back, feather=options.feather, marking=marking,
    )  # fmt: skip

    def process(files: Sequence[Found]) -> Generator[Event, None, None]:
        jobs = [Job(Source(one.path, one.name), one.name) for one in files]
        yield from edit_files(reader, jobs, task, log, batch_size=options.batch_size)

    return process
