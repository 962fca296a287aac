"""The tables of docs/performance.md: what was asked, and whether the result files show it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "performance_tables.py"


def row(backend: str, precision: str, speed: float, plain: bool = False) -> dict[str, Any]:
    name = f"{backend} {precision}{', plain graphs' if plain else ''}"
    return {"contestant": name, "backend": backend, "precision": precision, "stage": "end to end", "batch": 1,
            "images_per_second": speed, "plain": plain}  # fmt: skip


@pytest.mark.parametrize(("bf16", "levels", "met"), [(3.5, 0.2, "yes"), (3.2, 0.7, "no")])
def test_claims_are_met_only_where_the_figures_say_so(bf16: float, levels: float, met: str) -> None:
    tables = runpy.run_path(str(SCRIPT))
    value = {
        "quiet": True,
        "machine": {"processor": "X", "cores": 2},
        "rows": [
            row("torch", "fp32", 1.0), row("torch", "bf16", 2.0), row("cpu", "fp32", 1.8),
            row("cpu", "fp32", 1.2, plain=True), row("openvino", "fp32", 1.6), row("openvino", "bf16", bf16),
        ],
        "differences_in_grey_levels": {"openvino bf16": {"mean": levels}},
    }  # fmt: skip
    found = {what: (measured, verdict) for what, _, measured, verdict, _ in tables["claims_of_bench"]("f", value)}
    assert found["float32, times torch float32"] == ("1.80", "yes")
    assert found["float32, tuned graphs, times onnxruntime's plain graphs"] == ("1.50", "yes")
    assert found["bfloat16, times torch float32"] == (f"{bf16:.2f}", met)
    assert found["bfloat16, mean difference in grey levels"] == (f"{levels:.3f}", met)
