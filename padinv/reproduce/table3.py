"""Table 3: which space carries which attribute, by painted pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from padinv.checkpoints.generator_encoder import Pair, read_run
from padinv.checkpoints.native import generator_hash
from padinv.evaluation.bootstrap import Interval, compare
from padinv.reproduce.encoders import Variant, train_or_reuse
from padinv.reproduce.measuring import Measuring
from padinv.reproduce.options import TableOptions
from padinv.reproduce.painted import ATTRIBUTES, SPATIAL, paint
from padinv.reproduce.table import SCHEMA, markdown_line
from padinv.runtime.editing import apply, difference
from padinv.runtime.editing.pair_change import changed_region
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.files import write_json, write_text
from padinv.runtime.images import average_pool, prepare, to_float
from padinv.runtime.inversion import Inversion
from padinv.runtime.spec import ModelSpec
from padinv.training.reporter import Reporter, Silent

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
    """Transfer the edit (A, painted A) to other faces in each space, and measure how far their pictures move.

    Args:
        first, others: aligned square RGB faces, of any size.

    Returns:
        'out_p', 'out_s', 'in_p', 'in_s': mean squared difference on [-1, 1] between edited and unedited
        reconstructions, outside and inside the edited region, of padding and latents.
    """
    one = model.encode(_batch([first, paint(first, attribute)], model.spec.image_size))
    b = _batch(others, model.spec.image_size)
    true = _batch([paint(face, attribute) for face in others], model.spec.image_size)
    regions = np.stack([changed_region(x, y) for x, y in zip(b, true, strict=True)])[:, None]
    inversion = model.encode(b)
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
class AttributeTable:
    """Table 3, made again.

    Attributes:
        pairs: attribute -> for each pair, what `measure_pair` gave.
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
            kind = "spatial" if attribute in SPATIAL else "style"
            rows.append({"attribute": attribute, "kind": kind, "means": means, **factors, "pairs": pairs})
        head = {"schema": SCHEMA, "table": self.name, "title": self.title, "rows": rows}
        return {**head, "conditions": self.conditions, "skipped": self.skipped}

    def markdown(self) -> str:
        """The table, with what a reader must know below it."""
        head = [
            "attribute",
            "MSE_p",
            "MSE_s",
            "factor [95 % interval]",
            "factor inside [95 % interval]",
            "in the paper",
        ]
        lines = [f"# {self.title}", "", markdown_line(head), markdown_line(["---"] * len(head))]
        for row in self.to_dict()["rows"]:
            cells = [row["attribute"], f"{row['means']['out_p']:.5f}", f"{row['means']['out_s']:.5f}"]
            for place in ("out", "in"):
                entry = row[f"factor_{place}"]
                low, high = (entry[end] if entry[end] is not None else 0.0 for end in ("low", "high"))
                cells.append(
                    f"{factor(row['means'][f'{place}_p'], row['means'][f'{place}_s'])} "
                    f"[{factor(low, 1)}, {factor(high, 1)}]"
                )
            lines.append(markdown_line([*cells, PAPER[row["attribute"]]]))
        pairs, targets = self.conditions["pairs"], self.conditions["targets"]
        notes = [
            f"{pairs} painted pairs for each attribute, each transferred to {targets} other faces.",
            "MSE_p, MSE_s: how far the padding and the latents move reconstructions outside the edited region.",
            "Factor: MSE_p : MSE_s. Intervals: 95 % bootstrap over pairs.",
        ]
        return "\n".join([*lines, "", *(f"- {note}" for note in (*notes, *self.skipped)), ""])

    def write(self, out: Path) -> tuple[Path, Path]:
        """Write `table3.md` and `table3.json`, each atomically.

        Raises:
            OutputError: they cannot be written.
        """
        text, data = out / f"{self.name}.md", out / f"{self.name}.json"
        write_text(text, self.markdown())
        write_json(data, self.to_dict())
        return text, data

    def _factor(self, pairs: list[dict[str, float]], place: str) -> Interval:
        p, s = ({"mse": np.array([pair[f"{place}_{space}"] for pair in pairs])} for space in "ps")
        return compare(p, s, int(self.conditions["bootstrap"]["resamples"]))["mse"].ratio


def table3(options: TableOptions, reporter: Reporter | None = None) -> AttributeTable:
    """Make Table 3 with an encoder of the settings, trained or used again.

    The first `options.pairs` photographs are painted; the next `options.targets` receive the edits.

    Raises:
        UsageError: the generator's faces are not aligned as the painter expects.
        InputError: too few photographs can be read.
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        PadInvError: see `Training`.
    """
    reporter = reporter or Silent()
    measuring = Measuring(options, reporter)
    if measuring.spec.template != TEMPLATE:
        raise UsageError(
            f"table3 paints onto faces aligned to the template {TEMPLATE!r}, and this generator's is "
            f"{measuring.spec.template!r}, so nothing was done"
        )
    faces, skipped = _faces(measuring, options.pairs + options.targets)
    if len(faces) <= options.pairs:
        raise InputError(
            f"{options.val} has {len(faces)} readable photographs, and {options.pairs} pairs need more than that to "
            "receive the edits; take fewer --pairs"
        )
    run = train_or_reuse(Variant("default", options.config.reg, options.seeds[0]), options, reporter)
    model = TorchInverter(read_run(run), measuring.device, options.batch)
    targets = faces[options.pairs :]
    pairs: dict[str, list[dict[str, float]]] = {}
    for attribute in ATTRIBUTES:
        reporter.message(f"measuring {attribute}: {options.pairs} pairs on {len(targets)} faces")
        pairs[attribute] = [measure_pair(model, face, targets, attribute) for face in faces[: options.pairs]]
    more = {"seed": options.seeds[0], "pairs": options.pairs, "targets": len(targets)}
    return AttributeTable(pairs, {**measuring.conditions(), **more}, skipped)


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


def _batch(faces: Sequence[Image.Image], size: int) -> np.ndarray:
    """float32 [N, 3, S, S] in [-1, 1]."""
    return to_float(np.stack([prepare(face, size).pixels for face in faces]))
