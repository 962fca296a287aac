"""`padinv directions`: fit, sefa, import, list, show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_document import json_document
from PIL import Image
from safetensors.numpy import save_file
from tiny_bundle import SPEC
from tiny_gallery import add_directions, random_direction

from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.direction_cost import face_mask, picture_change
from padinv.runtime.editing.fit_direction import fit_direction
from padinv.runtime.editing.sefa import closed_form
from padinv.runtime.model import Model

Run = Callable[..., Any]


@pytest.fixture
def run(run_cli: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`padinv directions ...` with the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Any:
        return run_cli("directions", *arguments, "--model", tiny_bundle)

    return call


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """30 reddish and 30 bluish pictures in two folders, and a table of them."""
    rng = np.random.default_rng(0)
    rows = ["file,colour,score,brightness"]
    for name, shift in (("red", (60, 0, -60)), ("blue", (-60, 0, 60))):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in range(30):
            light = int(rng.integers(-30, 30))
            pixels = np.clip(rng.integers(90, 160, (16, 16, 3)) + shift + light, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / name / f"{name}{i}.png")
            rows.append(f"{name}{i}.png,{name},{pixels[..., 0].mean() - pixels[..., 2].mean():.3f},{pixels.mean():.2f}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "faces"


def redness(model: Model, direction: Direction) -> float:
    """How much redder than blue a unit makes the average of the tiny model's pictures."""
    from padinv.runtime.editing.operations import apply

    start = model.sample(range(4))
    change = model.generate_float(apply(start, direction)) - model.generate_float(start)
    return float(change[:, 0].mean() - change[:, 2].mean())


def test_fit_from_two_folders_finds_the_attribute(run: Run, faces: Path, tiny_bundle: Path, run_cli: Run) -> None:
    call = ("fit", "red", "--positive", faces / "red", "--negative", faces / "blue", "--space", "padding")
    result = run(*call, "--licence", "CC0", "--origin", "made up", "--json")
    assert result.code == 0, result.err
    (made,) = json.loads(result.out)["directions"]
    assert made["accuracy"]["balanced_accuracy"] > 0.95
    assert made["accuracy"]["images"] == {"0.0": 30, "1.0": 30}
    assert made["origin"]["method"] == "logistic regression"
    assert (made["licence"], made["source"], made["name"], made["space"]) == ("CC0", "made up", "red", "padding")
    direction = Direction.load("padinv-out/directions/red.safetensors")
    assert redness(Model.load(tiny_bundle, "cpu", 1), direction) > 0.1
    edited = run_cli("edit", made["file"], faces / "blue" / "blue0.png", "--model", tiny_bundle)
    assert edited.code == 0, edited.err
    assert "exists, so nothing was done" in run(*call).err
    assert run(*call, "--overwrite").code == 0


def test_fit_from_a_table_of_scores_with_a_control(run: Run, faces: Path, tiny_bundle: Path) -> None:
    call = ("fit", "redness", faces, "--labels", "labels.csv", "--column", "score", "--control", "brightness")
    result = run(*call, "--space", "latent", "--shrinkage", 0.5, "--json")
    assert result.code == 0, result.err
    (made,) = json.loads(result.out)["directions"]
    assert made["origin"]["method"] == "ridge regression"
    assert made["origin"]["controls"] == ["brightness"]
    assert made["accuracy"]["correlation"] > 0.9
    # The same through the library: images in the order they are found, rows by name.
    model = Model.load(tiny_bundle, "cpu", 1)
    paths = sorted(faces.rglob("*.png"), key=lambda path: (path.parent.name, path.name))
    codes = model.invert([Image.open(path) for path in paths])
    rows = {r[0]: r for r in (line.split(",") for line in Path("labels.csv").read_text().splitlines()[1:])}
    score, light = (np.array([float(rows[path.name][i]) for path in paths]) for i in (2, 3))
    expected = fit_direction(codes, score, space="latent", controls=light[:, None], shrinkage=0.5)
    np.testing.assert_allclose(Direction.load(made["file"]).wp, expected.wp, atol=1e-5)


def test_classes_of_a_table_need_the_one_that_the_direction_leads_to(run: Run, faces: Path) -> None:
    call = ("fit", "colour", faces, "--labels", "labels.csv")
    result = run(*call)
    assert result.code == 2
    assert "holds classes (blue, red); say which one the direction leads to with --positive" in result.err
    assert run(*call, "--positive", "green").code == 2
    (faces / "red" / "broken.png").write_text("hello")
    with open("labels.csv", "a") as table:
        table.write("\nbroken.png,red,1,1\nno-such.png,red,1,1\nblue0.png,,,\n")
    partly = run(*call, "--positive", "red", "--json")
    assert partly.code == 3
    (made,) = json.loads(partly.out)["directions"]
    assert made["accuracy"]["images"] == {"0.0": 29, "1.0": 30}
    assert "broken.png is not a PNG" in made["skipped"][0]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("fit", "red"), 2, "give two folders"),
        (("fit", "red", "--positive", "faces/red"), 2, "give two folders"),
        (("fit", "Red", "--positive", "faces/red", "--negative", "faces/blue"), 2, "is not a valid name"),
        (("fit", "red", "--positive", "nowhere", "--negative", "faces/blue"), 1, "nowhere does not exist"),
        (("fit", "x", "faces", "--labels", "labels.csv"), 2, "has no column 'x'; it has file, colour, score"),
        (("fit", "score", "--labels", "labels.csv"), 2, "give the pictures as PATH"),
        (("fit", "score", "faces", "--labels", "faces/red/red0.png"), 1, "it is not a CSV file in UTF-8"),
        (("fit", "score", "faces", "--labels", "nowhere.csv"), 1, "No such file"),
        (("sefa",), 1, "holds no modulation weights"),
        (("import", "nowhere.npy", "--made-for", "this"), 1, "No such file"),
        (("import", "labels.csv", "--made-for", "this"), 1, "is not a NumPy file"),
        (("show",), 1, "ships no directions; name direction files"),
        (("show", "smile"), 1, "has no direction called 'smile'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    run: Run, faces: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = run(*arguments)
    assert result.code == code, result.err
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert not Path("padinv-out").exists()


def test_sefa_writes_the_closed_form(run: Run, tiny_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {f"code_{i}": rng.normal(size=(5, SPEC.w_dim)).astype(np.float16) for i in range(SPEC.num_layers)}
    manifest = {k: v for k, v in read_bundle(tiny_bundle).manifest.items() if k not in ("files", "format")}
    save_file(weights, tiny_bundle / "modulation.safetensors")
    write_manifest(tiny_bundle, manifest)
    result = run("sefa", "--layers", "1-2", "--count", 2, "--name", "early", "--json")
    assert len(json_document(result)["results"]) == 2
    assert result.code == 0, result.err
    found, _ = closed_form(list(weights.values()), [1, 2], 2)
    for number in (1, 2):
        direction = Direction.load(f"padinv-out/directions/early-{number}.safetensors")
        assert direction.name == f"early-{number}"
        row = direction.wp[1] / np.linalg.norm(direction.wp[1])
        np.testing.assert_allclose(row, found[number - 1], atol=1e-5)
        assert not direction.wp[[0, 3, 4, 5]].any()
    assert "this generator has the layers 0-5" in run("sefa", "--layers", "9").err


def test_import_of_a_numpy_and_a_torch_file(run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    boundary = np.random.default_rng(0).normal(size=(1, SPEC.w_dim)).astype(np.float32)
    np.save("age_boundary.npy", boundary)
    torch.save(torch.from_numpy(boundary), "smile.pt")
    torch.save({"comp": torch.from_numpy(np.repeat(boundary, 3, axis=0))}, "pca.pt")
    assert run("import", "age_boundary.npy", "--made-for", "this", "--unit", "raw", "--licence", "MIT").code == 0
    assert run("import", "smile.pt", "--made-for", "tiny", "--unit", "raw").code == 0
    assert run("import", "pca.pt", "--made-for", "tiny", "--unit", "raw", "--component", 2, "--name", "third").code == 0
    for name in ("age-boundary", "smile", "third"):
        direction = Direction.load(f"padinv-out/directions/{name}.safetensors")
        np.testing.assert_allclose(direction.wp, np.repeat(boundary, SPEC.num_layers, axis=0), rtol=1e-6)
        assert direction.info["source"] == {"age-boundary": "age_boundary.npy", "third": "pca.pt"}.get(name, "smile.pt")
    other = run("import", "age_boundary.npy", "--made-for", "ffhq", "--name", "other")
    assert other.code == 1
    assert "age_boundary.npy was made for ffhq, and this model's generator is tiny" in other.err
    assert run("import", "age_boundary.npy", "--made-for", "ffhq", "--name", "other", "--convert").code == 0


def test_a_torch_file_with_code_is_refused_and_not_run(run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "mark",))

    torch.save({"direction": Bomb()}, "bad.pt")
    torch.save({"name": "no tensor"}, "empty.pt")
    assert "nothing of it was run" in run("import", "bad.pt", "--made-for", "this").err
    assert not (tmp_path / "mark").exists()
    assert "does not hold a direction" in run("import", "empty.pt", "--made-for", "this").err


def test_list_and_show(run: Run, tiny_bundle: Path, faces: Path, tmp_path: Path) -> None:
    assert "ships no directions" in run("list").out
    smile, pose = random_direction(1, "latent", "smile"), random_direction(2, "padding", "pose")
    smile.info |= {"accuracy": {"auc": 0.912, "folds": 5}, "licence": "CC0", "origin": {"method": "SeFa"}}
    add_directions(tiny_bundle, {"smile": smile, "pose": pose})
    random_direction(3, "both", "hat").save(tmp_path / "hat.safetensors")
    other = random_direction(3, "both")
    Direction(other.wp, other.const, other.rings, "2e" * 32).save(tmp_path / "strange.safetensors")
    result = run("list", tmp_path / "hat.safetensors")
    assert [line.split()[0] for line in result.out.splitlines()] == ["pose", "smile", str(tmp_path / "hat.safetensors")]
    assert "SeFa" in result.out
    assert "auc 0.912" in result.out
    assert "CC0" in result.out
    partly = run("list", tmp_path, "--json")
    assert partly.code == 3
    assert "belongs to generator 2e2e2e" in partly.err
    assert len(json.loads(partly.out)["directions"]) == 3

    shown = run("show", "--on", faces / "red", "--json", "--strength", "-1:1:3")
    assert shown.code == 0, shown.err
    facts = {one["name"]: one for one in json.loads(shown.out)["directions"]}
    model = Model.load(tiny_bundle, "cpu", 1)
    codes = model.invert([Image.open(path) for path in sorted((faces / "red").iterdir())])
    change = picture_change(model, codes, pose)
    assert facts["pose"]["face"] == pytest.approx(change.face, rel=1e-3)
    sheet = np.asarray(Image.open("padinv-out/directions.png"))
    assert sheet.shape[1] > 3 * 16
    assert "change per unit: face" in run("show", "smile").out  # on faces of the generator


def test_the_cost_is_measured_on_the_face_and_around_it() -> None:
    mask = face_mask("faces", 128)
    assert 0.4 < mask.mean() < 0.9
    assert mask[64, 64]
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert not mask[corner]
    assert face_mask(None, 8).all()
