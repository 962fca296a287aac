"""Numbers that say how the code is built, beside those of the code before it was moved into folders.

    python benchmarks/structure.py [--root CHECKOUT] [--write benchmarks/results/structure.md]

The sources are parsed, not imported, so any checkout can be measured. The numbers in `BEFORE` come from this script,
run with `--root` on a worktree of commit 4b9d59c.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

LAYERS = ("runtime", "padinv", "export", "cli")  # a layer may import itself and those before it
MANY_ARGUMENTS = 6

BEFORE_COMMIT = "4b9d59c"
BEFORE = {
    "modules": "127",
    "most modules in one folder": "34 (runtime)",
    "import statements between modules of `runtime/`": "114",
    "of these, between different folders of `runtime/`": "0 (it had none)",
    "import statements inside functions of `cli/`": "158",
    "imports against the layer order": "0",
    "longest file": "403 lines (padinv/checkpoints/unpickle.py)",
    "functions with more than 6 positional arguments": "25",
    "errors of `mypy --strict`": "71",
}


@dataclass(frozen=True)
class Import:
    """One module that one import statement names.

    Attributes:
        importer, imported: dotted names of padinv's modules; `imported` is a module even where the statement names
            something inside it.
        line: of the statement, from 1.
        in_function: the statement runs when a function is called.
        for_types: the statement stands under `if TYPE_CHECKING`, so it never runs.
    """

    importer: str
    imported: str
    line: int
    in_function: bool
    for_types: bool


def module_files(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module in the four folders of a checkout; a package is named like its folder."""
    files = {}
    for layer in LAYERS:
        top = ("padinv",) if layer == "padinv" else ("padinv", layer)
        for path in sorted((root / layer).rglob("*.py")):
            parts = (*top, *path.relative_to(root / layer).with_suffix("").parts)
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def layer_of(module: str) -> str:
    """The folder that a module belongs to. `padinv.__main__` is part of the command line."""
    if module == "padinv.__main__":
        return "cli"
    second = module.split(".")[1:2]
    return second[0] if second and second[0] in LAYERS else "padinv"


def imports_of(files: Mapping[str, Path]) -> list[Import]:
    """Every import of one of `files` by another."""
    found = []
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node, in_function, for_types in _statements(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _named(node, package):
                imported = _existing(name, files)
                if imported is not None and imported != module:
                    found.append(Import(module, imported, node.lineno, in_function, for_types))
    return list(dict.fromkeys(found))


def _statements(
    node: ast.AST, in_function: bool = False, for_types: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, in_function, for_types
        else:
            inside = in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            types = for_types or (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"))
            yield from _statements(child, inside, types)


def _named(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    """The dotted names in an import statement; relative ones are resolved from `package`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    return [f"{base}.{alias.name}" for alias in node.names]


def _existing(name: str, files: Mapping[str, Path]) -> str | None:
    """The module that `name` is, or that `name` lies in."""
    return next((one for one in (name, name.rpartition(".")[0]) if one in files), None)


def against_the_layers(imports: Iterable[Import]) -> list[Import]:
    """Imports of a later layer by an earlier one."""
    return [one for one in imports if LAYERS.index(layer_of(one.imported)) > LAYERS.index(layer_of(one.importer))]


def import_cycle(imports: Iterable[Import]) -> list[str]:
    """Modules that import each other in a circle, first one repeated at the end; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for one in imports:
        graph.setdefault(one.importer, set()).add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def imports_inside_functions(files: Mapping[str, Path], layer: str) -> int:
    """How many import statements of a layer stand inside functions, whatever they import."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items() if layer_of(name) == layer)
    return sum(in_function for tree in trees for _, in_function, _ in _statements(tree))


def statements_between_modules(imports: Iterable[Import], layer: str) -> int:
    """How many import statements of a layer name another module of the same layer."""
    inside = [one for one in imports if layer_of(one.importer) == layer == layer_of(one.imported)]
    return len({(one.importer, one.line) for one in inside})


def modules_per_folder(files: Mapping[str, Path], root: Path) -> dict[str, int]:
    """Folder -> modules in it, `__init__.py` and `__main__.py` not counted; the fullest first."""
    own = [path for path in files.values() if not path.name.startswith("__")]
    counts = Counter(path.parent.relative_to(root).as_posix() for path in own)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def longest_file(files: Mapping[str, Path], root: Path) -> tuple[str, int]:
    """(path, lines) of the module with the most lines."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files.values()}
    path = max(lengths, key=lambda one: lengths[one])
    return path.relative_to(root).as_posix(), lengths[path]


def functions_with_many_arguments(files: Mapping[str, Path], limit: int = MANY_ARGUMENTS) -> list[str]:
    """Functions with more than `limit` positional arguments, `self` and `cls` not counted."""
    found = []
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                positional = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                if len(positional) - (positional[:1] in (["self"], ["cls"])) > limit:
                    found.append(f"{name}.{node.name}")
    return found


def strict_errors(root: Path) -> int:
    """Errors of `mypy --strict` with the checkout's own settings, on a copy laid out as installed.

    Raises:
        SystemExit: mypy did not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        ignore = shutil.ignore_patterns("*.onnx", "*.safetensors", "__pycache__")
        shutil.copytree(root / "padinv", Path(folder) / "padinv", ignore=ignore)
        for layer in ("runtime", "export", "cli"):
            shutil.copytree(root / layer, Path(folder) / "padinv" / layer, ignore=ignore)
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str((root / "pyproject.toml").resolve())]
        done = subprocess.run([*command, "-p", "padinv"], cwd=folder, capture_output=True, text=True)
    summary = (done.stdout.strip().splitlines() or [""])[-1]
    if summary.startswith("Success"):
        return 0
    count = re.match(r"Found (\d+) errors?", summary)
    if count is None:
        raise SystemExit(f"mypy did not run, so nothing was measured: {(done.stderr or done.stdout).strip()[-300:]}")
    return int(count[1])


def measure(root: Path) -> tuple[dict[str, str], dict[str, int]]:
    """(what was counted -> value, folder -> modules) of a checkout."""
    files = module_files(root)
    imports = imports_of(files)
    folders = modules_per_folder(files, root)
    fullest = next(iter(folders))
    path, lines = longest_file(files, root)
    many = functions_with_many_arguments(files)
    return {
        "modules": str(sum(folders.values())),
        "most modules in one folder": f"{folders[fullest]} ({fullest})",
        "import statements between modules of `runtime/`": str(statements_between_modules(imports, "runtime")),
        "of these, between different folders of `runtime/`": str(_between_folders(imports, files)),
        "import statements inside functions of `cli/`": str(imports_inside_functions(files, "cli")),
        "imports against the layer order": str(len(against_the_layers(imports))),
        "longest file": f"{lines} lines ({path})",
        f"functions with more than {MANY_ARGUMENTS} positional arguments": str(len(many)),
        "errors of `mypy --strict`": str(strict_errors(root)),
    }, folders


def _between_folders(imports: Iterable[Import], files: Mapping[str, Path]) -> int:
    return statements_between_modules(
        (one for one in imports if files[one.importer].parent != files[one.imported].parent), "runtime"
    )


def markdown(values: Mapping[str, str], folders: Mapping[str, int]) -> str:
    """The result as a page."""
    lines = [
        "# Structure of the code",
        "",
        f"Written by `make structure` (`benchmarks/structure.py`). *Before* is commit {BEFORE_COMMIT}, measured by the "
        "same script.",
        "",
        "| | before | now |",
        "|---|---|---|",
        *(f"| {name} | {BEFORE[name]} | {value} |" for name, value in values.items()),
        "",
        "| folder | modules |",
        "|---|---|",
        *(f"| `{folder}` | {count} |" for folder, count in folders.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="checkout to measure")
    parser.add_argument("--write", type=Path, help="file for the result, besides standard output")
    arguments = parser.parse_args()
    text = markdown(*measure(arguments.root.resolve()))
    print(text, end="")
    if arguments.write is not None:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
