"""What the editing calls do with clips: video files, and folders of frames where `fps` is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.batch.engine import Advanced, Done, Skipped, Started
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Reader
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.folders.options import PhotoSettings, marking_of
from padinv.runtime.folders.pages import Pages, model_facts, plural
from padinv.runtime.folders.running import Paths, Run, listed
from padinv.runtime.inversion import Inversion
from padinv.runtime.reports.comparison_report import Comparison, compare_html
from padinv.runtime.reports.contact_sheet import contact_sheet
from padinv.runtime.video.clip import find_clips
from padinv.runtime.video.clip_edit import ClipEdit
from padinv.runtime.video.edit_clip import edit_clip

Sample = tuple[str, int, np.ndarray, np.ndarray]  # clip, frame, source and result


def clips_of(paths: Paths, options: PhotoSettings) -> list[Path]:
    """The clips among the paths; none where only pictures were named.

    Raises:
        UsageError: clips and pictures together.
    """
    return find_clips(listed(paths), options.fps)


def clip_edit(
    edit: Callable[[Inversion], Mapping[str, Inversion]], recipe: Mapping[str, Any], options: PhotoSettings
) -> ClipEdit:
    """The edit of a clip with a call's options."""
    return ClipEdit(edit=edit, recipe=recipe, smooth=options.smooth, feather=options.feather)


def one_result(variants: Sequence[str], option: str) -> None:
    """Refuse an edit that makes several pictures.

    Raises:
        UsageError
    """
    if len(variants) > 1:
        raise UsageError(f"a clip gets one result, so {option} does not go with it; run the command once for each")


def unchanged(codes: Inversion) -> dict[str, Inversion]:
    """The edit of `padinv invert`: none."""
    return {"": codes}


def run_clips(
    run: Run,
    reader: Reader,
    clips: Sequence[Path],
    edit: ClipEdit,
    options: PhotoSettings,
    title: str,
    *,
    beside: str = "",
) -> dict[str, Path]:
    """Edit clips one after another, and show a few frames of each.

    Args:
        title: what was done. beside: name of the picture A of a blend, which goes in front of the clip's.

    Returns:
        'sheet' and 'report' -> file, of those that were written.
    """
    for graph in ("encoder", "generator"):  # a bundle that does not load must leave no folder behind
        reader.model.session(graph)
    samples: list[Sample] = []
    marking = marking_of(options.marking, reader.model, str(edit.recipe["verb"]))
    with ResultsLog(run.out) as log:
        run.note(reader.model.notes)
        for clip in clips[: options.limit]:
            name = clip.name or clip.resolve().name
            mine = replace(
                edit,
                name=f"{beside}--{name}" if beside else name,
                marking=marking,
                inputs=(beside, name) if beside else (name,),
            )
            samples += _run_one(run, reader, clip, mine, log, options)
    pages = Pages(run, overwrite=options.overwrite, marking=marking)
    if samples:
        _lay_out(run, reader, samples, pages, options, title)
    return pages.made


class _Told:
    """Hands the progress of a clip to the caller's events."""

    def __init__(self, run: Run, clip: str) -> None:
        self._run, self._clip = run, clip

    def begin(self, what: str, total: int) -> None:
        self._run.tell(Started(f"{self._clip}: {what}", total, "frames"))

    def advance(self, count: int = 1) -> None:
        self._run.tell(Advanced(count))


def _run_one(
    run: Run, reader: Reader, path: Path, edit: ClipEdit, log: ResultsLog, options: PhotoSettings
) -> list[Sample]:
    """One clip; the frames that are kept for sheet and page."""
    name = path.name or path.resolve().name
    samples: list[Sample] = []
    events = edit_clip(
        reader,
        path,
        edit,
        log,
        fps=options.fps,
        batch_size=options.batch_size,
        overwrite=options.overwrite,
        progress=_Told(run, name),
    )
    try:
        with closing(events):
            for event in events:
                run.outcome.add(event)
                run.tell(event)
                if isinstance(event, Done):
                    samples = [(name, *sample) for sample in event.product.shown]
    except InputError as error:  # a file that does not open
        skipped = Skipped(str(path), str(error), code=error.code)
        run.outcome.add(skipped)
        run.tell(skipped)
    return samples


def _lay_out(
    run: Run, reader: Reader, samples: Sequence[Sample], pages: Pages, options: PhotoSettings, title: str
) -> None:
    heading = f"frames of {plural(len({clip for clip, *_ in samples}), 'clip')}, {title}"
    if options.sheet:
        rows = [(f"{clip} frame {frame}", [before, after]) for clip, frame, before, after in samples]
        pages.sheet(contact_sheet(rows, ["source", "result"], heading))
    if options.report:
        comparisons = [
            Comparison(f"{clip} frame {frame:06d}", before, after, ("Source", "Result"))
            for clip, frame, before, after in samples
        ]
        lines = [f"{record['name']}: {record['flicker_sentence']}" for record in run.outcome.records]
        pages.report(compare_html(heading, comparisons, model_facts(reader.model), lines, run.outcome.skipped))
