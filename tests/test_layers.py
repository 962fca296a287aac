"""The order of the four folders, runtime <- padinv <- export <- cli, and the absence of import cycles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import structure

ROOT = Path(__file__).resolve().parents[1]


def imports_of_tree(root: Path, files: dict[str, str]) -> list[structure.Import]:
    """The imports of a checkout that holds these files only."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return structure.imports_of(structure.module_files(root))


@pytest.fixture(scope="module")
def imports() -> list[structure.Import]:
    return structure.imports_of(structure.module_files(ROOT))


def test_no_import_goes_against_the_order_of_the_layers(imports: list[structure.Import]) -> None:
    wrong = [f"{one.importer}:{one.line} imports {one.imported}" for one in structure.against_the_layers(imports)]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle(imports: list[structure.Import]) -> None:
    """Imports inside functions count too: moving one into a function hides a cycle, and does not remove it."""
    assert structure.import_cycle(one for one in imports if not one.for_types) == []


def test_the_imports_of_all_layers_are_seen(imports: list[structure.Import]) -> None:
    seen = {(structure.layer_of(one.importer), structure.layer_of(one.imported)) for one in imports}
    assert seen >= {("padinv", "runtime"), ("export", "padinv"), ("cli", "padinv"), ("cli", "export")}
    assert any(one.in_function for one in imports)
    assert any(one.for_types for one in imports)


@pytest.mark.parametrize(
    "statement",
    [
        "import padinv.cli.main",
        "from padinv.cli import main",
        "from padinv.cli.main import app",
        "from ..cli import main",
        "def late():\n    from padinv.cli.main import app",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from padinv.cli.main import app",
    ],
)
def test_an_import_against_the_order_is_found(tmp_path: Path, statement: str) -> None:
    files = {"runtime/images/reading.py": "", "runtime/model.py": statement, "cli/main.py": "app = None"}
    (wrong,) = structure.against_the_layers(imports_of_tree(tmp_path, files))
    assert (wrong.importer, wrong.imported) == ("padinv.runtime.model", "padinv.cli.main")
    assert wrong.line == statement.count("\n") + 1


@pytest.mark.parametrize("indent", ["", "def late():\n    "])
def test_a_cycle_is_found(tmp_path: Path, indent: str) -> None:
    files = {
        "runtime/a.py": "from padinv.runtime import b",
        "runtime/b.py": "from padinv.runtime.folder.c import name",
        "runtime/folder/c.py": f"{indent}import padinv.runtime.a",
    }
    cycle = structure.import_cycle(imports_of_tree(tmp_path, files))
    assert set(cycle) == {"padinv.runtime.a", "padinv.runtime.b", "padinv.runtime.folder.c"}
    assert cycle[0] == cycle[-1]
    files["runtime/folder/c.py"] = "import padinv.runtime"
    assert structure.import_cycle(imports_of_tree(tmp_path, files)) == []


def test_the_order_lets_a_layer_import_those_below(tmp_path: Path) -> None:
    files = {
        "runtime/__init__.py": "",
        "padinv/__init__.py": "import padinv.runtime",
        "padinv/__main__.py": "from padinv.cli.main import app",
        "export/bundle.py": "from padinv import runtime",
        "cli/main.py": "from padinv.export.bundle import runtime\nimport padinv",
    }
    found = imports_of_tree(tmp_path, files)
    assert len(found) == 5
    assert structure.against_the_layers(found) == []


def test_the_numbers_of_a_small_tree(tmp_path: Path) -> None:
    files = {
        "runtime/__init__.py": "from padinv.runtime.a import many",
        "runtime/a.py": "import os\nfrom padinv.runtime.b.c import (\n    one,\n    two,\n)\n",
        "runtime/b/c.py": "class C:\n    def few(self, a, b, c, d, e, f, *, g): 0\ndef many(a, b, c, d, e, f, g): 0",
        "cli/main.py": "import sys\ndef run():\n    import os, json\n    from padinv.runtime import a",
    }
    imports_of_tree(tmp_path, files)
    modules = structure.module_files(tmp_path)
    assert structure.statements_between_modules(structure.imports_of(modules), "runtime") == 2
    assert structure.imports_inside_functions(modules, "cli") == 2
    assert structure.functions_with_many_arguments(modules) == ["padinv.runtime.b.c.many"]
    assert structure.modules_per_folder(modules, tmp_path) == {"cli": 1, "runtime": 1, "runtime/b": 1}
    assert structure.longest_file(modules, tmp_path) == ("runtime/a.py", 5)


def test_the_page_shows_the_numbers_before_and_now() -> None:
    text = structure.markdown({"modules": "9"}, {"runtime": 3})
    assert f"| modules | {structure.BEFORE['modules']} | 9 |" in text
    assert "| `runtime` | 3 |" in text


def test_the_script_explains_itself() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "structure.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--root" in done.stdout
