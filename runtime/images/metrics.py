"""MSE, PSNR and SSIM of image batches, in numpy."""

from __future__ import annotations

from functools import cache

import numpy as np

from padinv.runtime.errors import MismatchError

_SIGMA = 1.5
_RADIUS = 5  # 11 x 11 window
DATA_RANGE = 2.0  # of images in [-1, 1]


def mse(x: np.ndarray, y: np.ndarray, *, clamp: bool = True) -> np.ndarray:
    """Mean squared error of each image: x, y [N, 3, H, W] in [-1, 1] -> float64 [N]. Values outside are clamped."""
    x, y = _pair(x, y, clamp)
    result: np.ndarray = np.square(x - y).mean(axis=(1, 2, 3))
    return result


def psnr(x: np.ndarray, y: np.ndarray, *, clamp: bool = True) -> np.ndarray:
    """Peak signal-to-noise ratio an image in dB, peak 2: 10 log10(4 / MSE); inf for equal images. Shapes as `mse`."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / mse(x, y, clamp=clamp))


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Structural similarity an image, at most 1. Shapes and ranges as `mse`; H and W at least 11.

    Wang et al. 2004: Gaussian window 11 x 11 with sigma 1.5, K1 0.01, K2 0.03, biased (population) moments, each colour
    channel on its own, averaged over the positions where the window lies inside the image.
    """
    x, y = _pair(x, y)
    if min(x.shape[2:]) < 2 * _RADIUS + 1:
        raise MismatchError(f"SSIM needs images of at least 11 x 11 pixels, not {x.shape[3]} x {x.shape[2]}")
    ux, uy = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - ux * ux, _blur(y * y) - uy * uy, _blur(x * y) - ux * uy
    c1, c2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
    values = ((2 * ux * uy + c1) * (2 * vxy + c2)) / ((ux * ux + uy * uy + c1) * (vx + vy + c2))
    result: np.ndarray = values.mean(axis=(1, 2, 3))
    return result


def measured(x: np.ndarray, y: np.ndarray) -> dict[str, list[float | None]]:
    """'mse', 'psnr' and 'ssim' of each image, JSON-ready. Shapes and ranges as `mse`.

    JSON has no infinity and no NaN: the PSNR of equal images and the SSIM of images smaller than its window are None.
    """
    values = {"mse": mse(x, y), "psnr": psnr(x, y)}
    values["ssim"] = ssim(x, y) if min(x.shape[2:]) >= 2 * _RADIUS + 1 else np.full(len(x), np.nan)
    return {name: [float(v) if np.isfinite(v) else None for v in array] for name, array in values.items()}


def _pair(x: np.ndarray, y: np.ndarray, clamp: bool = True) -> tuple[np.ndarray, np.ndarray]:
    if x.shape != y.shape or x.ndim != 4:
        raise MismatchError(
            f"images to compare must have one shape [N, 3, H, W], not {list(x.shape)} and {list(y.shape)}"
        )
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (np.clip(x, -1, 1), np.clip(y, -1, 1)) if clamp else (x, y)


def _blur(x: np.ndarray) -> np.ndarray:
    """Separable Gaussian window over the last two axes, without borders: [..., H, W] -> [..., H-10, W-10]."""
    result: np.ndarray = _window(x.shape[-2]) @ x @ _window(x.shape[-1]).T
    return result


@cache
def _window(size: int) -> np.ndarray:
    """The window at every position of a line: [size - 10, size]. Matrix products take half the time of sums."""
    positions = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-0.5 * (positions / _SIGMA) ** 2)
    matrix = np.zeros((size - 2 * _RADIUS, size))
    for i, row in enumerate(matrix):
        row[i : i + len(window)] = window / window.sum()
    return matrix
