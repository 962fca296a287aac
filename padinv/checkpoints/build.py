"""From a state dict to a module, without allocating its weights twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


class _ShapesOnly(TorchFunctionMode):
    """Leave out random numbers and their scaling: the meta device keeps shapes only.

    torch would compute those shapes, too, with Python code of its own that takes 80 MB and a second to load.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn:
            func = torch.empty
        elif func in (Tensor.mul, Tensor.div) and args[0].is_meta and not isinstance(args[1], Tensor):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built in this context have shapes and no memory."""
    with torch.device("meta"), _ShapesOnly():
        yield


def expected_shapes(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in the state dict of the module that `make` builds; nothing is allocated."""
    with without_weights():
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


def build_module(make: Callable[[], Module], state: Mapping[str, Tensor]) -> Module:
    """The module that `make` builds, with the tensors of `state` themselves (not copies) as its weights.

    Raises:
        RuntimeError: names or shapes differ.
    """
    with without_weights():
        module = make()
    module.load_state_dict(state, assign=True)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        # Buffers that are not in the state dict and follow the default device: build for real, and copy.
        module = make()
        module.load_state_dict(state)
    return module
