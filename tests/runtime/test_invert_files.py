from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from padinv.runtime import Inversion, Model
from padinv.runtime.batch.engine import Done, Kept, Skipped
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.invert_files import Options, invert_files
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.errors import OutputError, UsageError
from padinv.runtime.images import metrics, read_image, read_prepared, to_float


@pytest.fixture
def model(tiny_bundle) -> Model:
    return Model.load(tiny_bundle, threads=1)


@pytest.fixture
def sources(tmp_path, picture) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i in range(4):
        picture(40, 32, seed=i).save(folder / f"{i}.png")
    picture(20, 20, seed=9).save(folder / "sub" / "a.jpg")
    return folder


def run(model: Model, sources: Path, out: Path, **options) -> list:
    log = ResultsLog(out)
    try:
        return list(invert_files(model, gather([sources], out).files, log, Options(**options)))
    finally:
        log.close()


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def kinds(events: list) -> dict[str, int]:
    return {kind.__name__: n for kind in (Done, Kept, Skipped) if (n := sum(isinstance(e, kind) for e in events))}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_picture_gets_its_files_and_true_figures(model, sources, tmp_path):
    out = tmp_path / "out"
    assert kinds(run(model, sources, out, batch_size=2)) == {"Done": 5}
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    names = ["0.png", "1.png", "2.png", "3.png", "sub/a.jpg"]
    assert files == sorted([f"{n}{s}" for n in names for s in (".png", ".safetensors")] + ["results.jsonl"])
    records = {record["name"]: record for record in lines(out)}
    assert sorted(records) == names
    for name, record in records.items():
        prepared = read_prepared(sources / name, 16)
        x = to_float(prepared.pixels[None])
        inversion = Inversion.load(out / f"{name}.safetensors")
        y = model.generate_float(inversion)
        assert record["mse"] == pytest.approx(metrics.mse(x, y)[0], rel=0.02)
        assert record["psnr"] == pytest.approx(metrics.psnr(x, y)[0], abs=0.1)
        assert record["ssim"] == pytest.approx(metrics.ssim(x, y)[0], abs=0.01)
        assert record["size"] == list(prepared.size)
        assert record["seconds"] > 0
        assert inversion.items[0]["source"] == name
        written = np.asarray(read_image(out / f"{name}.png")[0]).astype(int)
        assert np.abs(written - model.generate(inversion)[0]).max() <= 1


def test_a_second_run_does_nothing(model, sources, tmp_path):
    run(model, sources, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    assert kinds(run(model, sources, tmp_path / "out")) == {"Kept": 5}
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"fit": "pad"}, 5),
        ({"dtype": "float32"}, 5),
        ({"batch_size": 3}, 0),
        ({"format": "webp"}, 5),
        ({"overwrite": True}, 5),
    ],
)
def test_changed_options_redo_what_they_change(model, sources, tmp_path, change, redone):
    run(model, sources, tmp_path / "out")
    assert kinds(run(model, sources, tmp_path / "out", **change)).get("Done", 0) == redone
    assert len(lines(tmp_path / "out")) == 5


def test_a_changed_source_or_a_lost_output_is_redone(model, sources, tmp_path, picture):
    out = tmp_path / "out"
    run(model, sources, out)
    picture(40, 32, seed=77).save(sources / "0.png")
    os.utime(sources / "0.png", ns=(1, 1))
    (out / "1.png.safetensors").unlink()
    events = run(model, sources, out)
    assert kinds(events) == {"Done": 2, "Kept": 3}
    assert sorted(e.record["name"] for e in events if isinstance(e, Done)) == ["0.png", "1.png"]


def test_results_of_another_model_are_kept_unless_allowed(model, sources, tmp_path):
    from tiny_bundle import write_tiny_bundle

    run(model, sources, tmp_path / "out")
    other = Model.load(write_tiny_bundle(tmp_path / "other", seed=1), threads=1)
    before = snapshot(tmp_path / "out")
    assert kinds(run(other, sources, tmp_path / "out")) == {"Skipped": 5}
    assert snapshot(tmp_path / "out") == before
    assert kinds(run(other, sources, tmp_path / "out", overwrite=True)) == {"Done": 5}


def test_foreign_files_are_left_alone_unless_allowed(model, sources, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.png.png").write_text("mine")
    events = run(model, sources, out)
    assert kinds(events) == {"Done": 4, "Skipped": 1}
    (skipped,) = [e for e in events if isinstance(e, Skipped)]
    assert "0.png.png exists and is not a result that this command made of the same input" in skipped.reason
    assert "--overwrite" in skipped.reason
    assert (out / "0.png.png").read_text() == "mine"
    assert kinds(run(model, sources, out, overwrite=True)) == {"Done": 5}
    assert (out / "0.png.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_changed_by_hand_is_foreign(model, sources, tmp_path):
    run(model, sources, tmp_path / "out")
    (tmp_path / "out" / "2.png.png").write_text("retouched")
    assert kinds(run(model, sources, tmp_path / "out")) == {"Kept": 4, "Skipped": 1}
    assert (tmp_path / "out" / "2.png.png").read_text() == "retouched"


def test_another_source_of_the_same_name_is_not_overwritten(model, sources, tmp_path, picture):
    run(model, sources, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    (tmp_path / "in2").mkdir()
    picture(30, 30, seed=5).save(tmp_path / "in2" / "0.png")
    assert kinds(run(model, tmp_path / "in2", tmp_path / "out")) == {"Skipped": 1}
    assert snapshot(tmp_path / "out") == before


def test_bad_files_are_skipped_and_the_rest_done(model, sources, tmp_path):
    (sources / "text.png").write_text("hello")
    (sources / "zero.jpg").touch()
    data = (sources / "1.png").read_bytes()
    (sources / "1.png").write_bytes(data[: len(data) // 2])
    events = run(model, sources, tmp_path / "out", batch_size=2)
    assert kinds(events) == {"Done": 4, "Skipped": 3}
    assert len(lines(tmp_path / "out")) == 4
    assert not list((tmp_path / "out").glob("text*"))


def test_a_folder_with_the_name_of_a_result_is_no_collision(model, sources, tmp_path, picture):
    (sources / "0.png.png").mkdir()
    picture(20, 20).save(sources / "0.png.png" / "inner.png")
    events = run(model, sources, tmp_path / "out")
    assert kinds(events) == {"Done": 5, "Skipped": 1}


def test_stopping_half_way_keeps_what_is_finished(model, sources, tmp_path):
    out = tmp_path / "out"
    log = ResultsLog(out)
    events = invert_files(model, gather([sources], out).files, log, Options(batch_size=2))
    next(events)
    events.close()
    log.close()
    assert len(lines(out)) == 2
    assert not list(out.rglob(".padinv-*"))
    assert kinds(run(model, sources, out)) == {"Done": 3, "Kept": 2}


def test_an_interruption_while_writing_records_what_was_written(model, sources, tmp_path, monkeypatch):
    import padinv.runtime.batch.engine as pipeline

    real, count = pipeline.wait, [0]

    def interrupted(futures):
        result = real(futures)
        count[0] += 1
        if count[0] == 1:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(pipeline, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(model, sources, tmp_path / "out", batch_size=2)
    monkeypatch.undo()
    assert len(lines(tmp_path / "out")) == 2
    assert kinds(run(model, sources, tmp_path / "out")) == {"Done": 3, "Kept": 2}


def test_a_killed_run_is_picked_up(model, sources, tmp_path):
    """Written but not recorded, a torn last line, a temporary file: what SIGKILL leaves."""
    out = tmp_path / "out"
    run(model, sources, out)
    whole = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    leftover = out / f".padinv-{dead_process()}-abc.tmp.png"
    leftover.write_bytes(b"half")
    (out / "results.jsonl").write_bytes(b"".join(whole[:-1]) + whole[-1][:40])
    assert kinds(run(model, sources, out)) == {"Done": 1, "Kept": 4}
    assert len(lines(out)) == 5
    assert not leftover.exists()


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_an_announcement_of_an_earlier_run_proves_nothing(model, sources, tmp_path):
    """A list of names that a killed run left must not give away somebody's files."""
    out = tmp_path / "out"
    out.mkdir()
    names = [f"{i}.png.{suffix}" for i in range(4) for suffix in ("png", "safetensors")]
    (out / ".padinv-pending").write_text("".join(f"{name}\n" for name in names))
    for name in names:
        (out / name).write_text("mine")
    assert kinds(run(model, sources, out)) == {"Done": 1, "Skipped": 4}
    assert {(out / name).read_text() for name in names} == {"mine"}


def test_killed_results_of_another_folder_are_not_taken_over(model, sources, tmp_path, picture):
    out = tmp_path / "out"
    run(model, sources, out)
    (out / "results.jsonl").unlink()  # killed before the first record
    before = snapshot(out)
    (tmp_path / "in2").mkdir()
    picture(30, 30, seed=5).save(tmp_path / "in2" / "0.png")
    assert kinds(run(model, tmp_path / "in2", out)) == {"Skipped": 1}
    assert snapshot(out) == before
    assert kinds(run(model, sources, out)) == {"Done": 5}


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_a_killed_result_that_was_changed_by_hand_is_left_alone(model, sources, tmp_path, format):
    out = tmp_path / "out"
    run(model, sources, out, format=format)
    (out / "results.jsonl").unlink()
    path = out / f"0.png.{format}"
    with Image.open(path) as image:
        note, exif = image.info.get("padinv"), image.getexif().tobytes()
        retouched = image.convert("L").convert("RGB")
    info = PngInfo()
    info.add_text("padinv", str(note))
    retouched.save(path, **({"pnginfo": info} if format == "png" else {"exif": exif}))  # an editor that keeps texts
    assert kinds(run(model, sources, out, format=format)) == {"Done": 4, "Skipped": 1}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_deleted_and_emptied_results_do_not_count_as_done(model, sources, tmp_path, damage):
    out = tmp_path / "out"
    run(model, sources, out)
    damage(out / "0.png.safetensors")
    assert kinds(run(model, sources, out))["Kept"] == 4


def test_a_foreign_results_file_stops_everything(model, sources, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl").write_text('{"score": 1}\n')
    with pytest.raises(OutputError, match=r"results\.jsonl exists and is not padinv's, so nothing was written"):
        run(model, sources, out)
    assert (out / "results.jsonl").read_text() == '{"score": 1}\n'


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    first = ResultsLog(tmp_path / "out")
    with pytest.raises(OutputError, match="another padinv is writing into"):
        ResultsLog(tmp_path / "out")
    first.close()
    ResultsLog(tmp_path / "out").close()


def test_a_journal_without_results_leaves_no_folder(tmp_path):
    ResultsLog(tmp_path / "new" / "deep").close()
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked():
    for bad in ({"fit": "stretch"}, {"format": "gif"}, {"dtype": "int8"}, {"batch_size": 0}):
        with pytest.raises(UsageError):
            Options(**bad)
