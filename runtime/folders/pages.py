"""The contact sheet and the report beside results. If one fails, the results stay and the outcome is incomplete."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from padinv.runtime.batch.engine import Note
from padinv.runtime.batch.find_inputs import SHEET
from padinv.runtime.errors import OutputError
from padinv.runtime.folders.running import Run
from padinv.runtime.model import Model
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.reports.contact_sheet import write_sheet
from padinv.runtime.reports.html import LEFT_ALONE, write_page
from padinv.runtime.reports.inversion_report import REPORT

__all__ = ["REPORT", "Pages", "model_facts", "plural"]


class Pages:
    """Writes them.

    Attributes:
        marking: of the results that the sheet shows; None: they are not edited.
        made: 'sheet' and 'report' -> file, of those that were written.
    """

    def __init__(self, run: Run, *, overwrite: bool, marking: Marking | None = None) -> None:
        self.run, self.overwrite, self.marking = run, overwrite, marking
        self.made: dict[str, Path] = {}

    def sheet(self, pixels: np.ndarray, path: Path | None = None) -> None:
        """Write a contact sheet, unless a picture that is not padinv's stands there."""
        target = path or self.run.out / SHEET
        self._write("sheet", target, lambda: write_sheet(target, pixels, self.overwrite, self.marking))

    def report(self, text: Iterable[str]) -> None:
        """Write a page, whole or in pieces, unless a file that is not padinv's stands there."""
        target = self.run.out / REPORT
        self._write("report", target, lambda: write_page(target, text, self.overwrite))

    def _write(self, kind: str, path: Path, write: Callable[[], bool]) -> None:
        try:
            if write():
                self.made[kind] = path
            else:
                self.run.tell(Note(f"{path} {LEFT_ALONE}", kind="warning"))
        except OutputError as error:
            self.run.outcome.incomplete = True
            self.run.tell(Note(f"{error}; the results themselves are complete", kind="warning"))


def model_facts(model: Model, graph: str = "generator") -> dict[str, str]:
    """What a page's footer says about the model, and the backend of one of its graphs."""
    return {
        "Model": f"{model.bundle.name} ({model.generator_hash[:12]})",
        **({"From": model.bundle.origin} if model.bundle.origin else {}),
        "Backend": f"{model.session(graph).backend}, {model.precision}",
    }


def plural(count: int, noun: str) -> str:
    """'1 picture', '3 pictures'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
