"""The end of every benchmark that writes a page of text: the machine it ran on, on the terminal and in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from padinv.runtime.benchmark.machine import Machine


def write_result(lines: Sequence[str], machine: Machine, out: Path | None) -> None:
    """Print a result with the machine below it, and keep it in a file if one is given."""
    text = "\n".join([*lines, "", *(f"- {line}" for line in machine.lines())])
    print(text)
    if out is not None:
        out.write_text(text + "\n", "utf-8")
