"""Inversion by optimisation, as something that `padinv.evaluation` measures."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from padinv.checkpoints import generator_hash, load_generator
from padinv.checkpoints.generator_encoder import read_run
from padinv.evaluation.protocol import protocol_named
from padinv.models.generator import Generator
from padinv.refine import Optimised, project, refine
from padinv.runtime.spec import ModelSpec


class OptimisedSubject(ABC):
    """What both kinds share: the generator, the loss's network, and the clock."""

    name: str
    identity: dict[str, Any]

    def __init__(self, generator: Generator, perceptual: nn.Module | None, device: str) -> None:
        self._generator = generator.to(device).eval()
        self._perceptual = None if perceptual is None else perceptual.to(device)
        self.spec: ModelSpec = generator.spec
        self.backend = f"torch-{device}"

    @abstractmethod
    def optimise(self, image: Tensor) -> Optimised:
        """image [N, 3, S, S] in [-1, 1] -> what was found."""

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """See `padinv.evaluation.models.Subject`."""
        device = self._generator.w_avg.device
        image = torch.from_numpy(x).to(device)
        begun = time.perf_counter()
        found = self.optimise(image)
        with torch.no_grad():
            y = self._generator.synthesis(found.wp, found.const, found.rings).float().cpu().numpy()
        seconds = time.perf_counter() - begun  # the copy to the CPU has waited for the GPU
        return protocol_named("paper").reduced(y, self.spec.image_size), seconds


class ProjectionSubject(OptimisedSubject):
    """Latent optimisation from w_avg: StyleGAN2's projector, see `padinv.refine.project`."""

    def __init__(
        self, generator: Path, *, steps: int, perceptual: nn.Module | None, loss: str, device: str, seed: int
    ) -> None:
        network = load_generator(generator)
        super().__init__(network, perceptual, device)
        self.name = f"projector-{steps}"
        self._steps, self._seed = steps, seed
        self.identity = {
            "generator": generator_hash(network),
            "method": "project",
            "steps": steps,
            "loss": loss,
            "seed": seed,
            "backend": self.backend,
        }

    def optimise(self, image: Tensor) -> Optimised:
        return project(self._generator, image, steps=self._steps, perceptual=self._perceptual, seed=self._seed)


class RefinementSubject(OptimisedSubject):
    """An encoder's result refined, see `padinv.refine.refine`; the time includes the encoder's."""

    def __init__(self, run: Path, *, steps: int, perceptual: nn.Module | None, loss: str, device: str) -> None:
        pair = read_run(run)
        super().__init__(pair.generator, perceptual, device)
        self._encoder = pair.encoder.to(device).eval()
        self._steps = steps
        self.name = f"{run.name}-refined-{steps}"
        files = {kind: origin.sha256 for kind, origin in pair.origins.items()}
        self.identity = {"files": files, "method": "refine", "steps": steps, "loss": loss, "backend": self.backend}

    def optimise(self, image: Tensor) -> Optimised:
        with torch.no_grad():
            wp, const, rings = self._encoder(image)
        return refine(self._generator, image, wp, const, rings, steps=self._steps, perceptual=self._perceptual)
