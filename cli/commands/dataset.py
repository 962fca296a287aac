"""`padinv dataset`: make an archive of training pictures, resized once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from padinv.cli import options as opt
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import progress_bar
from padinv.datasets import DatasetSettings, prepare_dataset
from padinv.picture_sources import open_pictures
from padinv.runtime.alignment.templates import read_template
from padinv.runtime.errors import ExitCode, exit_code
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.datasets import DatasetSummary


def command(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a ZIP or tar archive, tar shards, an LMDB database, parquet files, or a URL of an archive.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="NAME.zip|FOLDER",
            help="A ZIP archive, or a folder of tar shards. SOURCE-SIZE.zip if omitted.",
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=8, max=4096, help="Side of the pictures in pixels.")] = 256,
    resize: Annotated[
        Literal["lanczos", "area"], typer.Option(help="How larger pictures are made smaller; recorded in the archive.")
    ] = "lanczos",
    align: Annotated[
        Literal["never", "auto", "always"],
        typer.Option(help="Move faces onto a template. auto keeps aligned ones; always skips pictures without a face."),
    ] = "never",
    template: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="Template of --align: faces, ffhq, or five points.")
    ] = "faces",
    split: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The first N pictures by name are for training (the paper's FFHQ: 65000), the others go to NAME-val.",
        ),
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep pictures that equal another one pixel by pixel.")
    ] = False,
    shard: Annotated[int, typer.Option(min=1, help="Pictures per tar shard.")] = 10_000,
    limit: opt.LimitOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; one for each processor core if omitted.")] = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Resize pictures once for training: decoding 1024 px photographs at every step starves a GPU.

    Damaged pictures and duplicates are left out and listed. NAME.html has statistics and a contact sheet. The same
    command continues after an interruption, and does nothing when the archive exists.
    """
    pictures = open_pictures(source)
    target = out or Path(f"{Path(pictures.title).stem}-{size}.zip")
    chosen = read_template(template).code if align != "never" else None
    settings = DatasetSettings(size, resize, align, chosen, split, keep_duplicates, shard, limit)
    started = time.perf_counter()
    count = min(limit or len(pictures), len(pictures))
    with progress_bar("resizing", count) as bar:
        summary = prepare_dataset(
            pictures, target, settings, workers=workers or os.cpu_count() or 1, advance=bar.advance
        )
    for sentence in summary.skipped[:20]:
        say(f"skipped: {sentence}")
    if len(summary.skipped) > 20:
        say(f"skipped: {len(summary.skipped) - 20} more pictures, listed in {target.with_suffix('.html')}")
    code = exit_code(usable=1, failed=len(summary.skipped))
    if as_json:
        _print_json(summary, code)
    else:
        typer.echo(_text(summary, time.perf_counter() - started))
    raise typer.Exit(code)


def _print_json(summary: DatasetSummary, code: ExitCode) -> None:
    made = [(summary.out, summary.pictures), (summary.val, summary.val_pictures)]
    facts = {
        "out": str(summary.out),
        "val": None if summary.val is None else str(summary.val),
        "pictures": summary.pictures,
        "val_pictures": summary.val_pictures,
        "duplicates": [list(pair) for pair in summary.duplicates],
        "existed": summary.existed,
    }
    results = [{"file": str(path), "pictures": count} for path, count in made if path is not None]
    print_json(results, facts, code=code, skipped=map(skipped_input, summary.skipped))


def _text(summary: DatasetSummary, seconds: float) -> str:
    made = summary.pictures + summary.val_pictures
    parts = [f"{made:,} pictures " + ("there already" if summary.existed else f"in {seconds:.1f} s")]
    if summary.resumed:
        parts.append(f"{summary.resumed:,} of them from an earlier run")
    if summary.duplicates:
        count = len(summary.duplicates)
        parts.append(f"{count:,} duplicate{'' if count == 1 else 's'} left out")
    if summary.skipped:
        parts.append(f"{len(summary.skipped):,} skipped")
    stem = summary.out.with_suffix("") if summary.out.suffix.lower() == ".zip" else summary.out
    lines = ["; ".join(parts), f"results: {summary.out}   open {stem}.html"]
    val = f" --val {summary.val}" if summary.val is not None and summary.val_pictures else ""
    lines.append(f"next: padinv train --generator G.safetensors --data {summary.out}{val}")
    return "\n".join(printable(line) for line in lines)
