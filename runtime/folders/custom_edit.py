"""`padinv custom-edit` as a call: pairs of images define an edit, which is applied to any number of others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.batch.edit_files import Edited, Job, Task
from padinv.runtime.batch.engine import Advanced, Note, Outcome, Started
from padinv.runtime.batch.masks import read_region
from padinv.runtime.batch.pair_edit import PairEdit, PairSpace, edit_from_file, edit_from_pairs, steps
from padinv.runtime.batch.results_log import check_out
from padinv.runtime.batch.sources import Reader
from padinv.runtime.editing.direction import Direction
from padinv.runtime.errors import UsageError
from padinv.runtime.files import open_regular, sweep, write_bytes
from padinv.runtime.folders.clips import clip_edit, clips_of, one_result, run_clips
from padinv.runtime.folders.editing import (
    edit_task,
    inputs_of,
    lay_out,
    new_run,
    results_inputs,
    run_jobs,
    sources_of,
)
from padinv.runtime.folders.options import EditingSettings, comma_separated
from padinv.runtime.folders.pages import plural
from padinv.runtime.folders.result import CustomEditResult
from padinv.runtime.folders.running import Run, listed
from padinv.runtime.reports.comparison_report import Comparison

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padinv.runtime.folders.editing import Rows
    from padinv.runtime.folders.options import EditingOptions
    from padinv.runtime.folders.running import Paths
    from padinv.runtime.model import Model

DEFAULT_OUT = Path("padinv-out/custom-edit")
Pairs = Sequence[tuple[str | Path, str | Path]]


def custom_edit_folder(
    pairs: Pairs,
    paths: Paths = (),
    *,
    direction: str | Path | None = None,
    space: PairSpace = "auto",
    strength: float | None = 1.0,
    mask: str | Path | None = None,
    region: str | Path | None = None,
    resolutions: str | Sequence[int] | None = None,
    save: str | Path | None = None,
    vs: Model | str | Path | None = None,
    **options: Unpack[EditingOptions],
) -> CustomEditResult:
    """Apply the edit that pairs of images show to other images, as `padinv custom-edit` does (section 4.4).

    Example:
        result = padinv.custom_edit_folder([("plain.jpg", "glasses.jpg")], "photos", paste_back=True)
        print(result.edit.sentence)

    Args:
        pairs: (image, its edited version), or their inversion files; of several, the mean is taken. Empty with
            `direction`.
        paths: what is edited: image and inversion files, folders (recursive) or glob patterns, or clips. May be empty
            with `save`.
        direction: the file of a saved direction instead of pairs.
        space: 'padding', 'latent' or 'both'; 'auto' tries both on faces that the generator draws; 'each' also writes
            NAME.padding.png, NAME.latent.png and NAME.both.png.
        strength: how far to go; None decides by the same evidence as 'auto'.
        mask: a picture, white where 'auto' compares.
        region: where the padding may move: 'left', 'right', 'top', 'bottom', 'border', 'centre', or a mask picture.
        resolutions: at which resolutions the padding may move.
        save: file for the direction.
        vs: a second model, whose edits go to OUT/vs and beside the first model's on the sheet.
        options: see `EditingOptions`.

    Raises:
        InputError, MismatchError: images that cannot be used, or a pair that does not differ. UsageError: options that
        do not belong together, or nothing to do.
    """
    settings = EditingSettings(**{"out": DEFAULT_OUT, **options})  # type: ignore[arg-type]
    _check_use(pairs, direction, save, mask, space, vs)
    targets = listed(paths)
    if not targets and save is None:
        raise UsageError("give targets to edit (--target PATH), or a file to --save the direction in")
    check_out(settings.folder)
    clips = clips_of(targets, settings) if targets else []
    if clips and vs is not None:
        raise UsageError("--vs draws a sheet of pictures; leave it out for a clip")
    sources, problems = sources_of(targets, settings) if targets and not clips else ([], [])
    reader = settings.reader()
    if space in ("padding", "each"):
        reader.model.require_padding(f"custom-edit --space {space}")
    run = new_run(settings, problems)
    measure = _Measure(run, pairs, strength, mask, settings.batch_size)
    change = edit_from_file(reader, Path(direction), space, strength) if direction else measure(reader, space)
    run.note(change.notes)
    if save is not None:
        save_direction(change.direction, Path(save), overwrite=settings.overwrite)
    run.tell(Note(change.sentence, kind="result"))
    if save is not None:
        run.tell(Note(f"direction: {save}", kind="result"))
    like = reader.read(sources[0]) if region is not None and len(sources) == 1 else None
    name = None if region is None else str(region)
    change.region = read_region(name, comma_separated(resolutions), reader.model.spec, like)
    if clips:
        one_result(change.variants, "--space each")
        made = clip_edit(change, {"verb": "custom-edit", **change.recipe()}, settings)
        pages = run_clips(run, reader, clips, made, settings, "edited")
        return CustomEditResult(**vars(run.result(pages)), edit=change)
    if not sources:
        return CustomEditResult(**vars(run.result()), edit=change)
    task = edit_task(change, "custom-edit", settings)
    jobs = [Job(source, source.name) for source in sources]
    results = run_jobs(run, reader, jobs, task, settings)
    lines, second = [change.sentence], None
    if vs is not None:
        second = _Second(replace(settings, model=vs).reader(), measure, space)
        second.run(run, jobs, task, settings)
        lines.append(f"{second.label}: {second.change.sentence}")
    views = _Views(reader, change, second)
    title = f"{plural(len(results), 'picture')} edited"
    pages = lay_out(run, reader, results, title, views, settings, "custom-edit", lines)
    return CustomEditResult(**vars(run.result(pages)), edit=change)


def save_direction(direction: Direction, path: Path, *, overwrite: bool = False) -> None:
    """Save a direction; a file that already holds this very direction is as good.

    Raises:
        UsageError: another file stands there, or it cannot be read. OutputError: not writable.
    """
    sweep(path.parent, recursive=False)
    data = direction.to_bytes()
    if os.path.lexists(path) and not overwrite:
        try:
            with open_regular(path) as file:
                found = file.read(len(data) + 1)
        except OSError as error:
            raise UsageError(f"{path} cannot be replaced: {error.strerror or error}; choose another --save") from error
        if found != data:
            raise UsageError(
                f"{path} exists and is not this direction, so nothing was done; choose another --save, or replace it "
                "with --overwrite"
            )
        return
    write_bytes(path, data)


def _check_use(pairs: Pairs, direction: object, save: object, mask: object, space: PairSpace, vs: object) -> None:
    if bool(pairs) == (direction is not None):
        raise UsageError("give either --pair A A' or --direction FILE, and not both")
    if direction is not None and (save is not None or mask is not None):
        raise UsageError("--save and --mask go with --pair: a saved direction is finished")
    if direction is not None and vs is not None:
        raise UsageError("--vs goes with --pair: a saved direction belongs to one generator")
    if mask is not None and space not in ("auto", "each"):
        raise UsageError("--mask limits what --space auto compares; leave one of the two out")


class _Measure:
    """Finds the edit that the pairs show, for one model after the other."""

    def __init__(
        self, run: Run, pairs: Pairs, strength: float | None, mask: str | Path | None, batch_size: int
    ) -> None:
        self.run, self.strength, self.batch_size = run, strength, batch_size
        self.pairs = [(Path(before), Path(after)) for before, after in pairs]
        self.mask = None if mask is None else Path(mask)

    def __call__(self, reader: Reader, space: PairSpace) -> PairEdit:
        self.run.tell(
            Started("comparing", steps(space, self.strength, spatial=bool(reader.model.spec.spatial_resolutions)))
        )
        return edit_from_pairs(
            reader,
            self.pairs,
            space,
            self.strength,
            mask=self.mask,
            batch_size=self.batch_size,
            on_progress=lambda count: self.run.tell(Advanced(count)),
        )


class _Second:
    """The same edit by a second model. A model without padding edits in its latents."""

    def __init__(self, reader: Reader, measure: _Measure, space: PairSpace) -> None:
        self.reader = reader
        self.label = reader.model.bundle.name
        own: PairSpace = space if reader.model.predicts_padding else "latent"
        self.change = measure(reader, "auto" if own == "each" else own)
        self.pictures: dict[str, np.ndarray] = {}

    def run(self, run: Run, jobs: Sequence[Job], task: Task, settings: EditingSettings) -> None:
        """Edit the same images into a folder of its own."""
        mine = replace(task, edit=self.change, recipe={"verb": "custom-edit", **self.change.recipe()}, variants=("",))
        outcome = Outcome()
        edited = run_jobs(
            run,
            self.reader,
            jobs,
            mine,
            settings,
            what="editing with the second model",
            out=run.out / "vs",
            outcome=outcome,
        )
        self.pictures = {one.job.name: one.pictures[""] for one in edited if one.pictures}
        run.outcome.skipped += outcome.skipped


class _Views:
    """How edits are laid out: the pairs, then every picture with its edits."""

    def __init__(self, reader: Reader, change: PairEdit, second: _Second | None = None) -> None:
        self.reader, self.change, self.second = reader, change, second
        self.shown = change.variants[1:] or ("",)  # with 'each', the result is one of the others

    def rows(self, results: Sequence[Edited]) -> Rows:
        rows = []
        for pair in self.change.pairs:
            before, after = inputs_of(self.reader, pair)
            caption = "the pair: " + " and ".join(one.source.name for one in pair)
            empty = [_white(len(after))] * (len(self.shown) - 1 + len(self._beside("")))
            rows.append((caption, [before, after, *empty]))
        inputs = results_inputs(self.reader, results)
        rows += [
            (edited.job.name, [one, *(edited.pictures[v] for v in self.shown), *self._beside(edited.job.name).values()])
            for edited, one in zip(results, inputs, strict=True)
        ]
        first = self.reader.model.bundle.name if self.second else "after"
        return ["before", *(variant or first for variant in self.shown), *self._beside("")], rows

    def _beside(self, name: str) -> dict[str, np.ndarray]:
        """The second model's picture under its label; white where it made none."""
        if self.second is None:
            return {}
        side = self.reader.model.spec.resolution
        return {self.second.label: self.second.pictures.get(name, _white(side))}

    def compare(self, results: Sequence[Edited]) -> list[Comparison]:
        beside = {}
        if self.change.pairs:
            beside = dict(zip(("A", "A'"), inputs_of(self.reader, self.change.pairs[0]), strict=True))
        return [
            Comparison(
                edited.job.name,
                one,
                edited.pictures[""],
                beside={
                    **beside,
                    **{variant: edited.pictures[variant] for variant in self.change.variants[1:]},
                    **self._beside(edited.job.name),
                },
            )
            for edited, one in zip(results, results_inputs(self.reader, results), strict=True)
        ]


def _white(side: int) -> np.ndarray:
    return np.full((side, side, 3), 255, np.uint8)
