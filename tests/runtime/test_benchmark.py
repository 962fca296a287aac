"""Timing in turns, rates, reports, and the flags that a benchmark saves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from padinv.runtime import Model
from padinv.runtime.backends.protocol import on_host
from padinv.runtime.backends.saved_defaults import SavedDefaults, config_file, read_saved, save_defaults
from padinv.runtime.benchmark.cold_start import ColdStart, cold_start
from padinv.runtime.benchmark.contestants import Contestant, open_contestants
from padinv.runtime.benchmark.flops import graph_gflop
from padinv.runtime.benchmark.machine import Machine, peak_memory_mib
from padinv.runtime.benchmark.matrix_rate import matrix_rates
from padinv.runtime.benchmark.measuring import measure
from padinv.runtime.benchmark.report import Report
from padinv.runtime.benchmark.timing import MIN_ROUNDS, alternate
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.errors import BackendError, UsageError

GFLOP = {"encoder": 0.5, "generator": 1.5}


class Sleeper:
    """A session that takes a known time per image and computes something simple."""

    notes: list[str] = []  # noqa: RUF012
    backend = "sleeper"

    def __init__(self, seconds: float, offset: float = 0.0, fails_at: int = 1 << 30) -> None:
        self.seconds, self.offset, self.fails_at = seconds, offset, fails_at
        self.inputs, self.outputs = ("image",), ("image",)

    def run(self, feeds: Any) -> dict[str, np.ndarray]:
        image = on_host(feeds)["image"]
        if len(image) >= self.fails_at:
            raise BackendError("out of memory")
        time.sleep(self.seconds * len(image))
        return {"image": image, "output": image + np.float32(self.offset)}


def contestant(backend: str, precision: str, seconds: float, **more: Any) -> Contestant:
    return Contestant(backend, precision, 1, None, Sleeper(seconds), Sleeper(seconds, **more))


def test_turns_alternate_and_report_the_median() -> None:
    order: list[str] = []
    found = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0)
    assert order == ["a", "b"] * (1 + MIN_ROUNDS)  # one of each before the clock starts
    assert found["a"].rounds == MIN_ROUNDS
    pauses = iter([0.0, 0.05, 0.001, 0.001])
    timing = alternate({"x": lambda: time.sleep(next(pauses))}, 0.0)["x"]
    assert 0.0005 < timing.median < 0.03 < timing.slowest


def test_speeds_ratios_and_shares_of_the_matrix_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]  # a clock that only sleeping moves, so that a busy machine changes nothing
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    x = np.zeros((2, 3, 4, 4), np.float32)
    slow, fast = contestant("torch", "fp32", 0.004), contestant("cpu", "fp32", 0.002)
    found = measure([fast, slow], x, [1, 4], GFLOP, {"cpu fp32": 1000.0}, 0.2)
    assert found.base == "torch fp32, 1 thread"
    assert len(found.rows) == 2 * 2 * 3
    row = next(r for r in found.rows if (r.backend, r.stage, r.batch) == ("cpu", "end to end", 4))
    assert row.images_per_second == pytest.approx(250)
    assert row.against_base == pytest.approx(2)
    assert row.gflop_per_second == pytest.approx(2.0 * row.images_per_second)
    assert row.of_matrix_rate == pytest.approx(row.gflop_per_second / 1000)
    best = found.fastest()
    assert best is not None
    assert best.backend == "cpu"  # torch is not a backend of padinv's


def test_differences_are_in_grey_levels() -> None:
    x = np.zeros((2, 3, 4, 4), np.float32)
    found = measure(
        [contestant("cpu", "fp32", 0), contestant("openvino", "bf16", 0, offset=0.01)], x, [1], GFLOP, {}, 0.0
    )
    assert found.differences["cpu fp32, 1 thread"] == (0, 0)
    assert found.differences["openvino bf16, 1 thread"] == pytest.approx((1.275, 1.275))
    assert found.rows[0].of_matrix_rate is None


def test_a_contestant_that_fails_is_left_out_and_named() -> None:
    x = np.zeros((2, 3, 4, 4), np.float32)
    found = measure(
        [contestant("cpu", "fp32", 0), contestant("cuda", "fp32", 0, fails_at=4)], x, [1, 4], GFLOP, {}, 0.0
    )
    assert {row.batch for row in found.rows if row.backend == "cuda" and row.stage == "generate"} == {1}
    assert {row.batch for row in found.rows if row.backend == "cpu"} == {1, 4}
    assert found.problems == ["cuda fp32, 1 thread was left out from batch 4 on: out of memory"]
    with pytest.raises(UsageError, match="none of the wanted backends can run this model here"):
        measure([], x, [1], GFLOP, {}, 0.0)


def test_images_that_are_not_finite_disqualify() -> None:
    x = np.zeros((2, 3, 4, 4), np.float32)
    broken = contestant("cuda", "fp16", 0, offset=float("inf"))
    found = measure([contestant("cpu", "fp32", 0), broken], x, [1], GFLOP, {}, 0.0)
    assert found.problems == ["cuda fp16, 1 thread was left out: its images are not finite"]


def report_of(load: float = 0.1) -> Report:
    x = np.zeros((2, 3, 4, 4), np.float32)
    entries = [contestant("torch", "fp32", 0.002), contestant("cpu", "fp32", 0.001), contestant("openvino", "bf16", 0)]
    measured = measure(entries, x, [1, 2], GFLOP, {"cpu fp32": 100.0}, 0.05)
    machine = Machine("AMD <EPYC>", 2, 8.0, (), "Linux x86_64", "3.12", "0.1", {"numpy": "2"}, load)
    cold = {"cpu fp32, 1 thread": ColdStart(0.25, 0.01, 150.0)}
    rates = {"cpu fp32": 100.0}
    return Report(machine, "m<>", "a" * 64, 64, dict(GFLOP), rates, measured, (load, 0.3), "2026-01-02", cold)


def test_files_carry_the_conditions_in_their_names(tmp_path: Path) -> None:
    files = report_of().write(tmp_path)
    assert [file.name for file in files] == [
        f"bench-m-amd-epyc-2-cores-1t-2026-01-02{suffix}" for suffix in (".json", ".md", ".svg", ".html")
    ]
    value = json.loads(files[0].read_text())
    assert value["quiet"] is True
    assert len(value["rows"]) == 18
    assert value["cold_start"]["cpu fp32, 1 thread"]["peak_mib"] == 150.0
    text = files[1].read_text()
    assert "| cpu fp32, 1 thread | 0.000 levels | 0.00 levels | 0.25 s | 0.01 s | 150 MiB |" in text
    page = files[3].read_text()
    assert "AMD &lt;EPYC&gt;" in page
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_the_plot_is_well_formed_and_its_bars_are_to_scale() -> None:
    from xml.etree import ElementTree

    report = report_of()
    root = ElementTree.fromstring(report.svg())
    bars = [float(r.get("width", "0")) for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("x")]
    assert len(bars) == 3
    assert bars == sorted(bars, reverse=True)
    assert bars[0] == 520


def test_a_busy_machine_is_marked_in_name_and_text() -> None:
    busy = report_of(load=1.5)
    assert busy.stem.endswith("-busy")
    assert "BUSY: compare only within this run" in busy.markdown()


def test_the_last_line_says_what_is_fastest_and_what_is_in_float32() -> None:
    line = report_of().markdown().splitlines()[-1]
    assert line.startswith("fastest here: --backend openvino --precision bf16 --batch")
    assert "; in float32: --backend cpu --precision fp32 --batch" in line


def test_contestants_are_what_is_installed(tiny_bundle: Path) -> None:
    found, problems = open_contestants(read_bundle(tiny_bundle), ["cpu", "directml"], ["fp32", "fp16"], [1, 2])
    assert [c.name for c in found] == ["cpu fp32, 1 thread", "cpu fp32, 2 threads"]
    assert len(problems) == 1
    assert "cpu fp16 was left out: the model bundle" in problems[0]


def test_operations_are_counted(tiny_bundle: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "t"], ["b"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "m"], ["wp"]),
    ]
    shapes = {"w": (5, 3, 3, 3), "t": (5, 7, 2, 2), "m": (7, 11)}
    constants = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 16, 16])
    output = helper.make_tensor_value_info("wp", TensorProto.FLOAT, ["N", 11])
    graph = helper.make_graph(nodes, "g", [image], [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tiny_bundle / "encoder.onnx"))
    manifest = {k: v for k, v in read_bundle(tiny_bundle).manifest.items() if k not in ("files", "format")}
    write_manifest(tiny_bundle, manifest)
    by_hand = 2 * (5 * 16 * 16) * 27 + 2 * (5 * 16 * 16) * 7 * 4 + 2 * 7 * 11
    assert graph_gflop(read_bundle(tiny_bundle), "encoder") == pytest.approx(by_hand / 1e9)


def test_cold_start_and_matrix_rate_run_in_processes_of_their_own(tiny_bundle: Path) -> None:
    found = cold_start(str(tiny_bundle), "cpu", "fp32", 1, None)
    assert 0.01 < found.open < 60
    assert 0 < found.first < 10
    assert found.peak_mib is None or 20 < found.peak_mib < 2000
    with pytest.raises(BackendError, match=r"the cold start of directml failed: .*not available"):
        cold_start(str(tiny_bundle), "directml", "fp32", 1, None)
    assert peak_memory_mib() is None or peak_memory_mib() > 20  # type: ignore[operator]
    assert matrix_rates(1)["cpu fp32"] > 1


SAVED = SavedDefaults("cpu", "fp32", 2, None, 8, 99.5, "2026-01-02")


@pytest.fixture
def saved(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    save_defaults(read_bundle(tiny_bundle), SAVED)
    return tiny_bundle


def test_saved_flags_are_used_where_no_backend_is_named(saved: Path) -> None:
    model = Model.load(saved, precision="auto")
    assert (model.backend, model.threads, model.precision) == ("cpu", 2, "fp32")
    assert model.notes == [
        "using the flags that padinv bench saved for this model: --backend cpu --precision fp32 --batch 8 --threads 2"
    ]


@pytest.mark.parametrize(
    "given",
    [{"backend": "cpu"}, {"threads": 1}, {"precision": "fp16"}, {"device": "cuda:1"}],
    ids=lambda g: next(iter(g)),
)
def test_saved_flags_are_ignored_where_one_is_given(saved: Path, given: dict[str, Any]) -> None:
    model = Model.load(saved, **given)
    assert model.notes == []
    assert model.threads == given.get("threads")


def test_saved_flags_of_another_model_or_a_damaged_file_are_ignored(saved: Path, tmp_path: Path) -> None:
    from tiny_bundle import write_tiny_bundle

    assert Model.load(write_tiny_bundle(tmp_path / "other", seed=1)).notes == []
    for text in ("{", "[]", '{"a": 1}', config_file().read_text().replace('"batch": 8', '"batch": "8"')):
        config_file().write_text(text)
        assert read_saved(read_bundle(saved)) is None
        assert Model.load(saved).notes == []


def test_a_saved_backend_that_is_gone_is_named_and_replaced(saved: Path) -> None:
    save_defaults(read_bundle(saved), SavedDefaults("directml", "fp32", None, "gpu:0", 8, 1.0, "2026-01-02"))
    model = Model.load(saved)
    assert model.backend == "auto"
    assert model.notes == ["directml, which padinv bench saved for this model, is not available any more"]
    assert model.session("encoder").backend == "cpu"


def test_two_models_keep_their_own_flags(saved: Path, tmp_path: Path) -> None:
    from tiny_bundle import write_tiny_bundle

    other = read_bundle(write_tiny_bundle(tmp_path / "other", seed=1))
    save_defaults(other, SavedDefaults("cpu", "fp16", 1, None, 4, 5.0, "2026-01-02"))
    first = read_saved(read_bundle(saved))
    second = read_saved(other)
    assert first == SAVED
    assert second is not None
    assert second.precision == "fp16"
