"""What the editing benchmarks share: the faces, the models, and numbers in a table."""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.images import prepare, to_float
from padinv.runtime.model import Model


def parser(text: str) -> argparse.ArgumentParser:
    """A parser with the arguments that all of them take."""
    result = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--model", type=Path, help="bundle; the built-in model if left out")
    result.add_argument("--faces", type=Path, default=Path("../shared/faces/val.zip"), help="zip of aligned faces")
    result.add_argument("--threads", type=int, help="threads of the model")
    result.add_argument("--json", type=Path, help="also write the numbers here")
    return result


RESULTS = Path(__file__).parent / "results"


class Page:
    """A result file that is written as it grows."""

    def __init__(self, path: Path, title: str, model: Model) -> None:
        self._path = path
        script = Path(sys.argv[0]).name
        self._lines = [
            f"# {title}, {model.bundle.name}",
            "",
            f"`benchmarks/{script}`; {this_machine().processor}; generator {model.generator_hash[:12]}, bundle",
            f"{model.bundle.fingerprint[:12]}.",
            "",
        ]

    def add(self, text: str) -> None:
        """Print and keep more text."""
        print(text, flush=True)
        self._lines.append(text)
        self._path.write_text("\n".join(self._lines) + "\n", encoding="utf-8")


class Faces:
    """Aligned faces of a zip, at the model's size."""

    def __init__(self, path: Path, size: int) -> None:
        self.archive, self.size = zipfile.ZipFile(path), size
        self.names = sorted(name for name in self.archive.namelist() if name.endswith((".jpg", ".png")))

    def face(self, index: int) -> Image.Image:
        """As it is in the zip, RGB."""
        return Image.open(io.BytesIO(self.archive.read(self.names[index % len(self.names)]))).convert("RGB")

    def batch(self, faces: Sequence[Image.Image]) -> np.ndarray:
        """float32 [N, 3, S, S] in [-1, 1]."""
        return to_float(np.stack([prepare(face, self.size).pixels for face in faces]))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats with five digits after the point."""
    cells = [[f"{value:.5f}" if isinstance(value, float) else str(value) for value in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells]]
    return "\n".join(lines)
