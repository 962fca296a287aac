"""Layers of a generator, named by a person: '0-6', '7-' or '0,2,5'."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from padinv.runtime.errors import UsageError

_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3})?)?\Z")


def parse_layers(text: str, count: int) -> list[int]:
    """'0-6', '3', '0,2,5-9', '7-' -> layer numbers, ascending, each once.

    Raises:
        UsageError: not of this form, or a layer that a generator of `count` layers does not have.
    """
    layers: set[int] = set()
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if not match:
            raise UsageError(f"{text!r} names no layers; write them like 0-6, 7- or 0,2,5")
        first = int(match[1])
        last = int(match[2]) if match[2] else (count - 1 if "-" in part else first)
        if first > last or last >= count:
            raise UsageError(f"{part.strip()!r} is not a range of layers; this generator has the layers 0-{count - 1}")
        layers.update(range(first, last + 1))
    return sorted(layers)


def layer_mask(layers: Sequence[int] | None, count: int) -> np.ndarray:
    if layers is None:
        return np.ones(count, bool)
    mask = np.zeros(count, bool)
    for layer in layers:
        if not 0 <= layer < count:
            raise UsageError(f"layer {layer} does not exist; this generator has the layers 0-{count - 1}")
        mask[layer] = True
    return mask
