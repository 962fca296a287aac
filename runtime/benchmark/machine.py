"""What a measurement was taken on: processor, GPUs, memory, load, and the versions of what ran."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "accelerate",
    "onnx",
    "tensorrt",
    "cuda-bindings",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
)


@dataclass(frozen=True)
class Machine:
    """A machine and what is installed on it.

    Attributes:
        processor: its name, as the operating system tells it.
        cores: that this process may use.
        memory_gib: of the whole machine; None where it is unknown.
        gpus: one mapping each, with 'name', 'driver' and 'memory_mib'.
        system: operating system and architecture.
        python, padinv: versions.
        packages: name -> version of those of `PACKAGES` that are installed.
        load: the mean number of processes that wanted a processor in the last minute; None where it is unknown.
    """

    processor: str
    cores: int
    memory_gib: float | None
    gpus: tuple[dict[str, Any], ...]
    system: str
    python: str
    padinv: str
    packages: dict[str, str] = field(default_factory=dict)
    load: float | None = None

    @property
    def slug(self) -> str:
        """A short name for file names: the GPU's where there is one, else the processor's and its cores."""
        name = self.gpus[0]["name"] if self.gpus else f"{self.processor} {self.cores} cores"
        many = f"{len(self.gpus)}x " if len(self.gpus) > 1 else ""
        return re.sub(r"[^a-z0-9]+", "-", (many + str(name)).lower()).strip("-")[:60] or "machine"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for people, a line each."""
        gpus = [f"{gpu['name']}, {gpu['memory_mib']} MiB, driver {gpu['driver']}" for gpu in self.gpus]
        memory = "" if self.memory_gib is None else f", {self.memory_gib:.0f} GiB of memory"
        load = "unknown" if self.load is None else f"{self.load:.2f}"
        return [
            f"processor: {self.processor}, {self.cores} cores{memory}",
            f"GPU: {'; '.join(gpus) or 'none'}",
            f"system: {self.system}, Python {self.python}, padinv {self.padinv}",
            f"packages: {', '.join(f'{name} {version}' for name, version in self.packages.items())}",
            f"load before the run: {load}",
        ]


def this_machine() -> Machine:
    """Read the machine this process runs on."""
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        memory_gib=_memory(),
        gpus=_gpus(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        padinv=sys.modules["padinv"].__version__,  # imported before anything inside it
        packages=_versions(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def usable_cores() -> int:
    """Processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def peak_memory_mib() -> float | None:
    """The largest memory this process has held so far; None where the system does not say."""
    try:  # the system call's figure begins with the parent's on Linux, this one does not
        for line in Path("/proc/self/status").read_text("ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> tuple[dict[str, Any], ...]:
    """NVIDIA's, as nvidia-smi tells them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines()]
    return tuple(
        {"name": row[0], "driver": row[1], "memory_mib": int(row[2]) if row[2].isdigit() else 0}
        for row in rows
        if len(row) == 3
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
