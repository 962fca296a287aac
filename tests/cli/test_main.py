from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

from padinv.cli import main as cli_main
from padinv.cli.main import EXTRAS, VERBS, explain
from padinv.runtime.errors import InputError, UsageError

# Imports of these raise, whatever tries them.
FORBID = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision', 'accelerate'):
            raise ImportError(f'{name} must not be imported here')
sys.meta_path.insert(0, Forbid())
"""


def without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter in which importing torch is an error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FORBID + textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_the_check_against_torch_can_fail():
    done = without_torch("import torch")
    assert done.returncode != 0
    assert "torch must not be imported here" in done.stderr


def test_the_runtime_and_all_its_modules_import_without_torch():
    done = without_torch("""
        import importlib, pkgutil, padinv, padinv.runtime
        modules = [found.name for found in pkgutil.walk_packages(padinv.runtime.__path__, 'padinv.runtime.')]
        assert 'padinv.runtime.batch.results_log' in modules  # the walk descends into the folders
        for module in modules:
            importlib.import_module(module)
        from padinv.runtime import Model, Inversion
        assert not [m for m in sys.modules if m.split('.')[0] == 'torch']
    """)
    assert done.returncode == 0, done.stderr


def test_help_and_version_import_next_to_nothing():
    for option in ("--help", "--version"):
        done = without_torch(f"""
            sys.argv = ['padinv', '{option}']
            from padinv.cli.main import main
            try:
                main()
            finally:
                heavy = {{'torch', 'numpy', 'PIL', 'onnxruntime', 'rich', 'safetensors'}}
                print('HEAVY', sorted(heavy & set(sys.modules)))
        """)
        assert done.returncode == 0, done.stderr
        assert "HEAVY []" in done.stdout


def test_a_whole_inversion_runs_without_torch(tiny_bundle, tmp_path, picture):
    picture().save(tmp_path / "a.png")
    done = without_torch(
        "from padinv.cli.main import main\nsys.argv = ['padinv', *sys.argv[1:]]\nmain()",
        "invert", str(tmp_path / "a.png"), "--model", str(tiny_bundle), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.png.safetensors").is_file()
    assert (tmp_path / "out" / "report.html").is_file()


def test_help_lists_every_verb(run_cli):
    result = run_cli("--help")
    assert result.code == 0
    for verb, (_, line) in VERBS.items():
        assert verb in result.out
        assert line.split()[0] in result.out


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_exists_and_explains_itself(run_cli, verb):
    assert callable(import_module(VERBS[verb][0]).command)
    result = run_cli(verb, "--help")
    assert result.code == 0
    assert "Usage: padinv" in result.out


def test_wrong_use_exits_2(run_cli):
    for arguments in (["invrt"], ["invert"], ["invert", "a.png", "--fit", "stretch"], ["info", "--no-such-option"]):
        result = run_cli(*arguments)
        assert result.code == 2, arguments
        assert "Traceback" not in result.err
    assert "Did you mean 'invert'?" in run_cli("invrt").err


def failing(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("a.png is bad"), 1, "padinv: error: a.png is bad"),
        (UsageError("give one of both"), 2, "padinv: error: give one of both"),
        (KeyboardInterrupt(), 130, "padinv: interrupted; everything finished so far is kept"),
        (MemoryError(), 1, "padinv: error: out of memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "pip install 'padinv[train]'"),
        (
            ZeroDivisionError("by\nzero"),
            1,
            "ZeroDivisionError: by zero), and the work was not finished; please report it",
        ),
    ],
)
def test_errors_become_one_sentence_and_an_exit_code(run_cli, monkeypatch, error, code, sentence):
    monkeypatch.setattr(import_module("padinv.cli.commands.info"), "command", failing(error))
    monkeypatch.delenv("PADINV_DEBUG", raising=False)
    result = run_cli("info")
    assert result.code == code
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


def test_debugging_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("PADINV_DEBUG", "1")
    assert explain(ZeroDivisionError("by zero")) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_extras_named_in_errors_exist():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    for extra in EXTRAS.values():
        assert f"\n{extra} = [" in section


def test_a_reader_that_goes_away_is_no_error(tiny_bundle):
    """`padinv info ... | true`"""
    code = "import sys; from padinv.cli.main import main; sys.argv = ['padinv', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", code, "info", str(tiny_bundle)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in error
    assert "report it" not in error


def test_the_table_of_verbs_is_lazy():
    commands = cli_main.LazyCommands()
    assert list(commands) == list(VERBS)
    assert commands.get("no-such-verb") is None
    assert commands.get("info").name == "info"
