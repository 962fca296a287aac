"""LPIPS against the `lpips` package's own numbers, its files, and its behaviour as a loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lpips_reference import DISTANCES, made_up_weights, pictures

from padinv.losses.backbones import BACKBONES, find_backbone_file, load_backbone
from padinv.losses.lpips import LPIPS, unit_length
from padinv.runtime.errors import InputError, UsageError


@pytest.fixture(scope="module")
def weight_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torch hub cache with all three backbones at made-up weights."""
    folder = tmp_path_factory.mktemp("hub") / "checkpoints"
    folder.mkdir()
    for net, backbone in BACKBONES.items():
        torch.save(made_up_weights(net), folder / backbone.file)
    return folder


@pytest.mark.parametrize("net", sorted(DISTANCES))
def test_the_packages_numbers(net: str, weight_folder: Path) -> None:
    distances = LPIPS(net, weight_folder)(*pictures())
    assert distances.tolist() == pytest.approx(DISTANCES[net], abs=2e-6)


def test_a_float64_restatement_of_one_tap(weight_folder: Path) -> None:
    """The first tap of AlexNet by hand: numpy all the way from pixels to the weighted distance."""
    a, b = (p[:1].double().numpy() for p in pictures())
    weights = made_up_weights("alex")
    kernel = weights["features.0.weight"].double().numpy()
    bias = weights["features.0.bias"].double().numpy()
    shift = np.array([-0.030, -0.088, -0.188])[:, None, None]
    scale = np.array([0.458, 0.448, 0.450])[:, None, None]

    def tap(image: np.ndarray) -> np.ndarray:
        x = np.pad((image[0] - shift) / scale, ((0, 0), (2, 2), (2, 2)))
        size = (x.shape[1] - 11) // 4 + 1
        out = np.zeros((64, size, size))
        for i in range(size):
            for j in range(size):
                patch = x[:, 4 * i : 4 * i + 11, 4 * j : 4 * j + 11]
                out[:, i, j] = (kernel * patch).sum(axis=(1, 2, 3)) + bias
        out = np.maximum(out, 0)
        return out / np.sqrt((out * out).sum(axis=0, keepdims=True))

    metric = LPIPS("alex", weight_folder)
    head = metric.lin0.flatten().double().numpy()
    expected = (head[:, None, None] * (tap(a) - tap(b)) ** 2).sum(axis=0).mean()
    one, other = metric.features(torch.from_numpy(a).float()), metric.features(torch.from_numpy(b).float())
    only_first = metric.distance(one[:1], other[:1])
    assert float(only_first) == pytest.approx(expected, rel=1e-5)


def test_gradient_reaches_the_image_only(weight_folder: Path) -> None:
    metric = LPIPS("squeeze", weight_folder)
    a, b = pictures()
    a.requires_grad_(), b.requires_grad_()
    metric(a, b).mean().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
    assert a.grad[0].abs().sum() > 0
    assert b.grad is None
    assert all(p.grad is None and not p.requires_grad for p in metric.parameters())


def test_a_position_without_features_has_no_infinite_gradient() -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit_length(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_stays_in_eval_mode_without_trained_parameters(weight_folder: Path) -> None:
    assert not any(p.requires_grad for p in LPIPS("vgg", weight_folder).parameters())


def test_half_precision_files_are_read(tmp_path: Path) -> None:
    torch.save({k: v.half() for k, v in made_up_weights("squeeze").items()}, tmp_path / "f16.pth")
    net = load_backbone("squeeze", tmp_path / "f16.pth")
    assert next(net.parameters()).dtype is torch.float32


def test_found_in_the_torch_hub_cache(weight_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(weight_folder.parent))
    assert find_backbone_file("alex") == weight_folder / "alexnet-owt-7be5be79.pth"
    assert find_backbone_file("vgg", weight_folder).name == "vgg16-397923af.pth"


def test_a_missing_file_is_one_sentence_with_the_place_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError) as error:
        LPIPS("alex")
    text = str(error.value)
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in text
    assert "--lpips-weights" in text
    assert "padinv fetch lpips-alex" in text
    with pytest.raises(InputError, match="does not exist"):
        LPIPS("alex", tmp_path / "nothing.pth")


def test_a_foreign_file_is_named(weight_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold torchvision's weights for LPIPS 'vgg'"):
        LPIPS("vgg", weight_folder / BACKBONES["alex"].file)
    (tmp_path / "noise.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"noise\.pth does not hold"):
        LPIPS("vgg", tmp_path / "noise.pth")
    broken = made_up_weights("squeeze")
    broken["features.0.bias"][0] = float("nan")
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(InputError, match="not finite"):
        LPIPS("squeeze", tmp_path / "nan.pth")


def test_too_small_images_and_unknown_backbones(weight_folder: Path) -> None:
    with pytest.raises(UsageError, match="31 px or more"):
        LPIPS("alex", weight_folder)(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    with pytest.raises(UsageError, match="alex, vgg, squeeze"):
        LPIPS("resnet", weight_folder)
