"""Figures by apparent age bracket and apparent gender, with a sentence on what differs."""

from __future__ import annotations

from typing import Any

import numpy as np

from padinv.evaluation.bootstrap import resampled_means, summarise

SMALLEST = 30
SHOWN = {"mse": "MSE", "lpips_squeeze": "LPIPS squeeze", "identity": "identity"}
_RESAMPLES = 10_000


def group_facts(
    names: list[str], columns: dict[str, np.ndarray], labels: dict[str, dict[str, str]]
) -> dict[str, dict[str, Any]]:
    """Group -> images, metrics with intervals, and how each differs from all other images; no small groups."""
    found = {}
    known = [k for k, name in enumerate(names) if name in labels]
    for column in ("apparent_gender", "apparent_age"):
        for value in sorted({labels[names[k]][column] for k in known}):
            inside = np.array([name in labels and labels[name][column] == value for name in names])
            if inside.sum() < SMALLEST or (~inside).sum() < SMALLEST:
                continue
            shown = {metric: columns[metric] for metric in SHOWN}
            intervals = summarise({metric: values[inside] for metric, values in shown.items()})
            found[f"{column.removeprefix('apparent_')} {value}"] = {
                "images": int(inside.sum()),
                "metrics": {metric: one.to_dict() for metric, one in intervals.items()},
                "difference": {m: _difference(values[inside], values[~inside]) for m, values in shown.items()},
            }
    return found


def _difference(group: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Mean of the group minus that of the others, with a 95 % bootstrap interval; both are resampled."""
    a, b = (resampled_means(values[:, None], _RESAMPLES, seed)[:, 0] for seed, values in enumerate((group, others)))
    low, high = np.percentile(a - b, [2.5, 97.5])
    return {"value": float(group.mean() - others.mean()), "low": float(low), "high": float(high)}


def group_lines(groups: dict[str, dict[str, Any]]) -> list[str]:
    """The table and what differs, as Markdown."""
    lines = [f"| group | images | {' | '.join(SHOWN.values())} |", "|---" * (len(SHOWN) + 2) + "|"]
    for name, facts in groups.items():
        cells = [
            f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]" for one in (facts["metrics"][m] for m in SHOWN)
        ]
        lines.append(f"| {name} | {facts['images']} | {' | '.join(cells)} |")
    return [*lines, "", *_sentences(groups)]


def _sentences(groups: dict[str, dict[str, Any]]) -> list[str]:
    said = []
    for metric, words in SHOWN.items():
        better = -1 if metric == "identity" else 1
        clear = {
            name: one
            for name, facts in groups.items()
            if (one := facts["difference"][metric])["low"] > 0 or one["high"] < 0
        }
        if not clear:
            said.append(f"{words}: no group differs from the other images by more than its interval.")
            continue
        parts = [
            f"{name} by {one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}], "
            f"{'worse' if better * one['value'] > 0 else 'better'}"
            for name, one in clear.items()
        ]
        said.append(f"{words} differs from that of all other images for {'; '.join(parts)}.")
    return [
        "What differs, with 95 % intervals of the difference:",
        "",
        *(f"- {sentence}" for sentence in said),
        "",
        f"Labels are annotators' guesses. Groups of fewer than {SMALLEST} images are left out. With this many "
        "comparisons one in twenty differs by chance.",
    ]
