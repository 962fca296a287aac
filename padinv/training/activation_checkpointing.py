"""Activation checkpointing: keep a block's input only, and compute the rest again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from padinv.models.fast_encoder import ResBlock
from padinv.models.irse import IRSEBlock
from padinv.models.reference_encoder import CodeHead
from padinv.models.timm_encoder import TimmBody


def checkpoint_blocks(blocks: Iterable[nn.Module]) -> None:
    """Let each of some modules forget its activations between forward and backward pass.

    Nothing else changes: not the names of weights, not the results. Batch statistics are updated once, not again when
    the forward pass is repeated.
    """
    for block in blocks:
        block.forward = partial(_checkpointed, block, block.forward)  # type: ignore[method-assign]


def encoder_blocks(encoder: nn.Module) -> list[nn.Module]:
    """The residual blocks and heads of an encoder, none inside another."""
    own = [module for module in encoder.modules() if isinstance(module, (IRSEBlock, CodeHead, ResBlock))]
    return own + [block for module in encoder.modules() if isinstance(module, TimmBody) for block in module.blocks()]


def _checkpointed(block: nn.Module, forward: Any, *args: Any, **settings: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **settings)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _without_updates(block)

    # Nothing in a block draws random numbers in training, so their state need not be kept.
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, preserve_rng_state=False, **settings)


@contextmanager
def _without_updates(block: nn.Module) -> Iterator[None]:
    """Let batch norms compute as before and leave their statistics alone: a momentum of 0 keeps the old ones."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    before = [(norm.momentum, None if (n := norm.num_batches_tracked) is None else n.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)
