"""Rows of Table 1 beyond encoders of one pass, edges, the user's pairs, plots and pages, on a tiny generator."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import picture_bytes, write_generator, write_pictures

from padinv.checkpoints import generator_hash, load_generator, save_encoder
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.reproduce.edges import distance_to_border, region_metrics
from padinv.reproduce.kid import FeatureTap, KeptFeatures, kid_of
from padinv.reproduce.make import make_table
from padinv.reproduce.options import TableOptions
from padinv.reproduce.pairs import read_pairs
from padinv.reproduce.plot import Bar, Panel, dot_plot, linear_ticks, log_ticks
from padinv.reproduce.result import Result
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.spec import ModelSpec
from padinv.training.encoder.config import TrainConfig

pytestmark = pytest.mark.usefixtures("small_networks")

TINY = TrainConfig(arch="fast", images=8, batch=4, lr=1e-3, per=0.0)


@pytest.fixture
def options(tmp_path: Path) -> TableOptions:
    return TableOptions(
        generator=write_generator(tmp_path / "g.safetensors"),
        data=write_pictures(tmp_path / "data.zip", 8),
        val=write_pictures(tmp_path / "val.zip", 3),
        out=tmp_path / "tables",
        config=TINY,
        steps=2,
        refine_steps=2,
        tune_steps=2,
        passes=2,
        device="cpu",
        resamples=200,
    )


@pytest.fixture
def encoder(options: TableOptions, tmp_path: Path) -> Path:
    """A finished encoder file for the table's generator."""
    generator = load_generator(options.generator)
    torch.manual_seed(4)
    path = tmp_path / "finished.safetensors"
    save_encoder(path, Encoder.from_generator(generator, EncoderConfig("fast")), generator_hash(generator), {})
    return path


def rows_of(table: Result) -> dict[str, dict[str, Any]]:
    return {row.get("label", row.get("attribute")): row for row in table.to_dict()["rows"]}


def test_table_1_without_a_budget_measures_a_finished_encoder_and_optimises_from_it(
    options: TableOptions, encoder: Path
) -> None:
    chosen = ("ours", "refined", "pti", "pti-ours")
    options = replace(options, init=encoder, train=False, rows=chosen, encoders={"again": encoder}, optimise_limit=2)
    table = make_table("table1", options)
    rows = rows_of(table)
    assert list(rows) == [
        "again",
        "ours",
        "ours, refined in 2 steps",
        "pivotal tuning, 2 steps",
        "ours, pivotal tuning, 2 steps",
    ]
    assert not (options.out / "runs").exists()
    assert rows["again"]["metrics"]["mse"] == rows["ours"]["metrics"]["mse"]
    assert [row["pictures"] for row in rows.values()] == [3, 3, 2, 2, 2]
    head, lines = table.cells()
    assert head[1] == "images"
    assert [line[1] for line in lines] == ["3", "3", "2", "2", "2"]
    assert table.conditions["budget"] == 0
    with pytest.raises(UsageError, match="trains nothing"):
        make_table("table1", replace(options, rows=("wplus",)))


def test_equal_time_stops_others_when_the_refinement_would_be_done(options: TableOptions, encoder: Path) -> None:
    options = replace(options, init=encoder, train=False, rows=("refined",), equal_time=True, steps=10**6, limit=1)
    rows = make_table("table1", replace(options, tune_steps=10**6)).to_dict()["rows"]
    assert len(rows) == 3
    seconds = [row["seconds_per_image"] for row in rows]
    assert all(re.search(rf", {seconds[0]:.3g} s$", row["label"]) for row in rows[1:])
    assert all(seconds[0] <= value for value in seconds[1:])
    with pytest.raises(UsageError, match="'refined'"):
        make_table("table1", replace(options, rows=("ours",)))


def test_rows_in_passes_are_trained_with_and_without_padding(options: TableOptions) -> None:
    table = make_table("table1", replace(options, rows=("ours-passes", "wplus-passes"), limit=2))
    assert list(rows_of(table)) == ["ours, 2 passes", "W+ only, 2 passes"]
    configs = [json.loads(path.read_text()) for path in sorted(options.out.glob("runs/*/config.json"))]
    assert [path.name for path in sorted((options.out / "runs").iterdir())] == [
        "default-reg0.003-seed0-8-2passes",
        "none-reg0.003-seed0-8-2passes",
    ]
    assert all('"passes": 2' in json.dumps(config) for config in configs)


def test_an_encoder_of_another_generator_and_an_unknown_row_are_refused(
    options: TableOptions, encoder: Path, tmp_path: Path
) -> None:
    generator = load_generator(options.generator)
    with torch.no_grad():
        generator.const.add_(1)
    other = tmp_path / "other.safetensors"
    save_encoder(other, Encoder.from_generator(generator, EncoderConfig("fast")), generator_hash(generator), {})
    with pytest.raises(MismatchError, match="trained for the generator"):
        make_table("table1", replace(options, encoders={"other": other}))
    with pytest.raises(UsageError, match="rows of table1"):
        make_table("table1", replace(options, rows=("best",)))


def test_edges_measure_border_and_centre_of_each_remedy_from_a_given_encoder(
    options: TableOptions, encoder: Path
) -> None:
    table = make_table("edges", replace(options, init=encoder, config=replace(TINY, images=12)))
    rows = rows_of(table)
    assert list(rows) == [
        "the given encoder",
        "no remedy",
        "noise on the rings, 0.1",
        "adversarial term on border patches, 0.03",
        "smooth rings, 0.1",
    ]
    for row in rows.values():
        border, centre = (row["metrics"][name]["value"] for name in ("mse_border", "mse_centre"))
        assert row["border_to_centre"]["value"] == pytest.approx(border / centre, rel=1e-9)
    assert len({row["metrics"]["mse_border"]["value"] for row in rows.values()}) == 5
    untrained = make_table("edges", replace(options, init=encoder, train=False))
    assert list(rows_of(untrained)) == ["the given encoder"]


def test_border_and_centre_are_the_outer_pixels_and_the_middle_half() -> None:
    x, y = np.zeros((2, 3, 64, 64), np.float32), np.zeros((2, 3, 64, 64), np.float32)
    y[0, :, :2] = 1  # two rows of the border, whose width is 64 / 32
    y[1, :, 16:48, 16:48] = 0.5
    border, centre = (metric.score(x, y) for metric in region_metrics(64))
    area = 64 * 64 - 60 * 60
    np.testing.assert_allclose(border, [2 * 64 / area, 0])
    np.testing.assert_allclose(centre, [0, 0.25])
    assert distance_to_border(5).tolist()[2] == [0, 1, 2, 1, 0]


def write_pair(folder: Path, name: str, *, mask: bool) -> None:
    """A picture before and after a square was painted onto its lower left."""
    folder.mkdir(parents=True, exist_ok=True)
    before = Image.open(BytesIO(picture_bytes(int(name)))).convert("RGB")
    after = before.copy()
    after.paste((255, 0, 0), (4, 18, 14, 28))
    before.save(folder / f"{name}.before.png")
    after.save(folder / f"{name}.after.png")
    if mask:
        square = Image.new("L", (32, 32))
        square.paste(255, (0, 16, 16, 32))
        square.save(folder / f"{name}.mask.png")


def test_the_users_own_pairs_are_measured_on_any_generator_and_resume(
    options: TableOptions, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        write_pair(tmp_path / "pairs" / "patch", name, mask=name == "1")
    pairs = read_pairs(tmp_path / "pairs", 32)
    region = pairs["patch"][0].region
    assert region is not None
    assert (region[20:, :12].mean(), region[:10].mean()) == (1, 0)
    options = replace(options, init=encoder, train=False, pairs=tmp_path / "pairs", targets=2)
    from padinv.reproduce import table3

    measure, seen = table3.measure_edit, list[str]()

    def stopping(model: Any, pair: Any, others: Any) -> dict[str, float]:
        if seen:
            raise KeyboardInterrupt
        seen.append(pair.name)
        return measure(model, pair, others)

    with monkeypatch.context() as patch:
        patch.setattr(table3, "measure_edit", stopping)
        with pytest.raises(KeyboardInterrupt):
            make_table("table3", options)
    done = list[str]()
    monkeypatch.setattr(table3, "measure_edit", lambda m, p, o: (done.append(p.name), measure(m, p, o))[1])
    table = make_table("table3", options)
    assert (seen, done) == (["1"], ["2"])
    (row,) = table.to_dict()["rows"]
    assert (row["attribute"], row["kind"], len(row["pairs"])) == ("patch", "", 2)
    assert "| patch | 2 |" in table.markdown()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no pairs"),
        (["hat/1.before.png"], r"no 1\.after"),
        (["hat/1.before.png", "hat/1.before.jpg", "hat/1.after.png"], "keep one"),
    ],
)
def test_folders_of_pairs_that_cannot_be_used_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    (tmp_path / "pairs").mkdir()
    for name in files:
        (tmp_path / "pairs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "pairs" / name).write_bytes(picture_bytes(1))
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / "pairs", 32)


class Echo:
    """A subject that gives the photographs back, darker."""

    name, backend = "echo", "none"
    spec = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)

    def __init__(self) -> None:
        self.identity: dict[str, Any] = {"k": 1}

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        return 0.5 * x, 2.0


def test_features_are_kept_per_photograph_and_do_not_count_as_time(tmp_path: Path) -> None:
    def features(images: np.ndarray) -> np.ndarray:
        return images.mean(axis=(2, 3))

    tap = FeatureTap(Echo(), tmp_path, features)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    assert tap.kept.of(x) is None
    assert tap.reconstruct(x)[1] == 2.0
    again = KeptFeatures(next(tmp_path.iterdir()), features)
    np.testing.assert_allclose(again.of(x[[2, 0]]), 0.5 * x[[2, 0]].mean(axis=(2, 3)), rtol=1e-5)


def test_kid_is_near_zero_for_one_distribution_and_grows_with_the_distance() -> None:
    rng = np.random.default_rng(0)
    real, same, far = rng.normal(size=(200, 6)), rng.normal(size=(200, 6)), rng.normal(0.5, 1, (200, 6))
    near = kid_of(same, real)
    assert near["low"] < 0 < near["high"]
    assert kid_of(far, real)["low"] > near["high"]


def test_a_plot_places_values_on_its_scale_and_escapes_labels() -> None:
    bars = [Bar("<b>&", 2.0, 1.0, 3.0, (1.5,)), Bar("two", 4.0, 4.0, 4.0), Bar("gone", float("nan"), 0, 1)]
    text = dot_plot("a < b", [Panel("first", bars), Panel("none", [bars[2]])])
    root = ET.fromstring(text)  # well-formed only where labels are escaped
    space = "{http://www.w3.org/2000/svg}"
    labels = [node.text for node in root.iter(f"{space}text")]
    assert "<b>&" in labels
    assert "gone" not in labels
    dots = [float(node.get("cx", 0)) for node in root.iter(f"{space}circle")]
    small, first, second = dots
    ticks = {node.text: float(node.get("x", 0)) for node in root.iter(f"{space}text") if node.get("font-size") == "12"}
    assert first == pytest.approx(ticks["2"], abs=0.2)
    assert second == pytest.approx(ticks["4"], abs=0.2)
    assert small == pytest.approx((ticks["1"] + ticks["2"]) / 2, abs=0.2)


@pytest.mark.parametrize(("low", "high"), [(0.013, 0.024), (0, 0), (-3, 7), (0.9, 1.1), (1e-6, 1e-6)])
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    ticks = linear_ticks(low, high)
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert 2 <= len(ticks) <= 9
    if low > 0:
        ticks = log_ticks(low, high)
        assert ticks[0] <= low * (1 + 1e-9)
        assert ticks[-1] >= high * (1 - 1e-9)
        assert len(ticks) >= 2


def test_the_page_is_self_contained_and_escapes_what_strangers_name(options: TableOptions, encoder: Path) -> None:
    name = "<script>alert(1)</script>"
    table = make_table("table1", replace(options, rows=("ours",), init=encoder, train=False, encoders={name: encoder}))
    files = {path.suffix: path for path in table.write(options.out)}
    assert set(files) == {".md", ".json", ".svg", ".html"}
    page = files[".html"].read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=", page)
    assert page.count("<svg") == 1
    ET.fromstring(files[".svg"].read_text())


@pytest.mark.parametrize(
    ("table", "more", "words"),
    [
        ("table2", ["--init", "g.safetensors"], "--init belongs to table1 and table3 and edges"),
        ("table3", ["--encoders", "a=b"], "belongs to table1"),
        ("table1", ["--encoders", "file"], "NAME=PATH"),
        ("table3", ["--pairs", "0"], "from 1"),
        ("table1", ["--set", "speed=1"], "setting of padinv train"),
        ("table1", ["--set", "warmup=soon"], "not a value"),
    ],
)
def test_wrong_options_are_one_sentence_and_exit_code_2(
    options: TableOptions, run_cli: Callable[..., Any], table: str, more: list[str], words: str
) -> None:
    result = run_cli(
        "reproduce", table, "--generator", options.generator, "--data", options.data, "--val", options.val,
        "--budget", 8, "--out", options.out, *more,
    )  # fmt: skip
    assert result.code == 2
    assert words in result.err
    assert not options.out.exists()


def test_a_measurement_that_takes_long_shows_its_progress_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from padinv.cli import progress
    from padinv.cli.training_output import TrainingProgress

    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    lines = TrainingProgress()
    lines.start(0, 40)
    lines.advance(10, {"pix": 0.5, "lr": 1e-3})
    lines.start(0, 20, "measuring")
    lines.advance(5, {})
    first, second = capsys.readouterr().err.splitlines()
    assert "pix 0.5000" in first
    assert "lr 1.00e-03" in first
    assert second.startswith("padinv: measuring: 5 of 20 images, ")
    assert "pix" not in second
