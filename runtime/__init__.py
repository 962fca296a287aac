"""The torch-free half of padinv: bundles, sessions, inversion files, editing and the batch pipeline.

`import padinv.runtime` is cheap; `Model` and `Inversion` load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_LAZY = {
    "Direction": "padinv.runtime.editing.direction",
    "Inversion": "padinv.runtime.inversion",
    "Model": "padinv.runtime.model",
    "ModelSpec": "padinv.runtime.spec",
    "PadInvError": "padinv.runtime.errors",
    "apply": "padinv.runtime.editing",
    "average": "padinv.runtime.editing",
    "blend": "padinv.runtime.editing",
    "difference": "padinv.runtime.editing",
    "interpolate": "padinv.runtime.editing",
    "style_mixing": "padinv.runtime.editing",
}

__all__ = [
    "Direction",
    "Inversion",
    "Model",
    "ModelSpec",
    "PadInvError",
    "apply",
    "average",
    "blend",
    "difference",
    "interpolate",
    "style_mixing",
]

if TYPE_CHECKING:
    from padinv.runtime.editing import Direction, apply, average, blend, difference, interpolate, style_mixing
    from padinv.runtime.errors import PadInvError
    from padinv.runtime.inversion import Inversion
    from padinv.runtime.model import Model
    from padinv.runtime.spec import ModelSpec


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'padinv.runtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
