"""`padinv custom-edit`: one or several pairs of pictures define an edit, which goes onto any number of others."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.help import HelpCommand
from padinv.runtime.batch.pair_edit import PairSpace
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from padinv.runtime.batch.edit_files import Edited, Job, Task
    from padinv.runtime.batch.pair_edit import PairEdit
    from padinv.runtime.batch.sources import Reader
    from padinv.runtime.editing.direction import Direction
    from padinv.runtime.reports.comparison_report import Comparison

DEFAULT_OUT = Path("padinv-out/custom-edit")


class COMMAND(HelpCommand):
    """Reads `--pair A A'` any number of times: Typer repeats options of one value only, so each pair becomes two."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, read = list(args), []
        while given:
            word = given.pop(0)
            if word == "--":
                read += [word, *given]
                break
            read.append(word)
            if word == "--pair" and len(given) >= 2 and not any(value.startswith("--") for value in given[:2]):
                read += [given.pop(0), "--pair", given.pop(0)]
        return super().parse_args(ctx, read)


def command(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="TARGET...", help="Further targets, so that shell patterns work.")
    ] = None,
    pair: Annotated[
        list[Path] | None,
        typer.Option(
            "--pair",
            metavar="A A'",
            help="A picture and its edited version, or their inversion files. Repeated: pairs of the same edit, whose "
            "mean is taken.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="PATH", help="Picture, inversion or folder to edit; may be repeated."),
    ] = None,
    direction: Annotated[
        Path | None,
        typer.Option("--direction", metavar="FILE", help="A saved direction (a file, or of a hub) instead of a pair."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save the direction as a .safetensors file.")
    ] = None,
    space: Annotated[
        PairSpace,
        typer.Option(
            "--space",
            help="Where the edit is made; auto decides by what each does to other faces; each also makes all of them.",
        ),
    ] = "auto",
    strength: Annotated[
        str, typer.Option("--strength", metavar="NUMBER|auto", help="How far to go; auto decides by the same evidence.")
    ] = "1",
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="PICTURE", help="White where auto compares: as A's picture, or a square face."),
    ] = None,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    model: opt.ModelOption = None,
    vs: Annotated[
        Path | None,
        typer.Option(
            "--vs",
            metavar="BUNDLE",
            help="A second model: its edits go to OUT/vs, and beside the first model's on the sheet.",
        ),
    ] = None,
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
    """Apply the edit shown by one before/after pair to other images (section 4.4 of the paper).

    The difference between the inversions of A and A' is added to every target: of the padding for what changes form,
    of the latents for what changes style. --space auto tries both on faces that the generator draws, and takes the one
    that makes more of the change there and disturbs less around it. --space each writes NAME.padding.png,
    NAME.latent.png and NAME.both.png as well (Fig. 9 of the paper). --vs does the same with a second model, for example
    with an encoder without padding (Fig. 10).
    """
    import padinv.cli.edit_common as common
    from padinv.cli.console import say
    from padinv.runtime.batch.edit_files import Job, Task
    from padinv.runtime.batch.masks import read_region
    from padinv.runtime.batch.sources import find_sources
    from padinv.runtime.errors import InputError, UsageError

    pairs = _pairs(pair or [])
    _check_use(pairs, direction, save, mask, space, vs)
    how_far = _strength(strength)
    paths = [*(target or []), *(targets or [])]
    if not paths and save is None:
        raise UsageError("give targets to edit (--target PATH), or a file to --save the direction in")
    common.check_out(out)
    sources, problems = find_sources(paths, out) if paths else ([], [])
    if paths and not sources:
        raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    sources = sources[:limit]
    setup = common.Setup(model, backend, precision, threads, align, landmarks, face, fit, device=device)
    reader = setup.reader()
    if space in ("padding", "each"):
        reader.model.require_padding(f"custom-edit --space {space}")
    started = time.perf_counter()
    changes = _measured(reader, pairs, direction, space, how_far, mask, batch)
    for sentence in changes.notes:
        say(sentence)
    if save is not None:
        _save(changes.direction, save, overwrite)
    if not as_json:
        typer.echo(printable(changes.sentence))
        if save is not None:
            typer.echo(printable(f"direction: {save}"))
    like = reader.read(sources[0]) if region is not None and len(sources) == 1 else None
    changes.region = read_region(region, resolutions, reader.model.spec, like)
    task = Task(
        changes,
        {"verb": "custom-edit", **changes.recipe()},
        changes.variants,
        save_inversions=save_inversions,
        paste=paste_back,
        feather=feather,
    )
    jobs = [Job(source, source.name) for source in sources]
    if not jobs:
        outcome, made = common.Edits(), {}
    else:
        outcome = common.run_jobs(reader, jobs, task, out, "editing", batch, overwrite, problems)
        title = f"{len(outcome.results)} picture{'' if len(outcome.results) == 1 else 's'} edited"
        second = None
        if vs is not None:
            second = _Second(replace(setup, model=vs).reader(), pairs, space, how_far, mask, batch)
            second.run(jobs, task, out / "vs", overwrite)
            outcome.outcome.skipped += second.edits.outcome.skipped
        views = _Views(reader, changes, second)
        made = common.lay_out(
            out, outcome, title, views.rows, views.compare, common.model_facts(reader), sheet, report, overwrite,
            [changes.sentence, *([] if second is None else [f"{second.label}: {second.changes.sentence}"])],
        )  # fmt: skip
    facts: dict[str, Any] = {
        "space": changes.space,
        "strength": changes.strength,
        "evidence": changes.evidence.to_dict() if changes.evidence else changes.direction.info.get("evidence"),
        "direction": str(save) if save else (str(direction) if direction else None),
    }
    if not jobs:
        if as_json:
            common.sum_up(outcome, out, time.perf_counter() - started, made, True, "edited", **facts)
        raise typer.Exit(0)
    raise typer.Exit(common.sum_up(outcome, out, time.perf_counter() - started, made, as_json, "edited", **facts))


def _pairs(paths: list[Path]) -> list[tuple[Path, Path]]:
    """A, A', B, B', ... -> pairs."""
    from padinv.runtime.errors import UsageError

    if len(paths) % 2:
        raise UsageError(f"--pair takes a picture and its edited version, and {paths[-1]} stands alone")
    return list(zip(paths[::2], paths[1::2], strict=True))


def _strength(text: str) -> float | None:
    """A number; None for 'auto'."""
    from padinv.runtime.editing.gallery import parse_strengths
    from padinv.runtime.errors import UsageError

    if text == "auto":
        return None
    values = parse_strengths(text)
    if len(values) != 1:
        raise UsageError(f"--strength takes one number or auto here, not {text!r}")
    return values[0]


def _save(direction: Direction, path: Path, overwrite: bool) -> None:
    """Save a direction; a file that already holds this very direction is as good."""
    from padinv.runtime.errors import UsageError
    from padinv.runtime.files import open_regular, sweep, write_bytes

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


def _check_use(
    pairs: list[tuple[Path, Path]],
    direction: Path | None,
    save: Path | None,
    mask: Path | None,
    space: PairSpace,
    vs: Path | None,
) -> None:
    from padinv.runtime.errors import UsageError

    if bool(pairs) == (direction is not None):
        raise UsageError("give either --pair A A' or --direction FILE, and not both")
    if direction is not None and (save is not None or mask is not None):
        raise UsageError("--save and --mask go with --pair: a saved direction is finished")
    if direction is not None and vs is not None:
        raise UsageError("--vs goes with --pair: a saved direction belongs to one generator")
    if mask is not None and space not in ("auto", "each"):
        raise UsageError("--mask limits what --space auto compares; leave one of the two out")


def _measured(
    reader: Reader,
    pairs: list[tuple[Path, Path]],
    direction: Path | None,
    space: Any,
    strength: float | None,
    mask: Path | None,
    batch: int,
) -> PairEdit:
    """The edit that the pairs show, or that was saved."""
    from padinv.cli.progress import progress_bar
    from padinv.runtime.batch.pair_edit import edit_from_file, edit_from_pairs, steps

    if direction is not None:
        return edit_from_file(reader, direction, space, strength)
    with progress_bar("comparing", steps(space, strength)) as bar:
        return edit_from_pairs(reader, pairs, space, strength, mask=mask, batch_size=batch, on_progress=bar.advance)


class _Second:
    """The same edit by a second model. A model without padding edits in its latents."""

    def __init__(
        self,
        reader: Reader,
        pairs: list[tuple[Path, Path]],
        space: str,
        strength: float | None,
        mask: Path | None,
        batch: int,
    ) -> None:
        self.reader, self.batch = reader, batch
        self.label = reader.model.bundle.name
        own = space if reader.model.predicts_padding else "latent"
        self.changes = _measured(reader, pairs, None, "auto" if own == "each" else own, strength, mask, batch)
        self.pictures: dict[str, np.ndarray] = {}

    def run(self, jobs: Sequence[Job], task: Task, out: Path, overwrite: bool) -> None:
        """Edit the same pictures into a folder of its own."""
        import padinv.cli.edit_common as common

        recipe = {"verb": "custom-edit", **self.changes.recipe()}
        mine = replace(task, edit=self.changes, recipe=recipe, variants=("",))
        self.edits = common.run_jobs(
            self.reader, jobs, mine, out, "editing with the second model", self.batch, overwrite
        )
        self.pictures = {edited.job.name: edited.pictures[""] for edited in self.edits.results if edited.pictures}


class _Views:
    """How edits are laid out: the pairs, then every picture with its edits."""

    def __init__(self, reader: Reader, changes: PairEdit, second: _Second | None = None) -> None:
        self.reader, self.changes, self.second = reader, changes, second
        self.shown = changes.variants[1:] or ("",)  # with --space each, the result is one of the others

    def rows(self, results: Sequence[Edited]) -> tuple[Sequence[str], list[tuple[str, list[np.ndarray]]]]:
        from padinv.cli.edit_common import inputs_of, results_inputs

        rows = []
        for pair in self.changes.pairs:
            before, after = inputs_of(self.reader, pair)
            caption = "the pair: " + " and ".join(one.source.name for one in pair)
            rows.append(
                (caption, [before, after, *[_white(len(after))] * (len(self.shown) - 1 + len(self._beside("")))])
            )
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
        from padinv.cli.edit_common import inputs_of, results_inputs
        from padinv.runtime.reports.comparison_report import Comparison

        beside = {}
        if self.changes.pairs:
            beside = dict(zip(("A", "A'"), inputs_of(self.reader, self.changes.pairs[0]), strict=True))
        inputs = results_inputs(self.reader, results)
        return [
            Comparison(
                edited.job.name,
                one,
                edited.pictures[""],
                beside={
                    **beside,
                    **{variant: edited.pictures[variant] for variant in self.changes.variants[1:]},
                    **self._beside(edited.job.name),
                },
            )
            for edited, one in zip(results, inputs, strict=True)
        ]


def _white(side: int) -> np.ndarray:
    import numpy as np

    return np.full((side, side, 3), 255, np.uint8)
