"""Which space carries an edit: how much of a change each reproduces where it happened, and how much it disturbs around.

The paper (section 4.4, Table 3) leaves the choice of the space to the user. Here the pair itself decides: the edit is
made from A to A' and undone from A' to A, in one space at a time, and compared with what really changed. On the pair
that a direction was made from, almost any direction does well. So where the change is as good as symmetric, as most
edits of faces are, it is made on the mirror images of A and A' instead: another face to the encoder, with other light
and another pose, whose true edit is known all the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from padinv.runtime import metrics
from padinv.runtime.directions import Direction
from padinv.runtime.editing import Space, apply, difference
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model

CANDIDATES: tuple[Space, ...] = ("padding", "latent")
SYMMETRIC = 0.6  # overlap of a changed region with its mirror image from which on an edit counts as symmetric
THRESHOLD = 0.12  # of a smoothed difference on [-1, 1]: above what JPEG does, below any edit that can be seen


@dataclass(frozen=True)
class Score:
    """What one space's direction does to the pair, relative to the squared difference of A and A' in the region.

    Attributes:
        reproduced: 1 minus the squared error left inside the changed region; 1 is all of it, 0 is none, below 0 is
            worse than no edit.
        disturbed: squared difference outside the region; 0 is none.
    """

    reproduced: float
    disturbed: float

    @property
    def error(self) -> float:
        """Error inside and drift outside together."""
        return 1 - self.reproduced + self.disturbed


@dataclass(frozen=True)
class Evidence:
    """The scores of both spaces, the fraction of the picture that changed, and whether mirror images were scored."""

    scores: dict[str, Score]
    changed: float
    mirrored: bool = False

    @property
    def space(self) -> str:
        """The space with the smaller error."""
        return min(self.scores, key=lambda space: self.scores[space].error)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        scores = {space: asdict(score) for space, score in self.scores.items()}
        return {"space": self.space, "scores": scores, "changed": self.changed, "mirrored": self.mirrored}

    def sentence(self) -> str:
        """For people: both scores and the choice."""
        parts = [
            f"{space} reproduces {score.reproduced:.0%} of the change and disturbs {score.disturbed:.0%} around it"
            for space, score in self.scores.items()
        ]
        return f"{'; '.join(parts)}; chosen: {self.space}"


def changed_region(a: np.ndarray, edited: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Where two pictures differ, grown a little and with soft edges.

    Args:
        a, edited: float [3, S, S] in [-1, 1].
        mask: [S, S] in [0, 1]; nothing counts as changed where it is 0.

    Returns:
        float64 [S, S] in [0, 1].

    Raises:
        MismatchError: shapes that do not fit. InputError: no difference that could be an edit.
    """
    if a.shape != edited.shape or a.ndim != 3 or (mask is not None and mask.shape != a.shape[1:]):
        raise MismatchError(f"pictures to compare must have one shape, not {list(a.shape)} and {list(edited.shape)}")
    side = a.shape[-1]
    change = np.abs(np.clip(edited, -1, 1) - np.clip(a, -1, 1)).max(axis=0)
    smooth = _blurred(change / 2, side / 96) * 2
    if mask is not None:
        smooth = smooth * mask
    hard = smooth > max(THRESHOLD, 0.2 * float(np.percentile(smooth, 99.5)))
    if not hard.any():
        raise InputError("the two pictures of the pair show no difference, so there is no direction between them")
    reach = 2 * max(1, round(side / 48)) + 1
    grown = Image.fromarray(np.uint8(hard) * 255).filter(ImageFilter.MaxFilter(reach))
    region = _blurred(np.asarray(grown, np.float64) / 255, side / 64)
    return region if mask is None else region * mask


def weigh(
    model: Model,
    a: Inversion,
    edited: Inversion,
    a_picture: np.ndarray,
    edited_picture: np.ndarray,
    mask: np.ndarray | None = None,
    direction: Direction | None = None,
) -> Evidence:
    """Score both spaces on a pair.

    Args:
        a, edited: inversions of A and A', one image each.
        a_picture, edited_picture: float [3, S, S] in [-1, 1], S = spec.image_size: the pictures themselves, or their
            reconstructions where those are all there is.
        mask: see `changed_region`; also limits where disturbance is looked for.
        direction: from A to A'; None: their difference.

    Raises:
        InputError: A and A' do not differ.
    """
    direction = difference(a, edited) if direction is None else direction
    region = changed_region(a_picture, edited_picture, mask)
    changed = float(region.mean())
    mirrored = symmetry(region) >= SYMMETRIC
    if mirrored:
        views = np.stack([a_picture, edited_picture])[..., ::-1]
        both = model.encode(np.ascontiguousarray(views, np.float32))
        a, edited, (a_picture, edited_picture) = both[0], both[1], views
        region, mask = region[:, ::-1], None if mask is None else mask[:, ::-1]
    outside = (1 - region) if mask is None else (1 - region) * (mask > 0)
    change = np.clip(edited_picture, -1, 1) - np.clip(a_picture, -1, 1)
    whole = float((region * np.square(change)).sum())
    variants = [a, edited]
    for space in CANDIDATES:
        variants += [apply(a, direction, space), apply(edited, direction, space, -1)]
    size = model.spec.image_size
    pictures = np.clip(metrics.average_pool(model.generate_float(Inversion.concat(variants)), size), -1, 1)
    scores: dict[str, Score] = {}
    for i, space in enumerate(CANDIDATES):
        forth = pictures[2 + 2 * i] - pictures[0]
        back = pictures[1] - pictures[3 + 2 * i]
        left = [float((region * np.square(made - change)).sum()) / whole for made in (forth, back)]
        drift = [float((outside * np.square(made)).sum()) / whole for made in (forth, back)]
        scores[space] = Score(1 - sum(left) / 2, sum(drift) / 2)
    return Evidence(scores, changed, mirrored)


def symmetry(region: np.ndarray) -> float:
    """Overlap of a region [S, S] with its mirror image: intersection over union, 1 for a symmetric one."""
    other = region[:, ::-1]
    return float(np.minimum(region, other).sum() / max(np.maximum(region, other).sum(), 1e-12))


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """[S, S] in [0, 1], blurred; in steps of 1/255."""
    image = Image.fromarray(np.uint8(np.rint(np.clip(values, 0, 1) * 255)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), np.float64) / 255
