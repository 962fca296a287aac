"""What every command that writes results does around its call: progress, sentences, one summary, one exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from padinv.cli.common_options import open_in_browser, settings
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import Bar, progress_bar
from padinv.runtime.batch.engine import Advanced, Done, Event, Kept, Note, Skipped, Started
from padinv.runtime.errors import ExitCode
from padinv.runtime.reports.contact_sheet import write_sheet
from padinv.runtime.reports.html import LEFT_ALONE
from padinv.runtime.text import printable

if TYPE_CHECKING:
    import numpy as np

    from padinv.runtime.folders.result import FolderResult
    from padinv.runtime.provenance.marking import Marking

MOST_CLIPS = 1000  # a run makes clips or pictures, and only pictures come in larger numbers


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


class EventPrinter:
    """Shows the events of a call: a progress bar for each part of the work, every problem, each kind of note once.

    Used as a context, and handed to the call as `on_event`. Sentences that belong to the result go to standard output,
    unless that is for JSON.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._notes = Notes()
        self._parts = ExitStack()
        self._bar: Bar | None = None

    def __enter__(self) -> EventPrinter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self._notes.finish(self._note)
        self._parts.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._parts.close()
            self._bar = self._parts.enter_context(progress_bar(event.what, event.total, event.unit))
        elif isinstance(event, Note):
            self._show(event)
        elif isinstance(event, Advanced):
            self._advance(event.count)
        else:
            for sentence in _problems(event):
                self._say(sentence)
            if event.task is not None:  # inputs that were lost beforehand are not counted
                self._advance(1)

    def _show(self, note: Note) -> None:
        if note.kind == "result":
            if not self._as_json:
                typer.echo(printable(note.text))
        elif note.kind == "warning":
            self._say(note.text)
        else:
            self._notes.add(note.text, note.path, self._note)

    def _advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.advance(count)

    def _say(self, text: str) -> None:
        if self._bar is None:
            say(text)
        else:
            self._bar.say(text)

    def _note(self, text: str) -> None:
        if not settings.quiet:
            self._say(text)


def _problems(event: Done | Kept | Skipped) -> Sequence[str]:
    if isinstance(event, Skipped):
        return [event.reason]
    return event.lost if isinstance(event, Done) else ()


def save_sheet(path: Path, pixels: np.ndarray, *, overwrite: bool, marking: Marking | None = None) -> dict[str, str]:
    """Write a sheet that is the command's one result: {'sheet': path}, or {} where another picture stands there.

    Args:
        marking: of the results that it shows; None: it shows none.
    """
    if write_sheet(path, pixels, overwrite, marking):
        return {"sheet": str(path)}
    say(f"{path} {LEFT_ALONE}")
    return {}


def sum_up(
    result: FolderResult,
    verb: str,
    *,
    as_json: bool,
    lines: Sequence[str] = (),
    count: Callable[[Mapping[str, Any]], int] | None = None,
    results: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> int:
    """Print what came out; the exit code.

    Args:
        verb: 'inverted'. lines: of the summary, after its first.
        count: how many results a record stands for; None: one. results: in place of one JSON object for each record.
        more: further keys of the JSON object.
    """
    outcome, out, seconds = result.outcome, result.out, result.seconds
    code = outcome.exit_code
    made = {kind: str(path) for kind, path in result.pages.items()}
    done, kept = (
        len(part) if count is None else sum(count(event.record) for event in part)
        for part in (outcome.done, outcome.kept)
    )
    if settings.open_report and (page := made.get("report")) and not open_in_browser(page):
        say(f"no browser could be started; the report is {page}")
    if as_json:
        facts = {"written": done, "kept": kept, "seconds": round(seconds, 3), "out": str(out)}
        print_json(
            [_result(out, record) for record in outcome.records] if results is None else results,
            {**facts, "sheet": made.get("sheet"), "report": made.get("report"), **more},
            code=code,
            skipped=[skipped_input(one.reason, one.path, one.code) for one in outcome.skipped],
        )
        return code
    if code == ExitCode.FAILED:
        say("error: every input was skipped, so nothing was written")
        return code
    if settings.quiet or not settings.summary:
        return code
    verb = verb.replace("faces", "face", 1) if done == 1 else verb
    parts = [f"{done} {verb}" + (f" in {seconds:.1f} s" if done else "")]
    parts += [f"{kept} already there"] if kept else []
    parts += [f"{len(outcome.skipped)} skipped"] if outcome.skipped else []
    typer.echo("; ".join(parts))
    flicker = [
        str(record["flicker_sentence"]) for record in outcome.records[:MOST_CLIPS] if "flicker_sentence" in record
    ]
    for line in (*lines, *flicker):
        typer.echo(printable(line))
    typer.echo(printable("   ".join([f"results: {out}", *(f"open {path}" for path in made.values())])))
    return code


def _result(out: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    files = {kind: str(out / entry["file"]) for kind, entry in record["outputs"].items()}
    clip = {key: record[key] for key in ("frames", "held", "without_face", "cuts", "flicker") if key in record}
    return {"name": record["name"], **clip, **files}
