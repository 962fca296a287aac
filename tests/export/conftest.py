"""One export for all tests of this folder: of a tiny run, through the command line, with everything in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from tiny_run import write_run
from tiny_training import small_widths


@pytest.fixture(autouse=True)
def _narrow_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.models.fast_encoder.widths", small_widths)


@pytest.fixture(scope="session")
def _exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run, bundle)."""
    from padinv.checkpoints.generator_encoder import read_run
    from padinv.export.export_bundle import Options, export_bundle

    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "export-once"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"), pytest.MonkeyPatch.context() as patch:  # parallel test processes share it
        patch.setattr("padinv.models.fast_encoder.widths", small_widths)
        if not (folder / "bundle").exists():
            run = write_run(folder / "my-run")
            export_bundle(read_run(run), folder / "bundle", Options(half=True, weights=True))
    return folder / "my-run", folder / "bundle"


@pytest.fixture
def run_folder(_exported: tuple[Path, Path]) -> Path:
    """The run that was exported; not to be written to."""
    return _exported[0]


@pytest.fixture
def exported(_exported: tuple[Path, Path]) -> Path:
    """The bundle; not to be written to."""
    return _exported[1]


@pytest.fixture
def exported_copy(_exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(_exported[1], tmp_path / "copy"))
