"""`padinv import`: another project's checkpoint becomes padinv's own file, with a record of where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.checkpoint import Checkpoint, ForeignGenerator, open_checkpoint
from padinv.checkpoints.container.lazy_tensors import Refused
from padinv.checkpoints.detect import has_psp_encoder, paper_encoders
from padinv.checkpoints.formats.conversion_plan import Unsupported, read_pieces
from padinv.checkpoints.formats.paper_encoder import SOURCE, facts_of, plan_encoder
from padinv.checkpoints.native import (
    load_native_generator,
    read_header,
    save_encoder_state,
    save_generator_state,
    state_hash,
)
from padinv.runtime.errors import InputError
from padinv.runtime.files import sha256_file

if TYPE_CHECKING:
    import torch

    from padinv.models.encoder import EncoderConfig
    from padinv.runtime.spec import ModelSpec


@dataclass
class ForeignEncoder:
    """An encoder out of the paper's checkpoint, in padinv's form, with the generator that it inverts.

    Attributes:
        state: state dict of `padinv.models.encoder.Encoder`, complete with `w_avg` and the learned constant.
        generator: state dict of the generator, complete with `w_avg`.
        record: where it comes from, JSON-ready.
    """

    spec: ModelSpec
    config: EncoderConfig
    state: dict[str, torch.Tensor] = field(repr=False)
    generator: dict[str, torch.Tensor] = field(repr=False)
    record: dict[str, Any] = field(repr=False)


def read_generator(path: Path | str) -> ForeignGenerator:
    """A generator and its discriminator out of another project's checkpoint, or out of padinv's own file.

    Raises:
        InputError: missing, damaged, or no generator that padinv can use.
    """
    with open_checkpoint(path) as checkpoint:
        return checkpoint.read_generator()


def import_generator(path: Path | str, out: Path | str) -> ForeignGenerator:
    """Read a generator out of another project's checkpoint and write it as padinv's own file.

    Raises:
        InputError: as `read_generator`. OutputError: `out` cannot be written.
    """
    refuse_own(path)
    foreign = read_generator(path)
    save_generator_state(out, foreign.spec, foreign.state, foreign.discriminator, foreign.record)
    return foreign


def refuse_own(path: Path | str) -> None:
    """Refuse padinv's own files: they need no import.

    Raises:
        InputError: it is one.
    """
    header = read_header(path)
    if header is not None:
        raise InputError(f"{path} is padinv's own {header['kind']} file already; every command takes it as it is")


def read_encoder(
    path: Path | str, generator: Path | str | None = None, padded_layers: int | None = None
) -> ForeignEncoder:
    """An encoder out of the paper's checkpoint.

    Args:
        generator: any supported generator file; None: the generator in the same file.
        padded_layers: as in `plan_encoder`.

    Raises:
        InputError: missing, damaged, no encoder that padinv can use, or no generator to go with it.
    """
    given = None if generator is None else _generator_beside(generator)
    with open_checkpoint(path) as checkpoint:
        encoders = paper_encoders(checkpoint.networks)
        if not encoders:
            raise _no_encoder(checkpoint)
        notes: list[str] = []
        own = None
        if checkpoint.has_generator():
            # The encoder was trained on the file's `generator`, and its average code is that network's.
            role = "generator" if checkpoint.has_generator("generator") else None
            try:
                own = checkpoint.read_generator(with_discriminator=False, role=role)
            except Unsupported as refusal:
                if given is None:
                    raise
                notes.append(f"the generator in the file is of no use: the file {refusal}")
        chosen = given or own
        if chosen is None:
            raise Refused(
                "holds an encoder, but no generator, whose w_avg its codes are added to; name one with --generator"
            )
        if own is not None and given is not None:
            notes += _compare(own, given)
        plan = plan_encoder(encoders[0], chosen.spec, padded_layers)
        state = dict(read_pieces(plan.pieces))
        centre = (own or chosen).state["w_avg"]
        origin = "the generator in the file" if own is not None else f"{generator}"
        facts = facts_of(plan, encoders[0])
        facts["notes"] += notes
        record = {
            "source": SOURCE,
            "container": checkpoint.contents.container,
            "file": checkpoint.path.name,
            "bytes": checkpoint.source.size,
            "sha256": sha256_file(checkpoint.path),
            "resolution": chosen.spec.resolution,
            "codes": chosen.spec.num_layers,
            **facts,
            "w_avg": f"of {origin}, {(own or chosen).record.get('truncation_centre', 'from the file')}",
        }
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            state[name] = tensor.long()
    state["w_avg"] = centre if plan.from_w_avg else centre * 0
    state["const"] = chosen.state["const"]
    return ForeignEncoder(chosen.spec, plan.config, state, chosen.state, record)


def import_encoder(
    path: Path | str, out: Path | str, generator: Path | str | None = None, padded_layers: int | None = None
) -> ForeignEncoder:
    """Read an encoder out of the paper's checkpoint and write it as padinv's own file.

    Raises:
        InputError: as `read_encoder`. OutputError: `out` cannot be written.
    """
    refuse_own(path)
    foreign = read_encoder(path, generator, padded_layers)
    save_encoder_state(out, foreign.spec, foreign.config, foreign.state, state_hash(foreign.generator), foreign.record)
    return foreign


def _generator_beside(path: Path | str) -> ForeignGenerator:
    """The generator named by --generator: padinv's own file, or any other supported one."""
    if read_header(path) is not None:
        own = load_native_generator(path)
        return ForeignGenerator(own.spec, own.state_dict(), None, {})
    with open_checkpoint(path) as checkpoint:
        foreign = checkpoint.read_generator(with_discriminator=False)
        if checkpoint.has_generator("generator"):
            # The original takes the average code of `generator`, not of `generator_smooth`.
            plain = checkpoint.generator_plan("generator")
            if plain.w_avg is not None:
                foreign.state["w_avg"] = plain.w_avg.read("w_avg")
        return foreign


def _compare(own: ForeignGenerator, given: ForeignGenerator) -> list[str]:
    """Notes where the generator in an encoder's file and the one named beside it are not the same.

    Raises:
        Unsupported: they are not even of the same shape.
    """
    if (own.spec.channels, own.spec.w_dim) != (given.spec.channels, given.spec.w_dim):
        raise Unsupported(
            f"holds an encoder for another generator: the one in the file makes {own.spec.resolution} px with channels "
            f"{list(own.spec.channels)}, --generator makes {given.spec.resolution} px with {list(given.spec.channels)}"
        )
    if state_hash(own.state) != state_hash(given.state):
        return ["--generator is not the generator in the file: the encoder may invert it badly"]
    return []


def _no_encoder(checkpoint: Checkpoint) -> Refused:
    if has_psp_encoder(checkpoint.networks):
        return Unsupported(
            "holds an encoder of pSp, e4e or ReStyle, which is another network than the paper's; leave --encoder out "
            "to import its decoder, then train an encoder for it with: padinv train"
        )
    return Refused("holds no encoder of the paper's implementation; leave --encoder out to import a generator")
