"""The affine weights that turn latent codes into styles, written beside a bundle's graphs for SeFa without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from padinv.models.generator import Generator
from padinv.runtime.editing.sefa import MODULATION, affine_names
from padinv.runtime.files import write_bytes


def modulation_rows(generator: Generator) -> dict[str, np.ndarray]:
    """'code_l' -> the rows of every affine map that reads latent code l, float16 [rows, w_dim].

    Code l enters convolution l, and ToRGB at resolution 4 * 2^k reads code 2k + 1.
    """
    state = generator.state_dict()
    return {
        f"code_{code}": np.concatenate([state[name].numpy() for name in names]).astype(np.float16)
        for code, names in enumerate(affine_names(generator.spec))
    }


def write_modulation(folder: Path, generator: Generator) -> None:
    """Write `modulation.safetensors` into a bundle's folder."""
    from safetensors.numpy import save

    write_bytes(folder / MODULATION, save(modulation_rows(generator)))
