"""`report.html`: originals beside reconstructions, large and sortable, with a summary on top."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.alignment.aligner import cut
from padinv.runtime.errors import InputError
from padinv.runtime.images import prepare, read_image, read_prepared
from padinv.runtime.reports.html import data_uri, escape, page

REPORT = "report.html"
LIMIT = 400  # pictures shown; a page with thousands opens slowly
SHOWN_SIDE = 512  # larger pictures are shown at this size

_KEYS = (("name", "Name"), ("mse", "MSE"), ("psnr", "PSNR"), ("ssim", "SSIM"))


def report_html(
    records: Sequence[Mapping[str, Any]],
    originals: Callable[[Mapping[str, Any]], np.ndarray | None],
    results: Callable[[Mapping[str, Any]], np.ndarray | None],
    facts: Mapping[str, str],
    skipped: Iterable[tuple[str, str]] = (),
) -> str:
    """The page.

    Args:
        records: lines of `results.jsonl`.
        originals, results: record -> uint8 RGB [S, S, 3], or None where the picture is gone.
        facts: label -> value, shown in the footer (model, backend, ...).
        skipped: (path, sentence) of inputs that gave nothing.
    """
    records = sorted(records, key=lambda record: str(record["name"]))
    shown = records[:LIMIT]
    count = len(records)
    title = f"{count} picture{'' if count == 1 else 's'} inverted"
    parts = [
        f"<header><h1>{title}</h1>",
        '<p class="soft">Each picture beside what the generator makes of its inversion. Select one to enlarge it.</p>',
        _summary(records),
        "</header><main>",
    ]
    if count > len(shown):
        parts.append(f'<p class="soft">The first {len(shown)} by name are shown; results.jsonl holds all {count}.</p>')
    if shown:
        parts += [_bar(), '<div class="grid">', *(_figure(r, originals(r), results(r)) for r in shown), "</div>"]
    problems = list(skipped)
    if problems:
        items = "".join(f"<li>{escape(sentence)}</li>" for _, sentence in problems)
        parts.append(f'<h2>{len(problems)} skipped</h2><ul class="skipped">{items}</ul>')
    lines = " · ".join(f"{escape(label)} {escape(value)}" for label, value in facts.items())
    parts.append(f"</main><footer>{lines} · {time.strftime('%Y-%m-%d %H:%M')}</footer><dialog></dialog>")
    return page(f"{title} · padinv", "\n".join(parts), script="report.js")


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [r[key] for r in records if isinstance(r.get(key), (int, float))]
    return sum(values) / len(values) if values else None


def _number(value: Any, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if isinstance(value, (int, float)) else "–"


def _summary(records: Sequence[Mapping[str, Any]]) -> str:
    seconds = _mean(records, "seconds")
    milliseconds = None if seconds is None else 1000 * seconds
    facts = [
        (str(len(records)), "pictures"),
        (_number(_mean(records, "mse"), 4), "mean MSE, on [−1, 1]"),
        (_number(_mean(records, "psnr"), 2, " dB"), "mean PSNR"),
        (_number(_mean(records, "ssim"), 3), "mean SSIM"),
        (
            _number(milliseconds, 0 if milliseconds and milliseconds >= 10 else 1, " ms"),
            "a picture, encoder and generator",
        ),
    ]
    return (
        '<ul class="facts">'
        + "".join(f"<li><b>{value}</b><span>{label}</span></li>" for value, label in facts)
        + "</ul>"
    )


def _bar() -> str:
    buttons = "".join(
        f'<button type="button" data-key="{key}" data-label="{label}" aria-pressed="{str(key == "name").lower()}">'
        f"{label}{' ↑' if key == 'name' else ''}</button>"
        for key, label in _KEYS
    )
    return (
        f'<div class="bar"><span class="soft">Sort by</span><div class="keys">{buttons}</div>'
        '<label>Size <input id="size" type="range" min="192" max="512" step="16" value="256"></label></div>'
    )


def _figure(record: Mapping[str, Any], original: np.ndarray | None, result: np.ndarray | None) -> str:
    name = escape(record["name"])
    data = "".join(
        f' data-{key}="{record[key] if isinstance(record.get(key), (int, float)) else ""}"'
        for key in ("mse", "psnr", "ssim")
    )

    def half(pixels: np.ndarray | None, label: str) -> str:
        if pixels is None:
            return f'<div class="none">{label.lower()} not found</div>'
        return f'<div><img src="{data_uri(pixels)}" alt="{label}: {name}"><span>{label}</span></div>'

    return (
        f'<figure data-name="{name}"{data}>'
        f'<button type="button" class="pair" aria-label="Enlarge {name}">'
        f"{half(original, 'Original')}{half(result, 'Reconstruction')}</button>"
        f'<figcaption><b title="{name}">{name}</b><span>MSE <i>{_number(record.get("mse"), 4)}</i></span>'
        f"<span>PSNR <i>{_number(record.get('psnr'), 2, ' dB')}</i></span>"
        f"<span>SSIM <i>{_number(record.get('ssim'), 3)}</i></span></figcaption></figure>"
    )


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
