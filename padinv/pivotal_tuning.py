"""Pivotal tuning (Roich et al. 2021): the generator itself is fine-tuned for an image, around the image's code.

The pivot is found first, by a projector or an encoder. Then the generator's weights are optimised so that the pivot
gives the image, while the image of a code nearby stays what the original generator makes of it (locality
regularisation, section 3.3 of that paper). Loss weights, rate, steps and radius are that paper's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from padinv.losses.objective import loss_image
from padinv.models.generator import Generator
from padinv.refine import Countdown, check_optimisation, distance_to

STEPS = 350
_TRUNCATION = 0.5  # of the codes towards which the locality term looks, as in that paper's code


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned generator.

    Attributes:
        generator: a copy that fits the images; the mapping network and w_avg are the original's.
        first_loss, loss: pixel and perceptual error before the first step, and before the last.
        steps: that were made.
    """

    generator: Generator
    first_loss: float
    loss: float
    steps: int


def tune_generator(
    generator: Generator,
    image: Tensor,
    wp: Tensor,
    const: Tensor | None = None,
    rings: dict[int, Tensor] | None = None,
    *,
    steps: int = STEPS,
    lr: float = 3e-4,
    perceptual: nn.Module | None = None,
    locality: float = 0.1,
    radius: float = 30.0,
    seconds: float | None = None,
    seed: int = 0,
) -> Tuned:
    """Fine-tune a copy of the generator, so that it makes the images of their pivots. The original stays as it is.

    The loss is LPIPS plus the mean squared error, and `locality` times the same between the images that the copy and
    the original make of a code near the pivot. That code lies `radius` away from the pivot, in the direction of a
    random code of W; at most at that code itself, because other generators' W may be smaller than FFHQ's.

    Args:
        image: [N, 3, S, S] in [-1, 1]; all are fitted together. The paper's protocol is one image.
        wp, const, rings: the pivots, see `Generator.synthesis`; they do not change.
        steps: of Adam.
        lr: learning rate.
        perceptual: images, targets [N, 3, S, S] -> [N], such as `LPIPS`; None: pixels alone.
        locality: weight of the locality regularisation; 0: none.
        radius: distance in W+ over all layers together.
        seconds: stop after this long, if the steps do not end first.
        seed: of the codes nearby.

    Raises:
        UsageError: steps or lr are not positive.

    Example:
        pivot = project(generator, image, perceptual=lpips)
        tuned = tune_generator(generator, image, pivot.wp, perceptual=lpips).generator
        reconstruction = tuned.synthesis(pivot.wp)
    """
    check_optimisation(steps, lr)
    tuned = copy.deepcopy(generator).requires_grad_(False)
    weights = [weight for part in (tuned.layers, tuned.to_rgb) for weight in part.parameters()]
    weights += [tuned.const] if const is None else []
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.Adam(weights, lr=lr)
    error = _error_to(image, perceptual)
    neighbours = _Neighbours(generator, wp.detach(), radius=radius, seed=seed)
    clock, losses, step = Countdown(steps, seconds), [0.0], 0
    with torch.enable_grad():
        while clock.done(step) < 1:
            loss = error(loss_image(tuned.synthesis(wp, const, rings), image.shape[-1]))
            losses.append(float(loss.detach()))
            if locality > 0:
                near = neighbours.draw()
                with torch.no_grad():
                    before = loss_image(generator.synthesis(near, const, rings), image.shape[-1])
                after = loss_image(tuned.synthesis(near, const, rings), image.shape[-1])
                loss = loss + locality * _error_to(before, perceptual)(after)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    return Tuned(tuned.requires_grad_(False), losses[min(1, step)], losses[-1], step)


def _error_to(image: Tensor, perceptual: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """Mean over the batch of squared error and perceptual distance to images whose features are computed once."""
    distance = distance_to(image, perceptual)

    def error(output: Tensor) -> Tensor:
        squared = (output - image).square().mean()
        return squared if distance is None else squared + distance(output).mean()

    return error


class _Neighbours:
    """Codes near the pivots: [N, L, w_dim] each."""

    def __init__(self, generator: Generator, pivot: Tensor, *, radius: float, seed: int) -> None:
        self._generator, self._pivot, self._radius = generator, pivot, radius
        self._random = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def draw(self) -> Tensor:
        z = torch.randn(len(self._pivot), self._generator.spec.z_dim, generator=self._random)
        w = self._generator.mapping(z.to(self._pivot.device), _TRUNCATION)
        direction = self._generator.broadcast(w) - self._pivot
        length = direction.flatten(1).norm(dim=1)[:, None, None]
        near: Tensor = self._pivot + direction * (self._radius / length.clamp(min=1e-8)).clamp(max=1)
        return near
