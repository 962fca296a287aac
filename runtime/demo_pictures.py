"""The pictures that ship with padinv: two public-domain portraits and synthetic ones."""

from __future__ import annotations

from pathlib import Path

from padinv.runtime.errors import InputError

INDEX = "index.json"


def demo_folder() -> Path:
    """Folder of the demo pictures; `index.json` in it gives the source and licence of each.

    Raises:
        InputError: this installation has none.
    """
    folder = Path(__file__).resolve().parent / "demo"
    if not (folder / INDEX).is_file():
        raise InputError(f"this installation holds no demo pictures ({folder} is missing); install padinv again")
    return folder
