"""`padinv generate` as calls: images from seeds, or from inversion files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.batch.engine import Started
from padinv.runtime.batch.generate_files import VERB, render_files, sample_files
from padinv.runtime.batch.results_log import ResultsLog, check_out
from padinv.runtime.errors import UsageError
from padinv.runtime.folders.options import loaded_model, marking_of
from padinv.runtime.folders.pages import Pages, plural
from padinv.runtime.folders.running import SHOWN, Paths, Run, listed
from padinv.runtime.images import read_image
from padinv.runtime.model import DEFAULT_BATCH, Model
from padinv.runtime.reports.contact_sheet import contact_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from padinv.runtime.batch.engine import Event
    from padinv.runtime.folders.options import OnEvent
    from padinv.runtime.folders.result import FolderResult
    from padinv.runtime.provenance.marking import Marking

DEFAULT_OUT = Path("padinv-out/generated")
MAX_TRUNCATION = 10.0


def generate_images(
    seeds: Sequence[int],
    *,
    out: str | Path = DEFAULT_OUT,
    model: Model | str | Path | None = None,
    truncation: float = 1.0,
    save_inversions: bool = False,
    sheet: bool = False,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    marking: Marking | None = None,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Sample images from the generator into files, as `padinv generate --seeds` does.

    Args:
        seeds: seed s stands for numpy.random.RandomState(s).randn(1, z_dim); its image is seed-000s.png.
        truncation: psi: 1 is off, 0 gives the average image.
        save_inversions: also write the latents as inversion files.
        sheet: also write `contact-sheet.png`, where there are several images.

    Raises:
        UsageError: a truncation beyond 10. OutputError, BundleError, BackendError: the work cannot be done.
    """
    if not -MAX_TRUNCATION <= truncation <= MAX_TRUNCATION:
        raise UsageError(f"--truncation {truncation} makes no sense; 1 is off, 0 gives the average image")

    def events(loaded: Model, log: ResultsLog) -> Generator[Event, None, None]:
        return sample_files(
            loaded,
            list(seeds),
            truncation,
            log,
            save_inversions=save_inversions,
            batch_size=batch_size,
            overwrite=overwrite,
            marking=marking_of(marking, loaded, VERB),
        )

    return _generate(Path(out), model, len(seeds), events, on_event, sheet=sheet, overwrite=overwrite)


def render_inversions(
    paths: Paths,
    *,
    out: str | Path = DEFAULT_OUT,
    model: Model | str | Path | None = None,
    sheet: bool = False,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    marking: Marking | None = None,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Draw inversion files as images, as `padinv generate FILE...` does.

    Args:
        paths: inversion files. One of several images gives NAME-0000.png and so on.
        sheet: also write `contact-sheet.png`, where there are several images.

    Raises:
        OutputError, BundleError, BackendError: the work cannot be done.
    """
    files = [Path(path) for path in listed(paths)]

    def events(loaded: Model, log: ResultsLog) -> Generator[Event, None, None]:
        mark = marking_of(marking, loaded, VERB)
        return render_files(loaded, files, log, batch_size=batch_size, overwrite=overwrite, marking=mark)

    return _generate(Path(out), model, len(files), events, on_event, sheet=sheet, overwrite=overwrite)


def _generate(
    out: Path,
    model: Model | str | Path | None,
    count: int,
    events: Callable[[Model, ResultsLog], Generator[Event, None, None]],
    on_event: OnEvent | None,
    *,
    sheet: bool,
    overwrite: bool,
) -> FolderResult:
    check_out(out)
    loaded = loaded_model(model)
    loaded.session("generator")  # a bundle that does not load must leave no folder behind
    run = Run(out, on_event)
    with ResultsLog(out) as log:
        run.note(loaded.notes)
        run.follow(events(loaded, log), Started("generating", count))
    return run.result(_lay_out(run, overwrite=overwrite) if sheet else None)


def _lay_out(run: Run, *, overwrite: bool) -> dict[str, Path]:
    """The sheet of what is there now, by name; a single image is its own sheet."""
    pages = Pages(run, overwrite=overwrite)
    files = (entry["file"] for record in run.outcome.records for entry in record["outputs"].values())
    names = sorted(islice((name for name in files if name.endswith(".png")), SHOWN))
    if len(names) > 1:
        rows = [(Path(name).stem, [np.asarray(read_image(run.out / name)[0], np.uint8)]) for name in names]
        pages.sheet(contact_sheet(rows, [""], plural(len(run.outcome.records), "result")))
    return pages.made
