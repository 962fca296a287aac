"""padinv: high-fidelity GAN inversion with padding space.

`import padinv` is cheap: it imports neither torch nor onnxruntime. The names below load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "ModelSpec": "padinv.runtime.spec",
    "load_generator": "padinv.checkpoints",
    "load_encoder": "padinv.checkpoints",
    "load_discriminator": "padinv.checkpoints",
}

__all__ = ["ModelSpec", "__version__", "load_discriminator", "load_encoder", "load_generator"]

if TYPE_CHECKING:
    from padinv.checkpoints import load_discriminator, load_encoder, load_generator
    from padinv.runtime.spec import ModelSpec


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'padinv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
