"""Means with bootstrap intervals, and paired comparisons of two models on the same pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
_CHUNK_ELEMENTS = 1 << 22  # of resampling counts held at once


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval.

    Attributes:
        value: the estimate on the sample itself.
        low, high: 2.5th and 97.5th percentile over the resamples.
        count: pictures that entered.
    """

    value: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; an estimate that is not finite becomes null."""
        return {name: entry if np.isfinite(entry) else None for name, entry in asdict(self).items()}


def interval_text(entry: dict[str, Any], sign: bool = False) -> str:
    """An estimate with its interval, as `Interval.to_dict` gives it: '0.0312 [0.0305, 0.0320]'."""
    plus = "+" if sign else ""

    def show(value: float | None) -> str:
        return "-" if value is None else f"{value:{plus}#.4g}"

    return f"{show(entry['value'])} [{show(entry['low'])}, {show(entry['high'])}]"


@dataclass(frozen=True)
class Comparison:
    """One metric of two models, over the same pictures.

    Attributes:
        difference: mean of (first - second).
        ratio: mean of the first over mean of the second.
    """

    difference: Interval
    ratio: Interval

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"difference": self.difference.to_dict(), "ratio": self.ratio.to_dict()}


def resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of bootstrap resamples of the rows.

    Every column sees the same resamples, so that columns may be compared pair by pair. Values that are not finite
    (the PSNR of a perfect picture) are left out of their column's means.

    Args:
        values: [N, K], one row per image.

    Returns:
        [resamples, K]; nan where a resample has no finite value.
    """
    count = len(values)
    rng = np.random.default_rng(seed)
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    means = np.empty((resamples, values.shape[1]))
    chunk = max(1, _CHUNK_ELEMENTS // count)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start : start + rows] = (counts @ filled) / (counts @ finite)
    return means


def plain_means(values: np.ndarray) -> np.ndarray:
    """Mean of every column over its finite values: [N, K] -> [K]; nan where there is none."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        result: np.ndarray = np.where(finite, values, 0.0).sum(axis=0) / finite.sum(axis=0)
        return result


def _interval(value: float, samples: np.ndarray, count: int) -> Interval:
    kept = samples[np.isfinite(samples)]
    if not len(kept):
        return Interval(value, float("nan"), float("nan"), count)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(kept, [tail, 100 - tail])
    return Interval(value, float(low), float(high), count)


def summarise(columns: dict[str, np.ndarray], resamples: int = 10_000, seed: int = 0) -> dict[str, Interval]:
    """Mean of every metric with its percentile bootstrap interval.

    Args:
        columns: metric -> [N].
    """
    values = np.stack(list(columns.values()), axis=1)
    means, samples = plain_means(values), resampled_means(values, resamples, seed)
    counts = np.isfinite(values).sum(axis=0)
    return {name: _interval(float(means[k]), samples[:, k], int(counts[k])) for k, name in enumerate(columns)}


def compare(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], resamples: int = 10_000, seed: int = 0
) -> dict[str, Comparison]:
    """Paired difference and ratio of every metric that both have; row i of both is the same picture."""
    found = {}
    for name in (name for name in first if name in second):
        pair = np.stack([first[name], second[name]], axis=1)
        pair = pair[np.isfinite(pair).all(axis=1)]
        if not len(pair):
            continue
        means, samples = pair.mean(axis=0), resampled_means(pair, resamples, seed)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[name] = Comparison(
                _interval(float(means[0] - means[1]), samples[:, 0] - samples[:, 1], len(pair)),
                _interval(float(means[0] / means[1]), samples[:, 0] / samples[:, 1], len(pair)),
            )
    return found
