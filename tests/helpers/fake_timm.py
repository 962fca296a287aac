"""A stand-in for timm: torchvision, which timm needs, does not import beside every torch.

It has what `padinv.models.timm_encoder` uses, with timm's own signatures and behaviour (1.0): names are checked,
`features_only` gives a list of maps, weights come from a file named in `pretrained_cfg_overlay`, unknown arguments are
a TypeError, and one network puts channels last.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS = (8, 8, 12, 16, 16)


class Norm(nn.BatchNorm2d):
    """timm's BatchNormAct2d: a batch normalisation that ends in an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class Features(nn.ModuleDict):
    """Five stages, each of half the side, and their maps; like timm's `FeatureListNet`."""

    def __init__(self, in_chans: int, output_fmt: str = "NCHW") -> None:
        widths = (in_chans, *WIDTHS)
        super().__init__({f"stage{k}": self.stage(widths[k], widths[k + 1]) for k in range(5)})
        self.output_fmt = output_fmt
        self.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}

    @staticmethod
    def stage(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), Norm(after), nn.Conv2d(after, after, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.values():
            x = stage(x)
            maps.append(x.permute(0, 2, 3, 1) if self.output_fmt == "NHWC" else x)
        return maps


class Transformer(nn.Module):
    """Maps of one side only, from a patch embedding of a fixed image size."""

    def __init__(self, in_chans: int, img_size: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(in_chans, 8, 8, 8)
        self.position = nn.Parameter(torch.zeros(1, 8, img_size // 8, img_size // 8))
        self.blocks = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.embed(x) + self.position
        first = self.blocks[0](x)
        return [first, self.blocks[1](first.relu())]


def create_model(
    model_name: str,
    pretrained: bool = False,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    features_only: bool = False,
    in_chans: int = 3,
    **kwargs: Any,
) -> nn.Module:
    """timm's function of this name, for the networks of `list_models`."""
    assert features_only
    if model_name == "plain_mixer":
        raise RuntimeError("features_only not implemented for MLP-Mixer models.")
    if model_name == "tiny_vit":
        return Transformer(in_chans, kwargs.pop("img_size"))
    if kwargs:
        raise TypeError(f"__init__() got an unexpected keyword argument {next(iter(kwargs))!r}")
    network = Features(in_chans, "NHWC" if model_name == "tiny_swin" else "NCHW")
    if pretrained:
        state = torch.load((pretrained_cfg_overlay or {})["file"], weights_only=True)
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith("head.")})
    return network


def make_module() -> ModuleType:
    """The module, for `sys.modules["timm"]`."""
    module = ModuleType("timm")
    names = ["tiny_net", "tiny_swin", "tiny_vit", "plain_mixer"]
    module.create_model = create_model  # type: ignore[attr-defined]
    module.list_models = lambda: names  # type: ignore[attr-defined]
    module.is_model = lambda name: name.partition(".")[0] in names  # type: ignore[attr-defined]
    module.models = ModuleType("timm.models")  # type: ignore[attr-defined]
    return module
