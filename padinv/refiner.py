"""Refinement of a model's inversions by optimisation, for `padinv invert --refine` and `Model.invert(refiner=)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padinv.checkpoints import load_generator
from padinv.checkpoints.compact_bundle import is_compact
from padinv.editability import TOLERANCE, Editability, SpatialEditability, sampled_edits
from padinv.losses.backbones import find_backbone_file
from padinv.losses.lpips import LPIPS
from padinv.models.generator import Generator
from padinv.models.passes import Latents
from padinv.refine import Optimised, refine
from padinv.runtime.bundle import Bundle
from padinv.runtime.editing.gallery import gallery_direction, gallery_names
from padinv.runtime.editing.operations import moves
from padinv.runtime.errors import BundleError, UsageError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.refining import MAX_STEPS, Budget, Refined
from padinv.training.encoder.config import TrainConfig, resolve

LOSSES = ("training", "pixel")
WEIGHTS = "weights.safetensors"
# From trials of 30 steps on the first three or four photographs of val.zip, with faces128 and no check of edits. Higher
# rates move codes further for less: with the training's weight of LPIPS, the squared error fell to 0.61 times the
# encoder's at a rate of 0.05, and to 0.71 at 0.1.
RATE, REACH, PENALTY, MIN_GAIN = 0.03, 1.0, 0.0005, 0.01
# Of the spatial code, whose edits keep working far longer. On four photographs of val.zip, 30 steps brought the squared
# error to 0.38 times the encoder's at a rate of 0.05, with edits at 0.92 to 0.99 of their effect, and to 0.33 at 0.1,
# with edits at 0.89 to 0.99.
SPATIAL_RATE = 0.08
# Optimised for one picture, LPIPS falls far below what an encoder reaches, and keeps the squared error high: 0.42 with
# a quarter of the training's weight (rate 0.04), 0.37 without LPIPS (rate 0.03).
PERCEPTUAL_SHARE = 0.1
# At 1, edits kept 0.80 of their effect, as without it. At 10 they kept 0.83, at 0.41 times the encoder's squared error;
# the check then holds back what is still missing.
CONSISTENCY = 10.0
EDITS = 4  # directions that must keep working; each costs a drawing at every check
_GPU_BACKENDS = ("cuda", "trt", "ort-trt")


class Refiner:
    """Optimises the spatial code of a model's inversions for their images, or else codes, constant and rings.

    The generator stays as it is, and beside a spatial code so do codes and padding. The loss has the squared error and
    LPIPS of the encoder's training, LPIPS with a tenth of its weight there. What is optimised stays near the encoder's:
    a penalty on its change, a term for edits that must keep working, and every ten steps a check that some of the
    model's named directions still change the image as they did, within 10 % on average. An image whose loss fell by
    less than 1 % in ten steps is done. Each image is refined for itself.

    Args:
        refine: steps (30), or seconds for each image ('5s').
        loss: 'training', or 'pixel': the squared error alone, which needs no LPIPS weights.
        lpips_weights: file or folder of the LPIPS backbone; None: where `padinv fetch` puts it.
        consistency, tolerance: how strongly edits are held, and by how much their effect may change; see
            `padinv.refine.refine` and `Editability`. 0 and infinity: for a picture that is not going to be edited.
        device: of torch, such as 'cuda:0'; None: the GPU if the model runs on one, else the processor.

    Raises:
        UsageError: a setting that makes no sense.

    Example:
        model = padinv.load()
        inversion = model.invert("me.jpg", refiner=padinv.Refiner(30))
    """

    def __init__(
        self,
        refine: int | str | Budget = 30,
        *,
        loss: str = "training",
        lpips_weights: Path | str | None = None,
        consistency: float = CONSISTENCY,
        tolerance: float = TOLERANCE,
        device: str | None = None,
    ) -> None:
        if not (consistency >= 0 and tolerance > 0):
            raise UsageError(f"consistency is 0 or more, and tolerance above 0, not {consistency:g} and {tolerance:g}")
        if loss not in LOSSES:
            raise UsageError(f"the loss of a refinement is one of {', '.join(LOSSES)}, not {loss!r}")
        self.budget = refine if isinstance(refine, Budget) else Budget.parse(str(refine))
        self.loss = loss
        self.lpips_weights = lpips_weights
        self.consistency, self.tolerance = consistency, tolerance
        self.device = device
        self._loaded: tuple[str, Generator, LPIPS | None, float, list[Latents]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}  # another process loads the networks for itself

    @property
    def conditions(self) -> dict[str, Any]:
        """Everything that decides its results, JSON-ready."""
        held = None if (self.consistency, self.tolerance) == (CONSISTENCY, TOLERANCE) else self._held
        return {
            "refine": str(self.budget),
            "refine_loss": self.loss,
            **({} if held is None else {"refine_edits": held}),
        }

    @property
    def _held(self) -> list[float | str]:
        return [self.consistency, self.tolerance if math.isfinite(self.tolerance) else "inf"]

    def check(self, model: Model) -> None:
        """Load the networks.

        Raises:
            BundleError: the model holds no weights that torch could optimise through.
            InputError: the LPIPS weights are missing. MissingPackageError: the package 'onnx' is.
        """
        self._networks(model)

    def refine(
        self, model: Model, inversion: Inversion, x: np.ndarray, progress: Callable[[float], None] = lambda done: None
    ) -> Refined:
        """Refine inversions.

        Args:
            inversion: N of this model.
            x: float32 [N, 3, S, S] in [-1, 1], the images that were inverted.
            progress: called with the share that is done, 0 to 1.

        Raises: as `check`.
        """
        generator, perceptual, weight, edits = self._networks(model)
        device = generator.w_avg.device
        image = torch.from_numpy(np.ascontiguousarray(x)).to(device)
        start = _latents(inversion, device, padding=model.predicts_padding)
        code, colours = _spatial(inversion, device)
        watched = (
            SpatialEditability(generator, start, code, colours, edits, tolerance=self.tolerance)
            if code
            else Editability(generator, start, edits, tolerance=self.tolerance)
        )
        seconds = None if self.budget.seconds is None else self.budget.seconds * len(x)
        found = refine(
            generator,
            image,
            *start,
            spatial=code,
            steps=self.budget.steps or MAX_STEPS,
            seconds=seconds,
            lr=SPATIAL_RATE if code else RATE,
            decay=True,
            reach=REACH,
            penalty=PENALTY,
            perceptual=perceptual,
            perceptual_weight=weight,
            min_gain=MIN_GAIN,
            usable=watched,
            consistency=self.consistency,
            progress=progress,
        )
        latents: Any = found.spatial or (found.wp, found.const, found.rings)
        deviation = watched.deviation(latents).tolist()
        facts = [
            {"steps": found.steps, "stopped": why, "edits": round(value, 4)}
            for why, value in zip(found.stopped, deviation, strict=True)
        ]
        return Refined(_inversion(inversion, found, colours), facts)

    def _networks(self, model: Model) -> tuple[Generator, LPIPS | None, float, list[Latents]]:
        key = model.bundle.fingerprint
        if self._loaded is None or self._loaded[0] != key:
            config = training_loss(model.bundle)
            perceptual, weight = None, 0.0
            if self.loss == "training" and config.per > 0:
                find_backbone_file(config.lpips, self.lpips_weights)  # its sentence, before anything slow
                perceptual = LPIPS(config.lpips, self.lpips_weights)
                weight = PERCEPTUAL_SHARE * config.per / (config.pix or 1.0)
            device = torch.device(self.device or _device_of(model))
            generator = bundle_weights(model.bundle).to(device).requires_grad_(False)
            perceptual = None if perceptual is None else perceptual.to(device)
            self._loaded = (key, generator, perceptual, weight, watched_edits(model.bundle, generator))
        if model.threads is not None:
            torch.set_num_threads(model.threads)
        return self._loaded[1:]


def bundle_weights(bundle: Bundle) -> Generator:
    """The generator of a bundle, for torch.

    Raises:
        BundleError: the bundle holds graphs alone. MissingPackageError: reading a compact graph needs 'onnx'.
    """
    if bundle.has(WEIGHTS):
        return load_generator(bundle.path(WEIGHTS))
    if not is_compact(bundle):
        raise BundleError(
            f"the model {bundle.name} holds no weights that a refinement could use, so nothing was done; export it "
            "with --weights or --compact"
        )
    return load_generator(bundle.folder)


def training_loss(bundle: Bundle) -> TrainConfig:
    """The settings that a bundle's encoder was trained with, as far as its origin says; otherwise the defaults."""
    record = bundle.manifest.get("provenance", {}).get("encoder", {}).get("record", {})
    record = record if isinstance(record, dict) else {}
    config, preset = record.get("config"), record.get("preset")
    try:
        if isinstance(config, dict):
            return TrainConfig(**{name: config[name] for name in ("pix", "per", "lpips") if name in config})
        return resolve(preset, {})[0] if isinstance(preset, str) else TrainConfig()
    except (UsageError, TypeError):
        return TrainConfig()


def watched_edits(bundle: Bundle, generator: Generator, count: int = EDITS) -> list[Latents]:
    """The edits whose effect must stay: the first directions of the model's gallery, or else sampled ones."""
    names = gallery_names(bundle)[:count]
    return [named_edit(bundle, name, generator.w_avg.device) for name in names] or sampled_edits(generator, count)


def named_edit(bundle: Bundle, name: str, device: torch.device) -> Latents:
    """A direction of the model's gallery at strength 1, in the space that it is applied in."""
    direction = gallery_direction(bundle, name)
    space = direction.space or "both"
    changes = {
        key: torch.from_numpy(np.asarray(array if moves(key, space) else np.zeros_like(array), np.float32)).to(device)
        for key, array in direction.arrays().items()
    }
    rings = {int(key.removeprefix("pad_")): change for key, change in changes.items() if key.startswith("pad_")}
    return changes["wp"], changes["const"], rings


def _device_of(model: Model) -> str:
    """The GPU where the model runs on one."""
    wanted = model.session("generator").backend in _GPU_BACKENDS
    return "cuda" if wanted and torch.cuda.is_available() else "cpu"


def _latents(inversion: Inversion, device: torch.device, *, padding: bool) -> Latents:
    """Codes and padding as torch takes them; without `padding`, the generator's own stays."""
    arrays: dict[str, Tensor] = {
        name: torch.from_numpy(np.array(array, np.float32)).to(device) for name, array in inversion.arrays().items()
    }
    if not padding:
        return arrays["wp"], None, None
    rings = {int(name.removeprefix("pad_")): array for name, array in arrays.items() if name.startswith("pad_")}
    return arrays["wp"], arrays["const"], rings


def _spatial(inversion: Inversion, device: torch.device) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The spatial code of inversions, and the colours beside it; both empty where there is none."""
    stored = {r: torch.from_numpy(np.array(code, np.float32)).to(device) for r, code in inversion.spatial.items()}
    return {r: code[:, :-3] for r, code in stored.items()}, {r: code[:, -3:] for r, code in stored.items()}


def _inversion(old: Inversion, found: Optimised, colours: dict[int, Tensor]) -> Inversion:
    """The refined codes and padding, with everything else as it was."""
    new = {"wp": found.wp} | ({} if found.const is None else {"const": found.const})
    new |= {f"pad_{r}": ring for r, ring in (found.rings or {}).items()}
    new |= {f"spatial_{r}": torch.cat([code, colours[r]], dim=1) for r, code in (found.spatial or {}).items()}
    arrays = {**old.arrays(), **{name: value.cpu().numpy() for name, value in new.items()}}
    return Inversion.from_arrays(arrays, old.generator_hash, list(old.items), old.origin)
