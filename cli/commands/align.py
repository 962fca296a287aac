"""`padinv align`: photographs in, one aligned square a face out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.output import EventPrinter, sum_up
from padinv.runtime.batch.align_files import TABLE
from padinv.runtime.folders.align import DEFAULT_OUT, DEFAULT_SIZE, align_folder
from padinv.runtime.folders.result import FolderResult


def command(
    *,
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
    with EventPrinter() as show:
        result = align_folder(
            paths,
            out=out,
            size=size,
            template=template,
            landmarks=landmarks,
            everyone=not largest,
            sheet=sheet,
            report=report,
            threads=threads,
            limit=limit,
            overwrite=overwrite,
            on_event=show,
        )
    raise typer.Exit(
        sum_up(
            result,
            "faces aligned",
            as_json=as_json,
            count=lambda record: len(record["outputs"]),
            results=_faces(result),
            transforms=str(out / TABLE),
        )
    )


def _faces(result: FolderResult) -> list[dict[str, Any]]:
    return [
        {
            "name": crop["file"].removesuffix(".png"),
            "image": str(result.out / crop["file"]),
            "source": record["source"],
            "face": crop["face"],
            "transform": crop["transform"],
        }
        for record in result.records
        for crop in record["crops"]
    ]
