"""What changed between two pictures, where, and what the same change would make of other faces.

Where the edited picture of another face is wanted and only one pair is known, the change is carried over as a picture.
It is read in two ways, and the one that explains the pair is kept: as a smooth displacement (a wider jaw), or as paint
of some opacity (glasses, make-up, hair). On aligned faces either holds at the same place of every face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.images import average_pool

THRESHOLD = 0.12  # of a smoothed difference on [-1, 1]: above what JPEG does, below any edit that can be seen
# The displacement is fitted on at most this many pixels a side, by splines on a grid of this many points a side.
_SIDE, _GRID = 64, 10
_STIFFNESS = 0.03  # of neighbouring grid points, for displacements in fractions of the side and values on [-1, 1]
_STEPS = 8
# A displacement is taken where its squared error is less than this many times that of paint, which can do more, and
# than this part of the change. Painted faces: at most 1.0 and 0.04 for a jaw's warp, at least 5 and 0.2 for glasses,
# bangs, lipstick and brows.
_FAVOUR, _LEFT = 2.0, 0.5
_WINDOW = 1 / 8  # half the side of a window in which paint has one colour, in fractions of the picture's
_VISIBLE = 0.02  # differences on [-1, 1] from which on there may be paint
_RIDGE = 0.005  # squared contrast of paint and picture below which opacity cannot be read
_ROUNDS = 20


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


@dataclass(frozen=True)
class Change:
    """The change from A to A', to be made on other pictures of the same alignment.

    Attributes:
        displacement: [2, S, S], where each pixel is taken from: right and down, in pixels; None: nothing moves.
        opacity: [S, S] in [0, 1], how much of the picture the paint hides.
        paint: [3, S, S], what is added: opacity times the paint's colour, and whatever else the pair shows.
    """

    displacement: np.ndarray | None
    opacity: np.ndarray
    paint: np.ndarray

    @classmethod
    def between(cls, a: np.ndarray, edited: np.ndarray, region: np.ndarray | None = None) -> Change:
        """Read the change off one pair.

        Args:
            a, edited: float [3, S, S] in [-1, 1].
            region: [S, S] in [0, 1], where the change is to be explained; see `changed_region`; None: everywhere.
        """
        a, edited = (np.clip(picture.astype(np.float64), -1, 1) for picture in (a, edited))
        weight = np.ones(a.shape[1:]) if region is None else region
        displacement = _displacement(a, edited)
        opacity, colour = _paint(a, edited)
        explained = (a, _moved(a[None], displacement)[0], a + opacity * (colour - a))
        whole, moved, painted = (float((weight * np.square(one - edited)).sum()) for one in explained)
        if moved < min(_FAVOUR * painted, _LEFT * whole):
            return cls(displacement, np.zeros(a.shape[1:]), np.zeros(a.shape))
        return cls(None, opacity, edited - (1 - opacity) * a)

    def on(self, pictures: np.ndarray) -> np.ndarray:
        """float [N, 3, S, S] in [-1, 1] -> the same pictures with the change, float64 in [-1, 1]."""
        pictures = pictures.astype(np.float64)
        if self.displacement is not None:
            pictures = _moved(pictures, self.displacement)
        result: np.ndarray = np.clip((1 - self.opacity) * pictures + self.paint, -1, 1)
        return result


def _displacement(a: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """The smooth displacement [2, S, S] in pixels that brings A nearest to A': Gauss-Newton steps on a spline grid."""
    side = a.shape[-1]
    small = min(side, _SIDE)
    a, edited = (average_pool(picture[None], small)[0] for picture in (a, edited))
    rows = _splines(small)
    fields = np.einsum("yi,xj->yxij", rows, rows).reshape(small * small, -1)  # one column a grid point
    stiffness = _STIFFNESS * np.kron(np.eye(2), _roughness())
    grid = best = np.zeros(2 * _GRID**2)
    least = np.inf
    for _ in range(_STEPS + 1):
        at = small * (fields @ grid.reshape(2, -1).T).T.reshape(2, small, small)
        moved = _moved(a[None], at)[0]
        error = edited - moved
        energy = np.square(error).sum() / small**2 + grid @ stiffness @ grid
        if energy >= least:
            break
        least, best = energy, grid
        down, right = np.gradient(moved, axis=(1, 2))
        hessian, gradient = stiffness.copy(), -stiffness @ grid
        for channel in range(3):
            slopes = [one[channel].reshape(-1, 1) * small for one in (right, down)]
            jacobian = np.concatenate([slope * fields for slope in slopes], axis=1)
            hessian += jacobian.T @ jacobian / small**2
            gradient += jacobian.T @ error[channel].ravel() / small**2
        grid = grid + np.linalg.solve(hessian, gradient)
    rows = _splines(side)
    result: np.ndarray = side * np.einsum("yi,xj,kij->kyx", rows, rows, best.reshape(2, _GRID, _GRID))
    return result


def _splines(side: int) -> np.ndarray:
    """Uniform cubic B-splines at the pixels' centres: [side, _GRID], rows that sum to 1."""
    at = (np.arange(side) + 0.5) / side * (_GRID - 3)
    t = np.abs(at[:, None] - (np.arange(_GRID) - 1))
    return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0))


def _roughness() -> np.ndarray:
    """[_GRID^2, _GRID^2]: theta' R theta sums the squared differences of neighbours, and a tenth of the squares."""
    steps = np.diff(np.eye(_GRID), axis=0)
    line = steps.T @ steps
    return np.kron(line, np.eye(_GRID)) + np.kron(np.eye(_GRID), line) + 0.1 * np.eye(_GRID**2)


def _moved(pictures: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """[N, C, S, S] taken at displaced positions, bilinear, the border repeated beyond it."""
    side = pictures.shape[-1]
    places = np.arange(side, dtype=np.float64)
    x, y = (np.clip(one, 0, side - 1) for one in (places + displacement[0], places[:, None] + displacement[1]))
    left, top = (np.minimum(one.astype(int), side - 2) for one in (x, y))
    x, y = x - left, y - top
    above, below = (pictures[..., row, left] * (1 - x) + pictures[..., row, left + 1] * x for row in (top, top + 1))
    result: np.ndarray = above * (1 - y) + below * y
    return result


def _paint(a: np.ndarray, edited: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opacity [S, S] and colour [3, S, S] with A' = A + opacity (colour - A), the colour nearly constant in a window.

    Of differently coloured pixels in one window, the lines from A to A' meet in that colour. Opacity and colour are
    found alternately, each by least squares from the other.
    """
    radius = max(1, round(a.shape[-1] * _WINDOW))
    change = edited - a
    opacity = np.where(np.abs(change).max(axis=0) > _VISIBLE, 0.8, 0.0)
    colour = edited
    for _ in range(_ROUNDS):
        hidden = _mean(opacity * (edited - (1 - opacity) * a), radius) + 1e-5 * edited
        colour = np.clip(hidden / (_mean(np.square(opacity)[None], radius) + 1e-5), -1, 1)
        contrast = colour - a
        opacity = np.clip((change * contrast).sum(axis=0) / (np.square(contrast).sum(axis=0) + _RIDGE), 0, 1)
    return opacity, colour


def _mean(planes: np.ndarray, radius: int) -> np.ndarray:
    """Mean over windows of 2 radius + 1 pixels a side, the border repeated beyond it."""
    width = 2 * radius + 1
    for axis in (1, 2):
        padded = np.pad(planes, [(radius + (i == axis), radius) if i == axis else (0, 0) for i in range(3)], "edge")
        total = padded.cumsum(axis)
        length = planes.shape[axis]
        planes = (total.take(range(width, width + length), axis) - total.take(range(length), axis)) / width
    return planes


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """[S, S] in [0, 1], blurred; in steps of 1/255."""
    image = Image.fromarray(np.uint8(np.rint(np.clip(values, 0, 1) * 255)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), np.float64) / 255
