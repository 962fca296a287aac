"""How many processor threads a session uses."""

from __future__ import annotations

import os
from pathlib import Path

from padinv.runtime.errors import UsageError

ALWAYS_ALLOWED = 64  # more threads than cores is slow, not wrong; hundreds a core exhaust memory


def default_threads() -> int:
    """Physical cores this process may use (two logical ones at least), and OMP_NUM_THREADS at most."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        usable = set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in usable:
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    count = max(len(cores), min(2, len(usable)))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(count, int(asked)) if asked.isdigit() and int(asked) > 0 else count


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that no machine like this one can use.

    Every session makes its own threads, each with its own stack, so a wrong number can exhaust the memory.

    Raises:
        UsageError: below 1, or above both 64 and four times the processor count.
    """
    most = max(ALWAYS_ALLOWED, 4 * (os.cpu_count() or 1))
    if threads is not None and not 1 <= threads <= most:
        raise UsageError(f"threads must be between 1 and {most} on this machine, not {threads}")
