"""The one JSON object that --json prints, whatever the command; docs/shell.md describes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import typer

from padinv.runtime.errors import ExitCode, InputError
from padinv.runtime.text import printable

SCHEMA = 1


def print_json(
    results: Iterable[Any],
    more: Mapping[str, Any] | None = None,
    *,
    code: ExitCode = ExitCode.DONE,
    skipped: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Print the object: schema, status, results and skipped, then the command's own keys.

    Args:
        more: keys of this command alone; one that is named like a common key is left out.
        skipped: see `skipped_input`.
    """
    common = {"schema": SCHEMA, "status": code.name.lower(), "results": list(results), "skipped": list(skipped)}
    typer.echo(json.dumps(common | {key: value for key, value in (more or {}).items() if key not in common}))


def skipped_input(reason: str, path: str | None = None, code: str = InputError.code) -> dict[str, Any]:
    """An input that was left out: its path (where it is one file), one sentence, and a short name of the reason."""
    return {"path": path, "reason": reason, "code": code}


def print_failure(sentence: str, code: str, exit_code: int) -> None:
    """The object of a command that failed: no results, and the error."""
    print_json((), {"error": {"code": code, "message": printable(sentence)}}, code=ExitCode(exit_code))
