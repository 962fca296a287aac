"""A pair's change in the spatial code alone: what was added to a face, with everything else as it was.

Latents and rings change more than an object that was painted onto a face, and the difference of two spatial codes shows
only what these have missed of it. Here A' is encoded beside the reconstruction of A, so that the code holds the whole
change. Its difference to the code of A, inside the changed region, is added to other faces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from padinv.runtime.editing.direction import Direction
from padinv.runtime.errors import UsageError
from padinv.runtime.images import average_pool
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


def detail_difference(model: Model, a: Inversion, edited: np.ndarray, regions: Sequence[np.ndarray]) -> Direction:
    """The mean change of the spatial code from A to A', of several pairs; zero in everything else.

    Args:
        a: inversions of N images with their spatial codes.
        edited: float32 [N, 3, S, S] in [-1, 1], S = spec.image_size: A'.
        regions: N of [S, S], where each pair differs; see `changed_region`.

    Returns:
        a direction in the padding; it leaves the colours beside the code as they are, so that nothing fades.

    Raises:
        UsageError: the model has no spatial code.
    """
    if not model.spec.spatial_resolutions or not a.spatial:
        raise UsageError(f"the model {model.bundle.name} has no spatial code, so an edit cannot be made in it")
    seen = model.with_spatial(a, edited).spatial
    spatial = {}
    for r, code in a.spatial.items():
        inside = average_pool(np.stack(regions)[:, None].astype(np.float32), r) > 0
        change = (seen[r][:, :-3] - code[:, :-3]) * inside
        spatial[r] = np.concatenate([change.mean(axis=0), np.zeros_like(code[0, -3:])])
    zeros = {name: np.zeros_like(array[0]) for name, array in a.without_spatial().arrays().items()}
    return Direction.from_arrays({**zeros, **{f"spatial_{r}": code for r, code in spatial.items()}}, a.generator_hash)
