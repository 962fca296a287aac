"""README.md of a repository: the card with what the hub reads from it, the picture, and how to use the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.card import numbers_of, write_card
from padinv.runtime.hub.network import endpoint

README = "README.md"
PICTURE = "samples.png"
_TAGS = ("padinv", "gan-inversion", "stylegan2", "image-editing")
_START, _END = "<!-- padinv -->", "<!-- /padinv -->"  # around what is written again with every push


def model_readme(metadata: Mapping[str, Any], body: str, address: HubAddress, *, name: str, domain: str | None) -> str:
    """README.md of a model.

    Args:
        metadata, body: of the model's card; fields that padinv does not know are kept.
        domain: the kind of pictures, such as 'faces'.
    """
    lines = [
        f"![Samples of the generator; no photographs]({PICTURE})",
        "",
        "```",
        "pip install 'padinv[cpu,hub]'",
        f"padinv invert PHOTO --model {address}",
        f"padinv generate --model {address} --seeds 0-7",
        "```",
    ]
    more = ["onnx", *([domain] if domain else [])]
    return write_card(_metadata(metadata, address, name, more), _with_part(body, lines))


def directions_readme(
    metadata: Mapping[str, Any], body: str, address: HubAddress, directions: Mapping[str, Mapping[str, Any]]
) -> str:
    """README.md of a repository of directions; `directions` are their notes by name."""
    lines = [f"![Each direction on samples of the generator; no photographs]({PICTURE})", ""]
    lines += ["| direction | space | a unit is | licence |", "|---|---|---|---|"]
    for name, info in sorted(directions.items()):
        cells = (name, info.get("space") or "both", info.get("unit") or "", info.get("licence") or "")
        lines.append("| " + " | ".join(" ".join(str(cell).replace("|", "/").split())[:120] for cell in cells) + " |")
    first = sorted(directions)[0]
    lines += ["", "```", "pip install 'padinv[cpu,hub]'", f"padinv edit {address}/{first} PHOTO", "```"]
    return write_card(_metadata(metadata, address, address.repository, ["directions"]), _with_part(body, lines))


def _metadata(given: Mapping[str, Any], address: HubAddress, name: str, tags: Sequence[str]) -> dict[str, Any]:
    """The card's own fields, then those that the hub reads."""
    own = given.get("tags")
    tagged = [*_TAGS, *tags, *(own if isinstance(own, list) else [])]
    found: dict[str, Any] = {"library_name": "padinv", "pipeline_tag": "image-to-image", **given}
    found["license"] = str(given.get("license", "other")).strip().lower()
    found["tags"] = list(dict.fromkeys(str(tag) for tag in tagged))
    found["thumbnail"] = f"{endpoint()}/{address.repository}/resolve/main/{PICTURE}"
    if numbers := numbers_of(given.get("figures")):
        found["model-index"] = [{"name": name, "results": [_results(numbers, str(given.get("data", "")))]}]
    return found


def _results(numbers: Mapping[str, float], data: str) -> dict[str, Any]:
    """Figures in the form that the hub shows beside a model."""
    return {
        "task": {"type": "image-to-image", "name": "GAN inversion"},
        "dataset": {"type": "held-out", "name": f"held-out pictures; trained on: {data}"[:200]},
        "metrics": [
            {"type": key.lower().replace(" ", "_"), "name": key, "value": value} for key, value in numbers.items()
        ],
    }


def _with_part(body: str, lines: Sequence[str]) -> str:
    """The card's text with padinv's part under its first heading; an earlier part is replaced."""
    part = "\n".join([_START, *lines, _END])
    before, found, rest = body.partition(_START)
    if found and _END in rest:
        return f"{before}{part}{rest.partition(_END)[2]}"
    head, _, tail = body.lstrip("\n").partition("\n")
    if head.startswith("# "):
        return f"\n{head}\n\n{part}\n{tail}"
    return f"\n{part}\n\n{body.lstrip()}"
