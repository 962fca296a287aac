"""openvino reports its use to a server when it is imported; padinv keeps it from doing so."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino_telemetry")

SCRIPT = """
import multiprocessing.process, sys
started = []
multiprocessing.process.BaseProcess.start = started.append
from padinv.runtime.backends.openvino import devices
assert "CPU" in devices()
assert not started, started
assert "openvino_telemetry" not in sys.modules
"""


def test_opening_openvino_starts_no_process_that_reports_it() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
