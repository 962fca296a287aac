"""`padinv align`: photographs in, one aligned square a face out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import edit_options as edit
from padinv.cli import options as opt

if TYPE_CHECKING:
    import numpy as np

    from padinv.runtime.batch.align_files import Aligned

DEFAULT_OUT = Path("padinv-out/aligned")
DEFAULT_SIZE = 256


def command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders of pictures (recursive), or glob patterns."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the crops.")] = DEFAULT_OUT,
    size: Annotated[int, typer.Option("--size", min=8, max=4096, help="Side of the crops in pixels.")] = DEFAULT_SIZE,
    template: Annotated[str, typer.Option("--template", help="Where the landmarks go.")] = "faces",
    landmarks: edit.LandmarksOption = None,
    largest: Annotated[bool, typer.Option("--largest", help="Only the largest face of each picture.")] = False,
    sheet: edit.SheetOption = True,
    report: edit.ReportOption = False,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Align photographs by their faces, as the built-in model and others like it were trained.

    Five landmarks are moved onto the template by rotation, scale and shift; what lies beyond the picture's border is
    its mirror image. A picture with several faces gives NAME.png for the largest, NAME-2.png for the next and so on;
    transforms.csv says where each crop was.
    """
    import padinv.cli.edit_common as common
    from padinv.cli.progress import progress_bar
    from padinv.runtime.alignment.aligner import Aligner
    from padinv.runtime.alignment.landmarks_csv import read_landmarks
    from padinv.runtime.batch.align_files import TABLE, align_files
    from padinv.runtime.batch.find_inputs import gather
    from padinv.runtime.errors import InputError

    common.check_out(out)
    gathered = gather(paths, out)
    problems = [sentence for _, sentence in gathered.skipped()]
    if not gathered.files:
        raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    given = None if landmarks is None else read_landmarks(landmarks)
    aligner = Aligner(template, "always", given, threads=threads)
    started = time.perf_counter()
    done: list[Aligned] = []
    skipped = list(problems)
    with progress_bar("aligning", len(gathered.files)) as bar:
        for sentence in problems:
            bar.say(sentence)
        for aligned in align_files(aligner, gathered.files, out, size, not largest, overwrite):
            done += [aligned] if aligned.crops else []
            for sentence in aligned.problems:
                skipped.append(sentence)
                bar.say(sentence)
            bar.advance()
    made = _lay_out(out, done, skipped, sheet, report, overwrite)
    raise typer.Exit(_sum_up(done, skipped, out, out / TABLE, made, time.perf_counter() - started, as_json))


def _lay_out(
    out: Path, done: list[Aligned], skipped: list[str], sheet: bool, report: bool, overwrite: bool
) -> dict[str, str]:
    import padinv.cli.edit_common as common
    from padinv.cli.main import say
    from padinv.runtime.reports.comparison_report import Comparison, compare_html
    from padinv.runtime.reports.contact_sheet import contact_sheet
    from padinv.runtime.reports.html import write_page

    made: dict[str, str] = {}
    count = sum(len(aligned.crops) for aligned in done)
    title = f"{count} face{'' if count == 1 else 's'} aligned"

    def shown() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for aligned in done[: common.SHOWN]:
            for crop in aligned.crops:
                if crop.pixels is not None and aligned.thumbnail is not None:
                    yield crop.name, aligned.thumbnail, crop.pixels

    rows = list(shown())
    if sheet and rows:
        pixels = contact_sheet([(name, [before, after]) for name, before, after in rows], ["photograph", "face"], title)
        common.write_sheet(out / common.SHEET, pixels, overwrite, made)
    if report and rows:
        comparisons = [Comparison(name, before, after, ("Photograph", "Face")) for name, before, after in rows]
        text = compare_html(title, comparisons, {"Template": "five landmarks"}, (), skipped)
        if write_page(out / common.REPORT, text, overwrite):
            made["report"] = str(out / common.REPORT)
        else:
            say(f"{out / common.REPORT} exists and is not padinv's; --overwrite replaces it")
    return made


def _sum_up(
    done: list[Aligned], skipped: list[str], out: Path, table: Path, made: dict[str, str], seconds: float, as_json: bool
) -> int:
    import json

    from padinv.cli.main import say

    crops = [crop for aligned in done for crop in aligned.crops]
    written = sum(crop.written for crop in crops)
    code = 1 if not crops else (3 if skipped else 0)
    if as_json:
        summary: dict[str, Any] = {
            "written": written,
            "kept": len(crops) - written,
            "skipped": skipped,
            "seconds": round(seconds, 3),
            "out": str(out),
            "results": [
                {"name": crop.name, "image": str(crop.path), "source": str(aligned.source), "face": crop.face,
                 "transform": crop.transform}
                for aligned in done
                for crop in aligned.crops
            ],
            "transforms": str(table),
            "sheet": made.get("sheet"),
            "report": made.get("report"),
        }  # fmt: skip
        typer.echo(json.dumps(summary))
    elif not crops:
        say("error: no picture could be aligned, so nothing was written")
    else:
        parts = [f"{written} faces aligned in {seconds:.1f} s"]
        parts += [f"{len(crops) - written} already there"] if written < len(crops) else []
        parts += [f"{len(skipped)} pictures skipped"] if skipped else []
        typer.echo("; ".join(parts))
        typer.echo("   ".join([f"results: {out}", *(f"open {path}" for path in made.values())]))
    return code
