"""A full-sized model at random weights as a bundle, to measure speed without anybody's checkpoint.

    python benchmarks/full_size_bundle.py OUT [--arch reference|fast] [--resolution 256] [--fp16] [--weights]

256 px, 512 channels and the paper's encoder by default: 248 M parameters. Every part takes part: noise, biases, batch
statistics, rings. The images mean nothing; speed does not depend on them. Takes minutes and about 7 GB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from padinv.checkpoints.generator_encoder import Pair
from padinv.export.export_bundle import Options, export_bundle
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec

WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}  # StyleGAN2, config F


@torch.no_grad()
def random_pair(resolution: int, architecture: str, seed: int = 0) -> Pair:
    """A generator and an encoder none of whose parts is at its neutral value."""
    torch.manual_seed(seed)
    generator = Generator(ModelSpec(resolution, tuple(c for r, c in WIDTHS.items() if r <= resolution))).eval()
    for layer in generator.layers:
        layer.bias.normal_(0, 0.1)
        layer.noise_strength.fill_(0.1)
    generator.w_avg.copy_(generator.mapping(torch.randn(256, generator.spec.z_dim)).mean(0))
    encoder = Encoder.from_generator(generator, EncoderConfig(architecture)).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.25)
    return Pair(generator, encoder, f"random{resolution}-{architecture}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arch", choices=("reference", "fast"), default="reference")
    parser.add_argument("--resolution", type=int, choices=tuple(WIDTHS)[1:], default=256)
    parser.add_argument("--fp16", action="store_true", help="also float16 graphs")
    parser.add_argument("--weights", action="store_true", help="also weights.safetensors, so that torch can take part")
    arguments = parser.parse_args()
    pair = random_pair(arguments.resolution, arguments.arch)
    options = Options(name=pair.name, half=arguments.fp16, weights=arguments.weights, overwrite=True)
    result = export_bundle(pair, arguments.out, options, print)
    print(f"wrote {result.bundle.folder}")


if __name__ == "__main__":
    main()
