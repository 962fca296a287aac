"""KID between photographs and their reconstructions: how well a row keeps the look of the whole set.

Features are EfficientNet-Lite0's at 128 px. They are kept per image while a row is measured, so that an interrupted
measurement resumes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from padinv.evaluation.generative import squared_mmd
from padinv.evaluation.models import Subject
from padinv.evaluation.results import identity_hash
from padinv.models.efficientnet import EfficientNetLite0, load_efficientnet
from padinv.runtime.errors import InputError
from padinv.runtime.files import write_bytes

MIN_IMAGES = 50  # below, KID says more about the sample than about the row
_SIDE = 128
_HALVES = 100


def open_features(device: str) -> tuple[Callable[[np.ndarray], np.ndarray] | None, str]:
    """The network as images float32 [N, 3, S, S] in [-1, 1] -> float32 [N, 1280]; or None and why there is none."""
    try:
        network: EfficientNetLite0 = load_efficientnet().to(device)
    except InputError as error:
        return None, str(error)

    @torch.no_grad()
    def features(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(images, np.float32)).clamp(-1, 1).to(device)
        if x.shape[-1] != _SIDE:
            x = interpolate(x, size=(_SIDE, _SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
        result: np.ndarray = network.pooled(x).cpu().numpy()
        return result

    return features, ""


class KeptFeatures:
    """Features of images, one file each, named by the photograph that they belong to."""

    def __init__(self, folder: Path, features: Callable[[np.ndarray], np.ndarray]) -> None:
        self._folder, self._features = folder, features

    def keep(self, photographs: np.ndarray, images: np.ndarray) -> None:
        """Compute and write the features of images [N, 3, S, S] that belong to photographs of the same shape."""
        for photograph, values in zip(photographs, self._features(images), strict=True):
            write_bytes(self._path(photograph), values.astype(np.float32).tobytes())

    def of(self, photographs: np.ndarray) -> np.ndarray | None:
        """Features [N, 1280] of the images that belong to the photographs; None where one is missing."""
        found = []
        for photograph in photographs:
            try:
                found.append(np.frombuffer(self._path(photograph).read_bytes(), np.float32))
            except OSError:
                return None
        return np.stack(found) if len({len(row) for row in found}) == 1 else None

    def _path(self, photograph: np.ndarray) -> Path:
        name = hashlib.sha256(np.ascontiguousarray(photograph).tobytes()).hexdigest()[:24]
        return self._folder / f"{name}.f32"


class FeatureTap:
    """A subject whose reconstructions leave their features behind; the time for these does not count."""

    def __init__(self, subject: Subject, folder: Path, features: Callable[[np.ndarray], np.ndarray]) -> None:
        self._subject = subject
        self.name, self.spec, self.backend = subject.name, subject.spec, subject.backend
        self.identity: dict[str, Any] = subject.identity
        self.kept = KeptFeatures(folder / identity_hash([subject.name, subject.identity]), features)

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """See `padinv.evaluation.models.Subject`."""
        y, seconds = self._subject.reconstruct(x)
        self.kept.keep(x, y)
        return y, seconds


def kid_of(reconstructions: np.ndarray, photographs: np.ndarray, seed: int = 0) -> dict[str, float]:
    """KID times 1,000 of two sets of features [N, D]: mean over random halves, and the middle 95 % of the halves."""
    a, b = (torch.from_numpy(values.copy()).double() for values in (reconstructions, photographs))
    rng = torch.Generator().manual_seed(seed)

    def half(values: Tensor) -> Tensor:
        return values[torch.randperm(len(values), generator=rng)[: max(2, len(values) // 2)]]

    values = np.array([1000 * squared_mmd(half(a), half(b)) for _ in range(_HALVES)])
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "count": len(a)}
