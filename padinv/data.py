"""Training pictures: a folder or a ZIP archive, in an order that depends on the seed and the step alone."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from padinv.runtime.errors import InputError
from padinv.runtime.images import MAX_FILE_BYTES, SUFFIXES, prepare, read_image, read_image_bytes

CACHE_BYTES = 2 << 30  # pictures that fit are decoded once and kept in memory
MAX_MEMBERS = 10_000_000
MAX_MEMBER_RATIO = 1_000  # a picture that unpacks to more than this many times its size is an attack


def printable(name: str) -> str:
    """A name from an archive, fit for a terminal: control characters and overlong parts replaced."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= 200 else f"{clean[:100]}...{clean[-90:]}"


class PictureSource:
    """The pictures of a folder (with its sub-folders) or of a ZIP archive, sorted by name.

    Nothing is unpacked to disk. Archives are read member by member, so names that lead elsewhere do no harm.

    Raises:
        InputError: missing, unreadable, or without a picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._owner = -1  # the process that opened `_zip`: a file handle must not be shared after a fork
        try:
            if self.path.is_dir():
                self.names, self.is_zip = self._walk(), False
            elif self.path.is_file():
                self.names, self.is_zip = self._members(), True
            else:
                raise InputError(f"{self.path} does not exist; --data takes a folder or a ZIP archive of pictures")
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if not self.names:
            raise InputError(f"{self.path} holds no picture ({', '.join(sorted(SUFFIXES))})")

    def _walk(self) -> list[str]:
        def fail(error: OSError) -> None:
            raise error

        found = []
        for folder, _, files in os.walk(self.path, onerror=fail):
            inside = Path(folder).relative_to(self.path)
            found += [(inside / name).as_posix() for name in files if Path(name).suffix.lower() in SUFFIXES]
        return sorted(found)

    def _archive(self) -> zipfile.ZipFile:
        if self._zip is None or self._owner != os.getpid():
            try:
                self._zip, self._owner = zipfile.ZipFile(self.path), os.getpid()
            except zipfile.BadZipFile as error:
                raise InputError(f"{self.path} is neither a folder nor a readable ZIP archive ({error})") from error
        return self._zip

    def _members(self) -> list[str]:
        members = self._archive().infolist()
        if len(members) > MAX_MEMBERS:
            raise InputError(f"{self.path} has more than {MAX_MEMBERS:,} members, so it was not read")
        hidden = ("__MACOSX",)
        return sorted(
            {
                m.filename
                for m in members
                if not m.is_dir()
                and PurePosixPath(m.filename).suffix.lower() in SUFFIXES
                and not m.filename.startswith(hidden)
            }
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zip": None, "_owner": -1}

    def label(self, index: int) -> str:
        """The picture's place, for messages."""
        return (
            f"{self.path}/{printable(self.names[index])}"
            if not self.is_zip
            else (f"{printable(self.names[index])} in {self.path}")
        )

    def read(self, index: int, size: int) -> np.ndarray:
        """Decode a picture, crop it to a centred square, resize it: uint8 RGB [size, size, 3].

        Raises:
            InputError: damaged, too large, or not a picture.
        """
        label = self.label(index)
        if not self.is_zip:
            image, full = read_image(self.path / self.names[index], enough=3 * size)
            return prepare(image, size, "crop", full).pixels
        try:
            archive = self._archive()
            info = archive.getinfo(self.names[index])
            if info.file_size > MAX_FILE_BYTES or info.file_size > MAX_MEMBER_RATIO * max(1, info.compress_size):
                raise InputError(f"{label} unpacks to {info.file_size >> 20} MiB, so it was not read")
            data = archive.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{label} cannot be unpacked: {' '.join(str(error).split())[:160]}") from error
        except Exception as error:
            if type(error).__module__ in ("zlib", "_lzma", "lzma"):  # damaged compressed data
                raise InputError(f"{label} cannot be unpacked: {error}") from error
            raise
        image, full = read_image_bytes(data, label, enough=3 * size)
        return prepare(image, size, "crop", full).pixels

    def fingerprint(self) -> str:
        """A hash of the names: the same run must go on with the same pictures in the same order."""
        return hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Batch(NamedTuple):
    """Images uint8 [N, 3, S, S], and what was said of pictures that turned out damaged on the way."""

    images: Tensor
    bad: list[str]


class Pictures(Dataset):
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
        self.kept = list(range(len(source)))
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
            raise InputError(f"none of the {len(self.source)} pictures in {self.source.path} can be read")
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
        raise InputError(f"none of the {len(self.source)} pictures in {self.source.path} can be read")

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
            order = rng.permutation(self.count)
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


def batches(pictures: Pictures, order: StepBatches, workers: int = 0) -> DataLoader:
    """Endless batches in `order`, each a `Batch`; worker processes only where pictures are decoded on the way."""
    workers = 0 if pictures.cache is not None else workers
    return DataLoader(
        pictures,
        batch_sampler=order,  # type: ignore[arg-type]
        collate_fn=_as_is,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def to_float(images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [N, 3, S, S] -> float32 in [-1, 1] on `device`."""
    return images.to(device, non_blocking=True).float() / 127.5 - 1.0


def to_image(tensor: Tensor) -> Image.Image:
    """float [3, S, S] in [-1, 1] -> Pillow image, clamped and rounded."""
    pixels = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
