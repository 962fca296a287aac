"""The fastest flags that `padinv bench --save` found, kept for this machine and one model.

They are used where no backend is named, and shown by `padinv info`.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from padinv.runtime.backends.protocol import PRECISIONS
from padinv.runtime.bundle import Bundle
from padinv.runtime.files import parse_json, write_json

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class SavedDefaults:
    """Flags for one model on this machine.

    Attributes:
        backend, precision, threads, device, batch: as the options of the same names take them.
        images_per_second: that they reached, encoder and generator together.
        measured: the day, as YYYY-MM-DD.
    """

    backend: str
    precision: str
    threads: int | None
    device: str | None
    batch: int
    images_per_second: float
    measured: str

    @property
    def flags(self) -> str:
        """As the command line takes them."""
        parts = [f"--backend {self.backend}", f"--precision {self.precision}", f"--batch {self.batch}"]
        parts += [f"--threads {self.threads}"] if self.threads else []
        parts += [f"--device {self.device}"] if self.device else []
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def config_file() -> Path:
    """Where the defaults are kept: `padinv/backends.json` in the user's configuration folder."""
    if given := os.environ.get("XDG_CONFIG_HOME"):
        root = Path(given)
    elif sys.platform == "win32":
        root = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Application Support"
    else:
        root = Path.home() / ".config"
    return root / "padinv" / "backends.json"


def machine_key(bundle: Bundle) -> str:
    """What saved flags belong to: this machine's name, its processor count, and the model's graphs."""
    return f"{platform.node()}/{os.cpu_count()}/{bundle.fingerprint[:16]}"


def read_saved(bundle: Bundle) -> SavedDefaults | None:
    """The flags saved for this model on this machine; None where there are none, or where the file is damaged."""
    entry = _entries().get(machine_key(bundle))
    if not isinstance(entry, dict):
        return None
    try:
        saved = SavedDefaults(**entry)
    except TypeError:
        return None
    whole = isinstance(saved.batch, int) and 1 <= saved.batch <= 4096 and saved.precision in PRECISIONS
    threads = saved.threads is None or (isinstance(saved.threads, int) and saved.threads >= 1)
    device = saved.device is None or isinstance(saved.device, str)
    return saved if whole and threads and device and isinstance(saved.backend, str) else None


def save_defaults(bundle: Bundle, defaults: SavedDefaults) -> Path:
    """Keep flags for this model on this machine; returns the file.

    Raises:
        OutputError: not writable.
    """
    path = config_file()
    write_json(path, {**_entries(), machine_key(bundle): defaults.to_dict()})
    return path


def _entries() -> dict[str, Any]:
    path = config_file()
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        value = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
