"""A run folder at random weights in which everything matters: noise, biases, clamps, batch statistics, rings."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from padinv.checkpoints import generator_hash, save_encoder, save_generator
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (8, 8, 6, 4), z_dim=8, w_dim=8, mapping_layers=2, conv_clamp=256.0)


@torch.no_grad()
def lively_generator(spec: ModelSpec = SPEC, seed: int = 5) -> Generator:
    """A generator none of whose parts is at its neutral value."""
    torch.manual_seed(seed)
    generator = Generator(spec).eval()
    for layer in generator.layers:
        layer.bias.normal_(0, 0.1)
        layer.noise_strength.fill_(0.2)
    for layer in generator.to_rgb:
        layer.bias.normal_(0, 0.1)
    generator.w_avg.copy_(generator.mapping(torch.randn(64, spec.z_dim)).mean(0))
    return generator


@torch.no_grad()
def lively_encoder(generator: Generator, config: EncoderConfig, seed: int = 6) -> Encoder:
    """An encoder with batch statistics of its own, and heads that are not zero."""
    torch.manual_seed(seed)
    encoder = Encoder.from_generator(generator, config)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
        elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) and not module.weight.any():
            module.weight.normal_(0, 0.05)
    return encoder.eval()


def write_run(folder: Path, config: EncoderConfig | None = None, spec: ModelSpec = SPEC) -> Path:
    """A folder as `padinv train` leaves it, as far as others read it."""
    generator = lively_generator(spec)
    encoder = lively_encoder(generator, config or EncoderConfig("fast"))
    folder.mkdir(parents=True, exist_ok=True)
    record = {"data": "/somebody/private/photos.zip", "images": 12}
    save_generator(folder / "generator.safetensors", generator)
    save_encoder(folder / "encoder.safetensors", encoder, generator_hash(generator), record)
    return folder
