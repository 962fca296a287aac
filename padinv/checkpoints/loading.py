"""One front door for every file: padinv's own or another project's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.build import build_module
from padinv.checkpoints.checkpoint import Checkpoint, describe_foreign, open_checkpoint
from padinv.checkpoints.compact_bundle import bundle_encoder, bundle_generator, is_bundle
from padinv.checkpoints.native import (
    load_native_discriminator,
    load_native_encoder,
    load_native_generator,
    read_header,
)
from padinv.models.discriminator import Discriminator
from padinv.models.generator import Generator

if TYPE_CHECKING:
    from padinv.models.encoder import Encoder


def load_generator(path: Path | str) -> Generator:
    """The generator of any supported file, in eval mode, complete with `w_avg`.

    Files: padinv's safetensors and compact bundles; NVIDIA's `.pkl`; rosinality's, pSp's, e4e's and ReStyle's `.pt`;
    GenForce's and Hammer's `.pth`. A missing `w_avg` is estimated from 10,000 seeded samples.

    Raises:
        InputError: missing, damaged, or no generator that padinv can use.
    """
    if is_bundle(path):
        return bundle_generator(path)
    if read_header(path) is not None:
        return load_native_generator(path)
    with open_checkpoint(path) as checkpoint:
        foreign = checkpoint.read_generator(with_discriminator=False)
    return build_module(lambda: Generator(foreign.spec), foreign.state).eval()


def load_discriminator(path: Path | str) -> Discriminator | None:
    """The discriminator of any supported file, in eval mode, or None where there is none that padinv can use.

    Raises:
        InputError: missing, damaged, or not a supported file.
    """
    if is_bundle(path):
        return None  # bundles hold what inverts, not what judges
    if read_header(path) is not None:
        return load_native_discriminator(path)
    with open_checkpoint(path) as checkpoint:
        if not checkpoint.networks:
            checkpoint.generator_plan()
        plan, _ = checkpoint.discriminator_plan()
        if plan is None:
            return None
        state = dict(plan.weights())
        config = plan.config
    return build_module(lambda: Discriminator(**config), state).eval()


def load_encoder(path: Path | str, generator: Path | str | None = None) -> Encoder:
    """The encoder of any supported file, in eval mode, complete with `w_avg`.

    Files: padinv's safetensors and compact bundles, and the paper's own `.pth`. The latter needs a generator for its
    average code and its geometry: the one in the file, or else `generator`, any supported generator file.

    Raises:
        InputError: missing, damaged, no encoder that padinv can use, or no generator to go with it.
    """
    if is_bundle(path):
        return bundle_encoder(path)
    if read_header(path) is not None:
        return load_native_encoder(path)
    from padinv.checkpoints.convert import read_encoder
    from padinv.models.encoder import Encoder

    foreign = read_encoder(path, generator)
    return build_module(lambda: Encoder(foreign.spec, foreign.config), foreign.state).eval()


def describe(path: Path | str) -> dict[str, Any]:
    """What a checkpoint file holds, JSON-ready; no weights are read.

    Returns:
        'kind' ('generator', 'encoder', ... for padinv's own; 'generator checkpoint' or 'encoder checkpoint' for
        others), 'path', and facts: source, resolution, channels, widths, noise, truncation centre, parameters, SHA-256.

    Raises:
        InputError: missing, damaged, or nothing that padinv knows.
    """
    if read_header(path) is not None:
        from padinv.runtime.describe import describe as describe_own

        return describe_own(path)
    return describe_foreign(path)


__all__ = ["Checkpoint", "describe", "load_discriminator", "load_encoder", "load_generator"]
