"""`padinv eval`: how well a model reconstructs pictures, with intervals, alone or beside another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from padinv.cli import options as opt
from padinv.cli.common_options import open_in_browser, settings
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import progress_bar
from padinv.evaluation.bootstrap import interval_text
from padinv.evaluation.evaluate import measure
from padinv.evaluation.metrics import open_metrics, require_lpips_nets
from padinv.evaluation.models import open_subject
from padinv.evaluation.page import Evaluation, groupings_of, write_evaluation_page
from padinv.evaluation.results import report_on, write_comparison
from padinv.picture_sources import open_named
from padinv.runtime.errors import MismatchError, OutputError, UsageError, exit_code
from padinv.runtime.files import require_files
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.evaluation.metrics import Metrics
    from padinv.evaluation.results import Measured


def _weights(given: list[str]) -> dict[str, Path]:
    found = {}
    for text in given:
        net, sign, path = text.partition("=")
        if not sign or not path:
            raise UsageError(f"--lpips-weights takes NAME=FILE, such as squeeze=squeezenet1_1.pth, not {text!r}")
        found[net] = Path(path)
    return found


def command(
    *,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Pictures to measure on: a folder, a ZIP archive or another data set, or picture files.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="RUN|BUNDLE", help="What to measure: a training run or a bundle; default: built-in."
        ),
    ] = None,
    vs: Annotated[
        Path | None, typer.Option("--vs", metavar="RUN|BUNDLE", help="A second model, on the same pictures.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results: a CSV and a JSON file per model.")
    ] = Path("padinv-out"),
    limit: opt.LimitOption = None,
    lpips_weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="torchvision's weights of an LPIPS backbone (alex, vgg, squeeze); may be repeated. Others are taken "
            "from what padinv fetch or torch cached.",
        ),
    ] = None,
    identity_weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Face-recognition network (MobileFaceNet, IR-SE-50): identity similarity."),
    ] = None,
    protocol: Annotated[
        Literal["paper", "reference"],
        typer.Option(
            help="paper: Lanczos, averaged outputs, clamped. reference: what the paper's reference implementation "
            "computes: area means, outputs reduced by nearest neighbour, unclamped, a run's best encoder."
        ),
    ] = "paper",
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    threads: opt.ThreadsOption = None,
    resamples: Annotated[int, typer.Option(min=100, max=1_000_000, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=opt.MAX_SEED, help="Seed of the bootstrap.")] = 0,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Write a page: histograms, groups, and the worst, median and best images."
        ),
    ] = True,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="CSV",
            help="Columns that group the pictures on the page; the first one names them. Folders are a group anyway.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure again what was measured before.")] = False,
    as_json: opt.JsonOption = False,
    data: Annotated[
        str | None,
        typer.Option(help="The older way to name the pictures; PATH is then what to measure.", hidden=True),
    ] = None,
) -> None:
    """Reconstruct pictures and measure the result: MSE, PSNR, SSIM, LPIPS, identity, time.

    Images are compared as floats in [-1, 1], clamped, before rounding. Means come with 95 % bootstrap intervals, and
    --vs with the paired difference and ratio. A bundle is measured without torch, except for LPIPS and identity.
    """
    weights = _weights(lpips_weights or [])
    require_lpips_nets(weights)
    require_files(*weights.values(), identity_weights)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, so no results can go there; give a folder with --out")
    named, measured = _arguments(paths or [], model, data)
    source = open_named(named)
    models = [measured] if vs is None else [measured, vs]
    subjects = [open_subject(path, backend, threads, precision, protocol=protocol) for path in models]
    sizes = [one.spec.image_size for one in subjects]
    if len(set(sizes)) > 1:
        raise MismatchError(
            f"{subjects[0].name} works at {sizes[0]} px and {subjects[1].name} at {sizes[1]}, so nothing was measured; "
            "only models of one size can be compared"
        )
    metrics = open_metrics(subjects[0].spec, weights, identity_weights, backend)
    count = min(limit or len(source), len(source))
    groupings = groupings_of([source.name(k) for k in range(count)], groups)  # a wrong table is refused beforehand
    results: list[Measured] = []
    with progress_bar("measuring", count * len(subjects)) as bar:
        for one in subjects:
            for note in one.notes:
                bar.say(note)
            results.append(measure(one, source, metrics, out, batch, limit, overwrite, bar.advance, protocol=protocol))
    document = report_on(results[0], results[1] if vs else None, resamples, seed)
    if vs:
        document["file"] = str(write_comparison(results[0], results[1], document))
    skipped = sorted({sentence for result in results for sentence in result.skipped})
    page = None
    if report:
        evaluation = Evaluation(results, subjects, source, document, metrics.found, groupings)
        page = write_evaluation_page(evaluation, overwrite)
        if page is None:
            say("the report was not written: a file that is not padinv's has its name; --overwrite replaces it")
        elif settings.open_report and not open_in_browser(str(page)):
            say(f"no browser could be started; the report is {page}")
    code = exit_code(usable=len(results), failed=len(skipped))
    if as_json:
        shown = {"report": None if page is None else str(page), **document}
        print_json(document["models"], shown, code=code, skipped=map(skipped_input, skipped))
    elif not settings.quiet:
        _print(document, metrics, results)
        if page is not None:
            typer.echo(printable(f"open {page}"))
    for sentence in skipped:
        say(f"skipped: {sentence}")
    raise typer.Exit(code)


def _arguments(paths: list[str], model: Path | None, data: str | None) -> tuple[list[str], Path | None]:
    """The pictures, and what to measure; None is the built-in model. Older form: `eval [RUN|BUNDLE] --data PATH`."""
    if data is None:
        if not paths:
            raise UsageError("give pictures to measure on, such as: padinv eval photos/ --model RUN")
        return paths, model
    if len(paths) > 1 or (paths and model is not None):
        raise UsageError(
            "with --data, PATH is the one model to measure; leave --data out: padinv eval PATH --model RUN"
        )
    return [data], Path(paths[0]) if paths else model


def _print(document: dict[str, Any], metrics: Metrics, results: list[Measured]) -> None:
    models = document["models"]
    comparison = document.get("comparison", {})
    table = Table(title=None)
    table.add_column("")
    for model in models:
        table.add_column(Text(printable(model["name"])), justify="right")
    if comparison:
        table.add_column("difference", justify="right")
        table.add_column("ratio", justify="right")
    for metric in metrics.found:
        cells = [interval_text(model["metrics"][metric.name]) for model in models]
        if comparison:
            entry = comparison.get(metric.name)
            cells += (
                [interval_text(entry["difference"], sign=True), interval_text(entry["ratio"])] if entry else ["-", "-"]
            )
        table.add_row(f"{metric.label} ({metric.better} is better)", *cells)
    times = [f"{1000 * model['seconds_per_image']:.1f} ms" for model in models]
    table.add_row("time per image", *times, *([""] * (2 if comparison else 0)))
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe or file has no width to wrap at
        console.width = console.measure(table, options=console.options.update(width=1000)).maximum
    console.print(table)
    conditions = models[0]["conditions"]
    count = models[0]["pictures"]
    lines = [f"mean [95 % bootstrap interval], {count} pictures, {conditions['protocol']} protocol"]
    lines += [f"not measured: {name}: {reason}" for name, reason in metrics.missing.items()]
    for result in results:
        kept = f" ({result.resumed} of them measured before)" if result.resumed else ""
        lines.append(f"{result.csv}: {len(result.names)} pictures{kept}, {result.conditions['model']['backend']}")
    if "file" in document:
        lines.append(document["file"])
    for line in lines:
        typer.echo(printable(line))
