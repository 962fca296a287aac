"""What one contestant costs a fresh process: seconds to the first image, and the most memory it held.

`python -m padinv.runtime.benchmark.cold_start BUNDLE BACKEND PRECISION THREADS DEVICE` prints them as JSON; '-' stands
for a default.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass

from padinv.runtime.errors import BackendError


@dataclass(frozen=True)
class ColdStart:
    """Seconds of a fresh process, and its memory.

    Attributes:
        open: to import the runtime, read the bundle and open encoder and generator.
        first: to reconstruct the first image after that.
        peak_mib: the most memory the process held; None where the system does not say.
    """

    open: float
    first: float
    peak_mib: float | None


def cold_start(
    bundle: str, backend: str, precision: str, threads: int | None, device: str | None, timeout: float = 300
) -> ColdStart:
    """Measure in a fresh process.

    Raises:
        BackendError: it failed or took longer than `timeout` seconds.
    """
    arguments = [bundle, backend, precision, str(threads or "-"), device or "-"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, *arguments], capture_output=True, text=True, timeout=timeout
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(f"the cold start of {backend} did not end ({error})") from error
    try:
        value = json.loads(done.stdout.splitlines()[-1])
        return ColdStart(float(value["open"]), float(value["first"]), value["peak_mib"])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BackendError(f"the cold start of {backend} failed: {last[:200]}") from error


def _measure(bundle: str, backend: str, precision: str, threads: str, device: str) -> dict[str, float | None]:
    started = time.perf_counter()
    import numpy as np

    from padinv.runtime.benchmark.machine import peak_memory_mib
    from padinv.runtime.model import Model

    count = None if threads == "-" else int(threads)
    model = Model.load(bundle, backend, count, precision, None if device == "-" else device)
    model.session("encoder")
    model.session("generator")
    opened = time.perf_counter()
    size = model.spec.image_size
    model.reconstruct(np.zeros((1, 3, size, size), np.float32))
    return {
        "open": opened - started,
        "first": time.perf_counter() - opened,
        "peak_mib": peak_memory_mib(),
    }


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:6])))
