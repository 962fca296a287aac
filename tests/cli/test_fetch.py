"""`padinv fetch`, and commands that say at once which weight files they lack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from json_document import json_document

from padinv.losses import weight_files
from padinv.losses.weight_files import KNOWN, Wanted, find_cached


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PADINV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, str]]:
    """What would have been downloaded; a small file is written in its place."""
    calls: list[tuple[str, Path, str]] = []

    def download(url: str, target: Path, *, sha256: str = "", progress: Any = None) -> str:
        calls.append((url, target, sha256))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"weights")
        progress(3 << 20, 5 << 20)
        return hashlib.sha256(b"weights").hexdigest()

    monkeypatch.setattr("padinv.cli.commands.fetch.download", download)
    return calls


def test_a_file_is_fetched_once(
    run_cli: Callable[..., Any], fetched: list[tuple[str, Path, str]], caches: Path
) -> None:
    result = run_cli("fetch", "lpips-alex", "mobilefacenet", "lpips-alex")
    assert result.code == 0, result.err
    assert [target for _, target, _ in fetched] == [caches / "alexnet-owt-7be5be79.pth", caches / "mobilefacenet.pt"]
    assert fetched[0][2] == "7be5be79"
    assert "BSD" in result.err
    again = run_cli("fetch", "lpips-alex", "--json")
    assert json_document(again)["results"][0]["fetched"] is False
    assert len(fetched) == 2
    assert find_cached("lpips-alex") == caches / "alexnet-owt-7be5be79.pth"


def test_to_chooses_the_folder(
    run_cli: Callable[..., Any], fetched: list[tuple[str, Path, str]], tmp_path: Path
) -> None:
    assert run_cli("fetch", "arcface", "--to", tmp_path / "here").code == 0
    assert fetched[0][1] == tmp_path / "here" / "model_ir_se50.pth"


def test_torchs_own_cache_counts(run_cli: Callable[..., Any], fetched: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "vgg16-397923af.pth").write_bytes(b"x")
    assert "already" in run_cli("fetch", "lpips-vgg").out
    assert not fetched


def test_the_list_names_everything(run_cli: Callable[..., Any]) -> None:
    text = run_cli("fetch").out
    assert all(name in text for name in KNOWN)
    facts = json_document(run_cli("fetch", "--json"))["results"]
    assert {fact["name"] for fact in facts} == set(KNOWN)
    wrong = run_cli("fetch", "lpips-resnet")
    assert wrong.code == 2
    assert "lpips-alex" in wrong.err


def test_every_known_file_has_a_safe_address_and_a_plain_name() -> None:
    for entry in KNOWN.values():
        assert entry.url.startswith("https://")
        assert Path(entry.file).name == entry.file
        assert entry.terms
        assert all(c in "0123456789abcdef" for c in entry.sha256)
        assert len(entry.sha256) in (0, 8, 64)


def test_a_wanted_file_is_looked_for_where_it_was_given_and_in_the_caches(tmp_path: Path) -> None:
    cached = Wanted("arcface", "the identity loss", "--face-weights")
    given = Wanted("lpips-vgg", "LPIPS 'vgg'", "--lpips-weights", tmp_path / "none.pth")
    assert "padinv fetch arcface" in (cached.problem() or "")
    assert "none.pth does not exist" in (given.problem() or "")
    (tmp_path / "none.pth").write_bytes(b"")
    path = weight_files.cache_folder() / KNOWN["arcface"].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert (cached.problem(), given.problem()) == (None, None)


def test_training_names_all_missing_files_at_once(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    result = run_cli(
        "train", "--generator", tmp_path / "g.safetensors", "--data", tmp_path / "data", "--out", tmp_path / "run",
        "--id", 0.1, "--per", 0.8,
    )  # fmt: skip
    assert result.code == 1
    for what in ("padinv fetch lpips-alex", "padinv fetch arcface", "g.safetensors does not exist", "(--data)"):
        assert what in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
