"""Identity loss (paper section 3.4, eq. 3): 1 - cosine of two embeddings of a frozen face-recognition network."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.runtime.alignment.similarity import similarity
from padinv.runtime.alignment.templates import ARCFACE, ARCFACE_SIDE, template_named

# Where pictures aligned as FFHQ show what ArcFace's crop shows: rows and columns of a 256 px picture.
FFHQ_ROWS, FFHQ_COLUMNS = (35, 223), (32, 220)


class FaceCrop(nn.Module):
    """Aligned pictures [N, 3, S, S] in [-1, 1] -> ArcFace crops [N, 3, 112, 112] in [-1, 1].

    Args:
        template: the pictures' landmark template (`Template.code`), warped onto ArcFace's; 'ffhq' or None: pictures
            aligned as FFHQ, of which a fixed part is cut out, as the reference implementation does.

    Raises:
        UsageError: an unknown template.
    """

    theta: Tensor

    def __init__(self, template: str | None) -> None:
        super().__init__()
        self.template = None if template is None or template_named(template).method == "ffhq" else template
        theta = torch.zeros(1, 2, 3)
        self.scale = 1.0
        if self.template is not None:
            # In the coordinates of affine_grid both pictures span [-1, 1]; it wants the way from crop to picture.
            crop = np.asarray(ARCFACE) * (2 / ARCFACE_SIDE) - 1
            picture = template_named(self.template).points * 2 - 1
            matrix = similarity(crop, picture)
            theta = torch.from_numpy(matrix).float().unsqueeze(0)
            self.scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))  # the part of the picture that a crop spans
        self.register_buffer("theta", theta, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        if self.template is None:
            if image.shape[-1] != 256:
                image = F.interpolate(image, size=(256, 256), mode="bilinear", align_corners=False)
            part = image[:, :, slice(*FFHQ_ROWS), slice(*FFHQ_COLUMNS)]
            return F.adaptive_avg_pool2d(part, ARCFACE_SIDE)
        # Sampling at less than the picture's own rate needs a low-pass first.
        shrink = int(image.shape[-1] * self.scale / ARCFACE_SIDE)
        if shrink > 1:
            image = F.avg_pool2d(image, shrink)
        grid = F.affine_grid(
            self.theta.expand(len(image), -1, -1), [len(image), 3, ARCFACE_SIDE, ARCFACE_SIDE], align_corners=False
        )
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


class IdentityLoss(nn.Module):
    """1 - cos of the embeddings of images and targets, [N, 3, S, S] in [-1, 1] each -> [N], from 0 (same) to 2.

    Args:
        network: gives embeddings of length 1 for crops [N, 3, 112, 112]; see `padinv.models.face_recognition`.
        template: see `FaceCrop`.
    """

    def __init__(self, network: nn.Module, template: str | None) -> None:
        super().__init__()
        self.crop = FaceCrop(template)
        self.network = network
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> IdentityLoss:
        """The network stays in eval mode: batch statistics would compare batches, not faces."""
        return super().train(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            goal = self.network(self.crop(target))
        result: Tensor = 1 - (self.network(self.crop(image)) * goal).sum(dim=1)
        return result
