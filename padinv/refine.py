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
from typing import Any

import torch
from torch import Tensor, nn

from padinv.editability import Editability
from padinv.losses.lpips import LPIPS
from padinv.losses.objective import loss_image
from padinv.models.generator import Generator
from padinv.refine_search import Best, Search
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
        first_loss, loss: [N], before the first step and of the result.
        steps: how many were made.
        stopped: [N], why each image stopped: 'end' of the steps or the time, 'gain', 'usable'; empty: all at the end.
        spatial: resolution -> [N, C_r, r, r], or None: none was given.
    """

    wp: Tensor
    const: Tensor | None
    rings: dict[int, Tensor] | None
    first_loss: Tensor
    loss: Tensor
    steps: int = 0
    stopped: tuple[str, ...] = ()
    spatial: dict[int, Tensor] | None = None


def refine(
    generator: Generator,
    image: Tensor,
    wp: Tensor,
    const: Tensor | None = None,
    rings: dict[int, Tensor] | None = None,
    *,
    spatial: dict[int, Tensor] | None = None,
    steps: int = 100,
    seconds: float | None = None,
    lr: float = 0.02,
    decay: bool = False,
    reach: float = 0.5,
    penalty: float = 0.0,
    perceptual: nn.Module | None = None,
    perceptual_weight: float = 0.8,
    min_gain: float = 0.0,
    usable: Editability | Callable[[Any], Tensor] | None = None,
    consistency: float = 0.0,
    check_every: int = 10,
    progress: Callable[[float], None] = lambda done: None,
) -> Optimised:
    """Optimise an encoder's codes and padding for their images; the generator stays as it is.

    The loss is the pixel error plus `perceptual_weight` times the perceptual distance, the first two terms of the
    paper's eq. 6. Codes and padding stay near the encoder's, where editing works: see `penalty`, `reach`, `usable`.

    Args:
        image: [N, 3, S, S] in [-1, 1].
        wp, const, rings: what the encoder predicted, see `Generator.synthesis`. What is None stays so.
        spatial: the spatial code. Where it is given, it alone is optimised: it can show every detail, and edits of
            codes and padding keep doing what they did, as these stay where they are.
        steps: optimisation steps, of Adam.
        seconds: a limit in time for the whole batch, beside `steps`.
        lr: learning rate, in units of each tensor's root mean square (for wp: of its distance from w_avg).
        decay: let the rate fall to a tenth along a cosine.
        reach: the largest change of each tensor, root mean square, in the same units.
        penalty: added to the loss: this times the mean squared change of each tensor, in the same units.
        perceptual: images, targets [N, 3, S, S] -> [N], such as `LPIPS`.
        min_gain: at each check, stop with an image whose loss fell by less than this share since the last check.
        usable: (wp, const, rings) -> bool [N], such as `Editability`; of the spatial code where that is optimised, such
            as `SpatialEditability`. At each check, an image whose codes are no longer
            usable stops; it keeps those of its last check, or a quarter or half of the way from there if that is
            usable.
        consistency: added to the loss: this times the error of an edited reconstruction, see `Editability.error`;
            `usable` then is an `Editability`. A step takes twice the time.
        check_every: steps between two checks.
        progress: called before every step with the share of the steps or of the time that is over, 0 to 1.

    Raises:
        UsageError: steps, seconds, lr or reach are not positive.

    Example:
        found = refine(generator, image, *encoder(image), steps=100)
        better = generator.synthesis(found.wp, found.const, found.rings)
    """
    check_optimisation(steps, lr)
    for name, value in (("reach", reach), ("seconds", seconds)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be positive, not {value}")
    free = _Free.of(generator, wp, const, rings, spatial)
    starts, scales = free.starts, [size.clamp(min=_SMALLEST_SCALE) for size in free.sizes]
    offsets = [torch.zeros_like(start).requires_grad_() for start in starts]
    optimizer = torch.optim.Adam(offsets, lr=lr)
    distance = distance_to(image, perceptual)

    def evaluate(values: list[Tensor]) -> tuple[Tensor, Tensor]:
        output = loss_image(free.draw(values), image.shape[-1])
        loss = (output - image).square().mean(dim=(1, 2, 3))
        if distance is not None:
            loss = loss + perceptual_weight * distance(output)
        if penalty == 0:
            return loss, loss
        changes = ((v - s) / scale for v, s, scale in zip(values, starts, scales, strict=True))
        # Not by the root mean square, whose gradient is not a number where nothing has moved yet.
        moved = torch.stack([change.square().flatten(1).mean(dim=1) for change in changes])
        return loss, loss + penalty * moved.sum(dim=0)

    search = Search(starts, evaluate, free.arrange, usable, min_gain)
    edits = usable if consistency > 0 and isinstance(usable, Editability) else None
    clock = Countdown(steps, seconds)
    with frozen(generator), torch.enable_grad():
        for step in range(steps + 1):
            done = clock.done(step)
            progress(done)
            values = [s + scale * offset for s, scale, offset in zip(starts, scales, offsets, strict=True)]
            loss, total = evaluate(values)
            search.keep(loss, total, values)
            if edits is not None:
                total = total + consistency * edits.error(free.arrange(values), image, step)
            last = done >= 1
            if last or (step and step % check_every == 0):
                search.check()
            if last or not search.active.any():
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)) if decay else 1.0)
            _step(optimizer, offsets, total)
            with torch.no_grad():
                for offset in offsets:
                    offset.mul_(reach / _rms(offset).clamp(min=reach))
    found = search.result()
    values = free.arrange(found.values)
    wp, const, rings = (wp, const, rings) if spatial else values
    code = values if spatial else None
    return Optimised(wp, const, rings, search.first_loss, found.loss, step, search.stopped, code)


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
    best, distance = Best([generator.broadcast(code).detach()]), distance_to(image, perceptual)
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


@dataclass(frozen=True)
class _Free:
    """What an optimisation moves.

    Attributes:
        starts, sizes: the first values, and the size of each.
        arrange: values -> (wp, const, rings), or the spatial code.
        draw: values -> images [N, 3, R, R].
    """

    starts: list[Tensor]
    sizes: list[Tensor]
    arrange: Callable[[list[Tensor]], Any]
    draw: Callable[[list[Tensor]], Tensor]

    @classmethod
    def of(
        cls,
        generator: Generator,
        wp: Tensor,
        const: Tensor | None,
        rings: dict[int, Tensor] | None,
        spatial: dict[int, Tensor] | None,
    ) -> _Free:
        """The spatial code where there is one, otherwise codes and padding."""
        if spatial:
            starts = [code.detach() for code in spatial.values()]

            def code_of(values: list[Tensor]) -> dict[int, Tensor]:
                return dict(zip(spatial, values, strict=True))

            def draw(values: list[Tensor]) -> Tensor:
                return generator.synthesis(wp, const, rings, spatial=code_of(values))

            return cls(starts, [_rms(start) for start in starts], code_of, draw)
        padding = ([] if const is None else [const]) + list((rings or {}).values())
        starts = [wp.detach(), *(one.detach() for one in padding)]
        sizes = [_rms(starts[0] - generator.w_avg.detach()), *map(_rms, starts[1:])]
        return cls(
            starts,
            sizes,
            lambda values: _arranged(values, const, rings),
            lambda values: generator.synthesis(*_arranged(values, const, rings)),
        )


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
