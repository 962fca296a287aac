"""Models and directions of a hub in the commands: --model hf:..., pull, push, models, --offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, HubServer, files_of
from PIL import Image
from tiny_gallery import add_directions, random_direction

Run = Callable[..., Any]
CARD = "---\nlicense: mit\ndata: numbers\nintended_use: tests\nlimits: all\nfigures: {MSE: 1}\n---\n# Tiny\n"


@pytest.fixture
def shared(hub: HubServer, tiny_bundle: Path) -> HubServer:
    """A hub that has hf:someone/tiny, with the direction 'smile'."""
    (tiny_bundle / "MODEL_CARD.md").write_text(CARD)
    add_directions(tiny_bundle, {"smile": random_direction(0, "latent", "smile")})
    hub.add("someone/tiny", files_of(tiny_bundle))
    return hub


@pytest.fixture
def photo(tmp_path: Path, picture: Callable[..., Image.Image]) -> Path:
    path = tmp_path / "photo.png"
    picture(16, 16).save(path)
    return path


def test_a_model_by_name_gives_the_pictures_of_its_folder(
    run_cli: Run, shared: HubServer, tiny_bundle: Path, photo: Path, tmp_path: Path
) -> None:
    first = run_cli("invert", photo, "--model", "hf:someone/tiny", "--out", tmp_path / "a", "--no-report", "--no-sheet")
    assert first.code == 0, first.err
    assert "fetching hf:someone/tiny@" in first.err
    shared.down = True
    again = run_cli("invert", photo, "--model", tiny_bundle, "--vs", "hf:someone/tiny", "--out", tmp_path / "b")
    assert again.code == 0, again.err
    assert "fetching" not in again.err
    pictures = [tmp_path / folder / "photo.png.png" for folder in ("a", "b", "b/vs")]
    assert len({Image.open(path).tobytes() for path in pictures}) == 1
    commit = shared.repositories["someone/tiny"].revisions["main"]
    assert f"hf:someone/tiny@{commit}" in (tmp_path / "b" / "vs" / "report.html").read_text()
    assert "hf:someone" not in (tmp_path / "b" / "report.html").read_text()


def test_a_direction_by_name(run_cli: Run, shared: HubServer, tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    words = ["--model", tiny_bundle, "--no-report", "--no-sheet", "--out"]
    named = run_cli("edit", "hf:someone/tiny/smile=0.5", photo, *words, tmp_path / "a")
    assert named.code == 0, named.err
    assert run_cli("edit", "smile=0.5", photo, *words, tmp_path / "b").code == 0
    left, right = (Image.open(tmp_path / folder / "photo.png.png").tobytes() for folder in "ab")
    assert left == right
    listed = json.loads(run_cli("directions", "list", "hf:someone/tiny", "--model", tiny_bundle, "--json").out)
    assert [one["name"] for one in listed["directions"]] == ["smile", "smile"]
    saved = run_cli(
        "custom-edit", "--direction", "hf:someone/tiny/smile", photo, *words, tmp_path / "c", "--strength", "0.5"
    )
    assert saved.code == 0, saved.err
    assert Image.open(tmp_path / "c" / "photo.png.png").tobytes() == left


@pytest.mark.parametrize("verb", ["info", "verify", "generate", "eval", "serve", "studio"])
def test_every_command_resolves_the_name(run_cli: Run, hub: HubServer, verb: str, photo: Path, tmp_path: Path) -> None:
    words = {"info": [], "generate": ["--seeds", "0"], "eval": [photo], "verify": ["--out", tmp_path / "v"]}
    model = ["hf:someone/nothing"] if verb == "info" else ["--model", "hf:someone/nothing"]
    result = run_cli(verb, *model, *words.get(verb, []))
    assert result.code == 1, result.err
    assert f"hf:someone/nothing was not found on {hub.url}" in result.err


def test_pull_says_what_changed_and_copies(run_cli: Run, shared: HubServer, tiny_bundle: Path, tmp_path: Path) -> None:
    result = run_cli("pull", "hf:someone/tiny", "--out", tmp_path / "copy")
    assert result.code == 0, result.err
    commit = shared.repositories["someone/tiny"].revisions["main"]
    assert f"hf:someone/tiny is at commit {commit[:10]}; " in result.out
    assert files_of(tmp_path / "copy") == files_of(tiny_bundle)
    facts = json.loads(run_cli("info", tmp_path / "copy", "--json").out)
    assert facts["hub"] == f"hf:someone/tiny@{commit}"
    assert facts["licence"] == "mit"
    assert run_cli("pull", "hf:someone/tiny", "--out", tmp_path / "copy").code == 2
    second = shared.add("someone/tiny", {**files_of(tiny_bundle), "README.md": b"new"})
    facts = json.loads(run_cli("pull", "hf:someone/tiny", "--json").out)
    assert (facts["commit"], facts["before"]) == (second, commit)
    smile = run_cli("pull", "hf:someone/tiny/smile", "--out", tmp_path / "d")
    assert smile.code == 0, smile.err
    assert "padinv edit hf:someone/tiny/smile PHOTO" in smile.out
    assert (tmp_path / "d" / "smile.safetensors").read_bytes() == files_of(tiny_bundle)["directions/smile.safetensors"]


def test_offline(run_cli: Run, shared: HubServer, tmp_path: Path) -> None:
    result = run_cli("generate", "--seeds", "0", "--model", "hf:someone/tiny", "--offline", "--out", tmp_path / "a")
    assert result.code == 1
    assert (
        "--offline forbids to fetch it; with a network, fetch it once with: padinv pull hf:someone/tiny" in result.err
    )
    assert run_cli("pull", "hf:someone/tiny").code == 0
    shared.requests.clear()
    words = [
        "generate",
        "--seeds",
        "0",
        "--model",
        "hf:someone/tiny",
        "--offline",
        "--no-sheet",
        "--out",
        tmp_path / "b",
    ]
    assert run_cli(*[word for word in words if word != "--no-sheet"]).code == 0
    assert run_cli("pull", "hf:someone/tiny", "--offline", "--out", tmp_path / "c").code == 0
    assert shared.requests == []
    assert run_cli("pull", "hf:someone/tiny").code == 0  # --offline holds for its own command only


def test_models_lists_checks_and_removes(run_cli: Run, shared: HubServer, tiny_bundle: Path) -> None:
    assert run_cli("pull", "hf:someone/tiny").code == 0
    listed = json.loads(run_cli("models", "--json").out)["models"]
    assert [(one["name"], one["where"]) for one in listed] == [("faces128", "built-in"), ("hf:someone/tiny", "cached")]
    tiny = listed[1]
    assert (tiny["resolution"], tiny["licence"], tiny["directions"]) == (16, "mit", ["smile"])
    assert tiny["bytes"] >= sum(map(len, files_of(tiny_bundle).values()))
    table = run_cli("models").out.splitlines()
    assert [line.split()[0] for line in table] == ["model", "faces128", "hf:someone/tiny"]
    assert "every cached model is the newest" in run_cli("models", "--updates").out
    newer = shared.add("someone/tiny", {**files_of(tiny_bundle), "README.md": b"new"})
    assert f"hf:someone/tiny has a newer version, {newer[:10]}" in run_cli("models", "--updates").out
    shared.down = True
    asked = run_cli("models", "--updates")
    assert asked.code == 3
    assert "does not answer" in asked.err
    assert run_cli("models", "--remove", "hf:someone/other").code == 2
    removed = run_cli("models", "--remove", "hf:someone/tiny")
    assert removed.code == 0, removed.err
    assert [one["name"] for one in json.loads(run_cli("models", "--json").out)["models"]] == ["faces128"]


def test_push_announces_uploads_and_says_where(
    run_cli: Run, hub: HubServer, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    missing = run_cli("push", tiny_bundle, "hf:someone/tiny")
    assert missing.code == 1
    assert "lacks license, data, intended_use, limits and figures" in missing.err
    card = tmp_path / "CARD.md"
    assert run_cli("push", tiny_bundle, "hf:someone/tiny", "--init-card", card).code == 0
    card.write_text(card.read_text().replace("TODO", "filled in"))
    dry = run_cli("push", tiny_bundle, "hf:someone/tiny", "--card", card, "--dry-run")
    assert dry.code == 0, dry.err
    assert "would upload 8 files" in dry.out
    assert "encoder.onnx" in dry.out
    assert hub.requests == []
    pushed = run_cli("push", tiny_bundle, "hf:someone/tiny", "--card", card, "--public", "--json")
    assert pushed.code == 0, pushed.err
    facts = json.loads(pushed.out)
    assert facts["private"] is False
    assert facts["url"] == f"{hub.url}/someone/tiny"
    assert TOKEN not in pushed.out + pushed.err
    direction = tmp_path / "hat.safetensors"
    random_direction(1, "padding", "hat").save(direction)
    again = run_cli("push", direction, "hf:someone/tiny", "--model", "hf:someone/tiny")
    assert again.code == 0, again.err
    assert "2 files uploaded" in again.out
    assert "directions/hat.safetensors" in hub.repositories["someone/tiny"].files


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["push", "hf:a/b"], "give what to upload and where"),
        (["push", "faces128", "elsewhere"], "give what to upload and where"),
        (["push", "faces128", "other", "hf:a/b"], "give one bundle, or files of directions"),
        (["push", "faces128", "hf:a/b@v1"], "cannot be pushed to"),
        (["pull", "someone/tiny"], "is not an address of a hub"),
        (["generate", "--seeds", "0", "--model", "hf:a/b/smile"], "names a direction, not a model"),
    ],
)
def test_wrong_use(run_cli: Run, hub: HubServer, words: list[str], sentence: str) -> None:
    result = run_cli(*words)
    assert result.code == 2
    assert sentence in result.err
    assert hub.requests == []


def test_a_refusal_is_a_sentence_and_an_object(run_cli: Run, shared: HubServer) -> None:
    shared.add("someone/tiny", {**shared.repositories["someone/tiny"].files, "G.pkl": b"x"})
    result = run_cli("pull", "hf:someone/tiny", "--json")
    assert result.code == 1
    error = json.loads(result.out)["error"]
    assert error["code"] == "hub"
    assert "'G.pkl', a kind of file that can run code when it is loaded, so nothing was fetched" in error["message"]
    assert len(result.err.splitlines()) == 1


def test_a_cached_model_stays_as_it_was_fetched(run_cli: Run, shared: HubServer) -> None:
    result = run_cli("export", "hf:someone/tiny", "--trt")
    assert result.code == 2
    assert "hf:someone/tiny stays as it is where it lies; give the folder of a copy with --out" in result.err
    assert shared.requests == []


def test_what_a_refused_or_broken_pull_left_is_removed(run_cli: Run, shared: HubServer, tmp_path: Path) -> None:
    shared.cut_after = 3000
    assert run_cli("pull", "hf:someone/tiny").code == 1
    assert list((tmp_path / "cache").rglob("*.part"))
    assert run_cli("models", "--remove", "hf:someone/tiny").code == 0
    assert not list((tmp_path / "cache").rglob("*.part"))
