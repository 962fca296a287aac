"""What the `lpips` package itself says, for tests that must run without it.

`python tests/helpers/lpips_reference.py` prints DISTANCES again. It needs `pip install lpips --no-deps`; torchvision is
replaced by a stand-in that holds the three feature networks, at the same made-up weights as in the test.
"""

from __future__ import annotations

import sys
import types

import numpy as np
import torch
from torch import Tensor, nn

# Distances of `pictures()` at the weights of `made_up_weights()`, by lpips 0.1.4.
DISTANCES: dict[str, list[float]] = {
    "alex": [0.092667, 0.0, 0.001614],
    "vgg": [0.164329, 0.0, 0.00298],
    "squeeze": [0.124504, 0.0, 0.001969],
}

CONVOLUTIONS = {
    "alex": {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)},
    "vgg": {
        0: (64, 3, 3),
        2: (64, 64, 3),
        5: (128, 64, 3),
        7: (128, 128, 3),
        10: (256, 128, 3),
        12: (256, 256, 3),
        14: (256, 256, 3),
        17: (512, 256, 3),
        19: (512, 512, 3),
        21: (512, 512, 3),
        24: (512, 512, 3),
        26: (512, 512, 3),
        28: (512, 512, 3),
    },
}
# SqueezeNet 1.1's Fire modules: index -> (input channels, squeeze, expand).
FIRES = {
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}


def made_up_weights(net: str) -> dict[str, Tensor]:
    """A state dict of torchvision's names, with a key that LPIPS must ignore."""
    shapes: dict[str, tuple[int, int, int]] = {}
    if net == "squeeze":
        shapes["features.0"] = (64, 3, 3)
        for index, (c, s, e) in FIRES.items():
            shapes[f"features.{index}.squeeze"] = (s, c, 1)
            shapes[f"features.{index}.expand1x1"] = (e, s, 1)
            shapes[f"features.{index}.expand3x3"] = (e, s, 3)
    else:
        shapes = {f"features.{index}": shape for index, shape in CONVOLUTIONS[net].items()}
    rng = np.random.RandomState(17)
    state = {}
    for name, (out, inside, k) in shapes.items():
        weight = rng.standard_normal((out, inside, k, k)) * np.sqrt(2 / (inside * k * k))
        state[f"{name}.weight"] = torch.from_numpy(weight).float()
        state[f"{name}.bias"] = torch.from_numpy(rng.standard_normal(out) * 0.1).float()
    state["classifier.1.weight"] = torch.zeros(2, 2)
    return state


def pictures() -> tuple[Tensor, Tensor]:
    """Three pairs of pictures [3, 3, 64, 64] in [-1, 1]: noise against noise, against itself, against a blend."""
    rng = np.random.RandomState(23)
    a = rng.uniform(-1, 1, (3, 3, 64, 64))
    b = rng.uniform(-1, 1, (3, 3, 64, 64))
    b[1] = a[1]
    b[2] = 0.9 * a[2] + 0.1 * b[2]
    return torch.from_numpy(a).float(), torch.from_numpy(b).float()


def _stand_in(net: str) -> types.SimpleNamespace:
    """torchvision's model as far as the package looks at it: `.features`."""

    class Fire(nn.Module):
        def __init__(self, c: int, s: int, e: int) -> None:
            super().__init__()
            self.squeeze, self.expand1x1 = nn.Conv2d(c, s, 1), nn.Conv2d(s, e, 1)
            self.expand3x3 = nn.Conv2d(s, e, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.squeeze(x))
            return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)

    modules: list[nn.Module] = []
    if net == "squeeze":
        for index in range(13):
            if index == 0:
                modules.append(nn.Conv2d(3, 64, 3, stride=2))
            elif index == 1:
                modules.append(nn.ReLU())
            elif index in FIRES:
                modules.append(Fire(*FIRES[index]))
            else:
                modules.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    else:
        convolutions = CONVOLUTIONS[net]
        strides = {("alex", 0): (4, 2), ("alex", 3): (1, 2)}
        pool = (3, 2) if net == "alex" else (2, 2)
        for index in range(max(convolutions) + 2):
            if index in convolutions:
                out, inside, k = convolutions[index]
                stride, padding = strides.get((net, index), (1, 1))
                modules.append(nn.Conv2d(inside, out, k, stride, padding))
            elif index - 1 in convolutions:
                modules.append(nn.ReLU())
            else:
                modules.append(nn.MaxPool2d(*pool))
    model = types.SimpleNamespace(features=nn.Sequential(*modules))
    state = {k.removeprefix("features."): v for k, v in made_up_weights(net).items() if k.startswith("features.")}
    model.features.load_state_dict(state)
    return model


def package_distances(net: str) -> list[float]:
    """`lpips.LPIPS(net)` on `pictures()`."""
    torchvision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    for name, builder in {"alexnet": "alex", "vgg16": "vgg", "squeezenet1_1": "squeeze"}.items():
        setattr(models, name, lambda pretrained=False, builder=builder, **_: _stand_in(builder))
    torchvision.models = models  # type: ignore[attr-defined]
    torchvision.transforms = types.ModuleType("torchvision.transforms")  # type: ignore[attr-defined]
    stand_ins = {
        "torchvision": torchvision,
        "torchvision.models": models,
        "torchvision.transforms": torchvision.transforms,
    }
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        import lpips

        metric = lpips.LPIPS(net=net, verbose=False)
        with torch.no_grad():
            return [round(v, 6) for v in metric(*pictures()).flatten().tolist()]
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name)
            else:
                sys.modules[name] = module


if __name__ == "__main__":
    for name in DISTANCES:
        print(f'    "{name}": {package_distances(name)},')
