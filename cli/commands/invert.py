"""`padinv invert`: photographs in; reconstructions, inversion files, figures and a report out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from padinv.cli import options as opt
from padinv.cli.option_groups import grouped
from padinv.cli.output import MOST_CLIPS, EventPrinter, save_sheet, sum_up
from padinv.cli.provenance import marking
from padinv.runtime.batch.ray_engine import Cluster
from padinv.runtime.batch.results_log import RESULTS
from padinv.runtime.bundle import read_bundle
from padinv.runtime.errors import ExitCode, UsageError
from padinv.runtime.folders.invert import DEFAULT_OUT, invert_folder
from padinv.runtime.folders.result import InvertResult
from padinv.runtime.model import Model
from padinv.runtime.refining import Budget, Refiner
from padinv.runtime.reports.models_sheet import models_sheet
from padinv.runtime.video.clip import find_clips

Engine = Literal["local", "ray"]


@grouped
def command(
    *,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Pictures, folders of pictures (recursive), glob patterns, or clips; - is standard input.",
        ),
    ],
    how: opt.Photos,
    out: opt.PictureOutOption = DEFAULT_OUT,
    format: opt.FormatOption = "png",
    dtype: opt.DtypeOption = "float16",
    passes: Annotated[
        int | None,
        typer.Option(
            "--passes",
            metavar="N",
            min=1,
            help="Passes of iterative encoding; as many as the model was trained for if omitted.",
        ),
    ] = None,
    refine: Annotated[
        str | None,
        typer.Option(
            "--refine",
            metavar="STEPS|SECONDS",
            help="Improve each inversion by optimisation through the generator: 30 (steps), or 5s (seconds per "
            "picture). Needs torch (padinv[export]).",
        ),
    ] = None,
    refine_loss: Annotated[
        Literal["training", "pixel"],
        typer.Option(
            "--refine-loss",
            help="training: the encoder's loss, which needs LPIPS weights. pixel: the squared error alone.",
        ),
    ] = "training",
    lpips_weights: Annotated[
        Path | None,
        typer.Option(
            "--lpips-weights", metavar="FILE", help="LPIPS weights for --refine; the fetched ones if omitted."
        ),
    ] = None,
    vs: Annotated[
        Path | None,
        typer.Option(
            "--vs", metavar="BUNDLE", help="Invert with a second model, too, into OUT/vs, and draw OUT/vs/sheet.png."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do part I of N, for job arrays; the same command without it then joins the parts.",
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option("--engine", help="local: this process. ray: actors on a Ray cluster (padinv[ray]).")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Ray cluster, e.g. auto; RAY_ADDRESS or this machine alone if omitted."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Ray actors; as many as the cluster holds if omitted.")
    ] = None,
) -> None:
    """Invert pictures and show what the generator makes of the inversions.

    Formats are detected by content rather than extension; transparent areas become white. For every image
    NAME the folder receives NAME.png (the reconstruction) and NAME.safetensors (the inversion), results.jsonl receives
    a line (MSE on [-1, 1], PSNR, SSIM, seconds), and report.html shows all of them. A second run skips what is done.
    Photographs that are not aligned yet are aligned by their face, where the model wants aligned faces. --vs draws both
    models' reconstructions on one sheet (Fig. 3 of the paper). A video file, or a folder of frames with --fps, is
    inverted as one clip: its face is followed, smoothed over time and pasted back.
    """
    if engine == "local" and (ray_address is not None or workers is not None):
        raise UsageError("--ray-address and --workers belong to --engine ray")
    if vs is not None and (how.as_json or shard is not None or engine == "ray"):
        raise UsageError("--vs draws a sheet in one process: leave out --json, --shard and --engine ray, or run twice")
    if vs is not None and find_clips(paths, how.fps):
        raise UsageError("--vs draws a sheet of pictures; leave it out for a clip")
    if refine is None and (lpips_weights is not None or refine_loss != "training"):
        raise UsageError("--refine-loss and --lpips-weights belong to --refine")
    refiner = None if refine is None else _refiner(refine, refine_loss, lpips_weights)
    cluster = None
    if engine == "ray":
        gpu = how.backend in ("cuda", "trt", "ort-trt")
        how = replace(how, threads=how.threads or 1)
        cluster = Cluster(ray_address, workers, how.threads or 1, 1.0 if gpu else 0.0)

    def invert(model: Path | None, folder: Path) -> int:
        keywords = replace(how, model=model).keywords()
        with EventPrinter() as show:
            result = invert_folder(
                paths,
                out=folder,
                format=format,
                dtype=dtype,
                passes=passes,
                refiner=refiner,
                shard=shard,
                cluster=cluster,
                on_event=show,
                **keywords,
            )
        return sum_up_inversions(result, keywords["model"], shard=shard, as_json=how.as_json)

    code = invert(how.model, out)
    if vs is not None:
        code = ExitCode.PARTLY if invert(vs, out / "vs") else code
        _draw_both(how.model, vs, out, overwrite=how.overwrite)
    raise typer.Exit(code)


def _refiner(budget: str, loss: str, lpips_weights: Path | None) -> Refiner:
    """What --refine asks for; torch is imported only here."""
    parsed = Budget.parse(budget)  # a mistake is said before torch is looked for
    from padinv.refiner import Refiner as TorchRefiner

    return TorchRefiner(parsed, loss=loss, lpips_weights=lpips_weights)


def _draw_both(first: Path | None, second: Path, out: Path, *, overwrite: bool) -> None:
    """Draw the sheet of two models' results."""
    bundles = [read_bundle(first), read_bundle(second)]
    labels = [bundle.name for bundle in bundles]
    labels = labels if labels[0] != labels[1] else [str(bundle.folder) for bundle in bundles]
    pixels = models_sheet([(labels[0], out), (labels[1], out / "vs")], bundles[0].spec.image_size)
    mark = marking(bundles[0])
    for path in save_sheet(out / "vs" / "sheet.png", pixels, overwrite=overwrite, marking=mark).values():
        typer.echo(f"open {path}")


def sum_up_inversions(result: InvertResult, model: Model, *, shard: str | None = None, as_json: bool) -> int:
    """Print what came out; the exit code."""
    clips = any("flicker" in record for record in result.records[:MOST_CLIPS])
    means = result.means
    lines = [] if clips else [_figures(means)]
    before = means["encoder_mse"]
    refined: dict[str, Any] = {} if before is None else {"encoder_mse": before}
    if shard is not None:
        join = "when all shards are done, the same command without --shard joins them and writes the report"
        lines.append(f"shard {shard}: {result.images} of {result.found} images; {join}")
    return sum_up(
        result,
        "inverted",
        as_json=as_json,
        lines=lines,
        mse=means["mse"],
        psnr=means["psnr"],
        ssim=means["ssim"],
        **refined,
        backend=model.session("encoder").backend,
        model=model.bundle.name,
        log=str(result.out / RESULTS) if result.records else None,
    )


def _figures(means: Mapping[str, float | None]) -> str:
    shown = [
        f"{label} {mean:.{digits}f}"
        for key, label, digits in (
            ("mse", "MSE", 4),
            ("encoder_mse", "MSE before refinement", 4),
            ("psnr", "PSNR", 2),
            ("ssim", "SSIM", 3),
        )
        if (mean := means[key]) is not None
    ]
    return f"mean {', '.join(shown)}" if shown else "no figures"
