from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from report_cards import cards
from tiny_bundle import SPEC, write_tiny_bundle

from padinv.runtime import editing
from padinv.runtime.alignment.similarity import inverted, map_points
from padinv.runtime.alignment.templates import FACES
from padinv.runtime.editing import Direction
from padinv.runtime.editing.region import named_mask, region_of_mask
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


@pytest.fixture
def edit(run_cli, tiny_bundle):
    def run(verb: str, *arguments: object, model: Path = tiny_bundle):
        return run_cli(verb, *arguments, "--model", model, "--threads", 1)

    return run


@pytest.fixture
def pictures(tmp_path, picture) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    picture(30, 30, seed=1).save(folder / "a.png")
    picture(30, 30, seed=2).save(folder / "b.jpg")
    picture(30, 30, seed=3).save(folder / "sub" / "c.png")
    return folder


def painted(path: Path) -> Path:
    """The picture with a bright square on it."""
    image = Image.open(path).convert("RGB")
    image.paste((255, 255, 255), (8, 8, 22, 22))
    target = path.parent.parent / f"{path.stem}-edited.png"
    image.save(target)
    return target


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if is_result(path))


def is_result(path: Path) -> bool:
    """Everything but the log that every verb keeps."""
    return path.is_file() and path.name != "results.jsonl"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def one_sentence(result, code: int) -> str:
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("padinv: error: ")
    return result.err


def test_blend_is_what_the_api_gives(edit, pictures, tmp_path, tiny_bundle):
    out = tmp_path / "out"
    result = edit("blend", pictures / "a.png", pictures / "b.jpg", "--out", out, "--strength", 0.5, "--layers", "0-1")
    assert result.code == 0, result.err
    assert "1 blended in" in result.out
    assert tree(out) == ["a.png--b.jpg.png", "contact-sheet.png", "report.html"]
    model = Model.load(tiny_bundle, "cpu", 1)
    a, b = (model.invert([Image.open(pictures / name)]) for name in ("a.png", "b.jpg"))
    expected = model.generate(editing.blend(a, b, 0.5, [0, 1]))[0]
    np.testing.assert_array_equal(pixels(out / "a.png--b.jpg.png"), expected)


def test_blend_one_to_many_many_to_one_and_the_comparison(edit, pictures, tmp_path, tiny_bundle):
    to_many = edit(
        "blend", pictures / "a.png", pictures, "--out", tmp_path / "o1", "--style-mixing", "--report", "--json"
    )
    assert to_many.code == 0, to_many.err
    summary = json.loads(to_many.out)
    assert summary["written"] == 3
    assert [r["name"] for r in summary["results"]] == ["a.png--a.png", "a.png--b.jpg", "sub/a.png--c.png"]
    assert tree(tmp_path / "o1") == sorted(
        ["contact-sheet.png", "report.html"]
        + [f"{r['name']}{s}.png" for r in summary["results"] for s in ("", ".style-mixing")]
    )
    html = Path(summary["report"]).read_text()
    assert [card["n"] for card in cards(html)] == ["a.png--a.png", "a.png--b.jpg", "sub/a.png--c.png"]
    assert {len(card["s"]) for card in cards(html)} == {2}  # A and the style mixing
    assert len({card["s"][0][1] for card in cards(html)}) == 1  # A is in the page once
    from_many = edit("blend", pictures, pictures / "b.jpg", "--out", tmp_path / "o2", "--save-inversions", "--no-sheet")
    assert from_many.code == 0, from_many.err
    model = Model.load(tiny_bundle, "cpu", 1)
    a, b = (model.invert([Image.open(pictures / name)]) for name in ("a.png", "b.jpg"))
    np.testing.assert_array_equal(pixels(tmp_path / "o2" / "a.png--b.jpg.png"), model.generate(editing.blend(a, b))[0])
    mixed = pixels(tmp_path / "o1" / "a.png--b.jpg.style-mixing.png")
    np.testing.assert_array_equal(mixed, model.generate(editing.style_mixing(a, b))[0])
    saved = Inversion.load(tmp_path / "o2" / "sub" / "c.png--b.jpg.safetensors")
    np.testing.assert_allclose(saved.const, b.const, atol=1e-3)


def test_blend_says_what_is_wrong_with_the_call(edit, pictures, tmp_path):
    out = ("--out", tmp_path / "out")
    many = one_sentence(edit("blend", pictures, pictures, *out), 2)
    assert "3 pictures for A and 3 for B were given; one of them must be a single picture" in many
    assert "missing.png does not exist" in one_sentence(edit("blend", tmp_path / "missing.png", pictures, *out), 1)
    assert "layers 0-5" in one_sentence(edit("blend", pictures / "a.png", pictures, "--layers", "3-9", *out), 2)
    (tmp_path / "file").write_text("precious")
    assert "file is a file" in one_sentence(edit("blend", pictures / "a.png", pictures, "--out", tmp_path / "file"), 1)
    assert not (tmp_path / "out").exists()
    (pictures / "bad.png").write_text("hello")
    partly = edit("blend", pictures / "a.png", pictures, *out)
    assert partly.code == 3
    assert "bad.png is not a PNG" in partly.err
    assert "3 blended" in partly.out
    assert "1 skipped" in partly.out
    broken = one_sentence(edit("blend", pictures / "bad.png", pictures / "a.png", *out), 1)
    assert "bad.png is not a PNG" in broken


def test_a_second_run_keeps_and_nothing_foreign_is_overwritten(edit, pictures, tmp_path):
    call = ("blend", pictures / "a.png", pictures / "b.jpg", "--out", tmp_path / "out")
    edit(*call)
    assert "0 blended; 1 already there" in edit(*call).out
    other = edit(*call, "--strength", 0.3)
    assert other.code == 1
    assert "exists and is not a result that this command made" in other.err
    assert edit(*call, "--strength", 0.3, "--overwrite").code == 0
    (tmp_path / "out" / "contact-sheet.png").write_bytes(b"precious")
    again = edit(*call, "--strength", 0.3)
    assert "exists and is not padinv's, so it was left alone" in again.err
    assert (tmp_path / "out" / "contact-sheet.png").read_bytes() == b"precious"


def test_custom_edit_decides_saves_and_applies(edit, pictures, tmp_path, tiny_bundle):
    after = painted(pictures / "a.png")
    saved = tmp_path / "white.safetensors"
    pair = ("--pair", pictures / "a.png", after)
    first = edit("custom-edit", *pair, "--target", pictures, "--save", saved, "--out", tmp_path / "o1", "--report")
    assert first.code == 0, first.err
    assert "padding reproduces" in first.out
    assert "chosen: padding" in first.out  # the tiny generator draws from `const`
    assert tree(tmp_path / "o1") == ["a.png.png", "b.jpg.png", "contact-sheet.png", "report.html", "sub/c.png.png"]
    model = Model.load(tiny_bundle, "cpu", 1)
    a, edited, b = (model.invert([Image.open(p)]) for p in (pictures / "a.png", after, pictures / "b.jpg"))
    expected = model.generate(editing.apply(b, editing.difference(a, edited), "padding"))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "o1" / "b.jpg.png"), expected)
    direction = Direction.load(saved)
    assert direction.space == "padding"
    assert direction.info["sources"] == ["a.png", "a-edited.png"]
    assert set(direction.info["evidence"]["scores"]) == {"padding", "latent"}

    edit("invert", pictures, "--out", tmp_path / "inv", "--dtype", "float32")
    later = edit("custom-edit", "--direction", saved, tmp_path / "inv", "--out", tmp_path / "o2", "--json")
    assert later.code == 0, later.err
    assert json.loads(later.out)["space"] == "padding"
    np.testing.assert_array_equal(pixels(tmp_path / "o2" / "b.jpg.png"), expected)


def test_custom_edit_spaces_and_targets(edit, pictures, tmp_path, tiny_bundle):
    pair = ("--pair", pictures / "a.png", painted(pictures / "a.png"))
    model = Model.load(tiny_bundle, "cpu", 1)
    a, edited, b = (model.invert([Image.open(p)]) for p in (pair[1], pair[2], pictures / "b.jpg"))
    for space in ("latent", "both"):
        out = tmp_path / space
        result = edit(
            "custom-edit", *pair, "--target", pictures / "b.jpg", pictures / "sub", "--space", space,
            "--strength", -0.5, "--out", out, "--no-sheet",
        )  # fmt: skip
        assert result.code == 0, result.err
        assert tree(out) == ["b.jpg.png", "c.png.png", "report.html"]
        expected = model.generate(editing.apply(b, editing.difference(a, edited), space, -0.5))[0]
        np.testing.assert_array_equal(pixels(out / "b.jpg.png"), expected)


def test_custom_edit_masks_what_is_compared(edit, pictures, tmp_path):
    pair = ("--pair", pictures / "a.png", painted(pictures / "a.png"))
    mask = Image.new("L", (30, 30))
    mask.paste(255, (0, 0, 15, 30))
    mask.save(tmp_path / "mask.png")
    call = ("custom-edit", *pair, pictures / "b.jpg", "--json")
    plain = json.loads(edit(*call, "--out", tmp_path / "o1").out)["evidence"]
    masked = json.loads(edit(*call, "--mask", tmp_path / "mask.png", "--out", tmp_path / "o2").out)["evidence"]
    assert masked["changed"] < plain["changed"] * 0.75
    Image.new("L", (30, 30)).save(tmp_path / "black.png")
    nothing = edit(*call, "--mask", tmp_path / "black.png", "--out", tmp_path / "o3")
    assert "is black on the whole face" in one_sentence(nothing, 1)


def test_custom_edit_says_what_is_wrong_with_the_call(edit, pictures, tmp_path):
    pair = ("--pair", pictures / "a.png", painted(pictures / "a.png"))
    saved = tmp_path / "d.safetensors"
    assert edit("custom-edit", *pair, "--save", saved).code == 0  # a direction alone
    before = saved.stat().st_mtime_ns
    assert edit("custom-edit", *pair, "--save", saved).code == 0  # the same again
    assert saved.stat().st_mtime_ns == before
    cases = [
        (("--target", pictures), 2, "give either --pair A A' or --direction FILE, and not both"),
        ((*pair, "--direction", saved, pictures), 2, "and not both"),
        (("--direction", saved), 2, "give targets to edit"),
        ((*pair,), 2, "give targets to edit"),
        ((*pair, "--save", pictures / "b.jpg"), 2, "exists and is not this direction, so nothing was done"),
        ((*pair, pictures, "--space", "latent", "--mask", pictures / "a.png"), 2, "leave one of the two out"),
        (("--direction", saved, pictures, "--save", tmp_path / "e"), 2, "a saved direction is finished"),
        (("--direction", pictures / "a.png", pictures), 1, "cannot be read as a direction"),
        (("--pair", pictures / "a.png", pictures / "a.png", pictures), 1, "show no difference"),
        ((*pair, tmp_path / "none"), 1, "none does not exist"),
    ]
    for arguments, code, sentence in cases:
        assert sentence in one_sentence(edit("custom-edit", *arguments, "--out", tmp_path / "o"), code)
        assert not (tmp_path / "o").exists()


def test_a_direction_of_another_generator_is_refused(edit, pictures, tmp_path):
    pair = ("--pair", pictures / "a.png", painted(pictures / "a.png"))
    edit("custom-edit", *pair, "--save", tmp_path / "d.safetensors")
    other = write_tiny_bundle(tmp_path / "other", generator_hash="2e" * 32)
    call = ("custom-edit", "--direction", tmp_path / "d.safetensors", pictures, "--out", tmp_path / "o")
    sentence = one_sentence(edit(*call, model=other), 1)
    assert "d.safetensors belongs to generator 1f1f1f1f1f1f, and the pictures to generator 2e2e2e2e2e2e" in sentence
    assert not (tmp_path / "o").exists()


def test_interpolate(edit, pictures, tmp_path, tiny_bundle):
    out = tmp_path / "out"
    call = ("interpolate", pictures / "a.png", pictures / "b.jpg", "--steps", 5, "--space", "padding", "--out", out)
    result = edit(*call, "--report", "--frames")
    assert result.code == 0, result.err
    name = "a.png--b.jpg"
    frames = [f"{name}.{i:03d}.png" for i in range(5)]
    assert tree(out) == sorted([f"{name}.png", f"{name}.webp", "contact-sheet.png", "report.html", *frames])
    model = Model.load(tiny_bundle, "cpu", 1)
    a, b = (model.invert([Image.open(pictures / n)]) for n in ("a.png", "b.jpg"))
    expected = model.generate(editing.interpolate(a, b, 5, "padding"))
    np.testing.assert_array_equal(pixels(out / frames[3]), expected[3])
    row = pixels(out / f"{name}.png")
    assert row.shape == (16, 5 * 16 + 4 * 2, 3)
    np.testing.assert_array_equal(row[:, 18:34], expected[1])
    with Image.open(out / f"{name}.webp") as image:
        assert image.n_frames == 8
    assert "1 already there" in edit(*call, "--frames").out
    assert "is not a result that this command made" in edit(*call, "--fixed", "second").err


def test_interpolate_from_the_average_image(edit, pictures, tmp_path, tiny_bundle):
    out = tmp_path / "out"
    result = edit("interpolate", "--from-average", pictures, "--steps", 3, "--out", out, "--json")
    assert result.code == 0, result.err
    assert [r["name"] for r in json.loads(result.out)["results"]] == [
        "average--a.png", "average--b.jpg", "sub/average--c.png"
    ]  # fmt: skip
    model = Model.load(tiny_bundle, "cpu", 1)
    start = editing.average(model.spec, model.constants(), model.generator_hash)
    b = model.invert([Image.open(pictures / "b.jpg")])
    # Fig. 5 of the paper: the padding moves, and the latents stay at w_avg.
    arrays = {"wp": np.repeat(start.wp, 3, axis=0)}
    for name, end in b.arrays().items():
        if name != "wp":
            first = start.arrays()[name]
            arrays[name] = np.concatenate([first, (first + end) / 2, end])
    expected = model.generate(Inversion.from_arrays(arrays, model.generator_hash))
    strip = pixels(out / "average--b.jpg.png").astype(int)
    for i, start_x in enumerate((0, strip.shape[1] - 16)):
        assert np.abs(strip[:, start_x : start_x + 16] - expected[2 * i]).max() <= 1
    fixed = ("--fixed", "second", "--out", tmp_path / "second")
    edit("interpolate", "--from-average", pictures / "b.jpg", "--steps", 3, *fixed)
    of_picture = model.generate(editing.interpolate(start, b, 3, "padding", "second"))
    np.testing.assert_array_equal(pixels(tmp_path / "second" / "average--b.jpg.png")[:, :16], of_picture[0])
    (pictures / "bad.png").write_text("hello")
    assert edit("interpolate", "--from-average", pictures, "--out", tmp_path / "o2", "--steps", 2).code == 3
    assert "give two pictures, not 1" in one_sentence(edit("interpolate", pictures / "a.png"), 2)
    bad = edit("interpolate", pictures / "a.png", pictures / "bad.png", "--out", tmp_path / "o3")
    assert bad.code == 1
    assert "bad.png is not a PNG" in bad.err


def test_a_region_limits_which_padding_moves(edit, pictures, tmp_path, tiny_bundle):
    """blend takes the padding of B only there; custom-edit and interpolate move it only there."""
    model = Model.load(tiny_bundle, "cpu", 1)
    a, b = (model.invert([Image.open(pictures / name)]) for name in ("a.png", "b.jpg"))
    region = region_of_mask(named_mask("top"), model.spec, [4, 8])
    only = ("--region", "top", "--resolutions", "4,8", "--no-sheet")
    both = (pictures / "a.png", pictures / "b.jpg")
    assert edit("blend", *both, *only, "--out", tmp_path / "o1").code == 0
    expected = model.generate(region.limit(a, editing.blend(a, b)))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "o1" / "a.png--b.jpg.png"), expected)
    call = ("custom-edit", "--pair", *both, pictures / "a.png", "--space", "padding", "--out", tmp_path / "o2")
    assert edit(*call, *only).code == 0
    expected = model.generate(region.limit(a, editing.apply(a, editing.difference(a, b), "padding")))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "o2" / "a.png.png"), expected)
    assert "is not a result that this command made" in edit(*call).err  # without the region it is another edit
    line = ("interpolate", *both, "--space", "padding", "--steps", 2, "--save-inversions", "--out", tmp_path / "o3")
    assert edit(*line, *only).code == 0
    found = Inversion.load(tmp_path / "o3" / "a.png--b.jpg.safetensors")
    expected = region.limit(a, editing.interpolate(a, b, 2, "padding"))
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], array, atol=4e-3)


# With faces: a model that names a template, and the two photographs that may be shipped.


@pytest.fixture
def faces(tmp_path) -> Path:
    spec = dataclasses.replace(SPEC, template="faces", resolution=32, channels=(6, 5, 4, 4), max_pad_res=16)
    return write_tiny_bundle(tmp_path / "faces", spec)


def hopper() -> Path:
    import matplotlib

    return Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"


def astronaut() -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


def test_photographs_as_they_come_are_blended_and_pasted_back(edit, faces, tmp_path):
    out = tmp_path / "out"
    result = edit("blend", hopper(), astronaut(), "--paste-back", "--out", out, "--save-inversions", model=faces)
    assert result.code == 0, result.err
    assert result.err == ""
    name = "grace_hopper.jpg--astronaut.png"
    photo, pasted = pixels(astronaut()), pixels(out / f"{name}.photo.png")
    saved = Inversion.load(out / f"{name}.safetensors")
    transform = np.asarray(saved.items[0]["transform"])
    y, x = np.indices(photo.shape[:2]) + 0.5
    inside = map_points(transform, np.stack([x, y], -1).reshape(-1, 2)).reshape(*photo.shape[:2], 2)
    outside = ((inside <= 0) | (inside >= 1)).any(axis=-1)
    assert 0.8 < outside.mean() < 0.98
    np.testing.assert_array_equal(pasted[outside], photo[outside])
    assert (pasted[~outside] != photo[~outside]).mean() > 0.5
    eye = map_points(inverted(transform), np.array(FACES[:1]))[0]
    assert 180 < eye[0] < 225  # her right eye, at the picture's left
    assert 90 < eye[1] < 125


def test_align_cuts_one_crop_a_face(run_cli, tmp_path):
    two = Image.new("RGB", (1000, 512), (90, 90, 90))
    face = Image.open(astronaut()).convert("RGB")
    two.paste(face, (0, 0))
    two.paste(face.crop((150, 30, 350, 230)), (700, 150))
    (tmp_path / "in").mkdir()
    two.save(tmp_path / "in" / "two.png")
    Image.new("RGB", (60, 60)).save(tmp_path / "in" / "wall.png")
    out = tmp_path / "out"
    call = ("align", tmp_path / "in", "--out", out, "--size", 96, "--threads", 1)
    result = run_cli(*call, "--report")
    assert result.code == 3
    assert "no face was found in" in result.err
    assert tree(out) == ["contact-sheet.png", "report.html", "transforms.csv", "two.png-2.png", "two.png.png"]
    assert pixels(out / "two.png.png").shape == (96, 96, 3)
    with open(out / "transforms.csv", newline="") as file:
        rows = {row["face"]: row for row in csv.DictReader(file)}
    assert rows["2"]["file"] == "two.png-2.png"
    # The same face twice: its template lies in the same place but for the shift of 700 - 150, 150 - 30.
    places = []
    for face in ("1", "2"):
        transform = np.array([float(rows[face][key]) for key in "abcdef"]).reshape(2, 3)
        points = map_points(inverted(transform), np.array(FACES))
        places.append(points - [550, 120] if points.mean() > 400 else points)
    assert np.abs(places[0] - places[1]).max() < 4
    again = run_cli(*call, "--json")
    summary = json.loads(again.out)
    assert (summary["written"], summary["kept"]) == (0, 2)
    assert run_cli(*call, "--largest").code == 1  # other crops are there: nothing is overwritten


def test_align_by_landmarks(run_cli, tmp_path, picture):
    picture(80, 60).save(tmp_path / "a.png")
    points = np.array(FACES) * 30 + [20, 10]
    text = "a.png," + ",".join(f"{value}" for value in points.reshape(-1))
    (tmp_path / "l.csv").write_text(text)
    out = tmp_path / "out"
    result = run_cli("align", tmp_path / "a.png", "--landmarks", tmp_path / "l.csv", "--size", 30, "--out", out)
    assert result.code == 0, result.err
    expected = pixels(tmp_path / "a.png")[10:40, 20:50]
    assert np.abs(pixels(out / "a.png.png").astype(int) - expected).max() <= 1
    missing = run_cli("align", tmp_path / "a.png", "--landmarks", tmp_path / "none.csv", "--out", tmp_path / "o2")
    assert "none.csv cannot be read as landmarks" in one_sentence(missing, 1)


def test_invert_aligns_keeps_the_transform_and_pastes_back(edit, faces, tmp_path):
    out = tmp_path / "out"
    call = ("invert", astronaut(), "--out", out, "--paste-back")
    result = edit(*call, model=faces)
    assert result.code == 0, result.err
    inversion = Inversion.load(out / "astronaut.png.safetensors")
    transform = np.asarray(inversion.items[0]["transform"])
    assert transform.shape == (2, 3)
    assert inversion.items[0]["box"] is None
    record = json.loads((out / "results.jsonl").read_text())
    np.testing.assert_allclose(record["transform"], transform)
    photo, pasted = pixels(astronaut()), pixels(out / "astronaut.png.photo.png")
    np.testing.assert_array_equal(pasted[300:], photo[300:])
    assert (pasted[80:160, 190:260] != photo[80:160, 190:260]).any()
    assert "1 already there" in edit(*call, model=faces).out
    plain = edit(*call, "--align", "never", model=faces)
    assert "1 inverted" in plain.out
    assert Inversion.load(out / "astronaut.png.safetensors").items[0]["transform"] is None
    # An edit of the saved inversion returns to the photograph, too.
    edit(*call, model=faces)
    pasted_edit = edit(
        "blend", hopper(), out / "astronaut.png.safetensors", "--paste-back", "--out", tmp_path / "o2", model=faces
    )
    assert pasted_edit.code == 0, pasted_edit.err
    made = pixels(tmp_path / "o2" / "grace_hopper.jpg--astronaut.png.photo.png")
    np.testing.assert_array_equal(made[300:], photo[300:])


def test_invert_refuses_or_notes_pictures_without_a_face(edit, faces, tmp_path, picture):
    picture(60, 50).save(tmp_path / "wall.png")
    noted = edit("invert", tmp_path / "wall.png", "--out", tmp_path / "o1", model=faces)
    assert noted.code == 0
    assert "no face was found in" in noted.err
    assert "so the image was used without alignment" in noted.err
    refused = edit("invert", tmp_path / "wall.png", "--out", tmp_path / "o2", "--align", "always", model=faces)
    assert refused.code == 1
    assert "so it was skipped; give landmarks with --landmarks" in refused.err
    assert not (tmp_path / "o2").exists()


def test_models_without_a_template(edit, pictures, tmp_path):
    result = edit("invert", pictures / "a.png", "--out", tmp_path / "o", "--align", "always")
    assert "names no alignment template" in one_sentence(result, 2)
    assert edit("invert", pictures / "a.png", "--out", tmp_path / "o").err == ""


def test_help_of_every_verb_names_the_shared_options(run_cli):
    import inspect

    from padinv.cli.commands import align, blend, custom_edit, interpolate, invert

    shared = {"out", "landmarks", "report", "threads", "overwrite", "as_json"}
    for module in (align, blend, custom_edit, interpolate, invert):
        names = set(inspect.signature(module.command).parameters)
        assert shared <= names, module.__name__
        if module is not align:
            assert {"model", "align", "face", "fit", "batch", "backend", "precision"} <= names, module.__name__
    for verb in ("align", "blend", "custom-edit", "interpolate"):
        assert run_cli(verb, "--help").code == 0


def test_several_pairs_are_averaged(edit, pictures, tmp_path, tiny_bundle):
    """Their mean is what is added; what a single pair changes by chance averages out."""
    afters = [painted(pictures / "a.png"), painted(pictures / "sub" / "c.png")]
    pairs = ("--pair", pictures / "a.png", afters[0], "--pair", pictures / "sub" / "c.png", afters[1])
    call = ("custom-edit", *pairs, pictures / "b.jpg", "--space", "padding", "--out", tmp_path / "out")
    assert edit(*call, "--save", tmp_path / "mean.safetensors").code == 0
    model = Model.load(tiny_bundle, "cpu", 1)
    before = model.invert([Image.open(pictures / name) for name in ("a.png", "sub/c.png")])
    after = model.invert([Image.open(path) for path in afters])
    mean = Direction.load(tmp_path / "mean.safetensors")
    np.testing.assert_allclose(mean.const, (after.const - before.const).mean(axis=0), atol=1e-6)
    assert mean.info["sources"] == ["a.png", "a-edited.png", "c.png", "c-edited.png"]
    b = model.invert([Image.open(pictures / "b.jpg")])
    expected = model.generate(editing.apply(b, mean, "padding"))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "b.jpg.png"), expected)
    odd = edit("custom-edit", "--pair", pictures / "a.png", "--target", pictures / "b.jpg")
    assert "--pair takes a picture and its edited version" in one_sentence(odd, 2)


def test_each_space_beside_the_other(edit, pictures, tmp_path, tiny_bundle):
    """Fig. 9 of the paper."""
    out = tmp_path / "out"
    after = painted(pictures / "a.png")
    result = edit(
        "custom-edit", "--pair", pictures / "a.png", after, pictures, "--space", "each", "--out", out, "--json"
    )
    assert result.code == 0, result.err
    model = Model.load(tiny_bundle, "cpu", 1)
    a, edited, b = (model.invert([Image.open(path)]) for path in (pictures / "a.png", after, pictures / "b.jpg"))
    for space in ("padding", "latent", "both"):
        expected = model.generate(editing.apply(b, editing.difference(a, edited), space))[0]
        np.testing.assert_array_equal(pixels(out / f"b.jpg.{space}.png"), expected)
    chosen = json.loads(result.out)["space"]
    np.testing.assert_array_equal(pixels(out / "b.jpg.png"), pixels(out / f"b.jpg.{chosen}.png"))


def test_the_strength_can_be_chosen_by_evidence(edit, pictures, tmp_path):
    """The strength with the smallest error on other faces is taken, recorded and applied."""
    pair = ("--pair", pictures / "a.png", painted(pictures / "a.png"))
    saved = tmp_path / "white.safetensors"
    call = ("custom-edit", *pair, pictures / "b.jpg", "--strength", "auto", "--save", saved, "--out", tmp_path / "out")
    result = edit(*call, "--json")
    assert result.code == 0, result.err
    chosen = json.loads(result.out)["strength"]
    info = Direction.load(saved).info
    errors = {float(s): 1 - score["reproduced"] + score["disturbed"] for s, score in info["strengths"].items()}
    assert chosen == info["strength"] == min(errors, key=errors.__getitem__)
    again = edit(
        "custom-edit", "--direction", saved, pictures / "b.jpg", "--strength", "auto", "--out", tmp_path / "o2"
    )
    assert again.code == 0, again.err
    np.testing.assert_array_equal(pixels(tmp_path / "o2" / "b.jpg.png"), pixels(tmp_path / "out" / "b.jpg.png"))
    wrong = edit("custom-edit", *pair, pictures / "b.jpg", "--strength", "0:1:3")
    assert "takes one number or auto" in one_sentence(wrong, 2)


def test_a_grid_of_latents_by_padding(edit, pictures, tmp_path, tiny_bundle):
    """Fig. 6 and 7 of the paper."""
    call = ("interpolate", pictures / "a.png", pictures / "b.jpg", "--grid", 3, "--steps", 2, "--out", tmp_path / "out")
    assert edit(*call).code == 0
    model = Model.load(tiny_bundle, "cpu", 1)
    a, b = (model.invert([Image.open(pictures / name)]) for name in ("a.png", "b.jpg"))
    found = pixels(tmp_path / "out" / "a.png--b.jpg.grid.png")
    side = SPEC.resolution
    assert found.shape == (3 * side + 4, 3 * side + 4, 3)
    for corner, pair in ((found[:side, -side:], (a, b)), (found[-side:, :side], (b, a))):
        assert np.abs(corner.astype(int) - model.generate(editing.blend(*pair))[0]).max() <= 1
    assert "1 already there" in edit(*call).out


def test_a_second_model_beside_the_first(edit, pictures, tmp_path, tiny_bundle):
    """Fig. 10 of the paper."""
    other = write_tiny_bundle(tmp_path / "other", generator_hash="2e" * 32, seed=5)
    pair = ("--pair", pictures / "a.png", painted(pictures / "a.png"))
    call = ("custom-edit", *pair, pictures, "--space", "padding", "--vs", other, "--out", tmp_path / "out")
    result = edit(*call, "--report")
    assert result.code == 0, result.err
    for bundle, folder in ((tiny_bundle, tmp_path / "out"), (other, tmp_path / "out" / "vs")):
        model = Model.load(bundle, "cpu", 1)
        a, after, b = (
            model.invert([Image.open(path)])
            for path in (pictures / "a.png", tmp_path / "a-edited.png", pictures / "b.jpg")
        )
        expected = model.generate(editing.apply(b, editing.difference(a, after), "padding"))[0]
        np.testing.assert_array_equal(pixels(folder / "b.jpg.png"), expected)
    shown = cards((tmp_path / "out" / "report.html").read_text())
    assert [[label for label, _ in card["s"]] for card in shown] == 3 * [["A", "A'", "tiny"]]
    again = edit(*call)
    assert again.code == 0
    assert "0 edited" in again.out
    saved = edit("custom-edit", "--direction", tmp_path / "d.safetensors", pictures, "--vs", other)
    assert "--vs goes with --pair" in one_sentence(saved, 2)


def test_results_beyond_those_that_are_kept_in_memory_are_on_the_page_too(edit, tmp_path, picture, monkeypatch):
    from padinv.runtime.folders import editing

    monkeypatch.setattr(editing, "SHOWN", 2)  # pixels of two results are kept
    for i in range(5):
        picture(20, 20, seed=i).save(tmp_path / f"{i} #.png")
    files = sorted(tmp_path.glob("*.png"))
    out = tmp_path / "out"
    assert edit("blend", files[0], *files, "--out", out, "--batch", 1).code == 0
    shown = cards((out / "report.html").read_text())
    assert len(shown) == 5
    assert sum("b" in card for card in shown) == 2
    for card in shown:
        assert (out / unquote(card["fb"])).is_file()
        assert "b" in card or (out / unquote(card["fa"])).resolve() in files
