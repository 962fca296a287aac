"""Image -> z, the counterpart of the mapping network; helps a generator's training, no part of a finished model."""

from __future__ import annotations

from torch import Tensor, nn

from padinv.models.fast_encoder import ResBlock
from padinv.runtime.spec import ModelSpec


class LatentEncoder(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] -> z [N, z_dim] on the sphere that the mapping network normalises to.

    Every coordinate is batch-normalised, so that codes lie all over the sphere, where the samples' z do. Without that
    they were seen to gather in a cone (mean cosine 0.84), and samples gained nothing.
    """

    def __init__(self, spec: ModelSpec, widest: int = 256) -> None:
        super().__init__()
        width = 48
        modules: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)]
        side = spec.image_size // 2
        while side > 4:
            wider = min(2 * width, widest)
            modules.append(ResBlock(width, wider, 2))
            width, side = wider, side // 2
        self.body = nn.Sequential(*modules, ResBlock(width, width, 1))
        self.head = nn.Linear(width * side * side, spec.z_dim, bias=False)
        self.spread = nn.BatchNorm1d(spec.z_dim, affine=False)

    def forward(self, image: Tensor) -> Tensor:
        z = self.spread(self.head(self.body(image).flatten(1)).float())
        result: Tensor = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        return result
