"""Measuring models: figures, interruptions, reuse, and the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import lively_encoder, lively_generator, write_run
from tiny_training import picture_bytes, small_widths, write_pictures

from padinv.checkpoints import generator_hash, load_encoder, load_generator, save_encoder
from padinv.evaluation.evaluate import measure
from padinv.evaluation.metrics import open_metrics
from padinv.evaluation.models import BundleSubject, open_subject
from padinv.evaluation.results import SECONDS, paired
from padinv.losses.backbones import squeezenet_features
from padinv.losses.identity import IdentityLoss
from padinv.losses.lpips import LPIPS
from padinv.models.encoder import EncoderConfig
from padinv.models.face_recognition import MobileFaceNet, load_face_network
from padinv.picture_sources import open_pictures
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.images import metrics, to_float
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


@pytest.fixture(autouse=True)
def _narrow_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.models.fast_encoder.widths", small_widths)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures.zip", 11)


@pytest.fixture
def squeeze(tmp_path: Path) -> Path:
    """SqueezeNet at random weights, in torchvision's layout."""
    torch.manual_seed(0)
    state = {f"features.{name}": tensor for name, tensor in squeezenet_features().state_dict().items()}
    torch.save(state, tmp_path / "squeezenet1_1.pth")
    return tmp_path / "squeezenet1_1.pth"


class Stops:
    """Called with progress; interrupts when so many pictures are done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, count: int) -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


class Counts(BundleSubject):
    """A bundle that counts the pictures it is given."""

    def reconstruct(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        self.seen = getattr(self, "seen", 0) + len(x)
        return super().reconstruct(x)


def counting(bundle: Path) -> Counts:
    subject = open_subject(bundle, "cpu", 1)
    assert isinstance(subject, BundleSubject)
    subject.__class__ = Counts
    assert isinstance(subject, Counts)
    return subject


def test_the_figures_of_a_bundle_are_those_of_its_pictures(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    subject = open_subject(tiny_bundle, "cpu", 1)
    source = open_pictures(pictures)
    found = open_metrics(subject.spec, backend="cpu")
    result = measure(subject, source, found, tmp_path / "out", batch=4)
    assert result.names == [source.name(k) for k in range(len(source))]
    assert result.skipped == []
    x = to_float(np.stack([source.read(k, 16) for k in range(11)]))
    y, _ = subject.reconstruct(x)
    np.testing.assert_allclose(result.columns["mse"], metrics.mse(x, y), rtol=1e-5)
    np.testing.assert_allclose(result.columns["psnr"], metrics.psnr(x, y), rtol=1e-5)
    np.testing.assert_allclose(result.columns["ssim"], metrics.ssim(x, y), rtol=1e-4)
    rounded = np.rint(np.clip(y, -1, 1) * 127.5 + 127.5) / 127.5 - 1
    assert np.abs(result.columns["mse"] - metrics.mse(x, rounded)).min() > 1e-9  # not of pictures rounded to 8 bits
    assert (result.columns[SECONDS] > 0).all()

    with open(result.csv, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["name", "mse", "psnr", "ssim", "seconds"]
    assert [row[0] for row in rows[1:]] == [source.name(k) for k in range(len(source))]
    assert float(rows[3][1]) == result.columns["mse"][2]
    document = json.loads(result.json.read_text())
    assert document["means"]["mse"] == pytest.approx(result.columns["mse"].mean())
    assert set(document["missing"]) >= {"lpips_alex", "identity"}


def test_values_beyond_the_range_are_clamped(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    subject = open_subject(tiny_bundle, "cpu", 1)
    subject.reconstruct = lambda x: (np.where(x < 0, -7.0, 7.0).astype(np.float32), 0.01)  # type: ignore[method-assign]
    result = measure(subject, open_pictures(pictures), open_metrics(subject.spec, backend="cpu"), tmp_path / "out")
    assert result.columns["mse"].max() <= 1


def test_an_interrupted_measurement_is_gone_on_with(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    source, out = open_pictures(pictures), tmp_path / "out"
    found = open_metrics(open_subject(tiny_bundle, "cpu").spec, backend="cpu")
    with pytest.raises(KeyboardInterrupt):
        measure(counting(tiny_bundle), source, found, out, batch=2, advance=Stops(6))
    (partial,) = out.iterdir()
    assert partial.name.startswith(".padinv-eval-")
    with open(partial, "a") as file:
        file.write('{"name": "p009.png", "values": {"mse": 0.')  # torn by a crash
    second = counting(tiny_bundle)
    result = measure(second, source, found, out, batch=2)
    assert result.resumed == 6
    assert second.seen == 2 + 5  # one warm-up batch, and what was left
    assert not partial.exists()
    whole = measure(counting(tiny_bundle), source, found, tmp_path / "other", batch=2)
    for name, column in whole.scores().items():
        np.testing.assert_allclose(result.columns[name], column, rtol=1e-6)
    assert result.names == whole.names


def test_finished_results_are_read_back_and_changed_pictures_measured_anew(tiny_bundle: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "faces", tmp_path / "out"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.png").write_bytes(picture_bytes(k))
    found = open_metrics(open_subject(tiny_bundle, "cpu").spec, backend="cpu")
    first = measure(counting(tiny_bundle), open_pictures(folder), found, out)
    again = counting(tiny_bundle)
    second = measure(again, open_pictures(folder), found, out)
    assert not hasattr(again, "seen")
    assert second.csv == first.csv
    assert {name: list(column) for name, column in second.columns.items()} == {
        name: list(column) for name, column in first.columns.items()
    }
    assert measure(again, open_pictures(folder), found, out, fresh=True).resumed == 0
    assert again.seen == 6
    (folder / "1.png").write_bytes(picture_bytes(77))
    third = measure(counting(tiny_bundle), open_pictures(folder), found, out)
    assert third.csv != first.csv
    assert third.columns["mse"][1] != first.columns["mse"][1]
    first.csv.write_text("name,mse\n")  # damaged: measured again rather than believed
    (folder / "1.png").write_bytes(picture_bytes(1))
    assert len(measure(counting(tiny_bundle), open_pictures(folder), found, out).names) == 3


@torch.no_grad()
def test_a_run_is_measured_through_torch(tmp_path: Path, pictures: Path, squeeze: Path) -> None:
    run = write_run(tmp_path / "run", EncoderConfig("fast"), SPEC)
    torch.manual_seed(1)
    network = MobileFaceNet()
    torch.save(network.state_dict(), tmp_path / "face.pt")
    subject = open_subject(run, "cpu")
    assert subject.backend == "torch-cpu"
    source = open_pictures(pictures)
    found = open_metrics(subject.spec, {"squeeze": squeeze}, tmp_path / "face.pt", "cpu")
    assert [metric.name for metric in found.found] == ["mse", "psnr", "ssim", "lpips_squeeze", "identity"]
    result = measure(subject, source, found, tmp_path / "out", batch=4)

    x = torch.from_numpy(to_float(np.stack([source.read(k, 32) for k in range(11)])))
    encoder, generator = load_encoder(run / "encoder.safetensors"), load_generator(run / "generator.safetensors")
    y = generator.synthesis(*encoder(x)).clamp(-1, 1)
    expected = (x - y).square().mean(dim=(1, 2, 3)).double()
    np.testing.assert_allclose(result.columns["mse"], expected, rtol=1e-4)
    np.testing.assert_allclose(result.columns["lpips_squeeze"], LPIPS("squeeze", squeeze)(y, x), rtol=1e-3)
    similarity = 1 - IdentityLoss(load_face_network(tmp_path / "face.pt"), None)(y, x)
    np.testing.assert_allclose(result.columns["identity"], similarity, atol=1e-4)


def test_outputs_above_256_px_are_measured_at_256(tmp_path: Path) -> None:
    spec = ModelSpec(512, (4,) * 8, z_dim=8, w_dim=8, mapping_layers=2)
    subject = open_subject(write_run(tmp_path / "run", EncoderConfig("fast"), spec), "cpu")
    y, _ = subject.reconstruct(np.zeros((1, 3, 256, 256), np.float32))
    assert y.shape == (1, 3, 256, 256)
    encoder = lively_encoder(generator := lively_generator(spec), EncoderConfig("fast"))
    with torch.no_grad():
        full = generator.synthesis(*encoder(torch.zeros(1, 3, 256, 256)))
    np.testing.assert_allclose(y, torch.nn.functional.avg_pool2d(full, 2), atol=1e-4)


def test_the_reference_implementations_protocol_reduces_and_clamps_differently(tmp_path: Path) -> None:
    spec = ModelSpec(512, (4,) * 8, z_dim=8, w_dim=8, mapping_layers=2)
    run = write_run(tmp_path / "run", EncoderConfig("fast"), spec)
    pixels = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    (tmp_path / "data").mkdir()
    Image.fromarray(pixels).save(tmp_path / "data" / "a.png")
    source = open_pictures(tmp_path / "data")
    ours, theirs = (open_subject(run, "cpu", protocol=name) for name in ("paper", "reference"))
    x = to_float(source.read(0, 256)[None])
    encoder = lively_encoder(generator := lively_generator(spec), EncoderConfig("fast"))
    with torch.no_grad():
        full = generator.synthesis(*encoder(torch.from_numpy(x))).numpy()
    y, _ = theirs.reconstruct(x)
    np.testing.assert_allclose(y, full[:, :, ::2, ::2], atol=1e-4)
    assert not np.allclose(ours.reconstruct(x)[0], y, atol=1e-3)

    found = open_metrics(spec, backend="cpu")
    for subject in (ours, theirs):
        subject.reconstruct = lambda x: (np.full_like(x, 3.0), 0.01)  # type: ignore[method-assign]
    clamped = measure(ours, source, found, tmp_path / "out")
    free = measure(theirs, source, found, tmp_path / "out", protocol="reference")
    area = pixels.reshape(256, 2, 256, 2, 3).astype(np.float64).mean(axis=(1, 3)) / 127.5 - 1
    assert free.columns["mse"][0] == pytest.approx(np.square(3.0 - area).mean(), rel=5e-3)  # pixels are rounded
    assert clamped.columns["mse"][0] == pytest.approx(np.square(1.0 - x).mean(), rel=1e-4)
    assert (clamped.conditions["protocol"], free.conditions["protocol"]) == ("paper", "reference")
    assert clamped.json != free.json


def test_the_reference_protocol_measures_the_best_encoder_of_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", EncoderConfig("fast"))
    other = write_run(tmp_path / "other", EncoderConfig("fast"))
    generator = lively_generator()
    save_encoder(run / "encoder-best.safetensors", lively_encoder(generator, EncoderConfig("fast"), seed=9),
                 generator_hash(generator))  # fmt: skip
    x = np.zeros((1, 3, 32, 32), np.float32)
    asked = ((run, "paper"), (run, "reference"), (other, "reference"))
    last, best, plain = (open_subject(path, "cpu", protocol=name) for path, name in asked)
    assert np.array_equal(last.reconstruct(x)[0], plain.reconstruct(x)[0])
    assert not np.allclose(last.reconstruct(x)[0], best.reconstruct(x)[0], atol=1e-3)
    assert "encoder-best.safetensors" in best.notes[0]


def test_what_cannot_be_measured_is_named(tmp_path: Path, squeeze: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    found = open_metrics(ModelSpec(16, (4, 4, 4)), backend="cpu")
    assert [metric.name for metric in found.found] == ["mse", "psnr", "ssim"]
    assert "alexnet-owt" in found.missing["lpips_alex"]
    assert "--identity-weights" in found.missing["identity"]
    assert "window" in open_metrics(ModelSpec(8, (4, 4)), backend="cpu").missing["ssim"]
    with pytest.raises(UsageError, match="17 px"):  # asked for outright, and impossible
        open_metrics(ModelSpec(16, (4, 4, 4)), {"squeeze": squeeze}, backend="cpu")
    with pytest.raises(UsageError, match="alex, vgg, squeeze"):
        open_metrics(SPEC, {"resnet": squeeze})
    with pytest.raises(InputError, match="does not exist"):
        open_metrics(SPEC, {"alex": tmp_path / "nowhere.pth"})
    # In the hub cache it is found without being named.
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    squeeze.rename(tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "lpips_squeeze" in [metric.name for metric in open_metrics(SPEC, backend="cpu").found]


def test_models_of_different_size_or_pictures_are_not_compared(
    tiny_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    subject = open_subject(tiny_bundle, "cpu", 1)
    found = open_metrics(subject.spec, backend="cpu")
    one = measure(subject, open_pictures(pictures), found, tmp_path / "a")
    few = measure(subject, open_pictures(pictures), found, tmp_path / "a", limit=5)
    assert paired(one, few, 200)["mse"].difference.count == 5
    few.conditions["size"] = 99
    with pytest.raises(MismatchError, match=r"16 px and .* at 99"):
        paired(one, few)
    few.conditions["size"] = 16
    few.names = [f"other-{name}" for name in few.names]
    with pytest.raises(MismatchError, match="one picture in common"):
        paired(one, few)


def test_two_models_from_the_command_line(
    run_cli: Callable, tiny_bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    args = ("eval", tiny_bundle, "--data", pictures, "--out", tmp_path / "out", "--backend", "cpu", "--resamples", 200)
    result = run_cli(*args, "--vs", tiny_bundle)
    assert result.code == 0, result.err
    for word in (
        "MSE (lower is better)",
        "PSNR (dB) (higher is better)",
        "difference",
        "ratio",
        "1.000 [1.000, 1.000]",
        "time per image",
        "11 pictures",
    ):
        assert word in result.out
    assert "not measured: lpips_vgg: " in result.out
    document = json.loads(run_cli(*args, "--json").out)
    mse = document["models"][0]["metrics"]["mse"]
    assert mse["low"] <= mse["value"] <= mse["high"]
    assert mse["count"] == 11
    assert document["bootstrap"] == {"resamples": 200, "seed": 0, "confidence": 0.95}
    assert "comparison" not in document
    again = run_cli(*args)
    assert "11 of them measured before" in again.out
    files = sorted(path.suffix for path in (tmp_path / "out").iterdir())
    assert files == [".csv", ".html", ".html", ".json", ".json"]


def test_pictures_are_named_first_and_the_older_form_measures_the_same(
    run_cli: Callable, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.png").write_bytes(picture_bytes(seed))
    options = ("--backend", "cpu", "--json", "--resamples", 100)

    def measured(*arguments: object) -> dict:
        result = run_cli("eval", *arguments, "--out", tmp_path / f"out{len(list(tmp_path.iterdir()))}", *options)
        assert result.code == 0, result.err
        document = json.loads(result.out)
        assert (document["schema"], document["status"], document["skipped"]) == (1, "done", [])
        return {key: document["results"][0][key] for key in ("name", "pictures")} | {
            name: entry["value"] for name, entry in document["results"][0]["metrics"].items()
        }

    new = measured(folder, "--model", tiny_bundle)
    assert new == measured(tiny_bundle, "--data", folder)
    assert new == measured("--data", folder, "--model", tiny_bundle)
    assert new == measured(*sorted(folder.iterdir()), "--model", tiny_bundle)
    assert new == measured(f"{folder}/*.png", "--model", tiny_bundle)
    assert measured(folder / "2.png", "--model", tiny_bundle)["pictures"] == 1
    for wrong in ((), (folder, "--data", folder, "--model", tiny_bundle), (folder, folder, "--data", folder)):
        assert run_cli("eval", *wrong).code == 2
    missing = run_cli("eval", folder / "2.png", folder / "none.png", "--model", tiny_bundle)
    assert missing.code == 1
    assert "none.png does not exist" in missing.err


def test_damaged_pictures_are_skipped_and_named(run_cli: Callable, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "good.png").write_bytes(picture_bytes(1))
    (folder / "cut.png").write_bytes(picture_bytes(2)[:200])
    (folder / "empty.jpg").touch()
    Image.new("RGB", (20, 20)).save(folder / "plain.png")
    args = ("eval", tiny_bundle, "--data", folder, "--out", tmp_path / "out", "--backend", "cpu")
    result = run_cli(*args)
    assert result.code == 3
    assert "cut.png" in result.err
    assert "empty.jpg is empty" in result.err
    assert "2 pictures" in result.out
    assert run_cli(*args).code == 3  # also when all of it was done before
    for name in ("good.png", "plain.png"):
        (folder / name).write_bytes(b"")
    result = run_cli(*args)
    assert result.code == 1
    assert "none of the pictures" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("extra", "code", "sentence"),
    [
        (("--lpips-weights", "squeeze"), 2, "NAME=FILE"),
        (("--lpips-weights", "resnet=x"), 2, "alex, vgg, squeeze"),
        (("--identity-weights", "nowhere.pt"), 1, "nowhere.pt does not exist"),
        (("--vs", "nowhere"), 1, "nowhere does not exist"),
        (("--precision", "fp16"), 1, "fp16"),
    ],
)
def test_wrong_use_is_one_sentence(
    run_cli: Callable, tiny_bundle: Path, pictures: Path, tmp_path: Path, extra: tuple, code: int, sentence: str
) -> None:
    result = run_cli("eval", tiny_bundle, "--data", pictures, "--out", tmp_path / "out", "--backend", "cpu", *extra)
    assert result.code == code
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_places_that_do_not_work_are_one_sentence(
    run_cli: Callable, tiny_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    result = run_cli("eval", tiny_bundle, "--data", tmp_path / "nowhere")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "nowhere does not exist" in result.err
    result = run_cli("eval", tiny_bundle, "--data", pictures, "--out", pictures, "--backend", "cpu")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "is a file" in result.err
    run = write_run(tmp_path / "run", EncoderConfig("fast"), SPEC)
    result = run_cli("eval", run, "--data", pictures, "--backend", "trt")
    assert (result.code, result.err.count("\n")) == (2, 1)
    result = run_cli("eval", run, "--vs", tiny_bundle, "--data", pictures, "--out", tmp_path / "o", "--backend", "cpu")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "only models of one size" in result.err


def test_a_bundle_is_measured_where_torch_is_not_installed(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from padinv.cli.main import main; main()"
    args = ("eval", tiny_bundle, "--data", pictures, "--out", tmp_path / "out", "--backend", "cpu")
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MSE" in done.stdout
    assert "lpips_alex: LPIPS 'alex' needs the package 'torch'" in done.stdout
    (tmp_path / "x.pt").write_bytes(b"x")
    asked = subprocess.run(
        [sys.executable, "-c", code, *map(str, args), "--identity-weights", str(tmp_path / "x.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert "identity similarity needs the package 'torch'" in asked.stderr


GROUPED = ["easy/0.png", "easy/1.png", "hard/2.png", "hard/3.png"]


@pytest.fixture
def grouped(tmp_path: Path, picture: Callable[..., Any]) -> Path:
    """Four pictures in two folders, and a table that groups them in another way."""
    for k, name in enumerate(GROUPED):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(30, 30, seed=k).save(tmp_path / "in" / name)
    (tmp_path / "groups.csv").write_text("file,glasses,<b>\n0.png,yes,x\neasy/1.png,no,\n2.png,yes,x\n3.png,no,x\n")
    return tmp_path / "in"


def test_the_page_shows_histograms_groups_and_the_ends(
    run_cli: Callable[..., Any], tiny_bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run_cli(
        "eval", grouped, "--model", tiny_bundle, "--out", out, "--groups", tmp_path / "groups.csv", "--json"
    )
    assert result.code == 0, result.err
    document = json.loads(result.out)
    page = Path(document["report"])
    text = page.read_text()
    assert page == Path(document["results"][0]["json"]).with_suffix(".html")
    assert text.count('<svg viewBox="0 0 360 190" role="img"') == len(document["results"][0]["metrics"])
    for title in ("By folder", "By glasses", "By &lt;b&gt;", "Worst by MSE", "Median by MSE", "Best by MSE"):
        assert f"<h2>{title}</h2>" in text
    assert "<b>" not in text.split("By glasses")[1].split("<h2>")[0]
    rows = list(csv.DictReader((page.with_suffix(".csv")).read_text().splitlines()))
    worst = max(rows, key=lambda row: float(row["mse"]))["name"]
    assert worst in text.split("Worst by MSE")[1].split("</figure>")[0]
    of_hard = np.mean([float(row["mse"]) for row in rows if row["name"].startswith("hard/")])
    assert f'<th scope="row">hard</th><td>2</td><td>{of_hard:.4f}'[:-1] in text.replace("\n", "")
    assert not run_cli("eval", grouped, "--model", tiny_bundle, "--out", tmp_path / "b", "--no-report").code
    assert not list((tmp_path / "b").glob("*.html"))


def test_a_table_of_groups_that_names_no_picture_is_refused(
    run_cli: Callable[..., Any], tiny_bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    (tmp_path / "groups.csv").write_text("file,glasses\nother.png,yes\n")
    result = run_cli(
        "eval", grouped, "--model", tiny_bundle, "--groups", tmp_path / "groups.csv", "--out", tmp_path / "o"
    )
    assert result.code == 1
    assert "names none of the pictures in its first column, so nothing was measured" in result.err
    assert not (tmp_path / "o").exists()
