"""`padinv edit`: named directions, or direction files, applied to photographs, folders or inversion files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padinv.cli import options as opt
from padinv.runtime.editing.operations import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from padinv.runtime.batch.edit_files import Edited
    from padinv.runtime.batch.sources import Reader
    from padinv.runtime.editing.direction_edit import DirectionEdit
    from padinv.runtime.editing.saved_edit import SavedEditChange
    from padinv.runtime.reports.comparison_report import Comparison

DEFAULT_OUT = Path("padinv-out/edit")


def command(
    directions: Annotated[
        str,
        typer.Argument(
            metavar="NAME[=S][,NAME=S...]|FILE",
            help="Directions of the model (see padinv directions list) or direction files, with relative strengths; or "
            "an edit that padinv studio saved.",
        ),
    ],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Pictures, inversion files or folders.")],
    strength: Annotated[
        str,
        typer.Option(
            "--strength",
            metavar="S|S,S|FIRST:LAST:COUNT",
            help="How far to go; several strengths like -1:1:5 make several pictures. 1 is one standard deviation.",
        ),
    ] = "1",
    each: Annotated[
        bool, typer.Option("--each", help="Also apply each direction alone, for a sheet with one column per direction.")
    ] = False,
    space: Annotated[
        Space | None, typer.Option("--space", help="Move only this space; default: each direction's own.")
    ] = None,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    model: opt.ModelOption = None,
    out: opt.OutOption = DEFAULT_OUT,
    paste_back: opt.PasteBackOption = False,
    feather: opt.FeatherOption = opt.DEFAULT_FEATHER,
    align: opt.AlignOption = "auto",
    landmarks: opt.LandmarksOption = None,
    face: opt.FaceOption = 1,
    fit: opt.FitOption = "crop",
    save_inversions: opt.SaveInversionsOption = False,
    sheet: opt.SheetOption = True,
    report: opt.ReportOption = True,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    limit: opt.LimitOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Edit pictures along directions: padinv edit smile me.jpg.

    Several directions are combined: padinv edit smile=0.8,age=-0.3 photos/. The result is NAME.png. With several
    strengths the last one is NAME.png, and the others are NAME.STRENGTH.png; with --each, NAME.DIRECTION.png is each
    direction alone (Fig. 4 of the paper).
    """
    import padinv.cli.edit_common as common
    from padinv.runtime.batch.edit_files import Job, Task
    from padinv.runtime.batch.masks import read_region
    from padinv.runtime.batch.sources import find_sources
    from padinv.runtime.editing.direction_edit import DirectionEdit
    from padinv.runtime.editing.gallery import parse_edit, parse_strengths
    from padinv.runtime.editing.saved_edit import SavedEditChange, is_saved_edit
    from padinv.runtime.errors import InputError

    common.check_out(out)
    strengths = parse_strengths(strength)
    sources, problems = find_sources(paths, out)
    if not sources:
        raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    sources = sources[:limit]
    setup = common.Setup(model, backend, precision, threads, align, landmarks, face, fit, device=device)
    reader = setup.reader()
    started = time.perf_counter()
    like = reader.read(sources[0]) if region is not None and len(sources) == 1 else None
    changes: DirectionEdit | SavedEditChange
    if is_saved_edit(directions):
        _check_saved_edit_use(strengths, each, space, region or resolutions)
        changes = SavedEditChange.load(directions, reader.model.generator_hash, reader.model.spec)
    else:
        terms = parse_edit(directions, reader.model.bundle)
        if space == "padding" or (space is None and any(t.direction.space == "padding" for t in terms)):
            reader.model.require_padding("this edit")
        changes = DirectionEdit(
            terms=terms,
            strengths=strengths,
            each=each,
            space=space,
            region=read_region(region, resolutions, reader.model.spec, like),
        )
    task = Task(
        changes,
        {"verb": "edit", **changes.recipe()},
        changes.variants,
        save_inversions=save_inversions,
        paste=paste_back,
        feather=feather,
    )
    jobs = [Job(source, source.name) for source in sources]
    outcome = common.run_jobs(reader, jobs, task, out, "editing", batch, overwrite, problems)
    views = _Views(reader, changes)
    title = f"{len(outcome.results)} picture{'' if len(outcome.results) == 1 else 's'} edited: {directions}"
    made = common.lay_out(
        out, outcome, title, views.rows, views.compare, common.model_facts(reader), sheet, report, overwrite
    )
    raise typer.Exit(common.sum_up(outcome, out, time.perf_counter() - started, made, as_json, "edited"))


def _check_saved_edit_use(strengths: Sequence[float], each: bool, space: object, region: object) -> None:
    """A saved edit is complete: what else the command line says about it would be ignored."""
    from padinv.runtime.errors import UsageError

    if list(strengths) != [1.0] or each or space is not None or region is not None:
        raise UsageError(
            "a saved edit holds its own strengths, spaces and region; leave out --strength, --each, --space, --region "
            "and --resolutions, or change it in padinv studio"
        )


class _Views:
    """How edits are laid out: the input, then every picture in the order of the plan."""

    def __init__(self, reader: Reader, changes: DirectionEdit | SavedEditChange) -> None:
        self.reader, self.plan = reader, changes.plan

    def rows(self, results: Sequence[Edited]) -> tuple[Sequence[str], list[tuple[str, list[np.ndarray]]]]:
        from padinv.cli.edit_common import results_inputs

        inputs = results_inputs(self.reader, results)
        rows = [
            (edited.job.name, [one, *(edited.pictures[variant.name] for variant in self.plan)])
            for edited, one in zip(results, inputs, strict=True)
        ]
        return ["input", *(variant.label for variant in self.plan)], rows

    def compare(self, results: Sequence[Edited]) -> list[Comparison]:
        from padinv.cli.edit_common import results_inputs
        from padinv.runtime.reports.comparison_report import Comparison

        inputs = results_inputs(self.reader, results)
        return [
            Comparison(
                edited.job.name,
                one,
                edited.pictures[""],
                beside={variant.label: edited.pictures[variant.name] for variant in self.plan if variant.name},
            )
            for edited, one in zip(results, inputs, strict=True)
        ]
