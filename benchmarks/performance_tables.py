"""Write the tables of docs/performance.md from result files of `padinv bench --json` and `padinv verify`.

    python benchmarks/performance_tables.py [--check]

Reads benchmarks/results/bench-*.json and verify-*.json, and replaces what stands between the marks
`<!-- begin NAME -->` and `<!-- end NAME -->`. With --check, nothing is written, and a difference is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bench_section(path: Path) -> str:
    """One run of `padinv bench`: seconds per image at the fastest batch size of each contestant, and ratios."""
    value = json.loads(path.read_text("utf-8"))
    machine, model = value["machine"], value["model"]
    state = "quiet" if value["quiet"] else "BUSY, so only the ratios within this run mean anything"
    text = [
        f"### {model['name']}, {model['resolution']} px, on {machine['processor']}, {machine['cores']} cores"
        + "".join(f", {gpu['name']}" for gpu in machine["gpus"]),
        "",
        f"{value['day']}, load before the run {value['load'][0]:.1f} ({state}); "
        f"{', '.join(f'{name} {version}' for name, version in machine['packages'].items())}. "
        f"File: `benchmarks/results/{path.name}`.",
        "",
    ]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in value["rows"]:
        key = (row["contestant"], row["stage"])
        if key not in best or row["images_per_second"] > best[key]["images_per_second"]:
            best[key] = row
    names = list(dict.fromkeys(row["contestant"] for row in value["rows"]))
    rows = []
    for name in names:
        stages = [best[name, stage] for stage in ("encode", "generate", "end to end") if (name, stage) in best]
        base = best.get((value["base"], "end to end"))
        if len(stages) < 3 or base is None:
            continue
        difference = value["differences_in_grey_levels"][name]
        share = stages[2]["of_matrix_rate"]
        rows.append([
            name,
            *(f"{1 / row['images_per_second']:.4g}" for row in stages),
            str(stages[2]["batch"]),
            f"{stages[2]['images_per_second'] / base['images_per_second']:.2f}",
            "–" if share is None else f"{share:.0%}",
            f"{difference['mean']:.3f}",
        ])  # fmt: skip
    head = ["", "encode, s/image", "generate", "end to end", "batch", "times base", "of matrix rate", "grey levels"]
    return "\n".join([*text, table(head, rows), ""])


def verify_section(path: Path) -> str:
    """One run of `padinv verify`: what passed, and images per second."""
    value = json.loads(path.read_text("utf-8"))
    machine, checks = value["machine"], value["checks"]
    counts = {status: sum(check["status"] == status for check in checks) for status in ("passed", "failed", "skipped")}
    name = ", ".join(gpu["name"] for gpu in machine["gpus"]) or f"{machine['processor']}, {machine['cores']} cores"
    packages = ", ".join(f"{package} {version}" for package, version in machine["packages"].items())
    text = [
        f"### {name}",
        "",
        f"{counts['passed']} checks passed, {counts['failed']} failed, {counts['skipped']} skipped; {packages}. "
        f"File: `benchmarks/results/{path.name}`.",
        "",
    ]
    rows = [
        [f"{check['group']}: {check['name'].removesuffix(': speed')}"]
        + [number(rate) for rate in check["figures"]["images_per_second"].values()]
        for check in checks
        if check["name"].endswith(": speed") and isinstance(check["figures"].get("images_per_second"), dict)
    ]
    failed = [f"- failed: {check['group']}: {check['name']}: {check['detail']}" for check in checks]
    failed = [line for line, check in zip(failed, checks, strict=True) if check["status"] == "failed"]
    head = ["images per second, end to end", "batch 1", "batch 8", "batch 32"]
    return "\n".join([*text, *failed, table(head, rows), ""])


def latest(pattern: str) -> list[Any]:
    """(file name, content) of the result files of a pattern."""
    return [(path.name, json.loads(path.read_text("utf-8"))) for path in sorted(RESULTS.glob(pattern))]


def end_to_end(value: dict[str, Any], backend: str, precision: str, plain: bool | None = None) -> dict[str, Any] | None:
    """The fastest row of a run of `padinv bench`; backend 'padinv' stands for all but torch."""
    rows = [
        row
        for row in value["rows"]
        if row["stage"] == "end to end"
        and row["precision"] == precision
        and (row["backend"] == backend if backend != "padinv" else row["backend"] != "torch")
        and plain in (None, row["plain"])
    ]
    return max(rows, key=lambda row: row["images_per_second"], default=None)


def claims_of_bench(name: str, value: dict[str, Any]) -> list[list[str]]:
    """What was asked of one run on the full-sized model."""
    torch, torch_bf16 = (end_to_end(value, "torch", precision) for precision in ("fp32", "bf16"))
    fp32, bf16 = (end_to_end(value, "padinv", precision) for precision in ("fp32", "bf16"))
    tuned, plain = end_to_end(value, "cpu", "fp32", plain=False), end_to_end(value, "cpu", "fp32", plain=True)
    state = "quiet" if value["quiet"] else "busy"
    where = f"{value['machine']['processor']}, {value['machine']['cores']} cores, {state}, `{name}`"
    asked = (
        ("float32, times torch float32", fp32, torch, 1.7),
        ("float32, tuned graphs, times onnxruntime's plain graphs", tuned, plain, 1.3),
        ("bfloat16, times torch float32", bf16, torch, 3.3),
        ("bfloat16, times torch bfloat16", bf16, torch_bf16, 1.5),
    )
    rows = []
    for what, ours, other, least in asked:
        if ours and other:
            ratio = ours["images_per_second"] / other["images_per_second"]
            rows.append([what, f"at least {least}", f"{ratio:.2f}", "yes" if ratio >= least else "no", where])
    if bf16:
        mean = value["differences_in_grey_levels"][bf16["contestant"]]["mean"]
        rows.append(["bfloat16, mean difference in grey levels", "below 0.5", f"{mean:.3f}",
                     "yes" if mean < 0.5 else "no", where])  # fmt: skip
    return rows


def claims_of_fast(whole: list[Any], fast: list[Any]) -> list[list[str]]:
    """The `fast` encoder against `reference`, in the same precision on the same machine."""
    rows = []
    for (name, value), (_, other) in ((one, two) for one in fast for two in whole):
        if value["machine"]["processor"] != other["machine"]["processor"]:
            continue
        for precision in ("fp32", "bf16"):
            ours, base = end_to_end(value, "padinv", precision), end_to_end(other, "padinv", precision)
            if ours and base:
                ratio = ours["images_per_second"] / base["images_per_second"]
                rows.append([f"`fast` encoder, {precision}, times `reference`", "at least 2", f"{ratio:.2f}",
                             "yes" if ratio >= 2 else "no", f"{value['machine']['processor']}, `{name}`"])  # fmt: skip
    return rows


def claims_of_folders() -> list[list[str]]:
    """Throughput of folders, and many files."""
    rows = []
    for name, value in latest("folder_throughput-*.json"):
        what = f"folder against sessions, {value['model']}, {value['backend']} {value['precision']}"
        where = f"{value['machine']['processor']}, load {value['load']:.1f}, `{name}`"
        rows.append([what, "at least 90 %", f"{value['share']:.0%}", "yes" if value["share"] >= 0.9 else "no", where])
    for name, value in latest("folder_scale.json"):
        where = f"{value['machine']['processor']}, load {value['load']:.1f}, `{name}`"
        found = [row for row in value["rows"] if row["flags"] == "default"]
        few, many = min(found, key=lambda row: row["files"]), max(found, key=lambda row: row["files"])
        span = f"{few['files']:,} to {many['files']:,} files"
        memory = many["first"]["peak_mib"] / few["first"]["peak_mib"] - 1
        per_file = [row["first"]["processor"] / row["files"] for row in (few, many)]
        seconds, whole = many["second"]["seconds"], many["files"] >= 100_000
        rows += [
            [f"peak memory, {span}", "within 5 %", f"{memory:+.1%}", "yes" if memory < 0.05 and whole else "no", where],
            [f"processor time per file, {span}", "within 5 %", f"{per_file[1] / per_file[0] - 1:+.0%}",
             "yes" if per_file[1] < 1.05 * per_file[0] and whole else "no", where],
            [f"second run over {many['files']:,} finished files", "under 10 s", f"{seconds:.1f} s",
             "yes" if seconds < 10 and whole else "no", where],
        ]  # fmt: skip
    return rows


def claims() -> str:
    """What issue 11 asks for, line by line, as far as there are result files."""
    whole, fast = latest("bench-random256-reference-*.json"), latest("bench-random256-fast-*.json")
    rows = [row for name, value in whole for row in claims_of_bench(name, value)]
    rows += claims_of_fast(whole, fast) + claims_of_folders()
    return table(["what", "asked", "measured", "met", "where"], rows)


def int8_section(path: Path) -> str:
    """One run of `int8_encoder.py`: quality and time of each form against float32."""
    value = json.loads(path.read_text("utf-8"))
    base = value["rows"][0]
    rows = [
        [
            row["form"],
            f"{row['mse'] / base['mse'] - 1:+.2%}",
            f"{row['mean_levels']:.3f}",
            *(f"{row[key]:.1f}" for key in ("milliseconds", "processor_milliseconds")),
            f"{base['processor_milliseconds'] / row['processor_milliseconds']:.2f}",
        ]
        for row in value["rows"]
    ]
    head = ["encoder", "MSE", "grey levels", "ms per image", "processor ms", "times float32"]
    text = [
        f"### {value['model']} on {value['machine']['processor']}",
        "",
        f"{value['pictures']} photographs, one thread, load {value['machine']['load']}. "
        f"File: `benchmarks/results/{path.name}`.",
        "",
    ]
    return "\n".join([*text, table(head, rows), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where the page differs from the result files")
    check = parser.parse_args().check
    sections = {
        "bench": "\n".join(bench_section(path) for path in sorted(RESULTS.glob("bench-*.json"))),
        "int8": "\n".join(int8_section(path) for path in sorted(RESULTS.glob("int8-*.json"))),
        "claims": claims(),
        "verify": "\n".join(verify_section(path) for path in sorted(RESULTS.glob("verify-*.json"))),
    }
    before = PAGE.read_text("utf-8")
    after = before
    for name, text in sections.items():
        marks = (f"<!-- begin {name} -->", f"<!-- end {name} -->")
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        body = f"{marks[0]}\n{text.strip() or 'No result file yet.'}\n{marks[1]}"
        after = pattern.sub(lambda _, body=body: body, after)  # type: ignore[misc]
    if check:
        return int(after != before)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
