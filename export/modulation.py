"""The affine weights that turn latent codes into styles, written beside a bundle's graphs for SeFa without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from padinv.models.generator import Generator
from padinv.runtime.editing.sefa import MODULATION
from padinv.runtime.files import write_bytes


def modulation_rows(generator: Generator) -> dict[str, np.ndarray]:
    """'code_l' -> the rows of every affine map that reads latent code l, float16 [rows, w_dim].

    Code l enters convolution l, and ToRGB at resolution 4 * 2^k reads code 2k + 1.
    """
    rows: dict[int, list[np.ndarray]] = {code: [] for code in range(generator.spec.num_layers)}
    for code, layer in enumerate(generator.layers):
        rows[code].append(layer.affine.weight.detach().numpy())  # type: ignore[union-attr,operator]
    for k, layer in enumerate(generator.to_rgb):
        rows[2 * k + 1].append(layer.affine.weight.detach().numpy())  # type: ignore[union-attr,operator]
    return {f"code_{code}": np.concatenate(found).astype(np.float16) for code, found in rows.items()}


def write_modulation(folder: Path, generator: Generator) -> None:
    """Write `modulation.safetensors` into a bundle's folder."""
    from safetensors.numpy import save

    write_bytes(folder / MODULATION, save(modulation_rows(generator)))
