"""`padinv verify`: what it finds, that it can fail, and that a failing check does not end the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from json_document import json_document
from onnx import numpy_helper

from padinv.export.verify import Options, training_checks, verify
from padinv.export.verify.checks import CheckError, Checks, NotHereError, expect
from padinv.export.verify.report import markdown
from padinv.runtime.benchmark.machine import Machine, this_machine
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.errors import InputError, UsageError


def statuses(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("verify-*.json")
    return {f"{check['group']}: {check['name']}": check["status"] for check in json.loads(path.read_text())["checks"]}


def test_a_sound_bundle_passes_on_the_command_line(exported: Path, run_cli: Callable[..., Any], tmp_path: Path) -> None:
    result = run_cli(
        "verify",
        "--model",
        exported,
        "--backend",
        "cpu",
        "--no-training",
        "--seconds",
        "0.05",
        "--out",
        tmp_path,
        "--json",
    )
    assert result.code == 0, result.out
    assert json_document(result)["counts"]["failed"] == 0
    found = statuses(tmp_path)
    for precision in ("fp32", "fp16"):
        assert found[f"backends: cpu, {precision}: agrees with the reference"] == "passed"
        assert found[f"backends: cpu, {precision}: speed"] == "passed"
    assert found["backends: cpu: number of threads"] == "passed"
    assert not any(name.startswith("backends: openvino") for name in found)
    (report,) = tmp_path.glob("verify-*.md")
    assert "## Images per second" in report.read_text()


def test_backends_that_are_not_installed_are_listed_with_the_reason(exported: Path, tmp_path: Path) -> None:
    found = verify(Options(exported, ("directml",), training=False), tmp_path)
    (check,) = [check for check in found.checks if check.name.startswith("directml")]
    assert check.status == "skipped"
    assert "pip install onnxruntime-directml" in check.detail


def test_wrong_weights_fail(exported_copy: Path, run_cli: Callable[..., Any], tmp_path: Path) -> None:
    """The float16 graph of another generator: its manifest is right, its numbers are not."""
    path = exported_copy / "generator.fp16.onnx"
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4 and array.dtype == np.float16:
            tensor.CopyFrom(numpy_helper.from_array((array * np.float16(1.5)).astype(np.float16), tensor.name))
    onnx.save(model, str(path))
    manifest = {k: v for k, v in read_bundle(exported_copy).manifest.items() if k not in ("files", "format")}
    write_manifest(exported_copy, manifest)
    result = run_cli(
        "verify", "--model", exported_copy, "--backend", "cpu", "--no-training", "--seconds", "0.05", "--out", tmp_path
    )
    assert result.code == 1
    found = statuses(tmp_path)
    assert found["backends: cpu, fp32: agrees with the reference"] == "passed"
    assert found["backends: cpu, fp16: agrees with the reference"] == "failed"
    assert found["backends: cpu: device"] == "passed"  # what came after it ran
    assert "FAILED backends: cpu, fp16: agrees with the reference: " in result.out


def test_auto_is_not_a_backend_to_verify(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    result = run_cli("verify", "--backend", "auto", "--out", tmp_path)
    assert result.code == 2
    assert "leave --backend out" in result.err


def test_whatever_a_check_raises_is_recorded() -> None:
    checks = Checks()

    def raises(error: Exception) -> Callable[[], Any]:
        def check() -> Any:
            raise error

        return check

    assert not checks.run("torch", "a", raises(RuntimeError("two\nlines")))
    assert not checks.run("torch", "b", raises(NotHereError("no GPU")))
    assert not checks.run("torch", "c", raises(CheckError("too far", {"largest": 3})))
    assert checks.run("torch", "d", lambda: ("fine", {"x": 1}))
    assert [check.status for check in checks.done] == ["failed", "skipped", "failed", "passed"]
    assert checks.done[0].detail == "RuntimeError: two lines"
    assert checks.done[2].figures == {"largest": 3}
    assert checks.count("failed") == 2


def test_expect_notices_what_is_not_refused() -> None:
    with expect(UsageError, "it"):
        raise UsageError("a sentence")
    with pytest.raises(CheckError, match="it was not refused"), expect(UsageError, "it"):
        pass
    with pytest.raises(CheckError, match="ended in InputError instead of UsageError"), expect(UsageError, "it"):
        raise InputError("other")
    with pytest.raises(CheckError, match="not in one sentence"), expect(UsageError, "it"):
        raise UsageError("two\nlines")


def test_training_in_every_precision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training_checks, "STEPS", 20)
    monkeypatch.setattr(training_checks, "PRECISIONS", {"no": "float32", "fp16": "fp16"})
    monkeypatch.setattr(training_checks, "FEW_STEPS", 2)
    church = {name: training_checks.CHURCH_PRECISIONS[name] for name in ("bf16", "TF32")}
    monkeypatch.setattr(training_checks, "CHURCH_PRECISIONS", church)
    monkeypatch.setattr(training_checks.torch.cuda, "device_count", lambda: 0)
    checks = Checks()
    training_checks.check_training(checks, tmp_path)
    found = [(check.name, check.status) for check in checks.done]
    assert found == [
        ("preparation", "passed"),
        ("20 steps on cpu in float32", "passed"),
        ("20 steps on cpu in fp16", "skipped"),
        ("preparation of the preset church", "passed"),
        ("2 steps of the preset church in bf16", "passed"),
        ("2 steps of the preset church in TF32", "skipped"),
    ], checks.done
    assert checks.done[1].figures["losses"][-1] < checks.done[1].figures["losses"][0]
    assert all(checks.done[k].figures["images_per_second"] > 0 for k in (1, 4))


def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    setting = training_checks.Setting(tmp_path / "missing.safetensors", tmp_path, [], 1)
    with pytest.raises(CheckError, match=r"padinv train ended with code 1: .*missing\.safetensors"):
        training_checks._train(setting, [], tmp_path / "run", 1, thorough=True)


def test_a_report_cannot_be_broken_by_what_it_quotes() -> None:
    checks = Checks()
    checks.run("backends", "a | b", lambda: ("<script>\x1b[2J|", {}))
    text = markdown(this_machine(), {"name": "x"}, checks.done, 1.0)
    assert "| a \\| b | passed | &lt;script>?[2J\\| |" in text


def test_the_machine_has_a_name_for_files() -> None:
    machine = Machine("AMD EPYC(R) 9755", 2, 8.0, (), "Linux", "3.12", "0.1", {}, 0.5)
    assert machine.slug == "amd-epyc-r-9755-2-cores"
    gpu = {"name": "NVIDIA H100 80GB HBM3", "driver": "580", "memory_mib": 81559}
    assert Machine("x", 2, 8.0, (gpu, gpu), "Linux", "3.12", "0.1").slug == "2x-nvidia-h100-80gb-hbm3"
