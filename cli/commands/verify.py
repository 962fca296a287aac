"""`padinv verify`: check everything this machine has, and write a report to attach to an issue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import progress_bar
from padinv.export.verify import Options, verify
from padinv.runtime.errors import ExitCode, UsageError
from padinv.runtime.text import printable

DEFAULT_OUT = Path("padinv-out/verify")


def command(
    *,
    model: opt.ModelOption = None,
    backend: opt.BackendsOption = None,
    out: opt.ReportFolderOption = DEFAULT_OUT,
    training: Annotated[
        bool,
        typer.Option(
            "--training/--no-training",
            help="Train fifty small steps in every precision; on a GPU also 200 steps of the preset church at 256 px.",
        ),
    ] = True,
    large: Annotated[
        bool, typer.Option("--large/--no-large", help="On a GPU, also measure a full-sized model at random weights.")
    ] = True,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.05, max=60, help="Time for measuring each backend and precision.")
    ] = 0.5,
    as_json: opt.JsonOption = False,
) -> None:
    """Check every installed backend and precision, torch, TensorRT and training on this machine.

    Parity at batches 1, 3 and 8, speed, threads, devices and error messages. Writes verify-MACHINE.md and .json. On a
    machine without a GPU, verifies what is there. Ctrl-C still writes a report of the checks so far. Exit code 0:
    nothing failed; 1: something did; 130: interrupted.
    """
    names = tuple(backend or ())
    if "auto" in names:
        raise UsageError("verify checks backends by name; leave --backend out to check all of them")
    with progress_bar("verifying", 1, "checks") as bar:
        found = verify(Options(model, names, training, large, seconds), out, bar.say)
    counts = {status: found.count(status) for status in ("passed", "failed", "skipped")}
    code = ExitCode.INTERRUPTED if found.interrupted else ExitCode.FAILED if counts["failed"] else ExitCode.DONE
    if as_json:
        left_out = [check for check in found.checks if check.status == "skipped"]
        lost = [skipped_input(f"{check.group}: {check.name}: {check.detail}", code="not-here") for check in left_out]
        checks = [check.to_dict() for check in found.checks]
        print_json(checks, {"counts": counts, "report": str(found.report)}, code=code, skipped=lost)
    else:
        for check in found.checks:
            if check.status == "failed":
                typer.echo(printable(f"FAILED {check.group}: {check.name}: {check.detail}"))
        typer.echo(
            printable(
                f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped; {found.report}"
            )
        )
    raise typer.Exit(code)
