"""Put the tables that `padinv reproduce` made into docs/reproduce.md.

    python benchmarks/reproduce_tables.py --take DIR ... [--machine TEXT]
    python benchmarks/reproduce_tables.py [--check]

--take copies finished tables (NAME.json and NAME.svg of --out) to benchmarks/results/reproduce-NAME.*, with the machine
and without this machine's paths. Then the page's parts between `<!-- begin NAME -->` and `<!-- end NAME -->` are
written from these files. With --check nothing is written, and a difference is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path, PurePath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "reproduce.md"
PICTURES = ROOT / "docs" / "pictures"
NAMES = ("table1", "table2", "table3", "edges")


def take(folder: Path, machine: str) -> None:
    """Copy the tables of a folder into the results and the documentation's pictures."""
    for name in NAMES:
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        document = _without_paths(json.loads(path.read_text("utf-8")))
        text = (folder / f"{name}.md").read_text("utf-8")
        document["machine"], document["markdown"] = machine, _without_paths(text.partition("\n\n")[2].rstrip())
        out = RESULTS / f"reproduce-{name}.json"
        out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (PICTURES / f"reproduce-{name}.svg").write_text((folder / f"{name}.svg").read_text("utf-8"), "utf-8")


def _without_paths(value: Any) -> Any:
    """The same with absolute paths shortened to their last part: results are for people on other machines."""
    if isinstance(value, dict):
        return {key: _without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    if isinstance(value, str):
        return re.sub(r"(?<![\w.:/])/(?:[\w.~-]+/)+[\w.~-]+", lambda found: PurePath(found.group()).name, value)
    return value


def part(name: str) -> str:
    """A table as the page shows it: budget and machine, the table, its notes and its plot."""
    path = RESULTS / f"reproduce-{name}.json"
    if not path.is_file():
        return "No result file yet."
    document = json.loads(path.read_text("utf-8"))
    conditions = document["conditions"]
    budget, init = conditions["budget"], conditions["init"]
    start = f", starting from {init}" if init else ""
    trained = f"{budget:,} training images for each encoder{start}" if budget else f"The encoder is {init} as it is"
    measured = max(row.get("pictures", 0) for row in document["rows"])
    on = f"{measured:,} validation photographs" if measured else f"{conditions['targets']} validation photographs"
    small = (
        "The paper trains each encoder with 6.4 million images: at a budget this small the figures show that the "
        "command works, and how fast each row learns, not what the method reaches. "
    )
    return "\n".join(
        [
            f"{trained}; {on}; {document['machine']}. {small if budget else ''}File: `benchmarks/results/{path.name}`.",
            "",
            document["markdown"],
            "",
            f"![{document['title']}](pictures/reproduce-{name}.svg)",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, action="append", default=[], help="--out of padinv reproduce")
    parser.add_argument(
        "--machine", default=f"one thread of {os.cpu_count()} AVX2 cores shared with other work, float32"
    )
    parser.add_argument("--check", action="store_true", help="fail where the page differs from the result files")
    given = parser.parse_args()
    for folder in given.take:
        take(folder, given.machine)
    before = PAGE.read_text("utf-8")
    after = before
    for name in NAMES:
        marks = (f"<!-- begin {name} -->", f"<!-- end {name} -->")
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        body = f"{marks[0]}\n{part(name)}\n{marks[1]}"
        after = pattern.sub(lambda _, body=body: body, after)  # type: ignore[misc]
    if given.check:
        return int(after != before)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
