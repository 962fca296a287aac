"""Blends beside style mixing: what comes from A, and what stays from B.

    python benchmarks/edits_blend.py [--model BUNDLE] [--wplus BUNDLE] [--lpips ../shared/weights/squeezenet1_1.pth]

500 pairs of faces. The features are an ellipse around eyes, nose and mouth of the template; the surround is the rest.
Blending is the latents of A with the padding of B; style mixing is B with the later latents of A, with this model's own
inversions and, with --wplus, with those of an encoder without padding (pSp's setting, which the paper compares with).
Distances are mean squared errors on [-1, 1] and LPIPS (squeeze) to A inside the ellipse and to B outside; for LPIPS
what lies on the other side is filled with the same picture, so that it cannot differ. Smaller is closer. Needs torch
for LPIPS; without --lpips only squared errors are printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from edits_data import RESULTS, Faces, Page, parser, table

from padinv.runtime import Model, blend, style_mixing

CENTRE, RADII = (0.5, 0.50), (0.33, 0.34)  # of the ellipse, in fractions of the side


def ellipse(side: int) -> np.ndarray:
    """[S, S]: 1 on the features, 0 around them."""
    at = (np.arange(side) + 0.5) / side
    u, v = np.meshgrid(at, at)
    return (((u - CENTRE[0]) / RADII[0]) ** 2 + ((v - CENTRE[1]) / RADII[1]) ** 2 <= 1).astype(np.float32)


def lpips_of(path: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """[N, 3, S, S] twice -> LPIPS squeeze [N]."""
    import torch

    from padinv.losses.lpips import LPIPS

    network = LPIPS("squeeze", path).eval()

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x), torch.from_numpy(y)).reshape(len(x)).numpy()

    return distance


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--wplus", type=Path, help="bundle of an encoder without padding")
    arguments.add_argument("--lpips", type=Path, help="SqueezeNet 1.1 weights with torchvision's names")
    arguments.add_argument("--pairs", type=int, default=500)
    arguments.add_argument("--batch", type=int, default=50)
    given = arguments.parse_args()
    model = Model.load(given.model, threads=given.threads)
    models = {"": model} | (
        {"W+ only encoder: ": Model.load(given.wplus, threads=given.threads)} if given.wplus else {}
    )
    faces = Faces(given.faces, model.spec.image_size)
    inside = ellipse(model.spec.image_size)
    outside = 1 - inside
    lpips = lpips_of(given.lpips) if given.lpips else None
    sums: dict[str, list[list[float]]] = {}
    for start in range(0, given.pairs, given.batch):
        count = min(given.batch, given.pairs - start)
        a = faces.batch([faces.face(start + i) for i in range(count)])
        b = faces.batch([faces.face(given.pairs + start + i) for i in range(count)])
        made = {"B itself": b}
        for label, one in models.items():
            inv_a, inv_b = one.encode(a), one.encode(b)
            if not label:
                made["blend"] = one.generate_for_encoder(blend(inv_a, inv_b))
                made["reconstruction of B"] = one.generate_for_encoder(inv_b)
            made[f"{label}style mixing"] = one.generate_for_encoder(style_mixing(inv_a, inv_b))
        for name, x in made.items():
            values = [
                (np.square(x - a) * inside).sum(axis=(1, 2, 3)) / (3 * inside.sum()),
                (np.square(x - b) * outside).sum(axis=(1, 2, 3)) / (3 * outside.sum()),
            ]
            if lpips is not None:
                values += [lpips(x * inside + a * outside, a), lpips(x * outside + b * inside, b)]
            sums.setdefault(name, []).extend(np.stack(values, axis=1).tolist())
    head = ["picture", "MSE of the features to A", "MSE of the surround to B"]
    head += ["LPIPS of the features to A", "LPIPS of the surround to B"] if lpips else []
    means = {name: np.mean(values, axis=0) for name, values in sums.items()}
    page = Page(RESULTS / f"edits_blend_{model.bundle.name}.md", "Blends", model)
    page.add(f"{given.pairs} pairs of `{given.faces.name}`. Smaller is closer.\n")
    page.add(table(head, [[name, *map(float, values)] for name, values in means.items()]))
    for other in (name for name in means if "style mixing" in name):
        closer = (np.asarray(sums["blend"]) < np.asarray(sums[other])).mean(axis=0)
        said = "; ".join(f"{label} {value:.0%}" for label, value in zip(head[1:], closer, strict=True))
        page.add(f"\nthe blend is closer than {other} in this share of {given.pairs} pairs: {said}")
    if given.json:
        numbers = {name: values.tolist() for name, values in means.items()}
        given.json.write_text(
            json.dumps({"model": model.bundle.manifest["name"], "columns": head[1:], "means": numbers})
        )


if __name__ == "__main__":
    main()
