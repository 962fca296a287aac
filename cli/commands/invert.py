"""`padinv invert`: photographs in; reconstructions, inversion files, figures and a report out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import edit_options as edit
from padinv.cli import options as opt

if TYPE_CHECKING:
    from padinv.runtime.batch.engine import Outcome
    from padinv.runtime.batch.invert_files import Options
    from padinv.runtime.batch.ray_engine import Cluster
    from padinv.runtime.batch.results_log import ResultsLog
    from padinv.runtime.batch.shards import Shard
    from padinv.runtime.model import Model

DEFAULT_OUT = Path("padinv-out")


class Engine(str, Enum):
    """What runs the pipeline."""

    local = "local"
    ray = "ray"


def command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders of pictures (recursive), or glob patterns."),
    ],
    model: opt.ModelOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")] = DEFAULT_OUT,
    fit: opt.FitOption = opt.Fit.crop,
    format: opt.FormatOption = opt.PictureFormat.png,
    dtype: opt.DtypeOption = opt.Dtype.float16,
    align: edit.AlignOption = edit.Align.auto,
    landmarks: edit.LandmarksOption = None,
    face: edit.FaceOption = 1,
    paste_back: edit.PasteBackOption = False,
    feather: edit.FeatherOption = 0.12,
    batch: opt.BatchOption = 16,
    backend: opt.BackendOption = opt.Backend.auto,
    precision: opt.PrecisionOption = opt.Precision.auto,
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
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
    ] = Engine.local,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Ray cluster, e.g. auto; RAY_ADDRESS or this machine alone if omitted."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Ray actors; as many as the cluster holds if omitted.")
    ] = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Invert pictures and show what the generator makes of the inversions.

    PNG, JPEG, WebP, BMP and TIFF are read, whatever they are called; transparency is laid on white. For every picture
    NAME the folder receives NAME.png (the reconstruction) and NAME.safetensors (the inversion), results.jsonl receives
    a line (MSE on [-1, 1], PSNR, SSIM, seconds), and report.html shows all of them. A second run skips what is done.
    Photographs that are not aligned yet are aligned by their face, where the model wants aligned faces. --vs draws both
    models' reconstructions on one sheet (Fig. 3 of the paper).
    """
    from padinv.runtime.batch.invert_files import Options
    from padinv.runtime.batch.ray_engine import Cluster
    from padinv.runtime.errors import UsageError

    if engine is Engine.local and (ray_address is not None or workers is not None):
        raise UsageError("--ray-address and --workers belong to --engine ray")
    if vs is not None and (as_json or shard is not None or engine is Engine.ray):
        raise UsageError("--vs draws a sheet in one process: leave out --json, --shard and --engine ray, or run twice")
    gpu = backend in (opt.Backend.cuda, opt.Backend.trt, opt.Backend.ort_trt)
    cluster = Cluster(ray_address, workers, threads or 1, 1.0 if gpu else 0.0) if engine is Engine.ray else None
    chosen = Options(fit.value, format.value, dtype.value, batch, overwrite, paste_back, feather)
    how = (align.value, landmarks, face)

    def invert(bundle: Path | None, folder: Path) -> int:
        return run(
            paths,
            folder,
            chosen,
            bundle,
            (backend.value, threads or (1 if cluster else None), precision.value, device),
            with_report=report,
            as_json=as_json,
            align=how,
            shard=shard,
            cluster=cluster,
        )

    code = invert(model, out)
    if vs is not None:
        code = 3 if invert(vs, out / "vs") else code
        _draw_both(model, vs, out, overwrite)
    raise typer.Exit(code)


def _draw_both(first: Path | None, second: Path, out: Path, overwrite: bool) -> None:
    """Draw the sheet of two models' results."""
    from padinv.cli import output
    from padinv.runtime.bundle import read_bundle
    from padinv.runtime.reports.models_sheet import models_sheet

    bundles = [read_bundle(first), read_bundle(second)]
    labels = [bundle.name for bundle in bundles]
    labels = labels if labels[0] != labels[1] else [str(bundle.folder) for bundle in bundles]
    made: dict[str, str] = {}
    folders = [(labels[0], out), (labels[1], out / "vs")]
    output.write_sheet(out / "vs" / "sheet.png", models_sheet(folders, bundles[0].spec.image_size), overwrite, made)
    for path in made.values():
        typer.echo(f"open {path}")


def run(
    paths: Sequence[str],
    out: Path,
    options: Options,
    bundle: Path | None,
    backend: tuple[str, int | None, str, str | None],
    with_report: bool = True,
    as_json: bool = False,
    align: tuple[str, Path | None, int] = ("never", None, 1),
    shard: str | None = None,
    cluster: Cluster | None = None,
) -> int:
    """Gather, invert, report; the exit code. `align` is the mode, a file of landmarks, and which face."""
    from padinv.cli import output
    from padinv.runtime.alignment.aligner import Aligner
    from padinv.runtime.alignment.landmarks_csv import read_landmarks
    from padinv.runtime.batch.find_inputs import gather
    from padinv.runtime.batch.invert_files import VERB, invert_files
    from padinv.runtime.batch.results_log import ResultsLog, check_out
    from padinv.runtime.batch.shards import Shard, ShardLog
    from padinv.runtime.errors import InputError, UsageError
    from padinv.runtime.images import SUFFIXES
    from padinv.runtime.model import Model
    from padinv.runtime.reports.inversion_report import LIMIT, REPORT

    part = None if shard is None else Shard.parse(shard)
    if any(_same(path, out) for path in paths):
        raise UsageError(
            f"--out {out} is the folder to read from; nothing was done; choose another one for the results"
        )
    gathered = gather(paths, out)
    problems = gathered.skipped()
    if not gathered.files:
        where = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
        missing = f"no pictures found in {where}; these suffixes are read: {', '.join(sorted(SUFFIXES))}"
        reasons = [f"{path} {why}" for path, why in gathered.problems]
        reasons += [sentence for _, sentence in problems[len(reasons) :]]
        raise InputError(f"{'; '.join(reasons) or missing}; nothing was done")
    files = gathered.files if part is None else part.of(gathered.files)
    if part is not None and part.index > 1:
        problems = []  # the first shard says what no shard can do
    check_out(out)  # said before a model is loaded for nothing
    mode, landmarks, face = align
    given = None if landmarks is None else read_landmarks(landmarks)
    model = Model.load(bundle, *backend)
    aligner = Aligner(model.spec.template, mode, given, face, options.fit, threads=backend[1])
    for graph in ("encoder", "generator"):  # a bundle that does not load must leave no folder behind
        model.session(graph)
    started = time.perf_counter()
    made: dict[str, str] = {}
    outcome = output.new_outcome(problems)
    with ResultsLog(out) if part is None else ShardLog(out, part) as log:
        events = invert_files(model, files, log, options, aligner, cluster=cluster)
        try:
            output.follow(events, outcome, "inverting", len(files), notes=model.notes, show=LIMIT)
        finally:  # also when interrupted
            page, records = out / REPORT, log.of_verb(VERB)
            if part is not None:
                pass  # the run that joins the shards writes the report
            elif with_report and records and (outcome.done or not page.exists()):
                _report(model, log, records, outcome, options, made)
            elif with_report and page.exists():
                made["report"] = str(page)
    everything = outcome.records
    means = {key: _mean(everything, key) for key in ("mse", "psnr", "ssim")}
    return output.sum_up(
        outcome,
        out,
        time.perf_counter() - started,
        "inverted",
        as_json=as_json,
        made=made,
        lines=[_figures(means), *(_shard_lines(part, len(files), len(gathered.files)))],
        mse=means["mse"],
        psnr=means["psnr"],
        ssim=means["ssim"],
        backend=model.session("encoder").backend,
        model=model.bundle.name,
        log=str(out / "results.jsonl") if everything else None,
    )


def _shard_lines(part: Shard | None, mine: int, everything: int) -> list[str]:
    if part is None:
        return []
    join = "when all shards are done, the same command without --shard joins them and writes the report"
    return [f"shard {part}: {mine} of {everything} images; {join}"]


def _same(path: str, out: Path) -> bool:
    try:
        return os.path.samefile(path, out)
    except OSError:
        return False


def _report(
    model: Model,
    log: ResultsLog,
    records: Sequence[Mapping[str, Any]],
    outcome: Outcome,
    options: Options,
    made: dict[str, str],
) -> None:
    from padinv.cli import output
    from padinv.runtime.reports.inversion_report import REPORT, read_original, read_result, report_html

    size = model.spec.image_size
    pixels = {done.record["name"]: done.product.shown for done in outcome.done}

    def original(record: Any) -> Any:
        known = pixels.get(record["name"])
        return read_original(record, size) if known is None else known

    facts = {
        "Model": f"{model.bundle.name} ({model.generator_hash[:12]})",
        "Backend": f"{model.session('encoder').backend}, {model.precision}",
    }
    skipped = [(one.path, one.reason) for one in outcome.skipped]
    text = report_html(records, original, lambda record: read_result(record, log.out), facts, skipped)
    output.write_report(outcome, log.out / REPORT, text, options.overwrite, made)


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [record[key] for record in records if isinstance(record.get(key), (int, float))]
    return sum(values) / len(values) if values else None


def _figures(means: Mapping[str, float | None]) -> str:
    shown = [
        f"{label} {means[key]:.{digits}f}"
        for key, label, digits in (("mse", "MSE", 4), ("psnr", "PSNR", 2), ("ssim", "SSIM", 3))
        if means[key] is not None
    ]
    return f"mean {', '.join(shown)}" if shown else "no figures"
