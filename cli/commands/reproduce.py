"""`padinv reproduce`: make the paper's tables again, for any generator and photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from padinv.cli import options as opt
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.training_output import TrainingProgress
from padinv.reproduce.options import TableOptions
from padinv.runtime.errors import UsageError, exit_code
from padinv.runtime.files import require_files, require_utf8
from padinv.training.encoder.config import ARCHITECTURES, MAX_PASSES, PRESETS, TrainConfig, resolve

Preset = Literal[PRESETS]  # type: ignore[valid-type]
BELONGS = {
    "--outputs": ("table1",),
    "--encoders": ("table1",),
    "--equal-time": ("table1",),
    "--optimise-limit": ("table1",),
    "--rows": ("table1", "table2"),
    "--init": ("table1", "table3", "edges"),
}
Architecture = Literal[ARCHITECTURES]  # type: ignore[valid-type]


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or any(not 0 <= seed <= opt.MAX_SEED for seed in seeds):
        raise UsageError(f"--seeds takes whole numbers from 0, separated by commas, such as 0,1,2, not {text!r}")
    return seeds


def _named(option: str, example: str, given: list[str] | None) -> dict[str, Path]:
    """NAME=PATH, repeated."""
    found: dict[str, Path] = {}
    for text in given or []:
        name, sign, path = text.partition("=")
        if not sign or not name or not path:
            raise UsageError(f"{option} takes {example}, not {text!r}")
        if name in found:
            raise UsageError(f"{option} names {name!r} twice; each row needs its own name")
        found[name] = Path(path)
    return found


def _settings(given: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE, repeated: settings of `TrainConfig`, each read as its field's type."""
    hints, found = get_type_hints(TrainConfig), dict[str, Any]()
    for text in given or []:
        name, sign, value = text.partition("=")
        name = name.replace("-", "_")
        if not sign or name not in hints:
            raise UsageError(f"--set takes NAME=VALUE with a setting of padinv train, such as warmup=0, not {text!r}")
        kinds = [kind for kind in getattr(hints[name], "__args__", (hints[name],)) if kind is not type(None)]
        try:
            found[name] = _value(kinds[0], value)
        except ValueError:
            raise UsageError(f"--set {name}: {value!r} is not a value of this setting") from None
    return found


def _value(kind: Any, text: str) -> Any:
    if kind is bool:
        if text not in ("on", "off"):
            raise ValueError(text)
        return text == "on"
    if kind in (int, float):
        return kind(text)
    return text if kind is str else tuple(int(part) for part in text.split(","))


def _pairs(text: str) -> int | Path:
    if not text.isdecimal():
        return Path(text)
    if int(text) < 1:
        raise UsageError("--pairs takes a number from 1, or a folder")
    return int(text)


def _only_for(table: str, given: dict[str, object]) -> None:
    """Refuse options that belong to other tables."""
    for option, value in given.items():
        tables = BELONGS[option]
        if value and table not in tables:
            raise UsageError(f"{option} belongs to {' and '.join(tables)}; leave it out")


def command(
    *,
    table: Annotated[
        Literal["table1", "table2", "table3", "edges"],
        typer.Argument(
            metavar="TABLE",
            help="table1: ways to invert. table2: levels of padding, with and without latent regularisation. "
            "table3: which space carries painted attributes. edges: the error at the image's border, with remedies.",
            show_default=False,
        ),
    ],
    generator: Annotated[Path, typer.Option(help="Checkpoint of the generator to invert.")],
    data: Annotated[str, typer.Option(help="Training images, of any kind that padinv train takes.")],
    val: Annotated[str, typer.Option(help="Images to measure on, which no encoder was trained with.")],
    budget: Annotated[
        int,
        typer.Option(
            metavar="IMAGES", min=0, help="Length of each training, in images. 0: train nothing, use --init as it is."
        ),
    ],
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
            help="Rows of table1 (ours, wplus, ours-passes, wplus-passes, projector, refined, pti, pti-ours) or table2 "
            "(none,p0,p0-1, ...: to one level beyond the generator's default); all if omitted.",
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Another project's reconstructions for table1, named like the images of --val; may be repeated.",
        ),
    ] = None,
    encoders: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A finished encoder for table1: run folder, bundle, or file of padinv, pSp, e4e or ReStyle; may be "
            "repeated.",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Encoder that the trainings of table1, table3, edges start from: run, bundle or file."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the latent optimisation in table1.")] = 1000,
    refine_steps: Annotated[int, typer.Option(min=1, help="Steps of the refinement in table1.")] = 100,
    tune_steps: Annotated[int, typer.Option(min=1, help="Steps of pivotal tuning in table1.")] = 350,
    passes: Annotated[int, typer.Option(min=2, max=MAX_PASSES, help="Passes of the iterative rows in table1.")] = 3,
    equal_time: Annotated[
        bool,
        typer.Option("--equal-time", help="table1: also optimise for as long as the refinement takes, not longer."),
    ] = False,
    optimise_limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="table1: measure rows that optimise on the first N images only."),
    ] = None,
    pairs: Annotated[
        str,
        typer.Option(
            metavar="N|FOLDER",
            help="table3: painted faces for each attribute; or a folder ATTRIBUTE/NAME.before.png, NAME.after.png and "
            "NAME.mask.png (optional, white where the edit is).",
        ),
    ] = "10",
    targets: Annotated[int, typer.Option(min=1, help="Faces that receive each edit in table3.")] = 50,
    preset: Annotated[Preset | None, typer.Option(help="Training settings to begin with.")] = None,
    arch: Annotated[Architecture | None, typer.Option(help="Encoder architecture.")] = None,
    train_batch: Annotated[int | None, typer.Option(min=1, help="Images of a training step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate of the encoders.")] = None,
    per: Annotated[
        float | None, typer.Option(min=0, help="Weight of the perceptual term; 0 needs no LPIPS weights.")
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another setting of padinv train for all encoders, such as warmup=0 or flips=on; may be repeated.",
        ),
    ] = None,
    reg: Annotated[
        float | None, typer.Option(min=0, help="Weight of the latent regularisation; table2 also has rows without.")
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

    The same command resumes, and uses again what is there. The table is DIR/TABLE.md, .json, .svg (plot) and .html
    (page). Figures are means with 95 % bootstrap intervals. table2 trains two encoders for each row and seed.
    """
    config_of: dict[str, Any] = {
        "arch": arch,
        "batch": train_batch,
        "lr": lr,
        "per": per,
        "reg": reg,
        "images": max(budget, 1),
    }
    config_of |= {"images": max(budget, 1), **_settings(more)}
    given_outputs = _named("--outputs", "NAME=FOLDER, such as psp=results/psp", outputs)
    given_encoders = _named("--encoders", "NAME=PATH, such as psp=psp_ffhq.pt", encoders)
    given_seeds, given_pairs = _seeds(seeds), _pairs(pairs)
    _only_for(
        table,
        {
            "--outputs": outputs,
            "--encoders": encoders,
            "--equal-time": equal_time,
            "--optimise-limit": optimise_limit,
            "--rows": rows,
            "--init": init,
        },
    )
    require_utf8(out, "--out")
    require_files(generator, init, folders=True)
    require_files(lpips_weights, face_weights, identity_weights)
    # Torch starts here and not at the top, so that --help stays fast.
    from padinv.reproduce.make import make_table
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
        tune_steps=tune_steps,
        passes=passes,
        equal_time=equal_time,
        optimise_limit=optimise_limit,
        encoders=given_encoders,
        outputs=given_outputs,
        pairs=given_pairs,
        targets=targets,
        init=init,
        train=budget > 0,
        rows=None if rows is None else tuple(part.strip() for part in rows.split(",")),
        lpips_weights=lpips_weights,
        face_weights=face_weights,
        identity_weights=identity_weights,
        device=device,
        resamples=resamples,
    )
    report = TrainingProgress()
    made = make_table(table, options, report)
    files = [str(path) for path in made.write(out)]
    code = exit_code(usable=1, failed=len(made.skipped))
    if as_json:
        print_json(files, made.to_dict(), code=code, skipped=map(skipped_input, made.skipped))
    else:
        typer.echo(made.markdown())
    report.message(f"written: {', '.join(files)}")
    raise typer.Exit(code)
