"""Which space carries an edit: how much of a change each reproduces where it happened, and how much it disturbs around.

The paper (section 4.4, Table 3) leaves the choice of the space to the user. Here the pair itself decides: the edit is
made from A to A' and undone from A' to A, in one space at a time, and compared with what really changed. On the pair
that a direction was made from, almost any direction does well. So it is made on other views of the pair: larger,
turned, shifted, darker, and, where the change is as good as symmetric, mirrored. To the encoder these are other faces,
whose true edit is known all the same; what only holds where A's features lie fails on them, as it does on other people.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from padinv.runtime import metrics
from padinv.runtime.directions import Direction
from padinv.runtime.editing import Space, apply, difference
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


@dataclass(frozen=True)
class View:
    """Another look at a pair: a similarity about the picture's middle, and other light.

    Attributes:
        mirrored: left and right change places, if the change is symmetric.
        scale, angle, shift: larger, radians counter-clockwise, fractions of the side (x, y).
        contrast, brightness: values v on [-1, 1] become contrast * v + brightness.
    """

    mirrored: bool = False
    scale: float = 1.0
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    contrast: float = 1.0
    brightness: float = 0.0


# About as far as faces on one template lie from each other. Half of it told directions that hold on other faces from
# those that do not in 33 of 60 pairs of validation faces, this in 47, mirror images alone in 30.
VIEWS = (
    View(False, 1.1, 0.1, (0.05, 0.0), 0.8, 0.1),
    View(False, 0.9, -0.1, (-0.05, 0.04), 1.0, -0.15),
    View(True, 1.1, -0.1, (0.0, -0.05), 1.0, 0.15),
    View(True, 0.9, 0.1, (0.0, 0.05), 0.8, -0.1),
)
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
    """The scores of both spaces, the fraction of the picture that changed, and whether some views were mirrored."""

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
    mirrored = symmetry(region) >= SYMMETRIC
    outside = (1 - region) if mask is None else (1 - region) * (mask > 0)
    seen = [Seen.of(view, a_picture, edited_picture, region, outside, mirrored) for view in VIEWS]
    pairs = model.encode(np.stack([picture for one in seen for picture in one.pair]))
    every = [score(model, pairs[2 * i], pairs[2 * i + 1], one, direction) for i, one in enumerate(seen)]
    scores: dict[str, Score] = {
        space: Score(
            float(np.mean([scored[space].reproduced for scored in every])),
            float(np.mean([scored[space].disturbed for scored in every])),
        )
        for space in CANDIDATES
    }
    return Evidence(scores, float(region.mean()), mirrored)


@dataclass(frozen=True)
class Seen:
    """What a view shows: A and A', float32 [3, S, S] each, and the weights [S, S] inside and outside the change."""

    pair: tuple[np.ndarray, np.ndarray]
    region: np.ndarray
    outside: np.ndarray

    @classmethod
    def of(
        cls, view: View, a: np.ndarray, edited: np.ndarray, region: np.ndarray, outside: np.ndarray, mirror: bool
    ) -> Seen:
        view = view if mirror else replace(view, mirrored=False)
        plain = replace(view, contrast=1.0, brightness=0.0)
        inside, around = np.clip(seen_as(np.stack([region, outside]), plain), 0, 1)
        one, other = (np.clip(seen_as(picture, view), -1, 1).astype(np.float32) for picture in (a, edited))
        return cls((one, other), inside, around)


def score(model: Model, a: Inversion, edited: Inversion, seen: Seen, direction: Direction) -> dict[str, Score]:
    """Both spaces on one view: the edit made on A and undone on A', averaged."""
    change = seen.pair[1] - seen.pair[0]
    whole = max(float((seen.region * np.square(change)).sum()), 1e-12)
    variants = [a, edited]
    for space in CANDIDATES:
        variants += [apply(a, direction, space), apply(edited, direction, space, -1)]
    size = model.spec.image_size
    pictures = np.clip(metrics.average_pool(model.generate_float(Inversion.concat(variants)), size), -1, 1)
    scores: dict[str, Score] = {}
    for i, space in enumerate(CANDIDATES):
        forth = pictures[2 + 2 * i] - pictures[0]
        back = pictures[1] - pictures[3 + 2 * i]
        left = [float((seen.region * np.square(made - change)).sum()) / whole for made in (forth, back)]
        drift = [float((seen.outside * np.square(made)).sum()) / whole for made in (forth, back)]
        scores[space] = Score(1 - sum(left) / 2, sum(drift) / 2)
    return scores


def seen_as(planes: np.ndarray, view: View) -> np.ndarray:
    """Planes [C, S, S] as a view shows them: bicubic, mirrored beyond the borders, not clipped; float32."""
    side = planes.shape[-1]
    planes = planes[..., ::-1] if view.mirrored else planes
    framed = np.pad(planes.astype(np.float32), ((0, 0), (side, side), (side, side)), mode="symmetric")
    c, s = math.cos(view.angle) / view.scale, math.sin(view.angle) / view.scale
    back = np.array([[c, -s], [s, c]])  # pixels of the view -> pixels of the frame, about the middle
    offset = side / 2 - back @ (side / 2 + side * np.array(view.shift)) + side
    data = (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])
    moved = [
        np.asarray(Image.fromarray(p).transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC))
        for p in framed
    ]
    return view.contrast * np.stack(moved) + np.float32(view.brightness)


def symmetry(region: np.ndarray) -> float:
    """Overlap of a region [S, S] with its mirror image: intersection over union, 1 for a symmetric one."""
    other = region[:, ::-1]
    return float(np.minimum(region, other).sum() / max(np.maximum(region, other).sum(), 1e-12))


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """[S, S] in [0, 1], blurred; in steps of 1/255."""
    image = Image.fromarray(np.uint8(np.rint(np.clip(values, 0, 1) * 255)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), np.float64) / 255
