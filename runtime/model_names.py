"""Models by name: the folder of what a person calls a model, the one place where names are resolved."""

from __future__ import annotations

import os
from pathlib import Path

from padinv.runtime.errors import BundleError
from padinv.runtime.hub.address import is_hub_address, parse_address
from padinv.runtime.manifest import MANIFEST

BUILTIN_NAME = "faces128"


def builtin_bundle() -> Path:
    """Folder of the model that ships inside the package.

    Raises:
        BundleError: this installation has none.
    """
    folder = Path(__file__).resolve().parent / "models" / BUILTIN_NAME
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"this installation holds no built-in model ({folder} is missing); give one with --model")
    return folder


def find_model(name_or_folder: str | Path | None = None) -> Path:
    """The folder of a model: of a bundle, of a name such as faces128, or of an address such as hf:USER/NAME.

    A folder in the working directory comes before a model of the same name. A model of a hub is taken from padinv's
    cache; it is fetched where the cache does not hold it. Nothing else reaches for the network.

    Raises:
        BundleError: neither a folder nor the name of a model that ships with padinv. HubError: see
        `padinv.runtime.hub.pull.find_hub_model`.
    """
    if name_or_folder is None:
        return builtin_bundle()
    if is_hub_address(name_or_folder):
        from padinv.runtime.hub.pull import find_hub_model

        return find_hub_model(parse_address(name_or_folder))
    if os.path.lexists(name_or_folder):
        return Path(name_or_folder)
    shipped = shipped_models()
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    raise BundleError(
        f"{name_or_folder} does not exist, so no model was loaded; give the folder of a bundle, hf:USER/NAME, or one "
        f"of the models that ship with padinv: {', '.join(sorted(shipped)) or 'none'}"
    )


def is_model_name(what: str | Path | None) -> bool:
    """Whether something names a model, and not a file or folder: hf:USER/NAME, or a model that ships with padinv."""
    if what is None:
        return False
    return is_hub_address(what) or (str(what) in shipped_models() and not os.path.lexists(what))


def list_models() -> list[str]:
    """Names of the models that ship with padinv, the built-in one first; each can be given to `padinv.load`."""
    return sorted(shipped_models(), key=lambda name: (name != BUILTIN_NAME, name))


def shipped_models() -> dict[str, Path]:
    """Name -> folder of the models that ship with padinv."""
    folder = Path(__file__).resolve().parent / "models"
    return {path.parent.name: path.parent for path in folder.glob(f"*/{MANIFEST}")}
