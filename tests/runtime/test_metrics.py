from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from padinv.runtime.errors import MismatchError
from padinv.runtime.images import average_pool, metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = np.clip(rng.standard_normal((3, 3, 24, 31)) * 0.5, -1, 1)
    y = np.clip(x + rng.standard_normal(x.shape) * np.array([0.05, 0.3, 0.8]).reshape(3, 1, 1, 1), -1, 1)
    return x, y


def test_they_agree_with_scikit_image(pair):
    x, y = pair
    for i in range(3):
        assert metrics.mse(x, y)[i] == pytest.approx(mean_squared_error(x[i], y[i]))
        assert metrics.psnr(x, y)[i] == pytest.approx(peak_signal_noise_ratio(x[i], y[i], data_range=2))
        _, full = structural_similarity(
            x[i], y[i], channel_axis=0, data_range=2, gaussian_weights=True, sigma=1.5, win_size=11,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        assert metrics.ssim(x, y)[i] == pytest.approx(full[:, 5:-5, 5:-5].mean(), abs=1e-9)


def test_values_are_clamped_first(pair):
    x, y = pair
    assert metrics.mse(x * 100, y) == pytest.approx(metrics.mse(np.clip(x * 100, -1, 1), y))


def test_equal_images():
    x = np.linspace(-1, 1, 3 * 12 * 12).reshape(1, 3, 12, 12)
    assert metrics.mse(x, x)[0] == 0
    assert metrics.psnr(x, x)[0] == np.inf
    assert metrics.ssim(x, x)[0] == pytest.approx(1)


def test_wrong_shapes():
    with pytest.raises(MismatchError):
        metrics.mse(np.zeros((1, 3, 12, 12)), np.zeros((1, 3, 12, 13)))
    with pytest.raises(MismatchError, match="at least 11 x 11"):
        metrics.ssim(np.zeros((1, 3, 12, 10)), np.zeros((1, 3, 12, 10)))


def test_average_pool():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert average_pool(x, 2).ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert average_pool(x, 4) is x
    with pytest.raises(MismatchError):
        average_pool(x, 3)
