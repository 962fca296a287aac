"""The torch-free half of padinv: bundles, sessions, inversion files, editing and the batch pipeline.

`import padinv.runtime` is cheap; the names below load on first use. `padinv` offers the same names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Name -> module that defines it, imported when the name is first used.
_LAZY = {
    "CustomEditResult": "padinv.runtime.folders.result",
    "Direction": "padinv.runtime.editing.direction",
    "EditingOptions": "padinv.runtime.folders.options",
    "FolderOptions": "padinv.runtime.folders.options",
    "FolderResult": "padinv.runtime.folders.result",
    "InvertResult": "padinv.runtime.folders.result",
    "Inversion": "padinv.runtime.inversion",
    "Model": "padinv.runtime.model",
    "ModelSpec": "padinv.runtime.spec",
    "PadInvError": "padinv.runtime.errors",
    "PhotoOptions": "padinv.runtime.folders.options",
    "align_folder": "padinv.runtime.folders.align",
    "apply": "padinv.runtime.editing",
    "average": "padinv.runtime.editing",
    "blend": "padinv.runtime.editing",
    "blend_folder": "padinv.runtime.folders.blend",
    "custom_edit_folder": "padinv.runtime.folders.custom_edit",
    "difference": "padinv.runtime.editing",
    "edit": "padinv.runtime.editing.direction_edit",
    "edit_folder": "padinv.runtime.folders.edit",
    "fit_direction": "padinv.runtime.editing.fit_direction",
    "generate_images": "padinv.runtime.folders.generate",
    "interpolate": "padinv.runtime.editing",
    "interpolate_folder": "padinv.runtime.folders.interpolate",
    "invert_folder": "padinv.runtime.folders.invert",
    "list_models": "padinv.runtime.loading",
    "load": "padinv.runtime.loading",
    "pull": "padinv.runtime.hub.pull",
    "pull_directions": "padinv.runtime.hub.directions",
    "push": "padinv.runtime.hub.push",
    "push_directions": "padinv.runtime.hub.push_directions",
    "render_inversions": "padinv.runtime.folders.generate",
    "style_mixing": "padinv.runtime.editing",
}
__all__ = list(_LAZY)

if TYPE_CHECKING:
    from padinv.runtime.editing import apply as apply
    from padinv.runtime.editing import average as average
    from padinv.runtime.editing import blend as blend
    from padinv.runtime.editing import difference as difference
    from padinv.runtime.editing import interpolate as interpolate
    from padinv.runtime.editing import style_mixing as style_mixing
    from padinv.runtime.editing.direction import Direction as Direction
    from padinv.runtime.editing.direction_edit import edit as edit
    from padinv.runtime.editing.fit_direction import fit_direction as fit_direction
    from padinv.runtime.errors import PadInvError as PadInvError
    from padinv.runtime.folders.align import align_folder as align_folder
    from padinv.runtime.folders.blend import blend_folder as blend_folder
    from padinv.runtime.folders.custom_edit import custom_edit_folder as custom_edit_folder
    from padinv.runtime.folders.edit import edit_folder as edit_folder
    from padinv.runtime.folders.generate import generate_images as generate_images
    from padinv.runtime.folders.generate import render_inversions as render_inversions
    from padinv.runtime.folders.interpolate import interpolate_folder as interpolate_folder
    from padinv.runtime.folders.invert import invert_folder as invert_folder
    from padinv.runtime.folders.options import EditingOptions as EditingOptions
    from padinv.runtime.folders.options import FolderOptions as FolderOptions
    from padinv.runtime.folders.options import PhotoOptions as PhotoOptions
    from padinv.runtime.folders.result import CustomEditResult as CustomEditResult
    from padinv.runtime.folders.result import FolderResult as FolderResult
    from padinv.runtime.folders.result import InvertResult as InvertResult
    from padinv.runtime.hub.directions import pull_directions as pull_directions
    from padinv.runtime.hub.pull import pull as pull
    from padinv.runtime.hub.push import push as push
    from padinv.runtime.hub.push_directions import push_directions as push_directions
    from padinv.runtime.inversion import Inversion as Inversion
    from padinv.runtime.loading import list_models as list_models
    from padinv.runtime.loading import load as load
    from padinv.runtime.model import Model as Model
    from padinv.runtime.spec import ModelSpec as ModelSpec


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'padinv.runtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
