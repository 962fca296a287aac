"""`padinv bench`: which backend, precision and batch size is fastest on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import progress_bar
from padinv.export.run_benchmark import Options, run_benchmark, save_fastest
from padinv.runtime.backends import PRECISIONS, default_threads
from padinv.runtime.errors import UsageError
from padinv.runtime.text import printable

DEFAULT_OUT = Path("padinv-out/bench")


def _numbers(text: str, flag: str) -> list[int]:
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        values = [0]
    if not values or values[0] < 1 or values[-1] > 4096:
        raise UsageError(f"{flag} takes numbers from 1 to 4096 separated by commas, such as 1,4,8, not {text[:40]!r}")
    return values


def command(
    *,
    model: opt.ModelOption = None,
    backend: opt.BackendsOption = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            callback=opt.one_of(PRECISIONS),
            help="Measure only this precision; may be repeated.",
        ),
    ] = None,
    batches: Annotated[str, typer.Option("--batch", metavar="1,4,...", help="Batch sizes.")] = "1,4,8,16",
    threads: Annotated[
        str | None,
        typer.Option("--threads", metavar="1,2,...", help="Processor threads; one per physical core if omitted."),
    ] = None,
    device: opt.DeviceOption = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.05, max=600, help="Time per stage and batch size, shared by all.")
    ] = 3.0,
    torch: Annotated[bool, typer.Option("--torch/--no-torch", help="Compare with eager torch.")] = True,
    cold: Annotated[
        bool, typer.Option("--cold/--no-cold", help="Also measure fresh processes: time to the first image, memory.")
    ] = True,
    save: Annotated[
        bool, typer.Option("--save", help="Make the fastest flags the defaults for this machine and model.")
    ] = False,
    out: opt.ReportFolderOption = DEFAULT_OUT,
    as_json: opt.JsonOption = False,
) -> None:
    """Measure every installed backend and precision in one alternating run.

    Encode, generate, and both together, at several batch sizes, beside eager torch and this machine's own matrix
    product. Writes a table, JSON, an SVG plot and a page; the last line says which flags are fastest here.
    """
    options = Options(
        model,
        tuple(backend or ()),
        tuple(precision or ()),
        tuple(_numbers(batches, "--batch")),
        tuple(_numbers(threads, "--threads")) if threads is not None else (default_threads(),),
        device,
        seconds,
        torch,
        cold,
    )
    with progress_bar("measuring", 1, "steps") as bar:
        report = run_benchmark(options, bar.say)
    files = report.write(out)
    if save:
        say(save_fastest(options, report))
    if as_json:
        facts = report.to_dict()
        lost = [skipped_input(problem, code="backend") for problem in report.measured.problems]
        shown = {**facts, "files": [str(file) for file in files], "fastest": report.verdict()}
        print_json(facts["rows"], shown, skipped=lost)
        return
    for problem in report.measured.problems:
        say(problem)
    if not report.quiet:
        say(f"the machine was busy (load {report.load[0]:.1f}): compare only within this run, or repeat it")
    for line in report.markdown().splitlines()[2:-1]:
        typer.echo(line)
    typer.echo(printable(f"wrote {', '.join(str(file) for file in files)}"))
    typer.echo(report.verdict())
