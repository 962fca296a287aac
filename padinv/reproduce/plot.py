"""Plots of tables: values with their intervals on horizontal scales, as SVG without scripts or fonts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from padinv.runtime.reports.html import render

_WIDTH, _LABELS, _RIGHT, _ROW, _HEAD, _FOOT = 900, 330, 860, 24, 44, 36
_MAX_TICKS = 6


@dataclass(frozen=True)
class Bar:
    """A value of one row.

    Attributes:
        label: of the row.
        value, low, high: the mean and its interval.
        dots: further values, such as those of each seed.
    """

    label: str
    value: float
    low: float
    high: float
    dots: tuple[float, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether it can be drawn."""
        return all(map(math.isfinite, (self.value, self.low, self.high, *self.dots)))


@dataclass(frozen=True)
class Panel:
    """One scale with the rows' values.

    Attributes:
        title: what the values are, with unit and direction.
        bars: the rows; values that are not finite are left out.
        log: a logarithmic scale, where all values are positive.
    """

    title: str
    bars: Sequence[Bar] = field(default_factory=list)
    log: bool = False


def bar_of(label: str, entry: dict[str, Any], dots: Sequence[float] = ()) -> Bar:
    """A bar of an interval, as `Interval.to_dict` gives it; null becomes nan."""
    value, low, high = (math.nan if entry[name] is None else float(entry[name]) for name in ("value", "low", "high"))
    return Bar(label, value, low, high, tuple(dots))


def dot_plot(title: str, panels: Sequence[Panel]) -> str:
    """An SVG document with the panels below each other."""
    drawn, top = [], 8
    for panel in panels:
        bars = [bar for bar in panel.bars if bar.finite]
        if not bars:
            continue
        drawn.append(_drawn(panel, bars, top))
        top = drawn[-1]["bottom"] + _FOOT
    return render("dot_plot.svg", title=title, panels=drawn, width=_WIDTH, height=top + 8, label_right=_LABELS - 14)


def _drawn(panel: Panel, bars: Sequence[Bar], top: int) -> dict[str, Any]:
    values = [value for bar in bars for value in (bar.value, bar.low, bar.high, *bar.dots)]
    log = panel.log and min(values) > 0
    ticks = log_ticks(min(values), max(values)) if log else linear_ticks(min(values), max(values))
    scale = math.log10 if log else float
    first, last = scale(ticks[0]), scale(ticks[-1])

    def x(value: float) -> float:
        return round(_LABELS + (scale(value) - first) / (last - first) * (_RIGHT - _LABELS), 1)

    marks = []
    for k, bar in enumerate(bars):
        marks.append(
            {
                "y": top + _HEAD + k * _ROW,
                "label": bar.label,
                "x": x(bar.value),
                "low": x(bar.low),
                "high": x(bar.high),
                "dots": [x(dot) for dot in bar.dots],
                "text": f"{bar.label}: {bar.value:.4g} [{bar.low:.4g}, {bar.high:.4g}]",
            }
        )
    return {
        "title": panel.title,
        "top": top,
        "bottom": top + _HEAD + len(bars) * _ROW - _ROW // 2,
        "ticks": [{"x": x(tick), "label": f"{tick:.10g}"} for tick in ticks],
        "marks": marks,
    }


def linear_ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, the first not above `low` and the last not below `high`."""
    span = high - low or abs(high) or 1.0
    raw = span / (_MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [step * k for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, the first not above `low` and the last not below `high`."""
    exponent = math.floor(math.log10(low))
    ticks = [factor * 10.0**power for power in range(exponent, exponent + 30) for factor in (1, 2, 5)]
    first = max(k for k, tick in enumerate(ticks) if tick <= low * (1 + 1e-9))
    last = max(first + 1, min(k for k, tick in enumerate(ticks) if tick >= high * (1 - 1e-9)))
    chosen = ticks[first : last + 1]
    return (
        chosen if len(chosen) <= 2 * _MAX_TICKS else [chosen[0], *(t for t in chosen[1:-1] if _is_power(t)), chosen[-1]]
    )


def _is_power(value: float) -> bool:
    return abs(math.log10(value) - round(math.log10(value))) < 1e-9
