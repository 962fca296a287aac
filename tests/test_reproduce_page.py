"""The tables of docs/reproduce.md are what the result files say, and these hold neither photographs nor paths."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "reproduce_tables.py"


def test_the_page_agrees_with_the_result_files() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"run: python {SCRIPT.name}; {done.stderr}"


def test_results_hold_no_pictures_and_no_paths_of_this_machine() -> None:
    files = [*ROOT.glob("benchmarks/results/reproduce-*"), *ROOT.glob("docs/pictures/reproduce-*.svg")]
    for path in files:
        text = path.read_text("utf-8")
        assert "<image" not in text, path
        assert "data:" not in text, path
        assert not re.search(r"/(home|root|work|tmp)/", text), path
