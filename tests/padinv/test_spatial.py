"""The spatial code in torch: where it enters the generator, what predicts it, how it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import lively_encoder, lively_generator
from tiny_training import write_generator, write_pictures
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu

from padinv.checkpoints import load_encoder
from padinv.models.encoder import Encoder, EncoderConfig, encode_images, shared_weights
from padinv.models.rings import concat_ring
from padinv.runtime.errors import MismatchError, UsageError
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.validation import errors

pytestmark = pytest.mark.usefixtures("small_networks")

SPATIAL = EncoderConfig("fast", spatial=(8, 16), spatial_width=6)


def faces(count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(4)) * 2 - 1


def test_a_layer_adds_the_code_inside_the_ring_and_the_style_scales_neither() -> None:
    """A restatement in float64 of modulation, convolution and demodulation."""
    layer = lively_generator().double().layers[2]  # 8 px, not up-sampling
    x, w = torch.randn(2, 8, 8, 8).double(), torch.randn(2, 8).double()
    ring, code = torch.randn(2, 8, 36).double(), torch.randn(2, 8, 8, 8).double()
    style = layer.affine(w)
    weight = layer.weight * layer.gain
    inside = concat_ring(x * style[:, :, None, None] + code, ring)
    demod = torch.rsqrt((weight[None] * style[:, None, :, None, None]).square().sum(dim=(2, 3, 4)) + layer.demod_eps)
    y = conv2d(inside, weight) * demod[:, :, None, None]
    y = y + layer.noise_const * layer.noise_strength + layer.bias[None, :, None, None]
    wanted = (leaky_relu(y, 0.2) * 2**0.5).clamp(-256, 256)
    torch.testing.assert_close(layer(x, w, ring, "const", code), wanted)


def test_zero_is_neutral_and_wrong_shapes_are_refused() -> None:
    generator = lively_generator()
    wp = torch.randn(2, *generator.spec.wp_shape)
    with torch.no_grad():
        plain = generator.synthesis(wp)
        assert torch.equal(generator.synthesis(wp, spatial={8: torch.zeros(2, 8, 8, 8)}), plain)
        assert not torch.allclose(generator.synthesis(wp, spatial={8: torch.ones(2, 8, 8, 8)}), plain)
    with pytest.raises(MismatchError, match=r"spatial code for 8 px must be \[N, 8, 8, 8\]"):
        generator.synthesis(wp, spatial={8: torch.zeros(2, 8, 4, 4)})
    with pytest.raises(MismatchError, match="spatial codes are given for"):
        generator.synthesis(wp, spatial={64: torch.zeros(2, 8, 64, 64)})


def test_training_begins_with_the_neutral_code() -> None:
    generator = lively_generator()
    encoder = Encoder.from_generator(generator, SPATIAL).eval()
    codes = encoder.spatial_code(faces(), faces())
    assert {r: tuple(code.shape) for r, code in codes.items()} == {8: (2, 8, 8, 8), 16: (2, 6, 16, 16)}
    assert not any(code.any() for code in codes.values())


def test_the_configuration_survives_and_refuses_what_makes_no_sense() -> None:
    assert EncoderConfig.from_dict(SPATIAL.to_dict()) == SPATIAL
    assert "spatial" not in EncoderConfig("fast").to_dict()
    with pytest.raises(UsageError, match="too fine"):
        Encoder.from_generator(lively_generator(), EncoderConfig("fast", spatial=(32,)))


def test_the_code_comes_from_image_and_reconstruction() -> None:
    generator = lively_generator()
    encoder = lively_encoder(generator, SPATIAL)
    image = faces()
    with torch.no_grad():
        wp, const, rings = encoder(image)
        shown = generator.synthesis(wp, const, rings)
        wanted = encoder.spatial_code(image, shown)
        found = encode_images(encoder, generator, image)
        output = found.generate(generator)
    assert torch.equal(found.wp, wp)
    assert all(torch.equal(found.spatial[r], wanted[r]) for r in (8, 16))
    assert torch.equal(output, generator.synthesis(wp, const, rings, spatial=wanted))
    pixels = (image * 127.5 + 127.5).to(torch.uint8)
    real = pixels.float() / 127.5 - 1
    with torch.no_grad():
        clamped = encode_images(encoder, generator, real).generate(generator).clamp(-1, 1)
    torch.testing.assert_close(
        errors(encoder, generator, pixels, None)["mse"], (clamped - real).square().mean(dim=(1, 2, 3))
    )


def test_training_changes_the_spatial_code_alone_and_resumes_exactly(tmp_path: Path) -> None:
    generator, data = write_generator(tmp_path / "g.safetensors"), write_pictures(tmp_path / "train.zip")
    short = {"arch": "fast", "batch": 4, "per": 0.0, "lr": 1e-2, "ema": 0.9}

    def run(out: str, images: int, spatial: tuple[int, ...] | None = None, init: Path | None = None) -> Path:
        options = RunOptions(generator, data, tmp_path / out, data, init=init, val_count=4, save_minutes=60)
        Training(TrainConfig(**short, images=images, spatial=spatial), options).run()
        return tmp_path / out

    first = run("first", 8)
    whole = run("whole", 16, (8,), first)
    run("parts", 8, (8,), first)
    parts = run("parts", 16, (8,), first)
    before, after, again = (load_encoder(folder / "encoder.safetensors") for folder in (first, whole, parts))
    assert after.spec.spatial_resolutions == (8,)
    for name, value in shared_weights(before, after).items():
        assert torch.equal(after.state_dict()[name], value), name
    assert after.spatial is not None
    assert any(weight.any() for name, weight in after.spatial.named_parameters() if name.endswith("out.weight"))
    for name, value in after.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_spatial_code_needs_a_finished_encoder_of_the_same_kind(tmp_path: Path) -> None:
    generator, data = write_generator(tmp_path / "g.safetensors"), write_pictures(tmp_path / "train.zip")
    config = TrainConfig(arch="fast", batch=4, per=0.0, images=8, spatial=(8,))
    with pytest.raises(UsageError, match="give it with --init"):
        Training(config, RunOptions(generator, data, tmp_path / "out"))
    plain = TrainConfig(arch="fast", batch=4, per=0.0, images=4, padding=False)
    Training(plain, RunOptions(generator, data, tmp_path / "plain")).run()
    with pytest.raises(MismatchError, match="cannot be trained on top of it"):
        Training(config, RunOptions(generator, data, tmp_path / "out", init=tmp_path / "plain")).run()
