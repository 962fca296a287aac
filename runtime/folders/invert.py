"""`padinv invert` as a call: photographs in; reconstructions, inversion files, metrics, sheet and page out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.runtime.batch.engine import Outcome, Started
from padinv.runtime.batch.find_inputs import SHEET, Gathered, gather
from padinv.runtime.batch.invert_files import VERB, ImageFormat, Options, invert_files
from padinv.runtime.batch.results_log import ResultsLog, check_out
from padinv.runtime.batch.shards import Shard, ShardLog
from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.folders.clips import clip_edit, clips_of, run_clips, unchanged
from padinv.runtime.folders.options import PhotoSettings, marking_of
from padinv.runtime.folders.pages import REPORT, Pages, model_facts, plural
from padinv.runtime.folders.result import InvertResult
from padinv.runtime.folders.running import Paths, Run, listed
from padinv.runtime.images import SUFFIXES
from padinv.runtime.inversion import Dtype
from padinv.runtime.model import Model
from padinv.runtime.passes import checked_passes
from padinv.runtime.reports.contact_sheet import MAX_ROWS, contact_sheet
from padinv.runtime.reports.inversion_report import LIMIT, read_original, read_result, report_html

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padinv.runtime.batch.ray_engine import Cluster
    from padinv.runtime.folders.options import PhotoOptions
    from padinv.runtime.refining import Refiner

DEFAULT_OUT = Path("padinv-out")


def invert_folder(
    paths: Paths,
    *,
    format: ImageFormat = "png",
    dtype: Dtype = "float16",
    passes: int | None = None,
    refiner: Refiner | None = None,
    shard: str | None = None,
    cluster: Cluster | None = None,
    **options: Unpack[PhotoOptions],
) -> InvertResult:
    """Invert image files and folders, as `padinv invert` does.

    Example:
        result = padinv.invert_folder("photos", out="inverted", paste_back=True)
        result.files["a.jpg"]["inversion"]

    Args:
        paths: image files, folders (recursive) or glob patterns; or clips: video files (`padinv[video]`), and folders
            of frames with `fps`.
        format: of the reconstructions: 'png', 'jpg' or 'webp'.
        dtype: of the inversion files: 'float16' or 'float32'.
        passes: of iterative encoding; None: as many as the model was trained for.
        refiner: improves each inversion by optimisation, such as `padinv.Refiner(30)`, which needs torch.
        shard: 'I/N': do this part of the images only. A call without it joins the parts, and writes sheet and report.
        cluster: do the work on Ray; None: in this process.
        options: see `PhotoOptions`.

    Raises:
        InputError: no image was found. UsageError: `out` is a folder to read from. OutputError, BundleError,
        BackendError: the work cannot be done.
    """
    settings = PhotoSettings(**{"out": DEFAULT_OUT, **options})  # type: ignore[arg-type]
    out = settings.folder
    part = None if shard is None else Shard.parse(shard)
    if clips := clips_of(paths, settings):
        if part is not None or cluster is not None:
            raise UsageError("a clip is made in one process: leave out --shard and --engine ray")
        if refiner is not None:
            raise UsageError("--refine improves single pictures; leave it out for a clip")
        return _invert_clips(clips, settings, passes)
    gathered = _gathered(listed(paths), out)
    everything = gathered.files[: settings.limit]
    files = everything if part is None else part.of(everything)
    check_out(out)  # said before a model is loaded for nothing
    reader = settings.reader()
    model = reader.model
    checked_passes(passes, model.passes, model.bundle.name)
    if refiner is not None:
        refiner.check(model)
    marking = marking_of(settings.marking, model, VERB)
    for graph in ("encoder", "generator"):  # a bundle that does not load must leave no folder behind
        model.session(graph)
    problems = gathered.skipped() if part is None or part.index == 1 else []  # the first shard says what no shard can
    run = Run(out, settings.on_event, problems, show=LIMIT, on_disk=True)
    how = Options(
        settings.fit,
        format,
        dtype,
        settings.batch_size,
        settings.overwrite,
        settings.paste_back,
        settings.feather,
        passes,
    )
    # The run that joins the shards writes the sheet and the page.
    wanted = {"sheet": settings.sheet and part is None, "report": settings.report and part is None}
    pages = Pages(run, overwrite=settings.overwrite, marking=marking)
    with ResultsLog(out) if part is None else ShardLog(out, part) as log:
        run.note(model.notes)
        events = invert_files(model, files, log, how, reader.aligner, refiner=refiner, cluster=cluster, marking=marking)
        try:
            run.follow(events, Started("inverting", len(files)))
        except OutputError:
            wanted = {}  # where a result does not fit, a sheet would not either
            raise
        finally:  # also when interrupted
            facts = {} if refiner is None else {"Refinement": refiner.conditions["refine"]}
            if model.passes > 1:
                facts["Passes"] = str(passes or model.passes)
            _lay_out(model, log, run.outcome, pages, [kind for kind, asked in wanted.items() if asked], facts)
    return InvertResult(**vars(run.result(pages.made)), images=len(files), found=len(everything))


def _invert_clips(clips: Sequence[Path], settings: PhotoSettings, passes: int | None) -> InvertResult:
    check_out(settings.folder)
    reader = settings.reader()
    run = Run(settings.folder, settings.on_event)
    edit = replace(clip_edit(unchanged, {"verb": VERB}, settings), passes=passes)
    pages = run_clips(run, reader, clips, edit, settings, "inverted")
    return InvertResult(**vars(run.result(pages)), images=len(clips), found=len(clips))


def _gathered(paths: Sequence[str | Path], out: Path) -> Gathered:
    """The images that paths name.

    Raises:
        InputError, UsageError
    """
    if any(_same(path, out) for path in paths):
        raise UsageError(
            f"--out {out} is the folder to read from; nothing was done; choose another one for the results"
        )
    gathered = gather(paths, out)
    if not gathered.files:
        where = ", ".join(str(path) for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
        missing = f"no pictures found in {where}; these suffixes are read: {', '.join(sorted(SUFFIXES))}"
        reasons = [f"{path} {why}" for path, why in gathered.problems]
        reasons += [sentence for _, sentence in gathered.skipped()[len(reasons) :]]
        raise InputError(f"{'; '.join(reasons) or missing}; nothing was done")
    return gathered


def _same(path: str | Path, out: Path) -> bool:
    try:
        return os.path.samefile(path, out)
    except OSError:
        return False


def _lay_out(
    model: Model, log: ResultsLog, outcome: Outcome, pages: Pages, wanted: Sequence[str], more: Mapping[str, str]
) -> None:
    """Write the contact sheet and the page, unless those of an earlier run still show everything."""
    paths = {"sheet": log.out / SHEET, "report": log.out / REPORT}
    pages.made.update({kind: paths[kind] for kind in wanted if paths[kind].exists() and not outcome.done})
    todo = [kind for kind in wanted if kind not in pages.made]
    count = sum(1 for _ in log.of_verb(VERB)) if todo else 0
    if not count:
        return
    size = model.spec.image_size
    pixels = {done.record["name"]: done.product.shown for done in outcome.done[:LIMIT]}

    def original(record: Mapping[str, Any]) -> np.ndarray | None:
        known: np.ndarray | None = pixels.get(record["name"])
        return read_original(record, size) if known is None else known

    def result(record: Mapping[str, Any]) -> np.ndarray | None:
        return read_result(record, log.out)

    if "sheet" in todo:
        _write_sheet(list(islice(log.of_verb(VERB), MAX_ROWS)), count, original, result, pages)
    if "report" in todo:
        facts = {**model_facts(model, "encoder"), **more}
        records = log.of_verb(VERB)
        pages.report(report_html(records, original, result, facts, outcome.skipped, folder=log.out, size=size))


def _write_sheet(
    records: Sequence[Mapping[str, Any]],
    count: int,
    original: Callable[[Mapping[str, Any]], np.ndarray | None],
    result: Callable[[Mapping[str, Any]], np.ndarray | None],
    pages: Pages,
) -> None:
    pairs = [(record["name"], original(record), result(record)) for record in records]
    rows = [(name, [a, b]) for name, a, b in pairs if a is not None and b is not None]
    if rows:
        title = f"{plural(count, 'picture')} inverted"
        pages.sheet(contact_sheet(rows, ["input", "reconstruction"], title))
