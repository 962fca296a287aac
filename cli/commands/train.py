"""`padinv train`: train an encoder for a frozen generator."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from padinv.cli import options as opt
from padinv.cli.config_options import with_settings
from padinv.cli.json_output import print_json
from padinv.cli.training_output import TrainingProgress, exit_code, sum_up_training
from padinv.runtime.alignment.templates import read_template
from padinv.runtime.errors import UsageError
from padinv.runtime.files import require_utf8
from padinv.runtime.model_names import builtin_bundle
from padinv.training.encoder.config import PRESETS, TrainConfig, resolve

DEFAULT_OUT = Path("runs")
Preset = Literal[PRESETS]  # type: ignore[valid-type]


@with_settings(TrainConfig)
def command(
    *,
    data: Annotated[
        str,
        typer.Option(
            help="Training images: a folder, a ZIP or tar archive, tar shards, an LMDB database, parquet files, or a "
            "URL of an archive."
        ),
    ],
    settings: dict[str, Any],
    generator: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of the generator to invert, or a compact bundle; the built-in model if omitted."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Run folder. If it already holds a run with the same configuration, training resumes. "
            "runs/PRESET-DATA if omitted.",
        ),
    ] = None,
    preset: Annotated[Preset | None, typer.Option(help="Settings to begin with; options below override them.")] = None,
    val: Annotated[str | None, typer.Option(help="Validation images, of any kind that --data takes.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length in steps, instead of --images.")] = None,
    global_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images per step over all processes, instead of --accumulate. The paper has 64."),
    ] = None,
    lpips_weights: Annotated[
        Path | None,
        typer.Option(
            help="Weight file of the LPIPS backbone (torchvision's); what padinv fetch or torch cached if omitted."
        ),
    ] = None,
    face_weights: Annotated[
        Path | None,
        typer.Option(help="model_ir_se50.pth, for the identity term; what padinv fetch cached if omitted."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="How the images are aligned, where the generator's file does not say: faces, ffhq, or five points.",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Encoder file, run folder or compact bundle to start the weights from; faces128: the built-in one."
        ),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|cache",
            help="Pretrained weights of a new encoder's backbone: model_ir_se50.pth for reference, a file of timm's "
            "for timm:NAME, or cache: what timm fetched earlier. Nothing is fetched.",
        ),
    ] = None,
    log_images: Annotated[int, typer.Option(min=1, help="Images between two log records.")] = 800,
    eval_images: Annotated[int, typer.Option(min=1, help="Images between two evaluations and sample grids.")] = 20_000,
    val_count: Annotated[int, typer.Option(min=1, help="Validation images of an evaluation.")] = 256,
    best: Annotated[
        Literal["mse", "lpips"],
        typer.Option(help="Validation figure by which encoder-best.safetensors is kept."),
    ] = "mse",
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Tracker besides TensorBoard: wandb, trackio or mlflow; offline. May be repeated."
        ),
    ] = None,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between two checkpoints.")] = 10.0,
    time_limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="Save and stop after this long, with exit code 130.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode images when they do not fit in memory.")
    ] = 4,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...; the first accelerator if omitted.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads of torch.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration and the estimated memory, then exit.")
    ] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Train an encoder for a frozen generator.

    The same command resumes a run. On many GPUs: accelerate launch -m padinv train ...
    """
    # Torch starts here and not at the top, so that --help stays fast.
    from padinv.training.encoder.run import RunOptions, Training
    from padinv.training.launch import adopt_launcher_settings, process_count, set_threads

    if steps is not None and "images" in settings:
        raise UsageError("--steps and --images exclude each other")
    if global_batch is not None and "accumulate" in settings:
        raise UsageError("--global-batch and --accumulate exclude each other")
    generator = generator or builtin_bundle()
    out = out or default_out(preset, data)
    require_utf8(out, "--out")
    set_threads(threads)
    overrides, adopted = adopt_launcher_settings(settings)
    if global_batch is not None:
        chosen, _ = resolve(preset, overrides)
        overrides["accumulate"] = passes(global_batch, chosen.batch, process_count(device))
    if steps is not None:
        chosen, _ = resolve(preset, overrides)
        overrides["images"] = steps * chosen.batch * chosen.accumulate * process_count(device)
    config, reasons = resolve(preset, overrides)
    reasons |= adopted
    options = RunOptions(
        generator=generator,
        data=data,
        out=out,
        val=val,
        lpips_weights=lpips_weights,
        face_weights=face_weights,
        init=init,
        backbone_weights=backbone_weights,
        template=None if template is None else read_template(template).code,
        log_images=log_images,
        eval_images=eval_images,
        val_count=val_count,
        best=best,
        trackers=tuple(track or ()),
        save_minutes=save_minutes,
        time_limit=time_limit,
        workers=workers,
        device=device,
        preset=preset,
    )
    training = Training(config, options, TrainingProgress())
    if training.main and not as_json:
        typer.echo(configuration_text(config.to_dict(), reasons))
    if dry_run:
        memory = training.memory()  # in every process, so that none waits for another
        if training.main and as_json:
            parts = {**dataclasses.asdict(memory), "total": memory.total}
            print_json((), {"dry_run": True, "configuration": config.to_dict(), "memory_bytes": parts})
        elif training.main:
            typer.echo("\nmemory of one process, found on shapes alone, without libraries:")
            typer.echo("\n".join(memory.lines()))
        return
    outcome = training.run(reasons)
    if training.main:
        next_step = f"padinv export {out} --out models/{out.name}"
        made = out / "encoder.safetensors"
        sum_up_training(outcome, made, next_step=next_step, configuration=config.to_dict(), as_json=as_json)
    raise typer.Exit(exit_code(outcome))


def passes(global_batch: int, batch: int, processes: int) -> int:
    """Forward and backward passes of a step of `global_batch` images.

    Raises:
        UsageError: it is not a multiple of what one pass of all processes takes.
    """
    one = batch * processes
    if global_batch % one:
        raise UsageError(
            f"--global-batch {global_batch} is not a multiple of {one}: --batch {batch} in {processes} "
            f"process{'' if processes == 1 else 'es'}; choose another --batch"
        )
    return global_batch // one


def default_out(preset: str | None, data: str) -> Path:
    """Where a run goes that was given no place."""
    title = Path(data.rstrip("/")).stem or "data"
    return DEFAULT_OUT / "-".join(part for part in (preset, title) if part)


def configuration_text(values: dict[str, Any], reasons: dict[str, str]) -> str:
    """The resolved configuration, one setting on a line, each with its reason."""
    width = max(len(name) for name in values)
    lines = [f"{name:{width}}  {values[name]!s:<14}  {reasons.get(name, '')}".rstrip() for name in values]
    return "\n".join(lines)
