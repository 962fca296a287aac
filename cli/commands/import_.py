"""`padinv import`: another project's checkpoint becomes padinv's own file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from padinv.cli import options as opt
from padinv.cli.json_output import print_json
from padinv.cli.progress import progress_bar
from padinv.runtime.alignment.templates import read_template
from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.files import atomic_path, require_files, sha256_file
from padinv.runtime.text import printable

if TYPE_CHECKING:
    import numpy as np

_KEY = "padinv-import"  # of the PNG text chunk that says what a grid shows


def command(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="NVIDIA's .pkl; rosinality's, pSp's, e4e's, ReStyle's .pt; GenForce's, Hammer's, the paper's .pth; "
            "recognised by content.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.safetensors", help="File to write.")],
    encoder: Annotated[
        bool,
        typer.Option(
            "--encoder",
            help="Import the encoder of the paper's, pSp's, e4e's or ReStyle's file, not a generator.",
        ),
    ] = False,
    generator: Annotated[
        Path | None,
        typer.Option(
            "--generator",
            metavar="G",
            help="With --encoder: its generator, any supported file; else the one inside FILE.",
        ),
    ] = None,
    padded_layers: Annotated[
        int | None,
        typer.Option(
            "--padded-layers",
            min=1,
            max=5,
            help="With --encoder: layers that a shared padding map serves, where the file does not say; 4 if omitted.",
        ),
    ] = None,
    encoder_type: Annotated[
        Literal["psp", "e4e"] | None,
        typer.Option("--encoder-type", help="With --encoder: whose encoder it is, where the file does not say."),
    ] = None,
    refinements: Annotated[
        int | None,
        typer.Option(
            "--refinements",
            min=1,
            max=20,
            help="With --encoder: how often ReStyle's encoder looks at its reconstruction; 5 if omitted.",
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            "--template",
            metavar="NAME|FILE.toml|none|auto",
            help="How the training pictures were aligned: ffhq, faces, five points in a file, or none; auto takes ffhq "
            "where the file's name says so.",
        ),
    ] = "auto",
    samples: Annotated[
        bool, typer.Option("--samples/--no-samples", help="Draw a grid of pictures beside the file.")
    ] = True,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Turn a StyleGAN2 checkpoint from elsewhere into a file that every other command takes.

    No code in the checkpoint is run, and none of the project that wrote it is needed.
    """
    if not encoder and {generator, padded_layers, encoder_type, refinements} != {None}:
        raise UsageError("--generator, --padded-layers, --encoder-type and --refinements go with --encoder")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out} should end with .safetensors, the format that is written")
    if out.exists() and out.resolve() == file.resolve():
        raise UsageError(f"--out {out} is the file to import itself; nothing was written")
    require_files(file)  # before torch is asked for
    require_files(generator, folders=True)
    chosen = _template(template)
    kind = "encoder" if encoder else "generator"
    grid = out.with_suffix(".png")
    if os.path.lexists(out) and not overwrite:
        record = _finished(file, out, kind, chosen)
        _print(record, out, as_json, [f"{out} is this import already; nothing was done"])
        return

    from padinv.checkpoints.convert import EncoderOptions, import_encoder, import_generator

    written = [f"wrote {out}"]
    if encoder:
        inverter = import_encoder(
            file, out, generator, EncoderOptions(padded_layers, encoder_type, refinements), template=chosen
        )
        record = inverter.record
        if samples:
            from padinv.checkpoints.preview_grid import draw_encoder, encoder_grid_shape

            written.append(_draw(draw_encoder(inverter), encoder_grid_shape(), grid, record["sha256"], overwrite))
    else:
        foreign = import_generator(file, out, chosen)
        record = foreign.record
        if samples:
            from padinv.checkpoints.preview_grid import draw_generator, grid_shape

            shape = grid_shape(foreign.spec.resolution)
            written.append(_draw(draw_generator(foreign), shape, grid, record["sha256"], overwrite))
    _print(record, out, as_json, written)


def _template(text: str) -> str | None:
    """--template -> what a `ModelSpec` records, or 'auto'."""
    return {"auto": "auto", "none": None}[text] if text in ("auto", "none") else read_template(text).code


def _finished(file: Path, out: Path, kind: str, template: str | None) -> dict[str, Any]:
    """The record of `out`, when it is this very import.

    Raises:
        OutputError: it is anything else.
    """
    from padinv.checkpoints.native import read_header

    try:
        header = read_header(out) if out.is_file() else None
    except InputError:
        header = None
    record = (header or {}).get("record") or {}
    if (
        header is not None
        and header.get("kind") == kind
        and file.is_file()
        and record.get("sha256") == sha256_file(file)
        and template in ("auto", (header.get("spec") or {}).get("template"))
    ):
        return record
    raise OutputError(f"{out} exists and is something else, so it was left alone; choose another --out, or --overwrite")


def _draw(tiles: Iterable[np.ndarray], shape: tuple[int, int], grid: Path, sha256: str, overwrite: bool) -> str:
    """Draw a grid and write it; what came of it."""
    from padinv.checkpoints.preview_grid import arrange

    if os.path.lexists(grid) and not overwrite and not _is_grid(grid):
        return f"{grid} exists and is another picture, so no samples were drawn; try --overwrite"
    drawn = []
    with progress_bar("drawing samples", shape[0] * shape[1]) as bar:
        for tile in tiles:
            drawn.append(tile)
            bar.advance()
    note = PngInfo()
    note.add_text(_KEY, sha256)
    with atomic_path(grid) as temporary:
        arrange(drawn, shape[1]).save(temporary, format="PNG", pnginfo=note)
    return f"wrote {grid}: look at it"


def _is_grid(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return _KEY in image.info
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return False


_LABELS = {"sha256": "SHA-256", "z_dim": "z", "w_dim": "w", "const": "constant predicted", "w_avg": "average code"}


def _print(record: dict[str, Any], out: Path, as_json: bool, written: list[str]) -> None:
    """The record as a table, or as JSON."""
    if as_json:
        print_json([{"file": str(out), **record}], {**record, "done": written})
        return

    table = Table(show_header=False, box=box.SIMPLE)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in record.items():
        if key != "notes":
            table.add_row(_LABELS.get(key, key.replace("_", " ")), Text(_plain(value)))
    console = Console(soft_wrap=True)
    console.print(table)
    for note in record.get("notes") or []:
        console.print(f"note: {_plain(note)}", markup=False, highlight=False)
    for line in written:
        console.print(line, markup=False, highlight=False)


def _plain(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    text = f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
    return printable(text)
