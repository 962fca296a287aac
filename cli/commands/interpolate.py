"""`padinv interpolate`: the way from one picture to another, or from the average image, in one space or both."""

from __future__ import annotations

import json
import os
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import edit_options as edit
from padinv.cli import options as opt

if TYPE_CHECKING:
    import numpy as np

    from padinv.runtime.batch.sources import Loaded, Reader, Source
    from padinv.runtime.editing.region import Region

DEFAULT_OUT = Path("padinv-out/interpolate")


class Fixed(str, Enum):
    """Whose values the space that does not move keeps."""

    first = "first"
    second = "second"


def command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="A B", help="Two pictures or inversion files; with --from-average any number of ends."
        ),
    ],
    space: Annotated[
        edit.Space | None,
        typer.Option("--space", help="What moves; the other space stays. Default: both; with --from-average: padding."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, max=1000, help="Pictures, both ends included.")] = 9,
    from_average: Annotated[
        bool, typer.Option("--from-average", help="Start at the generator's average image (Fig. 5 of the paper).")
    ] = False,
    fixed: Annotated[
        Fixed | None,
        typer.Option("--fixed", help="Which end supplies the space that does not move (default: first; with "
                     "--from-average that is the average image)."),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            "--grid", min=2, max=32, metavar="N", help="Also write NAME.grid.png: N latents down, N paddings across."
        ),
    ] = None,
    region: edit.RegionOption = None,
    resolutions: edit.ResolutionsOption = None,
    milliseconds: Annotated[
        int, typer.Option("--milliseconds", min=10, max=10_000, help="Time of a step in the animation.")
    ] = 120,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every step as a picture.")] = False,
    model: opt.ModelOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")] = DEFAULT_OUT,
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
) -> None:  # fmt: skip
    """Interpolate between two pictures: A--B.png, a strip, and A--B.webp, an endless animation.

    With --space padding the latents stay and the form changes; with --space latent the padding stays and the style
    changes (Fig. 6 and 7 of the paper).
    """
    import padinv.cli.edit_common as common
    from padinv.runtime.batch.masks import read_region
    from padinv.runtime.batch.sources import find_source, find_sources
    from padinv.runtime.errors import InputError, UsageError

    if not from_average and len(paths) != 2:
        raise UsageError(f"give two pictures, not {len(paths)}; or --from-average and any number of them")
    common.check_paths([*paths, out])
    common.check_out(out)
    problems: list[str] = []
    if from_average:
        sources, problems = find_sources(paths, out)
        if not sources:
            raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    else:
        sources = [find_source(path) for path in paths]
    setup = common.Setup(model, backend.value, precision.value, threads, align.value, landmarks, face, fit.value)
    reader = setup.reader()
    # Fig. 5 of the paper goes from the average image in the padding space, with the latents at w_avg.
    moving = space or (edit.Space.padding if from_average else edit.Space.both)
    if moving is edit.Space.padding:
        reader.model.require_padding("interpolate --space padding")
    still = (fixed or Fixed.first).value
    settings = {"steps": steps, "space": moving.value, "fixed": still, "milliseconds": milliseconds}
    settings |= {} if grid is None else {"grid": grid}
    like = reader.read(sources[-1]) if region is not None and len(sources) <= 2 and not from_average else None
    limited = read_region(region, resolutions, reader.model.spec, like)
    lines = _Lines(reader, out, settings, frames, save_inversions, batch, overwrite, limited)
    started = time.perf_counter()
    lines.run([(None, source) for source in sources] if from_average else [(sources[0], sources[1])], problems)
    made = lines.lay_out(sheet, report)
    raise typer.Exit(_sum_up(lines, made, time.perf_counter() - started, as_json))


class _Lines:
    """All interpolations of one call."""

    def __init__(
        self, reader: Reader, out: Path, settings: dict[str, Any], frames: bool, inversions: bool, batch: int,
        overwrite: bool, region: Region | None = None,
    ) -> None:  # fmt: skip
        self.reader, self.out, self.settings, self.region = reader, out, settings, region
        self.frames, self.inversions, self.batch, self.overwrite = frames, inversions, batch, overwrite
        self.done: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self.pictures: list[tuple[str, np.ndarray]] = []

    def run(self, pairs: list[tuple[Source | None, Source]], problems: list[str]) -> None:
        from padinv.cli.progress import progress_bar
        from padinv.runtime.errors import InputError, MismatchError

        self.skipped += problems
        with progress_bar("interpolating", len(pairs), "strips") as bar:
            for sentence in problems:
                bar.say(sentence)
            for a, b in pairs:
                try:
                    self._one(a, b, bar.say)
                except (InputError, MismatchError) as error:
                    self.skipped.append(str(error))
                    bar.say(str(error))
                bar.advance()

    def _one(self, a: Source | None, b: Source, say: Any) -> None:
        from pathlib import PurePosixPath

        from padinv.runtime.files import digest
        from padinv.runtime.images.png_metadata import png_note

        first = "average" if a is None else PurePosixPath(a.name).name
        path = PurePosixPath(b.name)
        name = path.with_name(f"{first}--{path.name}").as_posix()
        reader = self.reader
        note = {
            "model": reader.model.bundle.fingerprint,
            "edit": digest(
                {
                    "verb": "interpolate",
                    **self.settings,
                    **({} if self.region is None else {"region": self.region.fingerprint()}),
                    "of": [None if a is None else a.identity(), b.identity()],
                    "align": reader.aligner.conditions,
                    "fit": reader.aligner.fit,
                    "precision": reader.model.precision,
                }
            ),
        }
        files = self._files(name)
        there = [path for path in files.values() if os.path.lexists(path)]
        if there and not self.overwrite:
            if png_note(files["strip"]) != note:
                self.skipped.append(
                    f"{there[0]} exists and is another result, so it was left alone; choose another --out, or allow it "
                    "with --overwrite"
                )
                say(self.skipped[-1])
                return
            if len(there) == len(files):
                self.kept.append({"name": name, **{kind: str(path) for kind, path in files.items()}})
                return
        self._make(name, a, b, files, note, say)

    def _files(self, name: str) -> dict[str, Path]:
        files = {"strip": self.out / f"{name}.png", "animation": self.out / f"{name}.webp"}
        if "grid" in self.settings:
            files["grid"] = self.out / f"{name}.grid.png"
        if self.inversions:
            files["inversion"] = self.out / f"{name}.safetensors"
        if self.frames:
            for i in range(self.settings["steps"]):
                files[f"frame {i}"] = self.out / f"{name}.{i:03d}.png"
        return files

    def _make(
        self, name: str, a: Source | None, b: Source, files: dict[str, Path], note: dict[str, Any], say: Any
    ) -> None:
        from padinv.runtime.editing import average, interpolate, interpolation_grid
        from padinv.runtime.images.png_metadata import save_png
        from padinv.runtime.reports.animation import save_animation, strip, tiled

        model = self.reader.model
        loaded: list[Loaded] = [self.reader.read(source) for source in (a, b) if source is not None]
        ends = self.reader.encode(loaded, self.batch)
        for one in loaded:
            if one.note:
                say(one.note)
        start = average(model.spec, model.constants(), model.generator_hash) if a is None else ends[0]
        settings = self.settings
        line = interpolate(start, ends[-1], settings["steps"], settings["space"], settings["fixed"])
        if self.region is not None:
            line = self.region.limit(start if settings["fixed"] == "first" else ends[-1], line)
        pictures = model.generate(line, self.batch)
        if "grid" in settings:
            side = settings["grid"]
            square = model.generate(interpolation_grid(start, ends[-1], side), self.batch)
            save_png(files["grid"], tiled(square, side), note)
        if self.inversions:
            line.save(files["inversion"])
        if self.frames:
            for i, picture in enumerate(pictures):
                save_png(files[f"frame {i}"], picture, note)
        save_animation(files["animation"], pictures, settings["milliseconds"])
        save_png(files["strip"], strip(pictures), note)  # last: it says that the others are there
        self.done.append({"name": name, **{kind: str(path) for kind, path in files.items()}})
        self.pictures.append((name, pictures))

    def lay_out(self, sheet: bool, report: bool) -> dict[str, str]:
        import padinv.cli.edit_common as common
        from padinv.cli.main import say
        from padinv.runtime.reports.animation import strip
        from padinv.runtime.reports.comparison_report import Comparison, compare_html
        from padinv.runtime.reports.contact_sheet import contact_sheet
        from padinv.runtime.reports.html import write_page

        made: dict[str, str] = {}
        if not self.pictures:
            return {kind: str(path) for kind, path in (("sheet", self.out / common.SHEET),) if path.exists() and sheet}
        title = f"{len(self.pictures)} interpolation{'' if len(self.pictures) == 1 else 's'}, {self.settings['space']}"
        if sheet:
            steps = [f"{i / (self.settings['steps'] - 1):.2f}" for i in range(self.settings["steps"])]
            if len(steps) <= 24:
                pixels = contact_sheet([(name, list(frames)) for name, frames in self.pictures], steps, title)
            else:
                pixels = contact_sheet([(name, [strip(frames)]) for name, frames in self.pictures], [""], title)
            common.write_sheet(self.out / common.SHEET, pixels, self.overwrite, made)
        if report:
            shown = [
                Comparison(name, frames[0], frames[-1], ("First", "Last"), {f"{i}": f for i, f in enumerate(frames)})
                for name, frames in self.pictures[:50]
            ]
            text = compare_html(title, shown, common.model_facts(self.reader), (), self.skipped)
            if write_page(self.out / common.REPORT, text, self.overwrite):
                made["report"] = str(self.out / common.REPORT)
            else:
                say(f"{self.out / common.REPORT} exists and is not padinv's; --overwrite replaces it")
        return made


def _sum_up(lines: _Lines, made: dict[str, str], seconds: float, as_json: bool) -> int:
    from padinv.cli.main import say

    results = lines.done + lines.kept
    code = 1 if not results else (3 if lines.skipped else 0)
    if as_json:
        summary = {
            "written": len(lines.done),
            "kept": len(lines.kept),
            "skipped": lines.skipped,
            "seconds": round(seconds, 3),
            "out": str(lines.out),
            "results": results,
            "sheet": made.get("sheet"),
            "report": made.get("report"),
        }
        typer.echo(json.dumps(summary))
    elif not results:
        say("error: nothing could be interpolated, so nothing was written")
    else:
        kept = f"; {len(lines.kept)} already there" if lines.kept else ""
        skipped = f"; {len(lines.skipped)} skipped" if lines.skipped else ""
        typer.echo(f"{len(lines.done)} interpolated in {seconds:.1f} s{kept}{skipped}")
        typer.echo("   ".join([f"results: {lines.out}", *(f"open {path}" for path in made.values())]))
    return code
