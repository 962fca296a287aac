"""What every editing verb does around its algebra: open the model, run with progress, lay out, sum up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.cli import output
from padinv.cli.output import follow, new_outcome, write_report, write_sheet
from padinv.runtime.batch.find_inputs import SHEET
from padinv.runtime.batch.results_log import check_out

if TYPE_CHECKING:
    import numpy as np

    from padinv.runtime.batch.edit_files import Edited, Job, Task
    from padinv.runtime.batch.engine import Outcome
    from padinv.runtime.batch.sources import Loaded, Reader
    from padinv.runtime.provenance.marking import Marking
    from padinv.runtime.reports.comparison_report import Comparison

__all__ = ["REPORT", "SHEET", "SHOWN", "Edits", "Setup", "check_out", "follow", "inputs_of", "lay_out"]
__all__ += ["model_facts", "new_outcome", "results_inputs", "run_jobs", "sum_up", "write_report", "write_sheet"]
REPORT = "report.html"
SHOWN = 200  # results whose pixels are kept for the sheet and the page


@dataclass(frozen=True)
class Setup:
    """What the command line says about the model and about reading pictures."""

    model: Path | None = None
    backend: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    align: str = "auto"
    landmarks: Path | None = None
    face: int = 1
    fit: str = "crop"
    device: str | None = None

    def reader(self) -> Reader:
        """Open the model for reading sources.

        Raises:
            BundleError, InputError, UsageError
        """
        from padinv.runtime.alignment.aligner import Aligner
        from padinv.runtime.alignment.landmarks_csv import read_landmarks
        from padinv.runtime.batch.sources import Reader
        from padinv.runtime.model import Model

        given = None if self.landmarks is None else read_landmarks(self.landmarks)
        model = Model.load(self.model, self.backend, self.threads, self.precision, self.device)
        template = model.spec.template
        return Reader(
            model, Aligner(template, self.align, landmarks=given, face=self.face, fit=self.fit, threads=self.threads)
        )


@dataclass
class Edits:
    """What came of a run of edits: the results for sheets and pages, and everything for the summary."""

    results: list[Edited] = field(default_factory=list)
    outcome: Outcome = field(default_factory=new_outcome)
    marking: Marking | None = None


def run_jobs(
    reader: Reader,
    jobs: Sequence[Job],
    task: Task,
    out: Path,
    what: str,
    batch: int,
    overwrite: bool,
    problems: Sequence[str] = (),
    show: int = SHOWN,
) -> Edits:
    """Edit with a progress bar; every note and problem becomes a line on standard error."""
    from padinv.cli.provenance import marking
    from padinv.runtime.batch.edit_files import edit_files, edited_results
    from padinv.runtime.batch.results_log import ResultsLog

    task = replace(task, marking=marking(reader.model.bundle))
    outcome = new_outcome([("", sentence) for sentence in problems])
    with ResultsLog(out) as log:
        events = edit_files(reader, jobs, task, log, batch_size=batch, overwrite=overwrite)
        follow(events, outcome, what, len(jobs), notes=reader.model.notes, show=show)
    return Edits(edited_results(outcome, jobs, task, out, show), outcome, task.marking)


def inputs_of(reader: Reader, loaded: Sequence[Loaded]) -> list[np.ndarray]:
    """What each source looks like: its square picture, or the reconstruction of an inversion file."""
    from padinv.runtime.inversion import Inversion

    missing = [one for one in loaded if one.pixels is None and one.inversion is not None]
    rendered = {}
    if missing:
        pictures = reader.model.generate(Inversion.concat([one.inversion for one in missing if one.inversion]))
        rendered = {id(one): picture for one, picture in zip(missing, pictures, strict=True)}
    return [rendered[id(one)] if one.pixels is None else one.pixels for one in loaded]


def results_inputs(reader: Reader, results: Sequence[Edited]) -> list[np.ndarray]:
    """What the sources of results look like; those of earlier results are read again."""
    from padinv.runtime.errors import InputError, MismatchError

    loaded: list[Any] = []
    for edited in results:
        if edited.loaded is None:
            try:
                edited.loaded = reader.read(edited.job.source)
            except (InputError, MismatchError):
                loaded.append(None)
                continue
        loaded.append(edited.loaded)
    pictures = iter(inputs_of(reader, [one for one in loaded if one is not None]))
    return [
        next(pictures) if one is not None else 0 * edited.pictures[""]
        for one, edited in zip(loaded, results, strict=True)
    ]


def lay_out(
    out: Path,
    edits: Edits,
    title: str,
    rows: Callable[[Sequence[Edited]], tuple[Sequence[str], list[tuple[str, list[np.ndarray]]]]],
    compare: Callable[[Sequence[Edited]], list[Comparison]],
    facts: Mapping[str, str],
    sheet: bool,
    report: bool,
    overwrite: bool,
    lines: Sequence[str] = (),
) -> dict[str, str]:
    """Write the contact sheet and the page of the results whose pixels were kept.

    Args:
        rows: results -> what the columns of the sheet are, and (caption, pictures) of each.
        compare: results -> comparisons of the page.

    Returns:
        'sheet' and 'report' -> path, of those that stand.
    """
    from padinv.runtime.reports.comparison_report import compare_html
    from padinv.runtime.reports.contact_sheet import contact_sheet

    shown = [edited for edited in edits.results if edited.pictures]
    made: dict[str, str] = {}
    if sheet and shown:
        columns, laid = rows(shown)
        write_sheet(out / SHEET, contact_sheet(laid, columns, title), overwrite, made, edits.outcome, edits.marking)
    if report and shown:
        text = compare_html(title, _linked(out, edits, compare(shown)), facts, lines, edits.outcome.skipped)
        write_report(edits.outcome, out / REPORT, text, overwrite, made)
    return made


def _linked(out: Path, edits: Edits, comparisons: list[Comparison]) -> list[Comparison]:
    """All results of a run: those with pixels, and the others by the addresses of their files."""
    from padinv.runtime.reports.cards import address
    from padinv.runtime.reports.comparison_report import Comparison

    known = iter(comparisons)
    everything: list[Comparison] = []
    for edited in edits.results:
        if edited.pictures:
            one = next(known)
        else:
            source = edited.job.source
            before = None if source.is_inversion else address(source.path, out)
            labels = (f"{comparisons[0].labels[0]} (whole)", comparisons[0].labels[1])
            one = Comparison(edited.job.name, None, None, labels, before_file=before)
        one.file = address(edited.files["image"], out)
        if edited.loaded is not None and edited.loaded.note:
            one.warnings = [edited.loaded.note]
        everything.append(one)
    return sorted(everything, key=lambda one: one.name)


def model_facts(reader: Reader) -> dict[str, str]:
    """What a page's footer says about the model."""
    model = reader.model
    return {
        "Model": f"{model.bundle.name} ({model.generator_hash[:12]})",
        "Backend": f"{model.session('generator').backend}, {model.precision}",
    }


def sum_up(
    edits: Edits, out: Path, seconds: float, made: Mapping[str, str], as_json: bool, verb: str, **more: Any
) -> int:
    """Print what came out; the exit code."""
    return output.sum_up(edits.outcome, out, seconds, verb, as_json=as_json, made=made, **more)
