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
from edits_data import Faces, parser, table
from edits_paint import ATTRIBUTES, SPATIAL, paint

from padinv.runtime import Model, apply, difference
from padinv.runtime.editing.pair_change import changed_region

PAPER = {
    "wide jaw": "12.89:1, spatial",
    "narrow jaw": "12.89:1, spatial",
    "bangs": "7.25:1, spatial",
    "glasses": "5.83:1, spatial",
    "lipstick": "1:13.73, style",
    "brows": "1:15.90, style",
}  # face shape, bangs, glasses, lipstick, eyebrow of Table 3


def measure(model: Model, faces: Faces, attribute: str, pair: int, targets: int) -> dict[str, float]:
    """MSE outside and inside the edited region for both spaces, of one pair."""
    first = faces.face(pair)
    others = [faces.face(100 + i) for i in range(targets)]
    one = model.encode(faces.batch([first, paint(first, attribute)]))
    b, true = faces.batch(others), faces.batch([paint(face, attribute) for face in others])
    regions = np.stack([changed_region(b[i], true[i]) for i in range(targets)])[:, None]
    inv_b = model.encode(b)
    plain = model.generate_for_encoder(inv_b)
    direction = difference(one[0], one[1])
    result = {}
    for label, space in (("p", "padding"), ("s", "latent")):
        change = np.square(model.generate_for_encoder(apply(inv_b, direction, space)) - plain)  # type: ignore[arg-type]
        result[f"out_{label}"] = float((change * (1 - regions)).sum() / (3 * (1 - regions).sum()))
        result[f"in_{label}"] = float((change * regions).sum() / (3 * regions.sum()))
    return result


def factor(p: float, s: float) -> str:
    """MSE_p : MSE_s, scaled so that the smaller of them is 1."""
    if min(s, p) <= 0:
        return "1:1" if s == p else ("∞:1" if p > s else "1:∞")
    return f"{p / s:.2f}:1" if p > s else f"1:{s / p:.2f}"


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
    print(table(head, rows))
    if given.json:
        given.json.write_text(json.dumps({"model": model.bundle.manifest["name"], "results": results}, indent=1))


if __name__ == "__main__":
    main()
