"""`padinv directions import`: directions of other projects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.commands.directions import output
from padinv.runtime.editing.foreign_direction import (
    ForeignSpace,
    Unit,
    choose_vector,
    import_direction,
    is_torch_file,
    read_numpy,
)
from padinv.runtime.editing.layers import parse_layers
from padinv.runtime.model import Model


def command(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="InterFaceGAN or HiGAN .npy, GANSpace .npz, LowRankGAN .npy or .npz, e4e .pt."
        ),
    ],
    made_for: Annotated[
        str,
        typer.Option(
            "--made-for",
            metavar="GENERATOR",
            help="The generator it was made for: the model's name or hash, or 'this'. Such files do not say it.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="What the direction is called; default: the file's name.")
    ] = None,
    space: Annotated[
        ForeignSpace,
        typer.Option("--space", help="z goes through the mapping network; w+ has one vector per layer."),
    ] = "w",
    unit: Annotated[
        Unit, typer.Option("--unit", help="std: 1 is one standard deviation of the model's codes; raw: as in the file.")
    ] = "std",
    layers: Annotated[
        str | None, typer.Option("--layers", help="Latent codes that move, like 4-7; all if omitted.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Which array of a file that holds several.")] = None,
    component: Annotated[
        int | None, typer.Option("--component", min=0, help="Which direction of an array that holds several, from 0.")
    ] = None,
    convert: Annotated[
        bool, typer.Option("--convert", help="Also take a direction that was made for another generator.")
    ] = False,
    model: opt.ModelOption = None,
    out: output.OutOption = output.DEFAULT_OUT,
    origin: output.OriginOption = None,
    licence: output.LicenceOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Import a direction of another project, for a generator that it was made for.

    Files are read as numbers; nothing in them is run, and pickled objects are refused.
    """
    path = output.target(out, name or re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:48], overwrite)
    if is_torch_file(file):
        from padinv.checkpoints.direction_arrays import read_torch_arrays

        arrays = read_torch_arrays(file)
    else:
        arrays = read_numpy(file)
    vector = choose_vector(arrays, file, key=key, component=component, space=space)
    loaded = Model.load(model)
    direction = import_direction(
        vector,
        loaded,
        made_for=made_for,
        space=space,
        unit=unit,
        layers=None if layers is None else parse_layers(layers, loaded.spec.num_layers),
        convert=convert,
        what=str(file),
    )
    output.report([output.save(direction, path, licence, origin or file.name)], as_json)
