"""What every verb that writes results does around them: progress, sentences, one summary, one exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from padinv.cli.common import open_in_browser, settings
from padinv.cli.console import say
from padinv.runtime.errors import ExitCode, InputError, OutputError
from padinv.runtime.text import printable

if TYPE_CHECKING:
    import numpy as np

    from padinv.runtime.batch.engine import Event, Outcome
    from padinv.runtime.provenance.marking import Marking

SCHEMA = 1  # of the JSON object that --json prints


class Notes:
    """Says each kind of sentence once, and at the end how often it applied."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def add(self, text: str, path: str, tell: Any) -> None:
        """Say `text`, unless the same was said about another path."""
        kind = text.replace(path, "...") if path else text
        self._count[kind] = self._count.get(kind, 0) + 1
        if self._count[kind] == 1:
            tell(text)

    def finish(self, tell: Any) -> None:
        """Say how many more there were."""
        for kind, count in self._count.items():
            if count > 1:
                tell(f"the same for {count - 1} more: {kind}")


def new_outcome(problems: Sequence[tuple[str, str]] = ()) -> Outcome:
    """An outcome with (path, sentence) of inputs that were lost before the first event."""
    from padinv.runtime.batch.engine import Outcome, Skipped

    skipped = [
        Skipped(path, sentence, code=InputError.code if not path or os.path.lexists(path) else "missing")
        for path, sentence in problems
    ]
    return Outcome([], [], skipped)


def follow(
    events: Generator[Event, None, None],
    outcome: Outcome,
    what: str,
    total: int,
    *,
    notes: Sequence[str] = (),
    unit: str = "images",
    show: int = 0,
) -> None:
    """Run a verb's events with a progress bar; every problem and each kind of note becomes a line on standard error.

    Args:
        outcome: receives the events; its problems so far are said first.
        notes: sentences about the model.
        show: how many products keep what is shown of them, so that memory stays flat.
    """
    from padinv.cli.progress import progress_bar
    from padinv.runtime.batch.engine import Done, Note, Skipped

    said, shown = Notes(), 0
    with progress_bar(what, total, unit) as bar, closing(events):

        def tell(note: str) -> None:
            if not settings.quiet:
                bar.say(note)

        for note in notes:
            said.add(note, "", tell)
        for one in outcome.skipped:
            bar.say(one.reason)
        for event in events:
            outcome.add(event)
            if isinstance(event, Note):
                said.add(event.text, event.path, tell)
                continue
            if isinstance(event, Skipped):
                bar.say(event.reason)
            elif isinstance(event, Done):
                shown += 1
                if shown > show:
                    event.product.shown = None
                for sentence in event.lost:
                    bar.say(sentence)
            bar.advance()
        said.finish(tell)


def write_extra(outcome: Outcome | None, write: Callable[[], bool]) -> bool:
    """Write something beside the results (a page, a sheet). If that fails, the results stay and the exit code is 3."""
    try:
        return write()
    except OutputError as error:
        if outcome is None:
            raise
        outcome.incomplete = True
        say(f"{error}; the results themselves are complete")
        return False


def write_sheet(
    path: Path,
    pixels: np.ndarray,
    overwrite: bool,
    made: dict[str, str],
    outcome: Outcome | None = None,
    marking: Marking | None = None,
) -> None:
    """Write a contact sheet, unless another picture stands there. Without an `outcome`, a failure is raised.

    Args:
        marking: of the results that it shows; None: it shows none.
    """
    from padinv.runtime.files import write_bytes
    from padinv.runtime.images.png_metadata import png_bytes, png_note

    if os.path.lexists(path) and not overwrite and (png_note(path) or {}).get("sheet") is not True:
        say(f"{path} exists and is not padinv's, so it was left alone; --overwrite replaces it")
        return

    def write() -> bool:
        data = png_bytes(pixels, {"sheet": True})
        write_bytes(path, data if marking is None else marking.sign(marking.mark(data)))
        return True

    if write_extra(outcome, write):
        made["sheet"] = str(path)


def write_report(outcome: Outcome, path: Path, text: str, overwrite: bool, made: dict[str, str]) -> None:
    """Write a page, unless a file that is not padinv's stands there."""
    from padinv.runtime.reports.html import write_page

    def write() -> bool:
        if write_page(path, text, overwrite):
            return True
        say(f"{path} exists and is not padinv's, so it was left alone; --overwrite replaces it")
        return False

    if write_extra(outcome, write):
        made["report"] = str(path)


def sum_up(
    outcome: Outcome,
    out: Path,
    seconds: float,
    verb: str,
    *,
    as_json: bool,
    made: Mapping[str, str] | None = None,
    lines: Sequence[str] = (),
    count: Callable[[Mapping[str, Any]], int] = lambda record: 1,
    results: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> int:
    """Print what came out; the exit code.

    Args:
        verb: 'inverted'. made: 'sheet' and 'report' -> path. lines: of the summary, after its first.
        count: how many results a record stands for. results: in place of one JSON object for each record.
        more: further keys of the JSON object.
    """
    code = outcome.exit_code
    made = made or {}
    written = sum(count(event.record) for event in outcome.done)
    kept = sum(count(event.record) for event in outcome.kept)
    if settings.open_report and (page := made.get("report")) and not open_in_browser(page):
        say(f"no browser could be started; the report is {page}")
    if as_json:
        summary = {
            "schema": SCHEMA,
            "status": code.name.lower(),
            "written": written,
            "kept": kept,
            "skipped": [{"path": one.path, "reason": one.reason, "code": one.code} for one in outcome.skipped],
            "seconds": round(seconds, 3),
            "out": str(out),
            "results": [_result(out, record) for record in outcome.records] if results is None else list(results),
            "sheet": made.get("sheet"),
            "report": made.get("report"),
            **more,
        }
        typer.echo(json.dumps(summary))
        return code
    if code == ExitCode.FAILED:
        say("error: every input was skipped, so nothing was written")
        return code
    if settings.quiet:
        return code
    verb = verb.replace("faces", "face", 1) if written == 1 else verb
    parts = [f"{written} {verb}" + (f" in {seconds:.1f} s" if written else "")]
    parts += [f"{kept} already there"] if kept else []
    parts += [f"{len(outcome.skipped)} skipped"] if outcome.skipped else []
    typer.echo("; ".join(parts))
    for line in lines:
        typer.echo(printable(line))
    typer.echo(printable("   ".join([f"results: {out}", *(f"open {path}" for path in made.values())])))
    return code


def _result(out: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    files = {kind: str(out / entry["file"]) for kind, entry in record["outputs"].items()}
    return {"name": record["name"], **files}
