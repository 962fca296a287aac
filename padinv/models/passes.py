"""Inversion in passes: an encoder that sees what its last reconstruction lacks (after ReStyle, Alaluf et al. 2021).

Pass t encodes (image, error_t), and the generator draws the result. The error that the next pass sees is what all
reconstructions so far lacked: error_{t+1} = error_t + (image - reconstruction_t), and error_1 = 0. So the residual of
pass t, in codes, constant and rings alike, is E(image, error_t) - E(image, error_{t-1}). Where a reconstruction lacks
nothing, the next pass changes nothing; and the first pass is an ordinary encoder's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from padinv.losses.objective import loss_image

Latents = tuple[Tensor, Tensor | None, dict[int, Tensor] | None]

# Before any training, the error's weights are this share of the image's: the encoder then inverts the image with a
# quarter of its error added, as unsharp masking does.
ERROR_SHARE = 0.25


def run_passes(
    encode: Callable[[Tensor, Tensor], Latents],
    synthesis: Callable[..., Tensor],
    image: Tensor,
    passes: int,
) -> Iterator[tuple[Latents, Tensor]]:
    """What each pass finds, with its reconstruction. No gradient flows from one pass to another.

    Args:
        encode: (image, error) [N, 3, S, S] -> (wp, const, rings).
        synthesis: (wp, const, rings) -> [N, 3, R, R], see `Generator.synthesis`.
        image: [N, 3, S, S] in [-1, 1].
        passes: how many.

    Yields:
        (wp, const, rings), and the reconstruction [N, 3, S, S], unclamped.
    """
    error = torch.zeros_like(image)
    for _ in range(passes):
        latents = encode(image, error)
        output = loss_image(synthesis(*latents), image.shape[-1])
        yield latents, output
        error = error + (image - output.detach().to(image.dtype))


def widened(weight: Tensor) -> Tensor:
    """A first convolution's weight for images [C, 3, k, k], for images and errors: [C, 6, k, k]."""
    return torch.cat([weight, ERROR_SHARE * weight], dim=1)
