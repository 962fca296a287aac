"""Pixel, latent, adversarial and identity terms, each alone, and their sum."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from padinv.losses.adversarial import discriminator_loss, encoder_adversarial_loss, gradient_penalty, lazy_weight
from padinv.losses.identity import FaceCrop, IdentityLoss
from padinv.losses.latent import latent_norm
from padinv.losses.objective import Objective, loss_image
from padinv.losses.pixel import pixel_loss
from padinv.models.face_recognition import IRSE50, MobileFaceNet, load_face_network
from padinv.runtime.alignment.similarity import similarity
from padinv.runtime.alignment.templates import ARCFACE, template_named
from padinv.runtime.errors import InputError, UsageError


def test_pixel_is_the_mean_square_over_everything() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.zeros(2, 3, 4, 4)
    b[1, 0, 0, 0] = 2.0
    assert float(pixel_loss(a, b)) == pytest.approx(4 / 96)


def test_latent_norm_is_one_norm_over_layers_and_channels() -> None:
    w_avg = torch.tensor([1.0, -1.0])
    wp = w_avg.expand(2, 3, 2).clone()
    wp[0, 0, 0] += 3
    wp[0, 2, 1] += 4  # norm 5; the other sample is at the centre
    assert float(latent_norm(wp, w_avg)) == pytest.approx(2.5)


def test_latent_norm_has_a_finite_gradient_at_the_centre() -> None:
    wp = torch.zeros(2, 3, 4, requires_grad=True)
    latent_norm(wp, torch.zeros(4)).backward()
    assert wp.grad is not None
    assert torch.isfinite(wp.grad).all()


def test_both_adversarial_forms() -> None:
    real, fake = torch.tensor([[2.0], [0.0]]), torch.tensor([[-1.0], [3.0]])

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    assert float(encoder_adversarial_loss(fake)) == pytest.approx((softplus(1) + softplus(-3)) / 2)
    expected = (softplus(-1) + softplus(3)) / 2 + (softplus(-2) + softplus(0)) / 2
    assert float(discriminator_loss(real, fake)) == pytest.approx(expected)
    assert float(encoder_adversarial_loss(fake, "critic")) == pytest.approx(-1.0)
    assert float(discriminator_loss(real, fake, "critic")) == pytest.approx(1.0 - 1.0)
    with pytest.raises(UsageError, match="logistic, critic"):
        encoder_adversarial_loss(fake, "hinge")


def test_gradient_penalty_of_a_known_function() -> None:
    """D(x) = sum(c x^2 / 2) has gradient c x, and the penalty's own gradient with respect to c is 2 c E||x||^2."""
    c = torch.tensor(3.0, requires_grad=True)
    real = torch.randn(4, 3, 2, 2)
    penalty = gradient_penalty(lambda x: (c * x.square() / 2).sum(dim=(1, 2, 3)), real)
    power = real.square().sum(dim=(1, 2, 3)).mean()
    assert penalty.item() == pytest.approx(9 * power.item(), rel=1e-5)
    penalty.backward()
    assert c.grad is not None
    assert c.grad.item() == pytest.approx(6 * power.item(), rel=1e-5)


def test_lazy_and_eager_penalties_weigh_the_same_over_an_interval() -> None:
    lazy = [lazy_weight(step, 10.0, 16) for step in range(32)]
    eager = [lazy_weight(step, 10.0, 1) for step in range(32)]
    assert sum(lazy) == pytest.approx(sum(eager)) == pytest.approx(32 * 5.0)
    assert [step for step, weight in enumerate(lazy) if weight > 0] == [0, 16]


class Recorder(nn.Module):
    """Stands for a face network: the crop itself, as a vector of length 1."""

    def forward(self, crop: Tensor) -> Tensor:
        return nn.functional.normalize(crop.flatten(1))


def test_identity_is_zero_for_the_same_and_two_for_the_opposite() -> None:
    loss = IdentityLoss(Recorder(), "faces")
    x = torch.rand(2, 3, 64, 64) - 0.5
    assert loss(x, x).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert loss(-x, x).tolist() == pytest.approx([2, 2], abs=1e-5)


@pytest.mark.parametrize("size", [64, 256])
def test_the_crop_brings_landmarks_to_arcfaces_template(size: int) -> None:
    """Blobs painted at the template's landmarks must come out at ArcFace's, up to the least-squares residual."""
    points = template_named("faces").points * size
    rows, columns = np.mgrid[:size, :size] + 0.5
    crop = FaceCrop("faces")
    # The two templates differ by more than a similarity; the residual is what the fit leaves over.
    matrix = similarity(points, np.asarray(ARCFACE))
    fitted = points @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(fitted - np.asarray(ARCFACE)).max() < 4.0
    for point, expected in zip(points, fitted, strict=True):
        sigma = size * 0.03
        blob = np.exp(-((columns - point[0]) ** 2 + (rows - point[1]) ** 2) / (2 * sigma**2))
        image = torch.from_numpy(blob).float().expand(1, 3, -1, -1)
        out = crop(image)[0, 0].double().numpy()
        assert out.shape == (112, 112)
        ys, xs = np.mgrid[:112, :112] + 0.5
        found = np.array([(out * xs).sum(), (out * ys).sum()]) / out.sum()
        # The crop shows less than the whole blob where it lies near the edge; half a pixel is enough.
        assert found == pytest.approx(expected, abs=0.6)


def test_ffhq_pictures_are_cut_as_the_reference_does() -> None:
    image = torch.rand(1, 3, 256, 256)
    out = FaceCrop(None)(image)
    expected = nn.functional.adaptive_avg_pool2d(image[:, :, 35:223, 32:220], 112)
    assert torch.equal(out, expected)
    assert FaceCrop(None)(torch.rand(1, 3, 64, 64)).shape == (1, 3, 112, 112)
    with pytest.raises(UsageError, match="faces"):
        FaceCrop("cats")


def test_identity_gradient_reaches_the_image_only() -> None:
    loss = IdentityLoss(Recorder(), "faces")
    a = (torch.rand(1, 3, 64, 64) - 0.5).requires_grad_()
    b = (torch.rand(1, 3, 64, 64) - 0.5).requires_grad_()
    loss(a, b).mean().backward()
    assert a.grad is not None
    assert a.grad.abs().sum() > 0
    assert b.grad is None


def test_identity_network_stays_in_eval_mode() -> None:
    loss = IdentityLoss(nn.BatchNorm2d(3), None)
    loss.train()
    assert not loss.network.training


@pytest.mark.parametrize(("network", "width"), [(IRSE50, 512), (MobileFaceNet, 128)])
def test_face_networks_round_trip_and_are_told_apart(network: type[nn.Module], width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = network().eval()
    torch.save(net.state_dict(), tmp_path / "face.pth")
    loaded = load_face_network(tmp_path / "face.pth")
    assert type(loaded) is network
    assert not any(p.requires_grad for p in loaded.parameters())
    crop = torch.rand(2, 3, 112, 112) * 2 - 1
    embedding = loaded(crop)
    assert embedding.shape == (2, width)
    assert embedding.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert torch.equal(embedding, net(crop))


def test_irse50_has_the_circulating_layout() -> None:
    """The names and shapes that pSp's and InsightFace_Pytorch's model_ir_se50.pth carry."""
    state = IRSE50().state_dict()
    assert sum(name.startswith("body.") and name.endswith("res_layer.1.weight") for name in state) == 24
    for name, shape in {
        "input_layer.0.weight": (64, 3, 3, 3),
        "input_layer.2.weight": (64,),
        "body.0.res_layer.5.fc1.weight": (4, 64, 1, 1),
        "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
        "body.3.shortcut_layer.1.running_mean": (128,),
        "body.23.res_layer.3.weight": (512, 512, 3, 3),
        "output_layer.0.weight": (512,),
        "output_layer.3.weight": (512, 25088),
        "output_layer.4.running_var": (512,),
    }.items():
        assert tuple(state[name].shape) == shape


def test_foreign_face_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_face_network(tmp_path / "face.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "face.pth")
    with pytest.raises(InputError, match=r"face\.pth holds neither"):
        load_face_network(tmp_path / "face.pth")


class Distance(nn.Module):
    """Stands for LPIPS or the identity loss."""

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).abs().mean(dim=(1, 2, 3))


def test_the_objective_is_the_weighted_sum_of_what_has_a_weight() -> None:
    weights = {"pix": 1.0, "per": 0.8, "id": 0.1, "adv": 0.03, "reg": 0.003}
    objective = Objective(weights, Distance(), Distance())
    output, target = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, 3, 4, 4)
    wp, w_avg = torch.ones(2, 4, 4), torch.zeros(4)
    terms = objective.terms(output, target, wp, w_avg, torch.tensor(2.0))
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(
        {"pix": 0.25, "per": 0.5, "id": 0.5, "adv": 2.0, "reg": 4.0}
    )
    assert float(objective.total(terms)) == pytest.approx(0.25 + 0.4 + 0.05 + 0.06 + 0.012)
    only = Objective({"pix": 2.0, "per": 0.0})
    terms = only.terms(output, target, wp, w_avg)
    assert set(terms) == {"pix"}
    assert float(only.total(terms)) == pytest.approx(0.5)


def test_the_objective_refuses_what_it_cannot_compute() -> None:
    with pytest.raises(UsageError, match="'per' has a weight"):
        Objective({"per": 0.8})
    with pytest.raises(UsageError, match="not 'style'"):
        Objective({"style": 1.0})
    with pytest.raises(UsageError, match="no discriminator"):
        Objective({"adv": 1.0}).terms(
            torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 2), torch.zeros(2)
        )


def test_large_outputs_are_average_pooled_for_the_losses() -> None:
    image = torch.rand(1, 3, 8, 8)
    pooled = loss_image(image, 4)
    assert pooled[0, 0, 0, 0].item() == pytest.approx(image[0, 0, :2, :2].mean().item(), rel=1e-6)
    assert loss_image(image, 8) is image
