"""Pushing models and directions: the card, what is uploaded and what is not, and what a following pull gives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import TOKEN, HubServer, files_of
from PIL import Image
from tiny_bundle import write_tiny_bundle
from tiny_gallery import add_directions, random_direction

import padinv
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.gallery import parse_edit
from padinv.runtime.errors import BundleError, HubError, InputError, MismatchError, UsageError
from padinv.runtime.hub.card import FIELDS, card_to_fill_in, licence_of, missing_fields, split_card
from padinv.runtime.hub.client import list_repository
from padinv.runtime.hub.directions import find_hub_directions
from padinv.runtime.hub.push import card_for, plan_push
from padinv.runtime.hub.push_directions import directions_card

CARD = """---
license: MIT
data: made-up numbers
intended_use: tests
limits: everything else
figures:
  MSE: 0.25
  note: of nothing
datasets: [someone/pictures]
tags: [tiny]
---

# Tiny

Text of the card.
"""
ADDRESS = "hf:someone/tiny"


@pytest.fixture(autouse=True)
def _small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.runtime.hub.push.SAMPLES", 2)


@pytest.fixture
def logged_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "CARD.md"
    path.write_text(CARD)
    return path


@pytest.fixture
def bundle(tiny_bundle: Path) -> Path:
    """A bundle with a card and one direction."""
    (tiny_bundle / "MODEL_CARD.md").write_text(CARD)
    return add_directions(tiny_bundle, {"smile": random_direction(0, "latent", "smile")})


def stored(hub: HubServer, name: str = "someone/tiny") -> dict[str, bytes]:
    return hub.repositories[name].files


def test_a_pull_gives_what_was_pushed_bit_for_bit(logged_in: HubServer, bundle: Path) -> None:
    (bundle / "notes.py").write_text("print('mine')")
    before = files_of(bundle)
    pushed = padinv.push(bundle, ADDRESS)
    assert files_of(bundle) == before
    assert pushed.private
    assert {*stored(logged_in)} == {*before, ".gitattributes", "README.md", "samples.png"} - {"notes.py"}
    assert [path for path in logged_in.paths("POST") if path.endswith("/info/lfs/objects/batch")]
    large = [name for name in before if name.endswith((".onnx", ".safetensors"))]
    assert (
        len([path for path in logged_in.paths("PUT") if path.startswith("/lfs/")]) == len(large) + 1
    )  # and samples.png
    pulled = padinv.pull(ADDRESS)
    assert pulled.commit == pushed.address.revision
    assert files_of(pulled.folder) == {name: data for name, data in before.items() if name != "notes.py"}
    assert padinv.push(bundle, ADDRESS).uploaded == ()
    assert len(logged_in.repositories["someone/tiny"].messages) == 1


def test_the_readme_says_what_the_hub_reads(logged_in: HubServer, bundle: Path) -> None:
    padinv.push(bundle, ADDRESS, public=True, tag="v1")
    text = stored(logged_in)["README.md"].decode()
    metadata, body = split_card(text)
    assert metadata["library_name"] == "padinv"
    assert metadata["license"] == "mit"
    assert {"padinv", "gan-inversion", "tiny"} <= set(metadata["tags"])
    assert metadata["datasets"] == ["someone/pictures"]
    assert metadata["model-index"][0]["results"][0]["metrics"] == [{"type": "mse", "name": "MSE", "value": 0.25}]
    assert body.lstrip().startswith("# Tiny\n")
    assert "![Samples of the generator; no photographs](samples.png)" in body
    assert "--model hf:someone/tiny" in body
    assert "Text of the card." in body
    assert Image.open(io.BytesIO(stored(logged_in)["samples.png"])).size[0] > 200
    assert not logged_in.repositories["someone/tiny"].private
    assert logged_in.repositories["someone/tiny"].resolve("v1") == padinv.pull(f"{ADDRESS}@v1").commit
    with pytest.raises(HubError, match="the tag v1 of hf:someone/tiny exists already"):
        padinv.push(bundle, ADDRESS, tag="v1")


def test_a_new_version_replaces_the_old_one(logged_in: HubServer, bundle: Path) -> None:
    first = padinv.push(bundle, ADDRESS)
    logged_in.add("someone/tiny", {**stored(logged_in), "paper.pdf": b"mine"})
    (bundle / "directions" / "smile.safetensors").unlink()
    (bundle / "MODEL_CARD.md").write_text(CARD.replace("Text of", "Other text of"))
    kept = {key: value for key, value in read_bundle(bundle).manifest.items() if key not in ("files", "format")}
    write_manifest(bundle, kept)
    second = padinv.push(bundle, ADDRESS)
    assert second.address.revision != first.address.revision
    assert set(second.uploaded) == {"MODEL_CARD.md", "README.md", "model.json"}
    assert second.removed == ("directions/smile.safetensors",)
    assert stored(logged_in)["paper.pdf"] == b"mine"


def test_engines_stay_here(logged_in: HubServer, bundle: Path) -> None:
    (bundle / "encoder.sm90.plan").write_bytes(b"engine")
    kept = {key: value for key, value in read_bundle(bundle).manifest.items() if key not in ("files", "format")}
    write_manifest(bundle, {**kept, "engines": {"sm90": {"encoder": "encoder.sm90.plan"}}})
    plan = plan_push(bundle, ADDRESS)
    assert "TensorRT engines stay here" in plan.notes[0]
    padinv.push(bundle, ADDRESS)
    manifest = json.loads(stored(logged_in)["model.json"])
    assert "encoder.sm90.plan" not in {*stored(logged_in), *manifest["files"]}
    assert manifest["engines"] == {}
    assert padinv.load(ADDRESS).generator_hash == read_bundle(bundle).generator_hash


def test_missing_fields_are_named_at_once(hub: HubServer, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks license, data, intended_use, limits and figures, so nothing was"):
        padinv.push(tiny_bundle, ADDRESS)
    half = tmp_path / "half.md"
    half.write_text("---\nlicense: mit\ndata: TODO\nintended_use: ''\nlimits: [none]\nfigures: {MSE: 1}\n---\n")
    with pytest.raises(InputError, match=r"half\.md lacks data, intended_use and limits, .* --init-card CARD\.md"):
        padinv.push(tiny_bundle, ADDRESS, card=half)
    half.write_text("---\nlicense: [\n---\n")
    with pytest.raises(InputError, match="has front matter that is not YAML"):
        padinv.push(tiny_bundle, ADDRESS, card=half)
    assert hub.requests == []


def test_a_card_to_fill_in(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "CARD.md"
    path.write_text("---\nlicense: mit\nbase_model: a/b\n---\n# Mine\n")
    text = card_for(tiny_bundle, path)
    metadata, body = split_card(text)
    assert missing_fields(metadata) == ["data", "intended_use", "limits", "figures"]
    assert {name: metadata[name] for name in ("license", "base_model")} == {"license": "mit", "base_model": "a/b"}
    assert body.strip() == "# Mine"
    assert all(FIELDS[name] in text for name in missing_fields(metadata))
    filled = text.replace("TODO", "words")
    assert missing_fields(split_card(filled)[0]) == []
    assert missing_fields(split_card(card_to_fill_in({}, "# x\n"))[0]) == list(FIELDS)


def test_figures_of_an_evaluation_go_into_the_card(tiny_bundle: Path, tmp_path: Path) -> None:
    model = {"name": "tiny", "bundle": read_bundle(tiny_bundle).fingerprint}
    means = {"mse": 0.012345678, "lpips_squeeze": 0.25, "identity": None, "seconds": 9.0}
    document = {"conditions": {"model": model}, "means": means, "names": ["a", "b"]}
    results = tmp_path / "results"
    results.mkdir()
    (results / "eval-tiny.json").write_text(json.dumps(document))
    (results / "eval-compared.json").write_text(json.dumps({"models": []}))
    metadata, _ = split_card(card_for(tiny_bundle, figures=results))
    assert metadata["figures"] == {"MSE": 0.01235, "LPIPS squeeze": 0.25, "pictures": 2}
    assert missing_fields(metadata) == ["license", "data", "intended_use", "limits"]
    document["conditions"]["model"]["bundle"] = "another"
    (results / "eval-tiny.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="holds no evaluation of tiny"):
        card_for(tiny_bundle, figures=results)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (CARD, "MIT"),
        ("---\nlicense: 'cc-by-4.0'  # data\n---\n", "cc-by-4.0"),
        ("# no front matter\nlicense: mit\n", ""),
        ("---\ndata: x\n---\nlicense: mit\n", ""),
    ],
)
def test_the_licence_is_read_without_yaml(text: str, licence: str) -> None:
    assert licence_of(text) == licence


def test_another_card_takes_the_place_of_the_bundles(logged_in: HubServer, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.md"
    path.write_text(CARD.replace("Text of the card", "Another text"))
    padinv.push(bundle, ADDRESS, card=path)
    folder = padinv.pull(ADDRESS).folder
    assert (folder / "MODEL_CARD.md").read_text() == path.read_text()
    assert read_bundle(folder).path("MODEL_CARD.md")
    assert "Text of the card" in (bundle / "MODEL_CARD.md").read_text()


def test_links_and_damage_are_not_uploaded(hub: HubServer, bundle: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (bundle / "mapping.onnx").rename(secret)
    (bundle / "mapping.onnx").symlink_to(secret)
    with pytest.raises(UsageError, match=r"mapping\.onnx is a symbolic link, .* so nothing was uploaded"):
        padinv.push(bundle, ADDRESS)
    (bundle / "mapping.onnx").unlink()
    (bundle / "mapping.onnx").write_bytes(secret.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="has changed since the bundle was written"):
        padinv.push(bundle, ADDRESS)
    assert hub.requests == []


def test_a_repository_of_something_else_is_left_alone(logged_in: HubServer, bundle: Path) -> None:
    logged_in.add("someone/tiny", {"README.md": b"x", "pytorch_model.bin": b"y"})
    with pytest.raises(HubError, match=r"holds other files \(pytorch_model\.bin\) and no model\.json"):
        padinv.push(bundle, ADDRESS)
    assert set(stored(logged_in)) == {"README.md", "pytorch_model.bin"}


def test_a_push_that_somebody_overtook_changes_nothing(
    logged_in: HubServer, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    padinv.push(bundle, ADDRESS)
    (bundle / "MODEL_CARD.md").write_text(CARD + "more")
    kept = {key: value for key, value in read_bundle(bundle).manifest.items() if key not in ("files", "format")}
    write_manifest(bundle, kept)

    def late(address: Any) -> Any:
        listing = list_repository(address)
        logged_in.add("someone/tiny", {**stored(logged_in), "x.md": b"x"})
        return listing

    monkeypatch.setattr("padinv.runtime.hub.upload.list_repository", late)
    with pytest.raises(HubError, match="has changed meanwhile, so nothing was uploaded"):
        padinv.push(bundle, ADDRESS)
    assert stored(logged_in)["MODEL_CARD.md"].decode() == CARD


def test_a_push_without_permission(hub: HubServer, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubError, match=r"log in with: hf auth login \(or set HF_TOKEN\)"):
        padinv.push(bundle, ADDRESS)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail_upload = True
    with pytest.raises(HubError, match="refused access"):
        padinv.push(bundle, ADDRESS)
    assert set(stored(hub)) == {".gitattributes"}
    hub.fail_upload = False
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE=1 forbids the network, so nothing was uploaded"):
        padinv.push(bundle, ADDRESS)


@pytest.mark.parametrize("address", ["hf:someone/tiny@v1", "hf:someone/tiny/smile"])
def test_a_push_goes_to_a_repository(bundle: Path, address: str) -> None:
    with pytest.raises(UsageError, match="cannot be pushed to"):
        padinv.push(bundle, address)


def saved(folder: Path, name: str, seed: int = 1, **info: Any) -> Path:
    direction = random_direction(seed, "padding", name)
    direction.info |= info
    direction.save(folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def test_directions_alone(logged_in: HubServer, bundle: Path, card: Path, tmp_path: Path) -> None:
    hat = saved(tmp_path, "hat", unit="one hat", licence="cc0-1.0")
    with pytest.raises(InputError, match=r"is new and needs a card, so nothing was uploaded"):
        padinv.push_directions([hat], "hf:someone/hats", model=bundle)
    assert "someone/hats" not in logged_in.repositories
    padinv.push_directions([hat], "hf:someone/hats", model=bundle, card=card)
    readme = stored(logged_in, "someone/hats")["README.md"].decode()
    assert "| hat | padding | one hat | cc0-1.0 |" in readme
    assert "padinv edit hf:someone/hats/hat PHOTO" in readme
    beard = saved(tmp_path, "beard", 2)
    again = padinv.push_directions([beard], "hf:someone/hats", model=bundle)  # the repository's card is kept
    assert set(again.uploaded) == {"directions/beard.safetensors", "directions.json", "README.md"}
    readme = stored(logged_in, "someone/hats")["README.md"].decode()
    assert "| hat | padding | one hat | cc0-1.0 |" in readme
    assert readme.count("<!-- padinv -->") == 1
    assert "Text of the card." in readme
    terms = parse_edit("hf:someone/hats/hat=0.5,hf:someone/hats/beard", read_bundle(bundle))
    assert [(term.label, term.strength) for term in terms] == [("hat", 0.5), ("beard", 1.0)]
    assert terms[0].direction.to_bytes() == Direction.load(hat).to_bytes()
    logged_in.requests.clear()
    assert len(find_hub_directions(padinv.pull_directions("hf:someone/hats").address)) == 2
    with pytest.raises(HubError, match=r"has no direction called 'smile'.* it has beard, hat"):
        parse_edit("hf:someone/hats/smile", read_bundle(bundle))
    with pytest.raises(InputError, match="names no direction; it has beard, hat"):
        parse_edit("hf:someone/hats", read_bundle(bundle))


def test_directions_of_a_models_gallery(logged_in: HubServer, bundle: Path, tmp_path: Path) -> None:
    padinv.push(bundle, ADDRESS)
    (smile,) = find_hub_directions(padinv.pull_directions(f"{ADDRESS}/smile").address)
    assert smile.read_bytes() == (bundle / "directions" / "smile.safetensors").read_bytes()
    assert not [path for path in logged_in.paths("GET") if "/cdn/" in path and "encoder" in path]
    pushed = padinv.push_directions([saved(tmp_path, "hat")], ADDRESS, model=bundle)
    assert set(pushed.uploaded) == {"directions/hat.safetensors", "model.json"}
    assert sorted(term.label for term in parse_edit(f"{ADDRESS}/smile", read_bundle(padinv.pull(ADDRESS).folder))) == [
        "smile"
    ]
    model = padinv.load(ADDRESS)
    assert [term.label for term in parse_edit("hat", model.bundle)] == ["hat"]


def test_directions_of_another_model_are_refused(
    logged_in: HubServer, bundle: Path, card: Path, tmp_path: Path
) -> None:
    hat = saved(tmp_path, "hat")
    other = write_tiny_bundle(tmp_path / "other", generator_hash="2e" * 32)
    with pytest.raises(MismatchError, match=r"was made for another model than tiny, so nothing was uploaded"):
        padinv.push_directions([hat], "hf:someone/hats", model=other, card=card)
    padinv.push(other, ADDRESS, card=card)
    with pytest.raises(MismatchError, match="a model with another generator"):
        padinv.push_directions([hat], ADDRESS, model=bundle)
    (tmp_path / "hat.safetensors").rename(tmp_path / "My Hat.safetensors")
    with pytest.raises(UsageError, match="not a valid name for a direction"):
        padinv.push_directions([tmp_path / "My Hat.safetensors"], "hf:someone/hats", model=bundle, card=card)


@pytest.mark.parametrize("fault", ["flipped", "pickle", "manifest"])
def test_damaged_directions_are_refused(
    logged_in: HubServer, bundle: Path, card: Path, tmp_path: Path, fault: str
) -> None:
    padinv.push_directions([saved(tmp_path, "hat")], "hf:someone/hats", model=bundle, card=card)
    files = stored(logged_in, "someone/hats")
    if fault == "flipped":
        logged_in.flipped = ("directions/hat.safetensors", 900)
    elif fault == "pickle":
        logged_in.add("someone/hats", {**files, "x.pkl": b""})
    else:
        logged_in.add(
            "someone/hats", {**files, "directions.json": b'{"kind": "directions", "format": 1, "files": {"../x": 1}}'}
        )
    with pytest.raises(HubError, match=r"was refused|nothing was fetched"):
        padinv.pull_directions("hf:someone/hats/hat")
    logged_in.repair()
    assert not list((tmp_path / "cache").rglob("hat.*"))


def test_a_card_for_directions_knows_what_the_files_know(tmp_path: Path) -> None:
    hat = saved(tmp_path, "hat", licence="mit", source="painted hats", accuracy={"auc": 0.91234, "n": 3})
    metadata = yaml.safe_load(directions_card([hat]).split("---")[1])
    assert metadata["license"] == "mit"
    assert metadata["data"] == "painted hats"
    assert metadata["figures"] == {"hat auc": 0.9123}
    assert missing_fields(metadata) == ["intended_use", "limits"]
