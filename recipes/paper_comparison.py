"""What is as in the paper, what is worse, and why: from the result files of `padinv reproduce`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from padinv.evaluation.bootstrap import interval_text
from padinv.reproduce.table3 import PAPER, factor

# Why, in words; the figures beside them come from the files.
WHY = {
    "table3": "The encoder is small and reads all codes off one vector, the images have 128 px, and the training was "
    "short. Attributes are painted here, where the paper has edited photographs.",
    "table1": "The budget is a tiny part of the paper's 6.4 million training images, and the photographs are tight "
    "crops of 128 px, not FFHQ at 1024.",
    "table2": "At this budget the trainings have not converged, so that the order of the rows says how fast each "
    "learns, not how far it gets.",
    "edges": "The paper names the border as its weakness and gives no figures for it.",
}
_SIGNS = {True: "the same sign as in the paper", False: "the other way round than in the paper"}


def comparison_lines(results: Path) -> list[str]:
    """One line for each claim that a result file can answer."""
    lines = []
    for name, answer in (("table1", _table1), ("table2", _table2), ("table3", _table3), ("edges", _edges)):
        path = results / f"reproduce-{name}.json"
        if path.is_file():
            document = json.loads(path.read_text("utf-8"))
            if sentences := answer(document):
                lines += [*(f"- {sentence}" for sentence in sentences), f"  {WHY[name]}"]
    return lines or ["No result file of `padinv reproduce` yet."]


def _mse(row: dict[str, Any]) -> float:
    return float(row["metrics"]["mse"]["value"])


def _row(document: dict[str, Any], start: str) -> dict[str, Any] | None:
    return next((row for row in document["rows"] if row["label"] == start), None)


def _table1(document: dict[str, Any]) -> list[str]:
    ours, wplus = _row(document, "ours"), _row(document, "W+ only")
    if ours is None or wplus is None or ours["mse_ratio"] is None:
        return []
    ratio = ours["mse_ratio"]
    verdict = "as in the paper, padding reconstructs better" if ratio["high"] < 1 else "padding is not clearly better"
    budget = document["conditions"]["budget"]
    return [f"Table 1, {budget:,} training images: MSE with padding over W+ only {interval_text(ratio)}; {verdict}."]


def _table2(document: dict[str, Any]) -> list[str]:
    rows = [row for row in document["rows"] if row["reg"] > 0] or document["rows"]
    best = min(rows, key=_mse)
    last, budget = rows[-1], document["conditions"]["budget"]
    turn = "and it turns one level earlier, as there" if best is rows[-2] else f"the best row here is {best['padding']}"
    return [
        f"Table 2, {budget:,} training images: the paper's error falls with each level up to 32 px; {turn} "
        f"({best['padding']} {_mse(best):.4f}, {last['padding']} {_mse(last):.4f})."
    ]


def _table3(document: dict[str, Any]) -> list[str]:
    said: dict[str, list[str]] = {}
    for row in (row for row in document["rows"] if row["attribute"] in PAPER):
        p, s = row["means"]["out_p"], row["means"]["out_s"]
        agrees = (p > s) == PAPER[row["attribute"]].endswith("spatial")
        low, high = (row.get("factor_out", {}).get(end) or p / s for end in ("low", "high"))
        verdict = "the interval holds both signs" if low < 1 < high else _SIGNS[agrees]
        paper = PAPER[row["attribute"]].partition(",")[0]
        said.setdefault(verdict, []).append(f"{row['attribute']} {factor(p, s)} (paper {paper})")
    return [f"Table 3, {verdict}: {', '.join(parts)}." for verdict, parts in said.items()]


def _edges(document: dict[str, Any]) -> list[str]:
    parts = [f"{row['label']} {row['border_to_centre']['value']:.2f}" for row in document["rows"]]
    return [f"Border error over the centre's: {', '.join(parts)}."]
