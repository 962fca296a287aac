"""`report.html`: originals beside reconstructions, large and sortable, with a summary on top."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.alignment.aligner import cut
from padinv.runtime.errors import InputError
from padinv.runtime.images import prepare, read_image, read_prepared
from padinv.runtime.reports.cards import BUDGET, Card, Column, Problem, address, cards_page
from padinv.runtime.reports.means import Means
from padinv.runtime.spilled import Spilled

REPORT = "report.html"
LIMIT = 400  # results whose pictures are in the page; the page links to the files of the others
SHOWN_SIDE = 512  # larger pictures are shown at this size

_COLUMNS = (Column("MSE", 4), Column("PSNR", 2, " dB", "low"), Column("SSIM", 3, "", "low"))
_KEYS = ("mse", "psnr", "ssim", "encoder_mse")  # of the columns, in a record
_BEFORE = Column("MSE before refinement", 4)
_LABELS = ("Original", "Reconstruction")


def report_html(
    records: Iterable[Mapping[str, Any]],
    originals: Callable[[Mapping[str, Any]], np.ndarray | None],
    results: Callable[[Mapping[str, Any]], np.ndarray | None],
    facts: Mapping[str, str],
    skipped: Iterable[Problem] = (),
    *,
    folder: Path = Path(),
    size: int = 0,
    budget: int = BUDGET,
) -> Iterator[str]:
    """The page, in pieces.

    Args:
        records: lines of `results.jsonl`, by name.
        originals: record -> uint8 RGB [S, S, 3], or None where the picture is gone.
        results: record -> the same of its reconstruction.
        facts: label -> value, shown in the footer (model, backend, ...).
        skipped: inputs that gave nothing.
        folder: where the page will be; addresses of files are relative to it.
        size: px of the model's input. A photograph that is smaller has a warning.
        budget: bytes of the pictures in the page.
    """
    means = Means((*_KEYS, "seconds"))

    def made() -> Iterator[Card]:
        for place, record in enumerate(records):
            means.add(record)
            if place < LIMIT:
                yield _card(record, folder, size, originals(record), results(record))
            else:
                yield _linked(record, folder, size)

    cards = Spilled(made())
    count, found = len(cards), means.values()
    columns = _COLUMNS if found["encoder_mse"] is None else (*_COLUMNS, _BEFORE)
    lines = ["Each picture beside what the generator makes of its inversion. Select one to enlarge it."]
    if count > LIMIT:
        lines.append(
            f"The pictures of the first {LIMIT} by name are in this page. The others are read from their files, so "
            "keep the page beside them; a photograph that was aligned is shown whole."
        )
    return cards_page(
        f"{count:,} picture{'' if count == 1 else 's'} inverted",
        cards,
        _LABELS,
        facts=facts,
        columns=columns,
        figures=_summary(count, found),
        lines=lines,
        skipped=skipped,
        budget=budget,
    )


def _card(
    record: Mapping[str, Any],
    folder: Path,
    size: int,
    original: np.ndarray | None,
    result: np.ndarray | None,
) -> Card:
    file = None if result is None else _result_file(record, folder)
    values, warnings = _values(record), _warnings(record, size)
    return Card(str(record["name"]), original, result, second_file=file, values=values, warnings=warnings)


def _linked(record: Mapping[str, Any], folder: Path, size: int) -> Card:
    """A card of a record whose pictures are not read; the browser reads their files when it shows them."""
    aligned = record.get("transform") is not None
    return Card(
        str(record["name"]),
        first_file=address(Path(str(record["source"])), folder) if "source" in record else None,
        second_file=_result_file(record, folder),
        labels=("Photograph", _LABELS[1]) if aligned else None,
        values=_values(record),
        warnings=_warnings(record, size),
    )


def _result_file(record: Mapping[str, Any], folder: Path) -> str | None:
    try:
        return address(folder / str(record["outputs"]["image"]["file"]), folder)
    except (KeyError, TypeError):
        return None


def _values(record: Mapping[str, Any]) -> list[float | None]:
    found = [record.get(key) for key in _KEYS]
    return [value if isinstance(value, (int, float)) else None for value in found]


def _warnings(record: Mapping[str, Any], size: int) -> list[str]:
    """What may be wrong with a result: the sentence that the run said, and a photograph that was enlarged."""
    warnings = [str(record["note"])] if record.get("note") else []
    photograph = record.get("size")
    if isinstance(photograph, list) and photograph and min(photograph) < size:
        warnings.append(f"enlarged: the photograph has {'×'.join(map(str, photograph))} px, the model takes {size}")
    return warnings


def _number(value: Any, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if isinstance(value, (int, float)) else "–"


def _summary(count: int, means: Mapping[str, float | None]) -> list[tuple[str, str]]:
    seconds, before = means["seconds"], means["encoder_mse"]
    milliseconds = None if seconds is None else 1000 * seconds
    return [
        (f"{count:,}", "pictures"),
        (_number(means["mse"], 4), "mean MSE, on [−1, 1]"),
        *([] if before is None else [(_number(before, 4), "mean MSE before refinement")]),
        (_number(means["psnr"], 2, " dB"), "mean PSNR"),
        (_number(means["ssim"], 3), "mean SSIM"),
        (
            _number(milliseconds, 0 if milliseconds and milliseconds >= 10 else 1, " ms"),
            "per image, encoder and generator" if before is None else "per image, with refinement",
        ),
    ]


def read_original(record: Mapping[str, Any], size: int) -> np.ndarray | None:
    """The model's input of a record, read from its source again; None when that is gone."""
    try:
        if record.get("transform") is not None:
            image, full = read_image(str(record["source"]))
            return cut(image, np.asarray(record["transform"], np.float64), size, size=full).pixels
        return read_prepared(str(record["source"]), size, str(record.get("fit", "crop"))).pixels
    except (InputError, ValueError):
        return None


def read_result(record: Mapping[str, Any], out: Path) -> np.ndarray | None:
    """The reconstruction of a record at the size it is shown; None when it is gone."""
    try:
        image, _ = read_image(out / str(record["outputs"]["image"]["file"]))
    except (InputError, KeyError, TypeError):
        return None
    return prepare(image, min(SHOWN_SIDE, image.width)).pixels
