from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_cards import cards
from report_cards import pictures as pictures_of
from tiny_bundle import write_tiny_bundle


@pytest.fixture
def pictures(tmp_path, picture) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    picture(40, 32, seed=1).save(folder / "a.jpg")
    picture(30, 30, seed=2).save(folder / "sub" / "b.png")
    return folder


@pytest.fixture
def invert(run_cli, tiny_bundle):
    def run(*arguments: object, model: Path = tiny_bundle):
        return run_cli("invert", *arguments, "--model", model, "--threads", 1)

    return run


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def one_sentence(text: str) -> str:
    assert "Traceback" not in text
    assert text.count("\n") == 1, text
    assert text.startswith("padinv: ")
    return text.strip()


def test_the_main_job(invert, pictures, tmp_path):
    out = tmp_path / "out"
    result = invert(pictures, "--out", out)
    assert result.code == 0, result.err
    assert result.err == ""
    assert "2 inverted" in result.out
    assert tree(out) == [
        "a.jpg.png", "a.jpg.safetensors", "contact-sheet.png", "report.html", "results.jsonl", "sub/b.png.png",
        "sub/b.png.safetensors",
    ]  # fmt: skip
    html = (out / "report.html").read_text()
    assert [card["n"] for card in cards(html)] == ["a.jpg", "sub/b.png"]
    assert len(pictures_of(html)) == 4
    again = invert(pictures, "--out", out)
    assert again.code == 0
    assert "0 inverted; 2 already there" in again.out


def test_the_report_shows_earlier_pictures_too(invert, pictures, tmp_path, picture):
    out = tmp_path / "out"
    invert(pictures, "--out", out)
    picture(24, 24, seed=8).save(pictures / "new.png")
    assert invert(pictures, "--out", out).code == 0
    html = (out / "report.html").read_text()
    assert len(cards(html)) == 3
    assert all(card["a"].startswith("data:") and card["b"].startswith("data:") for card in cards(html))


def test_json_for_scripts(invert, pictures, tmp_path):
    (pictures / "bad.png").write_text("hello")
    result = invert(pictures, "--out", tmp_path / "out", "--json")
    assert result.code == 3
    summary = json.loads(result.out)
    assert (summary["schema"], summary["status"], summary["written"]) == (1, "partly", 2)
    assert summary["kept"] == 0
    assert summary["skipped"][0]["path"].endswith("bad.png")
    assert 0 < summary["mse"] < 4
    assert summary["backend"] == "cpu"


def test_formats_and_no_report(invert, pictures, tmp_path):
    result = invert(
        pictures / "a.jpg",
        "--out",
        tmp_path / "o",
        "--format",
        "webp",
        "--no-report",
        "--no-sheet",
        "--dtype",
        "float32",
    )
    assert result.code == 0, result.err
    assert tree(tmp_path / "o") == ["a.jpg.safetensors", "a.jpg.webp", "results.jsonl"]
    with Image.open(tmp_path / "o" / "a.jpg.webp") as image:
        assert (image.format, image.size) == ("WEBP", (16, 16))


def bomb(path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(path)


BAD_FILES = {
    "zero.png": (lambda p: p.touch(), r"zero.png is empty (0 bytes), so it was skipped"),
    "text.png": (
        lambda p: p.write_text("hello"),
        "text.png is not a PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC image (it is text)",
    ),
    "cut.jpg": (
        lambda p: p.write_bytes(p.with_name("a.jpg").read_bytes()[:400]),
        "cut.jpg is truncated and was skipped",
    ),
    "bomb.png": (bomb, "bomb.png has 30000 x 30000 pixels, more than the limit of 120 million, so it was not read"),
    "float.tif": (
        lambda p: Image.fromarray(np.ones((4, 4), np.float32)).save(p),
        "stores floating-point numbers, which is not supported",
    ),
    "pipe.png": (lambda p: os.mkfifo(p), "pipe.png cannot be read: it is not a regular file"),
    "link.png": (lambda p: p.symlink_to("nowhere"), "link.png is a link that leads nowhere, so it was skipped"),
}


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_a_bad_file_is_one_sentence_and_the_rest_is_done(invert, pictures, tmp_path, name):
    make, sentence = BAD_FILES[name]
    make(pictures / name)
    result = invert(pictures, "--out", tmp_path / "out")
    assert result.code == 3
    assert sentence in one_sentence(result.err)
    assert "2 inverted" in result.out
    assert "1 skipped" in result.out
    assert not any(name in path for path in tree(tmp_path / "out"))
    assert sentence.split(" (")[0] in (tmp_path / "out" / "report.html").read_text()


def test_only_bad_files_exit_1_and_leave_nothing(invert, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    result = invert(tmp_path / "text.png", "--out", tmp_path / "out")
    assert result.code == 1
    assert "text.png is not a" in result.err
    assert "every input was skipped, so nothing was written" in result.err
    assert not (tmp_path / "out").exists()


def test_an_empty_folder(invert, tmp_path):
    (tmp_path / "empty").mkdir()
    result = invert(tmp_path / "empty", "--out", tmp_path / "out")
    assert result.code == 1
    assert "no pictures found in" in one_sentence(result.err)
    assert not (tmp_path / "out").exists()


def test_a_missing_path_beside_a_good_one(invert, pictures, tmp_path):
    result = invert(tmp_path / "missing.png", pictures, "--out", tmp_path / "out")
    assert result.code == 3
    assert "missing.png does not exist, so it was skipped" in one_sentence(result.err)
    assert invert(tmp_path / "missing.png", "--out", tmp_path / "out2").code == 1


@contextlib.contextmanager
def as_nobody():
    """Without root's right to pass over permissions."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def open_up(path: Path) -> None:
    """Let every user reach into pytest's private temporary folders."""
    for folder in (path, *path.parents):
        if os.stat(folder).st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
        if folder.name.startswith("pytest-of-"):
            break


def test_an_unreadable_folder_and_file(invert, pictures, tmp_path):
    invert(pictures, "--out", tmp_path / "warm")  # everything is imported while it is still allowed
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    open_up(tmp_path)
    open_up(pictures)
    (pictures / "sub").chmod(0)
    with as_nobody():
        result = invert(pictures, "--out", out)
    (pictures / "sub").chmod(0o755)
    assert result.code == 3
    assert "sub cannot be listed: Permission denied, so it was skipped" in one_sentence(result.err)
    assert "1 inverted" in result.out


def test_an_unwritable_output_folder(invert, pictures, tmp_path):
    invert(pictures, "--out", tmp_path / "warm")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    open_up(tmp_path)
    open_up(pictures)
    with as_nobody():
        results = [invert(pictures, "--out", out) for out in (locked, locked / "deep")]
    assert [result.code for result in results] == [1, 1]
    assert "cannot write into" in one_sentence(results[0].err)
    assert "Permission denied; choose another --out" in results[0].err
    assert "cannot write into" in one_sentence(results[1].err)
    assert tree(locked) == []


def test_an_out_that_is_a_file(invert, pictures, tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        result = invert(pictures, "--out", out)
        assert result.code == 1
        assert "error: " in one_sentence(result.err)
        assert (tmp_path / "file").read_text() == "precious"
    assert (
        "file is a file, so no results can go there; give a folder with --out"
        in invert(pictures, "--out", tmp_path / "file").err
    )


def test_an_out_that_is_the_input(invert, pictures):
    before = tree(pictures)
    result = invert(pictures, "--out", pictures)
    assert result.code == 2
    assert "is the folder to read from; nothing was done" in one_sentence(result.err)
    assert tree(pictures) == before


def test_results_inside_the_input_are_not_read_again(invert, pictures):
    assert invert(pictures, "--out", pictures / "results").code == 0
    again = invert(pictures, "--out", pictures / "results")
    assert "0 inverted; 2 already there" in again.out


def test_a_bundle_with_one_flipped_byte(invert, pictures, tiny_bundle, tmp_path):
    data = bytearray((tiny_bundle / "generator.onnx").read_bytes())
    data[len(data) // 3] ^= 4
    (tiny_bundle / "generator.onnx").write_bytes(data)
    result = invert(pictures, "--out", tmp_path / "out")
    assert result.code == 1
    assert "generator.onnx has changed since the bundle was written" in one_sentence(result.err)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_is_noise(invert, pictures, tmp_path):
    noise = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for name in ("model.json", "encoder.onnx", "generator.onnx"):
        (tmp_path / "noise" / name).write_bytes(noise.bytes(3000))
    (tmp_path / "noise.bundle").write_bytes(noise.bytes(3000))
    sentences = {
        tmp_path / "noise": "model.json is damaged (it is not JSON), so the model was not loaded",
        tmp_path / "noise.bundle": "noise.bundle is a file, not a folder, so no model was loaded",
        tmp_path / "nowhere": "nowhere does not exist, so no model was loaded",
    }
    for path, sentence in sentences.items():
        result = invert(pictures, "--out", tmp_path / "out", model=path)
        assert result.code == 1
        assert sentence in one_sentence(result.err)
        assert not (tmp_path / "out").exists()


def test_a_full_disk_is_a_sentence(invert, pictures, tmp_path, monkeypatch):
    import padinv.runtime.files as files

    real = os.replace

    def replace(source, target):
        if str(target).endswith(".safetensors"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    result = invert(pictures, "--out", tmp_path / "out")
    assert result.code == 1
    assert "No space left on device" in one_sentence(result.err)
    monkeypatch.undo()
    assert not [name for name in tree(tmp_path / "out") if ".tmp" in name]
    assert invert(pictures, "--out", tmp_path / "out").code == 0


def test_control_characters_in_names_do_not_reach_the_terminal(invert, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[31m\nb.png").write_text("hello")
    result = invert(tmp_path / "in", "--out", tmp_path / "out")
    assert result.code == 1
    assert "\x1b" not in result.err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_exits_130_and_keeps_finished_work(tmp_path, picture, signum):
    bundle = write_tiny_bundle(tmp_path / "bundle")
    (tmp_path / "in").mkdir()
    for i in range(3000):
        picture(16, 16, seed=i % 7).save(tmp_path / "in" / f"{i:04d}.bmp")
    out = tmp_path / "out"
    # A test run that a shell put in the background ignores SIGINT, and children inherit that; a terminal's do not.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from padinv.cli.main import main; sys.argv = ['padinv', *sys.argv[1:]]; main()"
    arguments = ["invert", str(tmp_path / "in"), "--model", str(bundle), "--out", str(out), "--batch", "4"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "results.jsonl").is_file() or not (out / "results.jsonl").stat().st_size:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signum)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.strip() == "padinv: interrupted; everything finished so far is kept"
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert 0 < len(records) < 3000
    on_disk = {path.name.removesuffix(".png") for path in out.glob("*.bmp.png")}
    assert on_disk == {record["name"] for record in records}
    assert not list(out.glob(".padinv-*"))
    assert (out / "report.html").is_file()


def test_images_that_are_not_read_are_counted_in_one_sentence(invert, pictures, tmp_path):
    for name in ("x.gif", "y.CR2", "sub/z.cr2"):
        (pictures / name).write_bytes(b"GIF89a")
    result = invert(pictures, "--out", tmp_path / "out")
    assert result.code == 3
    assert "2 inverted" in result.out
    sentence = one_sentence(result.err)
    assert "holds 3 images of a format that is not read here (2 .cr2, 1 .gif), so they were skipped" in sentence
    for path in pictures.rglob("*.[jp][pn]g"):
        path.unlink()
    nothing = invert(pictures, "--out", tmp_path / "none")
    assert nothing.code == 1
    assert "holds 3 images of a format that is not read here" in one_sentence(nothing.err)


def test_a_model_without_a_template_warns_once_about_photographs(invert, tmp_path):
    skimage = pytest.importorskip("skimage", reason="needs scikit-image, whose portrait it reads")
    photo = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    (tmp_path / "in").mkdir()
    for i in range(3):
        photo.save(tmp_path / "in" / f"{i}.png")
    result = invert(tmp_path / "in", "--out", tmp_path / "out")
    assert result.code == 0
    assert result.err.count("shows a face, and this model names no alignment template") == 1
    quiet = invert(tmp_path / "in", "--out", tmp_path / "never", "--align", "never")
    assert quiet.err == ""
