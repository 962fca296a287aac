"""The torch-free half of padinv: bundles, sessions, inversion files, editing and the batch pipeline.

`import padinv.runtime` is cheap; the names below load on first use. `padinv` offers the same names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Name -> module that defines it, imported when the name is first used.
_LAZY = {
    "Direction": "padinv.runtime.editing.direction",
    "FolderResult": "padinv.runtime.batch.folders",
    "Inversion": "padinv.runtime.inversion",
    "Model": "padinv.runtime.model",
    "ModelSpec": "padinv.runtime.spec",
    "PadInvError": "padinv.runtime.errors",
    "align_folder": "padinv.runtime.batch.folders",
    "apply": "padinv.runtime.editing",
    "average": "padinv.runtime.editing",
    "blend": "padinv.runtime.editing",
    "difference": "padinv.runtime.editing",
    "edit": "padinv.runtime.editing.direction_edit",
    "edit_folder": "padinv.runtime.batch.folders",
    "fit_direction": "padinv.runtime.editing.fit_direction",
    "generate_images": "padinv.runtime.batch.folders",
    "interpolate": "padinv.runtime.editing",
    "invert_folder": "padinv.runtime.batch.folders",
    "list_models": "padinv.runtime.loading",
    "load": "padinv.runtime.loading",
    "pull": "padinv.runtime.hub.pull",
    "pull_directions": "padinv.runtime.hub.directions",
    "push": "padinv.runtime.hub.push",
    "push_directions": "padinv.runtime.hub.push_directions",
    "style_mixing": "padinv.runtime.editing",
}

__all__ = [
    "Direction",
    "FolderResult",
    "Inversion",
    "Model",
    "ModelSpec",
    "PadInvError",
    "align_folder",
    "apply",
    "average",
    "blend",
    "difference",
    "edit",
    "edit_folder",
    "fit_direction",
    "generate_images",
    "interpolate",
    "invert_folder",
    "list_models",
    "load",
    "pull",
    "pull_directions",
    "push",
    "push_directions",
    "style_mixing",
]

if TYPE_CHECKING:
    from padinv.runtime.batch.folders import FolderResult, align_folder, edit_folder, generate_images, invert_folder
    from padinv.runtime.editing import Direction, apply, average, blend, difference, interpolate, style_mixing
    from padinv.runtime.editing.direction_edit import edit
    from padinv.runtime.editing.fit_direction import fit_direction
    from padinv.runtime.errors import PadInvError
    from padinv.runtime.hub.directions import pull_directions
    from padinv.runtime.hub.pull import pull
    from padinv.runtime.hub.push import push
    from padinv.runtime.hub.push_directions import push_directions
    from padinv.runtime.inversion import Inversion
    from padinv.runtime.loading import list_models, load
    from padinv.runtime.model import Model
    from padinv.runtime.spec import ModelSpec


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'padinv.runtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
