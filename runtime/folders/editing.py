"""What every editing call does around its algebra: find and read sources, edit, lay results out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from padinv.runtime.batch.edit_files import Edited, Job, Task, edit_files, edited_results
from padinv.runtime.batch.engine import Outcome, Started
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Loaded, Reader, Source, find_sources
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.folders.options import EditingSettings, marking_of
from padinv.runtime.folders.pages import Pages, model_facts
from padinv.runtime.folders.running import SHOWN, Paths, Run, listed, require
from padinv.runtime.inversion import Inversion
from padinv.runtime.reports.cards import address
from padinv.runtime.reports.comparison_report import Comparison, compare_html
from padinv.runtime.reports.contact_sheet import contact_sheet

Rows = tuple[Sequence[str], list[tuple[str, list[np.ndarray]]]]


class Views(Protocol):
    """How the results of an edit are laid out."""

    def rows(self, results: Sequence[Edited]) -> Rows:
        """What the columns of the sheet are, and (caption, pictures) of each result."""
        ...

    def compare(self, results: Sequence[Edited]) -> list[Comparison]:
        """What the page shows of each result."""
        ...


def sources_of(paths: Paths, options: EditingSettings) -> tuple[list[Source], list[tuple[str, str]]]:
    """The images that paths name, and (path, sentence) of each input that gives none.

    Raises:
        InputError: there are no images.
    """
    sources, problems = find_sources(listed(paths), options.folder)
    require(sources, problems, paths)
    return sources[: options.limit], lost_inputs(problems)


def lost_inputs(problems: Iterable[str]) -> list[tuple[str, str]]:
    """Sentences about inputs whose path is not known apart."""
    return [("", sentence) for sentence in problems]


def new_run(options: EditingSettings, problems: Iterable[tuple[str, str]]) -> Run:
    """A run that keeps pixels if a sheet or a page is wanted."""
    show = SHOWN if options.sheet or options.report else 0
    return Run(options.folder, options.on_event, problems, show=show)


def edit_task(edit: Any, verb: str, options: EditingSettings) -> Task:
    """The task of an edit that knows its variants and its recipe."""
    return Task(
        edit,
        {"verb": verb, **edit.recipe()},
        edit.variants,
        save_inversions=options.save_inversions,
        paste=options.paste_back,
        feather=options.feather,
    )


def run_jobs(
    run: Run,
    reader: Reader,
    jobs: Sequence[Job],
    task: Task,
    options: EditingSettings,
    *,
    what: str = "editing",
    out: Path | None = None,
    outcome: Outcome | None = None,
) -> list[Edited]:
    """Edit and write; what sheet and page show of the results, in the order of the jobs.

    Args:
        out, outcome: where other results go than the call's own.
    """
    folder = run.out if out is None else out
    marking = marking_of(options.marking, reader.model, str(task.recipe["verb"]))
    task = replace(task, marking=marking)
    with ResultsLog(folder) as log:
        run.note(reader.model.notes)
        events = edit_files(reader, jobs, task, log, batch_size=options.batch_size, overwrite=options.overwrite)
        run.follow(events, Started(what, len(jobs)), outcome)
    if not run.show:
        return []
    return edited_results(run.outcome if outcome is None else outcome, jobs, task, folder, run.show)


def inputs_of(reader: Reader, loaded: Sequence[Loaded]) -> list[np.ndarray]:
    """What each source looks like: its square picture, or the reconstruction of an inversion file."""
    missing = [one for one in loaded if one.pixels is None and one.inversion is not None]
    rendered = {}
    if missing:
        pictures = reader.model.generate(Inversion.concat([one.inversion for one in missing if one.inversion]))
        rendered = {id(one): picture for one, picture in zip(missing, pictures, strict=True)}
    return [rendered[id(one)] if one.pixels is None else one.pixels for one in loaded]


def results_inputs(reader: Reader, results: Sequence[Edited]) -> list[np.ndarray]:
    """What the sources of results look like; those of earlier results are read again."""
    loaded: list[Loaded | None] = []
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
    run: Run,
    reader: Reader,
    results: Sequence[Edited],
    title: str,
    views: Views,
    options: EditingSettings,
    verb: str,
    lines: Sequence[str] = (),
) -> dict[str, Path]:
    """Write the contact sheet and the page of the results whose pixels were kept.

    Returns:
        'sheet' and 'report' -> file, of those that were written.
    """
    pages = Pages(run, overwrite=options.overwrite, marking=marking_of(options.marking, reader.model, verb))
    shown = [edited for edited in results if edited.pictures]
    if options.sheet and shown:
        columns, laid = views.rows(shown)
        pages.sheet(contact_sheet(laid, columns, title))
    if options.report and shown:
        comparisons = _linked(run.out, results, views.compare(shown))
        pages.report(compare_html(title, comparisons, model_facts(reader.model), lines, run.outcome.skipped))
    return pages.made


def _linked(out: Path, results: Sequence[Edited], comparisons: Sequence[Comparison]) -> list[Comparison]:
    """All results of a run: those with pixels, and the others by the addresses of their files."""
    known = iter(comparisons)
    everything: list[Comparison] = []
    for edited in results:
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
