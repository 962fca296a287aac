"""torch.compile for encoder and generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from padinv.models.encoder import Encoder
from padinv.models.generator import Generator


def compile_networks(encoder: Encoder, generator: Generator, backend: str) -> Callable[..., Tensor]:
    """Compile an encoder in place; its names and weights stay as they are.

    On the CPU, batch normalisation stays out of the compiled graph: torch's own kernel sums in float64 there, what
    inductor generates sums in float32, and where a channel's mean is large beside its deviation that costs digits.

    Returns:
        the generator's compiled `synthesis`.
    """
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    if next(encoder.parameters()).device.type == "cpu":
        for norm in norms:
            norm.forward = torch.compiler.disable(norm.forward)  # type: ignore[method-assign]
    encoder.compile(backend=backend)
    synthesis: Any = torch.compile(generator.synthesis, backend=backend)
    result: Callable[..., Tensor] = synthesis
    return result
