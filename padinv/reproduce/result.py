"""What all tables have in common: how they are written, as Markdown, JSON, a plot and a page."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from padinv.reproduce.plot import Panel, dot_plot
from padinv.runtime.files import write_json, write_text
from padinv.runtime.reports.html import render

SCHEMA = 1


class Result(ABC):
    """A finished table.

    Attributes:
        name: of its files, such as 'table1'.
        title: its heading.
        conditions: what the figures depend on, JSON-ready.
        skipped: sentences on photographs and rows that could not be used.
    """

    name: str
    title: str
    conditions: dict[str, Any]
    skipped: list[str]

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""

    @abstractmethod
    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Column heads and rows, as text."""

    @abstractmethod
    def sentences(self) -> list[str]:
        """What a reader must know, below the table; what was skipped comes after it."""

    @abstractmethod
    def panels(self) -> Sequence[Panel]:
        """What the plot shows."""

    @property
    def resamples(self) -> int:
        """Of the bootstrap."""
        return int(self.conditions["bootstrap"]["resamples"])

    def markdown(self) -> str:
        """The table, with what a reader must know below it."""
        head, rows = self.cells()
        lines = [f"# {self.title}", "", *map(markdown_line, (head, ["---"] * len(head), *rows))]
        return "\n".join([*lines, "", *(f"- {note}" for note in (*self.sentences(), *self.skipped)), ""])

    def svg(self) -> str:
        """The plot."""
        return dot_plot(self.title, self.panels())

    def page(self) -> str:
        """A self-contained HTML page."""
        head, rows = self.cells()
        return render(
            "results.html",
            title=self.title,
            lines=["Means with 95 % bootstrap intervals. No photograph is in this page."],
            head=head,
            rows=rows,
            plot=Markup(self.svg()),
            notes=[*self.sentences(), *self.skipped],
            conditions=json.dumps(self.conditions, indent=1, ensure_ascii=False).splitlines(),
        )

    def write(self, out: Path) -> tuple[Path, Path, Path, Path]:
        """Write `NAME.md`, `NAME.json`, `NAME.svg` and `NAME.html`, each atomically.

        Raises:
            OutputError: they cannot be written.
        """
        text, data, plot, page = (out / f"{self.name}.{suffix}" for suffix in ("md", "json", "svg", "html"))
        write_text(text, self.markdown())
        write_json(data, self.to_dict())
        write_text(plot, self.svg())
        write_text(page, self.page())
        return text, data, plot, page


def markdown_line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
