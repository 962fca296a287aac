"""What every editing verb does around its algebra: open the model, run with progress, lay out, sum up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from padinv.runtime.batch.find_inputs import SHEET

if TYPE_CHECKING:
    import numpy as np

    from padinv.runtime.batch.edit_files import Edited, Job, Task
    from padinv.runtime.batch.sources import Loaded, Reader
    from padinv.runtime.reports.comparison_report import Comparison

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
        model = Model.load(self.model, self.backend, self.threads, self.precision)
        template = model.spec.template
        return Reader(model, Aligner(template, self.align, given, self.face, self.fit, threads=self.threads))


@dataclass
class Outcome:
    """What came of a run."""

    results: list[Edited] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def written(self) -> int:
        return sum(result.written for result in self.results)

    @property
    def exit_code(self) -> int:
        if not self.results:
            return 1
        return 3 if self.skipped else 0


def check_out(out: Path) -> None:
    """Refuse an output folder that is a file, before anything is loaded.

    Raises:
        OutputError
    """
    from padinv.runtime.errors import OutputError

    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, so no results can go there; give a folder with --out; nothing was done")


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
) -> Outcome:
    """Edit with a progress bar; every note and problem becomes a line on standard error."""
    from padinv.cli.progress import progress_bar
    from padinv.runtime.batch.edit_files import edit_files

    outcome = Outcome(skipped=list(problems))
    said: set[str] = set()
    with progress_bar(what, len(jobs)) as bar:

        def say(sentence: str) -> None:
            if sentence not in said:
                said.add(sentence)
                bar.say(sentence)

        for sentence in (*reader.model.notes, *problems):
            say(sentence)
        for edited in edit_files(reader, jobs, task, out, batch, overwrite, show):
            for sentence in (*edited.notes, *edited.lost):
                say(sentence)
            outcome.skipped += edited.lost
            if edited.problem:
                outcome.skipped.append(edited.problem)
                say(edited.problem)
            else:
                outcome.results.append(edited)
            bar.advance()
    order = {id(job): i for i, job in enumerate(jobs)}
    outcome.results.sort(key=lambda edited: order[id(edited.job)])
    return outcome


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
    outcome: Outcome,
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
    from padinv.cli.main import say
    from padinv.runtime.reports.comparison_report import compare_html
    from padinv.runtime.reports.contact_sheet import contact_sheet
    from padinv.runtime.reports.html import write_page

    shown = [edited for edited in outcome.results if edited.pictures]
    made: dict[str, str] = {}
    if sheet and shown:
        columns, laid = rows(shown)
        write_sheet(out / SHEET, contact_sheet(laid, columns, title), overwrite, made)
    if report and shown:
        text = compare_html(title, compare(shown), facts, lines, outcome.skipped)
        if write_page(out / REPORT, text, overwrite):
            made["report"] = str(out / REPORT)
        else:
            say(f"{out / REPORT} exists and is not padinv's, so no report was written; --overwrite replaces it")
    return made


def write_sheet(path: Path, pixels: np.ndarray, overwrite: bool, made: dict[str, str]) -> None:
    """Write a contact sheet, unless another picture stands there."""
    from padinv.cli.main import say
    from padinv.runtime.images.png_metadata import png_note, save_png

    if os.path.lexists(path) and not overwrite and (png_note(path) or {}).get("sheet") is not True:
        say(f"{path} exists and is not padinv's, so no contact sheet was written; --overwrite replaces it")
        return
    save_png(path, pixels, {"sheet": True})
    made["sheet"] = str(path)


def model_facts(reader: Reader) -> dict[str, str]:
    """What a page's footer says about the model."""
    model = reader.model
    return {
        "Model": f"{model.bundle.name} ({model.generator_hash[:12]})",
        "Backend": f"{model.session('generator').backend}, {model.precision}",
    }


def sum_up(
    outcome: Outcome, out: Path, seconds: float, made: Mapping[str, str], as_json: bool, verb: str, **more: Any
) -> int:
    """Print what came out; the exit code."""
    from padinv.cli.main import say

    kept = len(outcome.results) - outcome.written
    if as_json:
        summary = {
            "written": outcome.written,
            "kept": kept,
            "skipped": outcome.skipped,
            "seconds": round(seconds, 3),
            "out": str(out),
            "results": [
                {"name": edited.job.name, **{kind: str(path) for kind, path in edited.files.items()}}
                for edited in outcome.results
            ],
            "sheet": made.get("sheet"),
            "report": made.get("report"),
            **more,
        }
        typer.echo(json.dumps(summary))
        return outcome.exit_code
    if not outcome.results:
        say("error: every input was skipped, so nothing was written")
        return 1
    parts = [f"{outcome.written} {verb} in {seconds:.1f} s"]
    parts += [f"{kept} already there"] if kept else []
    parts += [f"{len(outcome.skipped)} skipped"] if outcome.skipped else []
    typer.echo("; ".join(parts))
    where = [f"results: {out}", *(f"open {path}" for path in made.values())]
    typer.echo("   ".join(where))
    return outcome.exit_code
