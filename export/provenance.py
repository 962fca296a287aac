"""Where a bundle comes from, without traces of the machine that made it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from padinv.checkpoints.generator_encoder import Pair
from padinv.export.onnx_export import use_dynamo

TOOLS = ("padinv", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")


def provenance(pair: Pair) -> dict[str, Any]:
    """Files, their SHA-256 and records, and the versions of the tools. JSON-ready."""
    files = {
        kind: {"file": origin.file, "sha256": origin.sha256, "record": without_paths(origin.record)}
        for kind, origin in pair.origins.items()
    }
    tools = {name: found for name in TOOLS if (found := _version(name))}
    return {
        **files,
        "tools": {**tools, "python": platform.python_version(), "exporter": "dynamo" if use_dynamo() else "trace"},
    }


def without_paths(value: Any) -> Any:
    """JSON-ready data with absolute paths cut down to their last part: a bundle is given away."""
    if isinstance(value, dict):
        return {key: without_paths(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(entry) for entry in value]
    if isinstance(value, str) and len(value) < 4096:
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
