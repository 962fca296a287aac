"""`padinv train`: train an encoder for a frozen generator."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.runtime.errors import UsageError
from padinv.runtime.files import require_utf8


class Preset(str, Enum):
    """Files in padinv/training/presets."""

    ffhq = "ffhq"
    church = "church"
    bedroom = "bedroom"
    faces64 = "faces64"


class Arch(str, Enum):
    """Encoder architectures."""

    reference = "reference"
    fast = "fast"


class Lpips(str, Enum):
    """LPIPS backbones."""

    alex = "alex"
    vgg = "vgg"
    squeeze = "squeeze"


class MixedPrecision(str, Enum):
    """Number format of the networks' arithmetic."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


class Schedule(str, Enum):
    """Learning-rate schedules."""

    constant = "constant"
    cosine = "cosine"


class AdvForm(str, Enum):
    """Forms of the adversarial term."""

    logistic = "logistic"
    critic = "critic"


def _resolutions(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--pad-resolutions takes sizes separated by commas, such as 4,8,16, not {text!r}") from None


def command(
    generator: Annotated[Path, typer.Option(help="Checkpoint of the generator to invert.")],
    data: Annotated[Path, typer.Option(help="Training pictures: a folder or a ZIP archive.")],
    out: Annotated[Path, typer.Option(help="Run folder. An existing run of the same configuration is gone on with.")],
    preset: Annotated[Preset | None, typer.Option(help="Settings to begin with; options below override them.")] = None,
    val: Annotated[Path | None, typer.Option(help="Validation pictures: a folder or a ZIP archive.")] = None,
    arch: Annotated[Arch | None, typer.Option(help="Encoder architecture.")] = None,
    padding: Annotated[
        bool | None, typer.Option("--padding/--no-padding", help="Predict the padding space, or W+ codes only.")
    ] = None,
    pad_resolutions: Annotated[
        str | None, typer.Option(metavar="4,8,...", help="Resolutions whose padding is predicted; all if left out.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Length of the training in images.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length in steps, instead of --images.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step and a process.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate of the encoder.")] = None,
    schedule: Annotated[Schedule | None, typer.Option(help="How the learning rate goes on.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Images over which the rate rises from zero.")] = None,
    clip: Annotated[float | None, typer.Option(min=0, help="Largest norm of the gradient; 0: not clipped.")] = None,
    ema: Annotated[float | None, typer.Option(min=0, help="Decay a step of the weight average; 0: none.")] = None,
    pix: Annotated[float | None, typer.Option(min=0, help="Weight of the pixel term.")] = None,
    per: Annotated[float | None, typer.Option(min=0, help="Weight of the perceptual term (LPIPS).")] = None,
    identity: Annotated[float | None, typer.Option("--id", min=0, help="Weight of the identity term.")] = None,
    adv: Annotated[float | None, typer.Option(min=0, help="Weight of the adversarial term.")] = None,
    reg: Annotated[float | None, typer.Option(min=0, help="Weight of the latent regularisation.")] = None,
    lpips: Annotated[Lpips | None, typer.Option(help="LPIPS backbone.")] = None,
    lpips_weights: Annotated[
        Path | None,
        typer.Option(help="Its weight file (torchvision's); looked for in the torch hub cache if left out."),
    ] = None,
    face_weights: Annotated[Path | None, typer.Option(help="model_ir_se50.pth, for the identity term.")] = None,
    adv_form: Annotated[AdvForm | None, typer.Option(help="Form of the adversarial term.")] = None,
    r1_gamma: Annotated[float | None, typer.Option(min=0, help="Weight of the discriminator's penalty.")] = None,
    r1_interval: Annotated[
        int | None, typer.Option(min=1, help="Steps between two penalties; 1: at every step.")
    ] = None,
    flips: Annotated[bool | None, typer.Option("--flips/--no-flips", help="Mirror half of the pictures.")] = None,
    mixed_precision: Annotated[MixedPrecision | None, typer.Option(help="Arithmetic of the networks.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=opt.MAX_SEED, help="Seed of weights and of the order of pictures.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Encoder file or run folder to start the weights from.")] = None,
    log_images: Annotated[int, typer.Option(min=1, help="Images between two log records.")] = 800,
    eval_images: Annotated[int, typer.Option(min=1, help="Images between two evaluations and sample grids.")] = 20_000,
    val_count: Annotated[int, typer.Option(min=1, help="Validation pictures an evaluation looks at.")] = 256,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between two checkpoints.")] = 10.0,
    time_limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="Save and stop after this long, with exit code 130.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures too many for memory.")] = 4,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration and the memory it expects, and stop.")
    ] = False,
) -> None:
    """Train an encoder for a frozen generator.

    The same command goes on with an existing run. On many GPUs: accelerate launch -m padinv train ...
    """
    require_utf8(out, "--out")
    # Torch starts here and not at the top, so that --help stays fast.
    from padinv.cli.training_progress import ending_text, exit_code, reporter
    from padinv.training.encoder.config import resolve
    from padinv.training.encoder.run import RunOptions, Training

    if steps is not None and images is not None:
        raise UsageError("--steps and --images exclude each other")

    def value(choice: Enum | None) -> str | None:
        return None if choice is None else str(choice.value)

    overrides: dict[str, Any] = {
        "arch": value(arch),
        "padding": padding,
        "pad_resolutions": _resolutions(pad_resolutions),
        "images": images,
        "batch": batch,
        "lr": lr,
        "schedule": value(schedule),
        "warmup": warmup,
        "clip": clip,
        "ema": ema,
        "pix": pix,
        "per": per,
        "id": identity,
        "adv": adv,
        "reg": reg,
        "lpips": value(lpips),
        "adv_form": value(adv_form),
        "r1_gamma": r1_gamma,
        "r1_interval": r1_interval,
        "flips": flips,
        "mixed_precision": value(mixed_precision),
        "seed": seed,
    }
    if steps is not None:
        from padinv.training.launch import process_count

        chosen, _ = resolve(value(preset), overrides)
        overrides["images"] = steps * chosen.batch * process_count()
    config, reasons = resolve(value(preset), overrides)
    options = RunOptions(
        generator=generator,
        data=data,
        out=out,
        val=val,
        lpips_weights=lpips_weights,
        face_weights=face_weights,
        init=init,
        log_images=log_images,
        eval_images=eval_images,
        val_count=val_count,
        save_minutes=save_minutes,
        time_limit=time_limit,
        workers=workers,
        preset=value(preset),
    )
    report = reporter()
    training = Training(config, options, report)
    if training.main:
        typer.echo(configuration_text(config.to_dict(), reasons))
    if dry_run:
        if training.main:
            typer.echo("\nmemory of one process, found on shapes alone, without libraries:")
            typer.echo("\n".join(training.memory().lines()))
        return
    outcome = training.run(reasons)
    if training.main:
        report.message(ending_text(outcome, f"the encoder is {out / 'encoder.safetensors'}"))
    if code := exit_code(outcome):
        raise SystemExit(code)


def configuration_text(values: dict[str, Any], reasons: dict[str, str]) -> str:
    """The resolved configuration, a setting a line, each with its reason."""
    width = max(len(name) for name in values)
    lines = [f"{name:{width}}  {values[name]!s:<14}  {reasons.get(name, '')}".rstrip() for name in values]
    return "\n".join(lines)
