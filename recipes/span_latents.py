"""Give a generator the W that real images span, carry its encoders over, and mix in a fine-tuned generator.

    python recipes/span_latents.py span --generator G --wplus E --data train.zip --out FOLDER [--encoder E2 ...]
    python recipes/span_latents.py mix --generator A --fine-tuned B --share 0.2 --out C
    python recipes/span_latents.py scale --generator C --factor 1.1 --out D

`span` needs an encoder without padding (W+ only) and writes FOLDER/generator.safetensors and each encoder under its own
name. `mix` writes (1 - share) A + share B, with w_avg measured again; encoders of A are then started from with
`padinv train --init`. `scale` makes samples vary more, which encoders do not notice. See
`padinv/training/generator/latent_span.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from padinv import load_encoder, load_generator
from padinv.checkpoints.native import generator_hash, save_encoder, save_generator
from padinv.models.encoder import Encoder
from padinv.picture_sources import open_pictures
from padinv.training.generator.latent_span import (
    mix_generators,
    scale_mapping,
    span_encoder,
    span_generator,
    span_of,
)
from padinv.training.pictures import Pictures, to_float


@torch.no_grad()
def codes(encoder: Encoder, data: str, count: int) -> torch.Tensor:
    """W+ codes of the first `count` images and of their mirror images: [2 count, L, w_dim]."""
    cache = Pictures(open_pictures(data), encoder.spec.image_size).cache
    if cache is None:
        raise SystemExit(f"{data} does not fit in memory")
    found = []
    for batch in cache[:count].split(32):
        image = to_float(batch, torch.device("cpu"))
        found += [encoder(image)[0], encoder(image.flip(3))[0]]
    return torch.cat(found)


def span(arguments: argparse.Namespace) -> None:
    generator = load_generator(arguments.generator)
    wplus = load_encoder(arguments.wplus)
    found = span_of(codes(wplus, arguments.data, arguments.count), generator.spec.z_dim)
    spanned = span_generator(generator, found)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_generator(arguments.out / "generator.safetensors", spanned, record={"source": "recipes/span_latents.py span"})
    for path in (arguments.wplus, *arguments.encoder):
        encoder = span_encoder(load_encoder(path), found, spanned)
        name = path.stem if path.stem != "encoder" else path.parent.name
        save_encoder(arguments.out / f"{name}.safetensors", encoder, generator_hash(spanned))


def mix(arguments: argparse.Namespace) -> None:
    first, second = load_generator(arguments.generator), load_generator(arguments.fine_tuned)
    mixed = mix_generators(first, second, arguments.share)
    mixed.measure_w_avg()
    record = {"source": f"recipes/span_latents.py mix --share {arguments.share}"}
    save_generator(arguments.out, mixed, record=record)


def scale(arguments: argparse.Namespace) -> None:
    scaled = scale_mapping(load_generator(arguments.generator), arguments.factor)
    record = {"source": f"recipes/span_latents.py scale --factor {arguments.factor}"}
    save_generator(arguments.out, scaled, record=record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("span")
    one.add_argument("--generator", type=Path, required=True)
    one.add_argument("--wplus", type=Path, required=True)
    one.add_argument("--encoder", type=Path, action="append", default=[])
    one.add_argument("--data", required=True)
    one.add_argument("--count", type=int, default=2000, help="images whose codes span W")
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(run=span)
    other = verbs.add_parser("mix")
    other.add_argument("--generator", type=Path, required=True)
    other.add_argument("--fine-tuned", type=Path, required=True)
    other.add_argument("--share", type=float, default=0.2)
    other.add_argument("--out", type=Path, required=True)
    other.set_defaults(run=mix)
    third = verbs.add_parser("scale")
    third.add_argument("--generator", type=Path, required=True)
    third.add_argument("--factor", type=float, default=1.1)
    third.add_argument("--out", type=Path, required=True)
    third.set_defaults(run=scale)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
