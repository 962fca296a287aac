"""Looking at an encoder while it trains: reconstruction figures and sample grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from padinv.losses.objective import loss_image
from padinv.models.encoder import Encoder, encode_images
from padinv.models.generator import Generator
from padinv.models.passes import Latents, run_passes
from padinv.picture_sources import PictureSource
from padinv.runtime.errors import InputError
from padinv.runtime.files import atomic_path
from padinv.training.pictures import to_float, to_uint8

CHUNK = 16  # images in a forward pass


def read_validation(
    source: PictureSource, size: int, count: int, *, rank: int = 0, world: int = 1
) -> tuple[Tensor, list[str]]:
    """The first `count` readable pictures, of which process `rank` of `world` keeps every `world`-th.

    Returns:
        uint8 images [N, 3, S, S], and a sentence on each picture that was skipped.

    Raises:
        InputError: none is readable.
    """
    images: list[Tensor] = []
    skipped: list[str] = []
    found = 0
    for index in range(len(source)):
        if found == count:
            break
        try:
            pixels = source.read(index, size)
        except InputError as error:
            skipped.append(str(error))
            continue
        if found % world == rank:
            images.append(torch.from_numpy(pixels).permute(2, 0, 1))
        found += 1
    if not found:
        raise InputError(f"none of the validation pictures in {source.path} can be read: {'; '.join(skipped[:3])}")
    return torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8), skipped


def reconstruct(encoder: Encoder, generator: Generator, images: Tensor) -> Tensor:
    """uint8 images [N, 3, S, S] -> reconstructions, float [N, 3, S, S] in [-1, 1], clamped; computed in float32."""
    return reconstruct_passes(encoder, generator, images)[-1]


@torch.no_grad()
def reconstruct_passes(encoder: Encoder, generator: Generator, images: Tensor) -> list[Tensor]:
    """`reconstruct` after each of the encoder's passes."""
    was_training = encoder.training
    encoder.eval()
    device, side, passes = generator.w_avg.device, images.shape[-1], encoder.config.passes
    parts = [[torch.empty(0, 3, side, side, device=device)] for _ in range(passes)]

    def encode(image: Tensor, error: Tensor) -> Latents:
        latents: Latents = encoder(image, error) if encoder.takes_error else encoder(image)
        return latents

    for chunk in images.split(CHUNK):
        if not len(chunk):
            continue
        found = run_passes(encode, generator.synthesis, to_float(chunk, device), passes)
        for part, (_, output) in zip(parts, found, strict=True):
            part.append(output.float().clamp(-1, 1))
        if encoder.spec.spatial_resolutions:
            output = encode_images(encoder, generator, to_float(chunk, device)).generate(generator)
            parts[-1][-1] = loss_image(output, side).float().clamp(-1, 1)
    encoder.train(was_training)
    return [torch.cat(part) for part in parts]


@torch.no_grad()
def errors(encoder: Encoder, generator: Generator, images: Tensor, lpips: nn.Module | None) -> dict[str, Tensor]:
    """Squared error and, where a network is given, LPIPS of each reconstruction of uint8 images: [N] by name.

    Earlier passes of an iterative encoder are called mse_pass1, lpips_pass1, ...
    """
    outputs = reconstruct_passes(encoder, generator, images)
    target = to_float(images, outputs[0].device)
    figures: dict[str, Tensor] = {}
    for k, output in enumerate(outputs, start=1):
        suffix = "" if k == len(outputs) else f"_pass{k}"
        figures[f"mse{suffix}"] = (output - target).square().mean(dim=(1, 2, 3))
        if lpips is not None:
            pairs = zip(output.split(CHUNK), target.split(CHUNK), strict=True)
            figures[f"lpips{suffix}"] = torch.cat(
                [lpips(a, b).flatten() for a, b in pairs] if len(images) else [output.new_empty(0)]
            )
    return figures


def evaluate(encoder: Encoder, generator: Generator, images: Tensor, lpips: nn.Module | None) -> dict[str, float]:
    """Mean squared error and, where a network is given, LPIPS of reconstructions of uint8 images [N, 3, S, S]."""
    return {name: float(values.mean()) for name, values in errors(encoder, generator, images, lpips).items()}


def grid_of(images: Tensor, reconstructions: Tensor, columns: int = 8, least_side: int = 128) -> np.ndarray:
    """Rows of originals, each above its reconstructions; small pictures are enlarged by a whole factor.

    Args:
        images: uint8 [N, 3, S, S].
        reconstructions: float [N, 3, S, S] in [-1, 1].

    Returns:
        uint8 RGB [H, W, 3].
    """
    pixels = to_uint8(reconstructions).cpu()
    rows = []
    for start in range(0, len(images), columns):
        for group in (images, pixels):
            row = group[start : start + columns]
            blank = torch.full((columns - len(row), *row.shape[1:]), 255, dtype=torch.uint8)
            rows.append(torch.cat([row.cpu(), blank]).permute(2, 0, 3, 1).flatten(1, 2))  # [S, columns * S, 3]
    factor = max(1, -(-least_side // images.shape[-1]))
    return np.ascontiguousarray(torch.cat(rows).numpy().repeat(factor, axis=0).repeat(factor, axis=1))


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 RGB [H, W, 3].

    Raises:
        OutputError: not writable.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
