"""Put a bundle's directions and their figures into its model card.

    python recipes/direction_card.py BUNDLE

The section 'Directions' of MODEL_CARD.md is written from directions/figures.json, and model.json is written again.
recipes/directions.py does this by itself; run it alone after the rest of a card was changed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.editing.gallery import FOLDER
from padinv.runtime.files import write_text

FIGURES = "figures.json"
HEADING = "## Directions"
_INTRODUCTION = """\
`padinv edit NAME PICTURE` applies these. Measured on {photographs} held-out photographs at a strength of 1 and
of -1: how far the attribute moves, in standard deviations over photographs (smile and pose by landmarks,
lighting by brightness, the others by classifiers that were trained on other photographs); the similarity of the
identity to the photograph, relative to that of the reconstruction; and the error outside the face and the
attribute, relative to that of the reconstruction. Attributes are annotators' guesses, the shape of a mouth, or
paint. They are not facts about people."""


def card_section(figures: dict[str, Any]) -> str:
    """The section as Markdown."""
    lines = [
        HEADING,
        "",
        _INTRODUCTION.format(photographs=figures["held_out_photographs"]),
        "",
        "| direction | a unit is | recognised | +1 moves | -1 moves | identity +1, -1 | background +1, -1 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in figures["directions"].items():
        up, down = one["+1"], one["-1"]
        known = one.get("held_out_accuracy")
        recognised = f"{known:.0%} right" if known is not None else f"correlation {one['held_out_correlation']:.2f}"
        lines.append(
            f"| {name} | {one['unit']} | {recognised} | {up['shift']:.2f} | {-down['shift']:.2f} "
            f"| {up['identity']:.2f}, {down['identity']:.2f} | {up['background']:.2f}, {down['background']:.2f} |"
        )
    return "\n".join([*lines, ""])


def with_heading(card: str, heading: str, section: str) -> str:
    """A card whose section of a heading is replaced, or that ends with it."""
    before, found, rest = card.partition(f"{heading}\n")
    if not found:
        return f"{card.rstrip()}\n\n{section}"
    after = rest.partition("\n## ")
    return f"{before}{section}" + (f"\n## {after[2]}" if after[1] else "")


def update_card(folder: Path) -> None:
    """Write the section and the manifest of a bundle."""
    figures = json.loads((folder / FOLDER / FIGURES).read_text("utf-8"))
    card = folder / "MODEL_CARD.md"
    write_text(card, with_heading(card.read_text("utf-8"), HEADING, card_section(figures)))
    kept = {key: value for key, value in read_bundle(folder).manifest.items() if key not in ("files", "format")}
    write_manifest(folder, kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    update_card(parser.parse_args().bundle)


if __name__ == "__main__":
    main()
