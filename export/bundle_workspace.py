"""Adding files to a bundle that is there already: in a copy, or in place while it stays usable."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from padinv.export.atomic_folder import staged_folder
from padinv.export.parity import Run
from padinv.runtime.backends import open_session
from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import OutputError
from padinv.runtime.files import TEMPORARY_PREFIX

Step = Callable[[str], None]


@contextmanager
def copy_of(source: Bundle, out: Path, overwrite: bool, step: Step) -> Iterator[Path]:
    """A new bundle's folder, with the files of `source` in it."""
    with staged_folder(out, overwrite) as folder:
        step("checking the bundle")
        for name in source.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.path(name), folder / name)
        yield folder


@contextmanager
def scratch_inside(source: Bundle) -> Iterator[Path]:
    """A scratch folder inside the bundle, with links to its graphs; removed at the end."""
    for name in source.files:
        source.path(name)  # whole, or BundleError
    try:
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=source.folder))
    except OSError as error:
        raise OutputError(f"cannot write {source.folder}: {error.strerror or error}; copy the bundle first") from error
    try:
        for name in source.files:
            if name.endswith(".onnx"):
                shutil.copyfile(source.folder / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def onnx_sessions(bundle: Bundle) -> Run:
    """Graphs of a bundle as they were exported, in onnxruntime on the processor."""
    opened: dict[str, Any] = {}

    def run(graph: str, feeds: Any) -> dict[str, np.ndarray]:
        if graph not in opened:
            opened[graph] = open_session(bundle, graph, "cpu", tuned=False)
        outputs: dict[str, np.ndarray] = opened[graph].run(feeds)
        return outputs

    return run
