"""`padinv align` as a call: photographs in, one aligned square per face out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.alignment.landmarks_csv import read_landmarks
from padinv.runtime.alignment.templates import read_template
from padinv.runtime.batch.align_files import align_files, show_again
from padinv.runtime.batch.engine import Started
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.results_log import ResultsLog, check_out
from padinv.runtime.folders.pages import Pages, plural
from padinv.runtime.folders.running import SHOWN, Paths, Run, listed, require
from padinv.runtime.reports.comparison_report import Comparison, compare_html
from padinv.runtime.reports.contact_sheet import contact_sheet

if TYPE_CHECKING:
    from padinv.runtime.folders.options import OnEvent
    from padinv.runtime.folders.result import FolderResult

DEFAULT_OUT = Path("padinv-out/aligned")
DEFAULT_SIZE = 256


def align_folder(
    paths: Paths,
    *,
    out: str | Path = DEFAULT_OUT,
    size: int = DEFAULT_SIZE,
    template: str = "faces",
    landmarks: str | Path | None = None,
    everyone: bool = True,
    sheet: bool = False,
    report: bool = False,
    threads: int | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> FolderResult:
    """Cut aligned faces out of photographs, as `padinv align` does.

    Args:
        size: side of the crops in pixels.
        template: 'faces', 'ffhq', or a TOML file of five points.
        landmarks: CSV file of landmarks, used instead of the face detector.
        everyone: all faces of a photograph; False: the largest.
        sheet, report: also write `contact-sheet.png` and `report.html`.
        threads: of the face detector; None: one per physical core.
        limit: take the first images only, by name.
        on_event: called with every event of `padinv.runtime.batch.engine` while the work goes on.

    Raises:
        InputError: no image was found, or a template that does not exist.
    """
    folder = Path(out)
    check_out(folder)
    found = gather(listed(paths), out)
    problems = found.skipped()
    require(found.files, [sentence for _, sentence in problems], paths)
    files = found.files[:limit]
    given = None if landmarks is None else read_landmarks(Path(landmarks))
    aligner = Aligner(read_template(template).code, "always", landmarks=given, threads=threads)
    run = Run(folder, on_event, problems, show=SHOWN if sheet or report else 0)
    with ResultsLog(folder) as log:
        events = align_files(aligner, files, log, size=size, everyone=everyone, overwrite=overwrite)
        run.follow(events, Started("aligning", len(files)))
    return run.result(_lay_out(run, sheet=sheet, report=report, overwrite=overwrite))


def _lay_out(run: Run, *, sheet: bool, report: bool, overwrite: bool) -> dict[str, Path]:
    pages = Pages(run, overwrite=overwrite)
    rows = _rows(run) if run.show else []
    if not rows:
        return pages.made
    count = sum(len(record["outputs"]) for record in run.outcome.records)
    title = f"{plural(count, 'face')} aligned"
    if sheet:
        laid = [(name, [before, after]) for name, before, after in rows]
        pages.sheet(contact_sheet(laid, ["photograph", "face"], title))
    if report:
        comparisons = [Comparison(name, before, after, ("Photograph", "Face")) for name, before, after in rows]
        facts = {"Template": "five landmarks"}
        pages.report(compare_html(title, comparisons, facts, (), run.outcome.skipped, total=count))
    return pages.made


def _rows(run: Run) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, photograph, face) of this run's results, then of earlier ones, as many as are shown."""
    done = run.outcome.done
    shown = [(one.task.name, one.product.shown) for one in done if one.product.shown is not None]
    again = run.outcome.kept[: max(0, run.show - len(shown))]
    shown += [(kept.task.name, one) for kept in again if (one := show_again(kept, run.out)) is not None]
    return [
        (name if crop.face == 1 else f"{name}-{crop.face}", aligned.thumbnail, crop.pixels)
        for name, aligned in sorted(shown, key=lambda one: one[0])
        for crop in aligned.crops
    ]
