"""Every command that writes edited or generated pictures says so in them, and `padinv info` reads it back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from signing_certificate import NAME, write_certificate
from tiny_gallery import add_directions, random_direction

from padinv.cli.main import PICTURE_VERBS
from padinv.runtime.provenance.record import COMPOSITE, GENERATED, Provenance, provenance_of
from padinv.runtime.provenance.signing import read_manifest


@pytest.fixture
def here(
    tiny_bundle: Path, picture: Callable[..., Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with two photographs, below a home folder that nobody must learn of."""
    home = tmp_path / "alice"
    (home / "pictures").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    add_directions(tiny_bundle, {"smile": random_direction(0, "latent", "smile")})
    for seed, name in enumerate(("me.jpg", "you.jpg")):
        picture(40, 30, seed).save(home / "pictures" / name)
    return home


def _command(run_cli: Callable[..., Any], here: Path, *words: object) -> dict[str, bytes]:
    """The picture files that a command wrote."""
    options = ("--threads", 1, "--model", here.parent / "bundle", "--out", here / "out")
    result = run_cli(*words, *options)
    assert result.code == 0, result.err
    found = (path for path in (here / "out").iterdir() if path.suffix in (".png", ".jpg", ".webp"))
    return {path.name: path.read_bytes() for path in sorted(found)}


def _said(data: bytes) -> Provenance:
    found = provenance_of(data)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "results", "command"),
    [
        ("invert ME --paste-back --format jpg", "me.jpg.jpg me.jpg.photo.png", "invert me.jpg"),
        ("invert ME --format webp", "me.jpg.webp", "invert me.jpg"),
        ("edit smile=0.5 ME --paste-back", "me.jpg.png me.jpg.photo.png", "edit smile=0.5 me.jpg"),
        ("blend ME YOU", "me.jpg--you.jpg.png", "blend me.jpg you.jpg"),
        ("custom-edit --pair ME YOU --target ME --space both", "me.jpg.png", "custom-edit me.jpg"),
        ("interpolate ME YOU --steps 3", "me.jpg--you.jpg.png me.jpg--you.jpg.webp", "interpolate me.jpg you.jpg"),
    ],
)  # fmt: skip
def test_an_edit_of_a_photograph_names_the_command_and_no_folder(
    run_cli: Callable[..., Any], here: Path, words: str, results: str, command: str
) -> None:
    names = {"ME": here / "pictures" / "me.jpg", "YOU": here / "pictures" / "you.jpg"}
    made = _command(run_cli, here, *(names.get(word, word) for word in words.split()))
    assert set(results.split()) | {"contact-sheet.png"} == set(made)
    for name in results.split():
        found = _said(made[name])
        assert found.source_type == COMPOSITE
        assert found.command.startswith(f"padinv {command}")
        assert found.command.endswith(("--paste-back", "--model bundle", "--pair me.jpg you.jpg --space both", "3"))
        assert "--out" not in found.command
        assert found.model == "tiny"
        assert b"alice" not in made[name]
    assert _said(made["contact-sheet.png"]).source_type == COMPOSITE


def test_pictures_of_seeds_are_wholly_generated_and_edits_of_them_too(run_cli: Callable[..., Any], here: Path) -> None:
    made = _command(run_cli, here, "generate", "--seeds", "3-4", "--truncation", 0.5, "--save-inversions")
    found = _said(made["seed-0004.png"])
    assert found.source_type == GENERATED
    assert found.command == "padinv generate --seeds 4 --model bundle --truncation 0.5"
    seed = (here / "out" / "seed-0004.safetensors").rename(here / "seed.safetensors")
    edited = _command(run_cli, here, "edit", "smile", seed, "--overwrite")
    assert _said(edited["seed.png"]).source_type == GENERATED
    me = here / "pictures" / "me.jpg"
    for a, b in ((me, seed), (seed, me)):
        blended = _command(run_cli, here, "blend", a, b, "--save-inversions")
        assert _said(blended[f"{_stem(a)}--{_stem(b)}.png"]).source_type == COMPOSITE
        again = here / "out" / f"{_stem(a)}--{_stem(b)}.safetensors"
        drawn = _command(run_cli, here, "generate", again.rename(here / f"{_stem(a)}.safetensors"), "--overwrite")
        assert _said(drawn[f"{_stem(a)}.png"]).source_type == COMPOSITE


def _stem(path: Path) -> str:
    return path.name.removesuffix(".safetensors")


def test_two_runs_give_the_same_bytes(run_cli: Callable[..., Any], here: Path) -> None:
    first = _command(run_cli, here, "invert", here / "pictures", "--paste-back")
    (here / "out").rename(here / "first")
    assert _command(run_cli, here, "invert", here / "pictures", "--paste-back") == first


@pytest.mark.parametrize("words", ["invert", "edit smile"])
def test_no_provenance_writes_the_same_pixels_and_nothing_else_and_replaces_marked_results(
    run_cli: Callable[..., Any], here: Path, words: str
) -> None:
    command = (*words.split(), here / "pictures" / "me.jpg", "--paste-back")
    marked = _command(run_cli, here, *command)
    assert "already there" in run_cli(*command, "--model", here.parent / "bundle", "--out", here / "out").out
    plain = _command(run_cli, here, *command, "--no-provenance")
    for name, data in plain.items():
        assert provenance_of(data) is None
        assert b"xmp" not in data
        pixels = (np.asarray(Image.open(BytesIO(one))) for one in (data, marked[name]))
        assert (next(pixels) == next(pixels)).all(), name
    assert _command(run_cli, here, *command) == marked


def test_a_signature_is_made_and_info_reads_it_back(run_cli: Callable[..., Any], here: Path) -> None:
    pytest.importorskip("c2pa", reason="the extra 'c2pa' is not installed")
    chain, key = write_certificate(here)
    command = ("invert", here / "pictures", "--c2pa-certificate", chain, "--c2pa-key", key)
    made = _command(run_cli, here, *command)
    about = read_manifest(made["me.jpg.png"])
    assert about is not None
    assert about["state"] == "Valid"
    (here / "out" / "results.jsonl").unlink()  # as a kill before the record would leave it
    again = run_cli(*command, "--model", here.parent / "bundle", "--out", here / "out", "--json")
    assert json.loads(again.out)["skipped"] == []  # the signed files are still known as ours
    shown = run_cli("info", here / "out" / "me.jpg.png").out
    assert f"Valid by {NAME}" in shown
    assert "as padinv wrote it" in shown


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--c2pa-key", "key.pem"), "go together"),
        (("--c2pa-key", "k", "--c2pa-certificate", "c", "--no-provenance"), "take one of the two"),
        (("--c2pa-key", "k", "--c2pa-certificate", "c"), "c cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    run_cli: Callable[..., Any], here: Path, options: tuple[str, ...], sentence: str
) -> None:
    pytest.importorskip("c2pa", reason="the extra 'c2pa' is not installed")
    result = run_cli("invert", here / "pictures", "--out", here / "out", *options)
    assert result.code == 2
    assert sentence in result.err
    assert not (here / "out").exists()


def test_info_reads_a_picture_back(run_cli: Callable[..., Any], here: Path) -> None:
    _command(run_cli, here, "invert", here / "pictures" / "me.jpg")
    path = here / "out" / "me.jpg.png"
    facts = json.loads(run_cli("info", path, "--json").out)
    assert facts["provenance"]["command"] == "padinv invert me.jpg --model bundle"
    assert (facts["digital_source_type"], facts["unchanged"], facts["c2pa"]) == (COMPOSITE, True, None)
    shown = run_cli("info", path).out
    assert "a photograph that a trained model edited" in shown
    assert "padinv invert me.jpg" in shown
    Image.open(path).save(here / "saved-again.png")
    assert "nothing is recorded" in run_cli("info", here / "saved-again.png").out
    path.write_bytes(path.read_bytes() + b"\0")
    assert json.loads(run_cli("info", path, "--json").out)["unchanged"] is False
    (here / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe1\xff")
    assert run_cli("info", here / "bad.jpg").code == 0


def test_every_command_that_writes_pictures_has_the_options(run_cli: Callable[..., Any]) -> None:
    for verb in sorted(PICTURE_VERBS):
        text = re.sub(r"\s+", " ", run_cli(*verb.split(), "--help").out)
        assert "--no-provenance" in text, verb
        assert "IPTC digital source type" in text, verb
