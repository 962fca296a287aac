"""`padinv invert`: photographs in; reconstructions, inversion files, figures and a report out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import edit_options as edit
from padinv.cli import options as opt

if TYPE_CHECKING:
    from padinv.cli.progress import Bar
    from padinv.runtime.alignment.aligner import Aligner
    from padinv.runtime.batch.invert_files import Options
    from padinv.runtime.batch.results_log import Journal
    from padinv.runtime.model import Model

DEFAULT_OUT = Path("padinv-out")


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
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Invert pictures and show what the generator makes of the inversions.

    PNG, JPEG, WebP, BMP and TIFF are read, whatever they are called; transparency is laid on white. For every picture
    NAME the folder receives NAME.png (the reconstruction) and NAME.safetensors (the inversion), results.jsonl receives
    a line (MSE on [-1, 1], PSNR, SSIM, seconds), and report.html shows all of them. A second run skips what is done.
    Photographs that are not aligned yet are aligned by their face, where the model wants aligned faces.
    """
    from padinv.runtime.batch.invert_files import Options

    chosen = Options(fit.value, format.value, dtype.value, batch, overwrite, paste_back, feather)
    how = (align.value, landmarks, face)
    raise typer.Exit(
        run(
            paths,
            out,
            chosen,
            model,
            (backend.value, threads, precision.value, device),
            with_report=report,
            as_json=as_json,
            align=how,
        )
    )


@dataclass
class Tally:
    """What came of a run."""

    done: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    pixels: dict[str, Any] = field(default_factory=dict)  # name -> input, for the pictures the report shows

    @property
    def exit_code(self) -> int:
        if not self.done and not self.kept:
            return 1
        return 3 if self.skipped else 0


def run(
    paths: Sequence[str],
    out: Path,
    options: Options,
    bundle: Path | None,
    backend: tuple[str, int | None, str, str | None],
    with_report: bool = True,
    as_json: bool = False,
    align: tuple[str, Path | None, int] = ("never", None, 1),
) -> int:
    """Gather, invert, report; the exit code. `align` is the mode, a file of landmarks, and which face."""
    from padinv.cli.main import say
    from padinv.runtime.alignment.aligner import Aligner
    from padinv.runtime.alignment.landmarks_csv import read_landmarks
    from padinv.runtime.batch.find_inputs import gather
    from padinv.runtime.batch.results_log import Journal
    from padinv.runtime.errors import InputError, UsageError
    from padinv.runtime.model import Model

    if any(_same(path, out) for path in paths):
        raise UsageError(
            f"--out {out} is the folder to read from; nothing was done; choose another one for the results"
        )
    gathered = gather(paths, out)
    tally = Tally(skipped=[(path, f"{path} {why}, so it was skipped") for path, why in gathered.problems])
    if not gathered.files:
        for _, sentence in tally.skipped:
            say(sentence)
        where = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
        raise InputError(
            f"no pictures found in {where}; PNG, JPEG, WebP, BMP and TIFF files are taken; nothing was done"
        )
    if out.exists() and not out.is_dir():  # said before a model is loaded for nothing
        from padinv.runtime.errors import OutputError

        raise OutputError(f"{out} is a file, so no results can go there; give a folder with --out; nothing was done")
    mode, landmarks, face = align
    given = None if landmarks is None else read_landmarks(landmarks)
    model = Model.load(bundle, *backend)
    aligner = Aligner(model.spec.template, mode, given, face, options.fit, threads=backend[1])
    for graph in ("encoder", "generator"):  # a bundle that does not load must leave no folder behind
        model.session(graph)
    started = time.perf_counter()
    journal = Journal(out)
    try:
        _invert(model, gathered.files, journal, options, tally, aligner, shown=with_report)
    finally:
        journal.close()
        if with_report and journal.records and (tally.done or not (out / "report.html").exists()):
            _report(model, journal, tally, options)
    seconds = time.perf_counter() - started
    _print(model, tally, out, seconds, with_report, as_json)
    return tally.exit_code


def _same(path: str, out: Path) -> bool:
    try:
        return os.path.samefile(path, out)
    except OSError:
        return False


def _invert(
    model: Model,
    files: Sequence[Any],
    journal: Journal,
    options: Options,
    tally: Tally,
    aligner: Aligner,
    shown: bool,
) -> None:
    from padinv.cli.progress import progress_bar
    from padinv.runtime.batch.invert_files import Done, Kept, invert_files
    from padinv.runtime.reports.inversion_report import LIMIT

    with progress_bar("inverting", len(files)) as bar:
        for note in model.notes:
            bar.say(note)
        for _, sentence in tally.skipped:
            bar.say(sentence)
        with contextlib.closing(invert_files(model, files, journal, options, aligner)) as events:
            for event in events:
                if isinstance(event, Done):
                    tally.done.append(event.record)
                    if event.note:
                        bar.say(event.note)
                    if shown and len(tally.pixels) < LIMIT:
                        tally.pixels[event.record["name"]] = event.pixels
                elif isinstance(event, Kept):
                    tally.kept.append(event.record)
                else:
                    _skip(tally, event.path, event.reason, bar)
                bar.advance()


def _skip(tally: Tally, path: str, reason: str, bar: Bar) -> None:
    tally.skipped.append((path, reason))
    bar.say(reason)


def _report(model: Model, journal: Journal, tally: Tally, options: Options) -> None:
    from padinv.cli.main import say
    from padinv.runtime.reports.html import write_page
    from padinv.runtime.reports.inversion_report import REPORT, read_original, read_result, report_html

    size = model.spec.image_size

    def original(record: Any) -> Any:
        pixels = tally.pixels.get(record["name"])
        return read_original(record, size) if pixels is None else pixels

    facts = {
        "Model": f"{model.bundle.name} ({model.generator_hash[:12]})",
        "Backend": f"{model.session('encoder').backend}, {model.precision}",
    }
    text = report_html(
        list(journal.records.values()), original, lambda r: read_result(r, journal.out), facts, tally.skipped
    )
    if not write_page(journal.out / REPORT, text, options.overwrite):
        say(f"{journal.out / REPORT} exists and is not padinv's, so no report was written; --overwrite replaces it")


def _mean(records: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [record[key] for record in records if isinstance(record.get(key), (int, float))]
    return sum(values) / len(values) if values else None


def _print(model: Model, tally: Tally, out: Path, seconds: float, with_report: bool, as_json: bool) -> None:
    everything = tally.done + tally.kept
    means = {key: _mean(everything, key) for key in ("mse", "psnr", "ssim")}
    page = out / "report.html"
    if as_json:
        summary = {
            "done": len(tally.done),
            "kept": len(tally.kept),
            "skipped": [{"path": path, "reason": reason} for path, reason in tally.skipped],
            **means,
            "seconds": round(seconds, 3),
            "backend": model.session("encoder").backend,
            "model": model.bundle.name,
            "out": str(out),
            "results": str(out / "results.jsonl") if everything else None,
            "report": str(page) if with_report and page.exists() else None,
        }
        typer.echo(json.dumps(summary))
        return
    if not everything:
        sys.stderr.write("padinv: error: every input was skipped, so nothing was written\n")
        return
    parts = [f"{len(tally.done)} inverted"]
    if tally.done and seconds > 0:
        parts[0] += f" in {seconds:.1f} s on {model.session('encoder').backend}"
    if tally.kept:
        parts.append(f"{len(tally.kept)} already done")
    if tally.skipped:
        parts.append(f"{len(tally.skipped)} skipped")
    typer.echo("; ".join(parts))
    shown = [
        f"{label} {means[key]:.{digits}f}"
        for key, label, digits in (("mse", "MSE", 4), ("psnr", "PSNR", 2), ("ssim", "SSIM", 3))
        if means[key] is not None
    ]
    typer.echo(f"mean {', '.join(shown)}" if shown else "no figures")
    typer.echo(f"results: {out}" + (f"   open {page}" if with_report and page.exists() else ""))
