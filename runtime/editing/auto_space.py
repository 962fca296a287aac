"""Which space carries an edit: how much of a change each makes on other faces, and how much it disturbs around.

The paper (section 4.4, Table 3) leaves the choice of the space to the user. Here the pair decides. On the face that a
direction was made from almost any direction does well, so both spaces are tried on faces that the generator draws, and
compared there with the pair's change, carried over as a picture (`Change`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.operations import Space, apply, difference
from padinv.runtime.editing.pair_change import Change, changed_region
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import DEFAULT_BATCH, Model

CANDIDATES: tuple[Space, ...] = ("padding", "latent")
FACES = 12  # with 32 of them the choice is right as often, with 4 a little less
TRUNCATION = 0.7  # faces as they are, and none of the odd ones
SPATIAL = "spatial"  # the third candidate, where a model has a spatial code: see `pair_detail`
STEPS = FACES * (2 + len(CANDIDATES))  # pictures that are generated for the choice of the space; FACES more for a third
STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
STRENGTH_STEPS = FACES * len(STRENGTHS)  # pictures that the choice of the strength takes besides
_LABELS = {SPATIAL: "the spatial code"}


@dataclass(frozen=True)
class Score:
    """What one space's direction does to other faces, relative to the squared change that the pair shows on them.

    Attributes:
        reproduced: 1 minus the squared error left inside the changed region; 1 is all of it, 0 is none, below 0 is
            worse than no edit.
        disturbed: squared difference outside the region; 0 is none.
    """

    reproduced: float
    disturbed: float

    @property
    def error(self) -> float:
        """Error inside and drift outside together; that of no edit is 1."""
        return 1 - self.reproduced + self.disturbed


@dataclass(frozen=True)
class Evidence:
    """Both spaces' scores, the changed fraction of the picture, and whether the change was read as a displacement."""

    scores: dict[str, Score]
    changed: float
    moved: bool = False

    @property
    def space(self) -> str:
        """The space with the smaller error."""
        return min(self.scores, key=lambda space: self.scores[space].error)

    @property
    def helps(self) -> bool:
        """Whether the better space's edit is nearer to the edited pictures than no edit."""
        return self.scores[self.space].error < 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        scores = {space: asdict(score) for space, score in self.scores.items()}
        return {
            "space": self.space,
            "scores": scores,
            "helps": self.helps,
            "changed": self.changed,
            "moved": self.moved,
        }

    def sentence(self) -> str:
        """For people: both scores and the choice."""
        parts = [
            f"{_LABELS.get(space, space)} reproduces {score.reproduced:.0%} of the change and disturbs "
            f"{score.disturbed:.0%} around it"
            for space, score in self.scores.items()
        ]
        doubt = "" if self.helps else " (warning: on other faces, neither edit is closer to the target than no edit)"
        return f"on other faces, {'; '.join(parts)}; chosen: {_LABELS.get(self.space, self.space)}{doubt}"


@dataclass(frozen=True)
class Faces:
    """Faces to try directions on.

    Attributes:
        pictures: float32 [N, 3, S, S] in [-1, 1], S = spec.image_size.
        inversion: their inversions.
        reconstructed: what the generator makes of these, as `pictures`.
    """

    pictures: np.ndarray
    inversion: Inversion
    reconstructed: np.ndarray

    @classmethod
    def generated(
        cls,
        model: Model,
        count: int = FACES,
        batch_size: int = DEFAULT_BATCH,
        tick: Callable[[int], None] | None = None,
    ) -> Faces:
        """The generator's own: seeds 0 to `count` - 1, inverted by the encoder. `tick` hears of pictures made."""
        pictures = _pictures(model, model.sample(range(count), TRUNCATION), batch_size, tick)
        inversion = model.encode(pictures, batch_size)
        return cls(pictures, inversion, _pictures(model, inversion, batch_size, tick))


class Trial:
    """Tries a pair's edit on other faces, where the pair's change is carried over as a picture.

    Args:
        a_picture, edited_picture: float [3, S, S] in [-1, 1], S = spec.image_size: the pictures themselves, or their
            reconstructions where those are all there is.
        mask: see `changed_region`; also limits where disturbance is looked for.
        faces: to try it on; None: `Faces.generated`.
        batch_size: images that go through a network at once.
        tick: called with a number of pictures as they are made.

    Raises:
        InputError: the two pictures do not differ.
    """

    def __init__(
        self,
        model: Model,
        a_picture: np.ndarray,
        edited_picture: np.ndarray,
        *,
        mask: np.ndarray | None = None,
        faces: Faces | None = None,
        batch_size: int = DEFAULT_BATCH,
        tick: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.batch_size, self.tick = model, batch_size, tick
        self.region = changed_region(a_picture, edited_picture, mask)
        self.outside = (1 - self.region) if mask is None else (1 - self.region) * (mask > 0)
        self.faces = Faces.generated(model, batch_size=batch_size, tick=tick) if faces is None else faces
        self.change = Change.between(a_picture, edited_picture, self.region)
        self.wanted = self.change.on(self.faces.pictures) - self.faces.pictures
        self.whole = max(float((self.region * np.square(self.wanted)).sum()), 1e-12)

    def score(self, direction: Direction, space: Space, strength: float = 1.0) -> Score:
        """What a direction does to the faces, in one space and at one strength."""
        edited = apply(self.faces.inversion, direction, space, strength)
        made = _pictures(self.model, edited, self.batch_size, self.tick) - self.faces.reconstructed
        left = float((self.region * np.square(made - self.wanted)).sum()) / self.whole
        return Score(1 - left, float((self.outside * np.square(made)).sum()) / self.whole)

    def choose_space(self, direction: Direction, detail: Direction | None = None) -> Evidence:
        """Score both spaces at a strength of 1, and `detail`, the change in the spatial code alone, if there is one."""
        scores: dict[str, Score] = {space: self.score(direction, space) for space in CANDIDATES}
        if detail is not None:
            scores[SPATIAL] = self.score(detail, "padding")
        return Evidence(scores, float(self.region.mean()), self.change.displacement is not None)

    def choose_strength(self, direction: Direction, space: Space) -> tuple[float, dict[float, Score]]:
        """The strength out of `STRENGTHS` with the smallest error, and all scores."""
        scores = {strength: self.score(direction, space, strength) for strength in STRENGTHS}
        return min(scores, key=lambda strength: scores[strength].error), scores


def choose_space(
    model: Model,
    a: Inversion,
    edited: Inversion,
    a_picture: np.ndarray,
    edited_picture: np.ndarray,
    mask: np.ndarray | None = None,
    direction: Direction | None = None,
    faces: Faces | None = None,
    batch_size: int = DEFAULT_BATCH,
    tick: Callable[[int], None] | None = None,
) -> Evidence:
    """Score both spaces on a pair.

    Args:
        a, edited: inversions of A and A', one image each.
        direction: from A to A'; None: their difference.
        tick: called with a number of pictures as they are made, `STEPS` in all where `faces` is None.
        The others: see `Trial`.

    Raises:
        InputError: A and A' do not differ.
    """
    direction = difference(a, edited) if direction is None else direction
    trial = Trial(model, a_picture, edited_picture, mask=mask, faces=faces, batch_size=batch_size, tick=tick)
    return trial.choose_space(direction)


def _pictures(model: Model, inversion: Inversion, batch_size: int, tick: Callable[[int], None] | None) -> np.ndarray:
    """`generate_for_encoder`, telling of every batch."""
    parts = []
    for start in range(0, len(inversion), batch_size):
        parts.append(model.generate_for_encoder(inversion[start : start + batch_size], batch_size))
        if tick is not None:
            tick(len(parts[-1]))
    return np.concatenate(parts)
