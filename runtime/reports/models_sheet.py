"""One sheet of several models: every picture beside what each model makes of it (Fig. 1 and 3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from padinv.runtime.batch.invert_files import VERB
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.errors import InputError
from padinv.runtime.reports.contact_sheet import MAX_ROWS, contact_sheet
from padinv.runtime.reports.inversion_report import read_original, read_result


def models_sheet(models: Sequence[tuple[str, Path]], size: int) -> np.ndarray:
    """Pictures that all models inverted, with the mean MSE of each model over these.

    Args:
        models: what each is called, and the folder of its results.
        size: side of the first model's input, at which the pictures are shown.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        InputError: no picture was inverted by all of them.
    """
    logs = []
    for _, out in models:
        with ResultsLog(out) as log:
            logs.append({str(record["name"]): record for record in log.of_verb(VERB)})
    rows: list[tuple[str, list[np.ndarray]]] = []
    errors: list[list[float]] = []
    for name in sorted(set.intersection(*(set(records) for records in logs))):
        mine = [records[name] for records in logs]
        made = [read_result(record, out) for record, (_, out) in zip(mine, models, strict=True)]
        pictures = [one for one in (read_original(mine[0], size), *made) if one is not None]
        if len(pictures) == 1 + len(models) and len(rows) < MAX_ROWS:
            rows.append((name, pictures))
        errors.append([float(record["mse"]) for record in mine])
    if not rows:
        raise InputError("no picture was inverted by all of the models, so there is no sheet to draw")
    means = np.mean(errors, axis=0)
    columns = ["input", *(f"{label}, MSE {mean:.4f}" for (label, _), mean in zip(models, means, strict=True))]
    return contact_sheet(rows, columns, f"{len(errors)} picture{'' if len(errors) == 1 else 's'}, {len(models)} models")
