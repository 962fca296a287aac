"""`padinv demo`: the main job on the pictures that ship with padinv."""

from __future__ import annotations

from pathlib import Path

import typer

from padinv.cli import options as opt


def command(
    out: opt.OutOption = Path("padinv-out/demo"),
    model: opt.ModelOption = None,
    backend: opt.BackendOption = "auto",
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Invert the demo pictures: two public-domain portraits and synthetic faces, half with things painted over."""
    from padinv.cli.commands.invert import run
    from padinv.runtime.batch.invert_files import Options
    from padinv.runtime.demo_pictures import demo_folder

    options = Options(overwrite=overwrite)
    raise typer.Exit(run([str(demo_folder())], out, options, model, (backend, threads, "fp32", None), as_json=as_json))
