"""Read files one by one in forked children, and report each one's sentence, growth in memory and seconds.

Run as a script: `python bounded_read.py FUNCTION PATH...` prints one JSON object a file. A fork starts with everything
imported, so that growth is what reading itself took; the address space is limited too, so a bomb cannot hurt the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 60
LIMIT_MEMORY = 3 << 30


@dataclass(frozen=True)
class Outcome:
    """What reading one file led to.

    Attributes:
        error: type and text of the exception, or '' where the file was read.
        growth: bytes that the process's resident memory grew by at its highest.
        seconds: wall-clock time.
    """

    error: str
    growth: int
    seconds: float


def read_bounded(function: str, paths: Sequence[Path]) -> dict[Path, Outcome]:
    """Read every path with 'module:name' in a child of its own."""
    command = [sys.executable, __file__, function, *map(str, paths)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    outcomes = [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(paths, outcomes, strict=True))


def unpickle(path: str) -> None:
    """Python's own unpickler, for a test that the bounds can fail. Only for files that the test wrote itself."""
    import pickle

    pickle.loads(Path(path).read_bytes())


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    raise AssertionError(field)


def _measure(call: Callable[[str], Any], path: str) -> dict[str, Any]:
    import resource

    Path("/proc/self/clear_refs").write_text("5")  # sets the highest resident size back to the present one
    before, begun = _memory("VmRSS"), time.perf_counter()
    size = _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT_MEMORY, size + LIMIT_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS))
    try:
        call(path)
        error = ""
    except BaseException as problem:
        error = f"{type(problem).__name__}: {problem}"[:2000]
    seconds = time.perf_counter() - begun
    return {"error": error, "growth": _memory("VmHWM") - before, "seconds": seconds}


def _fork(call: Callable[[str], Any], path: str) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(_measure(call, path)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"error": f"Died: status {status}", "growth": LIMIT_MEMORY, "seconds": float(LIMIT_SECONDS)}
    return json.loads(text)


def _main() -> None:
    from importlib import import_module

    module, name = sys.argv[1].split(":")
    target: Any = import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    warm = Path("/nonexistent/padinv")  # imports what is imported late
    with contextlib.suppress(Exception):
        target(str(warm))
    for path in sys.argv[2:]:
        print(json.dumps(_fork(target, path)))


if __name__ == "__main__":
    _main()
