"""The page and the contact sheet about an archive of training pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from padinv.datasets.statistics import Statistics
from padinv.picture_sources import PictureSource, open_pictures
from padinv.picture_sources.source import evenly
from padinv.runtime.reports.contact_sheet import contact_sheet, write_sheet
from padinv.runtime.reports.html import data_uri, render, write_page

if TYPE_CHECKING:
    from padinv.datasets.prepare import DatasetSettings, DatasetSummary

SHOWN = 96  # pictures of the contact sheet
NAMED = 1_000  # damaged pictures and duplicates on the page


def write_report(
    stem: Path, folder: Path, source: PictureSource, settings: DatasetSettings, summary: DatasetSummary
) -> None:
    """Write `STEM.html` and `STEM-contact-sheet.png`.

    Args:
        stem: path of the archive without its suffix.
        folder: where the parts for training are.
    """
    parts = [open_pictures(path) for path in sorted(folder.iterdir()) if path.suffix in (".zip", ".tar")]
    places = [(part, k) for part in parts for k in range(len(part))]
    shown = [places[k] for k in evenly(len(places), SHOWN)]
    rows = [(part.name(k), [part.read(k, settings.size)]) for part, k in shown]
    sheet = contact_sheet(rows, [""], f"{summary.pictures:,} pictures of {settings.size} px")
    write_sheet(Path(f"{stem}-contact-sheet.png"), sheet, overwrite=True)
    facts = _facts(source, settings, summary)
    text = render(
        "dataset.html",
        title=stem.name,
        style="",
        heading=stem.name,
        facts=facts,
        bars=_heights(summary.statistics.histogram),
        sheet=data_uri(sheet),
        lists=[
            *_list("Left out: damaged or without a face", summary.skipped),
            *_list("Left out: duplicates", [f"{name} equals {other}" for name, other in summary.duplicates]),
        ],
    )
    write_page(Path(f"{stem}.html"), text)


def _facts(source: PictureSource, settings: DatasetSettings, summary: DatasetSummary) -> list[tuple[str, str]]:
    found: Statistics = summary.statistics
    commonest = sorted(found.sizes.items(), key=lambda item: -item[1])[:5]
    facts = [
        ("Source", str(source.path)),
        ("Pictures for training", f"{summary.pictures:,}"),
        ("Pictures for validation", f"{summary.val_pictures:,}"),
        ("Left out", f"{len(summary.skipped):,} damaged, {len(summary.duplicates):,} duplicates"),
        ("Size", f"{settings.size} px, {settings.resize}"),
        ("Alignment", settings.align + (f", template {settings.template}" if settings.template else "")),
        ("Aligned by this command", f"{found.aligned:,}"),
        ("Enlarged, because the source is smaller", f"{found.enlarged:,}"),
        ("Shorter side of the sources", f"{found.smallest} to {found.largest} px"),
        ("Commonest sizes", ", ".join(f"{size} ({count:,})" for size, count in commonest)),
        ("Mean of red, green, blue", ", ".join(f"{value:.4f}" for value in found.channel_means())),
        ("Standard deviation", ", ".join(f"{value:.4f}" for value in found.channel_deviations())),
    ]
    return [(name, value) for name, value in facts if value not in ("", "0")]


def _heights(shares: list[float]) -> list[float]:
    """Per cent of the highest bar."""
    top = max(shares) or 1.0
    return [100 * share / top for share in shares]


def _list(title: str, lines: list[str]) -> list[tuple[str, int, list[str], int]]:
    """(title, how many lines, those that are shown, how many more), if there are any."""
    return [(title, len(lines), lines[:NAMED], max(0, len(lines) - NAMED))] if lines else []
