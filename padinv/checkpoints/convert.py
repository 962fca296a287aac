"""`padinv import`: another project's checkpoint becomes padinv's own file, with a record of where it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.checkpoint import Checkpoint, ForeignGenerator, open_checkpoint
from padinv.checkpoints.container.lazy_tensors import Refused
from padinv.checkpoints.detect import paper_encoders
from padinv.checkpoints.formats.conversion_plan import Unsupported, read_pieces
from padinv.checkpoints.formats.paper_encoder import SOURCE, EncoderPlan, facts_of, plan_encoder
from padinv.checkpoints.formats.psp_encoder import (
    fold_average,
    holds_w_encoder,
    plan_psp_encoder,
    psp_encoders,
    source_of,
)
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


SAME_AVERAGE = 1e-6  # average codes of two layers that differ by less are the same


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


def import_generator(path: Path | str, out: Path | str, template: str | None = "auto") -> ForeignGenerator:
    """Read a generator out of another project's checkpoint and write it as padinv's own file.

    Args:
        template: how its training pictures were aligned (`Template.code`); None: not at all; 'auto': see
            `guessed_template`.

    Raises:
        InputError: as `read_generator`. OutputError: `out` cannot be written.
    """
    refuse_own(path)
    foreign = read_generator(path)
    foreign.spec = _with_template(foreign.spec, template, path, foreign.record)
    save_generator_state(out, foreign.spec, foreign.state, foreign.discriminator, foreign.record)
    return foreign


def guessed_template(path: Path | str) -> str | None:
    """The alignment template that a file name speaks for: 'ffhq' where it names that data set, as NVIDIA's files do."""
    return "ffhq" if re.search(r"(?<![a-z])ffhq", Path(path).name.lower()) else None


def _with_template(spec: ModelSpec, template: str | None, path: Path | str, record: dict[str, Any]) -> ModelSpec:
    """The spec with its template; a guess leaves a note in the record."""
    if template == "auto":
        template = spec.template or guessed_template(path)
        if template != spec.template:
            note = (
                f"the file's name speaks for the alignment template {template}, which was recorded; --template sets it"
            )
            record["notes"] = [*(record.get("notes") or []), note]
    return replace(spec, template=template)


def refuse_own(path: Path | str) -> None:
    """Refuse padinv's own files: they need no import.

    Raises:
        InputError: it is one.
    """
    header = read_header(path)
    if header is not None:
        raise InputError(f"{path} is padinv's own {header['kind']} file already; every command takes it as it is")


@dataclass(frozen=True)
class EncoderOptions:
    """What a file may leave unsaid about its encoder.

    Attributes:
        padded_layers: the paper's: how many layers a shared padding map serves; None: 4, the original's default.
        encoder_type: 'psp' or 'e4e', whose tensors have the same names.
        refinements: ReStyle's number of steps; None: 5, its authors' default.
    """

    padded_layers: int | None = None
    encoder_type: str | None = None
    refinements: int | None = None


def read_encoder(
    path: Path | str, generator: Path | str | None = None, options: EncoderOptions | None = None
) -> ForeignEncoder:
    """An encoder out of the paper's checkpoint, or of pSp's, e4e's or ReStyle's.

    Args:
        generator: any supported generator file; None: the generator in the same file.
        options: what the file does not say.

    Raises:
        InputError: missing, damaged, no encoder that padinv can use, or no generator to go with it.
        UsageError: options that contradict the file, or are needed.
    """
    options = options or EncoderOptions()
    given = None if generator is None else _generator_beside(generator)
    with open_checkpoint(path) as checkpoint:
        papers = paper_encoders(checkpoint.networks)
        others = [] if papers else psp_encoders(checkpoint.networks, checkpoint.contents.root)
        if not papers and not others:
            raise _no_encoder(checkpoint)
        notes: list[str] = []
        own = _own_generator(checkpoint, required=given is None, notes=notes)
        chosen = given or own
        if chosen is None:
            raise Refused(
                "holds an encoder, but no generator, whose w_avg its codes are added to; name one with --generator"
            )
        if own is not None and given is not None:
            notes += _compare(own, given)
        if papers:
            network, source = papers[0], SOURCE
            plan = plan_encoder(network, chosen.spec, options.padded_layers)
        else:
            network = others[0].network
            plan = plan_psp_encoder(others[0], chosen.spec, options.encoder_type, options.refinements)
            source = source_of(plan.config)
        state = dict(read_pieces(plan.pieces))
        centre = (own or chosen).state["w_avg"]
        if others and own is not None and plan.from_w_avg:
            _use_average_of_each_layer(checkpoint, plan, state, notes)
        origin = "the generator in the file" if own is not None else f"{generator}"
        facts = facts_of(plan, network)
        facts["notes"] += notes
        record = {
            "source": source,
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
    if plan.config.refinements:
        state |= {f"generator.{name}": tensor for name, tensor in chosen.state.items()}
    return ForeignEncoder(chosen.spec, plan.config, state, chosen.state, record)


def _own_generator(checkpoint: Checkpoint, required: bool, notes: list[str]) -> ForeignGenerator | None:
    """The generator in an encoder's file; None where there is none, or none to use and it is not `required`."""
    if not checkpoint.has_generator():
        return None
    # The encoder was trained on the file's `generator`, and its average code is that network's.
    role = "generator" if checkpoint.has_generator("generator") else None
    try:
        return checkpoint.read_generator(with_discriminator=False, role=role)
    except Unsupported as refusal:
        if required:
            raise
        notes.append(f"the generator in the file is of no use: the file {refusal}")
        return None


def _use_average_of_each_layer(
    checkpoint: Checkpoint, plan: EncoderPlan, state: dict[str, torch.Tensor], notes: list[str]
) -> None:
    """Keep what the file's average codes, one a layer, differ from each other."""
    generator = checkpoint.generator_plan()
    piece, _ = checkpoint.w_avg_piece(generator)
    layers = generator.spec.num_layers
    if piece is None or piece.shape[0] < layers or len(piece.shape) != 2:
        return
    rows = piece.read("w_avg")
    mean, rows = rows.mean(dim=0), rows[:layers]
    if float((rows - mean).abs().max()) <= SAME_AVERAGE:
        return
    if plan.config.refinements:
        raise Unsupported("has another average code for each layer, which padinv's form of ReStyle does not")
    fold_average(state, rows, mean, plan.config.relative_codes)
    notes.append("its average code differs from layer to layer: the differences are kept in the heads' biases")


def import_encoder(
    path: Path | str,
    out: Path | str,
    generator: Path | str | None = None,
    options: EncoderOptions | None = None,
    *,
    template: str | None = "auto",
) -> ForeignEncoder:
    """Read an encoder out of another project's checkpoint and write it as padinv's own file.

    Args:
        template: see `import_generator`.

    Raises:
        InputError: as `read_encoder`. OutputError: `out` cannot be written.
    """
    refuse_own(path)
    foreign = read_encoder(path, generator, options)
    foreign.spec = _with_template(foreign.spec, template, path, foreign.record)
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
    if holds_w_encoder(checkpoint.networks):
        return Unsupported(
            "holds one of pSp's encoders into W or its variants without heads (BackboneEncoderUsingLastLayerInto...), "
            "which padinv does not run; leave --encoder out to import its decoder"
        )
    return Refused("holds no encoder that padinv knows; leave --encoder out to import a generator")
