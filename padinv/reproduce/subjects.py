"""Inversion by optimisation, as something that `padinv.evaluation` measures."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from padinv.checkpoints import generator_hash
from padinv.checkpoints.generator_encoder import Pair
from padinv.evaluation.protocol import protocol_named
from padinv.models.encoder import with_spatial_code
from padinv.models.generator import Generator
from padinv.models.passes import Latents
from padinv.pivotal_tuning import tune_generator
from padinv.refine import Optimised, project, refine
from padinv.runtime.spec import ModelSpec


@dataclass(frozen=True)
class Loss:
    """What the optimisations minimise, and where.

    Attributes:
        perceptual: the network, or None: pixels alone.
        name: of it and its weights, for the conditions.
        device: where the networks run.
    """

    perceptual: nn.Module | None
    name: str
    device: str


@dataclass(frozen=True)
class Effort:
    """How long an optimisation goes on for each batch.

    Attributes:
        steps: at most.
        seconds: an image at most; None: no limit.
    """

    steps: int
    seconds: float | None = None

    def of_batch(self, count: int) -> float | None:
        """Seconds that a batch may take."""
        return None if self.seconds is None else self.seconds * count


class OptimisedSubject(ABC):
    """What all kinds share: the generator, the loss's network, and the clock."""

    name: str
    identity: dict[str, Any]

    def __init__(self, generator: Generator, loss: Loss) -> None:
        self.generator = generator.to(loss.device).eval()
        self._perceptual = None if loss.perceptual is None else loss.perceptual.to(loss.device)
        self.spec: ModelSpec = generator.spec
        self.backend = f"torch-{loss.device}"

    @abstractmethod
    def invert(self, image: Tensor) -> Tensor:
        """image [N, 3, S, S] in [-1, 1] -> reconstructions [N, 3, R, R]."""

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """See `padinv.evaluation.models.Subject`."""
        image = torch.from_numpy(x).to(self.generator.w_avg.device)
        begun = time.perf_counter()
        y = self.invert(image).float().cpu().numpy()
        seconds = time.perf_counter() - begun  # the copy to the CPU has waited for the GPU
        return protocol_named("paper").reduced(y, self.spec.image_size), seconds

    def _picture(self, found: Optimised) -> Tensor:
        with torch.no_grad():
            return self.generator.synthesis(found.wp, found.const, found.rings)


class ProjectionSubject(OptimisedSubject):
    """Latent optimisation from w_avg: StyleGAN2's projector, see `padinv.refine.project`."""

    def __init__(self, generator: Generator, loss: Loss, effort: Effort, *, seed: int) -> None:
        super().__init__(generator, loss)
        self.name = f"projector-{effort.steps}" + ("" if effort.seconds is None else "-timed")
        self._effort, self._seed = effort, seed
        self.identity = {
            "generator": generator_hash(generator),
            "method": "project",
            **asdict(effort),
            "loss": loss.name,
            "seed": seed,
            "backend": self.backend,
        }

    def project(self, image: Tensor) -> Optimised:
        """The codes found."""
        return project(
            self.generator,
            image,
            steps=self._effort.steps,
            perceptual=self._perceptual,
            seed=self._seed,
            seconds=self._effort.of_batch(len(image)),
        )

    def codes(self, image: Tensor) -> Latents:
        """The codes found, without padding."""
        return self.project(image).wp, None, None

    def invert(self, image: Tensor) -> Tensor:
        """See `OptimisedSubject`."""
        return self._picture(self.project(image))


class RefinementSubject(OptimisedSubject):
    """An encoder's result refined, see `padinv.refine.refine`; the time includes the encoder's."""

    def __init__(self, pair: Pair, loss: Loss, *, steps: int) -> None:
        super().__init__(pair.generator, loss)
        self._encoder = pair.encoder.to(loss.device).eval()
        self._steps = steps
        self.name = f"{pair.name}-refined-{steps}"
        self.identity = {
            "files": _files(pair),
            "method": "refine",
            "steps": steps,
            "loss": loss.name,
            "backend": self.backend,
        }

    def invert(self, image: Tensor) -> Tensor:
        """See `OptimisedSubject`."""
        with torch.no_grad():
            wp, const, rings = self._encoder(image)
        found = refine(self.generator, image, wp, const, rings, steps=self._steps, perceptual=self._perceptual)
        with torch.no_grad():
            latents = (found.wp, found.const, found.rings)
            return with_spatial_code(self._encoder, self.generator, image, latents).generate(self.generator)


class TuningSubject(OptimisedSubject):
    """Pivotal tuning, image by image, see `padinv.pivotal_tuning`; the time includes finding the pivot.

    Args:
        pivot: what finds the pivot: a projector, as in that paper, or an encoder.
        effort: of projecting and tuning together for the seconds, of tuning for the steps.
    """

    def __init__(self, pivot: ProjectionSubject | Pair, loss: Loss, effort: Effort, *, seed: int) -> None:
        super().__init__(pivot.generator, loss)
        self._effort, self._seed = effort, seed
        self._find: Callable[[Tensor], Latents] = (
            pivot.encoder.to(loss.device).eval() if isinstance(pivot, Pair) else pivot.codes
        )
        self.name = f"pti-{effort.steps}-of-{pivot.name}" + ("" if effort.seconds is None else "-timed")
        self.identity = {
            "pivot": _files(pivot) if isinstance(pivot, Pair) else pivot.identity,
            "generator": generator_hash(pivot.generator),
            "method": "pivotal tuning",
            **asdict(effort),
            "loss": loss.name,
            "seed": seed,
            "backend": self.backend,
        }

    def invert(self, image: Tensor) -> Tensor:
        """See `OptimisedSubject`."""
        return torch.cat([self._tuned(one) for one in image.split(1)])

    def _tuned(self, image: Tensor) -> Tensor:
        begun = time.perf_counter()
        with torch.no_grad():
            wp, const, rings = self._find(image)
        left = self._effort.seconds
        if left is not None:
            left = max(left - (time.perf_counter() - begun), 1e-3)
        tuned = tune_generator(
            self.generator,
            image,
            wp,
            const,
            rings,
            steps=self._effort.steps,
            perceptual=self._perceptual,
            seconds=left,
            seed=self._seed,
        )
        with torch.no_grad():
            return tuned.generator.synthesis(wp, const, rings)


def _files(pair: Pair) -> dict[str, str]:
    return {kind: origin.sha256 for kind, origin in pair.origins.items()}
