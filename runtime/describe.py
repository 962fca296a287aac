"""What a file or folder of padinv is, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from padinv.runtime.bundle import MANIFEST, read_bundle
from padinv.runtime.errors import BundleError, InputError
from padinv.runtime.inversion import FORMAT, Inversion
from padinv.runtime.spec import ModelSpec

_TAIL_BYTES = 1 << 20
_MAX_HEADER = 100_000_000  # of a safetensors file, by its own rules
_CONFIGS = ("config.json",)
_METRICS = "metrics.jsonl"


def describe(path: Path | str) -> dict[str, Any]:
    """Facts about a bundle, an inversion file, a network file of padinv, or the run folder of a training.

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
    with open(path, "rb") as file:
        head = file.read(9)
    if len(head) == 9 and head[8:] == b"{":  # 8 bytes of length, then a JSON header: safetensors
        return describe_safetensors(path)
    raise InputError(f"{path} is no file that padinv made")


def is_own_file(path: Path) -> bool:
    """Whether a file is one that padinv writes: a bundle's manifest, an inversion or a network file.

    Raises:
        InputError: it cannot be read.
    """
    if path.name == MANIFEST:
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(9)
            if len(head) < 9 or head[8:] != b"{":
                return False
            length = int.from_bytes(head[:8], "little")
            text = b"{" + file.read(min(length, _MAX_HEADER) - 1)
        metadata = json.loads(text).get("__metadata__", {})
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, AttributeError, RecursionError):
        return True  # a damaged safetensors file: `describe` says how
    return isinstance(metadata, dict) and ("padinv" in metadata or metadata.get("format") == FORMAT)


def describe_bundle(folder: Path) -> dict[str, Any]:
    """A bundle's manifest, and for each of its files whether it is as it was written."""
    bundle = read_bundle(folder)
    state = {}
    for name, entry in bundle.files.items():
        try:
            bundle.path(name)
        except BundleError as error:
            state[name] = {"bytes": entry["bytes"], "state": "damaged", "problem": str(error)}
        else:
            state[name] = {"bytes": entry["bytes"], "state": "ok"}
    extra: dict[str, Any] = {
        key: bundle.manifest[key] for key in ("precision", "opset", "parity", "provenance") if key in bundle.manifest
    }
    return {
        "kind": "bundle",
        "path": str(bundle.folder),
        "name": bundle.name,
        "generator_hash": bundle.generator_hash,
        **_spec_facts(bundle.spec),
        "encoder": bundle.encoder,
        **extra,
        "files": state,
        "intact": all(entry["state"] == "ok" for entry in state.values()),
    }


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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file: {error}") from error
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
    try:
        header = json.loads(metadata["padinv"])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise InputError(f"{path} is a safetensors file, but none that padinv made")
    count = 0
    for shape in shapes.values():
        product = 1
        for side in shape:
            product *= side
        count += product
    facts = {key: value for key, value in header.items() if key not in ("kind", "spec")}
    spec = {}
    if "spec" in header:
        spec = _spec_facts(ModelSpec.from_dict(header["spec"]))
    return {
        "kind": str(header.get("kind", "network")),
        "path": str(path),
        **spec,
        **facts,
        "tensors": len(shapes),
        "numbers": count,
    }


def describe_run(folder: Path) -> dict[str, Any]:
    """The run folder of a training: its configuration, and the last line of its metrics."""
    config_path = next(folder / name for name in _CONFIGS if (folder / name).is_file())
    try:
        config = json.loads(config_path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{config_path} is damaged (it is not JSON)") from error
    last = None
    metrics = folder / _METRICS
    if metrics.is_file():
        with open(metrics, "rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
        for line in reversed(lines):
            try:
                last = json.loads(line)
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
