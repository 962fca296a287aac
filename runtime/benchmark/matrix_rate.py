"""How many float operations a second this machine's own matrix product reaches: the yardstick of every backend.

`python -m padinv.runtime.benchmark.matrix_rate` prints the rates as JSON. It runs in a process of its own, because
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which some machines set, slow NumPy's product by a factor of four and are read
when NumPy is imported.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SIDE = {"cpu": 2048, "cuda": 8192}
PROBE = 256  # side of a first, small product
SLOWEST = 5.0  # GFLOP/s; below it the small product's rate is the result
ROUNDS = 7
_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def matrix_rates(threads: int | None = None, timeout: float = 120) -> dict[str, float]:
    """'cpu fp32', 'cpu bf16', 'cuda tf32', ... -> GFLOP/s of a square matrix product; empty where measuring fails.

    Args:
        threads: of the processor; None: one per core.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _SLOWING}
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=True)
        value = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return {str(name): float(rate) for name, rate in value.items()}


def product_rate(product: Callable[[], Any], side: int) -> float:
    """GFLOP/s of a call that multiplies two `side` x `side` matrices, from the median of several."""
    product()
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        product()
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(taken) / 1e9


def _measure() -> dict[str, float]:
    import numpy as np

    side = SIDE["cpu"]
    a = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    rates = {"cpu fp32": product_rate(lambda: a @ a, side)}
    try:
        import torch
    except ImportError:
        return rates
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    for name, kind in kinds.items():
        x = torch.from_numpy(a).to(kind)
        small = x[:PROBE, :PROBE].contiguous()
        rate = product_rate(lambda x=small: x @ x, PROBE)  # type: ignore[misc]
        if rate > SLOWEST:  # processors without bfloat16 emulate it, where a full-sized product takes minutes
            rate = product_rate(lambda x=x: x @ x, side)  # type: ignore[misc]
        rates[f"cpu {name}"] = max(rates.get(f"cpu {name}", 0.0), rate)
    if torch.cuda.is_available():
        side = SIDE["cuda"]
        for name, kind in {**kinds, "tf32": torch.float32, "fp16": torch.float16}.items():
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            y = torch.randn(side, side, device="cuda", dtype=kind)

            def product(y: Any = y) -> None:
                y @ y
                torch.cuda.synchronize()

            rates[f"cuda {name}"] = product_rate(product, side)
    return rates


if __name__ == "__main__":
    print(json.dumps(_measure()))
