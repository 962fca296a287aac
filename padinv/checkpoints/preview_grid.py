"""A small grid of pictures beside an imported file: one look tells whether the import is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from padinv.checkpoints.checkpoint import ForeignGenerator
from padinv.checkpoints.convert import ForeignEncoder
from padinv.models.generator import Generator
from padinv.runtime.images import array_to_image, to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

TRUNCATION = 0.7
MAX_TILE = 256
_ENCODER_COLUMNS = 4


def grid_shape(resolution: int) -> tuple[int, int]:
    """(rows, columns) of a generator's grid: fewer pictures where each one takes long."""
    return (4, 4) if resolution <= 256 else (2, 4) if resolution == 512 else (2, 2)


def draw_generator(foreign: ForeignGenerator) -> Iterator[np.ndarray]:
    """Tiles uint8 [H, W, 3] for seeds 0, 1, ..., truncated; row by row, `grid_shape` of them."""
    generator = Generator(foreign.spec)
    generator.load_state_dict(foreign.state)
    generator.eval()
    rows, columns = grid_shape(foreign.spec.resolution)
    for seed in range(rows * columns):
        yield _tile(_picture(generator, seed))


def draw_encoder(foreign: ForeignEncoder) -> Iterator[np.ndarray]:
    """Tiles of the generator's own pictures, then of their inversions: two rows of four."""
    from padinv.models.encoder import Encoder

    generator = Generator(foreign.spec)
    generator.load_state_dict(foreign.generator)
    encoder = Encoder(foreign.spec, foreign.config)
    encoder.load_state_dict(foreign.state)
    generator.eval()
    encoder.eval()
    pictures = []
    for seed in range(_ENCODER_COLUMNS):
        pictures.append(_picture(generator, seed))
        yield _tile(pictures[-1])
    for picture in pictures:
        with torch.inference_mode():
            size = foreign.spec.image_size
            small = torch.nn.functional.adaptive_avg_pool2d(picture, size)
            wp, const, rings = encoder(small)
            yield _tile(generator.synthesis(wp, const, rings))


def encoder_grid_shape() -> tuple[int, int]:
    """(rows, columns) of an encoder's grid: pictures above their inversions."""
    return 2, _ENCODER_COLUMNS


def arrange(tiles: list[np.ndarray], columns: int) -> Image:
    """Tiles of one size, row by row, as one picture."""
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return array_to_image(np.concatenate(rows, axis=0))


def _picture(generator: Generator, seed: int) -> torch.Tensor:
    """[1, 3, R, R] of a seed; seed s stands for numpy.random.RandomState(s).randn(1, z_dim)."""
    z = np.random.RandomState(seed).randn(1, generator.spec.z_dim).astype(np.float32)
    with torch.inference_mode():
        result: torch.Tensor = generator(torch.from_numpy(z), truncation=TRUNCATION)
        return result


def _tile(picture: torch.Tensor) -> np.ndarray:
    if picture.shape[-1] > MAX_TILE:
        picture = torch.nn.functional.adaptive_avg_pool2d(picture, MAX_TILE)
    result: np.ndarray = to_uint8(picture.numpy())[0]
    return result
