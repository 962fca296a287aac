"""Put the figures of an evaluation into a bundle's model card.

    python recipes/card_figures.py BUNDLE --results DIR --labels labels.csv [--quality FILE.md]

DIR is the folder of `padinv eval BUNDLE --vs WPLUS --out DIR`. The section 'Figures' of MODEL_CARD.md is written: means
with 95 % bootstrap intervals, the ratio to the encoder without padding, means by group of labels.csv, and the table of
benchmarks/generator_quality.py. model.json is written again.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from direction_card import with_heading

from padinv.evaluation.bootstrap import compare, summarise
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.files import write_text
from padinv.runtime.hub.card import split_card, write_card

HEADING = "## Figures"
METRICS = {"mse": "MSE", "psnr": "PSNR (dB)", "ssim": "SSIM", "lpips_squeeze": "LPIPS squeeze", "identity": "identity"}
SMALLEST_GROUP = 30


def read_figures(folder: Path) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
    """Model name -> (image names, metric -> [N]) of every measurement in a folder."""
    found = {}
    for path in sorted(folder.glob("eval-*.json")):
        document = json.loads(path.read_text("utf-8"))
        if "conditions" not in document:
            continue
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {m: np.array([float(row[m]) for row in rows]) for m in METRICS if m in rows[0]}
        found[document["conditions"]["model"]["name"]] = ([row["name"] for row in rows], columns)
    return found


def main_table(figures: dict[str, tuple[list[str], dict[str, np.ndarray]]]) -> list[str]:
    """One row per model."""
    lines = [f"| | {' | '.join(METRICS.values())} |", "|---" * (len(METRICS) + 1) + "|"]
    for name, (_, columns) in figures.items():
        cells = [f"{i.value:.4f} [{i.low:.4f}, {i.high:.4f}]" for i in summarise(columns).values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def ratio_sentence(figures: dict[str, tuple[list[str], dict[str, np.ndarray]]], first: str, second: str) -> str:
    """How the first compares with the second, over the same images."""
    ratios = compare(figures[first][1], figures[second][1])
    parts = [
        f"{METRICS[m]} is {ratios[m].ratio.value:.3f} [{ratios[m].ratio.low:.3f}, {ratios[m].ratio.high:.3f}] times"
        for m in ("mse", "lpips_squeeze", "identity")
    ]
    return f"Beside {second} (same generator, images and settings, no padding): {', '.join(parts)}."


def group_table(names: list[str], columns: dict[str, np.ndarray], labels: Path) -> list[str]:
    """Means by apparent age bracket and apparent gender, with the sentence that says what differs most."""
    with labels.open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    shown = ("mse", "lpips_squeeze", "identity")
    lines = [f"| group | images | {' | '.join(METRICS[m] for m in shown)} |", "|---" * (len(shown) + 2) + "|"]
    means: dict[str, float] = {}
    for column in ("apparent_gender", "apparent_age"):
        for value in sorted({rows[name][column] for name in names}):
            chosen = np.array([rows[name][column] == value for name in names])
            if chosen.sum() < SMALLEST_GROUP:
                continue
            group = f"{column.removeprefix('apparent_')} {value}"
            means[group] = float(columns["identity"][chosen].mean())
            cells = [f"{columns[m][chosen].mean():.4f}" for m in shown]
            lines.append(f"| {group} | {int(chosen.sum())} | {' | '.join(cells)} |")
    best, worst = max(means, key=lambda g: means[g]), min(means, key=lambda g: means[g])
    sentence = (
        f"Identity is kept best for {best} ({means[best]:.3f}) and worst for {worst} ({means[worst]:.3f}). Groups of "
        f"fewer than {SMALLEST_GROUP} images are left out."
    )
    return [*lines, "", sentence]


def readme_table(figures: dict[str, tuple[list[str], dict[str, np.ndarray]]], first: str) -> str:
    """The short table between the marks of README.md."""
    others = [name for name in figures if name != first]
    names = [first, *others]
    lines = [f"| 1,000 held-out photographs | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for metric, words in METRICS.items():
        cells = [f"{figures[name][1][metric].mean():.4g}" for name in names]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


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


def section(bundle_name: str, results: Path, labels: Path, quality: Path | None) -> str:
    """The whole section as Markdown."""
    figures = read_figures(results)
    first = bundle_name
    names, columns = figures[first]
    parts = [
        HEADING,
        "",
        f"{len(names):,} held-out photographs, means with 95 % bootstrap intervals; MSE on [-1, 1]. Identity is the "
        "cosine similarity of a MobileFaceNet that took no part in training. Written by `recipes/card_figures.py`.",
        "",
        *main_table({first: figures[first], **{k: v for k, v in figures.items() if k != first}}),
    ]
    parts += [line for second in figures if second != first for line in ("", ratio_sentence(figures, first, second))]
    parts += ["", "### By group", "", *group_table(names, columns, labels)]
    if quality is not None:
        _, _, rest = quality.read_text("utf-8").partition("\n\n")
        parts += ["", "### Samples", "", rest.rstrip()]
    return "\n".join([*parts, ""])


def with_front_figures(card: str, columns: dict[str, np.ndarray]) -> str:
    """A card whose front matter, if it has one, has the means as its figures."""
    metadata, body = split_card(card)
    if not metadata:
        return card
    metadata["figures"] = {METRICS[name]: round(float(column.mean()), 4) for name, column in columns.items()}
    return write_card(metadata, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--quality", type=Path)
    parser.add_argument("--readme", type=Path, help="page whose table between marks is written, too")
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.bundle)
    text = section(bundle.name, arguments.results, arguments.labels, arguments.quality)
    card = arguments.bundle / "MODEL_CARD.md"
    whole = with_heading(card.read_text("utf-8"), HEADING, text)
    write_text(card, with_front_figures(whole, read_figures(arguments.results)[bundle.name][1]))
    kept = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format")}
    write_manifest(arguments.bundle, kept)
    if arguments.readme is not None:
        table = readme_table(read_figures(arguments.results), bundle.name)
        write_text(arguments.readme, put_between(arguments.readme.read_text("utf-8"), table))


if __name__ == "__main__":
    main()
