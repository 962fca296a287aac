"""What is measured: a bundle through the torch-free runtime, or a run folder through torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from padinv.evaluation.protocol import EvalProtocol, protocol_named
from padinv.runtime.bundle import MANIFEST
from padinv.runtime.errors import BackendError, InputError, UsageError
from padinv.runtime.model import Model
from padinv.runtime.model_names import find_model, is_model_name
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from padinv.checkpoints.generator_encoder import Pair


class Subject(Protocol):
    """An encoder and its generator.

    Attributes:
        name: for people and file names.
        spec: geometry.
        identity: changes when reconstructions may change: weights, precision, backend.
        backend: what it really runs on.
    """

    name: str
    spec: ModelSpec
    identity: dict[str, Any]
    backend: str

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """float32 [N, 3, S, S] in [-1, 1] -> (reconstructions of the same shape, unclamped; seconds it took).

        Outputs above S are reduced to S as the protocol says; that is not in the time.
        """
        ...


class BundleSubject:
    """A bundle in onnxruntime or TensorRT."""

    def __init__(self, model: Model, protocol: EvalProtocol) -> None:
        self._model, self._protocol = model, protocol
        self.name = model.bundle.name
        self.spec = model.spec
        self.backend = model.session("encoder").backend
        model.session("generator")
        self.identity = {"bundle": model.bundle.fingerprint, "precision": model.precision, "backend": self.backend}

    @property
    def notes(self) -> list[str]:
        """Sentences the user should see."""
        return self._model.notes

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        begun = time.perf_counter()
        y = self._model.generate_float(self._model.encode(x, len(x)), len(x))
        seconds = time.perf_counter() - begun
        return self._protocol.reduced(y, self.spec.image_size), seconds


class NetworkSubject:
    """A generator and its encoder, in torch.

    Args:
        pair: the networks and where they come from.
        name: for people and file names.
        device: where they run.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, pair: Pair, name: str, device: str, protocol: EvalProtocol) -> None:
        import torch

        self._torch, self._protocol = torch, protocol
        self._generator, self._encoder = pair.generator.to(device), pair.encoder.to(device)
        self.name = name
        self.spec = pair.generator.spec
        self.backend = f"torch-{device}"
        files = {kind: origin.sha256 for kind, origin in pair.origins.items()}
        self.identity = {"files": files, "precision": "fp32", "backend": self.backend}

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        from padinv.models.encoder import encode_images

        torch = self._torch
        with torch.no_grad():
            image = torch.from_numpy(x).to(self._generator.w_avg.device)
            self._finish()
            begun = time.perf_counter()
            y = encode_images(self._encoder, self._generator, image).generate(self._generator)
            self._finish()
            seconds = time.perf_counter() - begun
        return self._protocol.reduced(y.float().cpu().numpy(), self.spec.image_size), seconds

    def _finish(self) -> None:
        if self._generator.w_avg.is_cuda:
            self._torch.cuda.synchronize()


class RunSubject(NetworkSubject):
    """The networks of a run folder, in torch."""

    def __init__(self, run: Path, device: str, threads: int | None, protocol: EvalProtocol) -> None:
        import torch

        from padinv.checkpoints.generator_encoder import read_pair, read_run

        best = run / "encoder-best.safetensors"
        if protocol.best and best.is_file():
            pair = read_pair(run / "generator.safetensors", best)
            pair.name = run.resolve().name
            self.notes = (f"the {protocol.name} protocol measures the best encoder of the run, {best.name}",)
        else:
            pair = read_run(run)
        if threads is not None:
            torch.set_num_threads(threads)
        super().__init__(pair, pair.name or run.name, device, protocol)


def open_subject(
    path: Path | None,
    backend: str = "auto",
    threads: int | None = None,
    precision: str = "fp32",
    *,
    protocol: str = "paper",
) -> BundleSubject | RunSubject:
    """Open a bundle (None: the built-in one) or a run folder.

    Args:
        backend: 'auto', 'cpu', 'cuda', or (bundles only) 'trt'.
        threads: CPU threads.
        precision: 'fp32', or (bundles only) 'fp16'.
        protocol: see `padinv.evaluation.protocol`.

    Raises:
        InputError, BundleError, BackendError, UsageError, MissingPackageError.
    """
    if is_model_name(path):
        path = find_model(path)
    if path is None or (path / MANIFEST).is_file() or path.name == MANIFEST:
        return BundleSubject(Model.load(path, backend, threads, precision), protocol_named(protocol))
    if not path.exists():
        raise InputError(f"{path} does not exist, so nothing was measured; give a run folder or a bundle")
    if backend == "trt" or precision not in ("auto", "fp32"):
        raise UsageError(f"{path} is a run, which is measured in torch and float32; export it to measure more")
    return RunSubject(path, torch_device(backend), threads, protocol_named(protocol))


def torch_device(backend: str) -> str:
    """The torch device for 'auto', 'cpu', 'cuda' or 'trt'.

    Raises:
        BackendError: 'cuda' was asked for and torch has none. MissingPackageError: no torch.
    """
    torch = require_torch("measuring a run")
    if backend == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if backend == "cuda":
        raise BackendError("CUDA was asked for, but torch finds none, so nothing was measured; take --backend cpu")
    return "cpu"


def require_torch(what: str) -> Any:
    """The torch module.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        from padinv.runtime.errors import MissingPackageError

        raise MissingPackageError("torch", "train", what) from error
    return torch
