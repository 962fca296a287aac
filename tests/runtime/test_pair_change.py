from __future__ import annotations

import numpy as np
import pytest

from padinv.runtime.editing.pair_change import Change, changed_region
from padinv.runtime.errors import InputError, MismatchError


def square(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A grey picture, and the same with a square painted on it."""
    a = np.zeros((3, side, side), np.float32)
    edited = a.copy()
    edited[:, side // 4 : side // 2, side // 4 : side // 2] = 0.8
    return a, edited


def smooth_noise(seed: int, side: int = 64, count: int = 1) -> np.ndarray:
    """float64 [count, 3, side, side] within [-0.8, 0.8], with detail of about a tenth of the side."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((count, 3, side, side)))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    planes = np.fft.irfft2(spectrum * np.exp(-np.square(frequency * side / 6)))
    return 0.8 * planes / np.abs(planes).max()


def bump(side: int) -> np.ndarray:
    """[side, side] in [0, 1]: 1 in the middle, smoothly 0 towards the borders."""
    window = np.hanning(side)
    return window[:, None] * window[None]


def test_the_region_covers_what_changed_and_little_else():
    a, edited = square()
    region = changed_region(a, edited)
    assert region[17:31, 17:31].min() > 0.95
    assert region[:12].max() == region[:, 40:].max() == 0
    assert 0.06 < region.mean() < 0.14


def test_noise_like_that_of_a_jpeg_is_no_change():
    a, edited = square()
    noise = np.random.default_rng(0).normal(0, 0.03, a.shape).astype(np.float32)
    region = changed_region(a, edited + noise)
    assert region[:12].max() < 0.01
    with pytest.raises(InputError, match="show no difference"):
        changed_region(a, a + noise)


def test_a_mask_limits_the_region():
    a, edited = square()
    edited[:, 50:60, 50:60] = -0.9
    mask = np.zeros((64, 64))
    mask[:40, :40] = 1
    assert changed_region(a, edited)[55, 55] > 0.9
    assert changed_region(a, edited, mask)[55, 55] == 0
    assert changed_region(a, edited, mask)[20, 20] > 0.9
    with pytest.raises(InputError, match="show no difference"):
        changed_region(a, edited, 0 * mask)
    with pytest.raises(MismatchError, match="one shape"):
        changed_region(a, edited[:, :32])


@pytest.mark.parametrize("side", [32, 64, 128])
def test_translucent_paint_is_read_with_its_opacity_and_laid_over_other_pictures(side):
    a, others = smooth_noise(0, side)[0], smooth_noise(1, side, 3)
    opacity = 0.6 * bump(side)
    colour = np.array([0.7, -0.9, -0.2])[:, None, None]

    def painted(picture: np.ndarray) -> np.ndarray:
        return picture + opacity * (colour - picture)

    change = Change.between(a, painted(a))
    assert change.displacement is None
    np.testing.assert_allclose(change.on(a[None])[0], painted(a), atol=1e-12)
    wanted, made = painted(others), change.on(others)
    added = np.clip(others + painted(a) - a, -1, 1)  # what plain addition of the difference would give
    error, plain = (np.square(one - wanted).sum() for one in (made, added))
    assert error < 0.1 * np.square(wanted - others).sum()
    assert error < 0.25 * plain
    assert abs(change.opacity - opacity)[opacity > 0.3].mean() < 0.1


@pytest.mark.parametrize("side", [32, 64, 128])
def test_a_warp_is_read_as_a_displacement_and_made_on_other_pictures(side):
    a, others = smooth_noise(2, side)[0], smooth_noise(3, side, 3)
    shift = np.stack([0.05 * side * bump(side), -0.03 * side * bump(side)])
    rows, columns = np.indices((side, side), dtype=np.float64)

    def warped(picture: np.ndarray) -> np.ndarray:
        """Written out pixel by pixel, bilinear."""
        result = np.empty_like(picture)
        for i in range(side):
            for j in range(side):
                y, x = rows[i, j] + shift[1, i, j], columns[i, j] + shift[0, i, j]
                top, left = min(int(max(y, 0)), side - 2), min(int(max(x, 0)), side - 2)
                u, v = x - left, y - top
                block = picture[:, top : top + 2, left : left + 2]
                result[:, i, j] = np.tensordot(block, np.outer([1 - v, v], [1 - u, u]), 2)
        return result

    change = Change.between(a, warped(a))
    assert change.displacement is not None
    inside = bump(side) > 0.05
    assert np.abs(change.displacement - shift)[:, inside].max() < 0.01 * side
    wanted = np.stack([warped(one) for one in others])
    error = np.square(change.on(others) - wanted).sum()
    assert error < 0.03 * np.square(wanted - others).sum()


def test_of_two_readings_the_one_that_explains_the_region_is_kept():
    """A warp here and paint there: the region says which of them is meant."""
    side = 64
    a = smooth_noise(4, side)[0]
    edited = a.copy()
    edited[:, :, :30] = np.roll(a, 2, axis=2)[:, :, :30]
    edited[:, 20:40, 40:56] = np.array([0.9, -0.9, 0.9])[:, None, None]
    left, right = np.zeros((side, side)), np.zeros((side, side))
    left[10:54, 6:26], right[16:44, 36:60] = 1, 1
    assert Change.between(a, edited, left).displacement is not None
    assert Change.between(a, edited, right).displacement is None


def test_what_does_not_differ_stays():
    a = smooth_noise(5)[0]
    others = smooth_noise(6, count=2)
    np.testing.assert_allclose(Change.between(a, a).on(others), others, atol=1e-9)


def test_what_no_reading_explains_is_added_as_it_is():
    """The pair itself comes out right, whatever it is."""
    a, edited = smooth_noise(7, count=2)
    for one, other in ((a, edited), (a, -a), (a, a[..., ::-1]), (0 * a - 1, 0 * a + 1)):
        change = Change.between(one, other)
        assert change.displacement is None
        np.testing.assert_allclose(change.on(one[None])[0], other, atol=1e-12)
