"""Bootstrap intervals against a plain restatement and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from padinv.evaluation import bootstrap
from padinv.evaluation.bootstrap import compare, plain_means, resampled_means, summarise


def test_resampled_means_are_means_of_the_drawn_rows() -> None:
    values = np.random.default_rng(0).normal(size=(7, 2))
    drawn = np.random.default_rng(3).integers(0, 7, (50, 7))
    expected = np.stack([values[rows].mean(axis=0) for rows in drawn])
    np.testing.assert_allclose(resampled_means(values, 50, seed=3), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [7, 8])
def test_resampling_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    values = np.random.default_rng(0).normal(size=(count, 1))
    whole = resampled_means(values, 101, seed=1)
    monkeypatch.setattr(bootstrap, "_CHUNK_ELEMENTS", 3 * count)
    np.testing.assert_allclose(resampled_means(values, 101, seed=1), whole, rtol=1e-12)


def test_intervals_agree_with_scipy() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=200)
    ours = summarise({"mse": values}, resamples=20_000, seed=0)["mse"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", random_state=0)
    assert ours.value == pytest.approx(values.mean())
    assert ours.count == 200
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_a_seed_gives_the_same_interval_again() -> None:
    values = {"mse": np.random.default_rng(2).normal(size=40)}
    assert summarise(values, 500, seed=4) == summarise(values, 500, seed=4)
    assert summarise(values, 500, seed=4) != summarise(values, 500, seed=5)


def test_pictures_are_compared_pair_by_pair() -> None:
    """The difference of two models on the same pictures is known far better than either mean."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(2.0, size=300)
    first = {"mse": hard + rng.normal(0, 0.01, 300) - 0.1, "only_here": hard}
    second = {"mse": hard + rng.normal(0, 0.01, 300)}
    found = compare(first, second, 2_000)
    assert list(found) == ["mse"]
    difference, ratio = found["mse"].difference, found["mse"].ratio
    assert difference.value == pytest.approx(first["mse"].mean() - second["mse"].mean())
    assert difference.low < -0.1 < difference.high < -0.09
    assert ratio.value == pytest.approx(first["mse"].mean() / second["mse"].mean())
    assert ratio.low < ratio.value < ratio.high < 1
    alone = summarise(second, 2_000)["mse"]
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)
    swapped = compare(second, first, 2_000)["mse"]
    assert swapped.difference.value == pytest.approx(-difference.value)
    assert swapped.ratio.value == pytest.approx(1 / ratio.value)


def test_values_that_are_not_finite_are_left_out() -> None:
    values = np.array([[1.0, np.inf], [3.0, 5.0], [5.0, np.nan]])
    np.testing.assert_allclose(plain_means(values), [3.0, 5.0])
    found = summarise({"mse": values[:, 0], "psnr": values[:, 1]}, 200)
    assert found["psnr"].value == 5.0
    assert found["psnr"].count == 1
    assert (found["psnr"].low, found["psnr"].high) == (5.0, 5.0)
    nothing = summarise({"psnr": np.full(3, np.inf)}, 200)["psnr"].to_dict()
    assert nothing == {"value": None, "low": None, "high": None, "count": 0}
    assert compare({"psnr": np.array([np.inf])}, {"psnr": np.array([1.0])}) == {}
