"""`padinv invert`: photographs in; reconstructions, inversion files, figures and a report out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from padinv.cli import options as opt

if TYPE_CHECKING:
    from padinv.runtime.batch.engine import Outcome
    from padinv.runtime.batch.invert_files import Options
    from padinv.runtime.batch.ray_engine import Cluster
    from padinv.runtime.batch.results_log import ResultsLog
    from padinv.runtime.batch.shards import Shard
    from padinv.runtime.model import Model

DEFAULT_OUT = Path("padinv-out")


Engine = Literal["local", "ray"]


def command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders of pictures (recursive), or glob patterns."),
    ],
    model: opt.ModelOption = None,
    out: opt.OutOption = DEFAULT_OUT,
    fit: opt.FitOption = "crop",
    format: opt.FormatOption = "png",
    dtype: opt.DtypeOption = "float16",
    align: opt.AlignOption = "auto",
    landmarks: opt.LandmarksOption = None,
    face: opt.FaceOption = 1,
    paste_back: opt.PasteBackOption = False,
    feather: opt.FeatherOption = opt.DEFAULT_FEATHER,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    passes: Annotated[
        int | None,
        typer.Option(
            "--passes",
            metavar="N",
            min=1,
            help="Passes of iterative encoding; as many as the model was trained for if omitted.",
        ),
    ] = None,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
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
    sheet: opt.SheetOption = True,
    report: opt.ReportOption = True,
    overwrite: opt.OverwriteOption = False,
    limit: opt.LimitOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Invert pictures and show what the generator makes of the inversions.

    Formats are detected by content rather than extension; transparent areas become white. For every image
    NAME the folder receives NAME.png (the reconstruction) and NAME.safetensors (the inversion), results.jsonl receives
    a line (MSE on [-1, 1], PSNR, SSIM, seconds), and report.html shows all of them. A second run skips what is done.
    Photographs that are not aligned yet are aligned by their face, where the model wants aligned faces. --vs draws both
    models' reconstructions on one sheet (Fig. 3 of the paper).
    """
    from padinv.runtime.batch.invert_files import Options
    from padinv.runtime.batch.ray_engine import Cluster
    from padinv.runtime.errors import UsageError

    if engine == "local" and (ray_address is not None or workers is not None):
        raise UsageError("--ray-address and --workers belong to --engine ray")
    if vs is not None and (as_json or shard is not None or engine == "ray"):
        raise UsageError("--vs draws a sheet in one process: leave out --json, --shard and --engine ray, or run twice")
    gpu = backend in ("cuda", "trt", "ort-trt")
    cluster = Cluster(ray_address, workers, threads or 1, 1.0 if gpu else 0.0) if engine == "ray" else None
    chosen = Options(fit, format, dtype, batch, overwrite, paste_back, feather, passes)
    how = (align, landmarks, face)

    def invert(bundle: Path | None, folder: Path) -> int:
        return run(
            paths,
            folder,
            chosen,
            bundle,
            (backend, threads or (1 if cluster else None), precision, device),
            with_sheet=sheet,
            with_report=report,
            limit=limit,
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
    from padinv.cli.provenance import marking
    from padinv.runtime.bundle import read_bundle
    from padinv.runtime.reports.models_sheet import models_sheet

    bundles = [read_bundle(first), read_bundle(second)]
    labels = [bundle.name for bundle in bundles]
    labels = labels if labels[0] != labels[1] else [str(bundle.folder) for bundle in bundles]
    made: dict[str, str] = {}
    folders = [(labels[0], out), (labels[1], out / "vs")]
    drawn = models_sheet(folders, bundles[0].spec.image_size)
    output.write_sheet(out / "vs" / "sheet.png", drawn, overwrite, made, marking=marking(bundles[0]))
    for path in made.values():
        typer.echo(f"open {path}")


def run(
    paths: Sequence[str],
    out: Path,
    options: Options,
    bundle: Path | None,
    backend: tuple[str, int | None, str, str | None],
    with_sheet: bool = True,
    with_report: bool = True,
    as_json: bool = False,
    align: tuple[str, Path | None, int] = ("never", None, 1),
    shard: str | None = None,
    cluster: Cluster | None = None,
    limit: int | None = None,
) -> int:
    """Gather, invert, report; the exit code. `align` is the mode, a file of landmarks, and which face."""
    from padinv.cli import output
    from padinv.cli.provenance import marking as marking_for
    from padinv.runtime.alignment.aligner import Aligner
    from padinv.runtime.alignment.landmarks_csv import read_landmarks
    from padinv.runtime.batch.find_inputs import gather
    from padinv.runtime.batch.invert_files import invert_files
    from padinv.runtime.batch.results_log import ResultsLog, check_out
    from padinv.runtime.batch.shards import Shard, ShardLog
    from padinv.runtime.errors import InputError, OutputError, UsageError
    from padinv.runtime.images import SUFFIXES
    from padinv.runtime.model import Model
    from padinv.runtime.passes import checked_passes
    from padinv.runtime.reports.inversion_report import LIMIT

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
    gathered.files = gathered.files[:limit]
    files = gathered.files if part is None else part.of(gathered.files)
    if part is not None and part.index > 1:
        problems = []  # the first shard says what no shard can do
    check_out(out)  # said before a model is loaded for nothing
    mode, landmarks, face = align
    given = None if landmarks is None else read_landmarks(landmarks)
    model = Model.load(bundle, *backend)
    marking = marking_for(model.bundle)
    aligner = Aligner(model.spec.template, mode, landmarks=given, face=face, fit=options.fit, threads=backend[1])
    checked_passes(options.passes, model.passes, model.bundle.name)
    for graph in ("encoder", "generator"):  # a bundle that does not load must leave no folder behind
        model.session(graph)
    started = time.perf_counter()
    made: dict[str, str] = {}
    outcome = output.new_outcome(problems)
    with ResultsLog(out) if part is None else ShardLog(out, part) as log:
        events = invert_files(model, files, log, options, aligner, cluster=cluster, marking=marking)
        # The run that joins the shards writes the sheet and the page.
        wanted = (with_sheet, with_report) if part is None else (False, False)
        try:
            output.follow(events, outcome, "inverting", len(files), notes=model.notes, show=LIMIT)
        except OutputError:
            wanted = (False, False)  # where a result does not fit, a sheet would not either
            raise
        finally:  # also when interrupted
            _lay_out(model, log, outcome, options, made, with_sheet=wanted[0], with_report=wanted[1])
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


def _lay_out(
    model: Model,
    log: ResultsLog,
    outcome: Outcome,
    options: Options,
    made: dict[str, str],
    *,
    with_sheet: bool,
    with_report: bool,
) -> None:
    """Write the contact sheet and the page, unless those of an earlier run still show everything."""
    from padinv.cli import output
    from padinv.cli.provenance import marking
    from padinv.runtime.batch.find_inputs import SHEET
    from padinv.runtime.batch.invert_files import VERB
    from padinv.runtime.reports.contact_sheet import MAX_ROWS, contact_sheet
    from padinv.runtime.reports.inversion_report import REPORT, read_original, read_result, report_html

    records = sorted(log.of_verb(VERB), key=lambda record: str(record["name"]))
    wanted = {"sheet": log.out / SHEET} if with_sheet else {}
    wanted |= {"report": log.out / REPORT} if with_report else {}
    made.update({kind: str(path) for kind, path in wanted.items() if path.exists() and not outcome.done})
    todo = [kind for kind in wanted if kind not in made]
    if not records or not todo:
        return
    size = model.spec.image_size
    pixels = {done.record["name"]: done.product.shown for done in outcome.done}

    def original(record: Any) -> Any:
        known = pixels.get(record["name"])
        return read_original(record, size) if known is None else known

    facts = {
        "Model": f"{model.bundle.name} ({model.generator_hash[:12]})",
        "Backend": f"{model.session('encoder').backend}, {model.precision}",
    }
    if model.passes > 1:
        facts["Passes"] = str(options.passes or model.passes)
    if "sheet" in todo:
        pairs = [(record["name"], original(record), read_result(record, log.out)) for record in records[:MAX_ROWS]]
        rows = [(name, [a, b]) for name, a, b in pairs if a is not None and b is not None]
        if rows:
            title = f"{len(records)} picture{'' if len(records) == 1 else 's'} inverted"
            drawn = contact_sheet(rows, ["input", "reconstruction"], title)
            output.write_sheet(wanted["sheet"], drawn, options.overwrite, made, outcome, marking(model.bundle))
    if "report" in todo:
        text = report_html(
            records,
            original,
            lambda record: read_result(record, log.out),
            facts,
            outcome.skipped,
            folder=log.out,
            size=size,
        )
        output.write_report(outcome, wanted["report"], text, options.overwrite, made)


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
