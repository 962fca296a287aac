"""`padinv generate`: pictures from seeds or from saved inversions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from padinv.cli import options as opt

DEFAULT_OUT = Path("padinv-out/generated")


def command(
    inversions: Annotated[
        list[Path] | None, typer.Argument(metavar="[INVERSION...]", help="Inversion files to render instead of seeds.")
    ] = None,
    model: opt.ModelOption = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Seeds, like 0-15 or 1,5,9; 0-15 if left out.")] = None,
    truncation: Annotated[
        float, typer.Option("--truncation", help="Truncation psi: 1 is off, 0 gives the average image.")
    ] = 1.0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the pictures.")] = DEFAULT_OUT,
    save_inversions: Annotated[
        bool, typer.Option("--save-inversions", help="Also write the latents as inversion files.")
    ] = False,
    batch: opt.BatchOption = 16,
    backend: opt.BackendOption = opt.Backend.auto,
    precision: opt.PrecisionOption = opt.Precision.auto,
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Sample pictures from the generator, or render saved inversions.

    Seed s stands for numpy.random.RandomState(s).randn(1, z_dim), as in StyleGAN2's own tools; its picture is
    seed-000s.png.
    """

    from padinv.cli.progress import progress_bar
    from padinv.runtime.batch.generate_files import parse_seeds, render_file, sample_files
    from padinv.runtime.errors import InputError, MismatchError, OutputError, UsageError
    from padinv.runtime.model import Model

    if inversions and seeds is not None:
        raise UsageError("give either inversion files or --seeds, not both")
    if inversions and save_inversions:
        raise UsageError("--save-inversions goes with --seeds: the inversions given are files already")
    if not -10 <= truncation <= 10:
        raise UsageError(f"--truncation {truncation} makes no sense; 1 is off, 0 gives the average image")
    chosen = [] if inversions else parse_seeds(seeds if seeds is not None else "0-15")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, so no pictures can go there; give a folder with --out; nothing was done")
    loaded = Model.load(model, backend.value, threads, precision.value, device)
    written, kept, problems = 0, 0, []
    with progress_bar("generating", len(inversions or chosen)) as bar:
        loaded.session("generator")
        for note in loaded.notes:
            bar.say(note)
        streams = (
            [render_file(loaded, path, out, batch, overwrite) for path in inversions]
            if inversions
            else [sample_files(loaded, chosen, truncation, out, save_inversions, batch, overwrite)]
        )
        for stream in streams:
            try:
                for made in stream:
                    written += made.written
                    kept += not made.written and made.problem is None
                    if made.problem:
                        problems.append(made.problem)
                        bar.say(made.problem)
                    if not inversions:
                        bar.advance()
            except (InputError, MismatchError) as error:
                problems.append(str(error))
                bar.say(str(error))
            if inversions:
                bar.advance()
    if as_json:
        typer.echo(json.dumps({"written": written, "kept": kept, "problems": problems, "out": str(out)}))
    else:
        parts = [f"{written} written to {out}"]
        parts += [f"{kept} already there"] if kept else []
        parts += [f"{len(problems)} skipped"] if problems else []
        typer.echo("; ".join(parts))
    raise typer.Exit((3 if written or kept else 1) if problems else 0)
