"""`padinv train-generator`: train a small StyleGAN2 from photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.config_options import with_settings
from padinv.cli.json_output import print_json
from padinv.cli.training_output import TrainingProgress, exit_code, sum_up_training
from padinv.runtime.alignment.templates import read_template
from padinv.runtime.errors import UsageError
from padinv.runtime.files import require_utf8
from padinv.runtime.spec import ModelSpec
from padinv.training.generator.config import GanConfig

DEFAULT_OUT = Path("runs")


def _channels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--channels takes counts separated by commas, such as 256,256,128, not {text!r}") from None


@with_settings(GanConfig)
def command(
    *,
    data: Annotated[str, typer.Option(help="Photographs: a folder, an archive, or anything that padinv train takes.")],
    settings: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Run folder. If it already holds a run with the same configuration, training resumes. "
            "runs/generator-DATA if omitted.",
        ),
    ] = None,
    resolution: Annotated[int, typer.Option(help="Side of the pictures, a power of two.")] = 64,
    channels: Annotated[
        str, typer.Option(metavar="C4,C8,...", help="Feature channels at 4 px, 8 px, ... up to the resolution.")
    ] = "256,256,128,96,48",
    w_dim: Annotated[int, typer.Option(min=1, help="Width of a latent code.")] = 256,
    z_dim: Annotated[int | None, typer.Option(min=1, help="Width of z; that of a latent code if omitted.")] = None,
    mapping_layers: Annotated[int, typer.Option(min=1, help="Depth of the mapping network.")] = 4,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml", help="How the photographs are aligned: faces, ffhq, or five points in a file."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from a run folder, with other rates, averaging or length; or from the file or bundle of a "
            "finished generator, with a new discriminator."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Weights of --backbone; the torch hub cache or the installed package if omitted."),
    ] = None,
    lpips_weights: Annotated[
        Path | None,
        typer.Option(help="torchvision's SqueezeNet 1.1 weights for --reconstruct beside efficientnet-lite0."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    sample_images: Annotated[int, typer.Option(min=1, help="Images between two sample grids.")] = 10_000,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between two checkpoints.")] = 10.0,
    time_limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="Save and stop after this long, with exit code 130.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Train a small StyleGAN2 from photographs, when no pretrained checkpoint is available.

    The result is OUT/generator.safetensors; sample grids are in OUT/samples. The same command resumes a run.
    """
    out = out or DEFAULT_OUT / f"generator-{Path(data.rstrip('/')).stem or 'data'}"
    require_utf8(out, "--out")
    # Torch starts here and not at the top, so that --help stays fast.
    from padinv.training.generator.run import GeneratorRunOptions, GeneratorTraining
    from padinv.training.launch import process_count

    spec = ModelSpec(
        resolution,
        _channels(channels),
        z_dim=w_dim if z_dim is None else z_dim,
        w_dim=w_dim,
        mapping_layers=mapping_layers,
        template=None if template is None else read_template(template).code,
    )
    if process_count(device) > 1:
        raise UsageError("train-generator runs in one process; start it without a launcher")
    config = GanConfig(spec, **settings)
    options = GeneratorRunOptions(
        data,
        out,
        init=init,
        features=features,
        lpips=lpips_weights,
        sample_images=sample_images,
        save_minutes=save_minutes,
        time_limit=time_limit,
        device=device,
    )
    training = GeneratorTraining(config, options, TrainingProgress())
    for name, value in [] if as_json else training.identity.items():
        typer.echo(f"{name:16}  {value}")
    if dry_run:
        if as_json:
            print_json((), {"dry_run": True, "configuration": training.identity})
        return
    outcome = training.run()
    made = out / "generator.safetensors"
    next_step = f"padinv train --generator {made} --data {data}"
    sum_up_training(outcome, made, next_step=next_step, configuration=training.identity, as_json=as_json)
    raise typer.Exit(exit_code(outcome))
