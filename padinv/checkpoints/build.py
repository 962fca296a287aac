"""From a state dict to a module, without allocating its weights twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def expected_shapes(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in the state dict of the module that `make` builds; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


def build_module(make: Callable[[], Module], state: Mapping[str, Tensor]) -> Module:
    """The module that `make` builds, with the tensors of `state` themselves (not copies) as its weights.

    Raises:
        RuntimeError: names or shapes differ.
    """
    with torch.device("meta"):
        module = make()
    module.load_state_dict(state, assign=True)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        # Buffers that are not in the state dict and follow the default device: build for real, and copy.
        module = make()
        module.load_state_dict(state)
    return module
