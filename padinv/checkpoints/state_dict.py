"""One state dict out of a file of another project, for networks that are loaded and never imported: loss weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from padinv.checkpoints.canonicalize import find_networks
from padinv.checkpoints.container.lazy_tensors import WEIGHT_TYPES, Refused
from padinv.checkpoints.container.open import open_contents, printable
from padinv.checkpoints.detect import name_contents
from padinv.runtime.errors import InputError


def read_weights(path: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of these names and shapes, float32 (whole numbers stay whole), out of any file that holds them.

    Nothing in the file is run, and nothing else in it is read.

    Args:
        shapes: name -> shape, as the network has them. Counters (`num_batches_tracked`) may be missing: they are zero.

    Raises:
        InputError: not readable, or the file holds no such network; the sentence says what it does hold.
    """
    path = Path(path)
    needed = {name for name in shapes if not name.endswith("num_batches_tracked")}
    try:
        with open_contents(path) as (_, contents):
            networks = find_networks(contents.root)
            best = max(networks, key=lambda n: len(needed & n.tensors.keys()), default=None)
            if best is None or not needed & best.tensors.keys():
                raise Refused(f"holds {name_contents(networks, contents.root)}")
            state = {}
            for name, shape in shapes.items():
                ref = best.tensors.get(name)
                if ref is None and name not in needed:
                    state[name] = torch.zeros(shape, dtype=torch.long)
                    continue
                if ref is None:
                    raise Refused(f"lacks the tensor {name}")
                if ref.shape != shape or ref.dtype not in WEIGHT_TYPES:
                    raise Refused(f"has a tensor {name} of shape {list(ref.shape)} where {list(shape)} belongs")
                tensor = ref.read()
                state[name] = tensor.float() if tensor.is_floating_point() else tensor
    except Refused as refusal:
        raise InputError(f"{path} {printable(str(refusal))}") from refusal
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.numel() and not all(map(torch.isfinite, torch.aminmax(tensor))):
            raise InputError(f"{path} holds weights that are not finite ({name})")
    return state
