"""The remedies for the image's border: noise on rings, smooth rings, and a discriminator of border patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import small_widths, write_generator, write_pictures

from padinv.checkpoints import load_discriminator
from padinv.losses.border import border_patches, noisy_rings, patch_side, ring_smoothness
from padinv.losses.objective import Objective
from padinv.models.rings import extract_ring, ring_walk
from padinv.runtime.errors import UsageError
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training


def ring_by_place(padded: np.ndarray) -> list[float]:
    """The border of [h, h], clockwise from the top left corner, one position after another."""
    last = len(padded) - 1
    places = [(0, j) for j in range(last)] + [(i, last) for i in range(last)]
    places += [(last, j) for j in range(last, 0, -1)] + [(i, 0) for i in range(last, 0, -1)]
    return [float(padded[place]) for place in places]


@pytest.mark.parametrize("r", [4, 8])
def test_a_walk_visits_every_position_once_and_in_the_order_of_the_border(r: int) -> None:
    padded = torch.randn(1, 1, r + 2, r + 2, dtype=torch.float64)
    walk = ring_walk(r)
    assert sorted(walk) == list(range(4 * r + 4))
    assert extract_ring(padded)[0, 0, walk].tolist() == ring_by_place(padded[0, 0].numpy())


def test_smoothness_is_the_mean_squared_difference_of_neighbours() -> None:
    padded = {r: torch.randn(2, 3, r + 2, r + 2) for r in (4, 8)}
    expected = []
    for maps in padded.values():
        rings = np.array([[ring_by_place(one) for one in sample] for sample in maps.double().numpy()])
        expected.append(np.square(rings - np.roll(rings, 1, axis=-1)).mean())
    value = ring_smoothness({r: extract_ring(maps) for r, maps in padded.items()})
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(ring_smoothness({4: torch.full((1, 2, 20), 3.0)})) == 0


def test_the_objective_weighs_smoothness_and_needs_no_rings_for_it() -> None:
    objective = Objective({"pix": 1.0, "smooth": 0.5})
    image, wp, ring = torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8), {4: torch.randn(1, 2, 20)}
    terms = objective.terms(image, image, wp, wp[0, 0], rings=ring)
    assert float(objective.total(terms)) == pytest.approx(0.5 * float(ring_smoothness(ring)), rel=1e-6)
    assert float(objective.terms(image, image, wp, wp[0, 0])["smooth"]) == 0


def test_noise_is_relative_to_each_ring_and_has_no_gradient_of_its_own() -> None:
    torch.manual_seed(0)
    ring = torch.cat([torch.randn(1, 40, 36), 100 * torch.randn(1, 40, 36)]).requires_grad_()
    noisy = noisy_rings({8: ring}, 0.2)[8]
    change = (noisy - ring).detach()
    for k in range(2):
        assert float(change[k].std() / ring[k].detach().std()) == pytest.approx(0.2, rel=0.1)
    noisy.sum().backward()
    assert ring.grad is not None
    assert torch.equal(ring.grad, torch.ones_like(ring))


def test_patches_lie_along_the_edges_with_the_edge_on_top() -> None:
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    distance = torch.stack([rows, columns, 31 - rows, 31 - columns]).amin(dim=0).float()  # from the nearest edge
    image = distance.expand(5, 3, 32, 32)
    patches = border_patches(image, 8)
    assert patches.shape == (20, 3, 8, 8)
    assert not patches[:, :, 0].any()  # the edge
    assert (patches.amax(dim=(1, 2, 3)) <= 7).all()
    assert patches[:, :, 7].amax() == 7
    one = torch.rand(1, 3, 32, 32)
    top, right, bottom, left = border_patches(one, 8)
    for patch, edge in (
        (top, one),
        (right, one.rot90(1, (2, 3))),
        (bottom, one.rot90(2, (2, 3))),
        (left, one.rot90(3, (2, 3))),
    ):
        assert any(torch.equal(patch, edge[0, :, :8, k : k + 8]) for k in range(25))
    assert (patch_side(128), patch_side(16)) == (32, 8)


def test_training_with_every_remedy_runs_and_keeps_no_discriminator_of_patches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("padinv.models.fast_encoder.widths", small_widths)
    config = TrainConfig(
        arch="fast", images=16, batch=4, lr=1e-3, per=0.0, ring_noise=0.1, smooth=0.1, adv=0.05, adv_view="border"
    )
    options = RunOptions(
        generator=write_generator(tmp_path / "g.safetensors", discriminator=True),
        data=write_pictures(tmp_path / "data.zip"),
        out=tmp_path / "run",
        device="cpu",
    )
    training = Training(config, options)
    assert training.discriminator is not None
    assert training.discriminator.resolution == 8
    assert training.memory().step > 0
    assert training.run().ending == "finished"
    assert load_discriminator(tmp_path / "run" / "generator.safetensors") is None
    with pytest.raises(UsageError, match="adv_view"):
        TrainConfig(adv_view="corner")
