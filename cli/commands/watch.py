"""`padinv watch`: every new picture of a folder is inverted or edited, as it arrives."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.common_options import settings
from padinv.cli.console import say
from padinv.cli.option_groups import grouped
from padinv.cli.provenance import marking
from padinv.runtime.batch.engine import Done, Event, Note, Skipped
from padinv.runtime.batch.invert_files import Options
from padinv.runtime.batch.sources import Reader
from padinv.runtime.errors import UsageError
from padinv.runtime.folders.watch import DEFAULT_OUT, check_watched, watch_folder
from padinv.runtime.text import printable


@grouped
def command(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pictures, with the folders below it.")],
    how: opt.Running,
    reading: opt.Reading,
    edit: Annotated[
        str | None,
        typer.Option(
            "--edit",
            metavar="NAME[=S][,NAME=S...]|FILE",
            help="Edit the pictures, as padinv edit does; invert them if omitted.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.05, max=3600, metavar="SECONDS", help="Time between two looks.")
    ] = 1.0,
    out: opt.OutOption = DEFAULT_OUT,
    format: opt.FormatOption = "png",
    dtype: opt.DtypeOption = "float16",
    paste_back: opt.PasteBackOption = False,
    feather: opt.FeatherOption = opt.DEFAULT_FEATHER,
) -> None:
    """Watch a folder, and do with every new picture what padinv invert or padinv edit does.

    A picture is taken once it is complete: when its size and time of change stay the same between two looks. Those that
    are there at the start are taken, too; what an earlier run has done is kept. A damaged picture is named, and tried
    again when it changes. The path of each result is printed. Ctrl-C and SIGTERM end it after the batch at hand.
    """
    if edit is not None and format != "png":
        raise UsageError("--format goes with inverting: edits are written as PNG")
    check_watched(folder, out)
    chosen = Options(
        fit=reading.fit, format=format, dtype=dtype, batch_size=how.batch, paste_back=paste_back, feather=feather
    )
    model = how.load()
    reader = Reader.open(model, **vars(reading))
    mark = marking(model.bundle, *(("invert",) if edit is None else ("edit", (edit,))))
    for graph in ("encoder", "generator"):  # a broken model is found now, not when the first picture comes
        model.session(graph)
    for note in model.notes:
        say(note)
    skipped = 0
    with _stopping() as stop:
        events = watch_folder(folder, reader, out, chosen, stop, edit=edit, interval=interval, marking=mark)
        say(f"watching {folder}; stop with Ctrl-C")
        with closing(events):
            for event in events:
                skipped += isinstance(event, Skipped)
                _tell(event, out)
    raise typer.Exit(3 if skipped else 0)


def _tell(event: Event, out: Path) -> None:
    """The path of a finished picture on standard output; everything else on standard error."""
    if isinstance(event, Skipped):
        say(event.reason)
    elif isinstance(event, Note):
        if not settings.quiet:
            say(event.text)
    elif isinstance(event, Done):
        outputs = event.record["outputs"]
        shown = outputs.get("photo") or outputs.get("image")
        if shown is not None:
            typer.echo(printable(out / shown["file"]))
        for sentence in event.lost:
            say(sentence)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that the first signal sets; a second one interrupts the work, as everywhere else."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(number: int, frame: Any) -> None:
        stop.set()
        restore()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, first)
    try:
        yield stop
    finally:
        restore()
