"""The options of every verb: --config, --quiet, --verbose, --open, and what --json prints after a failure."""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def invert(run_cli: Callable[..., Any], tiny_bundle: Path, picture: Callable[..., Any], tmp_path: Path) -> Any:
    picture(30, 20).save(tmp_path / "a.png")

    def run(*options: object) -> Any:
        common = ("--model", tiny_bundle, "--threads", 1, "--out", tmp_path / "out")
        return run_cli("invert", tmp_path / "a.png", *common, *options)

    return run


def written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))


def test_a_config_file_gives_options_and_the_command_line_wins(invert: Any, tmp_path: Path) -> None:
    config = tmp_path / "padinv.toml"
    config.write_text('format = "webp"\n[invert]\nreport = false\npaste-back = true\n[blend]\nformat = "jpg"\n')
    assert invert("--config", config).code == 0
    assert written(tmp_path) == [
        "a.png.photo.png",
        "a.png.safetensors",
        "a.png.webp",
        "contact-sheet.png",
        "results.jsonl",
    ]
    assert invert("--config", config, "--format", "jpg", "--report").code == 0
    assert {"a.png.jpg", "report.html"} <= set(written(tmp_path))


def test_a_table_for_the_verb_wins_over_the_top_of_the_file(invert: Any, tmp_path: Path) -> None:
    config = tmp_path / "padinv.toml"
    config.write_text('format = "webp"\nseeds = "0-3"\n[invert]\nformat = "jpg"\n')
    assert invert("--config", config).code == 0
    assert "a.png.jpg" in written(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[invert]\nsteps = 3\n", "'steps' is not an option of padinv invert"),
        ("colour = 3\n", "'colour' is not an option of any command"),
        ("invert = 3\n", "is not a table"),
        ("fit = \n", "is not valid TOML"),
        ('fit = "stretch"\n', "stretch"),
        ("batch = 0\n", "Invalid value for '--batch'"),
    ],
)
def test_a_wrong_config_file_is_refused(invert: Any, tmp_path: Path, text: str, sentence: str) -> None:
    config = tmp_path / "padinv.toml"
    config.write_text(text)
    result = invert("--config", config)
    assert result.code == 2
    assert sentence in " ".join(result.err.split())
    assert not (tmp_path / "out").exists()


def test_a_config_file_that_is_missing_is_refused(invert: Any, tmp_path: Path) -> None:
    result = invert("--config", tmp_path / "none.toml")
    assert result.code == 2
    assert "none.toml cannot be read: No such file" in result.err


def test_quiet_prints_errors_and_skipped_inputs_only(invert: Any, run_cli: Any, tmp_path: Path) -> None:
    result = invert("--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
    (tmp_path / "b.png").write_text("not a picture")
    result = invert(tmp_path / "b.png", "-q")
    assert result.code == 3
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert "b.png is not a PNG" in result.err
    assert json.loads(invert("--quiet", "--json").out)["status"] == "done"


def test_verbose_shows_what_the_library_logs_and_only_then(invert: Any) -> None:
    assert "runs on cpu" not in invert("--overwrite").err
    assert "padinv: the encoder of tiny runs on cpu, fp32\n" in invert("--verbose", "--overwrite").err
    assert "runs on cpu" not in invert("--overwrite").err


def test_open_shows_the_report_at_the_end(invert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda page: opened.append(page) or len(opened) == 1)
    assert invert("--open").code == 0
    assert opened == [(tmp_path / "out" / "report.html").as_uri()]
    again = invert("--open", "--overwrite")
    assert again.code == 0
    assert "no browser could be started; the report is" in again.err
    assert invert("--overwrite").code == 0
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "status", "kind"),
    [
        (("invert", "missing.png"), 1, "failed", "input"),
        (("invert", "--colour"), 2, "usage", "usage"),
        (("invert", ""), 2, "usage", "usage"),
        (("info", "missing"), 1, "failed", "input"),
        (("generate", "--model", "missing"), 1, "failed", "model"),
    ],
)
def test_json_tells_of_failures_too(
    run_cli: Any, arguments: tuple[str, ...], code: int, status: str, kind: str
) -> None:
    result = run_cli(*arguments, "--json")
    assert result.code == code
    document = json.loads(result.out)
    assert (document["schema"], document["status"], document["error"]["code"]) == (1, status, kind)
    assert document["results"] == document["skipped"] == []
    assert document["error"]["message"].split(";")[0] in " ".join(result.err.split())


def test_skipped_inputs_have_path_reason_and_code(invert: Any, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png.png").write_text("somebody else's")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    names = ("text.png", "empty.png", "cut.png", "b.png", "none.png")
    result = invert(*(tmp_path / name for name in names), "--json")
    assert result.code == 3
    document = json.loads(result.out)
    assert (document["schema"], document["status"], len(document["results"])) == (1, "partly", 1)
    codes = {Path(one["path"]).name: one["code"] for one in document["skipped"]}
    assert codes == {
        "text.png": "not-an-image",
        "empty.png": "empty",
        "cut.png": "damaged",
        "b.png": "exists",
        "none.png": "missing",
    }
    assert all(Path(one["path"]).name in one["reason"] for one in document["skipped"])


def test_limit_takes_the_first_pictures_by_name(invert: Any, picture: Callable[..., Any], tmp_path: Path) -> None:
    for name in "bcd":
        picture(20, 20).save(tmp_path / f"{name}.png")
    result = invert(*(tmp_path / f"{name}.png" for name in "bcd"), "--limit", 2, "--json")
    assert result.code == 0
    assert [one["name"] for one in json.loads(result.out)["results"]] == ["a.png", "b.png"]


def test_names_of_backends_and_precisions_are_the_library_s() -> None:
    from typing import get_args

    from padinv.runtime.backends import BACKENDS, PRECISIONS, BackendName, PrecisionChoice
    from padinv.runtime.batch.invert_files import FORMATS, ImageFormat

    assert get_args(BackendName) == BACKENDS
    assert get_args(PrecisionChoice) == ("auto", *PRECISIONS)
    assert get_args(ImageFormat) == tuple(FORMATS)
