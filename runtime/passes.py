"""Iterative encoding without torch: the encoder graph is called again with what its reconstructions lacked.

The graph of an encoder that was trained with `padinv train --passes` has a second input beside `image`, also
[N, 3, S, S]: `error`, the sum of (image - reconstruction) over the earlier passes, zero in the first. See
`padinv.models.passes` for the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from padinv.runtime.backends.protocol import Held, Session, run_held
from padinv.runtime.errors import UsageError
from padinv.runtime.images import average_pool

ERROR = "error"


def trained_passes(encoder: Mapping[str, Any]) -> int:
    """How many passes an encoder was trained for, from its configuration in a bundle's manifest."""
    passes = encoder.get("refinements", 0)
    return passes if encoder.get("feedback") == "error" and type(passes) is int and passes > 1 else 1


def checked_passes(asked: int | None, trained: int, name: str) -> int:
    """The number of passes to run; None: as many as the encoder was trained for.

    Args:
        name: of the model, for the message.

    Raises:
        UsageError: the encoder was not trained for so many.
    """
    if asked is None:
        return trained
    if not 1 <= asked <= trained:
        limit = "a single pass" if trained == 1 else f"1 to {trained} passes"
        raise UsageError(
            f"the encoder of the model {name} was trained for {limit}, so {asked} passes cannot be run with it; "
            "train one with: padinv train --passes"
        )
    return asked


def encoder_inputs(image_size: int, trained: int) -> dict[str, tuple[int, int, int]]:
    """The inputs of an encoder graph, name -> shape without the batch axis, in graph order."""
    shape = (3, image_size, image_size)
    return {"image": shape, ERROR: shape} if trained > 1 else {"image": shape}


def encoder_feeds(encoder: Session, image: np.ndarray, error: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What an encoder takes for a pass over images [N, 3, S, S]; `error` None: the first pass."""
    if ERROR not in encoder.inputs:
        return {"image": image}
    return {"image": image, ERROR: np.zeros_like(image) if error is None else error}


def encode_in_passes(encoder: Session, generator: Session | None, image: np.ndarray, passes: int) -> Mapping[str, Held]:
    """The latents of the last pass, which stay on the device.

    Args:
        generator: needed for more than one pass.
        image: float32 [N, 3, S, S] in [-1, 1].
        passes: how many.
    """
    held = run_held(encoder, encoder_feeds(encoder, image))
    error = np.zeros_like(image)
    for _ in range(passes - 1):
        assert generator is not None
        error = error + (image - average_pool(generator.run(held)["output"], image.shape[-1]))
        held = run_held(encoder, encoder_feeds(encoder, image, error))
    return held
