"""The metrics: pixels in numpy, perception and identity in torch where that is asked for and there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.evaluation.models import require_torch, torch_device
from padinv.runtime.errors import InputError, MissingPackageError, UsageError
from padinv.runtime.files import sha256_file
from padinv.runtime.images import metrics
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

LPIPS_NETS = ("alex", "vgg", "squeeze")
IDENTITY = "identity"
MIN_SSIM_SIDE = 11

# (images in [-1, 1], reconstructions, clamped or not as the protocol says), both float32 [N, 3, S, S] -> [N]
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A metric by name.

    Attributes:
        name: as in files: 'mse', 'psnr', 'ssim', 'lpips_squeeze', 'identity'.
        label: for tables.
        better: 'lower' or 'higher'.
        score: see `Score`.
        weights: SHA-256 of the network it depends on, or None.
    """

    name: str
    label: str
    better: str
    score: Score = field(repr=False)
    weights: str | None = None


@dataclass
class Metrics:
    """The metrics that can be measured, and why the others cannot."""

    found: list[Metric]
    missing: dict[str, str]


def require_lpips_nets(names: Iterable[str]) -> None:
    """Refuse the name of a backbone that LPIPS does not have.

    Raises:
        UsageError: with the names that it has.
    """
    if unknown := sorted(set(names) - set(LPIPS_NETS)):
        raise UsageError(f"--lpips-weights takes {', '.join(LPIPS_NETS)}, not {unknown[0]!r}")


def open_metrics(
    spec: ModelSpec,
    lpips_weights: Mapping[str, Path] | None = None,
    identity_weights: Path | None = None,
    backend: str = "auto",
) -> Metrics:
    """Every metric that this machine has the networks for.

    Args:
        spec: of the model; its image size and alignment template matter.
        lpips_weights: backbone -> file; others are looked for in the torch hub cache.
        identity_weights: a face-recognition network (MobileFaceNet or IR-SE-50); None: identity is not measured.
        backend: where the networks run: as for the model.

    Raises:
        UsageError: an unknown backbone. InputError: a file that was named cannot be used.
    """
    given = dict(lpips_weights or {})
    require_lpips_nets(given)
    found = [
        Metric("mse", "MSE", "lower", partial(metrics.mse, clamp=False)),
        Metric("psnr", "PSNR (dB)", "higher", partial(metrics.psnr, clamp=False)),
    ]
    missing: dict[str, str] = {}
    if spec.image_size >= MIN_SSIM_SIDE:
        found.append(Metric("ssim", "SSIM", "higher", metrics.ssim))
    else:
        missing["ssim"] = f"its window has {MIN_SSIM_SIDE} px, and the model's pictures {spec.image_size}"
    for net in LPIPS_NETS:
        name = f"lpips_{net}"
        try:
            found.append(_lpips(net, given.get(net), spec.image_size, backend))
        except (InputError, MissingPackageError, UsageError) as error:
            if net in given:
                raise
            missing[name] = str(error)
    if identity_weights is None:
        missing[IDENTITY] = "give a face-recognition network with --identity-weights"
    else:
        found.append(_identity(identity_weights, spec.template, backend))
    return Metrics(found, missing)


def _lpips(net: str, weights: Path | None, size: int, backend: str) -> Metric:
    require_torch(f"LPIPS '{net}'")
    from padinv.losses.backbones import find_backbone_file
    from padinv.losses.lpips import LPIPS

    file = find_backbone_file(net, weights)
    device = torch_device(backend)
    network = LPIPS(net, file).to(device)
    if size < network.smallest:
        raise UsageError(f"needs pictures of {network.smallest} px or more, and the model's have {size}")
    return Metric(f"lpips_{net}", f"LPIPS {net}", "lower", _in_torch(network, device), sha256_file(file))


def _identity(weights: Path, template: str | None, backend: str) -> Metric:
    require_torch("identity similarity")
    from padinv.losses.identity import IdentityLoss
    from padinv.models.face_recognition import load_face_network

    device = torch_device(backend)
    loss = IdentityLoss(load_face_network(weights), template).to(device)
    score = _in_torch(loss, device)
    return Metric(IDENTITY, "identity (cosine)", "higher", lambda x, y: 1 - score(x, y), sha256_file(weights))


def _in_torch(network: Any, device: str) -> Score:
    import torch

    def score(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            a, b = (torch.from_numpy(np.ascontiguousarray(v, np.float32)).to(device) for v in (x, y))
            values: Tensor = network(b, a)
            return values.double().cpu().numpy()

    return score
