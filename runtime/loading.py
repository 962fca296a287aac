"""`padinv.load`: a model by its name or folder, and the list of those that are here."""

from __future__ import annotations

import os
from pathlib import Path

from padinv.runtime.bundle import BUILTIN_NAME, MANIFEST, builtin_bundle
from padinv.runtime.errors import BundleError
from padinv.runtime.model import Model


def load(
    name_or_folder: str | Path | None = None,
    *,
    backend: str = "auto",
    precision: str = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model for inverting and editing images. Torch is not needed.

    Example:
        model = padinv.load()
        inversion = model.invert("portrait.jpg")
        inversion.paste_back().save("reconstructed.png")

    Args:
        name_or_folder: the name of a model that ships with padinv (see `list_models`), or the folder of a bundle.
            None: the built-in model.
        backend: 'auto', 'cpu', 'cuda', 'trt', 'openvino' and others, see `padinv.runtime.backends.BACKENDS`.
        precision: 'fp32', 'fp16', 'bf16' or 'tf32'; 'auto': fp32, or what `padinv bench --save` kept for this machine.
        device: of the backend, like 'cuda:1'; None: its first.
        threads: processor threads; None: one per physical core.

    Raises:
        BundleError: no such model, or not a bundle. UsageError: another backend or precision.
    """
    return Model.load(find_model(name_or_folder), backend, threads, precision, device)


def find_model(name_or_folder: str | Path | None = None) -> Path:
    """The folder of a model, by its name or its folder. A folder of that name in the working directory comes first.

    Raises:
        BundleError: neither a folder nor the name of a model that ships with padinv.
    """
    if name_or_folder is None:
        return builtin_bundle()
    if os.path.lexists(name_or_folder):
        return Path(name_or_folder)
    shipped = _shipped()
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    raise BundleError(
        f"{name_or_folder} does not exist, so no model was loaded; give the folder of a bundle, or one of the models "
        f"that ship with padinv: {', '.join(sorted(shipped)) or 'none'}"
    )


def list_models() -> list[str]:
    """Names of the models that ship with padinv, the built-in one first; each can be given to `load`."""
    return sorted(_shipped(), key=lambda name: (name != BUILTIN_NAME, name))


def _shipped() -> dict[str, Path]:
    folder = Path(__file__).resolve().parent / "models"
    return {path.parent.name: path.parent for path in folder.glob(f"*/{MANIFEST}")}
