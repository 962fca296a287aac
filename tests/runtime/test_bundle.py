from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from padinv.runtime.backends import open_session
from padinv.runtime.bundle import builtin_bundle, read_bundle, write_manifest
from padinv.runtime.errors import BackendError, BundleError, UsageError
from padinv.runtime.model import Model


def edit(bundle: Path, **changes: object) -> None:
    manifest = json.loads((bundle / "model.json").read_text())
    manifest.update(changes)
    (bundle / "model.json").write_text(json.dumps(manifest))


def test_a_written_bundle_reads_back(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    assert bundle.name == "tiny"
    assert set(bundle.files) == {"encoder.onnx", "generator.onnx", "mapping.onnx", "constants.safetensors"}
    assert bundle.constants()["w_avg"].shape == (bundle.spec.w_dim,)
    assert bundle.constants()["const"].shape == bundle.spec.const_shape
    assert read_bundle(tiny_bundle / "model.json").fingerprint == bundle.fingerprint


def use_everything(model: Model) -> None:
    model.generate(model.sample(0))  # mapping, constants, generator
    model.invert(np.zeros((1, 16, 16, 3), np.uint8))


@pytest.mark.parametrize("name", ["encoder.onnx", "generator.onnx", "mapping.onnx", "constants.safetensors"])
def test_one_flipped_byte_is_found(tiny_bundle, name):
    data = bytearray((tiny_bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tiny_bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} has changed since the bundle was written"):
        use_everything(Model.load(tiny_bundle))


def test_only_used_files_are_checked(tiny_bundle):
    (tiny_bundle / "generator.onnx").write_bytes(b"x")
    assert len(Model.load(tiny_bundle).invert(np.zeros((1, 16, 16, 3), np.uint8))) == 1


def test_a_missing_file_is_named(tiny_bundle):
    (tiny_bundle / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"is incomplete: encoder\.onnx is missing"):
        Model.load(tiny_bundle).session("encoder")
    with pytest.raises(BundleError, match=r"holds no encoder\.fp16\.onnx; export it with: padinv export --fp16"):
        Model.load(tiny_bundle, precision="fp16").session("encoder")


@pytest.mark.parametrize(
    "name", ["../escape.onnx", "/etc/passwd", "a/../../b", "a//b", "a\\..\\b", "C:evil", "", "..", "nul\0byte"]
)
def test_names_that_lead_out_of_the_folder_are_refused(tiny_bundle, name):
    edit(tiny_bundle, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(BundleError, match="not a file inside the bundle"):
        read_bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "format 2, and this padinv reads format 1; update padinv"),
        ({"format": "1"}, "names no format"),
        ({"spec": {"resolution": 16}}, "describes no usable model"),
        ({"spec": None}, "describes no usable model"),
        ({"name": None}, "'name' is missing or malformed"),
        ({"name": "x" * 1000}, "exceeds the size limit"),
        ({"generator_hash": 3}, "'generator_hash' is missing or malformed"),
        ({"files": []}, "'files' is missing or malformed"),
        ({"files": {"a": {"sha256": "zz", "bytes": 1}}}, "the entry of 'a' has no SHA-256"),
        ({"files": {"a": {"sha256": "0" * 64, "bytes": "1"}}}, "the entry of 'a' has no SHA-256"),
        ({"files": {str(i): {} for i in range(1000)}}, "exceeds the size limit"),
    ],
)
def test_manifests_that_make_no_sense(tiny_bundle, changes, sentence):
    edit(tiny_bundle, **changes)
    with pytest.raises(BundleError, match=sentence):
        read_bundle(tiny_bundle)


@pytest.mark.parametrize("data", [b"", b"hello", b"[]", b"[" * 100_000, b"\xff\xfe\x00", bytes(range(256)) * 10])
def test_manifests_that_are_noise(tiny_bundle, data):
    (tiny_bundle / "model.json").write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.json"):
        read_bundle(tiny_bundle)


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="does not exist, so no model was loaded"):
        read_bundle(tmp_path / "missing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="is a file, not a folder"):
        read_bundle(tmp_path / "file")
    with pytest.raises(BundleError, match=r"is not a model bundle: it holds no model\.json"):
        read_bundle(tmp_path)


def test_noise_with_a_right_hash_is_still_no_graph(tiny_bundle):
    (tiny_bundle / "encoder.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
    manifest = json.loads((tiny_bundle / "model.json").read_text())
    write_manifest(tiny_bundle, {k: v for k, v in manifest.items() if k not in ("files", "format")})
    with pytest.raises(BundleError, match=r"encoder\.onnx is not a valid ONNX graph"):
        Model.load(tiny_bundle).session("encoder")


def test_a_graph_of_another_interface_is_refused(tiny_bundle):
    (tiny_bundle / "encoder.onnx").write_bytes((tiny_bundle / "mapping.onnx").read_bytes())
    manifest = json.loads((tiny_bundle / "model.json").read_text())
    write_manifest(tiny_bundle, {k: v for k, v in manifest.items() if k not in ("files", "format")})
    with pytest.raises(BundleError, match="has the inputs z, not image; export it again"):
        Model.load(tiny_bundle).session("encoder")


def test_a_manifest_is_not_written_over_nonsense(tmp_path):
    with pytest.raises(BundleError):
        write_manifest(tmp_path, {"name": "x"})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_built_in_model_is_a_sentence(monkeypatch):
    monkeypatch.setattr("padinv.runtime.model_names.BUILTIN_NAME", "no-such-model")
    with pytest.raises(BundleError, match="holds no built-in model"):
        builtin_bundle()


class FakeRuntime:
    """Stands in for onnxruntime-gpu on a machine whose driver may not come up."""

    def __init__(self, real, available: list[str], comes_up: list[str]) -> None:
        self.SessionOptions = real.SessionOptions
        self._real, self._available, self._comes_up = real, available, comes_up

    def get_available_providers(self) -> list[str]:
        return self._available

    def InferenceSession(self, model, options, providers, enable_fallback):
        session = self._real.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        comes_up = self._comes_up

        class Seen:
            def __getattr__(self, name):
                return getattr(session, name)

            def get_providers(self):
                names = [p if isinstance(p, str) else p[0] for p in providers]
                return [name for name in names if name in comes_up]

        return Seen()


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("available", "comes_up", "backend", "expected"),
    [
        ([CPU], [CPU], "auto", "cpu"),
        ([CPU], [CPU], "cpu", "cpu"),
        ([CPU], [CPU], "cuda", "the installed onnxruntime was built without CUDA"),
        ([CUDA, CPU], [CUDA, CPU], "auto", "cuda"),
        ([CUDA, CPU], [CUDA, CPU], "cuda", "cuda"),
        ([CUDA, CPU], [CUDA, CPU], "cpu", "cpu"),
        ([CUDA, CPU], [CPU], "cuda", "cuda did not initialize"),
        ([CUDA, CPU], [CPU], "auto", "cpu, with a note"),
    ],
)
def test_no_backend_falls_back_in_silence(tiny_bundle, monkeypatch, available, comes_up, backend, expected):
    import onnxruntime

    fake = FakeRuntime(onnxruntime, available, comes_up)
    monkeypatch.setattr("padinv.runtime.backends.onnxruntime_session.import_onnxruntime", lambda: fake)
    if len(expected) > 20:
        with pytest.raises(BackendError, match=expected):
            open_session(read_bundle(tiny_bundle), "encoder", backend)
        return
    session = open_session(read_bundle(tiny_bundle), "encoder", backend)
    assert session.backend == expected.split(",")[0]
    assert bool(session.notes) == expected.endswith("note")


def test_a_missing_onnxruntime_names_the_pip_line(tiny_bundle, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'padinv\[cpu\]' \(or 'padinv\[gpu\]' for CUDA; never both\)"):
        open_session(read_bundle(tiny_bundle), "encoder", "cpu")


def test_wrong_use_of_sessions(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    for arguments in (("decoder",), ("encoder", "gpu"), ("encoder", "cpu", 0), ("encoder", "cpu", 1, "int8")):
        with pytest.raises(UsageError):
            open_session(bundle, *arguments)
