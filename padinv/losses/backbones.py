"""The ImageNet networks under LPIPS, in torch's layers and under torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from padinv.losses.weight_files import find_cached, find_in, how_to_get, known
from padinv.models.squeezenet import squeezenet_features
from padinv.runtime.errors import InputError, UsageError


def alexnet_features() -> nn.Sequential:
    """torchvision's `alexnet().features` up to its last ReLU, at random weights."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def vgg16_features() -> nn.Sequential:
    """torchvision's `vgg16().features` up to its last ReLU, at random weights."""
    modules: list[nn.Module] = []
    channels = 3
    for width, convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if modules:
            modules.append(nn.MaxPool2d(2, stride=2))
        for _ in range(convs):
            modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*modules)


@dataclass(frozen=True)
class Backbone:
    """A feature network.

    Attributes:
        build: makes the feature modules at random weights.
        taps: indices of the modules whose outputs LPIPS compares, in order.
        widths: their channels.
        smallest: the smallest image side that leaves something at every tap.
        weights: what `padinv fetch` calls its weight file.
    """

    build: object
    taps: tuple[int, ...]
    widths: tuple[int, ...]
    smallest: int
    weights: str

    @property
    def file(self) -> str:
        """torchvision's file name."""
        return known(self.weights).file

    @property
    def url(self) -> str:
        """Where torchvision publishes the file."""
        return known(self.weights).url


BACKBONES = {
    "alex": Backbone(
        alexnet_features,
        (1, 4, 7, 9, 11),
        (64, 192, 384, 256, 256),
        31,
        "lpips-alex",
    ),
    "vgg": Backbone(vgg16_features, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16, "lpips-vgg"),
    "squeeze": Backbone(
        squeezenet_features,
        (1, 4, 7, 9, 10, 11, 12),
        (64, 128, 256, 384, 384, 512, 512),
        17,
        "lpips-squeeze",
    ),
}


def backbone_named(name: str) -> Backbone:
    """The backbone 'alex', 'vgg' or 'squeeze'.

    Raises:
        UsageError: another name.
    """
    if name not in BACKBONES:
        raise UsageError(f"LPIPS has the backbones {', '.join(BACKBONES)}, not {name!r}")
    return BACKBONES[name]


def find_backbone_file(name: str, path: Path | str | None = None) -> Path:
    """The weight file of a backbone: `path`, or a folder's file of torchvision's name; None: padinv's or torch's cache.

    Raises:
        InputError: there is none; the message says where to get it.
    """
    backbone = backbone_named(name)
    if path is not None and not Path(path).is_dir():
        if not Path(path).exists():
            raise InputError(f"{path} does not exist; the weights for LPIPS '{name}' are at {backbone.url}")
        return Path(path)
    found = find_cached(backbone.weights) if path is None else find_in(Path(path), backbone.weights)
    if found is None and path is not None:
        raise InputError(f"LPIPS '{name}' needs {backbone.file}, and {path} does not hold it; get {backbone.url}")
    if found is None:
        raise InputError(
            f"LPIPS '{name}' needs {backbone.file}: {how_to_get(backbone.weights)}, or give the file with "
            "--lpips-weights"
        )
    return found


def load_backbone(name: str, path: Path | str | None = None) -> nn.Sequential:
    """A backbone with torchvision's weights (float16 or float32 in the file), frozen, in eval mode.

    Raises:
        InputError: no weight file, or one that is damaged or of another network.
    """
    backbone = backbone_named(name)
    file = find_backbone_file(name, path)
    from padinv.checkpoints.build import build_module
    from padinv.checkpoints.state_dict import read_weights

    build: Callable[[], nn.Sequential] = backbone.build  # type: ignore[assignment]
    net = build()
    shapes = {f"features.{key}": tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    try:
        weights = read_weights(file, shapes)
    except InputError as error:
        reason = str(error).removeprefix(f"{file} ")
        raise InputError(
            f"{file} does not hold torchvision's weights for LPIPS '{name}': it {reason}; get {backbone.url}"
        ) from error
    state = {key.removeprefix("features."): tensor for key, tensor in weights.items()}
    return build_module(build, state).eval().requires_grad_(False)
