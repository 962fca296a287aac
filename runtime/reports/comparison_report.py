"""`report.html` of an edit: each result over what it was made from, with a slider between them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from padinv.runtime.reports.html import data_uri, escape, page

LIMIT = 200  # comparisons shown; a page with thousands opens slowly

_STYLE = """
.compare { position: relative; width: var(--side); max-width: 100%; touch-action: pan-y; }
.compare img { display: block; width: 100%; height: auto; user-select: none; -webkit-user-drag: none; }
.compare .over { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--cut, 50%)); }
.compare::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut, 50%); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 4px rgb(0 0 0 / 0.6); pointer-events: none; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.compare span { position: absolute; bottom: 8px; padding: 1px 7px; border-radius: 5px; font-size: 12px; color: #fff;
  background: rgb(0 0 0 / 0.55); pointer-events: none; }
.compare .left { left: 8px; } .compare .right { right: 8px; }
.compare:focus-within { outline: 2px solid var(--accent); outline-offset: 2px; }
.grid.compares { align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--side)), max-content)); }
.with { display: flex; gap: 8px; padding: 8px 14px 0; }
.with div { font-size: 12px; color: var(--soft); }
.with img { display: block; width: 64px; height: 64px; object-fit: cover; }
"""


@dataclass
class Comparison:
    """One result and what it is compared with.

    Attributes:
        name: shown below.
        before, after: uint8 RGB [H, W, 3] of one aspect ratio, and what they are called.
        beside: label -> further pictures, shown small (the picture whose latents were taken, ...).
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    labels: tuple[str, str] = ("Before", "After")
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)


def compare_html(
    title: str,
    comparisons: Sequence[Comparison],
    facts: Mapping[str, str],
    lines: Iterable[str] = (),
    skipped: Iterable[str] = (),
) -> str:
    """The page: self-contained, with nothing loaded from anywhere.

    Args:
        lines: sentences below the title. facts: label -> value, in the footer. skipped: sentences.
    """
    shown = comparisons[:LIMIT]
    parts = [f"<header><h1>{escape(title)}</h1>"]
    parts += [f'<p class="soft">{escape(line)}</p>' for line in lines]
    parts += ['<p class="soft">Drag across a picture, or use the arrow keys, to compare.</p></header><main>']
    if len(comparisons) > len(shown):
        parts.append(f'<p class="soft">The first {len(shown)} of {len(comparisons)} are shown.</p>')
    parts.append(
        '<div class="bar"><label>Size <input id="size" type="range" min="192" max="768" step="32" value="320"></label>'
        '<label>All at once <input id="all" type="range" min="0" max="100" value="50"></label></div>'
    )
    parts += ['<div class="grid compares">', *map(_figure, shown), "</div>"]
    if problems := list(skipped):
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in problems)
        parts.append(f'<h2>{len(problems)} skipped</h2><ul class="skipped">{items}</ul>')
    footer = " · ".join(f"{escape(label)} {escape(value)}" for label, value in facts.items())
    parts.append(f"</main><footer>{footer} · {time.strftime('%Y-%m-%d %H:%M')}</footer>")
    return page(f"{title} · padinv", "\n".join(parts), script="compare.js", style=_STYLE)


def _figure(comparison: Comparison) -> str:
    name = escape(comparison.name)
    left, right = (escape(label) for label in comparison.labels)
    beside = "".join(
        f'<div><img src="{data_uri(picture)}" alt="{escape(label)}">{escape(label)}</div>'
        for label, picture in comparison.beside.items()
    )
    return (
        f'<figure><div class="compare"><img src="{data_uri(comparison.before)}" alt="{left}: {name}">'
        f'<img class="over" src="{data_uri(comparison.after)}" alt="{right}: {name}">'
        f'<span class="left">{left}</span><span class="right">{right}</span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{left} or {right}: {name}"></div>'
        + (f'<div class="with">{beside}</div>' if beside else "")
        + f'<figcaption><b title="{name}">{name}</b></figcaption></figure>'
    )
