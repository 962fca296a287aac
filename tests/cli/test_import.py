"""`padinv import` and what `padinv info` says of checkpoints from elsewhere."""

from __future__ import annotations

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
from source_genforce import GenForceGenerator
from source_nvidia import NvidiaDiscriminator, NvidiaGenerator, dump
from source_paper_encoder import PaperEncoder
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, training_file

from padinv.checkpoints import load_encoder, load_generator
from padinv.checkpoints.formats import paper_encoder
from padinv.models import irse

CHANNELS = (6, 5, 4)
Cli = Callable[..., Any]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A training file of rosinality's; its truncation centre is missing."""
    path = tmp_path / "550000.pt"
    torch.save(training_file(RosinalityGenerator(CHANNELS, 5, 2), RosinalityDiscriminator(CHANNELS)), path)
    return path


def test_import_prints_the_record_and_draws_a_grid(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "generator.safetensors"
    result = run_cli("import", checkpoint, "--out", out)
    assert result.code == 0, result.err
    for fact in (
        "rosinality stylegan2-pytorch", "g_ema", "4: 6, 8: 5, 16: 4", "mapping layers", "constant",
        "estimated from 10000 samples", "resnet", "SHA-256", f"wrote {out}",
    ):  # fmt: skip
        assert fact in result.out
    assert load_generator(out).spec.resolution == 16
    with Image.open(tmp_path / "generator.png") as grid:
        assert grid.size == (64, 64)
        assert np.asarray(grid).std() > 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["550000.pt", "generator.png", "generator.safetensors"]


def test_the_grids_first_tile_is_seed_0_truncated(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    run_cli("import", checkpoint, "--out", tmp_path / "g.safetensors")
    generator = load_generator(tmp_path / "g.safetensors")
    z = torch.from_numpy(np.random.RandomState(0).randn(1, 5).astype(np.float32))
    with torch.no_grad():
        want = ((generator(z, truncation=0.7)[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    tile = np.asarray(Image.open(tmp_path / "g.png"))[:16, :16]
    assert np.abs(tile.astype(float) - want).max() < 1


def test_json_and_no_samples(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    result = run_cli("import", checkpoint, "--out", tmp_path / "g.safetensors", "--no-samples", "--json")
    record = json.loads(result.out)
    assert record["resolution"] == 16
    assert record["channels"] == {"4": 6, "8": 5, "16": 4}
    assert record["discriminator"]["architecture"] == "resnet"
    assert len(record["sha256"]) == 64
    assert not (tmp_path / "g.png").exists()
    info = json.loads(run_cli("info", tmp_path / "g.safetensors", "--json").out)
    assert info["record"]["sha256"] == record["sha256"]
    assert info["record"]["truncation_centre"] == record["truncation_centre"]


def test_a_second_run_finds_it_done_and_nothing_is_overwritten(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    assert run_cli("import", checkpoint, "--out", out).code == 0
    before = out.stat().st_mtime_ns
    again = run_cli("import", checkpoint, "--out", out)
    assert again.code == 0
    assert "is this import already" in again.out
    assert out.stat().st_mtime_ns == before
    dump(tmp_path / "other.pkl", {"G_ema": NvidiaGenerator(CHANNELS, 5, 5, 1).pickled()})
    other = run_cli("import", tmp_path / "other.pkl", "--out", out)
    assert other.code == 1
    assert "left alone" in other.err
    assert out.stat().st_mtime_ns == before
    assert run_cli("import", tmp_path / "other.pkl", "--out", out, "--overwrite").code == 0
    assert "NVIDIA" in run_cli("info", out).out


def test_a_picture_in_the_way_is_left_alone(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "g.png")
    result = run_cli("import", checkpoint, "--out", tmp_path / "g.safetensors")
    assert result.code == 0
    assert "no samples were drawn" in result.out
    assert Image.open(tmp_path / "g.png").size == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--generator", "g.safetensors"], "go with --encoder"),
        (["--padded-layers", "2"], "go with --encoder"),
    ],
)
def test_wrong_use(run_cli: Cli, checkpoint: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    result = run_cli("import", checkpoint, "--out", tmp_path / "g.safetensors", *arguments)
    assert result.code == 2
    assert sentence in result.err
    result = run_cli("import", checkpoint, "--out", tmp_path / "g.pt")
    assert result.code == 2
    assert ".safetensors" in result.err


def test_failures_are_one_sentence_and_leave_nothing(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "g.safetensors"
    empty, page, code = tmp_path / "empty.pt", tmp_path / "page.pt", tmp_path / "code.pkl"
    empty.write_bytes(b"")
    page.write_text("<html><head><title>Google Drive - Virus scan warning</title></head>")
    code.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:-300])
    for path, sentence in (
        (empty, "is empty (0 bytes)"),
        (page, "is a web page ('Google Drive - Virus scan warning')"),
        (code, "asks for os.system"),
        (cut, "cut short"),
        (tmp_path / "none.pt", "does not exist"),
        (tmp_path, "is a folder"),
    ):
        for arguments in (("import", path, "--out", out), ("import", path, "--out", out, "--encoder"), ("info", path)):
            if arguments == ("info", tmp_path):
                continue
            result = run_cli(*arguments)
            assert result.code == 1, arguments
            assert sentence in result.err
            assert result.err.count("\n") == 1
            assert "Traceback" not in result.err
    assert not out.parent.exists() or not list(out.parent.iterdir())
    locked = tmp_path / "file"
    locked.write_text("x")
    result = run_cli("import", checkpoint, "--out", locked / "g.safetensors")
    assert result.code == 1
    assert "cannot write" in result.err


def test_info_on_every_format(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    nvidia = {"G_ema": NvidiaGenerator(CHANNELS, 5, 5, 1).pickled(), "D": NvidiaDiscriminator(CHANNELS).pickled()}
    dump(tmp_path / "n.pkl", nvidia)
    for name, hammer in (("hammer.pth", True), ("genforce.pth", False)):
        torch.save({"generator": GenForceGenerator(CHANNELS, 5, 5, 1, hammer).state_dict()}, tmp_path / name)
    for path, source in (
        (checkpoint, "rosinality"),
        (tmp_path / "n.pkl", "NVIDIA"),
        (tmp_path / "hammer.pth", "Hammer"),
        (tmp_path / "genforce.pth", "GenForce"),
    ):
        facts = json.loads(run_cli("info", path, "--json").out)
        assert source in facts["source"]
        assert facts["resolution"] == 16
        assert len(facts["sha256"]) == 64
        assert source in run_cli("info", path).out


def test_an_encoder_and_its_grid(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(irse, "STAGES", tuple((width, 1) for width, _ in irse.STAGES))
    monkeypatch.setattr(paper_encoder, "STAGE_BLOCKS", (1, 1, 1, 1))
    e = PaperEncoder(5, heads=(3, 4, 7), padded=0, blocks=(1, 1, 1, 1))
    g = GenForceGenerator((6, 5, 4, 3, 2, 2, 2), 5, 5, 1, hammer=True)
    torch.save({"models": {"encoder": e.state}}, tmp_path / "e.pth")
    torch.save({"generator": g.state_dict()}, tmp_path / "g.pth")
    alone = run_cli("import", tmp_path / "e.pth", "--encoder", "--out", tmp_path / "e.safetensors")
    assert alone.code == 1
    assert "name one with --generator" in alone.err
    result = run_cli(
        "import",
        tmp_path / "e.pth",
        "--encoder",
        "--generator",
        tmp_path / "g.pth",
        "--out",
        tmp_path / "e.safetensors",
    )
    assert result.code == 0, result.err
    assert "the paper's own implementation" in result.out
    assert "pSp's setting" in result.out
    assert load_encoder(tmp_path / "e.safetensors").spec.num_layers == 14
    with Image.open(tmp_path / "e.png") as grid:
        assert grid.size == (4 * 256, 2 * 256)
    generator = run_cli("import", tmp_path / "g.pth", "--encoder", "--out", tmp_path / "x.safetensors")
    assert generator.code == 1
    assert "holds no encoder" in generator.err


def test_no_code_of_a_checkpoint_runs_in_a_fresh_process(tmp_path: Path) -> None:
    """As a user runs it, where nothing of NVIDIA's is importable and its source would leave a mark."""
    dump(tmp_path / "n.pkl", {"G_ema": NvidiaGenerator(CHANNELS, 5, 5, 1).pickled()})
    program = "import sys; from padinv.cli.main import main; sys.argv[0] = 'padinv'; main()"
    arguments = ["import", str(tmp_path / "n.pkl"), "--out", str(tmp_path / "g.safetensors"), "--no-samples"]
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not Path("/tmp/padinv-must-not-exist").exists()


def test_the_template_is_recorded_and_guessed_from_the_name_with_a_note(
    run_cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    def imported(name: str, file: Path, *options: str) -> tuple[Any, Any]:
        out = tmp_path / name
        result = run_cli("import", file, "--out", out, "--no-samples", *options)
        assert result.code == 0, result.err
        return load_generator(out).spec.template, result.out

    assert imported("plain.safetensors", checkpoint)[0] is None
    named = checkpoint.rename(tmp_path / "stylegan2-ffhq-256.pt")
    template, said = imported("guessed.safetensors", named)
    assert template == "ffhq"
    assert "the file's name speaks for the alignment template ffhq" in " ".join(said.split())
    assert imported("none.safetensors", named, "--template", "none")[0] is None
    template, said = imported("faces.safetensors", named, "--template", "faces")
    assert template == "faces"
    assert "speaks for" not in said
    other = run_cli("import", named, "--out", tmp_path / "faces.safetensors", "--template", "ffhq", "--no-samples")
    assert other.code == 1
    assert "is something else" in other.err
    wrong = run_cli("import", named, "--out", tmp_path / "x.safetensors", "--template", "fases")
    assert wrong.code == 2
    assert "the alignment templates are faces, ffhq and TOML files" in " ".join(wrong.err.split())
