"""What a file or folder of padinv is, without torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from padinv.runtime.backends.saved_defaults import config_file, read_saved
from padinv.runtime.bundle import MANIFEST, Bundle, read_bundle
from padinv.runtime.editing.direction import FORMAT as DIRECTION_FORMAT
from padinv.runtime.editing.direction import Direction
from padinv.runtime.errors import BundleError, InputError
from padinv.runtime.files import open_regular, parse_json
from padinv.runtime.foreign_files import HEAD_BYTES, foreign_file
from padinv.runtime.hub.card import CARD, licence_of
from padinv.runtime.images import sniff
from padinv.runtime.inversion import FORMAT, Inversion
from padinv.runtime.provenance.describing import describe_picture
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile, is_safetensors, open_safetensors
from padinv.runtime.spec import ModelSpec

_TAIL_BYTES = 1 << 20
_MAX_CONFIG = 1 << 20
_CONFIGS = ("config.json",)
_METRICS = "metrics.jsonl"


def describe(path: Path | str) -> dict[str, Any]:
    """Facts about a bundle, an inversion file, a network file of padinv, a picture, or the run folder of a training.

    Returns:
        a JSON-ready mapping; `kind` is 'bundle', 'inversion', 'generator', 'encoder', ... or 'run'.

    Raises:
        InputError: none of these, or damaged. BundleError: a bundle whose manifest or files are damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir() or path.name == MANIFEST:
        folder = path if path.is_dir() else path.parent
        if (folder / MANIFEST).is_file():
            return describe_bundle(folder)
        if any((folder / name).is_file() for name in _CONFIGS):
            return describe_run(folder)
        raise InputError(f"{path} is neither a model bundle (no {MANIFEST}) nor a training run (no {_CONFIGS[0]})")
    try:
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if is_safetensors(head):
        return describe_safetensors(path)
    if sniff(head):
        return describe_picture(path)
    raise InputError(f"{path} {foreign_file(head) or 'is not a file that padinv made'}")


def is_own_file(path: Path) -> bool:
    """Whether `describe` knows a file: a bundle's manifest, an inversion, a network file of padinv, or a picture.

    Raises:
        InputError: it cannot be read.
    """
    if path.name == MANIFEST:
        return True
    try:
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
            if not is_safetensors(head):
                return sniff(head) is not None
            metadata = SafetensorsFile(file).metadata
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except DamagedFileError:
        return True  # `describe` says how
    return "padinv" in metadata or metadata.get("format") in (FORMAT, DIRECTION_FORMAT)


def describe_bundle(folder: Path) -> dict[str, Any]:
    """A bundle's manifest, and for each of its files whether it is as it was written."""
    bundle = read_bundle(folder)
    state = {}
    for name, entry in bundle.files.items():
        try:
            bundle.path(name) if not name.endswith(".onnx") else bundle.graph(name)
        except BundleError as error:
            state[name] = {"bytes": entry["bytes"], "state": "damaged", "problem": str(error)}
        else:
            state[name] = {"bytes": entry["bytes"], "state": "ok"}
    extra: dict[str, Any] = {
        key: bundle.manifest[key] for key in ("precision", "opset", "parity", "provenance") if key in bundle.manifest
    }
    if saved := read_saved(bundle):
        extra["saved_flags"] = {"flags": saved.flags, "images_per_second": saved.images_per_second}
        extra["saved_flags"] |= {"measured": saved.measured, "file": str(config_file())}
    return {
        "kind": "bundle",
        "path": str(bundle.folder),
        "name": bundle.name,
        **({"hub": bundle.origin} if bundle.origin else {}),
        "licence": _licence(bundle) or None,
        "generator_hash": bundle.generator_hash,
        **_spec_facts(bundle.spec),
        "encoder": bundle.encoder,
        **extra,
        "files": state,
        "intact": all(entry["state"] == "ok" for entry in state.values()),
    }


def _licence(bundle: Bundle) -> str:
    """As the model's card names it; '' where it has none."""
    try:
        return licence_of(bundle.read_bytes(CARD).decode("utf-8", "replace")) if bundle.has(CARD) else ""
    except BundleError:  # `files` says what is wrong with it
        return ""


def _spec_facts(spec: ModelSpec) -> dict[str, Any]:
    return {
        "resolution": spec.resolution,
        "channels": list(spec.channels),
        "z_dim": spec.z_dim,
        "w_dim": spec.w_dim,
        "layers": spec.num_layers,
        "mapping_layers": spec.mapping_layers,
        "padded_resolutions": list(spec.pad_resolutions),
        "template": spec.template,
    }


def describe_safetensors(path: Path) -> dict[str, Any]:
    """An inversion, or a network saved by padinv."""
    with open_safetensors(path, "a safetensors file") as file:
        metadata = file.metadata
        shapes = {name: list(entry.shape) for name, entry in file.entries.items()}
    if metadata.get("format") == FORMAT:
        inversion = Inversion.load(path)
        return {
            "kind": "inversion",
            "path": str(path),
            "images": len(inversion),
            "generator_hash": inversion.generator_hash,
            "arrays": shapes,
            "items": inversion.items[:20],
        }
    if metadata.get("format") == DIRECTION_FORMAT:
        direction = Direction.load(path)
        return {
            "kind": "direction",
            "path": str(path),
            "generator_hash": direction.generator_hash,
            **direction.info,
            "arrays": {name: list(array.shape) for name, array in direction.arrays().items()},
        }
    try:
        header = parse_json(metadata["padinv"])
    except (KeyError, ValueError):
        header = None
    if not isinstance(header, dict):
        raise InputError(f"{path} is a safetensors file, but padinv did not make it")
    facts = {key: value for key, value in header.items() if key not in ("kind", "spec")}
    spec = {}
    if "spec" in header:
        spec = _spec_facts(ModelSpec.from_dict(header["spec"]))
    return {
        "kind": str(header.get("kind", "network"))[:40],
        "path": str(path),
        **spec,
        **facts,
        "tensors": len(shapes),
        "numbers": sum(math.prod(shape) for shape in shapes.values()),
    }


def describe_run(folder: Path) -> dict[str, Any]:
    """The run folder of a training: its configuration, and the last line of its metrics."""
    config_path = next(folder / name for name in _CONFIGS if (folder / name).is_file())
    try:
        with open_regular(config_path) as file:
            config = parse_json(file.read(_MAX_CONFIG))
    except (OSError, ValueError) as error:
        raise InputError(f"{config_path} is damaged (it is not JSON)") from error
    last = None
    metrics = folder / _METRICS
    if metrics.is_file():
        with open_regular(metrics) as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).splitlines()
        for line in reversed(lines):
            try:
                last = parse_json(line)
                break
            except ValueError:  # torn by a kill; the one before it is whole
                continue
    return {
        "kind": "run",
        "path": str(folder),
        "config": config,
        "last_metrics": last,
        "files": sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".")),
    }
