"""The section of a model card that recipes/directions.py writes."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from tiny_gallery import add_directions, random_direction

from padinv.runtime.bundle import read_bundle
from padinv.runtime.describe import describe_bundle

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "direction_card.py"


def effect(shift: float) -> dict[str, float]:
    return {"shift": shift, "moved": 1.0, "identity": 0.9, "background": 1.1}


@pytest.mark.parametrize("tail", ["", "\n## Limits\n\nnone\n"])
def test_the_section_is_written_once_and_nothing_else_changes(tiny_bundle: Path, tail: str) -> None:
    update_card = runpy.run_path(str(RECIPE))["update_card"]
    figures = {
        "held_out_photographs": 7,
        "directions": {
            "smile": {"unit": "3 deviations", "held_out_correlation": 0.51, "+1": effect(0.7), "-1": effect(0.6)},
            "hat": {"unit": "all of it", "held_out_accuracy": 0.93, "+1": effect(2.0), "-1": effect(1.0)},
        },
    }
    (tiny_bundle / "MODEL_CARD.md").write_text("# tiny\n\nA model.\n")
    add_directions(tiny_bundle, {"smile": random_direction(1, "both")})
    (tiny_bundle / "directions" / "figures.json").write_text(json.dumps(figures))
    update_card(tiny_bundle)
    card = tiny_bundle / "MODEL_CARD.md"
    once = card.read_text()
    assert once.startswith("# tiny\n\nA model.\n\n## Directions\n")
    assert "7 held-out photographs" in once
    assert "| smile | 3 deviations | correlation 0.51 | 0.70 | -0.60 | 0.90, 0.90 | 1.10, 1.10 |" in once
    assert "| hat | all of it | 93% right | 2.00 | -1.00 |" in once
    card.write_text(once + tail)
    update_card(tiny_bundle)
    assert card.read_text() == once + tail
    assert describe_bundle(tiny_bundle)["intact"]
    assert read_bundle(tiny_bundle).name == "tiny"
