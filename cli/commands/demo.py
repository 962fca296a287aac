"""`padinv demo`: the main job on the pictures that ship with padinv."""

from __future__ import annotations

from pathlib import Path

import typer

from padinv.cli import options as opt
from padinv.cli.commands.invert import sum_up_inversions
from padinv.cli.output import EventPrinter
from padinv.cli.provenance import marking
from padinv.runtime.demo_pictures import demo_folder
from padinv.runtime.folders.invert import invert_folder
from padinv.runtime.model import Model


def command(
    *,
    out: opt.OutOption = Path("padinv-out/demo"),
    model: opt.ModelOption = None,
    backend: opt.BackendOption = "auto",
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Invert the demo pictures: two public-domain portraits and synthetic faces, half with things painted over."""
    loaded = Model.load(model, backend, threads, "fp32")
    with EventPrinter() as show:
        result = invert_folder(
            demo_folder(),
            out=out,
            model=loaded,
            align="never",
            sheet=True,
            report=True,
            overwrite=overwrite,
            marking=marking(loaded.bundle),
            on_event=show,
        )
    raise typer.Exit(sum_up_inversions(result, loaded, as_json=as_json))
