"""What memory a training will take, found without computing anything.

One step runs on fake tensors (shapes and types without data), through the very modules, precision and losses of the
training. What autograd keeps for the backward pass is counted while it is kept; the highest mark counts. On top comes a
share for temporary buffers inside single operations: a real process was measured to take 20 to 31 % of the activations
more than the rest of the sum. The libraries themselves (about 400 MiB on a CPU) are not in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from padinv.losses.adversarial import discriminator_loss, gradient_penalty
from padinv.losses.objective import loss_image
from padinv.training.encoder.trainer import EncoderTrainer


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes in one process.

    Attributes:
        weights: of all networks, losses' included.
        gradients: of what is trained.
        optimizer: Adam's two moments.
        average: the weight average.
        activations: the most that is kept for a backward pass at one time.
        temporaries: a quarter of that, by measurement.
        pictures: decoded training pictures in memory.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    temporaries: int
    pictures: int

    @property
    def total(self) -> int:
        """The sum; without libraries."""
        return sum(getattr(self, f.name) for f in fields(self))

    def lines(self) -> list[str]:
        """One line a part and one for the sum, in MiB."""
        parts = [*((f.name, getattr(self, f.name)) for f in fields(self)), ("total", self.total)]
        return [f"{name:12} {size / 2**20:10,.0f} MiB" for name, size in parts]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


class _Kept:
    """A tensor that autograd keeps; counts its storage as long as it lives."""

    def __init__(self, meter: SavedBytes, tensor: Tensor) -> None:
        self.meter, self.tensor = meter, tensor
        self.key = meter.take(tensor)

    def __del__(self) -> None:
        self.meter.give_back(self.key)


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """A context that meters the bytes kept for backward passes; storages shared by several tensors count once.

    Args:
        exempt: tensors that exist anyway.
    """

    def __init__(self, exempt: Iterable[Tensor]) -> None:
        self.exempt = {self._key(t) for t in exempt}
        self.users: Counter[int] = Counter()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0
        super().__init__(lambda tensor: _Kept(self, tensor), lambda kept: kept.tensor)

    @staticmethod
    def _key(tensor: Tensor) -> int:
        return int(tensor.untyped_storage()._cdata)

    def take(self, tensor: Tensor) -> int:
        """Count a tensor's storage once more; returns its key."""
        key = self._key(tensor)
        if key not in self.exempt:
            self.users[key] += 1
            if self.users[key] == 1:
                self.sizes[key] = tensor.untyped_storage().nbytes()
                self.now += self.sizes[key]
                self.peak = max(self.peak, self.now)
        return key

    def give_back(self, key: int) -> None:
        """The inverse of `take`."""
        if key in self.users:
            self.users[key] -= 1
            if self.users[key] == 0:
                del self.users[key]
                self.now -= self.sizes.pop(key)


def estimate_memory(trainer: EncoderTrainer, picture_bytes: int) -> MemoryEstimate:
    """The memory of one process of a training; see the module's docstring for how.

    Args:
        trainer: built, with all its networks; nothing in it changes.
        picture_bytes: decoded pictures kept in memory.
    """
    networks: list[nn.Module] = [trainer.raw_encoder, trainer.generator, trainer.objective]
    trained = list(trainer.raw_encoder.parameters())
    if trainer.raw_discriminator is not None:
        networks.append(trainer.raw_discriminator)
        trained += list(trainer.raw_discriminator.parameters())
    weights = [t for net in networks for t in chain(net.parameters(), net.buffers())]
    average = [] if trainer.average is None else list(trainer.average.parameters())
    activations = _activations(trainer, weights)
    return MemoryEstimate(
        weights=_bytes(weights),
        gradients=_bytes(trained),
        optimizer=2 * _bytes(trained),
        average=_bytes(average),
        activations=activations,
        temporaries=activations // 4,
        pictures=picture_bytes,
    )


def _activations(trainer: EncoderTrainer, weights: list[Tensor]) -> int:
    config, size = trainer.config, trainer.generator.spec.image_size
    device = trainer.accelerator.device
    precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.mixed_precision)
    encoder, generator, judge = trainer.raw_encoder, trainer.generator, trainer.raw_discriminator

    def autocast() -> Any:
        return torch.autocast(device.type, precision, enabled=precision is not None)

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        exempt = [mode.from_tensor(t) for t in weights]
        meter = SavedBytes(exempt)
        with meter:
            real = torch.empty(config.batch, 3, size, size, device=device)
            with autocast():
                wp, const, rings = type(encoder).forward(encoder, real)
                fake = loss_image(generator.synthesis(wp, const, rings), size).float()
                adversarial = None if judge is None else type(judge).forward(judge, fake).float().mean()
                terms = trainer.objective.terms(fake, real, wp, encoder.w_avg, adversarial)
            total = trainer.objective.total(terms)
            torch.autograd.grad(total, list(encoder.parameters()))
            fake = fake.detach()
            del wp, const, rings, terms, total, adversarial
            if judge is not None:
                with autocast():
                    loss = discriminator_loss(
                        type(judge).forward(judge, real), type(judge).forward(judge, fake), config.adv_form
                    )
                if config.r1_gamma > 0:
                    loss = loss + gradient_penalty(lambda x: type(judge).forward(judge, x), real)
                torch.autograd.grad(loss, list(judge.parameters()))
        return meter.peak
