"""What commands say on standard error."""

from __future__ import annotations

import sys

from padinv.runtime.text import printable

# Text in messages -> what stands in its place, for files that the user has not named.
shown_as: dict[str, str] = {}


def shown(text: str) -> str:
    """A message that is safe to print, with files that the user has not named under the names that they know."""
    for given, name in shown_as.items():
        text = text.replace(given, name)
    return printable(text)


def say(text: str) -> None:
    """One line on stderr, led by the program's name."""
    sys.stderr.write(f"padinv: {shown(text)}\n")
    sys.stderr.flush()
