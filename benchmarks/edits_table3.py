"""Table 3 of the paper re-made: which space carries which attribute.

    python benchmarks/edits_table3.py [--model BUNDLE] [--faces ../shared/faces/val.zip]

One pair (A, painted A) per attribute; its n_p (padding) and n_s (latents) are added to 50 other faces. MSE_p and MSE_s
are the mean squared differences, on [-1, 1], between the edited and the unedited reconstruction outside the edited
region. The factor is MSE_p : MSE_s as in the paper: 5:1 means that the padding moves five times as much as the latents
do. A larger number means more movement, not more error. "factor inside" is the same ratio inside the edited region. The
columns of ten pairs are means over pairs, because a single pair may be an exception.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from edits_data import RESULTS, Faces, Page, parser, table

from padinv.reproduce.painted import ATTRIBUTES, SPATIAL
from padinv.reproduce.table3 import PAPER, factor, measure_pair
from padinv.runtime import Model


def measure(model: Model, faces: Faces, attribute: str, pair: int, targets: int) -> dict[str, float]:
    """MSE outside and inside the edited region for both spaces, of one pair."""
    return measure_pair(model, faces.face(pair), [faces.face(100 + i) for i in range(targets)], attribute)


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--targets", type=int, default=50)
    arguments.add_argument("--pairs", type=int, default=10)
    given = arguments.parse_args()
    model = Model.load(given.model, threads=given.threads)
    faces = Faces(given.faces, model.spec.image_size)
    results: list[dict[str, Any]] = []
    rows = []
    for attribute in ATTRIBUTES:
        every = [measure(model, faces, attribute, pair, given.targets) for pair in range(given.pairs)]
        one = every[0]
        mean = {key: float(np.mean([entry[key] for entry in every])) for key in one}
        moves = "padding" if mean["out_p"] > mean["out_s"] else "latents"
        rows.append(
            [
                attribute,
                "spatial" if attribute in SPATIAL else "style",
                one["out_p"], one["out_s"], factor(one["out_p"], one["out_s"]),
                mean["out_p"], mean["out_s"], factor(mean["out_p"], mean["out_s"]),
                factor(mean["in_p"], mean["in_s"]),
                moves,
                PAPER[attribute],
            ]
        )  # fmt: skip
        results.append({"attribute": attribute, "one pair": one, "mean": mean, "moves more": moves})
    head = [
        "attribute", "kind", "MSE_p", "MSE_s", "factor", "MSE_p, ten pairs", "MSE_s, ten pairs", "factor, ten pairs",
        "factor inside", "moves more", "paper's factor",
    ]  # fmt: skip
    page = Page(RESULTS / f"edits_table3_{model.bundle.name}.md", "Table 3 of the paper", model)
    page.add(f"{given.targets} other faces of `{given.faces.name}`. The factor is MSE_p : MSE_s.\n")
    page.add(table(head, rows))
    if given.json:
        given.json.write_text(json.dumps({"model": model.bundle.manifest["name"], "results": results}, indent=1))


if __name__ == "__main__":
    main()
