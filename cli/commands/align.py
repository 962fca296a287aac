"""`padinv align`: photographs in, one aligned square a face out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt

if TYPE_CHECKING:
    from padinv.runtime.batch.engine import Outcome

DEFAULT_OUT = Path("padinv-out/aligned")
DEFAULT_SIZE = 256


def command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders of pictures (recursive), or glob patterns."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the crops.")] = DEFAULT_OUT,
    size: Annotated[int, typer.Option("--size", min=8, max=4096, help="Side of the crops in pixels.")] = DEFAULT_SIZE,
    template: Annotated[
        str,
        typer.Option(
            "--template", metavar="NAME|FILE.toml", help="Where the landmarks go: faces, ffhq, or five points."
        ),
    ] = "faces",
    landmarks: opt.LandmarksOption = None,
    largest: Annotated[bool, typer.Option("--largest", help="Only the largest face of each picture.")] = False,
    sheet: opt.SheetOption = True,
    report: opt.ReportOption = True,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    limit: opt.LimitOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Align photographs by their faces, as the built-in model and others like it were trained.

    Five landmarks are moved onto the template by rotation, scale and shift; what lies beyond the picture's border is
    its mirror image. A picture with several faces gives NAME.png for the largest, NAME-2.png for the next and so on;
    transforms.csv says where each crop was.
    """
    import padinv.cli.edit_common as common
    from padinv.cli import output
    from padinv.runtime.alignment.aligner import Aligner
    from padinv.runtime.alignment.landmarks_csv import read_landmarks
    from padinv.runtime.alignment.templates import read_template
    from padinv.runtime.batch.align_files import TABLE, align_files
    from padinv.runtime.batch.find_inputs import gather
    from padinv.runtime.batch.results_log import ResultsLog
    from padinv.runtime.errors import InputError

    common.check_out(out)
    gathered = gather(paths, out)
    problems = gathered.skipped()
    if not gathered.files:
        reasons = "; ".join(sentence for _, sentence in problems)
        raise InputError(f"{reasons or f'no pictures found in {paths[0]}'}; nothing was done")
    gathered.files = gathered.files[:limit]
    given = None if landmarks is None else read_landmarks(landmarks)
    aligner = Aligner(read_template(template).code, "always", landmarks=given, threads=threads)
    started = time.perf_counter()
    outcome = common.new_outcome(problems)
    with ResultsLog(out) as log:
        events = align_files(aligner, gathered.files, log, size=size, everyone=not largest, overwrite=overwrite)
        common.follow(events, outcome, "aligning", len(gathered.files), show=common.SHOWN)
    made = _lay_out(out, outcome, sheet=sheet, report=report, overwrite=overwrite)
    raise typer.Exit(
        output.sum_up(
            outcome,
            out,
            time.perf_counter() - started,
            "faces aligned",
            as_json=as_json,
            made=made,
            count=lambda record: len(record["outputs"]),
            results=_faces(out, outcome),
            transforms=str(out / TABLE),
        )
    )


def _faces(out: Path, outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "name": crop["file"].removesuffix(".png"),
            "image": str(out / crop["file"]),
            "source": record["source"],
            "face": crop["face"],
            "transform": crop["transform"],
        }
        for record in outcome.records
        for crop in record["crops"]
    ]


def _lay_out(out: Path, outcome: Outcome, *, sheet: bool, report: bool, overwrite: bool) -> dict[str, str]:
    import padinv.cli.edit_common as common
    from padinv.runtime.batch.align_files import show_again
    from padinv.runtime.reports.comparison_report import Comparison, compare_html
    from padinv.runtime.reports.contact_sheet import contact_sheet

    made: dict[str, str] = {}
    if not (sheet or report):
        return made
    shown = [(done.task.name, done.product.shown) for done in outcome.done if done.product.shown is not None]
    again = outcome.kept[: max(0, common.SHOWN - len(shown))]
    shown += [(kept.task.name, one) for kept in again if (one := show_again(kept, out)) is not None]
    rows = [
        (name if crop.face == 1 else f"{name}-{crop.face}", aligned.thumbnail, crop.pixels)
        for name, aligned in sorted(shown, key=lambda one: one[0])
        for crop in aligned.crops
    ]
    count = sum(len(record["outputs"]) for record in outcome.records)
    title = f"{count} face{'' if count == 1 else 's'} aligned"
    if sheet and rows:
        pixels = contact_sheet([(name, [before, after]) for name, before, after in rows], ["photograph", "face"], title)
        common.write_sheet(out / common.SHEET, pixels, overwrite, made, outcome)
    if report and rows:
        comparisons = [Comparison(name, before, after, ("Photograph", "Face")) for name, before, after in rows]
        text = compare_html(title, comparisons, {"Template": "five landmarks"}, (), outcome.skipped, total=count)
        common.write_report(outcome, out / common.REPORT, text, overwrite, made)
    return made
