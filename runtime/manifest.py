"""The manifest of a model bundle, `model.json`: its format, and the checks that every manifest from outside passes."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from padinv.runtime.errors import BundleError, InputError
from padinv.runtime.files import open_regular, parse_json
from padinv.runtime.spec import ModelSpec

FORMAT = 1
MANIFEST = "model.json"
MAX_MANIFEST_BYTES = 2 << 20
MAX_FILES = 256
DIRECTIONS_FOLDER = "directions"  # of a bundle, for the directions that it ships
DIRECTION_SUFFIX = ".safetensors"
DIRECTIONS_MANIFEST = "directions.json"  # of a repository of directions without a model

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read `model.json` and check it.

    Raises:
        BundleError: not readable, damaged, of a newer format, or with values that make no sense.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_manifest(text, path)


def parse_manifest(text: bytes, path: Path | str) -> dict[str, Any]:
    """A manifest out of its bytes; `path` says in errors where they come from.

    Raises:
        BundleError: damaged, of a newer format, or with values that make no sense.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} is too large to be the manifest of a model bundle")
    try:
        manifest = parse_json(text)
    except ValueError as error:
        raise BundleError(f"{path} is damaged (it is not JSON), so the model was not loaded; copy it again") from error
    return check_manifest(manifest, path)


def check_manifest(manifest: Any, path: Path | str) -> dict[str, Any]:
    """The manifest, after every field of it was checked.

    Raises:
        BundleError: of a newer format, or with values that make no sense.
    """
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise BundleError(f"{path} is not the manifest of a model bundle: it names no format")
    if manifest["format"] != FORMAT:
        folder = Path(path).parent
        raise BundleError(
            f"{folder} is a bundle of format {manifest['format']}, and this padinv reads format {FORMAT}; update padinv"
        )
    try:
        ModelSpec.from_dict(manifest.get("spec"))
    except InputError as error:
        raise BundleError(f"{path} describes no usable model: {error}") from error
    for key, kind in (("name", str), ("generator_hash", str), ("encoder", dict), ("files", dict)):
        if not isinstance(manifest.get(key), kind):
            raise BundleError(f"{path} is not a usable manifest: {key!r} is missing or malformed")
    if len(manifest["name"]) > 200 or len(manifest["generator_hash"]) > 128:
        raise BundleError(f"{path} is not a valid manifest: its name, hash or file list exceeds the size limit")
    check_files(manifest["files"], path)
    return manifest


def check_files(files: dict[str, Any], path: Path | str) -> None:
    """Refuse a list of files that names one outside the folder, or one without SHA-256 and size.

    Raises:
        BundleError: see above; `path` is the file that holds the list.
    """
    if len(files) > MAX_FILES:
        raise BundleError(f"{path} is not a valid manifest: its name, hash or file list exceeds the size limit")
    for name, entry in files.items():
        _check_relative(name, path)
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("sha256"), str)
            or not _SHA256.match(entry["sha256"])
            or type(entry.get("bytes")) is not int
            or entry["bytes"] < 0
        ):
            raise BundleError(f"{path} is not a usable manifest: the entry of {name!r} has no SHA-256 and size")


def direction_names(files: dict[str, Any]) -> list[str]:
    """Names of the directions among the files of a manifest, in alphabetical order."""
    inside = (name.removeprefix(f"{DIRECTIONS_FOLDER}/") for name in files if name.startswith(f"{DIRECTIONS_FOLDER}/"))
    return sorted(
        name.removesuffix(DIRECTION_SUFFIX) for name in inside if name.endswith(DIRECTION_SUFFIX) and "/" not in name
    )


def _check_relative(name: str, manifest: Path | str) -> None:
    """Refuse names that could lead out of the bundle's folder."""
    pure = PurePosixPath(name)
    if (
        not name
        or pure.is_absolute()
        or any(part in ("..", "") for part in name.split("/"))
        or set(name) & set("\\:\0")
    ):
        raise BundleError(f"{manifest} names {name!r}, which is not a file inside the bundle; it was not read")
