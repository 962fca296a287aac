from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import SPEC

from padinv.runtime import editing
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.evidence import VIEWS, Evidence, Score, Seen, View, changed_region, score, seen_as, symmetry, weigh
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


def pictures(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A grey picture, and the same with a square painted on it."""
    a = np.zeros((3, side, side), np.float32)
    edited = a.copy()
    edited[:, side // 4 : side // 2, side // 4 : side // 2] = 0.8
    return a, edited


def test_the_region_covers_what_changed_and_little_else():
    a, edited = pictures()
    region = changed_region(a, edited)
    assert region[17:31, 17:31].min() > 0.95
    assert region[:12].max() == region[:, 40:].max() == 0
    assert 0.06 < region.mean() < 0.14


def test_noise_like_that_of_a_jpeg_is_no_change():
    a, edited = pictures()
    noise = np.random.default_rng(0).normal(0, 0.03, a.shape).astype(np.float32)
    region = changed_region(a, edited + noise)
    assert region[:12].max() < 0.01
    with pytest.raises(InputError, match="show no difference"):
        changed_region(a, a + noise)


def test_a_mask_limits_the_region():
    a, edited = pictures()
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


def change(name: str, amount: float) -> tuple[Inversion, Inversion]:
    rng = np.random.default_rng(0)
    arrays = {n: (0.1 * rng.standard_normal((1, *shape))).astype(np.float32) for n, shape in SPEC.latent_shapes.items()}
    moved = {n: array + (amount if n == name else 0) for n, array in arrays.items()}
    return Inversion.from_arrays(arrays, "1f" * 32), Inversion.from_arrays(moved, "1f" * 32)


@pytest.mark.parametrize(("name", "space"), [("wp", "latent"), ("pad_8", "padding"), ("const", "padding")])
def test_the_space_that_holds_the_change_is_chosen(tiny_bundle, name, space):
    model = Model.load(tiny_bundle, "cpu", 1)
    a, edited = change(name, 5.0 if name != "const" else 0.5)
    pair = tuple(model.generate_float(one)[0].clip(-1, 1) for one in (a, edited))
    region = changed_region(*pair)
    scores = score(model, a, edited, Seen(pair, region, 1 - region), editing.difference(a, edited))
    evidence = Evidence(scores, float(region.mean()))
    assert evidence.space == space
    other = "latent" if space == "padding" else "padding"
    assert evidence.scores[space].reproduced == pytest.approx(1, abs=0.02)
    assert evidence.scores[other].reproduced == pytest.approx(0, abs=0.02)
    assert f"chosen: {space}" in evidence.sentence()
    assert evidence.to_dict()["scores"][space]["disturbed"] == pytest.approx(0, abs=0.02)


def test_what_both_disturb_decides_when_both_reproduce_alike():
    evidence = Evidence({"padding": Score(0.7, 0.3), "latent": Score(0.65, 0.1)}, 0.1)
    assert evidence.space == "latent"
    assert evidence.sentence() == (
        "padding reproduces 70% of the change and disturbs 30% around it; latent reproduces 65% of the change and "
        "disturbs 10% around it; chosen: latent"
    )


def plain_scores(model, a, edited, views, region, direction, space):
    """The definition, written out: the edit made on A and undone on A', averaged."""
    true = views[1] - views[0]
    made = []
    for one, sign in ((a, 1), (edited, -1)):
        moved = model.generate_float(editing.apply(one, direction, space, sign))[0].clip(-1, 1)
        made.append(sign * (moved - model.generate_float(one)[0].clip(-1, 1)))
    whole = (region * true**2).sum()
    left = sum((region * (m - true) ** 2).sum() for m in made) / 2
    drift = sum(((1 - region) * m**2).sum() for m in made) / 2
    return 1 - left / whole, drift / whole


@pytest.mark.parametrize("symmetric", [False, True])
def test_scores_are_those_of_plain_arithmetic_over_all_views(tiny_bundle, symmetric):
    model = Model.load(tiny_bundle, "cpu", 1)
    before = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 16, 16)).astype(np.float32)
    after = before.copy()
    after[:, 4:12, (4 if symmetric else 0) : (12 if symmetric else 6)] = 0.9
    a, edited = model.encode(before[None]), model.encode(after[None])
    region, direction = changed_region(before, after), editing.difference(a, edited)
    assert (symmetry(region) > 0.9) == symmetric
    assert symmetry(region) < 0.3 or symmetric
    evidence = weigh(model, a, edited, before, after)
    assert evidence.mirrored == symmetric
    totals = {space: np.zeros(2) for space in ("padding", "latent")}
    for view in VIEWS:
        shown = view if symmetric else replace(view, mirrored=False)
        pair = [seen_as(one, shown).clip(-1, 1).astype(np.float32) for one in (before, after)]
        weights = seen_as(region[None], replace(shown, contrast=1, brightness=0))[0].clip(0, 1)
        inversions = [model.encode(one[None]) for one in pair]
        for space, total in totals.items():
            total += plain_scores(model, *inversions, pair, weights, direction, space)
    for space, total in totals.items():
        assert evidence.scores[space].reproduced == pytest.approx(total[0] / len(VIEWS), abs=1e-4)
        assert evidence.scores[space].disturbed == pytest.approx(total[1] / len(VIEWS), abs=1e-4)
    assert evidence.changed == pytest.approx(region.mean())


def test_views_turn_enlarge_shift_and_mirror_about_the_middle():
    planes = np.zeros((1, 32, 32), np.float32)
    planes[0, 8:12, 20:24] = 1  # its middle lies 6 right of and 6 above the picture's
    rows, columns = np.indices((32, 32)) + 0.5

    def middle(view: View) -> tuple[float, float]:
        shown = seen_as(planes, view)[0]
        return float((shown * columns).sum() / shown.sum()) - 16, float((shown * rows).sum() / shown.sum()) - 16

    np.testing.assert_array_equal(seen_as(planes, View()), planes)
    np.testing.assert_array_equal(seen_as(planes, View(mirrored=True)), planes[..., ::-1])
    assert middle(View(scale=1.5)) == pytest.approx((9, -9), abs=0.2)
    assert middle(View(shift=(0.125, 0.25))) == pytest.approx((10, 2), abs=1e-3)
    assert middle(View(angle=np.pi / 2)) == pytest.approx((-6, -6), abs=1e-3)  # counter-clockwise


def test_views_change_light_and_mirror_beyond_the_borders():
    planes = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(seen_as(planes, View(contrast=0.5, brightness=0.2)), 0.5 * planes + 0.2, atol=1e-6)
    moved = seen_as(planes, View(shift=(0.25, 0)))
    np.testing.assert_allclose(moved[..., 4:], planes[..., :-4], atol=1e-6)
    np.testing.assert_allclose(moved[..., :4], planes[..., 3::-1], atol=1e-6)
