"""The tables of docs/performance.md are what the result files say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "performance_tables.py"


def test_the_page_agrees_with_the_result_files() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"run: python {SCRIPT.name}; {done.stderr}"
