"""The page and the contact sheet about an archive of training pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from padinv.datasets.statistics import Statistics
from padinv.picture_sources import PictureSource, open_pictures
from padinv.picture_sources.source import evenly
from padinv.runtime.reports.contact_sheet import contact_sheet, write_sheet
from padinv.runtime.reports.html import data_uri, escape, page, write_page

if TYPE_CHECKING:
    from padinv.datasets.prepare import DatasetSettings, DatasetSummary

SHOWN = 96  # pictures of the contact sheet
NAMED = 1_000  # damaged pictures and duplicates on the page
_STYLE = (
    ".bars{display:flex;align-items:flex-end;height:80px;gap:1px}.bars i{flex:1;background:#5a7}"
    "td{padding:.15em 1em .15em 0}img{max-width:100%}"
)


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
    body = [f"<h1>{escape(stem.name)}</h1>", _table(facts), "<h2>Brightness</h2>", _bars(summary.statistics.histogram)]
    body += ["<h2>Pictures, evenly spread</h2>", f'<img alt="contact sheet" src="{data_uri(sheet)}">']
    body += _list("Left out: damaged or without a face", summary.skipped)
    body += _list("Left out: duplicates", [f"{name} equals {other}" for name, other in summary.duplicates])
    write_page(Path(f"{stem}.html"), page(stem.name, "\n".join(body), style=_STYLE))


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


def _table(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    return f"<table>{rows}</table>"


def _bars(shares: list[float]) -> str:
    top = max(shares) or 1.0
    bars = "".join(f'<i style="height:{100 * share / top:.1f}%"></i>' for share in shares)
    return f'<div class="bars" role="img" aria-label="histogram from black to white">{bars}</div>'


def _list(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:NAMED])
    more = f"<li>and {len(lines) - NAMED:,} more</li>" if len(lines) > NAMED else ""
    return [f"<h2>{escape(title)} ({len(lines):,})</h2>", f"<ul>{items}{more}</ul>"]
