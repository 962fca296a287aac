from __future__ import annotations

import numpy as np
import pytest
from tiny_bundle import SPEC

from padinv.runtime.editing.region import (
    NAMED,
    named_mask,
    parse_resolutions,
    region_of_mask,
    ring_positions,
)
from padinv.runtime.errors import UsageError
from padinv.runtime.inversion import Inversion


def inversions(count: int, seed: int) -> Inversion:
    rng = np.random.default_rng(seed)
    return Inversion.from_arrays({name: rng.normal(size=(count, *shape)) for name, shape in SPEC.latent_shapes.items()})


def as_map(weights: np.ndarray, resolution: int) -> np.ndarray:
    """A ring's weights laid out by hand, in the order that Inversion documents: top, bottom, left, right."""
    r = resolution
    full = np.full((r + 2, r + 2), np.nan)
    full[0], full[-1] = weights[: r + 2], weights[r + 2 : 2 * r + 4]
    full[1:-1, 0], full[1:-1, -1] = weights[2 * r + 4 : 3 * r + 4], weights[3 * r + 4 :]
    return full


@pytest.mark.parametrize("resolution", [4, 8])
def test_ring_positions_are_in_the_rings_order(resolution: int) -> None:
    rows, columns = ring_positions(resolution)
    full = np.arange((resolution + 2) ** 2, dtype=float).reshape(resolution + 2, resolution + 2)
    border = as_map(full[rows, columns], resolution)
    inside = np.isnan(border)
    assert inside.sum() == resolution**2
    np.testing.assert_array_equal(border[~inside], full[~inside])


def test_left_is_the_pictures_left() -> None:
    region = region_of_mask(named_mask("left"), SPEC)
    np.testing.assert_array_equal(region.weights["const"], [[1, 1, 0, 0]] * 4)
    ring = as_map(region.weights["pad_8"], 8)
    assert (ring[:, 0] == 1).all()
    assert (ring[:, -1] == 0).all()
    np.testing.assert_array_equal(ring[0], [1] * 5 + [0] * 5)


@pytest.mark.parametrize("name", NAMED)
def test_a_region_and_its_opposite_share_all_positions(name: str) -> None:
    opposite = {"left": "right", "top": "bottom", "border": "centre"}
    other = {**opposite, **{v: k for k, v in opposite.items()}}[name]
    mine, theirs = (region_of_mask(named_mask(n), SPEC).weights for n in (name, other))
    for array in mine:
        np.testing.assert_allclose(mine[array] + theirs[array], 1)


def test_the_centre_holds_no_ring_position_and_the_border_all() -> None:
    centre = region_of_mask(named_mask("centre"), SPEC).weights
    assert centre["const"].sum() == 4
    assert centre["pad_4"].max() == centre["pad_8"].max() == 0
    assert region_of_mask(named_mask("border"), SPEC).weights["pad_8"].min() == 1


def test_outside_the_region_and_at_other_resolutions_nothing_moves() -> None:
    before, after = inversions(3, 1), inversions(3, 2)
    region = region_of_mask(named_mask("top"), SPEC, [8])
    result = region.limit(before, after)
    np.testing.assert_array_equal(result.wp, after.wp)
    np.testing.assert_array_equal(result.const, before.const)
    np.testing.assert_array_equal(result.rings[4], before.rings[4])
    np.testing.assert_allclose(result.rings[8][..., :10], after.rings[8][..., :10], atol=1e-6)  # the top row
    np.testing.assert_array_equal(result.rings[8][..., 10:20], before.rings[8][..., 10:20])  # the bottom row


def test_a_mask_counts_by_its_share_of_a_cell() -> None:
    mask = np.zeros((64, 64))
    mask[:, :4] = 1  # a quarter of the leftmost cells of the constant, half of those at 8 px
    region = region_of_mask(mask, SPEC)
    np.testing.assert_allclose(region.weights["const"][:, 0], 0.25)
    np.testing.assert_allclose(as_map(region.weights["pad_8"], 8)[:, 0], 0.5)


def test_what_cannot_be_a_region_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="is not a region; use left, right"):
        named_mask("nose")
    with pytest.raises(UsageError, match="resolution 64 has no padding coefficients; this model has them at 4, 8"):
        region_of_mask(named_mask("top"), SPEC, [64])
    with pytest.raises(UsageError, match="no padding position lies inside the region"):
        region_of_mask(named_mask("centre"), SPEC, [8])
    assert parse_resolutions("8,4,8", SPEC) == [4, 8]
    for text in ("", "4,x", "64", "4-8"):
        with pytest.raises(UsageError, match="is not a resolution with padding coefficients; this model has 4, 8"):
            parse_resolutions(text, SPEC)
