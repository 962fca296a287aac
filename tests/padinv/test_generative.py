"""KID, Fréchet distance, precision and recall against restatements in NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from padinv.evaluation.generative import frechet_distance, kid, precision_recall, squared_mmd


def sets(shift: float = 0.0, n: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=rng)
    a = torch.randn(n, 6, generator=rng) @ mixing
    b = torch.randn(n, 6, generator=rng) @ mixing + shift
    return a, b


def test_the_squared_discrepancy_equals_the_double_sum() -> None:
    a, b = (x[:40].double().numpy() for x in sets(0.5))

    def mean(x: np.ndarray, y: np.ndarray, same: bool) -> float:
        terms = [(x[i] @ y[j] / 6 + 1) ** 3 for i in range(40) for j in range(40) if not (same and i == j)]
        return float(np.mean(terms))

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert squared_mmd(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-9)


def test_kid_is_near_zero_for_one_distribution_and_grows_with_the_distance() -> None:
    near, far = kid(*sets(0.0), size=150), kid(*sets(1.0), size=150)
    assert abs(near.mean) < 5 * near.error + 0.05 * far.mean
    assert far.mean > 10 * far.error
    assert kid(*sets(2.0), size=150).mean > far.mean


def test_frechet_distance_equals_the_formula_with_a_matrix_root() -> None:
    a, b = sets(0.7)
    x, y = a.double().numpy(), b.double().numpy()
    ca, cb = np.cov(x.T), np.cov(y.T)
    root = np.real(scipy.linalg.sqrtm(ca @ cb))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)


def test_precision_sees_strange_images_and_recall_missing_ones() -> None:
    a, b = sets(0.0)
    precision, recall = precision_recall(a, b)
    assert precision > 0.6
    assert recall > 0.6
    strange = torch.cat([a[:150], a[:150] + 100])
    assert precision_recall(strange, b)[0] < 0.6 * precision
    collapsed = a[:1] + 0.01 * a
    assert precision_recall(collapsed, b)[1] < 0.2 * recall
