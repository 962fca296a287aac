"""The `timm:NAME` encoder body: feature maps of any backbone of timm (Wightman 2019) under the heads of `fast`.

timm is asked for networks by name only, and never for weights: those come from a file, see `make_backbone`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.models import fast_encoder
from padinv.models.border_heads import BorderHeads
from padinv.runtime.errors import InputError, MissingPackageError, PadInvError, UsageError
from padinv.runtime.spec import ModelSpec

PREFIX = "timm:"
# timm reads 'hf-hub:...' and 'local-dir:...' as places to load from; an encoder's file must not name such a place.
NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
# An encoder's file may name any backbone; twice the reference encoder is as much as padinv allocates for one.
MAX_PARAMETERS = 500_000_000


def backbone_name(architecture: str) -> str | None:
    """'timm:resnet50' -> 'resnet50'; None for another architecture, or where that is not a name of timm's form."""
    name = architecture.removeprefix(PREFIX)
    return name if architecture.startswith(PREFIX) and NAME.fullmatch(name) else None


def import_timm() -> Any:
    """The package timm.

    Raises:
        MissingPackageError: it is not installed.
        PadInvError: it cannot be imported, mostly for want of the torchvision that belongs to this torch.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name == "timm":
            raise MissingPackageError("timm", "timm", "an encoder of the architecture timm:NAME") from error
        reason = str(error)
    except Exception as error:  # torchvision built for another torch raises a RuntimeError
        reason = " ".join(str(error).split())[:160]
    else:
        return timm
    raise PadInvError(
        f"the package timm cannot be imported ({reason}); it needs the torchvision that belongs to torch "
        f"{torch.__version__}, see https://pytorch.org/get-started"
    )


def make_backbone(name: str, size: int, *, in_channels: int = 3, weights: Path | None = None) -> nn.Module:
    """A backbone that gives feature maps: [N, in_channels, S, S] -> list of [N, C, s, s].

    Args:
        name: as `timm.list_models` has it, such as 'resnet50' or 'convnext_tiny.fb_in22k'.
        size: side of the images.
        in_channels: of the images.
        weights: file with pretrained weights in timm's layout; None: random weights. Nothing is fetched.

    Raises:
        UsageError: timm has no such backbone, or it gives no feature maps.
        InputError: the weights cannot be read or belong to another network.
    """
    timm = import_timm()
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        raise UsageError(f"timm has no backbone {name!r}" + (f"; near are {', '.join(near)}" if near else ""))
    settings: dict[str, Any] = {"features_only": True, "in_chans": in_channels, "pretrained": weights is not None}
    if weights is not None:
        settings["pretrained_cfg_overlay"] = {"file": str(weights)}
    attempts: tuple[dict[str, Any], ...] = ({"img_size": size}, {})  # networks of a fixed size take it as an argument
    reason = ""
    for more in attempts:
        try:
            with torch.device("cpu"):  # timm computes tables while it builds, which the meta device would lose
                backbone: nn.Module = timm.create_model(name, **settings, **more)
            return backbone
        except TypeError as error:  # an argument that this network does not take
            reason = _brief(error)
        except Exception as error:
            if weights is not None:
                raise InputError(f"{weights} does not hold weights of timm's {name} ({_brief(error)})") from error
            reason = _brief(error)
    raise UsageError(f"timm's {name} gives no feature maps ({reason}); choose a convolutional or hierarchical backbone")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


class TimmBody(BorderHeads):
    """Image -> residual codes, residual constant, rings, from a backbone of timm.

    Feature maps are brought to sides that are powers of two, from the finest that the backbone has (or the finest ring)
    to 4 px: a side that it lacks is averaged from the next finer map, or interpolated from the next coarser one. The
    codes see the average of maps below 4 px.

    Args:
        spec: geometry of the generator.
        const: predict the 4 x 4 constant input.
        pad_resolutions: resolutions whose rings are predicted; empty for the W+ only baseline.
        name: of the backbone.
        in_channels: 3, or 6 where the error of earlier passes comes with the image.
        const_level: resolution of the map whose centre gives the constant; None: the finest that the spec pads.

    Raises:
        UsageError: no such backbone, no feature maps, or too many parameters.
        MissingPackageError: timm is not installed.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: ModelSpec,
        const: bool,
        pad_resolutions: tuple[int, ...],
        name: str,
        in_channels: int = 3,
        *,
        const_level: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.name, self.in_channels = name, in_channels
        self.pad_resolutions = tuple(sorted(pad_resolutions))
        self.backbone = make_backbone(name, spec.image_size, in_channels=in_channels)
        if (count := sum(p.numel() for p in self.backbone.parameters())) > MAX_PARAMETERS:
            raise UsageError(f"timm's {name} has {count:,} parameters; an encoder takes at most {MAX_PARAMETERS:,}")
        # timm's networks expect other statistics than [-1, 1]; those are part of the encoder's file.
        facts = getattr(self.backbone, "pretrained_cfg", None) or {}
        mean, std = facts.get("mean", (0.485, 0.456, 0.406)), facts.get("std", (0.229, 0.224, 0.225))
        errors = in_channels - 3
        shift = [2 * m - 1 for m in mean] + [0.0] * errors
        scale = [2 * s for s in std] + [2 * s for s in std][:errors]
        self.register_buffer("shift", torch.tensor(shift, device="cpu")[:, None, None])
        self.register_buffer("scale", torch.tensor(scale, device="cpu")[:, None, None])

        # timm says of some transformers that they put channels last: [N, s, s, C].
        form = getattr(self.backbone, "output_fmt", "NCHW")
        self.channels_last = getattr(form, "value", form) == "NHWC"
        maps = self._features_of_zeros()
        self.sources = _sources([side for _, side in maps], max((*self.pad_resolutions, 4)))
        self.coarse = [index for index, (_, side) in enumerate(maps) if side < 4]
        channels = {side: maps[index][0] for side, index in self.sources.items()}
        more = sum(maps[index][0] for index in self.coarse)
        self._make_heads(
            channels, fast_encoder.widths(spec.image_size), const=const, more=more, const_level=const_level
        )

    def _features_of_zeros(self) -> list[tuple[int, int]]:
        """(channels, side) of the backbone's feature maps, finest first."""
        size = self.spec.image_size
        training = self.backbone.training
        self.backbone.eval()
        try:
            with torch.no_grad():
                maps = self._features(torch.zeros(1, self.in_channels, size, size, device="cpu"))
        except Exception as error:
            raise UsageError(f"timm's {self.name} does not take images of {size} px ({_brief(error)})") from error
        finally:
            self.backbone.train(training)
        shapes = [tuple(m.shape) for m in maps]
        if not shapes or any(len(s) != 4 or s[2] != s[3] for s in shapes):
            raise UsageError(f"timm's {self.name} gives no square feature maps [N, C, s, s] but {shapes}")
        return [(shape[1], shape[2]) for shape in shapes]

    def _features(self, x: Tensor) -> list[Tensor]:
        """Feature maps [N, C, s, s], finest first."""
        maps: list[Tensor] = list(self.backbone(x))
        return [m.permute(0, 3, 1, 2) for m in maps] if self.channels_last else maps

    def blocks(self) -> list[nn.Module]:
        """Parts that can be computed again in the backward pass, none inside another."""
        repeated = [m for name, m in self.backbone.named_modules() if name.rpartition(".")[2] == "blocks"]
        parts = [part for module in repeated for part in module.children()]
        return parts or [part for part in self.backbone.children() if any(True for _ in part.parameters())]

    def load_pretrained(self, weights: Path) -> None:
        """Take the backbone's weights from a file in timm's layout, which may have a classifier, too.

        Raises:
            InputError: unreadable, or of another network.
        """
        loaded = make_backbone(self.name, self.spec.image_size, in_channels=self.in_channels, weights=weights)
        self.backbone.load_state_dict(loaded.state_dict())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
        """image [N, in_channels, S, S] in [-1, 1] -> (codes, const, rings), see `FastBody.forward`."""
        features = self._features((image - self.shift) / self.scale)
        maps = {side: _resized(features[index], side) for side, index in self.sources.items()}
        return self._predict(maps, [features[index] for index in self.coarse])


def _sources(sides: list[int], finest: int) -> dict[int, int]:
    """Side of a map that the heads take -> index of the backbone's map that it comes from, finest first.

    Args:
        sides: of the backbone's maps.
        finest: side of the finest ring.
    """
    powers = {1 << (side.bit_length() - 1) for side in sides}  # the next power of two below, or the side itself
    wanted = sorted({side for side in powers if side >= 4} | {4 << k for k in range(finest.bit_length() - 2)})
    found = {}
    for side in reversed(wanted):
        nearest = min((have for have in sides if have >= side), default=max(sides))
        # Of several maps of one side (a transformer's layers) the last one, which has seen most of the image.
        found[side] = max(k for k, have in enumerate(sides) if have == nearest)
    return found


def _resized(x: Tensor, side: int) -> Tensor:
    """A square map at another side: averaged where that divides the map's, else interpolated."""
    have = x.shape[-1]
    if have == side:
        return x
    if have % side == 0:
        return F.avg_pool2d(x, have // side)
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
