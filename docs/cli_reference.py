"""Write docs/reference/cli.md from the commands themselves, so that it cannot drift from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from padinv.cli.main import VERBS, app

OUT = Path(__file__).parent / "reference" / "cli.md"


def help_of(words: list[str]) -> str:
    """What `padinv WORDS --help` prints, 100 columns wide."""
    plain = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    result = CliRunner().invoke(app, [*words, "--help"], env=plain, prog_name="padinv")
    if result.exit_code:
        raise SystemExit(f"padinv {' '.join(words)} --help failed: {result.output}")
    return re.sub(r"[ \t]+\n", "\n", result.output).strip()


def sections(verb: str, command: Any) -> list[str]:
    lines = [f"## padinv {verb}", "", "```text", help_of([verb]), "```", ""]
    for name in getattr(command, "commands", {}):
        lines += [f"### padinv {verb} {name}", "", "```text", help_of([verb, name]), "```", ""]
    return lines


def main() -> None:
    group: Any = get_command(app)
    lines = ["# Command line", "", "Generated from `padinv --help` by `docs/cli_reference.py`.", ""]
    lines += ["```text", help_of([]), "```", ""]
    for verb in VERBS:
        lines += sections(verb, group.commands[verb])
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
