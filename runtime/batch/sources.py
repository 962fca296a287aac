"""What edits start from: pictures, or inversion files, which need no encoder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.alignment.aligner import Align, Aligner, item_transform
from padinv.runtime.alignment.landmarks_csv import read_landmarks
from padinv.runtime.batch.file_identity import identity_of
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.results_log import RESULTS, RESULTS_MARK
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.files import parse_json, read_regular
from padinv.runtime.images import SUFFIXES, Fit, to_float
from padinv.runtime.inversion import Inversion, require_same_generator
from padinv.runtime.model import Model
from padinv.runtime.safetensors_file import open_safetensors

INVERSION_SUFFIX = ".safetensors"
MAX_RECORDS_BYTES = 1 << 30


@dataclass(frozen=True)
class Source:
    """One image to edit.

    Attributes:
        path: a picture, or an inversion file.
        name: relative name with /, which results are called by.
        index: which image of an inversion file; None for a picture.
    """

    path: Path
    name: str
    index: int | None = None

    @property
    def is_inversion(self) -> bool:
        return self.index is not None

    def identity(self) -> dict[str, Any]:
        """Where it lies and what it was when it was read, JSON-ready; a change of it makes new results."""
        place, size, version = identity_of(self.path)
        if size is None:
            return {"path": place}
        return {"path": place, "bytes": size, "mtime_ns": version, "index": self.index}


def find_sources(paths: Iterable[Path | str], out: Path | None = None) -> tuple[list[Source], list[str]]:
    """Files, folders and patterns -> images to edit, and a sentence for each input that gives none.

    In folders, pictures and inversion files are taken; of a picture and an inversion file that differ only in the
    suffix (what `padinv invert` writes), the inversion.
    """
    gathered = gather(paths, out, SUFFIXES | {INVERSION_SUFFIX})
    problems = [sentence for _, sentence in gathered.skipped()]
    inversions = {found.path.with_suffix("") for found in gathered.files if _is_inversion(found.path)}
    sources = []
    for found in gathered.files:
        if not _is_inversion(found.path):
            if found.path.with_suffix("") not in inversions:
                sources.append(Source(found.path, found.name))
            continue
        try:
            count = _count(found.path)
        except InputError as error:
            problems.append(f"{error}; it was skipped")
            continue
        stem = found.name[: -len(INVERSION_SUFFIX)]
        names = [stem] if count == 1 else [f"{stem}-{i:04d}" for i in range(count)]
        sources += [Source(found.path, name, i) for i, name in enumerate(names)]
    return sources, problems


def find_source(path: Path | str) -> Source:
    """The one image that a path names.

    Raises:
        InputError: missing, a folder, or an inversion file of several images.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, and one picture or inversion file is needed here; nothing was done")
    sources, problems = find_sources([path])
    if not sources:
        raise InputError(
            (problems or [f"{path} holds no image"])[0].replace(", so it was skipped", "; nothing was done")
        )
    if len(sources) > 1:
        raise InputError(f"{path} holds {len(sources)} images, and one is needed here; nothing was done")
    return sources[0]


@dataclass
class Loaded:
    """A source that was read: its square picture, its inversion, or both.

    Attributes:
        pixels: uint8 RGB [S, S, 3], the encoder's input; None for an inversion file.
        inversion: a batch of one; None until it is encoded.
        item: what an `Inversion` keeps about the image.
        note: a sentence that the user should see, or None.
    """

    source: Source
    pixels: np.ndarray | None
    inversion: Inversion | None
    item: dict[str, Any]
    note: str | None = None


class Reader:
    """Reads sources for one model. Safe to share between threads."""

    def __init__(self, model: Model, aligner: Aligner) -> None:
        self.model = model
        self.aligner = aligner
        self._lock = threading.Lock()
        self._last: tuple[Path, Inversion] | None = None

    @classmethod
    def open(
        cls,
        model: Model,
        *,
        align: Align = "auto",
        landmarks: Path | str | None = None,
        face: int = 1,
        fit: Fit = "crop",
    ) -> Reader:
        """A reader that aligns as the commands do.

        Args:
            landmarks: CSV file of landmarks, used instead of the face detector.

        Raises:
            InputError: a CSV file that cannot be read. UsageError: an unknown mode.
        """
        given = None if landmarks is None else read_landmarks(Path(landmarks))
        template = model.spec.template
        return cls(model, Aligner(template, align, landmarks=given, face=face, fit=fit, threads=model.threads))

    def read(self, source: Source, like: Loaded | None = None) -> Loaded:
        """Read a picture and cut out its square, or take an image of an inversion file.

        Args:
            like: a picture of the same size (A of a pair A, A'), whose square is taken instead of looking again: what
                the detector sees differently must not count as an edit.

        Raises:
            InputError: see `read_image` and `Aligner.place`. MismatchError: an inversion of another generator.
        """
        if source.is_inversion:
            inversion = self._inversion(source)
            return Loaded(source, None, inversion, dict(inversion.items[0]))
        known = like.item if like is not None and like.pixels is not None else None
        prepared, placement = self.aligner.prepare_file(source.path, self.model.spec.image_size, like=known)
        return Loaded(source, prepared.pixels, None, {"source": source.name, **prepared.item()}, placement.note)

    def encode(self, batch: Sequence[Loaded], batch_size: int = 16) -> Inversion:
        """The inversions of what was read, as one batch; pictures are encoded, and keep their inversion."""
        pictures = [(one, one.pixels) for one in batch if one.inversion is None and one.pixels is not None]
        if pictures:
            encoded = self.model.encode(to_float(np.stack([pixels for _, pixels in pictures])), batch_size)
            encoded.items = [one.item for one, _ in pictures]
            for i, (one, _) in enumerate(pictures):
                one.inversion = encoded[i]
        return Inversion.concat([one.inversion for one in batch if one.inversion is not None])

    def load(self, path: Path | str, like: Loaded | None = None) -> Loaded:
        """Read and encode the one image that a path names.

        Raises:
            InputError, MismatchError
        """
        loaded = self.read(find_source(path), like)
        self.encode([loaded])
        return loaded

    def _inversion(self, source: Source) -> Inversion:
        assert source.index is not None
        with self._lock:
            last = self._last
        if last is None or last[0] != source.path:
            whole = Inversion.load(source.path)
            require_same_generator(self.model.generator_hash, whole.generator_hash, str(source.path))
            if not self.model.spec.accepts({name: a.shape[1:] for name, a in whole.arrays().items()}):
                raise MismatchError(f"{source.path} has other shapes than this model's inversions; invert it again")
            last = (source.path, whole)
            with self._lock:
                self._last = last
        return last[1][source.index]


def photo_path(loaded: Loaded) -> Path:
    """The photograph that an image was cut out of.

    Raises:
        InputError: nobody knows: an inversion file that lies in no folder of `padinv invert`'s results.
    """
    source = loaded.source
    if not source.is_inversion:
        return source.path
    absolute = Path(os.path.abspath(source.path))
    for folder in absolute.parents:
        path = folder / RESULTS
        if path.is_file():
            name = _recorded_source(path, absolute.relative_to(folder).as_posix())
            if name is not None:
                return Path(name)
            break
    raise InputError(
        f"the photograph of {source.path} is not known, so nothing was pasted back; give the photograph itself instead "
        "of the inversion file, or keep the file in the folder where padinv invert wrote it"
    )


def photo_transform(loaded: Loaded) -> np.ndarray:
    """The transform an image was cut out with, photograph pixels -> fractions of the square.

    Raises:
        InputError: the inversion does not say.
    """
    transform = item_transform(loaded.item)
    if transform is None:
        raise InputError(f"{loaded.source.path} does not say where its square was cut out, so nothing was pasted back")
    return transform


def _is_inversion(path: Path) -> bool:
    return path.suffix.lower() == INVERSION_SUFFIX


def _count(path: Path) -> int:
    """How many images an inversion file holds, from its header alone."""
    with open_safetensors(path, "an inversion") as file:
        entry = file.entries.get("wp")
    if entry is None or len(entry.shape) != 3 or entry.shape[0] < 1:
        raise InputError(f"{path} is a safetensors file, but not an inversion")
    return entry.shape[0]


def _recorded_source(path: Path, inversion: str) -> str | None:
    """Which photograph a folder's results say an inversion file was made of."""
    try:
        data = read_regular(path, MAX_RECORDS_BYTES)
    except OSError:
        return None
    if not data.startswith(RESULTS_MARK):
        return None
    found = None
    for line in data.splitlines():
        if inversion.encode() not in line and b"\\u" not in line:
            continue
        try:
            record = parse_json(line)
            if record["outputs"]["inversion"]["file"] == inversion and isinstance(record["source"], str):
                found = record["source"]
        except (ValueError, KeyError, TypeError):
            continue
    return found
