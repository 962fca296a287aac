"""Smoothing over time, placing and following: numbers against independent restatements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from padinv.runtime.alignment.templates import template_named
from padinv.runtime.errors import UsageError
from padinv.runtime.inversion import Inversion
from padinv.runtime.video import placing
from padinv.runtime.video.code_smoothing import CODES, smooth_codes
from padinv.runtime.video.flicker import Flicker, change
from padinv.runtime.video.one_euro import OneEuro, smoothed
from padinv.runtime.video.placing import placed
from padinv.runtime.video.tracking import REACH, FaceTracker

FACE = 40 * template_named("faces").points + 30  # a face of 40 pixels


def reference(values: list[float], times: list[float], speeds: list[float], cutoff: float, beta: float) -> list[float]:
    """The published filter for one number (Casiez et al. 2012, algorithm 1), with its speed given."""

    def alpha(hertz: float, seconds: float) -> float:
        tau = 1 / (2 * math.pi * hertz)
        return 1 / (1 + tau / seconds)

    out, speed = [values[0]], speeds[0]
    for i in range(1, len(values)):
        dt = times[i] - times[i - 1]
        a = alpha(1.0, dt)
        speed = a * speeds[i] + (1 - a) * speed
        a = alpha(cutoff + beta * abs(speed), dt)
        out.append(a * values[i] + (1 - a) * out[-1])
    return out


def test_the_filter_is_the_published_one_in_both_directions() -> None:
    rng = np.random.default_rng(0)
    values, speeds = rng.standard_normal(9), rng.standard_normal(9)
    times = np.cumsum(rng.uniform(0.01, 0.1, 9))
    forward = reference(values.tolist(), times.tolist(), speeds.tolist(), 1.3, 0.7)
    backward = reference(values[::-1].tolist(), (-times[::-1]).tolist(), speeds[::-1].tolist(), 1.3, 0.7)[::-1]
    found = smoothed(values, times, speeds[:, None], OneEuro(1.3, 0.7))
    np.testing.assert_allclose(found, (np.array(forward) + backward) / 2, rtol=1e-12)


def test_a_steady_movement_is_not_held_back() -> None:
    times = np.arange(80) / 25
    values = np.stack([3 * times, 1 - 2 * times], axis=1)
    velocity = np.tile([[3.0, -2.0]], (80, 1))
    found = smoothed(values, times, velocity, OneEuro(1.0, 0.0), extend=1.0)
    assert np.abs(found - values).max() < 0.005
    assert np.abs(smoothed(values, times, velocity, OneEuro(1.0, 0.0)) - values).max() > 0.1  # without `extend`


def test_times_must_increase() -> None:
    with pytest.raises(UsageError, match="order of its times"):
        smoothed(np.zeros(3), np.array([0, 1, 1.0]), np.zeros((3, 1)), OneEuro(1, 0))


def codes(changes: list[float | None], seed: int = 0, noise: float = 1.0) -> Inversion:
    n = len(changes)
    rng = np.random.default_rng(seed)
    items = [{"frame": i, "time": i / 25, "coarse": one} for i, one in enumerate(changes)]
    wp, const, ring = (noise * rng.standard_normal(shape) for shape in ((n, 2, 3), (n, 2, 4, 4), (n, 2, 20)))
    return Inversion(wp, const, {4: ring}, "ab", items)


def test_codes_tremble_less_where_the_source_stands_still_and_follow_where_it_moves() -> None:
    still, moving = (codes([None, *[c] * 39]) for c in (0.0005, 0.05))
    shake = [np.diff(smooth_codes(one, range(40)).wp, axis=0).std() for one in (still, moving)]
    raw = np.diff(still.wp, axis=0).std()
    assert shake[0] < 0.2 * raw
    assert shake[1] > 0.5 * raw


def test_codes_are_not_smoothed_across_a_cut() -> None:
    parts = [codes([None] + [0.0] * 9, noise=0.0), codes([None] + [0.0] * 9, noise=0.0)]
    parts[1].wp += 1
    both = Inversion.concat(parts)
    for i, item in enumerate(both.items):
        item["frame"], item["time"] = i, i / 25
    np.testing.assert_array_equal(smooth_codes(both, range(20)).wp, both.wp)
    both.items[10]["coarse"] = 0.0  # the same without the cut
    assert np.abs(smooth_codes(both, range(20)).wp - both.wp).max() > 0.1


def test_codes_of_some_frames_see_their_neighbours() -> None:
    whole = codes([None] + [0.01] * 29)
    np.testing.assert_array_equal(smooth_codes(whole, range(10, 20)).const, smooth_codes(whole, range(30)).const[10:20])
    np.testing.assert_array_equal(smooth_codes(whole, range(10, 20), 0).wp, whole.wp[10:20])
    assert CODES.min_cutoff > 0


def test_short_gaps_are_bridged_and_long_ones_show_the_source() -> None:
    times = [i / 10 for i in range(30)]
    landmarks = [FACE + i for i in range(30)]
    seen: list[np.ndarray | None] = [
        one if i not in (5, 6, *range(12, 22)) else None for i, one in enumerate(landmarks)
    ]
    found = placed(seen, times, template_named("faces"), 0)
    assert (found.held, found.passed, found.shown) == (2, 10, 20)
    assert [t is None for t in found.transforms] == [12 <= i < 22 for i in range(30)]
    assert len(set(found.segments)) == 3  # two runs, and -1
    expected = template_named("faces").transform(landmarks[6])
    np.testing.assert_allclose(found.transforms[6], expected, atol=1e-9)


def test_a_jump_is_a_cut_and_stays_sharp() -> None:
    times = [i / 25 for i in range(20)]
    landmarks: list[np.ndarray | None] = [FACE + (0 if i < 10 else 50) for i in range(20)]
    found = placed(landmarks, times, template_named("faces"))
    for i in range(20):
        expected = template_named("faces").transform(landmarks[i])
        np.testing.assert_allclose(found.transforms[i], expected, atol=1e-9)


def test_trembling_landmarks_give_a_calm_square() -> None:
    rng = np.random.default_rng(1)
    times = [i / 25 for i in range(50)]
    landmarks: list[np.ndarray | None] = [FACE + rng.normal(0, 0.4, (5, 2)) for _ in range(50)]

    def shake(smooth: float) -> float:
        matrices = [t for t in placed(landmarks, times, template_named("faces"), smooth).transforms if t is not None]
        return float(np.diff(np.stack(matrices)[:, :, 2], axis=0).std())

    assert shake(1) < 0.4 * shake(0)
    assert shake(3) < shake(1)
    assert placing.HOLD_SECONDS == 0.5  # docs/video.md names it


class Detector:
    """Sees the faces it is given; `measure` finds the one whose centre lies within half a side."""

    def __init__(self, *faces: np.ndarray) -> None:
        self.all = list(faces)

    def faces(self, image: object, *, wanted: int | None = 1) -> list:
        from padinv.runtime.alignment.face_detector import Face

        return [Face(one, 40.0, 1.0) for one in self.all]

    def measure(self, image: object, start: np.ndarray) -> object:
        close = [face for face in self.faces(image) if np.linalg.norm((face.landmarks - start).mean(axis=0)) < 20]
        return close[0] if close else None


def test_the_nearest_face_is_followed_also_after_a_jump() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    detector = Detector(FACE, FACE + 200)
    tracker = FaceTracker(detector, face=2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tracker.find(pixels), FACE + 200)
    detector.all = [FACE, FACE + 230]  # out of the crop's reach, but nearest in the frame
    np.testing.assert_array_equal(tracker.find(pixels), FACE + 230)
    detector.all = [FACE]  # another person, too far away
    assert tracker.find(pixels) is None
    detector.all = [FACE, FACE + 225]
    np.testing.assert_array_equal(tracker.find(pixels), FACE + 225)
    assert REACH * 40 < 200


def test_flicker_is_the_mean_change_by_that_of_the_source() -> None:
    a, b = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 6, np.uint8)
    assert change(a, b) == 6
    checked = np.indices((4, 4)).sum(0)[..., None] % 2 * np.full(3, 12, np.uint8)
    assert change(checked, a, 2) == 6
    found = Flicker.of([(2, 1), (4, 5)])
    assert (found.source, found.result, found.frames, found.ratio) == (3, 3, 2, 1)
    assert "1.00 times" in found.sentence()
    assert Flicker.of([]).ratio is None
