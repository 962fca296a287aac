"""The run folder: what a training leaves behind, and how it is picked up again.

config.json            resolved configuration with reasons, the inputs, versions
generator.safetensors  the generator (and discriminator) that was used
encoder.safetensors    the encoder as of the last checkpoint: the weight average where there is one
checkpoint.pt          everything that a training needs to go on exactly
metrics.jsonl          one object a logged interval or evaluation
tensorboard/           the same for TensorBoard
samples/               originals above reconstructions, named by training images
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.files import atomic_path, write_json, write_text

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
        self.checkpoint_file = self.path / "checkpoint.pt"
        self.metrics_file = self.path / "metrics.jsonl"
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
        if not self.config_file.exists() and any(p.name != ".lock" for p in self.path.iterdir()):
            raise OutputError(f"{self.path} holds other files and no training; choose an empty folder for --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the same folder; the lock goes when the process goes.

        Raises:
            UsageError: another training holds it.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such lock; the check is a convenience
            yield
            return
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(f"another training is at work in {self.path}; nothing was changed") from error
            yield

    def read_config(self) -> dict[str, Any] | None:
        """The configuration the run was begun with; None for a new run.

        Raises:
            InputError: damaged.
        """
        try:
            document = json.loads(self.config_file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.config_file} cannot be read ({error}); restore it or use a new --out") from error
        if not isinstance(document, dict) or not isinstance(document.get("identity"), dict):
            raise InputError(f"{self.config_file} is not the configuration of a training; use a new --out")
        return document

    def check_same(self, identity: Mapping[str, Any], free: frozenset[str]) -> bool:
        """Whether this is an existing run of the same identity.

        Raises:
            UsageError: it was begun with another; every difference is named.
        """
        document = self.read_config()
        if document is None:
            return False
        if changed := differences(document["identity"], identity, free):
            raise UsageError(
                f"{self.path} was begun with another configuration ({'; '.join(changed)}), so nothing was trained; "
                "repeat the first command to go on with it, or use a new --out"
            )
        return True

    def write_config(self, identity: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Write `config.json`."""
        write_json(self.config_file, {"format": FORMAT, "identity": dict(identity), **details})

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint atomically.

        Raises:
            OutputError: it cannot be written; the old one is intact.
        """
        with atomic_path(self.checkpoint_file) as temporary:
            torch.save({"format": FORMAT, **state}, temporary)

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
                f"{self.checkpoint_file} is damaged ({reason}), so the training cannot go on; use a new --out, with "
                f"--init {self.encoder_file} to start from its weights"
            ) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise InputError(f"{self.checkpoint_file} is not a checkpoint that this padinv reads; update padinv")
        return state

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        try:
            with open(self.metrics_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self.metrics_file}: {error.strerror or error}") from error

    def trim_metrics(self, images: int) -> None:
        """Drop lines written after the checkpoint at `images`: those steps will be done again."""
        if not self.metrics_file.exists():
            return
        kept = []
        for line in self.metrics_file.read_text("utf-8").splitlines():
            try:
                if json.loads(line)["images"] <= images:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue  # the line that was being written when the power went
        write_text(self.metrics_file, "".join(line + "\n" for line in kept))
