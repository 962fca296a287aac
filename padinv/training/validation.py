"""Looking at an encoder while it trains: reconstruction figures and sample grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from padinv.data import to_float
from padinv.losses.objective import loss_image
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.runtime.files import atomic_path

CHUNK = 16  # images a forward pass


@torch.no_grad()
def reconstruct(encoder: Encoder, generator: Generator, images: Tensor) -> Tensor:
    """uint8 images [N, 3, S, S] -> reconstructions, float [N, 3, S, S] in [-1, 1], clamped."""
    was_training = encoder.training
    encoder.eval()
    device = generator.w_avg.device
    parts = []
    for chunk in images.split(CHUNK):
        output = generator.synthesis(*encoder(to_float(chunk, device)))
        parts.append(loss_image(output, images.shape[-1]).float().clamp(-1, 1))
    encoder.train(was_training)
    return torch.cat(parts)


@torch.no_grad()
def evaluate(encoder: Encoder, generator: Generator, images: Tensor, lpips: nn.Module | None) -> dict[str, float]:
    """Mean squared error and, where a network is given, LPIPS of reconstructions of uint8 images [N, 3, S, S]."""
    output = reconstruct(encoder, generator, images)
    target = to_float(images, output.device)
    figures = {"mse": float((output - target).square().mean())}
    if lpips is not None:
        pairs = zip(output.split(CHUNK), target.split(CHUNK), strict=True)
        figures["lpips"] = float(torch.cat([lpips(a, b) for a, b in pairs]).mean())
    return figures


def save_grid(path: Path, images: Tensor, reconstructions: Tensor, columns: int = 8, least_side: int = 128) -> None:
    """Write rows of originals, each above its reconstructions; small pictures are enlarged by a whole factor.

    Args:
        images: uint8 [N, 3, S, S].
        reconstructions: float [N, 3, S, S] in [-1, 1].
    """
    pixels = ((reconstructions.float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    rows = []
    for start in range(0, len(images), columns):
        for group in (images, pixels):
            row = group[start : start + columns]
            blank = torch.full((columns - len(row), *row.shape[1:]), 255, dtype=torch.uint8)
            rows.append(torch.cat([row.cpu(), blank]).permute(2, 0, 3, 1).flatten(1, 2))  # [S, columns * S, 3]
    sheet = Image.fromarray(np.ascontiguousarray(torch.cat(rows).numpy()))
    factor = -(-least_side // images.shape[-1])
    if factor > 1:
        sheet = sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
