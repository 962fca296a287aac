"""`padinv.load`: a model by its name or folder, and the list of those that are here."""

from __future__ import annotations

from pathlib import Path

from padinv.runtime.model import Model
from padinv.runtime.model_names import find_model, list_models

__all__ = ["find_model", "list_models", "load"]


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
        name_or_folder: the folder of a bundle, the name of a model that ships with padinv (see `list_models`), or
            hf:USER/NAME[@REVISION], a model of the Hugging Face hub (docs/hub.md). None: the built-in model.
        backend: 'auto', 'cpu', 'cuda', 'trt', 'openvino' and others, see `padinv.runtime.backends.BACKENDS`.
        precision: 'fp32', 'fp16', 'bf16' or 'tf32'; 'auto': fp32, or what `padinv bench --save` kept for this machine.
        device: of the backend, like 'cuda:1'; None: its first.
        threads: processor threads; None: one per physical core.

    Raises:
        BundleError: no such model, or not a bundle. HubError: a model of a hub that cannot be fetched. UsageError:
        another backend or precision.
    """
    return Model.load(name_or_folder, backend, threads, precision, device)
