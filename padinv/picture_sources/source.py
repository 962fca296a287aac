"""What every source of training and evaluation pictures offers, whatever the container."""

from __future__ import annotations

import hashlib
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

import numpy as np

from padinv.picture_sources.resizing import square_pixels
from padinv.runtime import text
from padinv.runtime.images import read_image_bytes

CHECKED_BYTES = 64 << 20  # sources up to this size are hashed completely
CHECKED_PICTURES = 256  # of larger sources so many, evenly spread


def printable(name: str) -> str:
    """A name from outside, fit for a terminal: control characters and overlong parts replaced."""
    clean = text.printable(name)
    return clean if len(clean) <= 200 else f"{clean[:100]}...{clean[-90:]}"


class PictureSource(ABC):
    """Pictures in a fixed order (by name), each readable at any time and from any process.

    The order depends on the names alone, so the same pictures in another container come in the same order. Memory
    does not depend on the size of the pictures, and takes some tens of bytes for each of them.

    Attributes:
        path: what was opened, for messages.
    """

    path: Path | str

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are."""

    @abstractmethod
    def name(self, index: int) -> str:
        """The picture's name inside the source, with /."""

    @abstractmethod
    def data(self, index: int) -> bytes:
        """The encoded picture, as it is stored.

        Raises:
            InputError: it cannot be read.
        """

    @abstractmethod
    def names_digest(self) -> str:
        """SHA-256 of all names in order, zero bytes between them, as hex."""

    @abstractmethod
    def sizes(self) -> np.ndarray | None:
        """Bytes of every encoded picture, as integers [N]; None where they are not known without reading.

        Raises:
            InputError: the source can no longer be read.
        """

    @property
    def title(self) -> str:
        """A short name, for the names of results."""
        return PurePosixPath(str(self.path).rstrip("/")).name

    def label(self, index: int) -> str:
        """The picture's place, for messages."""
        return f"{printable(self.name(index))} in {self.path}"

    def read(self, index: int, size: int, resize: str = "lanczos") -> np.ndarray:
        """Decode a picture, crop it to a centred square, resize it: uint8 RGB [size, size, 3].

        Args:
            resize: see `padinv.picture_sources.resizing`.

        Raises:
            InputError: damaged, too large, or not a picture.
        """
        enough = 3 * size if resize == "lanczos" else None
        image, full = read_image_bytes(self.data(index), self.label(index), enough=enough)
        return square_pixels(image, size, full, resize)

    def fingerprint(self) -> str:
        """A hash of the names: 16 hex digits."""
        return self.names_digest()[:16]

    def contents(self) -> str:
        """A hash of sizes and checksums: another data set with the same names has another hash. 16 hex digits.

        All pictures are read where they take less than 64 MiB, else 256 of them, evenly spread. The same files in a
        folder, a ZIP archive or tar shards have the same hash.

        Raises:
            InputError: a picture disappeared.
        """
        digest = hashlib.sha256()
        sizes = self.sizes()
        if sizes is not None:
            digest.update(np.ascontiguousarray(sizes, dtype="<u8").tobytes())
        whole = sizes is not None and int(sizes.sum()) <= CHECKED_BYTES
        for index in range(len(self)) if whole else evenly(len(self), self.sample_count()):
            digest.update(zlib.crc32(self.data(index)).to_bytes(4, "little"))
        return digest.hexdigest()[:16]

    def sample_count(self) -> int:
        """Of how many pictures of a large source the checksums are taken."""
        return CHECKED_PICTURES


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` indices, evenly spread, the first and last among them."""
    wanted = min(wanted, count)
    return [round(k * (count - 1) / max(1, wanted - 1)) for k in range(wanted)]
