"""The calls on folders write what the commands write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import padinv
from padinv.runtime.batch.engine import Done, Note, Started
from padinv.runtime.errors import ExitCode, InputError, UsageError
from padinv.runtime.folders import options
from padinv.runtime.provenance.marking import Marking

# Files of a command record its options, and those of a call do not: without this record they are equal.
UNMARKED: dict[str, Any] = {"marking": Marking(model="", model_hash="", command="", enabled=False)}


@pytest.fixture
def photos(tmp_path: Path, picture: Callable[..., Any]) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    picture(30, 20, seed=1).save(folder / "a.png")
    picture(30, 30, seed=2).save(folder / "sub" / "b.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    names = ("results.jsonl", "report.html", "contact-sheet.png")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in names]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(".")}


def test_a_folder_is_inverted_as_by_the_command(
    run_cli: Callable[..., Any], tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    assert (
        run_cli(
            "invert", photos, "--model", tiny_bundle, "--out", tmp_path / "cli", "--paste-back", "--no-provenance"
        ).code
        == 0
    )
    events: list[Any] = []
    result = padinv.invert_folder(
        photos, out=tmp_path / "api", model=tiny_bundle, paste_back=True, on_event=events.append, **UNMARKED
    )
    assert contents(tmp_path / "api") == contents(tmp_path / "cli")
    assert (result.exit_code, [type(event) for event in events]) == (ExitCode.DONE, [Started, Done, Done])
    assert (events[0].what, events[0].total, events[0].unit) == ("inverting", 2, "images")
    assert (result.images, result.found, result.pages) == (2, 2, {})
    assert result.means["mse"] == sum(record["mse"] for record in result.records) / 2
    assert set(result.files["sub/b.png"]) == {"image", "inversion", "photo"}
    assert result.records[0]["mse"] >= 0
    again = padinv.invert_folder(photos, out=tmp_path / "api", model=tiny_bundle, paste_back=True, **UNMARKED)
    assert repr(again).endswith("0 done, 2 kept, 0 skipped)")


def test_skipped_inputs_are_warnings_and_have_codes(
    tiny_bundle: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "bad.png").write_text("text")
    with caplog.at_level(logging.WARNING, logger="padinv"):
        result = padinv.invert_folder([photos], out=tmp_path / "out", model=tiny_bundle)
    assert result.exit_code == ExitCode.PARTLY
    assert [(Path(one.path).name, one.code) for one in result.skipped] == [("bad.png", "not-an-image")]
    assert "bad.png is not a PNG" in caplog.text
    with pytest.raises(InputError, match="nothing was done"):
        padinv.invert_folder(tmp_path / "none", out=tmp_path / "out", model=tiny_bundle)


def test_images_are_generated_and_edited_as_by_the_commands(
    run_cli: Callable[..., Any], tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    model = padinv.load(tiny_bundle)
    assert (
        run_cli("generate", "--model", tiny_bundle, "--seeds", "3,5", "--out", tmp_path / "cli", "--no-provenance").code
        == 0
    )
    padinv.generate_images([3, 5], out=tmp_path / "api", model=model, **UNMARKED)
    assert contents(tmp_path / "api") == contents(tmp_path / "cli")
    change = padinv.difference(*model.invert([photos / "a.png", photos / "sub" / "b.png"]))
    change.save(tmp_path / "d.safetensors")
    command = ("custom-edit", "--direction", tmp_path / "d.safetensors", photos, "--space", "padding")
    assert run_cli(*command, "--model", tiny_bundle, "--out", tmp_path / "edit-cli").code == 0
    result = padinv.edit_folder(change, photos, out=tmp_path / "edit", model=model, space="padding")
    from PIL import Image

    for name in ("a.png.png", "sub/b.png.png"):
        with Image.open(tmp_path / "edit" / name) as mine, Image.open(tmp_path / "edit-cli" / name) as theirs:
            assert mine.tobytes() == theirs.tobytes()
    assert sorted(result.files) == ["a.png", "sub/b.png"]


CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "blend": (
        lambda a, b, folder, **more: padinv.blend_folder(
            a, folder, layers=[0, 1], style_mixing=True, region="top", resolutions=[4], paste_back=True, **more
        ),
        "blend A IN --layers 0-1 --style-mixing --region top --resolutions 4 --paste-back",
    ),
    "custom-edit": (
        lambda a, b, folder, **more: padinv.custom_edit_folder(
            [(a, b)], folder, space="each", strength=0.5, save_inversions=True, **more
        ),
        "custom-edit --pair A B --target IN --space each --strength 0.5 --save-inversions",
    ),
    "interpolate": (
        lambda a, b, folder, **more: padinv.interpolate_folder([a, b], space="padding", steps=3, frames=True, **more),
        "interpolate A B --space padding --steps 3 --frames",
    ),
    "interpolate from the average": (
        lambda a, b, folder, **more: padinv.interpolate_folder(folder, from_average=True, steps=2, grid=2, **more),
        "interpolate --from-average IN --steps 2 --grid 2",
    ),
    "invert": (
        lambda a, b, folder, **more: padinv.invert_folder(folder, format="jpg", dtype="float32", **more),
        "invert IN --format jpg --dtype float32",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_writes_what_its_command_writes(
    run_cli: Callable[..., Any], tiny_bundle: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    call, arguments = CALLS[name]
    a, b = photos / "a.png", photos / "sub" / "b.png"
    given = [{"A": a, "B": b, "IN": photos}.get(word, word) for word in arguments.split()]
    assert run_cli(*given, "--model", tiny_bundle, "--out", tmp_path / "cli", "--no-provenance").code == 0
    result = call(a, b, photos, out=tmp_path / "api", model=tiny_bundle, sheet=True, report=True, **UNMARKED)
    assert contents(tmp_path / "api") == contents(tmp_path / "cli")
    assert set(result.pages) == {"sheet", "report"}
    assert result.pages["sheet"].read_bytes() == (tmp_path / "cli" / "contact-sheet.png").read_bytes()
    assert result.pages["report"].is_file()
    again = call(a, b, photos, out=tmp_path / "api", model=tiny_bundle, **UNMARKED)
    assert (len(again.outcome.done), len(again.outcome.kept)) == (0, len(result.outcome.done))


def test_a_custom_edit_says_which_space_it_chose_and_saves_its_direction(
    tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    events: list[Any] = []
    file = tmp_path / "d.safetensors"
    result = padinv.custom_edit_folder(
        [(photos / "a.png", photos / "sub" / "b.png")],
        space="latent",
        strength=2.0,
        save=file,
        out=tmp_path / "out",
        model=tiny_bundle,
        on_event=events.append,
    )
    assert (result.edit.space, result.edit.strength, result.edit.sentence) == ("latent", 2.0, "space: latent")
    assert [event.text for event in events if isinstance(event, Note) and event.kind == "result"] == [
        "space: latent",
        f"direction: {file}",
    ]
    assert padinv.Direction.load(file).space == "latent"
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="and not both"):
        padinv.custom_edit_folder([], photos, out=tmp_path / "out", model=tiny_bundle)


def test_inversion_files_are_rendered_as_by_the_command(
    run_cli: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    padinv.generate_images([1, 2], out=tmp_path / "seeds", model=tiny_bundle, save_inversions=True)
    files = sorted((tmp_path / "seeds").glob("*.safetensors"))
    assert run_cli("generate", *files, "--model", tiny_bundle, "--out", tmp_path / "cli", "--no-provenance").code == 0
    result = padinv.render_inversions(files, out=tmp_path / "api", model=tiny_bundle, **UNMARKED)
    assert sorted(result.files) == ["seed-0001", "seed-0002"]
    assert contents(tmp_path / "api") == contents(tmp_path / "cli")


def test_a_directions_own_space_gives_way_to_the_one_asked_for(tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    model = padinv.load(tiny_bundle)
    change = padinv.difference(*model.invert([photos / "a.png", photos / "sub" / "b.png"]))
    change.info["space"] = "latent"
    result = padinv.edit_folder(change, photos / "a.png", out=tmp_path / "out", model=model, space="padding")
    from PIL import Image

    (files,) = result.files.values()
    expected = model.generate(padinv.apply(model.invert(photos / "a.png"), change, "padding"))[0]
    with Image.open(files["image"]) as image:
        assert image.tobytes() == expected.tobytes()
    assert change.info["space"] == "latent"


def test_a_file_that_is_not_padinvs_is_left_alone_with_a_warning(
    tiny_bundle: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("mine")
    with caplog.at_level(logging.WARNING, logger="padinv"):
        result = padinv.align_folder(photos, out=tmp_path / "out", landmarks=_landmarks(tmp_path), report=True)
    assert result.pages == {}
    assert "is not padinv's, so it was left alone" in caplog.text
    assert (tmp_path / "out" / "report.html").read_text() == "mine"


def _landmarks(folder: Path) -> Path:
    """Five landmarks for each of the two photographs."""
    points = "8,8,20,8,14,12,9,16,19,16"
    path = folder / "landmarks.csv"
    path.write_text(f"a.png,{points}\nsub/b.png,{points}\n")
    return path


@pytest.mark.parametrize(
    ("declared", "settings"),
    [
        (options.FolderOptions, options.FolderSettings),
        (options.PhotoOptions, options.PhotoSettings),
        (options.EditingOptions, options.EditingSettings),
    ],
)
def test_options_are_declared_for_type_checkers_as_they_are_used(declared: Any, settings: Any) -> None:
    names = {name: str(kind) for name, kind in _annotations(declared).items()}
    assert names == {name: str(kind) for name, kind in _annotations(settings).items()}


def _annotations(kind: type) -> dict[str, Any]:
    """Of a class and those it derives from; a TypedDict has no such bases, but knows all its names."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found |= getattr(base, "__annotations__", {})
    return {name: getattr(one, "__forward_arg__", one) for name, one in found.items()}


def test_images_say_that_a_call_edited_them(tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    result = padinv.blend_folder(
        photos / "a.png", photos / "sub" / "b.png", out=tmp_path, model=tiny_bundle, sheet=True
    )
    for path in (result.files["a.png--b.png"]["image"], result.pages["sheet"]):
        assert b"padinv blend" in path.read_bytes()


def test_an_unknown_option_is_refused(tiny_bundle: Path, photos: Path) -> None:
    with pytest.raises(TypeError, match="batchsize"):
        padinv.invert_folder(photos, model=tiny_bundle, batchsize=2)  # type: ignore[call-arg]
