from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_tiny_bundle

from padinv.runtime import Model
from padinv.runtime.batch.generate_files import parse_seeds
from padinv.runtime.errors import UsageError


@pytest.fixture
def generate(run_cli, tiny_bundle):
    return lambda *arguments: run_cli("generate", *arguments, "--model", tiny_bundle, "--threads", 1)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_seeds():
    assert parse_seeds("0-3,7, 9-9,2") == [0, 1, 2, 3, 7, 9]
    for bad in ("", "a", "3-1", "-1", "1-", "0-99999999", "4294967296", "1;2"):
        with pytest.raises(UsageError):
            parse_seeds(bad)


def test_samples_are_the_model_s(generate, tiny_bundle, tmp_path):
    result = generate("--seeds", "0-2,5", "--truncation", "0.7", "--out", tmp_path / "g", "--save-inversions")
    assert result.code == 0, result.err
    names = ["seed-0000", "seed-0001", "seed-0002", "seed-0005"]
    assert sorted(p.stem for p in (tmp_path / "g").glob("seed-*.png")) == names
    assert read(tmp_path / "g" / "contact-sheet.png").ndim == 3
    model = Model.load(tiny_bundle)
    expected = model.generate(model.sample([5], 0.7))[0]
    assert np.abs(read(tmp_path / "g" / "seed-0005.png") - expected).max() <= 1
    rendered = generate(tmp_path / "g" / "seed-0005.safetensors", "--out", tmp_path / "r")
    assert rendered.code == 0, rendered.err
    assert np.array_equal(read(tmp_path / "r" / "seed-0005.png"), read(tmp_path / "g" / "seed-0005.png"))
    assert not (tmp_path / "r" / "contact-sheet.png").exists()  # one picture is its own sheet
    assert generate("--seeds", "0-1", "--out", tmp_path / "n", "--no-sheet").code == 0
    assert not (tmp_path / "n" / "contact-sheet.png").exists()


def test_a_second_run_keeps_and_never_overwrites(generate, tmp_path):
    out = tmp_path / "g"
    generate("--seeds", "0-1", "--out", out)
    (out / "seed-0002.png").write_text("mine")
    result = generate("--seeds", "0-3", "--out", out, "--json")
    assert result.code == 3
    counts = json.loads(result.out)
    assert (counts["written"], counts["kept"], len(counts["skipped"])) == (1, 2, 1)
    assert "seed-0002.png exists and is not a result that this command made" in result.err
    assert (out / "seed-0002.png").read_text() == "mine"
    before = read(out / "seed-0000.png")
    assert generate("--seeds", "0", "--truncation", "0.1", "--out", out).code == 1
    assert np.array_equal(read(out / "seed-0000.png"), before)
    assert generate("--seeds", "0-3", "--out", out, "--overwrite").code == 0


def test_wrong_use(generate, tmp_path):
    (tmp_path / "file").write_text("x")
    assert generate("--seeds", "x").code == 2
    assert generate("a.safetensors", "--seeds", "1").code == 2
    assert generate("--truncation", "nan", "--out", tmp_path / "o").code == 2
    assert generate("--seeds", "0", "--out", tmp_path / "file").code == 1
    missing = generate(tmp_path / "no.safetensors", "--out", tmp_path / "o")
    assert missing.code == 1
    assert "does not exist, so no inversion was read" in missing.err


def test_an_inversion_of_another_generator_is_refused(generate, run_cli, tmp_path):
    other = write_tiny_bundle(tmp_path / "other", generator_hash="feed" * 16)
    run_cli("generate", "--seeds", "0", "--model", other, "--out", tmp_path / "g", "--save-inversions")
    result = generate(tmp_path / "g" / "seed-0000.safetensors", "--out", tmp_path / "r")
    assert result.code == 1
    assert "belongs to generator feedfeedfeed, not to generator 1f1f1f1f1f1f" in result.err
    assert not (tmp_path / "r").exists()


def test_info_on_a_bundle_whole_and_damaged(run_cli, tiny_bundle):
    result = run_cli("info", tiny_bundle)
    assert result.code == 0
    assert "tiny" in result.out
    facts = json.loads(run_cli("info", tiny_bundle, "--json").out)
    assert facts["kind"] == "bundle"
    assert facts["intact"] is True
    assert facts["padded_resolutions"] == [4, 8]
    (tiny_bundle / "encoder.onnx").write_bytes(b"x" * (tiny_bundle / "encoder.onnx").stat().st_size)
    damaged = run_cli("info", tiny_bundle)
    assert damaged.code == 1
    assert "encoder.onnx has changed since the bundle was written" in damaged.err


def test_info_on_an_inversion(run_cli, generate, tmp_path):
    generate("--seeds", "4", "--out", tmp_path / "g", "--save-inversions")
    facts = json.loads(run_cli("info", tmp_path / "g" / "seed-0004.safetensors", "--json").out)
    assert facts["kind"] == "inversion"
    assert facts["images"] == 1
    assert facts["items"][0]["seed"] == 4


def test_info_on_a_run_folder(run_cli, tmp_path):
    (tmp_path / "config.json").write_text('{"preset": "ffhq", "batch": 8}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    facts = json.loads(run_cli("info", tmp_path, "--json").out)
    assert facts["kind"] == "run"
    assert facts["config"]["preset"] == "ffhq"
    assert facts["last_metrics"] == {"step": 2}


def test_info_on_what_is_none_of_padinv_s(run_cli, tmp_path, picture):
    from safetensors.numpy import save_file

    picture().save(tmp_path / "a.gif")
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "b.safetensors")
    (tmp_path / "config.json").write_text("nonsense")
    (tmp_path / "c").mkdir()
    for path, sentence in (
        (tmp_path / "a.gif", "is a GIF picture; it is not a checkpoint"),
        (tmp_path / "b.safetensors", "holds no network"),
        (tmp_path / "missing", "does not exist"),
        (tmp_path, "config.json is damaged"),
        (tmp_path / "c", "is neither a model bundle"),
    ):
        result = run_cli("info", path)
        assert result.code == 1
        assert sentence in result.err
        assert result.err.count("\n") == 1
