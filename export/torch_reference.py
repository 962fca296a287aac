"""The networks as they are trained, run in torch: what every exported graph is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from padinv.export.onnx_modules import complete
from padinv.export.parity import Run
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator

ROWS_AT_ONCE = 2  # a 1024 px generator takes about half a gigabyte a row


def torch_run(generator: Generator, encoder: Encoder) -> Run:
    """(graph, feeds) -> outputs, through the modules' own forward passes in float32, noise constant."""
    spec = generator.spec

    def part(graph: str, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if graph == "mapping":
            return {"w": generator.mapping(feeds["z"])}
        if graph == "generator":
            rings = {r: feeds[f"pad_{r}"] for r in spec.pad_resolutions}
            return {"output": generator.synthesis(feeds["wp"], feeds["const"], rings)}
        wp, const, predicted = encoder(feeds["image"])
        values = (wp, *complete(spec, encoder.const, wp, const, predicted))
        return dict(zip(spec.latent_shapes, values, strict=True))

    @torch.no_grad()
    def run(graph: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(feeds.values())))
        parts = []
        for start in range(0, rows, ROWS_AT_ONCE):
            chunk = {name: torch.from_numpy(a[start : start + ROWS_AT_ONCE].copy()) for name, a in feeds.items()}
            parts.append(part(graph, chunk))
        return {name: torch.cat([p[name] for p in parts]).numpy() for name in parts[0]}

    return run
