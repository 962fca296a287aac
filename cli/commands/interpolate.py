"""`padinv interpolate`: the way from one picture to another, or from the average image, in one space or both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padinv.cli import options as opt
from padinv.runtime.editing.operations import Fixed, Space

if TYPE_CHECKING:
    from padinv.runtime.batch.engine import Outcome
    from padinv.runtime.batch.interpolate_files import Line, Pair
    from padinv.runtime.batch.sources import Reader

DEFAULT_OUT = Path("padinv-out/interpolate")


def command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="A B", help="Two pictures or inversion files; with --from-average any number of ends."
        ),
    ],
    space: Annotated[
        Space | None,
        typer.Option("--space", help="What moves; the other space stays. Default: both; with --from-average: padding."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, max=1000, help="Pictures, both ends included.")] = 9,
    from_average: Annotated[
        bool, typer.Option("--from-average", help="Start at the generator's average image (Fig. 5 of the paper).")
    ] = False,
    fixed: Annotated[
        Fixed | None,
        typer.Option("--fixed", help="Which end supplies the space that does not move (default: first; with "
                     "--from-average that is the average image)."),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            "--grid", min=2, max=32, metavar="N", help="Also write NAME.grid.png: N latents down, N paddings across."
        ),
    ] = None,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    milliseconds: Annotated[
        int, typer.Option("--milliseconds", min=10, max=10_000, help="Time of a step in the animation.")
    ] = 120,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every step as a picture.")] = False,
    model: opt.ModelOption = None,
    out: opt.OutOption = DEFAULT_OUT,
    align: opt.AlignOption = "auto",
    landmarks: opt.LandmarksOption = None,
    face: opt.FaceOption = 1,
    fit: opt.FitOption = "crop",
    save_inversions: opt.SaveInversionsOption = False,
    sheet: opt.SheetOption = True,
    report: opt.ReportOption = True,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:  # fmt: skip
    """Interpolate between two pictures: A--B.png, a strip, and A--B.webp, an endless animation.

    With --space padding the latents stay and the form changes; with --space latent the padding stays and the style
    changes (Fig. 6 and 7 of the paper).
    """
    import padinv.cli.edit_common as common
    from padinv.cli import output
    from padinv.cli.provenance import marking
    from padinv.runtime.batch.interpolate_files import Line, interpolate_files
    from padinv.runtime.batch.masks import read_region
    from padinv.runtime.batch.results_log import ResultsLog
    from padinv.runtime.batch.sources import find_source, find_sources
    from padinv.runtime.errors import InputError, UsageError

    if not from_average and len(paths) != 2:
        raise UsageError(f"give two pictures, not {len(paths)}; or --from-average and any number of them")
    common.check_out(out)
    problems: list[str] = []
    if from_average:
        sources, problems = find_sources(paths, out)
        if not sources:
            raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    else:
        sources = [find_source(path) for path in paths]
    setup = common.Setup(model, backend, precision, threads, align, landmarks, face, fit, device=device)
    reader = setup.reader()
    # Fig. 5 of the paper goes from the average image in the padding space, with the latents at w_avg.
    moving = space or ("padding" if from_average else "both")
    if moving == "padding":
        reader.model.require_padding("interpolate --space padding")
    still = fixed or "first"
    line = Line(steps=steps, space=moving, fixed=still, milliseconds=milliseconds, grid=grid)
    like = reader.read(sources[-1]) if region is not None and len(sources) <= 2 and not from_average else None
    limited = read_region(region, resolutions, reader.model.spec, like)
    pairs: list[Pair] = [(None, one) for one in sources] if from_average else [(sources[0], sources[1])]
    started = time.perf_counter()
    outcome = common.new_outcome([("", sentence) for sentence in problems])
    with ResultsLog(out) as log:
        events = interpolate_files(
            reader, pairs, line, log, region=limited, frames=frames, save_inversions=save_inversions,
            batch_size=batch, overwrite=overwrite, marking=marking(reader.model.bundle),
        )  # fmt: skip
        notes = reader.model.notes
        common.follow(events, outcome, "interpolating", len(pairs), notes=notes, unit="strips", show=common.SHOWN)
    made = _lay_out(reader, outcome, line, out, sheet=sheet, report=report, overwrite=overwrite)
    seconds = time.perf_counter() - started
    raise typer.Exit(output.sum_up(outcome, out, seconds, "interpolated", as_json=as_json, made=made))


def _lay_out(
    reader: Reader, outcome: Outcome, line: Line, out: Path, *, sheet: bool, report: bool, overwrite: bool
) -> dict[str, str]:
    """Write the contact sheet and the page of what this run made."""
    import padinv.cli.edit_common as common
    from padinv.cli.provenance import marking
    from padinv.runtime.batch.interpolate_files import show_again
    from padinv.runtime.reports.animation import strip
    from padinv.runtime.reports.comparison_report import Comparison, compare_html
    from padinv.runtime.reports.contact_sheet import contact_sheet

    made: dict[str, str] = {}
    if not (sheet or report):
        return made
    ways = [(done.task.name, done.product.shown) for done in outcome.done if done.product.shown is not None]
    again = outcome.kept[: max(0, common.SHOWN - len(ways))]
    ways += [(kept.task.name, frames) for kept in again if (frames := show_again(kept, out)) is not None]
    if not ways:
        return made
    ways.sort(key=lambda way: way[0])
    title = f"{len(ways)} interpolation{'' if len(ways) == 1 else 's'}, {line.space}"
    if sheet:
        steps = [f"{i / (line.steps - 1):.2f}" for i in range(line.steps)]
        if len(steps) <= 24:
            pixels = contact_sheet([(name, list(frames)) for name, frames in ways], steps, title)
        else:
            pixels = contact_sheet([(name, [strip(frames)]) for name, frames in ways], [""], title)
        common.write_sheet(out / common.SHEET, pixels, overwrite, made, outcome, marking(reader.model.bundle))
    if report:
        shown = [
            Comparison(name, frames[0], frames[-1], ("First", "Last"), {f"{i}": f for i, f in enumerate(frames)})
            for name, frames in ways[:50]
        ]
        total = len(outcome.done) + len(outcome.kept)
        text = compare_html(title, shown, common.model_facts(reader), (), outcome.skipped, total=total)
        common.write_report(outcome, out / common.REPORT, text, overwrite, made)
    return made
