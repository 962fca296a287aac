"""What an installed padinv holds, and what a clone without an install can do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return table


def folder_of(package: str, table: dict[str, Any]) -> Path:
    """Where a package's files lie, by setuptools' rule: the longest prefix in `package-dir` decides."""
    parts = package.split(".")
    for count in range(len(parts), 0, -1):
        prefix = ".".join(parts[:count])
        if prefix in table["package-dir"]:
            return ROOT.joinpath(table["package-dir"][prefix], *parts[count:])
    raise AssertionError(f"{package} has no folder")


def packages_of(table: dict[str, Any]) -> set[str]:
    """Every package of the source tree: each folder with an `__init__.py` below one of `package-dir`."""
    found = set()
    for name, top in table["package-dir"].items():
        for file in (ROOT / top).rglob("__init__.py"):
            found.add(".".join((name, *file.parent.relative_to(ROOT / top).parts)))
    return found


def test_every_package_of_the_tree_is_in_the_wheel(setuptools_table: dict[str, Any]) -> None:
    listed = setuptools_table["packages"]
    assert set(listed) == packages_of(setuptools_table)
    assert len(set(listed)) == len(listed)


def test_every_module_lies_in_a_package(setuptools_table: dict[str, Any]) -> None:
    folders = {folder_of(package, setuptools_table) for package in setuptools_table["packages"]}
    for top in set(setuptools_table["package-dir"].values()):
        for module in (ROOT / top).rglob("*.py"):
            assert module.parent in folders, f"{module} is in no package, so no wheel would hold it"


def test_every_data_file_is_in_the_wheel(setuptools_table: dict[str, Any]) -> None:
    shipped = {
        file
        for package, patterns in setuptools_table["package-data"].items()
        for pattern in patterns
        for file in folder_of(package, setuptools_table).glob(pattern)
        if file.is_file()
    }
    tracked = subprocess.run(
        ["git", "ls-files", *set(setuptools_table["package-dir"].values())],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tracked.returncode != 0:
        pytest.skip("needs the git history, to tell the project's files from build outputs")
    data = {ROOT / name for name in tracked.stdout.splitlines() if not name.endswith(".py")}
    assert data == shipped


def in_a_clone_without_install(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the clone's folder with the dependencies, but without what an editable install sets up.

    `-S` keeps the files of `site-packages` that install import hooks from running; `PYTHONPATH` brings the packages
    there back.
    """
    dependencies = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    assert any(Path(typer.__file__).is_relative_to(path) for path in dependencies)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dependencies), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_a_clone_without_install_finds_its_siblings() -> None:
    done = in_a_clone_without_install(
        "-c",
        "import sys, padinv, padinv.cli.main, padinv.export, padinv.runtime.images\n"
        "assert not [hook for hook in sys.meta_path if 'editable' in str(hook).lower()]\n"
        "for module in (padinv, padinv.cli, padinv.export, padinv.runtime):\n"
        "    print(module.__path__[0])",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(ROOT / name) for name in ("padinv", "cli", "export", "runtime")]


def test_a_clone_without_install_runs_the_command() -> None:
    done = in_a_clone_without_install("-m", "padinv", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("padinv ")
    done = in_a_clone_without_install("-m", "padinv.cli.main", "invert", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: padinv invert" in done.stdout


def test_folders_that_are_not_siblings_do_not_become_part_of_the_package() -> None:
    code = "import padinv, importlib.util as u\n"
    code += "print([n for n in ('tests', 'docs', 'benchmarks', 'padinv') if u.find_spec('padinv.' + n) is not None])"
    done = in_a_clone_without_install("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
