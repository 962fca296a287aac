"""Training pictures from any source, in an order that depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from padinv.picture_sources import PictureSource
from padinv.runtime.errors import InputError

CACHE_BYTES = 2 << 30  # pictures that fit are decoded once and kept in memory


class Batch(NamedTuple):
    """Images uint8 [N, 3, S, S], and what was said of pictures that turned out damaged on the way."""

    images: Tensor
    bad: list[str]


class Pictures(Dataset[Tensor]):
    """Pictures as uint8 [3, S, S], decoded once into memory where they fit, else when they are asked for.

    A damaged picture is named once. In memory it is left out; otherwise its place is taken by the next good one.

    Args:
        source: where the pictures are.
        size: S.
        cache_bytes: the most memory that decoded pictures may take.
        advance: called with the number of pictures decoded so far, while the memory is filled.

    Raises:
        InputError: not one picture can be read.
    """

    def __init__(
        self,
        source: PictureSource,
        size: int,
        cache_bytes: int = CACHE_BYTES,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        self.source = source
        self.size = size
        self.bad: list[str] = []
        self.cache: Tensor | None = None
        self.kept: Sequence[int] = range(len(source))
        if len(source) * 3 * size * size <= cache_bytes:
            self._fill(advance)

    def _fill(self, advance: Callable[[int], None] | None) -> None:
        cache = torch.empty(len(self.source), 3, self.size, self.size, dtype=torch.uint8)
        kept: list[int] = []
        for index in range(len(self.source)):
            try:
                pixels = self.source.read(index, self.size)
            except InputError as error:
                self.bad.append(str(error))
                continue
            cache[len(kept)] = torch.from_numpy(pixels).permute(2, 0, 1)
            kept.append(index)
            if advance is not None and index % 256 == 255:
                advance(index + 1)
        if not kept:
            raise self._nothing()
        self.kept = kept
        self.cache = cache[: len(kept)]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Tensor:
        if self.cache is not None:
            return self.cache[index]
        for offset in range(len(self)):
            place = self.kept[(index + offset) % len(self)]
            try:
                return torch.from_numpy(self.source.read(place, self.size)).permute(2, 0, 1)
            except InputError as error:
                if str(error) not in self.bad:
                    self.bad.append(str(error))
        raise self._nothing()

    def _nothing(self) -> InputError:
        """What to say when not one picture can be read: the first reasons tell what is wrong with all of them."""
        reasons = "; ".join(self.bad[:3]) + ("; ..." if len(self.bad) > 3 else "")
        return InputError(f"none of the {len(self.source):,} pictures in {self.source.path} can be read: {reasons}")

    def __getitems__(self, items: list[tuple[int, bool]]) -> Batch:
        """A batch; each item is an index and whether to mirror."""
        named = len(self.bad)
        if self.cache is not None:
            batch = self.cache[torch.tensor([index for index, _ in items])]
        else:
            batch = torch.stack([self[index] for index, _ in items])
        flips = torch.tensor([flip for _, flip in items])
        images = torch.where(flips[:, None, None, None], batch.flip(3), batch) if bool(flips.any()) else batch
        return Batch(images, self.bad[named:])


def size_hint(source: PictureSource, size: int) -> str | None:
    """What to say when pictures are smaller than the model reads, or are much larger and decoded at every step.

    Decoding a 1024 px PNG takes fifteen times as long as one of 256 px (measured: 18 and 271 a second and core).
    """
    try:
        with Image.open(BytesIO(source.data(0))) as image:
            side = min(image.size)
    except (OSError, ValueError, InputError):
        return None
    if side < size:
        return f"the images have {side} px and the model reads {size}, so they are enlarged"
    if side < 2 * size or len(source) * 3 * size * size <= CACHE_BYTES:
        return None
    return (
        f"the images have {side} px and the model reads {size}; decoding them at every step may starve a GPU. Once "
        f"before training: padinv dataset {source.path} --size {size}"
    )


class StepBatches:
    """Batches of (index, mirror) from a step on, for ever; the same whatever happened before.

    Every epoch is a fresh permutation. Process `rank` of `world` takes its share of every global batch.
    """

    def __init__(
        self, count: int, batch: int, seed: int, start: int = 0, flips: bool = False, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch, self.seed, self.start = count, batch, seed, start
        self.flips, self.rank, self.world = flips, rank, world
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if epoch not in self._epochs:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(self.count).astype(np.uint32)  # half the memory: there are never 4 billion pictures
            mirror = rng.random(self.count) < 0.5 if self.flips else np.zeros(self.count, bool)
            self._epochs = {e: v for e, v in self._epochs.items() if e == epoch - 1} | {epoch: (order, mirror)}
        return self._epochs[epoch]

    def at(self, step: int) -> list[tuple[int, bool]]:
        """This process's batch at a step."""
        first = (step * self.world + self.rank) * self.batch
        items = []
        for position in range(first, first + self.batch):
            order, mirror = self._epoch(position // self.count)
            place = position % self.count
            items.append((int(order[place]), bool(mirror[place])))
        return items

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        step = self.start
        while True:
            yield self.at(step)
            step += 1


def _as_is(batch: Batch) -> Batch:
    return batch


def batches(pictures: Pictures, order: StepBatches, workers: int = 0) -> DataLoader[Batch]:
    """Endless batches in `order`, each a `Batch`; worker processes only where pictures are decoded on the way."""
    workers = 0 if pictures.cache is not None else workers
    return DataLoader(
        pictures,  # type: ignore[arg-type]
        batch_sampler=order,  # type: ignore[arg-type]
        collate_fn=_as_is,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def to_float(images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [N, 3, S, S] -> float32 in [-1, 1] on `device`."""
    return images.to(device, non_blocking=True).float() / 127.5 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """float [..., 3, S, S] in [-1, 1] -> uint8, clamped and rounded."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_image(tensor: Tensor) -> Image.Image:
    """float [3, S, S] in [-1, 1] -> Pillow image, clamped and rounded."""
    return Image.fromarray(to_uint8(tensor).permute(1, 2, 0).cpu().numpy())
