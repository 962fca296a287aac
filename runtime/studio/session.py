"""Sessions: what one browser tab works on. All of it is in memory, and gone when the studio ends."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from padinv.runtime.editing import Direction
from padinv.runtime.editing.gallery import Term
from padinv.runtime.editing.saved_edit import Borrowed, SavedEdit
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.studio.edit_state import EditState
from padinv.runtime.studio.photo import Photo

MAX_SESSIONS = 32
MAX_PHOTOS = 64
MAX_DIRECTIONS = 64
MAX_MASKS = 256
MAX_BYTES = 512 << 20  # of one session's files
IDLE_SECONDS = 6 * 3600.0  # after this a session makes room for a new one


class NotFoundError(InputError):
    """Something with this identifier does not exist in the session."""


def new_id() -> str:
    """An identifier that cannot be guessed."""
    return secrets.token_hex(16)


@dataclass
class NamedDirection:
    """A direction of the session: of the model's gallery, of the user's file, or of an image pair.

    Attributes:
        name: shown beside the slider.
        origin: 'gallery', 'file', 'pair' or 'refinement'.
        note: what was measured when it was made, or None.
    """

    name: str
    direction: Direction
    origin: str
    note: str | None = None


@dataclass
class Session:
    """One tab's photographs, directions and masks. Everything in it is reached by identifiers."""

    id: str
    gallery: Mapping[str, NamedDirection]
    photos: dict[str, Photo] = field(default_factory=dict)
    own_directions: dict[str, NamedDirection] = field(default_factory=dict)
    _masks: dict[str, np.ndarray] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def directions(self) -> dict[str, NamedDirection]:
        """Identifier -> direction, the gallery's first."""
        return {**self.gallery, **self.own_directions}

    def photo(self, identifier: str) -> Photo:
        """A photograph of this session.

        Raises:
            NotFoundError
        """
        if identifier not in self.photos:
            raise NotFoundError("this photograph is not in the session")
        return self.photos[identifier]

    def add_photo(self, photo: Photo) -> None:
        """Take a photograph in.

        Raises:
            UsageError: the session is full.
        """
        self.check_room(len(photo.data))
        self.photos[photo.id] = photo

    def check_room(self, size: int) -> None:
        """Refuse a file that the session cannot hold, before any work is done for it.

        Raises:
            UsageError
        """
        if len(self.photos) >= MAX_PHOTOS:
            raise UsageError(f"a session holds {MAX_PHOTOS} photographs; remove some first")
        if sum(len(photo.data) for photo in self.photos.values()) + size > MAX_BYTES:
            raise UsageError(f"a session holds {MAX_BYTES >> 20} MiB of photographs; remove some first")

    def add_direction(self, named: NamedDirection) -> str:
        """Take a direction in; returns its identifier.

        Raises:
            UsageError: the session is full.
        """
        if len(self.own_directions) >= MAX_DIRECTIONS:
            raise UsageError(f"a session holds {MAX_DIRECTIONS} directions of your own; remove some first")
        taken = {one.name for one in self.directions.values()}
        name, number = named.name, 2
        while named.name in taken:  # strengths are told apart by name in a saved edit
            named.name = f"{name} {number}"
            number += 1
        identifier = new_id()
        self.own_directions[identifier] = named
        return identifier

    def add_mask(self, mask: np.ndarray) -> str:
        """Take a painted mask in, float32 [S, S] in [0, 1]; returns its identifier. The oldest one makes room."""
        while len(self._masks) >= MAX_MASKS:
            del self._masks[next(iter(self._masks))]
        identifier = new_id()
        self._masks[identifier] = np.round(mask * 255).astype(np.uint8)  # exactly what was painted, in a quarter
        return identifier

    def mask(self, identifier: str) -> np.ndarray:
        """A mask that was taken in, float32 [S, S] in [0, 1].

        Raises:
            NotFoundError
        """
        if identifier not in self._masks:
            raise NotFoundError("this mask is not in the session")
        return self._masks[identifier].astype(np.float32) / 255

    def saved_edit(self, state: EditState, generator_hash: str) -> SavedEdit:
        """What the controls say, as the edit that the command line applies, too.

        Raises:
            NotFoundError: a direction, photograph or mask that is not in the session.
        """
        terms = []
        directions = self.directions
        for identifier, strength in state.directions.items():
            if identifier not in directions:
                raise NotFoundError("this direction is not in the session")
            if strength:
                named = directions[identifier]
                terms.append(Term(named.name, named.direction, strength))
        return SavedEdit.of(generator_hash, self._borrowed(state), sorted(terms, key=lambda term: term.label))

    def _borrowed(self, state: EditState) -> Borrowed | None:
        blend = state.blend
        if blend is None or not ((blend.layers and blend.latents) or (blend.resolutions and blend.padding)):
            return None
        other = self.photo(blend.photo)
        return Borrowed(
            inversion=other.inversion,
            name=other.name,
            layers=blend.layers,
            latents=blend.latents,
            padding=blend.padding,
            resolutions=blend.resolutions,
            mask=None if blend.mask is None else self.mask(blend.mask),
        )


class Sessions:
    """All sessions of a studio."""

    def __init__(self, gallery: Mapping[str, NamedDirection]) -> None:
        self._gallery = dict(gallery)
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self) -> Session:
        """A new session. Sessions that nobody used for hours make room.

        Raises:
            UsageError: too many are in use.
        """
        with self._lock:
            now = time.monotonic()
            for identifier, session in list(self._sessions.items()):
                if now - session.used > IDLE_SECONDS:
                    del self._sessions[identifier]
            if len(self._sessions) >= MAX_SESSIONS:
                raise UsageError(f"{MAX_SESSIONS} sessions are open; close a tab, or start the studio again")
            session = Session(new_id(), self._gallery)
            self._sessions[session.id] = session
            return session

    def get(self, identifier: str) -> Session:
        """An open session.

        Raises:
            NotFoundError
        """
        with self._lock:
            if identifier not in self._sessions:
                raise NotFoundError("this session has ended; load the page again")
            session = self._sessions[identifier]
            session.used = time.monotonic()
            return session

    def close(self, identifier: str) -> None:
        """Forget a session and everything in it."""
        with self._lock:
            self._sessions.pop(identifier, None)
