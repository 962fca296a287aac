"""The run folder: what a training leaves behind, and how it is resumed.

config.json            resolved configuration with reasons, the inputs, versions
generator.safetensors  the generator (and discriminator) that was used
encoder.safetensors    the encoder as of the last checkpoint: the weight average where there is one
encoder-best.safetensors   the encoder with the best validation figure so far
checkpoint.pt          everything that a training needs to resume exactly
metrics.jsonl          one object for each logged interval or evaluation
speed.jsonl            images per second of the logged intervals
tensorboard/           the same for TensorBoard
samples/               originals above reconstructions, named by training images
report.html            curves and sample grids, written at each evaluation
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.files import TEMPORARY_PREFIX, atomic_path, parse_json, write_json, write_text
from padinv.runtime.locks import LOCK_NAME, FolderInUseError, folder_lock

FORMAT = 1


def differences(old: Mapping[str, Any], new: Mapping[str, Any], free: frozenset[str] = frozenset()) -> list[str]:
    """What changed between two configurations, as 'name old -> new', leaving out `free` names."""
    names = [name for name in {**old, **new} if name not in free]
    return [f"{n} {old.get(n)!r} -> {new.get(n)!r}" for n in names if old.get(n) != new.get(n)]


class RunFolder:
    """Paths and files of one run.

    Raises:
        OutputError: the folder cannot be made, or is a file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.generator_file = self.path / "generator.safetensors"
        self.encoder_file = self.path / "encoder.safetensors"
        self.best_file = self.path / "encoder-best.safetensors"
        self.checkpoint_file = self.path / "checkpoint.pt"
        self.metrics_file = self.path / "metrics.jsonl"
        self.speed_file = self.path / "speed.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.samples = self.path / "samples"

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made or written, or is a file.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise OutputError(f"{self.path} is a file, so no run can be kept there; choose another --out") from error
        except OSError as error:
            raise OutputError(f"cannot make {self.path}: {error.strerror or error}; choose another --out") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write into {self.path}; choose another --out")
        if not self.config_file.exists() and any(not _is_ours(p.name) for p in self.path.iterdir()):
            raise OutputError(f"{self.path} holds other files and no training; choose an empty folder for --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the same folder, and remove what a killed one left half-written.

        Raises:
            UsageError: another training holds it.
        """
        with folder_lock_or_sentence(self.path):
            for folder in (self.path, self.samples):
                for leftover in folder.glob(f"{TEMPORARY_PREFIX}*.tmp*"):
                    leftover.unlink(missing_ok=True)
            yield

    def read_config(self) -> dict[str, Any] | None:
        """The configuration the run was begun with; None for a new run.

        Raises:
            InputError: damaged.
        """
        try:
            document = parse_json(self.config_file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.config_file} cannot be read ({error}); restore it or use a new --out") from error
        if not isinstance(document, dict) or not isinstance(document.get("identity"), dict):
            raise InputError(f"{self.config_file} is not the configuration of a training; use a new --out")
        return document

    def resume(
        self, identity: Mapping[str, Any], free: frozenset[str], assumed: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The checkpoint of an earlier part of this run; None where nothing was saved yet, so that it may begin again.

        Args:
            identity: what must not have changed.
            free: names of it that may change.
            assumed: values of names that the run's own record does not have, because it is older than they are.

        Raises:
            UsageError: the run was begun with another configuration; every difference is named.
            InputError: its files are damaged.
        """
        if not self.checkpoint_file.exists():
            return None
        document = self.read_config()
        if document is None:
            raise InputError(f"{self.config_file} is missing; restore it or use a new --out")
        old = {name: value for name, value in {**assumed, **document["identity"]}.items() if name in identity}
        if changed := differences(_comparable(old), _comparable(identity), free):
            raise UsageError(
                f"{self.path} was begun with another configuration ({'; '.join(changed)}), so nothing was trained; "
                "repeat the first command to resume it, or use a new --out"
            )
        return self.load_checkpoint()

    def write_config(self, identity: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Write `config.json`."""
        write_json(self.config_file, {"format": FORMAT, "identity": dict(identity), **details})

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint atomically.

        Raises:
            OutputError: it cannot be written; the old one is intact.
        """
        # Given a path, torch would store the temporary name inside: it gets an open file.
        with atomic_path(self.checkpoint_file) as path, _writing(self.checkpoint_file), open(path, "wb") as file:
            torch.save(_interned({"format": FORMAT, **state}), file)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU; None where none was written yet.

        Raises:
            InputError: damaged.
        """
        if not self.checkpoint_file.exists():
            return None
        try:
            state = torch.load(self.checkpoint_file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises many kinds for a damaged file
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{self.checkpoint_file} is damaged ({reason}), so the training cannot resume; use a new --out, with "
                f"--init {self.encoder_file} to start from its weights"
            ) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise InputError(f"{self.checkpoint_file} is not a checkpoint that this padinv reads; update padinv")
        return state

    def append(self, file: Path, record: Mapping[str, Any]) -> None:
        """Add a line to `metrics.jsonl` or `speed.jsonl`.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            with open(file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {file}: {error.strerror or error}") from error

    def trim_metrics(self, images: int) -> None:
        """Drop lines written after the checkpoint at `images`: those steps will be done again."""
        for file in (self.metrics_file, self.speed_file):
            if not file.exists():
                continue
            kept = []
            for line in file.read_text("utf-8").splitlines():
                try:
                    if json.loads(line)["images"] <= images:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # the line that was being written when the power went
            write_text(file, "".join(line + "\n" for line in kept))


def _is_ours(name: str) -> bool:
    """Whether a file in a folder without a configuration was left by a start of ours."""
    return name == LOCK_NAME or name.startswith(TEMPORARY_PREFIX)


def _interned(value: Any) -> Any:
    """A nested state whose equal keys are one object: pickle then writes the same bytes before and after a resume."""
    if isinstance(value, dict):
        copy = type(value)()
        for key, part in value.items():
            copy[sys.intern(key) if type(key) is str else key] = _interned(part)
        if hasattr(value, "_metadata"):  # of a module's state
            copy._metadata = value._metadata  # type: ignore[attr-defined]
        return copy
    if isinstance(value, (list, tuple)):
        return type(value)(_interned(part) for part in value)
    return value


def _comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity in which a path counts by where it leads, and tuples by their items, as JSON has them."""
    result: dict[str, Any] = json.loads(json.dumps(dict(identity)))
    if isinstance(result.get("init"), str):
        result["init"] = os.path.realpath(result["init"])
    return result


@contextmanager
def folder_lock_or_sentence(path: Path) -> Iterator[None]:
    """`folder_lock` of a training.

    Raises:
        UsageError: another training holds the folder.
        OutputError: the lock file cannot be made.
    """
    try:
        with folder_lock(path):
            yield
    except FolderInUseError as error:
        raise UsageError(f"another training is at work in {path}; nothing was changed") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """torch reports a full disk as a RuntimeError of its archive writer."""
    try:
        yield
    except RuntimeError as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else None
        reason = cause.strerror if cause is not None else " ".join(str(error).split())[:160]
        raise OutputError(f"cannot write {path}: {reason}; the last checkpoint is intact") from error
