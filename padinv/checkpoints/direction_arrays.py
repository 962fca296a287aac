"""Arrays out of a torch file that holds directions (e4e's editings), read without running anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from padinv.checkpoints.container.lazy_tensors import TensorRef
from padinv.checkpoints.container.open import open_contents, reading
from padinv.runtime.editing.foreign_direction import MAX_BYTES, MAX_MEMBERS
from padinv.runtime.errors import InputError

_NUMBERS = ("float64", "float32", "float16", "bfloat16")


def read_torch_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The tensors of a torch file: a single one (under the name ''), or those of a flat mapping by name.

    Raises:
        InputError: missing, damaged, too large, or without a tensor of numbers.
    """
    path = Path(path)
    with open_contents(path) as (_, contents), reading(path):
        found = {name: value for name, value in _named(contents.root).items() if _is_direction(value)}
        if not found or len(found) > MAX_MEMBERS:
            raise InputError(f"{path} is a torch file, but it does not hold a direction: a tensor, or a few by name")
        if sum(value.numel for value in found.values()) * 4 > MAX_BYTES:
            raise InputError(f"{path} holds more than {MAX_BYTES >> 20} MiB of numbers, which is not a direction")
        return {name: value.read().float().numpy() for name, value in found.items()}


def _named(root: Any) -> dict[str, Any]:
    if isinstance(root, dict):
        return {str(name): value for name, value in root.items()}
    if isinstance(root, (list, tuple)):
        return {str(i): value for i, value in enumerate(root)}
    return {"": root}


def _is_direction(value: Any) -> bool:
    return isinstance(value, TensorRef) and value.dtype in _NUMBERS and 1 <= len(value.shape) <= 4 and value.numel > 0
