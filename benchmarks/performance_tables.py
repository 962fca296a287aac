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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where the page differs from the result files")
    check = parser.parse_args().check
    sections = {
        "bench": "\n".join(bench_section(path) for path in sorted(RESULTS.glob("bench-*.json"))),
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
