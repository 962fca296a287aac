"""The networks as they are trained, run in torch: what every exported graph is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from padinv.export.parity import Run
from padinv.export.torch_session import TorchNetworks
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator

ROWS_AT_ONCE = 2  # a 1024 px generator takes about half a gigabyte a row


def torch_run(generator: Generator, encoder: Encoder) -> Run:
    """(graph, feeds) -> outputs, through the modules' own forward passes in float32, noise constant."""
    networks = TorchNetworks(generator, encoder)

    @torch.no_grad()
    def run(graph: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(feeds.values())))
        parts = []
        for start in range(0, rows, ROWS_AT_ONCE):
            chunk = {name: torch.from_numpy(a[start : start + ROWS_AT_ONCE].copy()) for name, a in feeds.items()}
            parts.append(networks.compute(graph, chunk))
        return {name: torch.cat([p[name] for p in parts]).numpy() for name in parts[0]}

    return run
