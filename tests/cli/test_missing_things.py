"""What is missing is said at once: files before packages, all of them together, and the extra that the verb needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from padinv.cli.main import explain
from padinv.runtime.errors import InputError, is_out_of_memory
from padinv.runtime.files import require_files
from padinv.runtime.reports.html import page, write_page

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from padinv.cli.main import main; main()"


def run_without_torch(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_missing_files_are_named_before_torch_is_asked_for(tmp_path: Path) -> None:
    for args in (
        ("import", tmp_path / "no.pkl", "--out", tmp_path / "g.safetensors"),
        ("export", tmp_path / "no.pkl", "--out", tmp_path / "b"),
        ("export", "--generator", tmp_path / "no.pkl", "--encoder", tmp_path / "none", "--out", tmp_path / "b"),
        ("export", tmp_path, "--card", tmp_path / "no.pkl", "--out", tmp_path / "b"),
    ):
        result = run_without_torch(*args)
        assert result.returncode == 1, result.stderr
        assert "no.pkl" in result.stderr
        assert "not exist, so nothing was done" in result.stderr
        assert "torch" not in result.stderr
    pair = ("--generator", tmp_path / "no.pkl", "--encoder", tmp_path / "none.pt")
    assert "no.pkl, " in run_without_torch("export", *pair, "--out", tmp_path / "b").stderr


@pytest.mark.parametrize(("verb", "extra"), [("export", "export"), ("import", "train"), ("train", "train")])
def test_without_torch_the_right_extra_is_named(tmp_path: Path, verb: str, extra: str) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}.")
    args = {
        "export": ("--generator", tmp_path / "x.pkl", "--encoder", tmp_path / "x.pkl", "--out", tmp_path / "b"),
        "import": (tmp_path / "x.pkl", "--out", tmp_path / "g.safetensors"),
        "train": ("--generator", tmp_path / "x.pkl", "--data", tmp_path, "--out", tmp_path / "run"),
    }[verb]
    result = run_without_torch(verb, *args)
    assert result.returncode == 1
    assert f"pip install 'padinv[{extra}]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_all_missing_files_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a, .*b do not exist"):
        require_files(tmp_path / "a", None, tmp_path / "b")
    with pytest.raises(InputError, match="a does not exist"):
        require_files(tmp_path / "a")
    with pytest.raises(InputError, match="it is a folder"):
        require_files(tmp_path)
    require_files(tmp_path, folders=True)


def test_a_card_must_be_a_small_regular_text(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    (tmp_path / "large.md").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe")
    from padinv.export.export_bundle import _read_card

    for name, sentence in (("large.md", "larger than a model card"), ("binary.md", "not UTF-8 text")):
        with pytest.raises(InputError, match=sentence):
            _read_card(tmp_path / name)
    with pytest.raises(InputError, match="not a regular file"):
        _read_card(Path("/dev/zero"))
    result = run_cli("export", tmp_path, "--card", "/dev/zero", "--out", tmp_path / "b")
    assert result.code == 1
    assert "not a regular file" in result.err


class OutOfMemoryError(RuntimeError):
    """Called as torch's own is."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to ..."
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory: you tried to allocate"),
    ],
)
def test_out_of_memory_is_one_sentence(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(error, "train") == 1
    assert "out of memory" in capsys.readouterr().err


def test_other_errors_are_not_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


@pytest.mark.parametrize("verb", ["train", "train-generator", "eval"])
@pytest.mark.parametrize("seed", ["4294967296", "18446744073709551616", "-1"])
def test_seeds_beyond_what_numpy_takes_are_wrong_use(run_cli: Callable[..., Any], verb: str, seed: str) -> None:
    result = run_cli(verb, "--seed", seed)
    assert result.code == 2
    assert "--seed" in result.err


def test_a_page_that_cannot_be_read_is_not_padinvs(tmp_path: Path) -> None:
    text = page("title", "body")
    assert write_page(tmp_path / "new.html", text)
    assert write_page(tmp_path / "new.html", text)
    (tmp_path / "folder.html").mkdir()
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "other.html").write_text("mine")
    (tmp_path / "dangling.html").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "pipe", "other", "dangling"):
        assert not write_page(tmp_path / f"{name}.html", text), name


@pytest.mark.parametrize("verb", ["train", "train-generator"])
def test_a_run_folder_that_tensorboard_cannot_write_is_refused_first(tmp_path: Path, verb: str) -> None:
    out = os.fsencode(tmp_path) + b"/run\xff"
    source = ("--generator", tmp_path / "g") if verb == "train" else ()
    command = [sys.executable, "-m", "padinv", verb, *map(str, source), "--data", str(tmp_path), b"--out", out]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "is not a UTF-8 name" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not os.path.exists(out)
