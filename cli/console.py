"""What commands say on standard error."""

from __future__ import annotations

import sys

from padinv.runtime.text import printable


def say(text: str) -> None:
    """One line on stderr, led by the program's name."""
    sys.stderr.write(f"padinv: {printable(text)}\n")
    sys.stderr.flush()
