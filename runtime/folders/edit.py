"""`padinv edit` as a call: directions, a direction file or a saved edit, applied to images and inversion files."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.batch.edit_files import Edited, Job
from padinv.runtime.batch.masks import read_region
from padinv.runtime.batch.results_log import check_out
from padinv.runtime.batch.sources import Reader, Source
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.direction_edit import DirectionEdit
from padinv.runtime.editing.gallery import Term, parse_edit
from padinv.runtime.editing.operations import Space
from padinv.runtime.editing.region import Region
from padinv.runtime.editing.saved_edit import SavedEditChange, is_saved_edit
from padinv.runtime.errors import UsageError
from padinv.runtime.folders.clips import clip_edit, clips_of, one_result, run_clips
from padinv.runtime.folders.editing import edit_task, lay_out, new_run, results_inputs, run_jobs, sources_of
from padinv.runtime.folders.options import EditingSettings, comma_separated
from padinv.runtime.folders.pages import plural
from padinv.runtime.reports.comparison_report import Comparison

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padinv.runtime.folders.editing import Rows
    from padinv.runtime.folders.options import EditingOptions
    from padinv.runtime.folders.result import FolderResult
    from padinv.runtime.folders.running import Paths

DEFAULT_OUT = Path("padinv-out/edit")


def edit_folder(
    direction: Direction | str | Path,
    paths: Paths,
    *,
    strength: float | Sequence[float] = 1.0,
    space: Space | None = None,
    each: bool = False,
    region: str | Path | None = None,
    resolutions: str | Sequence[int] | None = None,
    **options: Unpack[EditingOptions],
) -> FolderResult:
    """Move images along directions, as `padinv edit` does.

    Example:
        padinv.edit_folder("smile=0.8,age=-0.3", "photos", paste_back=True)
        change = padinv.difference(*model.invert(["plain.jpg", "glasses.jpg"]))
        padinv.edit_folder(change, "photos", space="padding")

    Args:
        direction: names of the model's directions with their strengths; a direction, or its file; or an edit that
            `padinv studio` saved.
        paths: image and inversion files, folders (recursive) or glob patterns; or clips: video files (`padinv[video]`),
            and folders of frames with `fps`.
        strength: overall. Several make several images; the last one is NAME.png.
        space: 'padding', 'latent' or 'both'; None: the direction's own, or both.
        each: also apply each direction alone.
        region: where the padding may move: 'left', 'right', 'top', 'bottom', 'border', 'centre', or a mask picture.
        resolutions: at which resolutions the padding may move.
        options: see `EditingOptions`.

    Raises:
        InputError: no image was found, or no such direction. MismatchError: a direction of another generator.
        UsageError: options that do not belong together.
    """
    settings = EditingSettings(**{"out": DEFAULT_OUT, **options})  # type: ignore[arg-type]
    check_out(settings.folder)
    clips = clips_of(paths, settings)
    sources, problems = ([], []) if clips else sources_of(paths, settings)
    reader = settings.reader()
    run = new_run(settings, problems)
    strengths = [float(strength)] if isinstance(strength, (int, float)) else list(strength)
    if not isinstance(direction, Direction) and is_saved_edit(direction):
        _check_saved_edit_use(strengths, each, space, region or resolutions)
        spec = reader.model.spec
        change: DirectionEdit | SavedEditChange = SavedEditChange.load(direction, reader.model.generator_hash, spec)
    else:
        change = DirectionEdit(
            terms=_terms(direction, reader, space),
            strengths=strengths,
            each=each,
            space=space,
            region=_region(region, resolutions, reader, sources),
        )
    named = direction.name if isinstance(direction, Direction) else str(direction)
    if clips:
        one_result(change.variants, "more than one --strength, or --each,")
        recipe = {"verb": "edit", **change.recipe()}
        made = clip_edit(change, recipe, settings)
        return run.result(run_clips(run, reader, clips, made, settings, f"edited: {named}" if named else "edited"))
    jobs = [Job(source, source.name) for source in sources]
    results = run_jobs(run, reader, jobs, edit_task(change, "edit", settings), settings)
    title = f"{plural(len(results), 'picture')} edited" + (f": {named}" if named else "")
    return run.result(lay_out(run, reader, results, title, _Views(reader, change), settings, "edit"))


def _terms(direction: Direction | str | Path, reader: Reader, space: Space | None) -> list[Term]:
    if isinstance(direction, Direction):
        direction.require_generator(reader.model.generator_hash)
        chosen = copy.copy(direction)
        chosen.info = {**direction.info, "space": space or direction.space or "both"}
        terms = [Term(direction.name or "direction", chosen)]
    else:
        terms = parse_edit(str(direction), reader.model.bundle)
        if space == "padding" or (space is None and any(term.direction.space == "padding" for term in terms)):
            reader.model.require_padding("this edit")
    return terms


def _region(
    region: str | Path | None, resolutions: str | Sequence[int] | None, reader: Reader, sources: Sequence[Source]
) -> Region | None:
    """The region; a mask of a photograph's size belongs to the only one."""
    like = reader.read(sources[0]) if region is not None and len(sources) == 1 else None
    name = None if region is None else str(region)
    return read_region(name, comma_separated(resolutions), reader.model.spec, like)


def _check_saved_edit_use(strengths: Sequence[float], each: bool, space: object, region: object) -> None:
    """A saved edit is complete: what else the call says about it would be ignored."""
    if list(strengths) != [1.0] or each or space is not None or region is not None:
        raise UsageError(
            "a saved edit holds its own strengths, spaces and region; leave out --strength, --each, --space, --region "
            "and --resolutions, or change it in padinv studio"
        )


class _Views:
    """How edits are laid out: the input, then every picture in the order of the plan."""

    def __init__(self, reader: Reader, change: DirectionEdit | SavedEditChange) -> None:
        self.reader, self.plan = reader, change.plan

    def rows(self, results: Sequence[Edited]) -> Rows:
        rows: list[tuple[str, list[np.ndarray]]] = [
            (edited.job.name, [one, *(edited.pictures[variant.name] for variant in self.plan)])
            for edited, one in zip(results, results_inputs(self.reader, results), strict=True)
        ]
        return ["input", *(variant.label for variant in self.plan)], rows

    def compare(self, results: Sequence[Edited]) -> list[Comparison]:
        return [
            Comparison(
                edited.job.name,
                one,
                edited.pictures[""],
                beside={variant.label: edited.pictures[variant.name] for variant in self.plan if variant.name},
            )
            for edited, one in zip(results, results_inputs(self.reader, results), strict=True)
        ]
