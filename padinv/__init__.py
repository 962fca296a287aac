"""padinv: high-fidelity GAN inversion with padding space.

    import padinv

    model = padinv.load()
    a, b = model.invert(["a.jpg", "b.jpg"])
    padinv.blend(a, b).paste_back().save("blend.png")

`import padinv` is cheap: it imports neither torch nor onnxruntime. The names below load on first use. Only
`load_generator`, `load_encoder`, `load_discriminator` and `Refiner` need torch.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec as ImportSpec
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Names that need torch -> module that defines them. The others are those of `padinv.runtime`.
_TORCH = {
    "Refiner": "padinv.refiner",
    "load_discriminator": "padinv.checkpoints",
    "load_encoder": "padinv.checkpoints",
    "load_generator": "padinv.checkpoints",
}

if TYPE_CHECKING:
    from padinv.checkpoints import load_discriminator as load_discriminator
    from padinv.checkpoints import load_encoder as load_encoder
    from padinv.checkpoints import load_generator as load_generator
    from padinv.refiner import Refiner as Refiner
    from padinv.runtime import *  # noqa: F403


class _Clone:
    """Finds `padinv.cli`, `padinv.export` and `padinv.runtime` beside this folder, where a clone keeps them.

    Python that is started in a clone finds this folder before any installed padinv, and an installed one keeps the
    three inside. Only these names are looked up, so `tests`, `docs` and the like do not become part of the package.
    """

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names = ("padinv.cli", "padinv.export", "padinv.runtime")

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ImportSpec | None:
        return PathFinder.find_spec(name, [cls.root]) if name in cls.names else None

    @classmethod
    def is_here(cls) -> bool:
        """Whether this folder lies in a clone; in an installed package it lies in `site-packages`."""
        return all(os.path.isfile(os.path.join(cls.root, *parts)) for parts in _CLONE_FILES)


_CLONE_FILES = (("pyproject.toml",), ("runtime", "__init__.py"))
if __name__ == "padinv" and _Clone.is_here():
    # In front, so that this clone's siblings win over those of another padinv that is installed.
    sys.meta_path.insert(0, _Clone)


# What `padinv.runtime` offers, and what needs torch. Below the finder, because a clone needs it for this import.
from padinv.runtime import __all__ as _names  # noqa: E402

__all__ = ["__version__", *_names, *_TORCH]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_TORCH.get(name, "padinv.runtime")), name)
    raise AttributeError(f"module 'padinv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
