"""Table 3: which space carries which attribute, by painted pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from padinv.checkpoints.generator_encoder import Pair
from padinv.checkpoints.native import generator_hash
from padinv.evaluation.bootstrap import Interval, compare
from padinv.evaluation.partial import Partial
from padinv.evaluation.results import identity_hash
from padinv.reproduce.encoders import default_encoder
from padinv.reproduce.measuring import Measuring
from padinv.reproduce.options import TableOptions
from padinv.reproduce.pairs import EditPair, batch_of, kind_of, painted_pairs, read_pairs
from padinv.reproduce.plot import Panel, bar_of
from padinv.reproduce.result import SCHEMA, Result
from padinv.runtime.editing import apply, difference
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images import average_pool
from padinv.runtime.inversion import Inversion
from padinv.runtime.spec import ModelSpec
from padinv.training.reporter import Reporter, Silent

MEASURES = ("out_p", "out_s", "in_p", "in_s")
TEMPLATE = "faces"  # where attributes are painted
# Face shape, bangs, glasses, lipstick and eyebrows of the paper's Table 3.
PAPER = {
    "wide jaw": "12.89:1, spatial",
    "narrow jaw": "12.89:1, spatial",
    "bangs": "7.25:1, spatial",
    "glasses": "5.83:1, spatial",
    "lipstick": "1:13.73, style",
    "brows": "1:15.90, style",
}


class Inverter(Protocol):
    """What Table 3 needs of a model; `padinv.runtime.Model` has it, too."""

    @property
    def spec(self) -> ModelSpec:
        """Geometry."""

    def encode(self, x: np.ndarray) -> Inversion:
        """float32 [N, 3, S, S] in [-1, 1] -> Inversion."""

    def generate_for_encoder(self, inversion: Inversion) -> np.ndarray:
        """Inversion -> float32 [N, 3, S, S], clamped to [-1, 1]."""


class TorchInverter:
    """The networks of a run, in torch, as an `Inverter`."""

    def __init__(self, pair: Pair, device: str, batch: int) -> None:
        self._generator, self._encoder = pair.generator.to(device).eval(), pair.encoder.to(device).eval()
        self._hash, self._device, self._batch = generator_hash(pair.generator), device, batch

    @property
    def spec(self) -> ModelSpec:
        """Geometry."""
        return self._generator.spec

    @torch.no_grad()
    def encode(self, x: np.ndarray) -> Inversion:
        """See `Inverter`."""
        parts = []
        for chunk in torch.from_numpy(x).split(self._batch):
            wp, const, rings = self._encoder(chunk.to(self._device))
            if const is None:
                const = self._generator.const.expand(len(chunk), -1, -1, -1)
            arrays = {r: ring.cpu().numpy() for r, ring in (rings or {}).items()}
            parts.append(Inversion(wp.cpu().numpy(), const.cpu().numpy(), arrays, self._hash))
        return Inversion.concat(parts)

    @torch.no_grad()
    def generate_for_encoder(self, inversion: Inversion) -> np.ndarray:
        """See `Inverter`."""
        parts = []
        for start in range(0, len(inversion), self._batch):
            rows = slice(start, start + self._batch)
            wp, const = (torch.from_numpy(a[rows]).to(self._device) for a in (inversion.wp, inversion.const))
            rings = {r: torch.from_numpy(ring[rows]).to(self._device) for r, ring in inversion.rings.items()}
            parts.append(self._generator.synthesis(wp, const, rings).float().cpu().numpy())
        result: np.ndarray = np.clip(average_pool(np.concatenate(parts), self.spec.image_size), -1, 1)
        return result


def measure_pair(
    model: Inverter, first: Image.Image, others: Sequence[Image.Image], attribute: str
) -> dict[str, float]:
    """`measure_edit` of a painted attribute.

    Args:
        first, others: aligned square RGB faces, of any size.
    """
    (pair,) = painted_pairs([first], model.spec.image_size)[attribute]
    return measure_edit(model, pair, others)


def measure_edit(model: Inverter, pair: EditPair, others: Sequence[Image.Image]) -> dict[str, float]:
    """Transfer the edit of a pair to other faces in each space, and measure how far their pictures move.

    Args:
        others: aligned square RGB faces, of any size.

    Returns:
        'out_p', 'out_s', 'in_p', 'in_s': mean squared difference on [-1, 1] between edited and unedited
        reconstructions, outside and inside the edited region, of padding and latents.
    """
    one = model.encode(np.concatenate([pair.before, pair.after]))
    regions = pair.regions(others)
    inversion = model.encode(batch_of(others, model.spec.image_size))
    plain = model.generate_for_encoder(inversion)
    direction = difference(one[0], one[1])
    result = {}
    for label, space in (("p", "padding"), ("s", "latent")):
        change = np.square(model.generate_for_encoder(apply(inversion, direction, space)) - plain)  # type: ignore[arg-type]
        result[f"out_{label}"] = float((change * (1 - regions)).sum() / (3 * (1 - regions).sum()))
        result[f"in_{label}"] = float((change * regions).sum() / (3 * regions.sum()))
    return result


def factor(p: float, s: float) -> str:
    """MSE_p : MSE_s, scaled so that the smaller of them is 1."""
    if min(s, p) <= 0:
        return "1:1" if s == p else ("∞:1" if p > s else "1:∞")
    return f"{p / s:.2f}:1" if p > s else f"1:{s / p:.2f}"


@dataclass
class AttributeTable(Result):
    """Table 3, made again.

    Attributes:
        pairs: attribute -> for each pair, what `measure_edit` gave.
        conditions: what the figures depend on, JSON-ready.
        skipped: sentences on photographs that could not be read.
    """

    pairs: dict[str, list[dict[str, float]]]
    conditions: dict[str, Any]
    skipped: list[str]
    name: str = "table3"
    title: str = "Table 3: which space carries which attribute"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; factors are MSE_p : MSE_s, with bootstrap intervals over pairs."""
        rows = []
        for attribute, pairs in self.pairs.items():
            means = {key: float(np.mean([pair[key] for pair in pairs])) for key in pairs[0]}
            factors = {f"factor_{place}": self._factor(pairs, place).to_dict() for place in ("out", "in")}
            rows.append({"attribute": attribute, "kind": kind_of(attribute), "means": means, **factors, "pairs": pairs})
        head = {"schema": SCHEMA, "table": self.name, "title": self.title, "rows": rows}
        return {**head, "conditions": self.conditions, "skipped": self.skipped}

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """See `Result`."""
        head = [
            "attribute",
            "pairs",
            "MSE_p",
            "MSE_s",
            "factor [95 % interval]",
            "factor inside [95 % interval]",
            "in the paper",
        ]
        lines = []
        for row in self.to_dict()["rows"]:
            cells = [row["attribute"], str(len(row["pairs"]))]
            cells += [f"{row['means']['out_p']:.5f}", f"{row['means']['out_s']:.5f}"]
            for place in ("out", "in"):
                entry = row[f"factor_{place}"]
                low, high = (entry[end] if entry[end] is not None else 0.0 for end in ("low", "high"))
                cells.append(
                    f"{factor(row['means'][f'{place}_p'], row['means'][f'{place}_s'])} "
                    f"[{factor(low, 1)}, {factor(high, 1)}]"
                )
            lines.append([*cells, PAPER.get(row["attribute"], "-")])
        return head, lines

    def sentences(self) -> list[str]:
        """See `Result`."""
        given = self.conditions["pairs"]
        pairs = f"{given} painted pairs for each attribute" if isinstance(given, int) else f"The pairs of {given}"
        return [
            f"{pairs}, each transferred to {self.conditions['targets']} other faces.",
            "MSE_p, MSE_s: how far the padding and the latents move reconstructions outside the edited region.",
            "Factor: MSE_p : MSE_s. Intervals: 95 % bootstrap over pairs; one pair has none.",
        ]

    def panels(self) -> list[Panel]:
        """See `Result`."""
        rows = self.to_dict()["rows"]
        titles = {"out": "outside the edited region", "in": "inside the edited region"}
        return [
            Panel(
                f"MSE_p : MSE_s {title}; above 1, padding moves more",
                [bar_of(row["attribute"], row[f"factor_{place}"]) for row in rows],
                log=True,
            )
            for place, title in titles.items()
        ]

    def _factor(self, pairs: list[dict[str, float]], place: str) -> Interval:
        p, s = ({"mse": np.array([pair[f"{place}_{space}"] for pair in pairs])} for space in "ps")
        return compare(p, s, self.resamples)["mse"].ratio


def table3(options: TableOptions, reporter: Reporter | None = None) -> AttributeTable:
    """Make Table 3 with an encoder of the settings, trained, used again, or given, see `default_encoder`.

    The first `options.pairs` photographs are painted, or the user's pairs are read; the next `options.targets`
    photographs receive the edits. Each pair is kept when it is measured, so that the next call resumes.

    Raises:
        UsageError: the generator's faces are not aligned as the painter expects.
        InputError: too few photographs can be read, or the user's pairs cannot.
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        PadInvError: see `Training`.
    """
    reporter = reporter or Silent()
    measuring = Measuring(options, reporter)
    pairs, targets, skipped = _pairs_and_targets(measuring, options)
    pair = default_encoder(options, reporter)
    model = TorchInverter(pair, measuring.device, options.batch)
    more = {"encoder": pair.name, "seed": options.seeds[0], "targets": len(targets)}
    more["pairs"] = options.pairs if isinstance(options.pairs, int) else str(options.pairs)
    conditions = {**measuring.conditions(), **more}
    files = {kind: origin.sha256 for kind, origin in pair.origins.items()}
    contents = [[name, *(_hash(one) for one in some)] for name, some in pairs.items()]
    key = identity_hash([conditions["val"], files, contents, len(targets)])
    kept = Partial(options.out / "measured" / f".table3-{key}.jsonl", set(MEASURES))
    try:
        found = {name: _measured(model, some, targets, name, kept, reporter) for name, some in pairs.items()}
    finally:
        kept.close()
    return AttributeTable(found, conditions, skipped)


def _measured(
    model: Inverter,
    pairs: Sequence[EditPair],
    targets: Sequence[Image.Image],
    attribute: str,
    kept: Partial,
    reporter: Reporter,
) -> list[dict[str, float]]:
    reporter.message(f"measuring {attribute}: {len(pairs)} pairs on {len(targets)} faces")
    for one in pairs:
        name = f"{attribute}/{one.name}"
        if name not in kept.records:
            kept.add({name: measure_edit(model, one, targets)})
    return [kept.records[f"{attribute}/{one.name}"] for one in pairs]


def _pairs_and_targets(
    measuring: Measuring, options: TableOptions
) -> tuple[dict[str, list[EditPair]], list[Image.Image], list[str]]:
    size = measuring.spec.image_size
    if not isinstance(options.pairs, int):
        pairs = read_pairs(options.pairs, size)
        targets, skipped = _faces(measuring, options.targets)
        if not targets:
            raise InputError(f"no photograph of {options.val} can be read, so none can receive the edits")
        return pairs, targets, skipped
    if measuring.spec.template != TEMPLATE:
        raise UsageError(
            f"table3 paints onto faces aligned to the template {TEMPLATE!r}, and this generator's is "
            f"{measuring.spec.template!r}, so nothing was done; give your own pairs with --pairs FOLDER"
        )
    faces, skipped = _faces(measuring, options.pairs + options.targets)
    if len(faces) <= options.pairs:
        raise InputError(
            f"{options.val} has {len(faces)} readable photographs, and {options.pairs} pairs need more than that to "
            "receive the edits; take fewer --pairs"
        )
    return painted_pairs(faces[: options.pairs], size), faces[options.pairs :], skipped


def _hash(pair: EditPair) -> str:
    parts = [pair.before, pair.after] + ([] if pair.region is None else [pair.region])
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def _faces(measuring: Measuring, count: int) -> tuple[list[Image.Image], list[str]]:
    """The first readable photographs, at the model's size, and a sentence for each that was skipped."""
    faces: list[Image.Image] = []
    skipped: list[str] = []
    for k in range(len(measuring.source)):
        if len(faces) == count:
            break
        try:
            faces.append(Image.fromarray(measuring.source.read(k, measuring.spec.image_size)))
        except InputError as error:
            skipped.append(str(error))
    return faces, skipped
