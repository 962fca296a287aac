"""The check of the archives finds what they lack."""

from __future__ import annotations

import importlib.util
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = Path(__file__).with_name("check_archives.py")
    spec = importlib.util.spec_from_file_location("check_archives", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("padinv/a.py", "cli/b.py", "export/c.py", "runtime/d.json", "tests/e.py", ".ci/run"):
        path = tmp_path / "clone" / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    return tmp_path / "clone"


def test_a_file_that_the_sdist_lacks_is_named(check: ModuleType, clone: Path, tmp_path: Path) -> None:
    sdist = tmp_path / "padinv-1.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for name in ("padinv", "cli", "export", "runtime"):
            archive.add(clone / name, f"padinv-1/{name}")
    assert check.missing_from_sdist(sdist, clone) == ["tests/e.py"]


def test_modules_data_and_licences_that_the_wheel_lacks_are_named(
    check: ModuleType, clone: Path, tmp_path: Path
) -> None:
    wheel = tmp_path / "padinv-1.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("padinv/a.py", "padinv/cli/b.py", "padinv/export/c.py", "padinv-1.dist-info/licenses/LICENSE"):
            archive.writestr(name, "")
    lacking = check.missing_from_wheel(wheel, clone)
    assert "padinv/runtime/d.json" in lacking
    assert "the licence NOTICE" in lacking
    assert "the licence LICENSE" not in lacking
    assert len(lacking) == 4
