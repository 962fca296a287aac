"""The networks in torch: every precision of every device against float64 on the processor."""

from __future__ import annotations

import numpy as np
import torch

from padinv.checkpoints.generator_encoder import Pair
from padinv.export.parity import Reference
from padinv.export.torch_session import TorchNetworks
from padinv.export.verify.checks import CheckError, Checks, Figures
from padinv.export.verify.comparing import images_per_second, parity, parity_line, speed_line
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec

LARGE = ModelSpec(256, (512, 512, 512, 512, 512, 256, 128))


def torch_devices() -> list[str]:
    """'cpu', and every CUDA GPU that torch sees."""
    return ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]


def precisions_of(device: str) -> tuple[str, ...]:
    """What is worth checking on a device."""
    return ("fp32", "bf16") if device == "cpu" else ("fp32", "tf32", "bf16", "fp16")


def check_device(checks: Checks, pair: Pair, expected: Reference, device: str, seconds: float) -> None:
    """Parity and speed of the model on one device."""
    networks = TorchNetworks(pair.generator, pair.encoder, device)
    for precision in precisions_of(device):

        def accuracy(precision: str = precision) -> tuple[str, Figures]:
            found = parity(expected, lambda graph: networks.session(graph, precision), precision, f"torch on {device}")
            return parity_line(found), {"parity": found}

        def speed(precision: str = precision) -> tuple[str, Figures]:
            image = expected.feeds["encoder"]["image"]
            encoder, generator = (networks.session(graph, precision) for graph in ("encoder", "generator"))
            found = images_per_second(encoder, generator, image, (1, 8, 32), seconds)
            return speed_line(found), {"images_per_second": found}

        if checks.run("torch", f"{device}, {precision}: agrees with float64", accuracy):
            checks.run("torch", f"{device}, {precision}: speed", speed)


def check_large(checks: Checks, device: str, seconds: float) -> None:
    """A full-sized model (256 px, 512 channels, the paper's encoder) at random weights, on one GPU."""
    networks: list[TorchNetworks] = []

    def build() -> tuple[str, Figures]:
        torch.manual_seed(0)
        with torch.device(device):
            generator = Generator(LARGE).eval()
            encoder = Encoder.from_generator(generator, EncoderConfig("reference")).eval()
        networks.extend(TorchNetworks(generator, encoder, device, double) for double in (False, True))
        parameters = sum(p.numel() for p in (*generator.parameters(), *encoder.parameters()))
        return f"{parameters / 1e6:.0f} M parameters", {"parameters": parameters}

    if not checks.run("torch", f"{device}: full-sized model at random weights", build):
        return
    single, double = networks
    image = torch.rand(32, 3, 256, 256, generator=torch.Generator().manual_seed(1)).mul(2).sub(1).numpy()
    for precision in precisions_of(device):

        def accuracy(precision: str = precision) -> tuple[str, Figures]:
            found: dict[str, float] = {}
            feeds = {"image": image[:3]}
            for graph in ("encoder", "generator"):
                wanted = double.session(graph, "fp64").run(feeds)
                got = single.session(graph, precision).run(feeds)
                found[graph] = max(
                    float(np.abs(got[name] - wanted[name]).max() / max(1.0, np.abs(wanted[name]).max()))
                    for name in wanted
                )
                feeds = wanted
            if not np.isfinite(list(found.values())).all():
                raise CheckError("results are not finite", found)
            if precision == "fp32" and max(found.values()) > 1e-3:
                raise CheckError(f"float32 differs from float64 by {max(found.values()):.1e}", found)
            line = f"largest difference: encoder {found['encoder']:.1e}, generator {found['generator']:.1e}"
            return f"{line} (relative to the largest value, batch 3)", found

        def speed(precision: str = precision) -> tuple[str, Figures]:
            encoder, generator = (single.session(graph, precision) for graph in ("encoder", "generator"))
            found = images_per_second(encoder, generator, image, (1, 8, 32), seconds)
            return speed_line(found), {"images_per_second": found}

        checks.run("torch", f"{device}, full-sized, {precision}: agrees with float64", accuracy)
        checks.run("torch", f"{device}, full-sized, {precision}: speed", speed)
