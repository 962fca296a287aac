"""`padinv generate`: pictures from seeds or from saved inversions."""

from __future__ import annotations

import time
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
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the pictures.")] = DEFAULT_OUT,
    save_inversions: Annotated[
        bool, typer.Option("--save-inversions", help="Also write the latents as inversion files.")
    ] = False,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Sample pictures from the generator, or render saved inversions.

    Seed s stands for numpy.random.RandomState(s).randn(1, z_dim), as in StyleGAN2's own tools; its picture is
    seed-000s.png.
    """

    from padinv.cli import output
    from padinv.cli.provenance import marking
    from padinv.runtime.batch.generate_files import parse_seeds, render_files, sample_files
    from padinv.runtime.batch.results_log import ResultsLog, check_out
    from padinv.runtime.errors import UsageError
    from padinv.runtime.model import Model

    if inversions and seeds is not None:
        raise UsageError("give either inversion files or --seeds, not both")
    if inversions and save_inversions:
        raise UsageError("--save-inversions goes with --seeds: the inversions given are files already")
    if not -10 <= truncation <= 10:
        raise UsageError(f"--truncation {truncation} makes no sense; 1 is off, 0 gives the average image")
    chosen = [] if inversions else parse_seeds(seeds if seeds is not None else "0-15")
    check_out(out)
    loaded = Model.load(model, backend, threads, precision, device)
    mark = marking(loaded.bundle)
    loaded.session("generator")
    started = time.perf_counter()
    outcome = output.new_outcome()
    with ResultsLog(out) as log:
        events = (
            render_files(loaded, inversions, log, batch_size=batch, overwrite=overwrite, marking=mark)
            if inversions
            else sample_files(
                loaded, chosen, truncation, log, save_inversions=save_inversions, batch_size=batch,
                overwrite=overwrite, marking=mark,
            )
        )  # fmt: skip
        output.follow(events, outcome, "generating", len(inversions or chosen), notes=loaded.notes)
    seconds = time.perf_counter() - started
    raise typer.Exit(output.sum_up(outcome, out, seconds, "generated", as_json=as_json))
