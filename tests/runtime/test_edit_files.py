from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import SPEC, write_tiny_bundle

from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.batch.edit_files import Edited, Job, Task, edit_files, edited_results
from padinv.runtime.batch.engine import Done, Outcome
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.invert_files import Options, invert_files
from padinv.runtime.batch.masks import read_mask
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Reader, find_source, find_sources, photo_path
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


@pytest.fixture
def reader(tiny_bundle) -> Reader:
    model = Model.load(tiny_bundle, "cpu", 1)
    return Reader(model, Aligner(model.spec.template, "auto"))


@pytest.fixture
def folder(tmp_path, picture) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    picture(40, 30, seed=1).save(tmp_path / "in" / "a.png")
    picture(30, 30, seed=2).save(tmp_path / "in" / "sub" / "b.jpg")
    return tmp_path / "in"


def stronger(recipe: float = 1.0, **more) -> Task:
    def edit(inversion: Inversion) -> dict[str, Inversion]:
        return {"": _moved(inversion, recipe)}

    return Task(edit, {"by": recipe}, **more)


def _moved(inversion: Inversion, by: float) -> Inversion:
    moved = inversion.copy()
    moved.const += np.float32(by)
    return moved


def run(reader, sources, out, task, **settings):
    show = settings.pop("show", 0)
    jobs = [Job(source, source.name) for source in sources]
    outcome = Outcome()
    with ResultsLog(out) as log:
        for event in edit_files(reader, jobs, task, log, batch_size=2, **settings):
            outcome.add(event)
            if isinstance(event, Done) and len(outcome.done) > show:
                event.product.shown = None
    results = {edited.job.name: edited for edited in edited_results(outcome, jobs, task, out, show)}
    lost = {done.task.name: done.lost for done in outcome.done}
    problems = {one.task.name: one.reason for one in outcome.skipped if one.task and one.task.name not in lost}
    return {
        job.name: Result(results.get(job.name), problems.get(job.name), list(lost.get(job.name, ()))) for job in jobs
    }


@dataclass
class Result:
    """What came of one job."""

    edited: Edited | None
    problem: str | None
    lost: list[str]

    def __getattr__(self, name: str) -> object:
        return getattr(self.edited, name, None)


def inverted(reader, folder, out) -> Path:
    log = ResultsLog(out)
    found = [Found(str(folder / "a.png"), "a.png"), Found(str(folder / "sub" / "b.jpg"), "sub/b.jpg")]
    list(invert_files(reader.model, found, log, Options(dtype="float32")))
    log.close()
    return out


def test_results_are_what_the_api_gives(reader, folder, tmp_path):
    sources, problems = find_sources([folder])
    assert problems == []
    results = run(reader, sources, tmp_path / "out", stronger(0.3), show=1)
    assert sorted(results) == ["a.png", "sub/b.jpg"]
    with Image.open(folder / "a.png") as image:
        expected = reader.model.generate(_moved(reader.model.invert([image]), 0.3))[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png.png")), expected)
    np.testing.assert_array_equal(results["a.png"].pictures[""], expected)
    assert results["a.png"].input is not None
    assert results["sub/b.jpg"].pictures == {}  # only one was to be kept
    assert (tmp_path / "out" / "sub" / "b.jpg.png").is_file()


def test_a_second_run_keeps_and_a_changed_recipe_or_source_is_not_overwritten(reader, folder, tmp_path, picture):
    sources, _ = find_sources([folder])
    out = tmp_path / "out"
    run(reader, sources, out, stronger(0.3))
    before = (out / "a.png.png").stat().st_mtime_ns
    again = run(reader, sources, out, stronger(0.3), show=2)
    assert not any(edited.written or edited.problem for edited in again.values())
    assert again["a.png"].pictures[""].shape == (16, 16, 3)
    other = run(reader, sources, out, stronger(0.4))
    assert all("exists and is not a result that this command made" in str(e.problem) for e in other.values())
    assert (out / "a.png.png").stat().st_mtime_ns == before
    assert all(edited.written for edited in run(reader, sources, out, stronger(0.4), overwrite=True).values())
    picture(40, 30, seed=9).save(folder / "a.png")
    changed = run(reader, sources, out, stronger(0.4))
    assert changed["a.png"].problem
    assert not changed["sub/b.jpg"].problem


def test_foreign_files_are_never_overwritten(reader, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png.png").write_bytes(b"precious")
    (out / "sub").mkdir()
    (out / "sub" / "b.jpg.safetensors").write_bytes(b"precious")
    sources, _ = find_sources([folder])
    results = run(reader, sources, out, stronger(save_inversions=True))
    assert all(edited.problem for edited in results.values())
    assert (out / "a.png.png").read_bytes() == (out / "sub" / "b.jpg.safetensors").read_bytes() == b"precious"


def test_inversion_files_are_not_encoded_again(reader, folder, tmp_path, monkeypatch):
    folder_of_inversions = inverted(reader, folder, tmp_path / "inv")
    from_pictures = run(reader, find_sources([folder])[0], tmp_path / "o1", stronger(), show=9)
    sources, problems = find_sources([folder_of_inversions])
    assert problems == []
    assert [source.name for source in sources] == ["a.png", "sub/b.jpg"]  # not the reconstructions beside them
    monkeypatch.setattr(Model, "encode", lambda *a, **k: pytest.fail("encoded again"))
    from_inversions = run(reader, sources, tmp_path / "o2", stronger(), show=9)
    for name, edited in from_inversions.items():
        np.testing.assert_array_equal(edited.pictures[""], from_pictures[name].pictures[""])
        assert edited.input is None


def test_a_file_of_several_inversions(reader, tmp_path, picture):
    batch = reader.model.invert([picture(seed=i) for i in range(3)])
    batch.save(tmp_path / "three.safetensors", "float32")
    sources, _ = find_sources([tmp_path / "three.safetensors"])
    assert [source.name for source in sources] == ["three-0000", "three-0001", "three-0002"]
    results = run(reader, sources, tmp_path / "out", stronger(), show=3)
    expected = reader.model.generate(_moved(batch, 1.0))
    for i in range(3):
        np.testing.assert_array_equal(results[f"three-{i:04d}"].pictures[""], expected[i])
    with pytest.raises(InputError, match="holds 3 images, and one is needed here"):
        find_source(tmp_path / "three.safetensors")


def test_bad_inputs_are_sentences_and_the_rest_is_done(reader, folder, tmp_path):
    (folder / "bad.png").write_text("hello")
    (folder / "noise.safetensors").write_bytes(b"\xff" * 50)
    (folder / "empty.safetensors").write_bytes(b"")
    other = Reader(
        Model.load(write_tiny_bundle(tmp_path / "other", generator_hash="2e" * 32), "cpu", 1), reader.aligner
    )
    other.model.invert([Image.new("RGB", (9, 9))]).save(folder / "foreign.safetensors")
    sources, problems = find_sources([folder, tmp_path / "none"])
    assert sorted(p.split(" ")[0].rpartition("/")[2] for p in problems) == [
        "empty.safetensors", "noise.safetensors", "none"
    ]  # fmt: skip
    results = run(reader, sources, tmp_path / "out", stronger())
    assert "it is text" in str(results["bad.png"].problem)
    assert "belongs to generator 2e2e2e2e2e2e, not to generator 1f1f1f1f1f1f" in str(results["foreign"].problem)
    assert results["a.png"].written
    assert results["sub/b.jpg"].written
    with pytest.raises(MismatchError):
        reader.load(folder / "foreign.safetensors")
    with pytest.raises(InputError, match="is a folder, and one picture"):
        find_source(folder)


def test_results_can_be_edited_further(reader, folder, tmp_path):
    run(reader, find_sources([folder])[0], tmp_path / "o1", stronger(0.2, save_inversions=True))
    sources, _ = find_sources([tmp_path / "o1"])
    assert all(source.is_inversion for source in sources)
    once_more = run(reader, sources, tmp_path / "o2", stronger(0.2), show=9)
    twice = reader.model.generate(_moved(reader.model.invert([Image.open(folder / "a.png")]), 0.4))[0]
    found = once_more["a.png"].pictures[""].astype(int)
    assert np.abs(found - twice).max() <= 2  # float16 between the two


def test_paste_back_into_the_photograph(reader, folder, tmp_path):
    sources, _ = find_sources([folder / "a.png"])
    results = run(reader, sources, tmp_path / "out", stronger(paste=True))
    photo = np.asarray(Image.open(folder / "a.png").convert("RGB"))
    pasted = np.asarray(Image.open(results["a.png"].files["photo"]))
    assert pasted.shape == photo.shape == (30, 40, 3)
    np.testing.assert_array_equal(pasted[:, :5], photo[:, :5])  # the square is the middle 30 x 30
    np.testing.assert_array_equal(pasted[:, 35:], photo[:, 35:])
    assert (pasted[12:18, 17:23] != photo[12:18, 17:23]).any()


def test_paste_back_of_an_inversion_finds_its_photograph(reader, folder, tmp_path):
    out = inverted(reader, folder, tmp_path / "inv")
    loaded = reader.load(out / "sub" / "b.jpg.safetensors")
    assert photo_path(loaded) == folder / "sub" / "b.jpg"
    results = run(reader, find_sources([out])[0], tmp_path / "out", stronger(paste=True))
    assert all(edited.files["photo"].is_file() for edited in results.values())
    os.rename(folder / "a.png", folder / "gone.png")
    moved = run(reader, find_sources([out])[0], tmp_path / "out2", stronger(paste=True))
    assert "a.png cannot be read" in moved["a.png"].lost[0]
    assert "photo" not in moved["a.png"].files
    assert moved["a.png"].written
    (tmp_path / "alone.safetensors").write_bytes((out / "a.png.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"the photograph of .*alone.safetensors is not known"):
        photo_path(reader.load(tmp_path / "alone.safetensors"))


def test_a_pair_is_cut_alike(reader, tmp_path, picture):
    """The detector must not see an edit where there is none: A' takes the square of A."""
    looks: list[str] = []

    class Nervous:
        def faces(self, image, *, wanted=1):
            from padinv.runtime.alignment.face_detector import Face
            from padinv.runtime.alignment.templates import FACES

            looks.append("")
            return [Face(np.array(FACES) * (20 + 3 * len(looks)) + 5, 20, 0.9)]

    aligner = Aligner("faces", "always", detector=Nervous())  # type: ignore[arg-type]
    pair_reader = Reader(reader.model, aligner)
    picture(60, 50).save(tmp_path / "a.png")
    picture(60, 50).save(tmp_path / "same.png")
    first = pair_reader.load(tmp_path / "a.png")
    second = pair_reader.load(tmp_path / "same.png", like=first)
    assert len(looks) == 1
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.item["transform"] == second.item["transform"]
    assert first.inversion is not None
    assert first.inversion.items[0]["transform"] == first.item["transform"]
    picture(61, 50).save(tmp_path / "larger.png")
    pair_reader.load(tmp_path / "larger.png", like=first)
    assert len(looks) == 2


def test_masks(reader, tmp_path, picture):
    picture(40, 30).save(tmp_path / "a.png")
    loaded = reader.load(tmp_path / "a.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[:, 5:20] = 255  # the left half of the square that is cut out
    Image.fromarray(mask).save(tmp_path / "photo-mask.png")
    found = read_mask(tmp_path / "photo-mask.png", loaded, SPEC.image_size)
    assert found.shape == (16, 16)
    assert found[:, :6].min() > 0.95
    assert found[:, 10:].max() < 0.05
    Image.fromarray(mask[:, 5:35]).resize((64, 64)).save(tmp_path / "square.png")
    assert np.abs(read_mask(tmp_path / "square.png", loaded, 16) - found).mean() < 0.05
    Image.new("L", (40, 31), 255).save(tmp_path / "odd.png")
    with pytest.raises(InputError, match=r"has 40 x 31 pixels; it must be square, or of the size of"):
        read_mask(tmp_path / "odd.png", loaded, 16)
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match="is black on the whole face"):
        read_mask(tmp_path / "black.png", loaded, 16)


def test_closing_early_leaves_whole_files_only(reader, tmp_path, picture):
    (tmp_path / "in").mkdir()
    for i in range(12):
        picture(16, 16, seed=i).save(tmp_path / "in" / f"{i:02d}.png")
    sources, _ = find_sources([tmp_path / "in"])
    with ResultsLog(tmp_path / "out") as log:
        stream = edit_files(reader, [Job(s, s.name) for s in sources], stronger(), log, batch_size=2)
        next(stream)
        stream.close()
    files = list((tmp_path / "out").glob("*.png"))
    assert 0 < len(files) < 12
    for path in files:
        Image.open(path).load()
    rest = run(reader, sources, tmp_path / "out", stronger())
    assert sum(edited.written for edited in rest.values()) == 12 - len(files)


def test_results_files_of_others_do_not_name_photographs(reader, folder, tmp_path):
    out = inverted(reader, folder, tmp_path / "inv")
    (out / "results.jsonl").write_text(json.dumps({"outputs": {"inversion": {"file": "a.png.safetensors"}}}))
    with pytest.raises(InputError, match="is not known"):
        photo_path(reader.load(out / "a.png.safetensors"))
