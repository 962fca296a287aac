"""Editing as algebra on inversions: latent codes carry style, padding (constant input and rings) carries spatial form.

Paper section 4: blending takes the latents of one face and the padding of another (4.3); a customised edit adds the
difference of one image pair, in one of the two spaces, to any other image (4.4); interpolation moves in one space with
the other fixed. Every function takes and returns `Inversion`s, changes none of its arguments, and keeps no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.layers import layer_mask
from padinv.runtime.errors import MismatchError, UsageError
from padinv.runtime.inversion import Inversion, require_same_generator
from padinv.runtime.spec import ModelSpec

Space = Literal["padding", "latent", "both"]
SPACES: tuple[str, ...] = get_args(Space)
Fixed = Literal["first", "second"]


def blend(a: Inversion, b: Inversion, strength: float = 1.0, layers: Sequence[int] | None = None) -> Inversion:
    """The latents of A with the padding of B: A gives the facial features, B shape, hair and background (section 4.3).

    Args:
        a, b: batches of the same length, or one of them of length 1, which then goes with each of the other.
        strength: 0 keeps the latents of B, 1 takes those of A; values between and beyond are linear.
        layers: latent codes that come from A, numbered from 0; None: all. The others stay those of B.

    Returns:
        an Inversion with the `items` of B, the picture whose frame it keeps.

    Raises:
        MismatchError: other generators, or batches that do not pair. UsageError: a layer that does not exist.
    """
    strength = _finite(strength)
    a, b = _paired(a, b)
    chosen = layer_mask(layers, b.wp.shape[1])
    wp = np.where(chosen[:, None], b.wp + np.float32(strength) * (a.wp - b.wp), b.wp)
    items = _copied_items(b)
    for item, other in zip(items, a.items, strict=True):
        if "seed" not in other:  # a photograph is in the result, even where B was drawn from a seed
            item.pop("seed", None)
    form = {name: array.copy() for name, array in b.arrays().items() if name != "wp"}
    return Inversion.from_arrays({"wp": wp, **form}, b.generator_hash, items, b.origin)


def style_mixing(a: Inversion, b: Inversion, first_layer: int | None = None) -> Inversion:
    """What the paper compares blending with: B with the later latents of A (pSp, Richardson et al. 2021).

    Args:
        first_layer: the first latent code taken from A; None takes the last 11 of the paper's 18 codes, scaled
            to this generator: from index round(7 L / 18) on.
    """
    count = b.wp.shape[1]
    start = round(count * 7 / 18) if first_layer is None else first_layer
    if not 0 <= start < count:
        raise UsageError(f"layer {start} does not exist; this generator has the layers 0-{count - 1}")
    return blend(a, b, layers=range(start, count))


def difference(a: Inversion, edited: Inversion) -> Direction:
    """The direction from a picture to its edited version, in both spaces (section 4.4): n_s in `wp`, n_p in the rest.

    Args:
        a, edited: batches of one length; of several pairs the mean difference is taken.

    Raises:
        MismatchError: other generators, or batches of different lengths.
    """
    require_same_generator(a.generator_hash, edited.generator_hash)
    if len(a) != len(edited) or len(a) == 0:
        raise MismatchError(f"{len(a)} pictures and {len(edited)} edited ones are no pairs")
    a, edited = _require_same_shapes(a, edited)
    return Direction(
        (edited.wp - a.wp).mean(axis=0),
        (edited.const - a.const).mean(axis=0),
        {r: (edited.rings[r] - a.rings[r]).mean(axis=0) for r in a.rings},
        a.generator_hash,
        spatial={r: (edited.spatial[r] - a.spatial[r]).mean(axis=0) for r in a.spatial},
    )


def apply(inversion: Inversion, direction: Direction, space: Space = "both", strength: float = 1.0) -> Inversion:
    """Add `strength` times a direction to every image of a batch, in one space or both.

    Raises:
        MismatchError: a direction of another generator. UsageError: another `space`.
    """
    space, strength = _checked_space(space), _finite(strength)
    direction.require_generator(inversion.generator_hash)
    moved = dict(inversion.arrays())
    for r, delta in direction.spatial.items():
        moved.setdefault(f"spatial_{r}", np.zeros((len(inversion), *delta.shape), np.float32))
    for name, delta in direction.arrays().items():
        if name not in moved or moved[name].shape[1:] != delta.shape:
            raise MismatchError(f"the direction and the inversion differ in the shape of {name}; nothing was applied")
        if moves(name, space):
            moved[name] = moved[name] + np.float32(strength) * delta
        else:
            moved[name] = moved[name].copy()
    return Inversion.from_arrays(moved, inversion.generator_hash, _copied_items(inversion), inversion.origin)


def interpolate(a: Inversion, b: Inversion, steps: int = 9, space: Space = "both", fixed: Fixed = "first") -> Inversion:
    """`steps` images on the straight line from A to B, ends included, in one space with the other fixed (Fig. 5 to 7).

    Args:
        a, b: one image each.
        space: what moves; 'both' moves everything.
        fixed: whose values the space that does not move keeps.

    Returns:
        an Inversion of `steps` images.

    Raises:
        MismatchError: other generators or more than one image. UsageError: fewer than 2 steps, another `space`.
    """
    space = _checked_space(space)
    if steps < 2:
        raise UsageError(f"an interpolation takes at least 2 steps, not {steps}")
    if fixed not in get_args(Fixed):
        raise UsageError(f"fixed must be one of {', '.join(get_args(Fixed))}, not {fixed!r}")
    if len(a) != 1 or len(b) != 1:
        raise MismatchError(f"interpolation takes one image at each end, not {len(a)} and {len(b)}")
    require_same_generator(a.generator_hash, b.generator_hash)
    a, b = _require_same_shapes(a, b)
    still = a if fixed == "first" else b
    t = np.linspace(0, 1, steps, dtype=np.float32)
    ends, other = a.arrays(), b.arrays()
    result = {}
    for name, value in still.arrays().items():
        if moves(name, space):
            shape = (steps,) + (1,) * (value.ndim - 1)
            s = t.reshape(shape)
            result[name] = (1 - s) * ends[name] + s * other[name]  # exact at both ends
        else:
            result[name] = np.repeat(value, steps, axis=0)
    items = [{"source": f"step {i}", "position": float(t[i])} for i in range(steps)]
    origin = None if a.origin is None else a.origin.of_results(steps)
    return Inversion.from_arrays(result, a.generator_hash, items, origin)


def interpolation_grid(a: Inversion, b: Inversion, steps: int = 5) -> Inversion:
    """Latents by padding: row i has the latents, column j the padding on the way from A to B (Fig. 6 and 7).

    Args:
        a, b: one image each.
        steps: images along each side, ends included.

    Returns:
        an Inversion of `steps` * `steps` images, row by row; the corners are A, the latents of A with the padding of B,
        the latents of B with the padding of A, and B.

    Raises:
        As `interpolate`.
    """
    line = interpolate(a, b, steps, "both")
    rows, columns = (index.ravel() for index in np.mgrid[:steps, :steps])
    arrays = {name: array[rows if name == "wp" else columns] for name, array in line.arrays().items()}
    items = [{"source": f"latents {i}, padding {j}"} for i, j in zip(rows.tolist(), columns.tolist(), strict=True)]
    return Inversion.from_arrays(arrays, a.generator_hash, items)


def average(spec: ModelSpec, constants: dict[str, np.ndarray], generator_hash: str) -> Inversion:
    """The average image: `w_avg` for every layer, the learned constant, and zero rings.

    Args:
        constants: `w_avg` [w_dim] and `const` [C_4, 4, 4], as `Model.constants()` gives them.
    """
    rings = {r: np.zeros((1, *spec.ring_shape(r)), np.float32) for r in spec.pad_resolutions}
    wp = np.broadcast_to(constants["w_avg"], (1, *spec.wp_shape)).copy()
    return Inversion(wp, constants["const"][None].copy(), rings, generator_hash, [{"source": "average image"}])


def moves(name: str, space: str) -> bool:
    """Whether the array called `name` (`wp`, `const`, `pad_r`, `spatial_r`) belongs to `space`."""
    return space == "both" or (name == "wp") == (space == "latent")


def _paired(a: Inversion, b: Inversion) -> tuple[Inversion, Inversion]:
    require_same_generator(a.generator_hash, b.generator_hash)
    a, b = _require_same_shapes(a, b)
    n = max(len(a), len(b))
    if len(a) == len(b):
        return a, b
    if len(a) == 1:
        return a[np.zeros(n, np.int64)], b
    if len(b) == 1:
        return a, b[np.zeros(n, np.int64)]
    raise MismatchError(f"{len(a)} and {len(b)} images do not pair; give the same number, or one on one side")


def _require_same_shapes(a: Inversion, b: Inversion) -> tuple[Inversion, Inversion]:
    """Both with the same arrays: zeros stand for a spatial code that one of them lacks."""
    a, b = a.with_spatial_of(b), b.with_spatial_of(a)
    mine, other = a.arrays(), b.arrays()
    for name in sorted(set(mine) | set(other)):
        if name not in mine or name not in other or mine[name].shape[1:] != other[name].shape[1:]:
            raise MismatchError(f"these inversions are of different models: they differ in {name}")
    return a, b


def _checked_space(space: Any) -> Space:
    if space not in SPACES:
        raise UsageError(f"space must be one of {', '.join(SPACES)}, not {space!r}")
    result: Space = space
    return result


def _finite(strength: float) -> float:
    if not np.isfinite(strength):
        raise UsageError(f"strength must be a finite number, not {strength}")
    return float(strength)


def _copied_items(inversion: Inversion) -> list[dict[str, Any]]:
    return [dict(item) for item in inversion.items]
