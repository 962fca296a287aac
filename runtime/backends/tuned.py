"""Tuned graphs of a bundle: float32 twins whose layers have the forms that were fastest on one kind of processor."""

from __future__ import annotations

import platform
from pathlib import Path

from padinv.runtime.bundle import TUNED_SUFFIX, Bundle

# Vector instructions by their names in /proc/cpuinfo, widest first: what decides which form of a layer is fastest.
_VECTORS = ("avx512f", "avx2", "avx", "sve", "asimd")


def processor_kind() -> str:
    """The kind of processor a graph is tuned for, e.g. 'x86_64 avx2'."""
    machine = platform.machine().lower().replace("amd64", "x86_64") or "unknown"
    try:
        flags = set(Path("/proc/cpuinfo").read_text("utf-8", errors="replace").split())
    except OSError:  # not Linux: the architecture alone
        return machine
    vectors = next((name for name in _VECTORS if name in flags), None)
    return f"{machine} {vectors}" if vectors else machine


def tuned_graph(bundle: Bundle, graph: str) -> str | None:
    """Name of the tuned file of a graph; None where the bundle has none for this kind of processor."""
    name = f"{graph}{TUNED_SUFFIX}"
    entry = bundle.manifest.get("tuned")
    fits = isinstance(entry, dict) and entry.get("processor") == processor_kind()
    return name if fits and bundle.has(name) else None
