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

# Root mean square changes in colour, on [-1, 1], at which a code keeps 1/e of its strength. Form is what changes within
# the WIDE cells around, tint what changes there as a whole: a face that only becomes lighter keeps its details.
FADE, FADE_TINT = 0.1, 0.35
NEAR, WIDE = 3, 9


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
    result: np.ndarray = (code[:, :-3] * kept(code[:, -3:], output)[:, None]).astype(np.float32)
    return result


def kept(colours: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The share of a code that is left, float32 [N, r, r].

    Args:
        colours: [N, 3, r, r], beside the code.
        output: as in `faded`.
    """
    change = np.clip(average_pool(output, colours.shape[-1]), -1, 1) - np.clip(colours, -1, 1)
    shade = _around(change, WIDE)
    form, tint = np.square(change - shade).mean(axis=1), np.square(shade).mean(axis=1)
    result: np.ndarray = np.exp(-_around(form, NEAR) / FADE**2 - tint / FADE_TINT**2).astype(np.float32)
    return result


def _around(x: np.ndarray, size: int) -> np.ndarray:
    """The mean over the `size` x `size` cells around each cell of [..., r, r]; cells beyond the edge are its own."""
    for axis in (-2, -1):
        width = [(0, 0)] * x.ndim
        width[axis] = (size // 2 + 1, size // 2)
        total = np.cumsum(np.pad(x, width, mode="edge"), axis=axis, dtype=np.float64)
        count = x.shape[axis]
        parts = (np.take(total, np.arange(start, start + count), axis=axis) for start in (size, 0))
        x = (next(parts) - next(parts)) / size
    return x


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
    held: Mapping[str, Any], image: np.ndarray, generator: Session, spatial: Session | None
) -> tuple[Mapping[str, Any], np.ndarray | None]:
    """What an encoder gave, with the spatial code of its images; unchanged for a model without one.

    Args:
        held: outputs of the encoder, on its device or as arrays.
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
