"""What the calls on folders return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from padinv.runtime.batch.engine import Outcome, Skipped
from padinv.runtime.batch.pair_edit import PairEdit
from padinv.runtime.errors import ExitCode
from padinv.runtime.reports.means import Means


@dataclass(frozen=True)
class FolderResult:
    """What came of a call.

    Attributes:
        out: folder of the results.
        outcome: what was done, kept of an earlier call, and skipped, with a sentence and a code for each.
        pages: 'sheet' and 'report' -> file, of those that were written.
        seconds: how long the work took, without loading the model.
    """

    out: Path
    outcome: Outcome
    pages: Mapping[str, Path] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def files(self) -> dict[str, dict[str, Path]]:
        """Name of a result -> kind ('image', 'inversion', 'photo', ...) -> file."""
        return {
            str(record["name"]): {kind: self.out / entry["file"] for kind, entry in record["outputs"].items()}
            for record in self.outcome.records
        }

    @property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """Lines of `results.jsonl`, with the metrics of an inversion."""
        return self.outcome.records

    @property
    def skipped(self) -> list[Skipped]:
        """Inputs that gave nothing: path, reason and code."""
        return self.outcome.skipped

    @property
    def exit_code(self) -> ExitCode:
        """What the command would exit with."""
        return self.outcome.exit_code

    def __repr__(self) -> str:
        done, kept, skipped = len(self.outcome.done), len(self.outcome.kept), len(self.outcome.skipped)
        return f"{type(self).__name__}({str(self.out)!r}: {done} done, {kept} kept, {skipped} skipped)"


METRICS = ("mse", "psnr", "ssim", "encoder_mse")


@dataclass(frozen=True, repr=False, kw_only=True)
class InvertResult(FolderResult):
    """What came of inverting a folder.

    Attributes:
        images: how many were to be inverted, and `found`, with those of other shards.
    """

    images: int
    found: int

    @property
    def means(self) -> dict[str, float | None]:
        """'mse' (on [-1, 1]), 'psnr' (dB), 'ssim' and 'encoder_mse' (of refined ones) -> mean, or None without any."""
        means = Means(METRICS)
        for record in self.records:
            means.add(record)
        return means.values()


@dataclass(frozen=True, repr=False, kw_only=True)
class CustomEditResult(FolderResult):
    """What came of a custom edit.

    Attributes:
        edit: the direction with the space and strength that were used, and what that choice rests on.
    """

    edit: PairEdit
