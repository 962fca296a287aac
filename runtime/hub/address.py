"""Addresses of models and directions on a hub: hf:USER/NAME[/DIRECTION][@REVISION]."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from padinv.runtime.errors import UsageError

PREFIX = "hf:"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}\Z")
DIRECTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}\Z")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True)
class HubAddress:
    """What an address names.

    Attributes:
        repository: 'USER/NAME'.
        revision: a branch, a tag or a commit; None: the repository's main branch.
        direction: the name of a direction in the repository; None: the repository itself.
    """

    repository: str
    revision: str | None = None
    direction: str | None = None

    def __str__(self) -> str:
        direction = "" if self.direction is None else f"/{self.direction}"
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{direction}{revision}"

    def at(self, revision: str | None) -> HubAddress:
        """The same thing at another revision."""
        return replace(self, revision=revision)

    def whole(self) -> HubAddress:
        """The repository that holds it."""
        return replace(self, direction=None)


def is_hub_address(what: str | Path) -> bool:
    """Whether something is written like an address of a hub. A local file of such a name is ./hf:NAME."""
    return str(what).startswith(PREFIX)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is the full name of a commit, which never changes."""
    return revision is not None and _COMMIT.match(revision) is not None


def parse_address(text: str | Path) -> HubAddress:
    """Read hf:USER/NAME[/DIRECTION][@REVISION].

    Raises:
        UsageError: not of this form.

    Example:
        parse_address("hf:someone/churches@v1").repository  # 'someone/churches'
    """
    written = str(text).replace("\\", "/")  # a Path on Windows
    body, at, revision = written.removeprefix(PREFIX).partition("@")
    parts = body.split("/")
    usable = len(parts) in (2, 3) and all(_is_name(part) for part in parts[:2])
    if not is_hub_address(written) or not usable or (at and not _is_revision(revision)):
        raise UsageError(
            f"{written[:120]!r} is not an address of a hub, so nothing was fetched; write hf:USER/NAME for a model or "
            "hf:USER/NAME/DIRECTION for a direction, with @REVISION at the end for another version than the newest"
        )
    direction = parts[2] if len(parts) == 3 else None
    if direction is not None and not DIRECTION_NAME.match(direction):
        raise UsageError(
            f"{direction[:60]!r} in {written[:120]} is not the name of a direction, which has small letters, digits "
            "and hyphens"
        )
    return HubAddress("/".join(parts[:2]), revision if at else None, direction)


def _is_name(part: str) -> bool:
    """The hub's own rule for names."""
    return (
        _PART.match(part) is not None
        and ".." not in part
        and "--" not in part
        and part[-1] not in ".-"
        and not part.endswith(".git")
    )


def _is_revision(revision: str) -> bool:
    return _REVISION.match(revision) is not None and ".." not in revision and "//" not in revision
