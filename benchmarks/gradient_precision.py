"""How exact a step's gradients are: float32 as it is, with activation checkpointing, and compiled, against float64.

    python benchmarks/gradient_precision.py --out benchmarks/results/gradient_precision.md [--model BUNDLE] [--batch 8]

One forward and backward pass of the losses `pix` and `reg` through encoder and generator of a model, in training mode:
batch statistics are those of the batch. The same pass in float64 is the truth. An error is the largest difference of
any gradient, divided by the largest gradient. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from padinv.checkpoints import load_encoder, load_generator
from padinv.losses.latent import latent_norm
from padinv.losses.pixel import pixel_loss
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.model_names import find_model
from padinv.training.activation_checkpointing import checkpoint_blocks, encoder_blocks

Networks = tuple[nn.Module, nn.Module]


def gradients(encoder: Any, synthesis: Callable[..., Tensor], images: Tensor) -> dict[str, Tensor]:
    """Gradients of one pass in float64, by name."""
    encoder.zero_grad(set_to_none=True)
    wp, const, rings = encoder(images)
    loss = pixel_loss(synthesis(wp, const, rings), images) + 0.003 * latent_norm(wp, encoder.w_avg)
    loss.backward()
    return {name: p.grad.double() for name, p in encoder.named_parameters() if p.grad is not None}


def error(found: dict[str, Tensor], truth: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference of any gradient over the largest gradient, and where it is."""
    scale = max(float(value.abs().max()) for value in truth.values())
    return max((float((found[name] - value).abs().max()) / scale, name) for name, value in truth.items())


def all_gradients(encoder: Any, generator: Any, images: Tensor) -> dict[str, dict[str, Tensor]]:
    """Gradients by variant."""

    def fresh(kind: torch.dtype = torch.float32) -> Any:
        return copy.deepcopy(encoder).to(kind).train()

    found = {"float64": gradients(fresh(torch.float64), copy.deepcopy(generator).double().synthesis, images.double())}
    found["float32"] = gradients(fresh(), generator.synthesis, images)
    frugal, kept = fresh(), copy.deepcopy(generator)
    checkpoint_blocks([*encoder_blocks(frugal), *kept.layers, *kept.to_rgb])
    found["float32, `--checkpointing`"] = gradients(frugal, kept.synthesis, images)
    compiled = fresh()
    compiled.compile(backend="inductor")
    synthesis = torch.compile(generator.synthesis, backend="inductor")
    found["float32, `--compile inductor`"] = gradients(compiled, synthesis, images)
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="faces128", help="a compact bundle")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    bundle = find_model(given.model)
    encoder, generator = load_encoder(bundle), load_generator(bundle).requires_grad_(False)
    side = generator.spec.image_size
    torch.manual_seed(0)
    coarse = torch.rand(given.batch, 3, side // 8, side // 8) * 2 - 1
    images = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(-1, 1)
    rows = []
    found = all_gradients(encoder, generator, images)
    truth, plain = found.pop("float64"), found["float32"]
    for name, values in found.items():
        far, where = error(values, truth)
        rows.append(f"| {name} | {far:.1e} | {error(values, plain)[0]:.1e} | `{where}` |")
        print(rows[-1], flush=True)
    text = [
        "# Precision of gradients",
        "",
        f"`python benchmarks/gradient_precision.py`: model {given.model}, {given.batch} images,",
        "losses `pix` and `reg`. An error is the largest difference of any gradient, over the largest",
        "gradient.",
        "",
        "| computed in | error against float64 | difference from plain float32 | largest error in |",
        "|---|---|---|---|",
        *rows,
        "",
        *(f"- {line}" for line in this_machine().lines()),
    ]
    if given.out is not None:
        given.out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
