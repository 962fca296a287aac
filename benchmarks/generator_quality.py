"""KID, Fréchet distance, precision and recall of generators, in EfficientNet-Lite0 features at 128 px.

    python benchmarks/generator_quality.py --faces ../shared/faces/train.zip [--model BUNDLE ...] [--images 2000]

Writes benchmarks/results/generator_quality.md. Smaller images are enlarged to 128 px by bicubic interpolation.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from padinv.evaluation.generative import frechet_distance, kid, precision_recall
from padinv.models.efficientnet import EfficientNetLite0, load_efficientnet
from padinv.runtime.files import atomic_path
from padinv.runtime.model import Model

SIDE = 128
RESULTS = Path(__file__).resolve().parent / "results" / "generator_quality.md"


def enlarged(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, R, R, 3] -> float [N, 3, 128, 128] in [-1, 1]."""
    arrays = [
        np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        for image in images
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1


@torch.no_grad()
def features_of_model(net: EfficientNetLite0, model: Model, count: int, truncation: float) -> torch.Tensor:
    """Features of the model's samples at seeds 0, 1, ...: [count, 1280]."""
    parts = []
    for start in range(0, count, 50):
        seeds = list(range(start, min(start + 50, count)))
        parts.append(net.pooled(enlarged(model.generate(model.sample(seeds, truncation)))))
    return torch.cat(parts)


@torch.no_grad()
def features_of_archive(net: EfficientNetLite0, path: Path, count: int) -> torch.Tensor:
    """Features of the first photographs of a ZIP archive: [count, 1280]."""
    parts = []
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))[:count]
        for start in range(0, len(names), 50):
            batch = [
                np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in names[start : start + 50]
            ]
            parts.append(net.pooled(enlarged(np.stack(batch))))
    return torch.cat(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, help="ZIP archive of photographs")
    parser.add_argument("--model", type=Path, action="append", help="bundle; may be repeated; the built-in one if none")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    net = load_efficientnet()
    real = features_of_archive(net, arguments.faces, arguments.images)
    lines = [
        "# Generators, in EfficientNet-Lite0 features at 128 px",
        "",
        f"{arguments.images:,} samples per row against {len(real):,} photographs of {arguments.faces.name}. "
        f"Written by `benchmarks/generator_quality.py` ({platform.machine()}, {os.cpu_count()} cores, torch "
        f"{torch.__version__}). Not comparable with numbers in Inception features.",
        "",
        "| model | truncation | KID x 1000 | Fréchet distance | precision | recall |",
        "|---|---|---|---|---|---|",
    ]
    for path in arguments.model or [None]:
        model = Model.load(path)
        for truncation in (1.0, 0.7):
            features = features_of_model(net, model, arguments.images, truncation)
            score = kid(features, real)
            precision, recall = precision_recall(features, real)
            row = (
                f"| {model.bundle.name} | {truncation} | {1000 * score.mean:.3f} ± {1000 * score.error:.3f} "
                f"| {frechet_distance(features, real):.2f} | {precision:.3f} | {recall:.3f} |"
            )
            print(row, flush=True)
            lines.append(row)
    with atomic_path(arguments.out) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
