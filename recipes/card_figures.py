"""The figures of a model card: its main table, the comparison with other models, and the short table of README.md.

`recipes/results_page.py` measures, and puts these into place.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from padinv.evaluation.bootstrap import compare, summarise
from padinv.runtime.hub.card import split_card, write_card

HEADING = "## Figures"
METRICS = {"mse": "MSE", "psnr": "PSNR (dB)", "ssim": "SSIM", "lpips_squeeze": "LPIPS squeeze", "identity": "identity"}

Figures = dict[str, tuple[list[str], dict[str, np.ndarray]]]  # model -> (image names, metric -> [N])


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """File name -> row of labels.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def label_of(labels: dict[str, dict[str, str]], name: str) -> str:
    """Apparent gender and age of an image, as annotators guessed them."""
    row = labels.get(name)
    return "-" if row is None else f"{row['apparent_gender']}, {row['apparent_age']}"


def main_table(figures: Figures, earlier: list[str]) -> list[str]:
    """One row per model; `earlier` are rows of models that were not measured this time."""
    lines = [f"| | {' | '.join(METRICS.values())} |", "|---" * (len(METRICS) + 1) + "|"]
    for name, (_, columns) in figures.items():
        intervals = summarise({metric: columns[metric] for metric in METRICS})
        cells = [f"{i.value:.4f} [{i.low:.4f}, {i.high:.4f}]" for i in intervals.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, *earlier]


def ratio_sentence(figures: Figures, first: str, second: str) -> str:
    """How the first compares with the second, over the same images."""
    ratios = compare(figures[first][1], figures[second][1])
    parts = [
        f"{METRICS[m]} is {ratios[m].ratio.value:.3f} [{ratios[m].ratio.low:.3f}, {ratios[m].ratio.high:.3f}] times"
        for m in ("mse", "lpips_squeeze", "identity")
    ]
    return f"Beside {second} (same generator, images and settings, no padding): {', '.join(parts)}."


def earlier_rows(card: str, measured: set[str]) -> list[str]:
    """Rows of the main table of an older card whose models were not measured again."""
    part = card.partition(f"{HEADING}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    return [line for line in rows if line.split("|")[1].strip() not in measured]


def readme_table(figures: Figures, first: str, old: str = "") -> str:
    """The short table between the marks of README.md; models that were not measured keep their column of `old`."""
    kept = _columns(old)
    names = [*figures, *(name for name in kept if name not in figures)]
    lines = [f"| {len(figures[first][0]):,} held-out photographs | {' | '.join(names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for metric, words in METRICS.items():
        cells = [
            f"{figures[name][1][metric].mean():.4g}" if name in figures else kept[name].get(words, "-")
            for name in names
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _columns(page: str) -> dict[str, dict[str, str]]:
    """Model -> words -> cell of the table between the marks of a page."""
    table = page.partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    if len(rows) < 3:
        return {}
    head, _, *body = rows
    return {name: {row[0]: row[k] for row in body} for k, name in enumerate(head) if k > 0}


def put_between(text: str, table: str) -> str:
    """A page with the table between its marks.

    Raises:
        SystemExit: the page has no marks.
    """
    before, found, rest = text.partition("<!-- figures -->")
    _, end, after = rest.partition("<!-- /figures -->")
    if not found or not end:
        raise SystemExit("the page has no <!-- figures --> ... <!-- /figures -->")
    return f"{before}{found}\n{table}\n{end}{after}"


def section(first: str, figures: Figures, groups: list[str], quality: Path | None, *, old: str = "") -> str:
    """The section 'Figures' as Markdown.

    Args:
        first: the card's own model.
        figures: its measurement, and those of others on the same images.
        groups: lines of the part 'By group'.
        quality: a page of benchmarks/generator_quality.py.
        old: the card as it was.
    """
    earlier = earlier_rows(old, set(figures))
    parts = [
        HEADING,
        "",
        f"{len(figures[first][0]):,} held-out photographs, means with 95 % bootstrap intervals; MSE on [-1, 1]. "
        "Identity is the cosine similarity of a MobileFaceNet that took no part in training. Written by "
        "`recipes/results_page.py`.",
        "",
        *main_table(figures, earlier),
    ]
    for second in (name for name in figures if name != first):
        parts += ["", ratio_sentence(figures, first, second)]
    if earlier:
        names = ", ".join(row.split("|")[1].strip() for row in earlier)
        parts += ["", f"Measured earlier, with the encoder of that time beside it: {names}."]
    parts += ["", "### By group", "", *groups]
    if quality is not None and quality.is_file():
        parts += ["", "### Samples", "", quality.read_text("utf-8").partition("\n\n")[2].rstrip()]
    return "\n".join([*parts, ""])


def with_front_figures(card: str, columns: dict[str, np.ndarray]) -> str:
    """A card whose front matter, if it has one, has the means as its figures."""
    metadata, body = split_card(card)
    if not metadata:
        return card
    metadata["figures"] = {words: round(float(columns[name].mean()), 4) for name, words in METRICS.items()}
    return write_card(metadata, body)
