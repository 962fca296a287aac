"""What looks at the border of the image and of the padding, where the paper says that padding space is weakest.

`ring_smoothness` is a loss on rings, `noisy_rings` an augmentation of them, and `border_patches` cuts out what a
discriminator on the border sees.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from padinv.models.rings import ring_walk

MIN_PATCH = 8  # the smallest image that a discriminator takes


def ring_smoothness(rings: Mapping[int, Tensor]) -> Tensor:
    """Mean squared difference between neighbours along the ring, averaged over rings: {r: [N, C, 4r+4]} -> scalar."""
    values = []
    for r, ring in rings.items():
        walk = ring.float()[..., ring_walk(r)]
        values.append((walk - walk.roll(1, dims=-1)).square().mean())
    return torch.stack(values).mean()


def noisy_rings(rings: Mapping[int, Tensor], strength: float) -> dict[int, Tensor]:
    """Rings with Gaussian noise; its standard deviation is `strength` times each image's root mean square in the ring.

    The noise has no gradient of its own: an encoder cannot escape it by predicting larger rings.

    Args:
        rings: {r: [N, C, 4r+4]}; not written to.
    """
    noisy = {}
    for r, ring in rings.items():
        size = ring.detach().square().mean(dim=(1, 2), keepdim=True).sqrt()
        noisy[r] = ring + strength * size * torch.randn_like(ring)
    return noisy


def patch_side(image_size: int) -> int:
    """Side of the border patches of an image: a quarter of its side, at least 8 px."""
    return max(MIN_PATCH, image_size // 4)


def border_patches(image: Tensor, side: int) -> Tensor:
    """A patch at a random place along each of the four edges: [N, 3, S, S] -> [4N, 3, side, side].

    Every patch is rotated so that the image's edge is its first row. Patches of one edge follow each other.
    """
    return torch.cat([_along_top(image.rot90(k, dims=(2, 3)), side) for k in range(4)])


def _along_top(image: Tensor, side: int) -> Tensor:
    count, channels, _, width = image.shape
    start = torch.randint(width - side + 1, (count, 1), device=image.device)
    columns = start + torch.arange(side, device=image.device)
    index = columns[:, None, None, :].expand(count, channels, side, side)
    return image[:, :, :side].gather(3, index)
