"""`padinv directions sefa`: directions in closed form, without pictures or labels."""

from __future__ import annotations

from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.commands.directions import output
from padinv.runtime.editing.layers import parse_layers
from padinv.runtime.editing.sefa import sefa_directions
from padinv.runtime.model import Model


def command(
    *,
    count: Annotated[int, typer.Option("--count", min=1, help="How many directions, the strongest first.")] = 5,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Latent codes that move, like 0-3 or 4-; all if omitted.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The files are called NAME-1, NAME-2, ...")] = "sefa",
    model: opt.ModelOption = None,
    out: output.OutOption = output.DEFAULT_OUT,
    licence: output.LicenceOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Find the directions that change styles most (SeFa, Shen and Zhou 2021), from the generator's weights alone.

    Look at what they do with: padinv directions show FILE.
    """
    targets = [output.target(out, f"{name}-{i + 1}", overwrite) for i in range(count)]
    loaded = Model.load(model)
    chosen = None if layers is None else parse_layers(layers, loaded.spec.num_layers)
    directions = sefa_directions(loaded, chosen, count)
    made = [output.save(one, path, licence, None) for one, path in zip(directions, targets, strict=True)]
    output.report(made, as_json)
