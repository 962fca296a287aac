"""What memory a training will take, found without computing anything.

One step runs on fake tensors (shapes and types without data), through the very modules, precision, losses and
checkpointing of the training, while the bytes that are alive are counted. The libraries themselves (about 400 MiB on a
CPU) and the caching of torch's allocators are not in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from padinv.losses.adversarial import discriminator_loss, gradient_penalty
from padinv.losses.border import border_patches, patch_side
from padinv.losses.objective import loss_image
from padinv.training.encoder.trainer import EncoderTrainer


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes in one process.

    Attributes:
        weights: of all networks, losses' included.
        optimizer: Adam's two moments.
        average: the weight average.
        step: the most that a step has alive at one time: activations, temporary results and gradients.
        pictures: decoded training pictures in memory.
    """

    weights: int
    optimizer: int
    average: int
    step: int
    pictures: int

    @property
    def total(self) -> int:
        """The sum; without libraries."""
        return sum(getattr(self, f.name) for f in fields(self))

    def lines(self) -> list[str]:
        """One line for each part and one for the sum, in MiB."""
        parts = [*((f.name, getattr(self, f.name)) for f in fields(self)), ("total", self.total)]
        return [f"{name:12} {size / 2**20:10,.0f} MiB" for name, size in parts]


class LiveBytes(TorchDispatchMode):
    """A context that counts the bytes of storages which operations inside it made, while they are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in given:  # a view, or written in place
                    self._count(storage)
        return result

    def _count(self, storage: Any) -> None:
        key = id(storage)
        if key in self._known:
            return
        size = int(storage.nbytes())
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def estimate_memory(trainer: EncoderTrainer, picture_bytes: int) -> MemoryEstimate:
    """The memory of one process of a training; see the module's docstring for how.

    Args:
        trainer: built, with all its networks; nothing in it changes.
        picture_bytes: decoded pictures kept in memory.
    """
    networks: list[nn.Module] = [trainer.raw_encoder, trainer.generator, trainer.objective]
    trained = [weight for weight in trainer.raw_encoder.parameters() if weight.requires_grad]
    if trainer.raw_discriminator is not None:
        networks.append(trainer.raw_discriminator)
        trained += list(trainer.raw_discriminator.parameters())
    weights = [t for net in networks for t in chain(net.parameters(), net.buffers())]
    average = [] if trainer.average is None else list(trainer.average.module.parameters())
    return MemoryEstimate(
        weights=_bytes(weights),
        optimizer=2 * _bytes(trained),
        average=_bytes(average),
        step=_step_bytes(trainer, weights),
        pictures=picture_bytes,
    )


@contextmanager
def _alone(network: nn.Module) -> Iterator[None]:
    """Let synchronised batch norms count as ordinary ones: an estimate must not wait for other processes."""
    norms = [module for module in network.modules() if isinstance(module, nn.SyncBatchNorm)]
    for norm in norms:
        norm.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
    try:
        yield
    finally:
        for norm in norms:
            norm.__class__ = nn.SyncBatchNorm


def _step_bytes(trainer: EncoderTrainer, weights: list[Tensor]) -> int:
    config, size = trainer.config, trainer.generator.spec.image_size
    device = trainer.raw_encoder.w_avg.device  # on several CPU processes accelerate calls it cpu:0
    precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.mixed_precision)
    encoder, generator, discriminator = trainer.raw_encoder, trainer.generator, trainer.raw_discriminator

    def seen(image: Tensor) -> Tensor:
        return image if config.adv_view == "whole" else border_patches(image, patch_side(size))

    def autocast() -> Any:
        return torch.autocast(device.type, precision, enabled=precision is not None)

    with FakeTensorMode(allow_non_fake_inputs=True) as mode, _alone(encoder):
        for tensor in weights:
            mode.from_tensor(tensor)
        with LiveBytes() as meter:
            real = torch.empty(config.batch, 3, size, size, device=device)
            with autocast():
                error = torch.empty_like(real) if encoder.takes_error else None
                wp, const, rings = type(encoder).forward(encoder, real, error)
                fake = loss_image(generator.synthesis(wp, const, rings), size).float()
                adversarial = None
                if discriminator is not None:
                    adversarial = type(discriminator).forward(discriminator, seen(fake)).float().mean()
                terms = trainer.objective.terms(fake, real, wp, encoder.w_avg, adversarial, rings=rings)
            total = trainer.objective.total(terms)
            trained = [weight for weight in encoder.parameters() if weight.requires_grad]
            gradients = torch.autograd.grad(total, trained)
            real, fake = seen(real), seen(fake.detach())
            del wp, const, rings, terms, total, adversarial, gradients
            if discriminator is not None:
                with autocast():
                    logits = [type(discriminator).forward(discriminator, x) for x in (real, fake)]
                    loss = discriminator_loss(logits[0], logits[1], config.adv_form)
                if config.r1_gamma > 0:
                    loss = loss + gradient_penalty(lambda x: type(discriminator).forward(discriminator, x), real)
                torch.autograd.grad(loss, list(discriminator.parameters()))
        result: int = meter.peak
        return result
