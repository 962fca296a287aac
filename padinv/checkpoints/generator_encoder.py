"""A generator with the encoder that inverts it: of a run folder, or of two files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from padinv.checkpoints.loading import load_encoder, load_generator
from padinv.checkpoints.native import generator_hash, read_header
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.runtime.bundle import MANIFEST
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.files import sha256_file


@dataclass
class Origin:
    """A file that weights came from: its name, SHA-256, and the record it carries."""

    file: str
    sha256: str
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class Pair:
    """A generator and the encoder that inverts it.

    Attributes:
        name: of the run, or None.
        origins: 'generator' and 'encoder' -> where they come from.
    """

    generator: Generator
    encoder: Encoder
    name: str | None = None
    origins: dict[str, Origin] = field(default_factory=dict)


def read_run(run: Path | str) -> Pair:
    """The generator and encoder of a training's folder.

    Raises:
        InputError: not a run folder, or one without a checkpoint yet.
    """
    run = Path(run)
    if not run.is_dir():
        what = "is a file; give its two files with --generator and --encoder" if run.exists() else "does not exist"
        raise InputError(f"{run} {what}, so nothing was loaded")
    for name in ("generator.safetensors", "encoder.safetensors"):
        if not (run / name).is_file():
            raise InputError(f"{run} holds no {name}: it is not a run of padinv train, or one without a checkpoint yet")
    pair = read_pair(run / "generator.safetensors", run / "encoder.safetensors")
    pair.name = run.resolve().name
    return pair


def read_pair(generator: Path | str, encoder: Path | str) -> Pair:
    """A generator file and an encoder file.

    Raises:
        InputError: unreadable. MismatchError: the encoder was trained for another generator.
    """
    g = load_generator(generator)
    e = load_encoder(encoder, generator)
    found, wanted = generator_hash(g), _header(Path(encoder)).get("generator_hash")
    if wanted and wanted != found:
        raise MismatchError(
            f"{encoder} was trained for the generator {wanted[:12]}, and {generator} is {found[:12]}, so nothing was "
            "loaded; give the generator it was trained for"
        )
    origins = {"generator": _origin(Path(generator)), "encoder": _origin(Path(encoder))}
    return Pair(g, e, None, origins)


def _header(path: Path) -> dict[str, Any]:
    return {} if path.is_dir() else read_header(path) or {}


def _origin(path: Path) -> Origin:
    record = _header(path).get("record")
    file = path / MANIFEST if path.is_dir() else path  # a bundle's manifest holds the hashes of all its files
    return Origin(path.name, sha256_file(file), record if isinstance(record, dict) else {})
