"""What directions do on held-out photographs, measured by things that did not fit them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from face_data import YuNet, lighting, pose, smile
from PIL import Image

from padinv.runtime.editing import Direction, apply
from padinv.runtime.editing.direction_cost import face_mask
from padinv.runtime.images import average_pool
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model

Measure = Callable[[np.ndarray], np.ndarray]  # images [N, 3, S, S] in [-1, 1] -> [N]; not a number: no face was found


def pictures(images: np.ndarray) -> list[Image.Image]:
    """[N, 3, S, S] in [-1, 1] -> pictures."""
    pixels = np.clip(images * 127.5 + 127.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return [Image.fromarray(np.ascontiguousarray(one)) for one in pixels]


class Identity:
    """Embeddings of a face-recognition network."""

    def __init__(self, weights: Path, template: str | None) -> None:
        from padinv.losses.identity import FaceCrop
        from padinv.models.face_recognition import load_face_network

        self.crop, self.network = FaceCrop(template), load_face_network(weights)

    def embed(self, images: np.ndarray) -> np.ndarray:
        """[N, 3, S, S] in [-1, 1] -> [N, D], of length 1."""
        import torch

        with torch.no_grad():
            parts = [
                self.network(self.crop(torch.from_numpy(part)))
                for part in np.array_split(images, 1 + len(images) // 64)
            ]
        return torch.cat(parts).numpy()


class Classifier:
    """Ridge regression on 32 x 32 pixels and the embedding; trained on photographs that fitted no direction."""

    def __init__(self, identity: Identity, images: np.ndarray, target: np.ndarray, penalty: float = 0.3) -> None:
        self.identity = identity
        x = self._features(images)
        self.mean, self.spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        x = (x - self.mean) / self.spread
        self.offset = float(target.mean())
        gram = x @ x.T + penalty * x.shape[1] * np.eye(len(x))
        self.weights = x.T @ np.linalg.solve(gram, target - self.offset)

    def _features(self, images: np.ndarray) -> np.ndarray:
        small = average_pool(images, 32).reshape(len(images), -1)
        embedding = self.identity.embed(images)
        return np.concatenate([small, embedding * np.sqrt(small.shape[1] / embedding.shape[1])], axis=1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return (self._features(images) - self.mean) / self.spread @ self.weights + self.offset


def landmark_measure(detector: YuNet, of: Measure) -> Measure:
    return lambda images: of(np.stack([detector.landmarks(one) for one in pictures(images)]))


def measures(detector: YuNet, classifiers: dict[str, Classifier]) -> dict[str, Measure]:
    """Attribute -> how it is measured in a picture."""
    return {
        "smile": landmark_measure(detector, smile),
        "pose": landmark_measure(detector, pose),
        "lighting": lighting,
        **classifiers,
    }


class Photographs:
    """Photographs with everything about them that no direction changes.

    Args:
        images: [N, 3, S, S] in [-1, 1].
        codes: their inversions.
    """

    def __init__(self, model: Model, images: np.ndarray, codes: Inversion, identity: Identity) -> None:
        self.model, self.images, self.codes, self.identity = model, images, codes, identity
        self.plain = model.generate_for_encoder(codes)
        self.known = identity.embed(images)
        self.alike = float((self.known * identity.embed(self.plain)).sum(axis=1).mean())
        self.around = ~face_mask(model.spec.template, images.shape[-1])

    def cost(self, edited: np.ndarray, own: np.ndarray | None) -> dict[str, float]:
        """Identity and background of edited pictures, relative to the reconstructions'."""
        around = self.around if own is None else self.around & ~own
        alike = float((self.known * self.identity.embed(edited)).sum(axis=1).mean())
        errors = [float(np.square(x - self.images)[..., around].mean()) for x in (edited, self.plain)]
        return {"identity": round(alike / self.alike, 3), "background": round(errors[0] / errors[1], 3)}

    def evaluate(
        self, direction: Direction, measure: Measure | None = None, own: np.ndarray | None = None
    ) -> dict[str, Any]:
        """What one unit of a direction does.

        Args:
            measure: of the attribute; None: only the cost is measured.
            own: where the attribute itself is, bool [S, S], which is not background (hair on the forehead); None:
                nowhere.

        Returns:
            for +1 and -1: `shift`, the mean change of the attribute in standard deviations over the photographs, and
            `moved`, the share of pictures in which it moves the right way; `identity`, the similarity to the photograph
            relative to that of the reconstruction, and `background`, the squared error outside the face relative to
            the reconstruction's.
        """
        result: dict[str, Any] = {}
        if measure is not None:
            spread, start = float(np.nanstd(measure(self.images))), measure(self.plain)
        for sign in (1.0, -1.0):
            moved = apply(self.codes, direction, direction.space or "both", sign)  # type: ignore[arg-type]
            edited = self.model.generate_for_encoder(moved)
            effect = {}
            if measure is not None:
                change = (measure(edited) - start) * sign
                effect["shift"] = round(float(np.nanmean(change)) / spread, 3)
                effect["moved"] = round(float(np.nanmean(change > 0)), 3)
            result[f"{sign:+.0f}"] = {**effect, **self.cost(edited, own)}
        return result
