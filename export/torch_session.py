"""The networks in torch behind the runtime's session interface: what other backends are measured against."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from padinv.export.onnx_modules import complete
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.runtime.backends.protocol import on_host
from padinv.runtime.errors import BackendError, MismatchError
from padinv.runtime.graphs import graph_names
from padinv.runtime.passes import ERROR
from padinv.runtime.spatial import with_neutral

PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "fp16")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchNetworks:
    """A generator and its encoder on one device, as they are trained, in eval mode.

    Args:
        device: torch's name, e.g. 'cpu' or 'cuda:1'.
        double: compute in float64, the reference of all comparisons.
        threads: of the processor; None: torch's own choice.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder,
        device: str = "cpu",
        double: bool = False,
        *,
        threads: int | None = None,
    ) -> None:
        self.threads = threads
        self.spec = encoder.spec  # names the spatial codes, too
        self.device = torch.device(device)
        kind = torch.float64 if double else torch.float32
        self.kind = kind
        self.generator: Generator = _on(generator, self.device, kind)
        self.encoder: Encoder = _on(encoder, self.device, kind)

    def session(self, graph: str, precision: str = "fp32") -> TorchSession:
        """The session of 'encoder', 'generator', 'mapping' or 'spatial'."""
        return TorchSession(self, graph, precision)

    def compute(self, graph: str, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """One graph on tensors of this device."""
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        spec = self.spec
        if graph == "mapping":
            return {"w": self.generator.mapping(feeds["z"])}
        if graph == "generator":
            rings = {r: feeds[f"pad_{r}"] for r in spec.pad_resolutions}
            spatial = {r: feeds[f"spatial_{r}"] for r in spec.spatial_resolutions}
            return {"output": self.generator.synthesis(feeds["wp"], feeds["const"], rings, spatial=spatial)}
        if graph == "spatial":
            codes = self.encoder.spatial_code(feeds["image"], feeds["reconstruction"])
            return {f"spatial_{r}": code for r, code in codes.items()}
        wp, const, predicted = self.encoder(feeds["image"], feeds.get(ERROR))
        values = (wp, *complete(spec, self.encoder.const, wp, const, predicted))
        return dict(zip(spec.encoder_shapes, values, strict=True))


def _on(module: Any, device: torch.device, kind: torch.dtype) -> Any:
    """A network on a device; a copy unless it is there already."""
    weight = next(module.parameters())
    if weight.device == device and weight.dtype is kind and not module.training:
        return module
    return copy.deepcopy(module).to(device, kind).eval().requires_grad_(False)


class TorchSession:
    """One graph of `TorchNetworks`; see `padinv.runtime.backends.Session`. `run_held` leaves outputs on the device."""

    def __init__(self, networks: TorchNetworks, graph: str, precision: str) -> None:
        self.inputs, self.outputs = graph_names(networks.spec, networks.encoder.config.passes)[graph]
        self.backend = f"torch, {networks.device.type}"
        self.notes: list[str] = []
        self._networks, self._graph, self._precision = networks, graph, precision

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named arrays in, float32 arrays out."""
        return {name: held.numpy() for name, held in self.run_held(feeds).items()}

    def run_held(self, feeds: Mapping[str, Any]) -> dict[str, HeldTensor]:
        """Like `run`, but outputs stay on the device, and inputs may come from there."""
        if self._graph == "generator":
            feeds = with_neutral(self._networks.spec, feeds)
        if set(feeds) != set(self.inputs):
            raise MismatchError(f"the {self._graph} takes {', '.join(self.inputs)}, not {', '.join(sorted(feeds))}")
        networks = self._networks
        ready = {name: self._tensor(value) for name, value in feeds.items()}
        cast = _AUTOCAST.get(self._precision)
        try:
            with (
                torch.inference_mode(),
                float32_arithmetic(self._precision == "tf32"),
                torch.autocast(networks.device.type, cast, enabled=cast is not None),
            ):
                outputs = networks.compute(self._graph, ready)
        except torch.OutOfMemoryError as error:
            raise BackendError(f"torch ran out of memory on {networks.device}; try a smaller --batch") from error
        return {name: HeldTensor(value) for name, value in outputs.items()}

    def _tensor(self, value: Any) -> torch.Tensor:
        if isinstance(value, HeldTensor):
            return value.tensor
        array = np.ascontiguousarray(on_host({"": value})[""])
        return torch.from_numpy(array).to(self._networks.device, self._networks.kind)


class HeldTensor:
    """An output on torch's device."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def numpy(self) -> np.ndarray:
        """float32 [N, ...] in the processor's memory; float64 where the networks compute in it."""
        kind = torch.float64 if self.tensor.dtype is torch.float64 else torch.float32
        return np.asarray(self.tensor.to("cpu", kind).numpy())

    def __len__(self) -> int:
        return len(self.tensor)


@contextmanager
def float32_arithmetic(tf32: bool) -> Iterator[None]:
    """Let CUDA compute float32 products in TensorFloat-32 (10 bits of mantissa) or not, and restore what was before.

    torch allows TensorFloat-32 in cuDNN's convolutions unless it is told otherwise.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
