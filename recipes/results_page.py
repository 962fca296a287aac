"""Measure a bundle, and write its model card's figures and the page docs/results.md. One command, a few minutes.

    python recipes/results_page.py BUNDLE --faces val.zip --labels labels.csv --lpips squeezenet1_1.pth
        --identity mobilefacenet.pt [--vs BUNDLE ...] [--quality FILE.md] [--work DIR]

Written: the section 'Figures' of MODEL_CARD.md (and model.json), the table of README.md, docs/results.md, and
benchmarks/results/results-NAME.json. Measurements are kept in --work, so that the same command resumes. No photograph
is written anywhere: the worst reconstructions are described in words.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

import card_figures
import numpy as np
from direction_card import with_heading
from group_figures import group_facts, group_lines
from paper_comparison import comparison_lines
from photograph_facts import facts_of, where_it_is_wrong, words_of

from padinv.evaluation.bootstrap import summarise
from padinv.evaluation.evaluate import measure
from padinv.evaluation.metrics import open_metrics
from padinv.evaluation.models import BundleSubject
from padinv.evaluation.protocol import protocol_named
from padinv.picture_sources import PictureSource, open_pictures
from padinv.runtime.alignment.face_detector import FaceDetector
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.files import write_json, write_text
from padinv.runtime.images import to_float, to_uint8
from padinv.runtime.model import Model

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE, README = ROOT / "benchmarks" / "results", ROOT / "docs" / "results.md", ROOT / "README.md"
WORST = 20
RANKED_BY = "lpips_squeeze"


def _dot(count: int) -> None:
    print(".", end="", flush=True)


def measured(bundle: Path, source: PictureSource, given: argparse.Namespace) -> dict[str, Any]:
    """Name, images and columns of a bundle; finished measurements are read back."""
    model = Model.load(bundle, "cpu", given.threads)
    metrics = open_metrics(model.spec, {"squeeze": given.lpips}, given.identity, "cpu")
    subject = BundleSubject(model, protocol_named("paper"))
    done = measure(
        subject, source, metrics, given.work, 16, given.limit, advance=lambda n: print(".", end="", flush=True)
    )
    print(f" {subject.name}: {len(done.names):,} images")
    return {"name": subject.name, "names": done.names, "columns": done.scores(), "seconds": done.seconds_per_image}


def worst_of(result: dict[str, Any], bundle: Path, source: PictureSource, given: argparse.Namespace) -> dict[str, Any]:
    """The worst reconstructions in words, and how often each word applies to them and to all."""
    size = Model.load(bundle, "cpu", given.threads).spec.image_size
    detector = FaceDetector.load(given.threads)
    place = {source.name(k): k for k in range(len(source))}
    photographs = [source.read(place[name], size) for name in result["names"]]
    words = words_of([facts_of(pixels, detector) for pixels in photographs])
    values = result["columns"][RANKED_BY]
    worst = [int(k) for k in np.argsort(-values)[:WORST]]
    model = Model.load(bundle, "cpu", given.threads)
    again = to_uint8(model.generate_for_encoder(model.encode(to_float(np.stack([photographs[k] for k in worst])))))
    labels = card_figures.read_labels(given.labels)
    rows = [
        {
            "file": result["names"][k],
            "label": card_figures.label_of(labels, result["names"][k]),
            RANKED_BY: float(values[k]),
            "mse": float(result["columns"]["mse"][k]),
            "words": words[k],
            "error": where_it_is_wrong(photographs[k], picture),
        }
        for k, picture in zip(worst, again, strict=True)
    ]
    every = sorted({word for some in words for word in some})
    shares = {
        word: {
            "worst": sum(word in words[k] for k in worst) / max(1, len(worst)),
            "all": sum(word in some for some in words) / len(words),
        }
        for word in every
    }
    return {"ranked_by": RANKED_BY, "rows": rows, "shares": shares}


def worst_lines(worst: dict[str, Any]) -> list[str]:
    """The table of the worst, with the sentence that says what they have in common."""
    lines = [
        "| file | apparent group | LPIPS | MSE | photograph | the error is largest at |",
        "|---|---|---|---|---|---|",
    ]
    for row in worst["rows"]:
        said = ", ".join(row["words"]) or "nothing unusual that was measured"
        lines.append(
            f"| {row['file']} | {row['label']} | {row[worst['ranked_by']]:.3f} | {row['mse']:.4f} | {said} "
            f"| {row['error']} |"
        )
    common = sorted(worst["shares"].items(), key=lambda item: item[1]["all"] - item[1]["worst"])
    parts = [f"{word}: {one['worst']:.0%} of them, {one['all']:.0%} of all" for word, one in common[:4]]
    return [*lines, "", f"What they have more often than other photographs: {'; '.join(parts)}."]


def page(document: dict[str, Any], card: str) -> str:
    """docs/results.md."""
    return "\n".join(
        [
            f"# Results of {document['name']}",
            "",
            "<!-- Written by recipes/results_page.py; do not edit. -->",
            "",
            f"Measured on {document['machine']}, {document['seconds_per_image']:.3g} s per image. "
            f"File: `benchmarks/results/results-{document['name']}.json`.",
            "",
            card.partition("\n\n")[2].replace("\n### ", "\n## ").rstrip(),
            "",
            f"## The worst {len(document['worst']['rows'])} reconstructions",
            "",
            "By LPIPS. The photographs are of identifiable people, so they are described and not shown: words mark the "
            "outer tenth of all photographs in a measured property.",
            "",
            *worst_lines(document["worst"]),
            "",
            "## Compared with the paper",
            "",
            *comparison_lines(RESULTS),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--lpips", type=Path, required=True, help="torchvision's SqueezeNet 1.1")
    parser.add_argument("--identity", type=Path, required=True, help="a face-recognition network")
    parser.add_argument("--vs", type=Path, action="append", default=[], help="bundle to compare with; may be repeated")
    parser.add_argument("--quality", type=Path, default=RESULTS / "generator_quality.md")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "results")
    parser.add_argument("--limit", type=int, help="first images only; card and README.md stay then")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--machine", default=f"{platform.machine()}, {os.cpu_count()} cores", help="for the page")
    given = parser.parse_args()
    source = open_pictures(given.faces)
    results = [measured(path, source, given) for path in (given.bundle, *given.vs)]
    bundle, first = read_bundle(given.bundle), results[0]
    groups = group_facts(first["names"], first["columns"], card_figures.read_labels(given.labels))
    document = {
        "schema": 1,
        "name": bundle.name,
        "bundle": bundle.fingerprint,
        "machine": given.machine,
        "seconds_per_image": first["seconds"],
        "images": len(first["names"]),
        "metrics": {name: one.to_dict() for name, one in summarise(first["columns"]).items()},
        "groups": groups,
        "worst": worst_of(first, given.bundle, source, given),
    }
    old = (given.bundle / "MODEL_CARD.md").read_text("utf-8")
    figures = {one["name"]: (one["names"], one["columns"]) for one in results}
    card = card_figures.section(bundle.name, figures, group_lines(groups), given.quality, old=old)
    write_json(RESULTS / f"results-{bundle.name}.json", document)
    write_text(PAGE, page(document, card))
    if given.limit is not None:
        sys.exit("--limit was given, so the model card and README.md were left as they are")
    whole = with_heading(old, card_figures.HEADING, card)
    write_text(given.bundle / "MODEL_CARD.md", card_figures.with_front_figures(whole, first["columns"]))
    kept = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format")}
    write_manifest(given.bundle, kept)
    readme = README.read_text("utf-8")
    table = card_figures.readme_table(figures, bundle.name, readme)
    write_text(README, card_figures.put_between(readme, table))


if __name__ == "__main__":
    main()
