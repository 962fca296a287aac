"""Model bundles: a folder with a manifest (`model.json`), ONNX graphs and constants, each guarded by its SHA-256."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.runtime.errors import BundleError
from padinv.runtime.files import open_regular, sha256_bytes, sha256_file, write_json
from padinv.runtime.hub.origin import read_origin
from padinv.runtime.manifest import FORMAT, MANIFEST, check_manifest, read_manifest
from padinv.runtime.model_names import BUILTIN_NAME, builtin_bundle, find_model
from padinv.runtime.onnx_safety import require_safe_graph
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BUILTIN_NAME", "FORMAT", "GRAPHS", "MANIFEST", "Bundle", "builtin_bundle", "read_bundle", "write_manifest"]

GRAPHS = ("encoder", "generator", "mapping", "spatial")  # the last only where the encoder predicts a spatial code
TUNED_SUFFIX = ".tuned.onnx"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read and checked; its files are checked when they are used.

    Attributes:
        folder: where it lies.
        manifest: `model.json` as read.
        spec: the geometry of the generator.
        name: a short name for people.
        generator_hash: hash of the generator's canonical weights; the same for every precision and re-export.
        encoder: the encoder's configuration.
        files: relative name -> {'sha256', 'bytes'}.
        origin: of a model that came from a hub, its address with the commit, hf:USER/NAME@COMMIT; '' otherwise.
    """

    folder: Path
    manifest: dict[str, Any] = field(repr=False)
    spec: ModelSpec
    name: str
    generator_hash: str
    encoder: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(repr=False)
    origin: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the hashes of the graphs and constants: changes when results may change, and only then.

        Tuned graphs compute what the plain ones do, as another backend would, so they do not count.
        """
        used = {
            name: entry["sha256"]
            for name, entry in self.files.items()
            if name.endswith((".onnx", "constants.safetensors")) and not name.endswith(TUNED_SUFFIX)
        }
        return sha256_bytes(json.dumps(used, sort_keys=True).encode())

    def has(self, relative: str) -> bool:
        """Whether the manifest lists this file."""
        return relative in self.files

    def path(self, relative: str) -> Path:
        """Path of a file of the bundle, after checking its size and SHA-256. For files too large to hold in memory.

        Raises:
            BundleError: not listed, missing, or changed since the bundle was written.
        """
        path = self._listed(relative)
        try:
            found = sha256_file(path)
        except OSError as error:
            raise BundleError(f"{path} of the model bundle cannot be read: {error.strerror or error}") from error
        self._compare(relative, found)
        return path

    def read_bytes(self, relative: str) -> bytes:
        """The bytes of a file of the bundle; what is returned is what was checked.

        Raises:
            BundleError: not listed, missing, or changed since the bundle was written.
        """
        path = self._listed(relative)
        try:
            with open_regular(path) as file:
                data = file.read(self.files[relative]["bytes"])
        except OSError as error:
            raise BundleError(f"{path} of the model bundle cannot be read: {error.strerror or error}") from error
        self._compare(relative, sha256_bytes(data))
        return data

    def graph(self, relative: str) -> bytes:
        """The bytes of an ONNX graph of the bundle, checked to hold nothing that padinv's exporter does not write.

        Raises:
            BundleError: not listed, missing, changed since the bundle was written, or unsafe to load.
        """
        data = self.read_bytes(relative)
        require_safe_graph(data, str(self.folder / relative))
        return data

    def constants(self) -> dict[str, np.ndarray]:
        """`w_avg` [w_dim] and `const` [C_4, 4, 4], float32.

        Raises:
            BundleError: missing, changed, or of the wrong shape.
        """
        from padinv.runtime.safetensors_file import all_finite

        name = "constants.safetensors"
        arrays = self.arrays(name)
        shapes = {"w_avg": (self.spec.w_dim,), "const": self.spec.const_shape}
        for key, shape in shapes.items():
            if key not in arrays or arrays[key].shape != shape or not all_finite(arrays[key]):
                raise BundleError(f"{self.folder / name} holds no usable {key} of shape {list(shape)}")
        return {key: arrays[key] for key in shapes}

    def arrays(self, relative: str) -> dict[str, np.ndarray]:
        """The tensors of a safetensors file of the bundle, as float32.

        Raises:
            BundleError: not listed, missing, changed, damaged, or with tensors that are not F16, F32 or F64.
        """
        from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile

        try:
            file = SafetensorsFile(io.BytesIO(self.read_bytes(relative)))
            return {key: file.read_float32(key) for key in file.entries}
        except DamagedFileError as error:
            raise BundleError(
                f"{self.folder / relative} cannot be used: it {error}; export the bundle again"
            ) from error

    def _listed(self, relative: str) -> Path:
        if relative not in self.files:
            raise BundleError(f"the model bundle {self.folder} holds no {relative}; export it again")
        path = self.folder / relative
        try:
            size = path.stat().st_size
        except OSError as error:
            raise BundleError(
                f"the model bundle {self.folder} is incomplete: {relative} is missing; copy the whole folder again"
            ) from error
        if size != self.files[relative]["bytes"]:
            self._changed(relative)
        return path

    def _compare(self, relative: str, found: str) -> None:
        if found != self.files[relative]["sha256"]:
            self._changed(relative)

    def _changed(self, relative: str) -> None:
        raise BundleError(
            f"{self.folder / relative} has changed since the bundle was written (its SHA-256 does not match "
            f"{MANIFEST}), so the model was not loaded; copy or export the bundle again"
        )


def read_bundle(model: Path | str | None = None) -> Bundle:
    """Read and check a bundle's manifest.

    Args:
        model: what `padinv.runtime.model_names.find_model` takes: a folder, a name, or hf:USER/NAME; None: the built-in
            model.

    Raises:
        BundleError: not a bundle, of a newer format, or with a manifest that makes no sense. HubError: a model of a hub
        that cannot be fetched.
    """
    folder = find_model(model)
    if folder.name == MANIFEST and folder.is_file():
        folder = folder.parent
    path = folder / MANIFEST
    try:
        if not folder.is_dir():
            reason = "is a file, not a folder" if folder.exists() else "does not exist"
            raise BundleError(f"{folder} {reason}, so no model was loaded; --model takes the folder of a bundle")
        if not path.is_file():
            raise BundleError(f"{folder} is not a model bundle: it holds no {MANIFEST}; make one with: padinv export")
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    return _bundle(folder, read_manifest(path))


def _bundle(folder: Path, manifest: dict[str, Any]) -> Bundle:
    return Bundle(
        folder,
        manifest,
        ModelSpec.from_dict(manifest["spec"]),
        manifest["name"],
        manifest["generator_hash"],
        manifest["encoder"],
        manifest["files"],
        read_origin(folder),
    )


def write_manifest(folder: Path | str, manifest: dict[str, Any], *, only: Collection[str] | None = None) -> None:
    """Hash every file of a finished bundle and write `model.json`, atomically and last.

    Args:
        folder: holds the bundle's files; every file in it (hidden ones left out) is listed under `files`.
        manifest: everything else: `name`, `spec`, `encoder`, `generator_hash`, `precision`, `opset`, `parity`,
            `provenance`. `format` and `files` are filled in.
        only: names of the files to list; None: all that the folder holds. A bundle that is extended where it lies may
            share its folder with files of its owner.

    Raises:
        BundleError: the result would not read back. OutputError: not writable.
    """
    folder = Path(folder)
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if only is not None and relative not in only:
            continue
        if path.is_file() and relative != MANIFEST and not any(part.startswith(".") for part in relative.split("/")):
            files[relative] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    whole = {"format": FORMAT, **manifest, "files": files}
    check_manifest(json.loads(json.dumps(whole)), folder / MANIFEST)
    write_json(folder / MANIFEST, whole)
