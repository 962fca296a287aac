"""`padinv reproduce`: make the paper's tables again, for any generator and photographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from padinv.cli import options as opt
from padinv.runtime.errors import UsageError
from padinv.runtime.files import require_files, require_utf8
from padinv.training.encoder.config import ARCHITECTURES, PRESETS

Preset = Literal[PRESETS]  # type: ignore[valid-type]
Architecture = Literal[ARCHITECTURES]  # type: ignore[valid-type]


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or any(not 0 <= seed <= opt.MAX_SEED for seed in seeds):
        raise UsageError(f"--seeds takes whole numbers from 0, separated by commas, such as 0,1,2, not {text!r}")
    return seeds


def _outputs(given: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign or not name or not path:
            raise UsageError(f"--outputs takes NAME=FOLDER, such as psp=results/psp, not {text!r}")
        if name in found:
            raise UsageError(f"--outputs names {name!r} twice; each row needs its own name")
        found[name] = Path(path)
    return found


def command(
    table: Annotated[
        Literal["table1", "table2", "table3"],
        typer.Argument(
            metavar="TABLE",
            help="table1: ways to invert. table2: levels of padding, with and without latent regularisation. "
            "table3: which space carries painted attributes.",
            show_default=False,
        ),
    ],
    generator: Annotated[Path, typer.Option(help="Checkpoint of the generator to invert.")],
    data: Annotated[str, typer.Option(help="Training images, of any kind that padinv train takes.")],
    val: Annotated[str, typer.Option(help="Images to measure on, which no encoder was trained with.")],
    budget: Annotated[int, typer.Option(metavar="IMAGES", min=1, help="Length of each training, in images.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the table, its trainings and measurements.")
    ],
    seeds: Annotated[
        str, typer.Option(metavar="N,N,...", help="Seeds; table2 trains each row with all, the others with the first.")
    ] = "0,1,2",
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Rows of table2, such as none,p0,p0-1; to one level beyond the generator's default if omitted.",
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Another project's reconstructions for table1, named like the images of --val; may be repeated.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the latent optimisation in table1.")] = 1000,
    refine_steps: Annotated[int, typer.Option(min=1, help="Steps of the refinement in table1.")] = 100,
    pairs: Annotated[int, typer.Option(min=1, help="Painted faces for each attribute in table3.")] = 10,
    targets: Annotated[int, typer.Option(min=1, help="Faces that receive each edit in table3.")] = 50,
    preset: Annotated[Preset | None, typer.Option(help="Training settings to begin with.")] = None,
    arch: Annotated[Architecture | None, typer.Option(help="Encoder architecture.")] = None,
    train_batch: Annotated[int | None, typer.Option(min=1, help="Images of a training step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate of the encoders.")] = None,
    per: Annotated[
        float | None, typer.Option(min=0, help="Weight of the perceptual term; 0 needs no LPIPS weights.")
    ] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="torchvision's weights of the LPIPS backbone.")
    ] = None,
    face_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="model_ir_se50.pth, where the preset has an identity term.")
    ] = None,
    identity_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Face-recognition network that measures identity.")
    ] = None,
    limit: opt.LimitOption = None,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the first accelerator if omitted.")] = None,
    threads: opt.ThreadsOption = None,
    resamples: Annotated[int, typer.Option(min=100, max=1_000_000, help="Bootstrap resamples.")] = 10_000,
    as_json: opt.JsonOption = False,
) -> None:
    """Make a table of the paper again: train what is missing, measure, print and save it.

    The same command resumes, and uses again what is there. The table is DIR/TABLE.md and DIR/TABLE.json. Figures are
    means with 95 % bootstrap intervals. table2 trains two encoders for each row and seed.
    """
    config_of = {"arch": arch, "batch": train_batch, "lr": lr, "per": per, "images": budget}
    given_outputs = _outputs(outputs or [])
    given_seeds = _seeds(seeds)
    if given_outputs and table != "table1":
        raise UsageError("--outputs belongs to table1; leave it out")
    if rows is not None and table != "table2":
        raise UsageError("--rows belongs to table2; leave it out")
    require_utf8(out, "--out")
    require_files(generator, folders=True)
    require_files(lpips_weights, face_weights, identity_weights)
    # Torch starts here and not at the top, so that --help stays fast.
    from padinv.cli.training_progress import reporter
    from padinv.reproduce.make import make_table
    from padinv.reproduce.options import TableOptions
    from padinv.runtime.errors import exit_code
    from padinv.training.encoder.config import resolve
    from padinv.training.launch import process_count, set_threads

    if process_count(device) > 1:
        raise UsageError("reproduce runs in one process; start it without a launcher")
    set_threads(threads)
    config, _ = resolve(preset, config_of)
    options = TableOptions(
        generator=generator,
        data=data,
        val=val,
        out=out,
        config=config,
        seeds=given_seeds,
        limit=limit,
        batch=batch,
        steps=steps,
        refine_steps=refine_steps,
        pairs=pairs,
        targets=targets,
        outputs=given_outputs,
        rows=None if rows is None else tuple(part.strip() for part in rows.split(",")),
        lpips_weights=lpips_weights,
        face_weights=face_weights,
        identity_weights=identity_weights,
        device=device,
        resamples=resamples,
    )
    report = reporter()
    made = make_table(table, options, report)
    text, data_file = made.write(out)
    code = exit_code(usable=1, failed=len(made.skipped))
    if as_json:
        lost = [{"path": None, "reason": sentence, "code": "skipped"} for sentence in made.skipped]
        head = {"schema": 1, "status": code.name.lower(), "results": [str(text), str(data_file)]}
        typer.echo(json.dumps({**head, **made.to_dict(), "skipped": lost}, indent=2))
    else:
        typer.echo(made.markdown())
    report.message(f"the table is {text} and {data_file}")
    raise typer.Exit(code)
