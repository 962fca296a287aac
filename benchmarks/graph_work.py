"""What tuned graphs gain, and what was tried for them.

    padinv export BUNDLE --tune
    python benchmarks/graph_work.py BUNDLE [--threads 2] [--batch 1,4] [--seconds 10]

Times the tuned graphs against the plain ones, eager torch (if the bundle holds weights) and OpenVINO, in turns in one
process. Writes the run as benchmarks/results/bench-*.json, as `padinv bench` would, and every form of every layer that
`--tune` timed, kept and refused, to benchmarks/results/graph_work.md.

With --go FILE, everything is opened first, and the measurement waits until FILE exists; FILE is removed at the end.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from padinv.export.run_benchmark import photographs
from padinv.export.torch_contestants import torch_contestants
from padinv.runtime.backends import installed_backends
from padinv.runtime.benchmark.contestants import STAGES, open_contestants
from padinv.runtime.benchmark.flops import graph_gflop
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.benchmark.matrix_rate import SIDE, product_rate
from padinv.runtime.benchmark.measuring import Measured, measure
from padinv.runtime.benchmark.report import Report
from padinv.runtime.bundle import read_bundle

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES = 2  # that differences are measured on

# Tried as small graphs of their own on two quiet cores (AVX2), batch 1, and not kept.
# What, milliseconds of the form in use, milliseconds of the form that was tried.
# Milliseconds (before, with it), timed once by hand while this was built; no script in this repository repeats them.
REFUSED = [
    ("7 heads of the encoder, 512 channels, 64 px, as one convolution", 290.4, 306.4),
    ("the same in Winograd's F(4, 2) over the phases of stride 2", 290.4, 223.3),
    ("one of them so, with the transform of its input", 41.3, 35.7),
    ("stride 2, 512 channels, 32 px: F(4, 2) over phases", 9.1, 11.1),
    ("stride 2, 256 channels, 64 px: F(4, 2) over phases", 9.9, 13.1),
    ("stride 2, 512 channels, 8 px: patches and one matrix product", 1.1, 1.3),
    ("stride 2, 512 channels, 2 px: the 4 taps that see the map, as one matrix product", 0.2, 0.1),
    ("up-sampling 512 to 256 channels, 64 px: products, then one convolution for taps and filter", 96.2, 153.1),
    ("up-sampling 512 to 256 channels, 64 px: four convolutions by phase, depth-to-space, filter", 96.2, 112.0),
    ("up-sampling 512 to 256 channels, 64 px: the filter on the four phases", 96.2, 110.8),
    ("up-sampling 512 to 256 channels, 64 px: filter merged, Winograd F(4, 3), depth-to-space", 96.2, 136.2),
    ("up-sampling 512 channels, 32 px: four convolutions by phase, depth-to-space, filter", 56.0, 49.1),
    ("up-sampling 256 to 128 channels, 128 px: four convolutions by phase, depth-to-space, filter", 114.1, 114.2),
    ("up-sampling 256 to 128 channels, 128 px: the filter as two of one dimension", 114.1, 115.3),
    ("Winograd 512 channels, 64 px: products of all images of a batch at once", 63.0, 73.3),
    ("Winograd 512 channels, 64 px: transform of the input in two steps", 63.0, 67.1),
]


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def forms_table(layers: dict[str, Any]) -> str:
    """Every kind of layer: times of its forms at each batch size, the chosen one in bold."""
    rows = []
    for kind, layer in layers.items():
        forms = []
        for form, times in layer["milliseconds"].items():
            shown = f"{form} {' / '.join(f'{value:.3g}' for value in times.values())}"
            forms.append(f"**{shown}**" if form == layer["form"] else shown)
        error = layer["error"].get(layer["form"])
        rows.append([kind, str(layer["sites"]), "; ".join(forms), "–" if error is None else f"{error:.0e}"])
    return table(["layer", "how many", "milliseconds at batch 1 / 4", "relative difference"], rows)


def ratios(measured: Measured) -> str:
    """End to end: seconds per image, and ratios to torch and to the plain graphs."""
    rows = []
    for stage in STAGES:
        for batch in sorted({row.batch for row in measured.rows}):
            found = {row.contestant: row for row in measured.rows if (row.stage, row.batch) == (stage, batch)}
            plain = next((row for row in found.values() if row.plain), None)
            torch = next((row for row in found.values() if row.backend == "torch"), None)
            for row in found.values():
                against = [
                    f"{row.images_per_second / other.images_per_second:.2f}" if other else "–"
                    for other in (plain, torch)
                ]
                rows.append([stage, str(batch), row.contestant, f"{1 / row.images_per_second:.3f}", *against])
    return table(["stage", "batch", "", "s per image", "times plain graphs", "times torch"], rows)


def busy(seconds: float = 2.0) -> float:
    """Mean number of processes that want a processor just now, this one left out."""
    found = []
    for _ in range(20):
        found.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
        time.sleep(seconds / 20)
    return sum(found) / len(found)


def write(report: Report, tuned: dict[str, Any], refused: list[tuple[str, float, float]]) -> None:
    (RESULTS / f"{report.stem}.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", "utf-8")
    text = [
        "# Graph work: forms of layers, tried on this machine",
        "",
        "Written by `benchmarks/graph_work.py`.",
        "",
        *(f"- {line}" for line in report.conditions()),
        f"- tuned with onnxruntime {tuned['onnxruntime']}, {tuned['threads']} threads, for {tuned['processor']}",
        f"- difference of reconstructions from the plain graphs: {tuned['parity']['reconstruction']:.1e} on [-1, 1]",
        "",
        "## The whole model",
        "",
        ratios(report.measured),
        "",
        *(part for graph, layers in tuned["layers"].items() for part in (f"## {graph}", "", forms_table(layers), "")),
        "## Tried and not built",
        "",
        "As small graphs of their own, batch 1, fastest of four or more runs on two quiet cores of the same machine. "
        "Timed by hand while this was built: no script repeats them.",
        "",
        table(["form", "in use, ms", "tried, ms"], [[what, f"{a:.1f}", f"{b:.1f}"] for what, a, b in refused]),
        "",
    ]
    (RESULTS / "graph_work.md").write_text("\n".join(text), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", default="1,4")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--go", type=Path)
    arguments = parser.parse_args()
    bundle, machine = read_bundle(arguments.bundle), this_machine()
    tuned = bundle.manifest["tuned"]
    names = [name for name in ("cpu", "openvino") if installed_backends()[name] is None]
    contestants, problems = open_contestants(bundle, names, ["fp32"], [arguments.threads])
    torch_ones, reason = torch_contestants(bundle, ("fp32",), arguments.threads, False)
    contestants = [*torch_ones, *contestants]
    gflop = {graph: graph_gflop(bundle, graph) for graph in ("encoder", "generator")}
    images = photographs(bundle)[:IMAGES]
    print("opened:", ", ".join(c.name for c in contestants), flush=True)
    while arguments.go and not arguments.go.exists():
        time.sleep(0.2)
    before = busy()
    square = np.random.default_rng(0).standard_normal((SIDE["cpu"],) * 2).astype(np.float32)
    rates = {"cpu fp32": product_rate(lambda: square @ square, SIDE["cpu"])}
    whole: Measured | None = None
    for batch in (int(part) for part in arguments.batch.split(",")):
        found = measure(
            contestants, images, [batch], gflop, rates, arguments.seconds, lambda what: print(what, flush=True)
        )
        if whole is None:
            whole = found
            whole.problems[:0] = problems + ([reason] if reason else [])
        else:
            whole.rows += found.rows
        day = datetime.date.today().isoformat()
        spec = bundle.spec
        load = (before, busy())
        report = Report(machine, bundle.name, bundle.generator_hash, spec.resolution, gflop, rates, whole, load, day)
        write(report, tuned, REFUSED)  # after each batch size, so that a run that is cut short keeps what it has
        print(ratios(whole), flush=True)
    if arguments.go:
        arguments.go.unlink(missing_ok=True)


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
