"""The report of a verification: Markdown to attach to an issue, JSON for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from padinv.export.verify.checks import Check
from padinv.runtime.benchmark.machine import Machine
from padinv.runtime.files import write_json, write_text
from padinv.runtime.text import printable

TITLES = {
    "model": "Model",
    "backends": "Backends",
    "torch": "Networks in torch",
    "engines": "TensorRT engines",
    "training": "Training",
}
_SPEED = ": speed"
_ON_GPU = ("cuda", "trt", "ort-trt", "coreml", "directml", "rocm")
_MARKS = {"passed": "passed", "failed": "**FAILED**", "skipped": "skipped"}


def write_report(folder: Path, machine: Machine, model: dict[str, Any], checks: list[Check], seconds: float) -> Path:
    """Write `verify-MACHINE.md` and `verify-MACHINE.json`; returns the former.

    Args:
        model: 'name', 'resolution' and other facts about what was verified.

    Raises:
        OutputError: not writable.
    """
    base = folder / f"verify-{machine.slug}"
    value = {
        "machine": machine.to_dict(),
        "model": model,
        "seconds": round(seconds, 1),
        "checks": [check.to_dict() for check in checks],
    }
    write_json(base.with_name(f"{base.name}.json"), value)
    path = base.with_name(f"{base.name}.md")
    write_text(path, markdown(machine, model, checks, seconds))
    return path


def markdown(machine: Machine, model: dict[str, Any], checks: list[Check], seconds: float) -> str:
    """The report as Markdown."""
    counts = {status: sum(check.status == status for check in checks) for status in ("passed", "failed", "skipped")}
    lines = [
        f"# padinv verify: {machine.slug}",
        "",
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, in {seconds:.0f} s.",
        "",
        *(f"- {line}" for line in machine.lines()),
        f"- model: {', '.join(f'{key} {value}' for key, value in model.items())}",
        "",
    ]
    failed = [check for check in checks if check.status == "failed"]
    if failed:
        lines += [
            "## Failed",
            "",
            *(f"- {_cell(check.group)}: {_cell(check.name)}: {_cell(check.detail)}" for check in failed),
            "",
        ]
    for group, title in TITLES.items():
        rows = [check for check in checks if check.group == group]
        if rows:
            lines += [f"## {title}", "", "| check | result | what was found | seconds |", "|---|---|---|---|"]
            lines += [
                f"| {_cell(check.name)} | {_MARKS[check.status]} | {_cell(check.detail)} | {check.seconds:.1f} |"
                for check in rows
            ]
            lines.append("")
    return "\n".join([*lines, *_speeds(checks)])


def _speeds(checks: list[Check]) -> list[str]:
    """All speeds in one table, each against torch in float32 on the same kind of device."""
    rates: dict[tuple[str, str], dict[str, float]] = {
        (check.group, check.name.removesuffix(_SPEED)): check.figures["images_per_second"]
        for check in checks
        if check.name.endswith(_SPEED) and "images_per_second" in check.figures and "full-sized" not in check.name
    }
    if not rates:
        return []
    batches = list(next(iter(rates.values())))
    last = batches[-1]
    heads = " | ".join(f"batch {n}" for n in batches)
    lines = ["## Images per second through encoder and generator", ""]
    lines += [f"| | {heads} | times torch fp32, batch {last} |", "|---|" + "---|" * (len(batches) + 1)]
    for (group, name), rate in rates.items():
        on_gpu = name.split(",")[0] in _ON_GPU or name.startswith("cuda:")
        base = rates.get(("torch", "cuda:0, fp32" if on_gpu else "cpu, fp32"))
        ratio = f"{rate[last] / base[last]:.2f}" if base else "–"
        title = f"torch on {name}" if group == "torch" else name
        lines.append(f"| {title} | {' | '.join(f'{rate[n]:,.0f}' for n in batches)} | {ratio} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    """Text for a table: no bars, no control characters."""
    return printable(text).replace("|", "\\|").replace("<", "&lt;")
