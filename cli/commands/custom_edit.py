"""`padinv custom-edit`: one pair of pictures defines an edit, which goes onto any number of others."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import edit_options as edit
from padinv.cli import options as opt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from padinv.runtime.batch.edit_files import Edited
    from padinv.runtime.batch.sources import Loaded, Reader
    from padinv.runtime.editing import Direction
    from padinv.runtime.editing.auto_space import Evidence
    from padinv.runtime.inversion import Inversion

DEFAULT_OUT = Path("padinv-out/custom-edit")


def command(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="TARGET...", help="Further targets, so that shell patterns work.")
    ] = None,
    pair: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--pair", metavar="A A'", help="A picture and its edited version, or their inversion files."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="PATH", help="Picture, inversion or folder to edit; may be repeated."),
    ] = None,
    direction: Annotated[
        Path | None, typer.Option("--direction", metavar="FILE", help="A saved direction instead of a pair.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save the direction as a .safetensors file.")
    ] = None,
    space: Annotated[
        edit.EditSpace,
        typer.Option("--space", help="Where the edit is made; auto decides by what each does to other faces."),
    ] = edit.EditSpace.auto,
    strength: edit.StrengthOption = 1.0,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="PICTURE", help="White where auto compares: as A's picture, or a square face."),
    ] = None,
    region: edit.RegionOption = None,
    resolutions: edit.ResolutionsOption = None,
    model: opt.ModelOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")] = DEFAULT_OUT,
    paste_back: edit.PasteBackOption = False,
    feather: edit.FeatherOption = 0.12,
    align: edit.AlignOption = edit.Align.auto,
    landmarks: edit.LandmarksOption = None,
    face: edit.FaceOption = 1,
    fit: opt.FitOption = opt.Fit.crop,
    save_inversions: edit.SaveInversionsOption = False,
    sheet: edit.SheetOption = True,
    report: edit.ReportOption = False,
    batch: opt.BatchOption = 16,
    backend: opt.BackendOption = opt.Backend.auto,
    precision: opt.PrecisionOption = opt.Precision.auto,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Edit pictures as one pair shows it (section 4.4 of the paper).

    The difference between the inversions of A and A' is added to every target: of the padding for what changes form,
    of the latents for what changes style. --space auto tries both on faces that the generator draws, and takes the one
    that makes more of the change there and disturbs less around it.
    """
    import padinv.cli.edit_common as common
    from padinv.cli.main import say
    from padinv.runtime.batch.edit_files import Job, Task
    from padinv.runtime.batch.masks import read_region
    from padinv.runtime.batch.sources import find_sources
    from padinv.runtime.editing import apply
    from padinv.runtime.errors import InputError, UsageError

    _check_use(pair, direction, save, mask, space)
    paths = [*(target or []), *(targets or [])]
    if not paths and save is None:
        raise UsageError("give targets to edit (--target PATH), or a file to --save the direction in")
    common.check_out(out)
    if save is not None and os.path.lexists(save) and not overwrite:
        raise UsageError(f"{save} exists, so nothing was done; choose another --save, or allow it with --overwrite")
    sources, problems = find_sources(paths, out) if paths else ([], [])
    if paths and not sources:
        raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    setup = common.Setup(model, backend.value, precision.value, threads, align.value, landmarks, face, fit.value)
    reader = setup.reader()
    if space is edit.EditSpace.padding:
        reader.model.require_padding("custom-edit --space padding")
    started = time.perf_counter()
    change = _Change(reader)
    if direction is not None:
        change.load(direction, space.value)
    else:
        assert pair is not None
        change.measure(pair, space.value, mask, batch)
    for sentence in change.notes:
        say(sentence)
    if not as_json:
        typer.echo(change.sentence)
    if save is not None:
        change.direction.save(save)
        if not as_json:
            typer.echo(f"direction: {save}")
    like = reader.read(sources[0]) if region is not None and len(sources) == 1 else None
    limited = read_region(region, resolutions, reader.model.spec, like)

    def algebra(targets: Inversion) -> dict[str, Inversion]:
        edited = apply(targets, change.direction, change.space, strength)  # type: ignore[arg-type]
        return {"": edited if limited is None else limited.limit(targets, edited)}

    task = Task(
        algebra,
        {
            "verb": "custom-edit",
            "direction": change.fingerprint(),
            "space": change.space,
            "strength": strength,
            **({} if limited is None else {"region": limited.fingerprint()}),
        },
        save_inversions=save_inversions,
        paste=paste_back,
        feather=feather,
    )
    jobs = [Job(source, source.name) for source in sources]
    if not jobs:
        outcome, made = common.Outcome(), {}
    else:
        outcome = common.run_jobs(reader, jobs, task, out, "editing", batch, overwrite, problems)
        title = f"{len(outcome.results)} picture{'' if len(outcome.results) == 1 else 's'} edited"
        views = _Views(reader, change)
        made = common.lay_out(
            out, outcome, title, views.rows, views.compare, common.model_facts(reader), sheet, report, overwrite,
            [change.sentence],
        )  # fmt: skip
    facts: dict[str, Any] = {
        "space": change.space,
        "evidence": change.evidence.to_dict() if change.evidence else change.direction.info.get("evidence"),
        "direction": str(save) if save else (str(direction) if direction else None),
    }
    if not jobs:
        if as_json:
            common.sum_up(outcome, out, time.perf_counter() - started, made, True, "edited", **facts)
        raise typer.Exit(0)
    raise typer.Exit(common.sum_up(outcome, out, time.perf_counter() - started, made, as_json, "edited", **facts))


def _check_use(
    pair: tuple[Path, Path] | None,
    direction: Path | None,
    save: Path | None,
    mask: Path | None,
    space: edit.EditSpace,
) -> None:
    from padinv.runtime.errors import UsageError

    if (pair is None) == (direction is None):
        raise UsageError("give either --pair A A' or --direction FILE, and not both")
    if direction is not None and (save is not None or mask is not None):
        raise UsageError("--save and --mask go with --pair: a saved direction is finished")
    if mask is not None and space is not edit.EditSpace.auto:
        raise UsageError("--mask limits what --space auto compares; leave one of the two out")


class _Change:
    """The direction, the space it is applied in, and why."""

    direction: Direction
    space: str
    sentence: str

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.evidence: Evidence | None = None
        self.notes: list[str] = []
        self.pair: list[Loaded] = []

    def load(self, path: Path, space: str) -> None:
        from padinv.runtime.editing import SPACES, Direction
        from padinv.runtime.errors import UsageError

        self.direction = Direction.load(path)
        self.direction.require_generator(self.reader.model.generator_hash, str(path))
        recorded = self.direction.space
        if space == "auto" and recorded is None:
            raise UsageError(f"{path} records no space, so choose one: --space {' or '.join(SPACES)}")
        self.space = str(recorded) if space == "auto" else space
        self.sentence = f"space: {self.space}" + (", as saved" if space == "auto" else "")

    def measure(self, paths: tuple[Path, Path], space: str, mask: Path | None, batch: int) -> None:
        from padinv.runtime.editing import difference

        first = self.reader.load(paths[0])
        second = self.reader.load(paths[1], like=first)
        self.pair = [first, second]
        self.notes = [note for note in (first.note, second.note) if note]
        assert first.inversion is not None
        assert second.inversion is not None
        self.direction = difference(first.inversion, second.inversion)
        self.direction.info["sources"] = [first.source.name, second.source.name]
        if space == "auto" and not self.reader.model.predicts_padding:
            self.space, self.sentence = "latent", "space: latent, because the model predicts no padding"
        elif space == "auto":
            self.evidence = self._weigh(first, second, mask, batch)
            self.direction.info["evidence"] = self.evidence.to_dict()
            self.space, self.sentence = self.evidence.space, self.evidence.sentence()
        else:
            self.space, self.sentence = space, f"space: {space}"
        self.direction.info["space"] = self.space

    def _weigh(self, first: Loaded, second: Loaded, mask_path: Path | None, batch: int) -> Evidence:
        from padinv.cli.edit_common import inputs_of
        from padinv.cli.progress import progress_bar
        from padinv.runtime.batch.masks import read_mask
        from padinv.runtime.editing.auto_space import STEPS, weigh
        from padinv.runtime.images import to_float

        size = self.reader.model.spec.image_size
        assert first.inversion is not None
        assert second.inversion is not None
        mask = None if mask_path is None else read_mask(mask_path, first, size)
        # Two pictures, or two reconstructions: one of each would count what the inversion loses as an edit.
        if first.pixels is None or second.pixels is None:
            first_view, second_view = (
                self.reader.model.generate_for_encoder(one)[0] for one in (first.inversion, second.inversion)
            )
        else:
            first_view, second_view = (to_float(picture[None])[0] for picture in inputs_of(self.reader, self.pair))
        with progress_bar("weighing", STEPS) as bar:
            return weigh(
                self.reader.model, first.inversion, second.inversion, first_view, second_view, mask,
                batch_size=batch, tick=bar.advance,
            )  # fmt: skip

    def fingerprint(self) -> str:
        """Changes with the direction's values."""
        from padinv.runtime.files import sha256_bytes

        return sha256_bytes(b"".join(array.tobytes() for array in self.direction.arrays().values()))


class _Views:
    """How edits are laid out."""

    def __init__(self, reader: Reader, change: _Change) -> None:
        self.reader, self.change = reader, change

    def rows(self, results: Sequence[Edited]) -> tuple[Sequence[str], list]:
        from padinv.cli.edit_common import inputs_of, results_inputs

        rows = []
        if self.change.pair:
            before, after = inputs_of(self.reader, self.change.pair)
            rows.append(("the pair: " + " and ".join(one.source.name for one in self.change.pair), [before, after]))
        inputs = results_inputs(self.reader, results)
        rows += [(edited.job.name, [one, edited.pictures[""]]) for edited, one in zip(results, inputs, strict=True)]
        return ["before", "after"], rows

    def compare(self, results: Sequence[Edited]) -> list:
        from padinv.cli.edit_common import inputs_of, results_inputs
        from padinv.runtime.reports.comparison_report import Comparison

        beside = (
            dict(zip(("A", "A'"), inputs_of(self.reader, self.change.pair), strict=False)) if self.change.pair else {}
        )
        inputs = results_inputs(self.reader, results)
        return [
            Comparison(edited.job.name, one, edited.pictures[""], beside=beside)
            for edited, one in zip(results, inputs, strict=True)
        ]
