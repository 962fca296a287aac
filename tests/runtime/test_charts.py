"""Charts are numbers inside their drawing, and say in words what they show."""

from __future__ import annotations

import numpy as np
import pytest

from padinv.runtime.reports import charts
from padinv.runtime.reports.charts import HEIGHT, WIDTH, curve_chart, histogram
from padinv.runtime.reports.html import render


def points(text: str) -> np.ndarray:
    return np.array([[float(value) for value in pair.split(",")] for pair in text.split()])


def test_a_curve_goes_from_its_first_value_to_its_last() -> None:
    chart = curve_chart("MSE", {"mse": [(0.0, 4.0), (500.0, 3.0), (1000.0, 2.0)]})
    assert chart is not None
    (curve,) = chart.curves
    drawn = points(curve.points)
    assert (np.diff(drawn[:, 0]) > 0).all()
    assert (np.diff(drawn[:, 1]) > 0).all()  # SVG counts downwards, so smaller values are lower
    np.testing.assert_allclose(drawn[1], drawn.mean(axis=0), atol=0.06)
    assert drawn.min() >= 0
    assert drawn[:, 0].max() <= WIDTH
    assert drawn[:, 1].max() <= HEIGHT
    assert chart.summary == "MSE: mse from 4 to 2"
    assert [tick.label for tick in chart.x_ticks] == ["0", "500", "1k"]


def test_values_over_decades_are_drawn_on_a_logarithmic_axis() -> None:
    chart = curve_chart("MSE", {"mse": [(0.0, 1.0), (1.0, 0.1), (2.0, 0.01)]})
    assert chart is not None
    steps = np.diff(points(chart.curves[0].points)[:, 1])
    np.testing.assert_allclose(steps[0], steps[1], atol=0.11)
    assert [tick.label for tick in chart.y_ticks] == ["0.01", "0.1", "1"]


def test_long_curves_keep_their_means_and_drop_what_is_not_finite() -> None:
    many = [(float(x), 5.0 + x % 2) for x in range(10_000)]
    chart = curve_chart("a", {"a": [*many, (10_000.0, float("nan"))], "empty": []})
    assert chart is not None
    assert [curve.label for curve in chart.curves] == ["a"]
    assert len(points(chart.curves[0].points)) == charts.MAX_POINTS
    assert curve_chart("a", {"a": [(0.0, float("inf"))]}) is None
    single = curve_chart("a", {"a": [(3.0, 7.0)]})
    assert single is not None
    assert [tick.label for tick in single.y_ticks] == ["7"]


def test_the_bars_of_a_histogram_hold_every_finite_value() -> None:
    values = np.concatenate([np.random.RandomState(0).normal(10, 2, 999), [np.nan]])
    chart = histogram("PSNR", values, (9.9, 10.1))
    assert chart is not None
    heights = np.array([bar.height for bar in chart.bars])
    expected, _ = np.histogram(values[:-1], charts.BINS)
    np.testing.assert_allclose(heights / heights.max(), expected / expected.max(), atol=1e-9)
    assert chart.low < chart.mean < chart.high
    assert "999 values" in chart.summary
    assert "95 % interval 9.9 to 10.1" in chart.summary
    assert histogram("PSNR", np.array([np.nan])) is None


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_equal_values_are_one_bar(value: float) -> None:
    chart = histogram("MSE", np.full(5, value), (value, value))
    assert chart is not None
    assert sum(bar.height > 0 for bar in chart.bars) == 1


def test_titles_are_escaped() -> None:
    chart = curve_chart('<b>&"', {"a": [(0.0, 1.0), (1.0, 2.0)]})
    page = render(
        "training.html",
        title="t",
        style="",
        heading="<i>h",
        lines=["<u>"],
        figures=[],
        sections=[("<s>", [chart])],
        grids=[],
        settings=[("<k>", "<v>")],
        footer="",
    )
    assert '<b>&"' not in page
    assert "&lt;b&gt;&amp;&#34;" in page
    assert "<svg viewBox" in page
    assert not any(tag in page for tag in ("<i>h", "<s>", "<k>", "<v>"))
