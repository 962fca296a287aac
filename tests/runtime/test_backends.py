"""Every backend that this machine has keeps the same contract; those it lacks say so in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from padinv.runtime import Model
from padinv.runtime.backends import BACKENDS, get_backend, installed_backends, open_session, run_held
from padinv.runtime.backends.cuda import device_number
from padinv.runtime.backends.cuda import options as cuda_options
from padinv.runtime.backends.onnxruntime_session import CPU, OnnxSession, Provider
from padinv.runtime.backends.protocol import HeldOnHost, Session
from padinv.runtime.backends.threads import ALWAYS_ALLOWED
from padinv.runtime.bundle import read_bundle
from padinv.runtime.errors import BackendError, BundleError, MismatchError, UsageError

HERE = [name for name, problem in installed_backends().items() if problem is None and name != "trt"]
MISSING = [name for name, problem in installed_backends().items() if problem is not None]


def feeds_of(bundle: Path, rows: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(rows)
    shapes = read_bundle(bundle).spec.latent_shapes
    return {name: noise.standard_normal((rows, *shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def generator(tiny_bundle: Path, backend: str) -> Session:
    return open_session(read_bundle(tiny_bundle), "generator", backend, 1)


def test_this_machine_has_the_processor_backend() -> None:
    assert "cpu" in HERE


def test_names_and_backend(generator: Session, tiny_bundle: Path, backend: str) -> None:
    assert set(generator.inputs) == set(read_bundle(tiny_bundle).spec.latent_shapes)
    assert generator.outputs == ("output",)
    assert generator.backend == backend
    assert generator.notes == []


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("graph", ["encoder", "generator", "mapping"])
def test_results_agree_with_onnxruntime_on_the_processor(
    tiny_bundle: Path, backend: str, graph: str, rows: int
) -> None:
    bundle = read_bundle(tiny_bundle)
    size = bundle.spec.image_size
    noise = np.random.default_rng(5)
    feeds = {
        "encoder": {"image": noise.uniform(-1, 1, (rows, 3, size, size)).astype(np.float32)},
        "generator": feeds_of(tiny_bundle, rows),
        "mapping": {"z": noise.standard_normal((rows, bundle.spec.z_dim)).astype(np.float32)},
    }[graph]
    expected = open_session(bundle, graph, "cpu", 1).run(feeds)
    found = open_session(bundle, graph, backend, 1).run(feeds)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        assert array.shape == expected[name].shape
        np.testing.assert_allclose(array, expected[name], atol=1e-5)


def test_threads_share_a_session(generator: Session, tiny_bundle: Path) -> None:
    inputs = [feeds_of(tiny_bundle, rows) for rows in (1, 2, 3, 4)]
    alone = [generator.run(feeds)["output"] for feeds in inputs]
    together: dict[int, list[np.ndarray]] = {k: [] for k in range(4)}

    def work(k: int) -> None:
        together[k] = [generator.run(inputs[k])["output"] for _ in range(5)]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k in range(4):
        assert len(together[k]) == 5
        assert all(np.array_equal(one, alone[k]) for one in together[k])


def test_inputs_are_left_as_they_were(generator: Session, tiny_bundle: Path) -> None:
    feeds = feeds_of(tiny_bundle, 2)
    before = {name: array.copy() for name, array in feeds.items()}
    generator.run(feeds)
    assert all(np.array_equal(feeds[name], before[name]) for name in feeds)


def test_results_survive_the_next_run(generator: Session, tiny_bundle: Path) -> None:
    first = generator.run(feeds_of(tiny_bundle, 1))["output"]
    kept = first.copy()
    generator.run({name: array + 1 for name, array in feeds_of(tiny_bundle, 1).items()})
    assert np.array_equal(first, kept)


def test_held_outputs_feed_the_next_session(tiny_bundle: Path, backend: str, generator: Session) -> None:
    bundle = read_bundle(tiny_bundle)
    encoder = open_session(bundle, "encoder", backend, 1)
    image = np.random.default_rng(1).uniform(-1, 1, (3, 3, 16, 16)).astype(np.float32)
    held = run_held(encoder, {"image": image})
    plain = encoder.run({"image": image})
    assert {name: len(value) for name, value in held.items()} == dict.fromkeys(plain, 3)
    assert all(np.array_equal(held[name].numpy(), plain[name]) for name in plain)
    assert np.array_equal(generator.run(held)["output"], generator.run(plain)["output"])


def test_reconstruct_is_encode_and_generate(tiny_bundle: Path, backend: str) -> None:
    model = Model.load(tiny_bundle, backend, 1)
    x = np.random.default_rng(2).uniform(-1, 1, (5, 3, 16, 16)).astype(np.float32)
    inversion, images = model.reconstruct(x, batch_size=2)
    assert np.array_equal(inversion.wp, model.encode(x, 2).wp)
    np.testing.assert_allclose(images, model.generate_float(inversion, 2), atol=1e-6)
    with pytest.raises(MismatchError, match=r"the encoder takes \[N, 3, 16, 16\], not \[5, 3, 8, 8\]"):
        model.reconstruct(x[:, :, :8, :8])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda feeds: {k: v for k, v in feeds.items() if k != "pad_4"}, id="an input is missing"),
        pytest.param(lambda feeds: {**feeds, "extra": feeds["wp"]}, id="one input too many"),
        pytest.param(lambda feeds: {**feeds, "wp": feeds["wp"][:, :-1]}, id="wrong shape"),
        pytest.param(lambda feeds: {**feeds, "const": feeds["const"][0]}, id="wrong rank"),
    ],
)
def test_wrong_inputs_are_refused(generator: Session, tiny_bundle: Path, damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((MismatchError, BackendError)) as caught:
        generator.run(damage(feeds_of(tiny_bundle, 2)))
    assert "\n" not in str(caught.value)


def test_a_damaged_graph_is_refused(tiny_bundle: Path, backend: str) -> None:
    path = tiny_bundle / "encoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="changed since the bundle was written"):
        open_session(read_bundle(tiny_bundle), "encoder", backend)


def test_a_missing_float16_graph_is_named(tiny_bundle: Path, backend: str) -> None:
    if "fp16" not in get_backend(backend).precisions:
        pytest.skip(f"{backend} has no fp16")
    with pytest.raises((BundleError, BackendError), match=r"holds no encoder\.fp16\.onnx; export it with|not compute"):
        open_session(read_bundle(tiny_bundle), "encoder", backend, precision="fp16")


@pytest.mark.parametrize("name", MISSING)
def test_a_backend_that_is_not_here_says_so_in_a_sentence(tiny_bundle: Path, name: str) -> None:
    with pytest.raises(BackendError, match=f"the backend {name} is not available: .*; nothing was run") as caught:
        open_session(read_bundle(tiny_bundle), "encoder", name)
    assert "\n" not in str(caught.value)


def test_every_backend_describes_itself() -> None:
    for name in BACKENDS[1:]:
        backend = get_backend(name)
        assert backend.name == name
        assert backend.precisions[0] == "fp32"
        assert backend.title


def test_openvino_does_not_take_another_precision_silently() -> None:
    """On x86 its processor plugin answers float16 with bfloat16."""
    openvino = pytest.importorskip("padinv.runtime.backends.openvino")
    if "openvino" not in HERE:
        pytest.skip("openvino is not installed")

    class Core:
        available_devices = ("CPU",)

        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    for precision in ("bf16", "fp16"):
        with pytest.raises(BackendError, match=f"CPU does not compute in {precision} here.*; use fp32"):
            openvino._check_device(Core(), "CPU", precision)
    openvino._check_device(Core(), "CPU", "fp32")
    with pytest.raises(BackendError, match=r"OpenVINO finds no device 'GPU' here \(it has: CPU\)"):
        openvino._check_device(Core(), "GPU", "fp32")


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_impossible_thread_numbers_are_refused(tiny_bundle: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=rf"threads must be between 1 and \d+ on this machine, not {threads}"):
        open_session(read_bundle(tiny_bundle), "encoder", "cpu", threads)


def test_more_threads_than_cores_are_allowed(tiny_bundle: Path) -> None:
    open_session(read_bundle(tiny_bundle), "encoder", "cpu", ALWAYS_ALLOWED)


def test_a_precision_that_a_backend_lacks_names_those_that_have_it(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    with pytest.raises(UsageError, match="computes in fp32, fp16, not bf16; bf16 is available with: --backend open"):
        open_session(bundle, "encoder", "cpu", precision="bf16")
    with pytest.raises(UsageError, match="tf32 is available with: --backend cuda"):
        open_session(bundle, "encoder", "cpu", precision="tf32")


def test_a_device_that_a_backend_lacks_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="the backend cpu has no devices to choose from"):
        open_session(read_bundle(tiny_bundle), "encoder", "cpu", device="cuda:1")


@pytest.mark.parametrize(
    ("text", "number"), [(None, 0), ("cuda", 0), ("cuda:1", 1), ("GPU:12", 12), ("3", 3), (" cuda ", 0)]
)
def test_device_names(text: str | None, number: int) -> None:
    assert device_number(text, "cuda") == number


@pytest.mark.parametrize("text", ["cpu", "cuda:", "cuda:-1", "1:cuda", "", "cuda:1000"])
def test_device_names_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="--device of cuda is cuda, cuda:1, or a number"):
        device_number(text, "cuda")


def test_float32_on_cuda_means_float32() -> None:
    assert cuda_options(1, tf32=False)["use_tf32"] == 0
    assert cuda_options(1, tf32=True)["use_tf32"] == 1
    assert cuda_options(1, tf32=True)["device_id"] == 1


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
def test_padding_a_batch_changes_no_result(tiny_bundle: Path, rows: int) -> None:
    """What CUDA does with a last, partial batch, here on the processor."""
    path = tiny_bundle / "generator.onnx"
    plain = OnnxSession(path.read_bytes(), path, "cpu", 1)
    padding = OnnxSession(path.read_bytes(), path, "cpu", 1, provider=Provider(CPU.name, pad_batches=True))
    feeds = feeds_of(tiny_bundle, rows)
    expected = plain.run(feeds)["output"]
    np.testing.assert_allclose(padding.run(feeds)["output"], expected, atol=1e-6)
    held = padding.run_held({name: HeldOnHost(array) for name, array in feeds.items()})["output"]
    assert len(held) == rows
    np.testing.assert_allclose(held.numpy(), expected, atol=1e-6)


def test_a_smaller_batch_is_padded_to_the_size_before(tiny_bundle: Path) -> None:
    """A provider that plans for its last shape would plan again; a far smaller one is not worth the arithmetic."""
    path = tiny_bundle / "generator.onnx"
    session = OnnxSession(path.read_bytes(), path, "cpu", 1, provider=Provider(CPU.name, pad_batches=True))
    plain = OnnxSession(path.read_bytes(), path, "cpu", 1)
    ran = []
    real = session._session.run

    class Watched:
        def run(self, names: list[str], ready: dict[str, np.ndarray]) -> list[np.ndarray]:
            ran.append({len(array) for array in ready.values()})
            return list(real(names, ready))

    session._session = Watched()
    for rows in (16, 3, 16, 1, 1, 3):
        feeds = feeds_of(tiny_bundle, rows)
        np.testing.assert_allclose(session.run(feeds)["output"], plain.run(feeds)["output"], atol=1e-6)
    assert ran == [{16}, {16}, {16}, {1}, {1}, {4}]


def test_a_provider_that_does_not_exist_fails_with_its_advice(tiny_bundle: Path) -> None:
    path = tiny_bundle / "generator.onnx"
    provider = Provider("CUDAExecutionProvider", {"device_id": 0}, "use --backend cpu")
    if "CUDAExecutionProvider" in __import__("onnxruntime").get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(BackendError, match=r"cuda did not initialize.*; use --backend cpu"):
        OnnxSession(path.read_bytes(), path, "cuda", 1, provider=provider)


def test_onnxruntime_keeps_no_records_of_its_use(tiny_bundle: Path, tmp_path: Path) -> None:
    script = f"from padinv.runtime.model import Model; Model.load({str(tiny_bundle)!r}).sample(0)"
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", script], check=True, env={**kept, "HOME": str(home)})
    assert list(home.rglob("*")) == []
