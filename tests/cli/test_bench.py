from __future__ import annotations

from pathlib import Path

from json_document import json_document


def test_bench_measures_and_says_what_is_fastest(tiny_bundle: Path, run_cli, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    arguments = ["bench", "--model", tiny_bundle, "--backend", "cpu", "--batch", "1,2", "--threads", "1"]
    arguments += ["--seconds", "0.05", "--no-torch", "--no-cold", "--out", out]
    result = run_cli(*arguments)
    assert result.code == 0, result.err
    last = result.out.splitlines()[-1]
    assert last.startswith("fastest here: --backend cpu --precision fp32 --batch ")
    assert len(list(out.glob("bench-tiny-*"))) == 4
    result = run_cli(*arguments, "--json")
    assert json_document(result)["fastest"].startswith("fastest here: ")


def test_save_makes_the_fastest_the_default_and_info_shows_it(
    tiny_bundle: Path, run_cli, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    result = run_cli(
        "bench", "--model", tiny_bundle, "--backend", "cpu", "--precision", "fp32", "--batch", "2", "--threads", "1",
        "--seconds", "0.05", "--no-torch", "--no-cold", "--save", "--out", tmp_path / "bench",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "used for this model where no --backend is given" in result.err
    flags = "--backend cpu --precision fp32 --batch 2 --threads 1"
    assert flags in run_cli("info", tiny_bundle, "--verbose").out
    out = tmp_path / "pictures"
    result = run_cli("generate", "--model", tiny_bundle, "--seeds", "0", "--out", out)
    assert f"using the flags that padinv bench saved for this model: {flags}" in result.err
    result = run_cli("generate", "--model", tiny_bundle, "--seeds", "1", "--backend", "cpu", "--out", out)
    assert "saved" not in result.err


def test_wrong_use(tiny_bundle: Path, run_cli, tmp_path: Path) -> None:
    for arguments, code, words in (
        (["--batch", "0"], 2, "--batch takes numbers from 1 to 4096"),
        (["--batch", "1,x"], 2, "--batch takes numbers from 1 to 4096"),
        (["--threads", "4000"], 2, "threads must be between 1 and"),
        (["--backend", "auto"], 2, "leave --backend out to measure all of them"),
        (["--backend", "directml"], 1, "nothing was measured"),
    ):
        result = run_cli("bench", "--model", tiny_bundle, *arguments, "--out", tmp_path)
        assert result.code == code, result.err
        assert words in result.err
