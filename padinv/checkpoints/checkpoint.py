"""Checkpoints of other projects: what is in one, and its networks in padinv's form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.canonicalize import Network, find_networks, find_tensors
from padinv.checkpoints.container.lazy_tensors import WEIGHT_TYPES, Refused, Source, TensorRef
from padinv.checkpoints.container.open import Contents, open_contents, reading
from padinv.checkpoints.detect import Found, discriminators, explain, generators, has_psp_encoder, paper_encoders
from padinv.checkpoints.formats.conversion_plan import DiscriminatorPlan, GeneratorPlan, Piece, count_numbers
from padinv.checkpoints.formats.layout import CENTRES, DiscriminatorLayout, GeneratorLayout
from padinv.checkpoints.formats.paper_encoder import SOURCE
from padinv.checkpoints.formats.psp_encoder import psp_encoders
from padinv.runtime.files import sha256_file

if TYPE_CHECKING:
    import torch

    from padinv.runtime.spec import ModelSpec

W_AVG_SAMPLES = 10_000
W_AVG_SEED = 0
_BUFFERS = ("noise_const", "w_avg")


@dataclass
class ForeignGenerator:
    """A generator out of another project's checkpoint, in padinv's form.

    Attributes:
        spec: its geometry.
        state: state dict of `padinv.models.generator.Generator`, complete with `w_avg`.
        discriminator: (constructor arguments, state dict) of the discriminator beside it; None: there is none to use.
        record: where it comes from, JSON-ready.
    """

    spec: ModelSpec
    state: dict[str, torch.Tensor] = field(repr=False)
    discriminator: tuple[dict[str, Any], dict[str, torch.Tensor]] | None = field(repr=False)
    record: dict[str, Any] = field(repr=False)


class Checkpoint:
    """An open checkpoint of another project. Nothing but names, shapes and small filters has been read from it."""

    def __init__(self, source: Source, contents: Contents) -> None:
        self.source, self.contents = source, contents
        self.path = source.path
        self.networks: list[Network] = find_networks(contents.root)

    def generator_plan(self, role: str | None = None) -> GeneratorPlan:
        """The generator to use, averaged weights first; `role` asks for the one that the file calls so.

        Raises:
            Refused: there is none, or none that padinv can use; the message says which and why.
        """
        found = self._generators(role)
        if not found:
            raise explain(self.networks, self.contents.root)
        assert isinstance(found[0].layout, GeneratorLayout)
        plan = found[0].layout.plan(found[0].network)
        if has_psp_encoder(self.networks) and "rosinality" in plan.source:
            plan.source = "pSp / e4e / ReStyle (decoder)"
        return plan

    def has_generator(self, role: str | None = None) -> bool:
        """Whether there is a generator, or one that the file calls `role`."""
        return bool(self._generators(role))

    def _generators(self, role: str | None = None) -> list[Found]:
        return [f for f in generators(self.networks) if role in (None, f.path.rpartition(".")[2])]

    def discriminator_plan(self) -> tuple[DiscriminatorPlan | None, str]:
        """The discriminator, or None and the reason why there is none to use ('' where the file simply has none)."""
        found = discriminators(self.networks)
        if not found:
            return None, ""
        assert isinstance(found[0].layout, DiscriminatorLayout)
        try:
            return found[0].layout.plan(found[0].network), ""
        except Refused as refusal:
            return None, f"the discriminator was left out: the file {refusal}"

    def w_avg_piece(self, plan: GeneratorPlan) -> tuple[Piece | None, str]:
        """The truncation centre that the file keeps, and what is worth telling about it."""
        if plan.w_avg is not None:
            return plan.w_avg, ""
        for path, name, ref in self._centres(plan):
            if ref.shape and ref.shape[-1] == plan.spec.w_dim and ref.numel and ref.dtype in WEIGHT_TYPES:
                rows = ref.numel // plan.spec.w_dim
                where = f"{path}.{name}" if path else name
                note = "" if rows == 1 else f"{where} has {rows} rows, one a layer; their mean is kept"
                return Piece((rows, plan.spec.w_dim), ref), note
        return None, ""

    def _centres(self, plan: GeneratorPlan) -> list[tuple[str, str, TensorRef]]:
        """(path, name, tensor) of what may be the truncation centre, the nearest to the network first."""
        own = [
            (plan.path, name, found.whole.tensors[f"{found.prefix}{name}"])
            for found in self._generators()
            for name in CENTRES
            if found.path == plan.path and f"{found.prefix}{name}" in found.whole.tensors
        ]

        def distance(entry: tuple[str, str, TensorRef]) -> int:
            here, there = entry[0].split("."), plan.path.split(".")
            return -sum(1 for a, b in zip(here, there, strict=False) if a == b)

        return own + sorted(find_tensors(self.contents.root, CENTRES), key=distance)

    def others(self, plan: GeneratorPlan) -> list[str]:
        """What else lies in the file, in words; the discriminator apart, which is imported with the generator."""
        found = self._generators()
        words = [f"another generator ({f.path or 'unnamed'})" for f in found if f.path != plan.path]
        if words and any(f.averaged and f.path == plan.path for f in found):
            words[0] += ", whose weights are not averaged" if not found[1].averaged else ""
        critics = discriminators(self.networks)
        words += [f"another discriminator ({f.path or 'unnamed'})" for f in critics[1:]]
        if paper_encoders(self.networks):
            words.append("an encoder (import it with --encoder)")
        elif has_psp_encoder(self.networks):
            words.append("an encoder of pSp, e4e or ReStyle (import it with --encoder)")
        known = {f.whole.path for f in (*found, *critics)}
        rest = [n.path or "unnamed" for n in self.networks if n.path not in known and not _is_encoder(n)]
        if rest:
            more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
            words.append(f"tensors that padinv does not know ({', '.join(rest[:3])}{more})")
        return words

    def facts(self, plan: GeneratorPlan) -> dict[str, Any]:
        """What `padinv import` prints and keeps about a generator, the truncation centre apart. JSON-ready."""
        critic, why_not = self.discriminator_plan()
        spec = plan.spec
        noted = [*plan.notes, why_not] if why_not else list(plan.notes)
        if others := self.others(plan):
            noted.append(f"the file also holds {'; '.join(others)}")
        return {
            "source": plan.source,
            "container": self.contents.container,
            "file": self.path.name,
            "bytes": self.source.size,
            "sha256": sha256_file(self.path),
            "network": plan.path or "(the file itself)",
            "resolution": spec.resolution,
            "channels": dict(zip(map(str, spec.resolutions), spec.channels, strict=True)),
            "z_dim": spec.z_dim,
            "w_dim": spec.w_dim,
            "mapping_layers": spec.mapping_layers,
            "mapping_lr_mult": spec.mapping_lr_mult,
            "conv_clamp": spec.conv_clamp,
            "noise": plan.noise,
            "parameters": count_numbers(plan.pieces, _BUFFERS),
            "discriminator": None if critic is None else _critic_facts(critic),
            "notes": noted,
        }

    def read_generator(self, with_discriminator: bool = True, role: str | None = None) -> ForeignGenerator:
        """Read the generator's weights, its truncation centre (estimated where there is none) and the discriminator.

        Raises:
            Refused: not usable, damaged, or not finite.
        """
        plan = self.generator_plan(role)
        record = self.facts(plan)
        state = dict(plan.weights())
        state["w_avg"], record["truncation_centre"] = self._w_avg(plan, state, record["notes"])
        critic = None
        if with_discriminator:
            critic_plan, _ = self.discriminator_plan()
            if critic_plan is not None:
                critic = (critic_plan.config, dict(critic_plan.weights()))
        return ForeignGenerator(plan.spec, state, critic, record)

    def _w_avg(
        self, plan: GeneratorPlan, state: Mapping[str, torch.Tensor], notes: list[str]
    ) -> tuple[torch.Tensor, str]:
        piece, note = self.w_avg_piece(plan)
        if piece is None:
            origin = f"estimated from {W_AVG_SAMPLES} samples of the mapping network (seed {W_AVG_SEED})"
            return estimate_w_avg(plan.spec, state), origin
        rows = piece.read("w_avg").reshape(-1, plan.spec.w_dim)
        if note and bool((rows - rows[0]).abs().max() > 1e-4):
            notes.append(note)
        return rows.mean(dim=0) if len(rows) > 1 else rows[0], "from the file"


def _critic_facts(plan: DiscriminatorPlan) -> dict[str, Any]:
    return {
        "network": plan.path or "(the file itself)",
        "resolution": plan.config["resolution"],
        "architecture": plan.config["architecture"],
        "parameters": count_numbers(plan.pieces),
    }


def estimate_w_avg(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean [w_dim] of `W_AVG_SAMPLES` seeded codes w of a generator that exists as a state dict."""
    import numpy as np
    import torch

    from padinv.checkpoints.build import without_weights
    from padinv.models.generator import MappingNetwork

    with without_weights():
        mapping = MappingNetwork(spec)
    prefix = "mapping_network."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    mapping.load_state_dict(weights, assign=True)
    random = np.random.RandomState(W_AVG_SEED)
    total = torch.zeros(spec.w_dim, dtype=torch.float64)
    step = 1000 if max(spec.mapping_widths) <= 2048 else 40  # a mapping of absurd width must not fill the memory
    with torch.inference_mode():
        for _ in range(W_AVG_SAMPLES // step):
            z = torch.from_numpy(random.standard_normal((step, spec.z_dim)).astype(np.float32))
            total += mapping(z).double().sum(dim=0)
    return (total / W_AVG_SAMPLES).float()


def _is_encoder(network: Network) -> bool:
    return bool(paper_encoders([network])) or has_psp_encoder([network])


@contextmanager
def open_checkpoint(path: Path | str) -> Iterator[Checkpoint]:
    """Open a checkpoint of another project.

    Raises:
        InputError: missing, empty, damaged, or no checkpoint; also for what goes wrong within the context.
    """
    path = Path(path)
    with open_contents(path) as (source, contents), reading(path):
        yield Checkpoint(source, contents)


def describe_foreign(path: Path | str) -> dict[str, Any]:
    """What a checkpoint of another project holds; no weights are read.

    Raises:
        InputError: as `open_checkpoint`, or nothing that padinv knows is in it.
    """
    with open_checkpoint(path) as checkpoint:
        papers = paper_encoders(checkpoint.networks)
        others = psp_encoders(checkpoint.networks, checkpoint.contents.root)
        if not checkpoint.has_generator() and (papers or others):
            return {
                "kind": "encoder checkpoint",
                "path": str(path),
                "source": SOURCE if papers else others[0].source,
                "container": checkpoint.contents.container,
                "bytes": checkpoint.source.size,
                "sha256": sha256_file(checkpoint.path),
                "network": (papers[0] if papers else others[0].network).path,
                "notes": ["no generator is in the file; import it with --encoder and --generator"],
            }
        plan = checkpoint.generator_plan()
        facts = checkpoint.facts(plan)
        piece, _ = checkpoint.w_avg_piece(plan)
        facts["truncation_centre"] = "in the file" if piece is not None else "missing; an import estimates it"
        return {"kind": "generator checkpoint", "path": str(path), **facts}
