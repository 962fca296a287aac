"""Inversion by optimisation through a frozen generator: refining an encoder's result, and projecting from w_avg.

`refine` starts from an encoder's codes and padding and stays near them. `project` is the projector of StyleGAN2 (Karras
et al. 2020, appendix D): one code in W, found from the average code. Both work on every image of a batch on its own:
what else is in the batch does not change a result, except for rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from padinv.losses.lpips import LPIPS
from padinv.losses.objective import loss_image
from padinv.models.generator import Generator
from padinv.runtime.errors import UsageError

_SMALLEST_SCALE = 1e-8
_W_STD_SAMPLES = 10_000
# StyleGAN2's projector: initial noise, the share of the steps with noise, and the ramps of the learning rate.
_NOISE, _NOISE_RAMP = 0.05, 0.75
_RAMP_UP, _RAMP_DOWN = 0.05, 0.25


@dataclass(frozen=True)
class Optimised:
    """What an optimisation found: the best step of every image.

    Attributes:
        wp: [N, L, w_dim].
        const: [N, C_4, 4, 4], or None: the generator's own.
        rings: resolution -> [N, C_r, 4r+4], or None: zero padding.
        first_loss, loss: [N], before the first step and of the result; `loss` is never larger.
    """

    wp: Tensor
    const: Tensor | None
    rings: dict[int, Tensor] | None
    first_loss: Tensor
    loss: Tensor


def refine(
    generator: Generator,
    image: Tensor,
    wp: Tensor,
    const: Tensor | None = None,
    rings: dict[int, Tensor] | None = None,
    *,
    steps: int = 100,
    lr: float = 0.02,
    reach: float = 0.5,
    perceptual: nn.Module | None = None,
    perceptual_weight: float = 0.8,
) -> Optimised:
    """Optimise an encoder's codes and padding for their images; the generator stays as it is.

    The loss is the pixel error plus `perceptual_weight` times the perceptual distance, the first two terms of the
    paper's eq. 6. Codes and padding stay near the encoder's, where editing works: see `reach`.

    Args:
        image: [N, 3, S, S] in [-1, 1].
        wp, const, rings: what the encoder predicted, see `Generator.synthesis`. What is None stays so.
        steps: optimisation steps, of Adam.
        lr: learning rate, in units of each tensor's root mean square (for wp: of its distance from w_avg).
        reach: the largest change of each tensor, root mean square, in the same units.
        perceptual: images, targets [N, 3, S, S] -> [N], such as `LPIPS`.

    Raises:
        UsageError: steps, lr or reach are not positive.

    Example:
        found = refine(generator, image, *encoder(image), steps=100)
        better = generator.synthesis(found.wp, found.const, found.rings)
    """
    check_optimisation(steps, lr)
    if not reach > 0:
        raise UsageError(f"reach must be positive, not {reach}")
    padding = ([] if const is None else [const]) + list((rings or {}).values())
    starts = [wp.detach(), *(one.detach() for one in padding)]
    sizes = [_rms(starts[0] - generator.w_avg.detach()), *map(_rms, starts[1:])]
    scales = [size.clamp(min=_SMALLEST_SCALE) for size in sizes]
    offsets = [torch.zeros_like(start).requires_grad_() for start in starts]
    optimizer = torch.optim.Adam(offsets, lr=lr)
    best, distance = _Best(starts), distance_to(image, perceptual)
    with frozen(generator), torch.enable_grad():
        for step in range(steps + 1):
            values = [s + scale * offset for s, scale, offset in zip(starts, scales, offsets, strict=True)]
            output = loss_image(generator.synthesis(*_arranged(values, const, rings)), image.shape[-1])
            loss = (output - image).square().mean(dim=(1, 2, 3))
            if distance is not None:
                loss = loss + perceptual_weight * distance(output)
            best.keep(loss, values)
            if step == steps:
                break
            _step(optimizer, offsets, loss)
            with torch.no_grad():
                for offset in offsets:
                    offset.mul_(reach / _rms(offset).clamp(min=reach))
    return Optimised(*_arranged(best.values, const, rings), best.first_loss, best.loss)


def project(
    generator: Generator,
    image: Tensor,
    *,
    steps: int = 1000,
    lr: float = 0.1,
    perceptual: nn.Module | None = None,
    seed: int = 0,
    seconds: float | None = None,
) -> Optimised:
    """Find one code in W for every image, from the average code, as StyleGAN2's projector does.

    The schedule, the fading noise on the code and the loss (the perceptual distance alone) are the projector's. Unlike
    there, the generator's noise maps are not optimised, so that the generator stays as it is.

    Args:
        image: [N, 3, S, S] in [-1, 1].
        steps: optimisation steps, of Adam.
        lr: learning rate after its rise and before its fall.
        perceptual: images, targets [N, 3, S, S] -> [N], such as `LPIPS`; None: the squared error.
        seed: of the noise on the code.
        seconds: stop after this long; the schedule then runs over this time, or over the steps if they end first.

    Raises:
        UsageError: steps or lr are not positive.

    Example:
        found = project(generator, image, perceptual=LPIPS("vgg"))
        reconstruction = generator.synthesis(found.wp)
    """
    check_optimisation(steps, lr)
    device, count = image.device, len(image)
    spread = _w_std(generator)
    random = torch.Generator().manual_seed(seed)
    code = generator.w_avg.detach().expand(count, -1).clone().requires_grad_()
    optimizer = torch.optim.Adam([code], lr=lr)
    best, distance = _Best([generator.broadcast(code).detach()]), distance_to(image, perceptual)
    clock = Countdown(steps, seconds)
    with frozen(generator), torch.enable_grad():
        for step in range(steps + 1):
            done = clock.done(step)
            strength = spread * _NOISE * max(0.0, 1 - done / _NOISE_RAMP) ** 2
            # One draw for all images, so that a result does not depend on its place in the batch.
            noise = torch.randn(1, code.shape[1], generator=random).to(device) if step > 0 and done < 1 else 0.0
            noisy = generator.broadcast(code + strength * noise)
            output = loss_image(generator.synthesis(noisy), image.shape[-1])
            loss = (output - image).square().mean(dim=(1, 2, 3)) if distance is None else distance(output)
            best.keep(loss, [noisy])
            if done >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * _ramp(done)
            _step(optimizer, [code], loss)
    return Optimised(best.values[0], None, None, best.first_loss, best.loss)


@contextmanager
def frozen(generator: nn.Module) -> Iterator[None]:
    """No weight takes part in gradients inside, which saves their cost; afterwards each is as it was."""
    flags = [(weight, weight.requires_grad) for weight in generator.parameters()]
    try:
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, flag in flags:
            weight.requires_grad_(flag)


class Countdown:
    """How much of an optimisation is done: by its steps, or by the clock where that is further.

    Args:
        steps: of the whole optimisation.
        seconds: of the whole optimisation, from here on; None: the steps alone count.
    """

    def __init__(self, steps: int, seconds: float | None) -> None:
        self._steps, self._seconds, self._start = steps, seconds, time.perf_counter()

    def done(self, step: int) -> float:
        """Share, from 0 to 1, before step `step`."""
        by_clock = 0.0 if self._seconds is None else (time.perf_counter() - self._start) / self._seconds
        return min(1.0, max(step / self._steps, by_clock))


class _Best:
    """The values of the step with the smallest loss, for every image on its own."""

    def __init__(self, values: list[Tensor]) -> None:
        self.values = [value.clone() for value in values]
        self.loss = values[0].new_full((len(values[0]),), math.inf)
        self.first_loss = self.loss
        self._begun = False

    def keep(self, loss: Tensor, values: list[Tensor]) -> None:
        """Take over the values of images whose loss fell."""
        loss = loss.detach()
        if not self._begun:
            self.first_loss, self._begun = loss, True
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        for k, value in enumerate(values):
            mask = better.reshape(-1, *[1] * (value.ndim - 1))
            self.values[k] = torch.where(mask, value.detach(), self.values[k])


def check_optimisation(steps: int, lr: float) -> None:
    """Refuse an optimisation that would do nothing.

    Raises:
        UsageError: steps or lr are not positive.
    """
    if steps < 1:
        raise UsageError(f"an optimisation takes at least 1 step, not {steps}")
    if not lr > 0:
        raise UsageError(f"the learning rate must be positive, not {lr}")


def distance_to(image: Tensor, perceptual: nn.Module | None) -> Callable[[Tensor], Tensor] | None:
    """Perceptual distance of outputs to `image` [N, 3, S, S], of which LPIPS computes the features once: [N].

    None without a network.
    """
    if perceptual is None:
        return None
    if not isinstance(perceptual, LPIPS):
        return lambda output: perceptual(output, image)
    with torch.no_grad():
        goal = perceptual.features(image)
    return lambda output: perceptual.distance(perceptual.features(output), goal)


def _arranged(
    values: list[Tensor], const: Tensor | None, rings: dict[int, Tensor] | None
) -> tuple[Tensor, Tensor | None, dict[int, Tensor] | None]:
    """A flat list of values as (wp, const, rings), with None where the encoder predicted nothing."""
    rest = values[1:]
    new_const = None if const is None else rest.pop(0)
    return values[0], new_const, None if rings is None else dict(zip(rings, rest, strict=True))


def _rms(value: Tensor) -> Tensor:
    """Root mean square of every image's entries, [N, 1, ...]."""
    return value.square().mean(dim=tuple(range(1, value.ndim)), keepdim=True).sqrt()


def _step(optimizer: torch.optim.Optimizer, variables: list[Tensor], loss: Tensor) -> None:
    """One step down the sum of the images' losses, whose gradients do not mix."""
    for variable, gradient in zip(variables, torch.autograd.grad(loss.sum(), variables), strict=True):
        variable.grad = gradient
    optimizer.step()


def _ramp(done: float) -> float:
    """The projector's learning rate, as a factor, after a share of the steps."""
    ramp = min(1.0, (1 - done) / _RAMP_DOWN)
    ramp = 0.5 - 0.5 * math.cos(ramp * math.pi)
    return ramp * min(1.0, done / _RAMP_UP)


@torch.no_grad()
def _w_std(generator: Generator) -> float:
    """The projector's measure of W's size: root of the mean squared distance from w_avg, over 10,000 samples."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(_W_STD_SAMPLES, generator.spec.z_dim, generator=random).to(generator.w_avg.device)
    return float((generator.mapping(z) - generator.w_avg).square().sum(dim=1).mean().sqrt())
