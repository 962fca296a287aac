"""The spatial code without torch: what a reconstruction misses, as one more input of the generator.

A bundle whose encoder predicts a spatial code holds a fourth graph, `spatial`: image and reconstruction, each
[N, 3, S, S], -> `spatial_r` [N, C_r, r, r]. Its generator takes these besides latents and padding; where they are
missing, zeros stand for them, which change nothing. See `padinv.models.spatial_encoder`.

A code shows details at the places where its photograph has them. After an edit they may be in the wrong place: the eyes
of B would shine through the face that a blend takes from A. So an inversion keeps beside the code the colours of the
reconstruction that the code was predicted beside, and the code fades where the edited reconstruction differs from them.
Colours are edited like the rest: where an edit moves both alike, nothing fades.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from padinv.runtime.backends.protocol import Held, Session, run_held
from padinv.runtime.images import average_pool
from padinv.runtime.spec import ModelSpec

FADE = 0.1  # root mean square difference in colour, on [-1, 1], at which a code keeps 1/e of its strength


def with_colours(code: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """A code [N, C, r, r] and the reconstruction [N, 3, S, S] it was predicted beside -> [N, C+3, r, r]."""
    return np.concatenate([code, average_pool(shown, code.shape[-1])], axis=1).astype(np.float32)


def faded(code: np.ndarray, output: np.ndarray) -> np.ndarray:
    """A code as an inversion holds it, for the generator.

    Args:
        code: [N, C+3, r, r].
        output: [N, 3, R, R] in [-1, 1], the generator's images of the same inversion without a spatial code.

    Returns:
        [N, C, r, r], weaker where the images differ from the colours beside the code.
    """
    r = code.shape[-1]
    now = average_pool(output, r)
    difference = np.square(np.clip(now, -1, 1) - np.clip(code[:, -3:], -1, 1)).mean(axis=1)  # [N, r, r]
    padded = np.pad(difference, ((0, 0), (1, 1), (1, 1)), mode="edge")
    near = sum(padded[:, i : i + r, j : j + r] for i in range(3) for j in range(3)) / 9
    result: np.ndarray = (code[:, :-3] * np.exp(-near / FADE**2)[:, None]).astype(np.float32)
    return result


def with_neutral(spec: ModelSpec, feeds: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a generator takes, with zeros for each spatial code that is missing."""
    missing = {name: shape for name, shape in spec.spatial_shapes.items() if name not in feeds}
    if not missing or "wp" not in feeds:
        return feeds
    return {**feeds, **{name: np.zeros((len(feeds["wp"]), *shape), np.float32) for name, shape in missing.items()}}


class OptionalSpatial:
    """A generator's session to which spatial codes need not be given; otherwise the session it wraps."""

    def __init__(self, session: Session, spec: ModelSpec) -> None:
        self._session, self._spec = session, spec
        self.inputs, self.outputs = session.inputs, session.outputs
        self.backend = session.backend
        self.notes = session.notes

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """See `Session.run`."""
        return self._session.run(with_neutral(self._spec, feeds))

    def run_held(self, feeds: Mapping[str, Any]) -> Mapping[str, Held]:
        """See `padinv.runtime.backends.protocol.run_held`."""
        return run_held(self._session, with_neutral(self._spec, feeds))


def add_spatial(
    held: Mapping[str, Held], image: np.ndarray, generator: Session, spatial: Session | None
) -> tuple[Mapping[str, Held], np.ndarray | None]:
    """What an encoder gave, with the spatial code of its images; unchanged for a model without one.

    Args:
        held: outputs of the encoder.
        image: float32 [N, 3, S, S] in [-1, 1].
        spatial: session of the graph `spatial`; None: the model has none.

    Returns:
        the generator's inputs, and the reconstruction [N, 3, S, S] without a spatial code; None where there is none.
    """
    if spatial is None:
        return held, None
    output = generator.run(held)["output"]
    shown = np.ascontiguousarray(average_pool(output, image.shape[-1]), np.float32)
    return {**held, **run_held(spatial, {"image": image, "reconstruction": shown})}, shown
