"""The command that made a picture, as it stands in the picture: the same words for the command line and the studio."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from padinv.runtime.text import printable

_SEPARATORS = re.compile(r"([=,])")
_FOLDERS = re.compile(r"[/\\]")


@dataclass(frozen=True)
class Command:
    """A command, without the pictures it works on.

    Attributes:
        verb: like 'edit'. before: arguments in front of the pictures. options: each with its value, in any order.
    """

    verb: str
    before: tuple[str, ...] = ()
    options: tuple[tuple[str, ...], ...] = ()

    def text(self, inputs: Sequence[str]) -> str:
        """One line for a shell, with names in place of paths.

        Args:
            inputs: what the picture was made of: names, paths, or words like '--seeds', '3'.
        """
        options = [word for option in sorted(self.options) for word in option]
        words = [names_only(word) for word in (*self.verb.split(), *self.before, *inputs, *options)]
        return printable(shlex.join(["padinv", *words]))


def names_only(word: str) -> str:
    """A word of a command with every path in it reduced to its last part, and the home folder to '~'.

    Examples:
        >>> names_only("smile=0.8,/home/me/hat.safetensors=0.5")
        'smile=0.8,hat.safetensors=0.5'
    """
    if word.startswith("hf:"):  # a model's public name
        return word
    return "".join(_last(piece) for piece in _SEPARATORS.split(word))


def _last(piece: str) -> str:
    if os.path.abspath(os.path.expanduser(piece)) == str(Path.home()) and piece != ".":
        return "~"
    parts = [part for part in _FOLDERS.split(piece) if part]
    return parts[-1] if len(parts) > 1 or (parts and _FOLDERS.search(piece)) else piece
