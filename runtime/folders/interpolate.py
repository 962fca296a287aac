"""`padinv interpolate` as a call: the way from one image to another, or from the average image to each of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.batch.engine import Started
from padinv.runtime.batch.interpolate_files import VERB, Line, Pair, interpolate_files, show_again
from padinv.runtime.batch.masks import read_region
from padinv.runtime.batch.results_log import ResultsLog, check_out
from padinv.runtime.batch.sources import Reader, Source, find_source, find_sources
from padinv.runtime.editing.operations import Fixed, Space
from padinv.runtime.errors import UsageError
from padinv.runtime.folders.editing import lost_inputs
from padinv.runtime.folders.options import FolderSettings, comma_separated, marking_of
from padinv.runtime.folders.pages import Pages, model_facts, plural
from padinv.runtime.folders.running import SHOWN, Run, listed, require
from padinv.runtime.reports.animation import strip
from padinv.runtime.reports.comparison_report import Comparison, compare_html
from padinv.runtime.reports.contact_sheet import contact_sheet

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padinv.runtime.folders.options import FolderOptions
    from padinv.runtime.folders.result import FolderResult
    from padinv.runtime.folders.running import Paths

DEFAULT_OUT = Path("padinv-out/interpolate")
MAX_COLUMNS = 24  # of a sheet with one picture per step; longer ways are drawn as strips
MAX_CARDS = 50


def interpolate_folder(
    paths: Paths,
    *,
    from_average: bool = False,
    space: Space | None = None,
    steps: int = Line.steps,
    fixed: Fixed | None = None,
    grid: int | None = None,
    frames: bool = False,
    milliseconds: int = Line.milliseconds,
    region: str | Path | None = None,
    resolutions: str | Sequence[int] | None = None,
    save_inversions: bool = False,
    **options: Unpack[FolderOptions],
) -> FolderResult:
    """Interpolate between images, as `padinv interpolate` does: A--B.png, a strip, and A--B.webp, an animation.

    Example:
        padinv.interpolate_folder(["a.jpg", "b.jpg"], space="padding", frames=True)
        padinv.interpolate_folder("photos", from_average=True)

    Args:
        paths: two image or inversion files; with `from_average` any number of ends, folders and glob patterns too.
        from_average: start at the generator's average image.
        space: what moves: 'padding', 'latent' or 'both'. None: both, or the padding with `from_average`.
        steps: images, both ends included.
        fixed: which end supplies the space that does not move, 'first' (default) or 'second'.
        grid: also write NAME.grid.png with this many latents down and paddings across.
        frames: also write every step as an image.
        milliseconds: time of a step in the animation.
        region: where the padding may move: 'left', 'right', 'top', 'bottom', 'border', 'centre', or a mask picture.
        resolutions: at which resolutions the padding may move.
        save_inversions: also write all steps as one inversion file.
        options: see `FolderOptions`.

    Raises:
        InputError: no image was found. UsageError: other than two images, without `from_average`.
    """
    settings = FolderSettings(**{"out": DEFAULT_OUT, **options})  # type: ignore[arg-type]
    ends = listed(paths)
    if not from_average and len(ends) != 2:
        raise UsageError(f"give two pictures, not {len(ends)}; or --from-average and any number of them")
    check_out(settings.folder)
    sources, problems = _sources(ends, settings, from_average=from_average)
    reader = settings.reader()
    # Fig. 5 of the paper goes from the average image in the padding space, with the latents at w_avg.
    moving = space or ("padding" if from_average else "both")
    if moving == "padding":
        reader.model.require_padding("interpolate --space padding")
    line = Line(steps=steps, space=moving, fixed=fixed or "first", milliseconds=milliseconds, grid=grid)
    like = reader.read(sources[-1]) if region is not None and len(sources) <= 2 and not from_average else None
    name = None if region is None else str(region)
    limited = read_region(name, comma_separated(resolutions), reader.model.spec, like)
    pairs: list[Pair] = [(None, one) for one in sources] if from_average else [(sources[0], sources[1])]
    show = SHOWN if settings.sheet or settings.report else 0
    run = Run(settings.folder, settings.on_event, lost_inputs(problems), show=show)
    with ResultsLog(settings.folder) as log:
        run.note(reader.model.notes)
        events = interpolate_files(
            reader,
            pairs,
            line,
            log,
            region=limited,
            frames=frames,
            save_inversions=save_inversions,
            batch_size=settings.batch_size,
            overwrite=settings.overwrite,
            marking=marking_of(settings.marking, reader.model, VERB),
        )
        run.follow(events, Started("interpolating", len(pairs), "strips"))
    return run.result(_lay_out(run, reader, line, settings))


def _sources(ends: list[str | Path], settings: FolderSettings, *, from_average: bool) -> tuple[list[Source], list[str]]:
    if not from_average:
        return [find_source(path) for path in ends], []
    sources, problems = find_sources(ends, settings.folder)
    require(sources, problems, ends)
    return sources, problems


def _lay_out(run: Run, reader: Reader, line: Line, settings: FolderSettings) -> dict[str, Path]:
    """Write the contact sheet and the page of what this run made."""
    pages = Pages(run, overwrite=settings.overwrite, marking=marking_of(settings.marking, reader.model, VERB))
    ways = _ways(run) if run.show else []
    if not ways:
        return pages.made
    title = f"{plural(len(ways), 'interpolation')}, {line.space}"
    if settings.sheet:
        pages.sheet(_sheet(ways, line, title))
    if settings.report:
        shown = [
            Comparison(name, frames[0], frames[-1], ("First", "Last"), {f"{i}": f for i, f in enumerate(frames)})
            for name, frames in ways[:MAX_CARDS]
        ]
        total = len(run.outcome.done) + len(run.outcome.kept)
        pages.report(compare_html(title, shown, model_facts(reader.model), (), run.outcome.skipped, total=total))
    return pages.made


def _ways(run: Run) -> list[tuple[str, np.ndarray]]:
    """(name, frames) of this run's results, then of earlier ones, as many as are shown."""
    done = run.outcome.done
    ways = [(one.task.name, one.product.shown) for one in done if one.product.shown is not None]
    again = run.outcome.kept[: max(0, run.show - len(ways))]
    ways += [(kept.task.name, frames) for kept in again if (frames := show_again(kept, run.out)) is not None]
    return sorted(ways, key=lambda way: way[0])


def _sheet(ways: Sequence[tuple[str, np.ndarray]], line: Line, title: str) -> np.ndarray:
    steps = [f"{i / (line.steps - 1):.2f}" for i in range(line.steps)]
    if len(steps) <= MAX_COLUMNS:
        return contact_sheet([(name, list(frames)) for name, frames in ways], steps, title)
    return contact_sheet([(name, [strip(frames)]) for name, frames in ways], [""], title)
