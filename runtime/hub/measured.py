"""Figures for a model card out of what `padinv eval` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import InputError
from padinv.runtime.files import parse_json, read_regular

_LABELS = {"mse": "MSE", "psnr": "PSNR (dB)", "ssim": "SSIM", "identity": "identity"}
_MAX_BYTES = 64 << 20
_DIGITS = 5


def measured_figures(where: Path | str, bundle: Bundle) -> dict[str, Any]:
    """Means of the newest evaluation of a bundle, by the names that cards use.

    Args:
        where: a folder of `padinv eval --out`, or one of its `eval-*.json`.

    Returns:
        such as {'MSE': 0.0102, 'LPIPS squeeze': 0.0788, 'pictures': 1000}.

    Raises:
        InputError: not readable, or of another model only.
    """
    where = Path(where)
    paths = sorted(where.glob("eval-*.json"), key=lambda path: path.stat().st_mtime) if where.is_dir() else [where]
    for path in reversed(paths):
        try:
            document = parse_json(read_regular(path, _MAX_BYTES))
            if document["conditions"]["model"]["bundle"] == bundle.fingerprint:
                return _figures(document)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError):  # a comparison of two models, or not of padinv eval
            continue
    raise InputError(
        f"{where} holds no evaluation of {bundle.name}, so no card was written; measure it with: padinv eval PICTURES "
        "--model BUNDLE --out DIR"
    )


def _figures(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document["means"].items():
        label = f"LPIPS {name.removeprefix('lpips_')}" if name.startswith("lpips_") else _LABELS.get(name)
        if label and isinstance(value, (int, float)):
            found[label] = round(float(value), _DIGITS)
    return found | {"pictures": len(document["names"])}
