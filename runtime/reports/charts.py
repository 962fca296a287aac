"""Curves and histograms as numbers that the template `charts.html` draws as inline SVG, without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 360, 190  # of a drawing, in its own units; it scales with the page
LEFT, RIGHT, TOP, BOTTOM = 52, 26, 10, 24
MAX_POINTS = 400  # of a curve; more are averaged in groups
BINS = 32


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """A line: what it is called, and its points as SVG writes them."""

    label: str
    points: str


@dataclass(frozen=True)
class CurveChart:
    """Curves over one axis.

    Attributes:
        title: plain text. summary: what the chart shows, in a sentence, for those who do not see it.
    """

    title: str
    summary: str
    curves: Sequence[Curve]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """How values are spread, with their mean and its interval.

    Attributes:
        mean, low, high: where they are on the axis.
    """

    title: str
    summary: str
    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    mean: float
    low: float
    high: float


def curve_chart(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> CurveChart | None:
    """Draw (x, y) points as one curve per name; None where no point is finite.

    The y axis is logarithmic if all values are positive and span more than a factor of 30.
    """
    kept = {name: _thinned([p for p in points if math.isfinite(p[1])]) for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return None
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points]
    logarithmic = min(ys) > 0 and max(ys) > 30 * min(ys)
    x_at = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_at = _scale(*_y_range(ys, logarithmic=logarithmic), HEIGHT - BOTTOM, TOP)

    def height(y: float) -> float:
        return y_at(math.log10(y) if logarithmic else y)

    curves = [
        Curve(name, " ".join(f"{x_at(x):.1f},{height(y):.1f}" for x, y in points)) for name, points in kept.items()
    ]
    ends = ", ".join(f"{name} from {_short(points[0][1])} to {_short(points[-1][1])}" for name, points in kept.items())
    return CurveChart(
        title,
        f"{title}: {ends}",
        curves,
        [Tick(x_at(x), _short(x)) for x in _nice(min(xs), max(xs), 3)],
        [Tick(height(y), _short(y)) for y in (_powers(ys) if logarithmic else _nice(min(ys), max(ys), 4))],
    )


def histogram(title: str, values: np.ndarray, interval: tuple[float, float] | None = None) -> Histogram | None:
    """Draw how values are spread; None where none is finite.

    Args:
        interval: of the mean, low and high; None: unknown.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    counts, edges = np.histogram(finite, BINS)
    mean = float(finite.mean())
    x_at = _scale(float(edges[0]), float(edges[-1]), LEFT, WIDTH - RIGHT)
    y_at = _scale(0.0, float(counts.max()), HEIGHT - BOTTOM, TOP)
    bars = [
        Bar(x_at(a), y_at(count), max(x_at(b) - x_at(a) - 1, 0.5), HEIGHT - BOTTOM - y_at(count))
        for count, a, b in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    low, high = np.clip(interval or (mean, mean), edges[0], edges[-1]).tolist()
    summary = (
        f"{title}: {len(finite):,} values from {_short(float(finite.min()))} to {_short(float(finite.max()))}, "
        f"mean {_short(mean)}"
    )
    if interval is not None:
        summary += f", 95 % interval {_short(interval[0])} to {_short(interval[1])}"
    ticks = [Tick(x_at(x), _short(x)) for x in _nice(float(edges[0]), float(edges[-1]), 3)]
    return Histogram(title, summary, bars, ticks, x_at(mean), x_at(low), x_at(high))


class _scale:
    """Maps a range of values to a range of the drawing; a range of one value maps to its middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.span, self.start, self.length = low, high - low, start, end - start

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self.span if self.span else 0.5
        return self.start + share * self.length


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MAX_POINTS` points: means of neighbours."""
    if len(points) <= MAX_POINTS:
        return list(points)
    groups = np.array_split(np.asarray(points, np.float64), MAX_POINTS)
    return [(float(x), float(y)) for x, y in (group.mean(axis=0) for group in groups)]


def _y_range(ys: Sequence[float], *, logarithmic: bool) -> tuple[float, float]:
    low, high = min(ys), max(ys)
    return (math.log10(low), math.log10(high)) if logarithmic else (low, high)


def _nice(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between two values."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _powers(ys: Sequence[float]) -> list[float]:
    """Powers of ten between the smallest and the largest value, or these two where there is none."""
    exponents = range(math.ceil(math.log10(min(ys))), math.floor(math.log10(max(ys))) + 1)
    return [10.0**k for k in exponents] or [min(ys), max(ys)]


def _short(value: float) -> str:
    """A number in few characters: 12,000 as 12k, 3,000,000 as 3M."""
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (abs(value) >= unit and value % unit == 0):
            return f"{value / unit:.4g}{sign}"
    return f"{value:.4g}"
