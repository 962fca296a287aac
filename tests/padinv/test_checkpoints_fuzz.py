"""Mutated checkpoints: whatever the bytes, a file loads or is refused in one sentence, and nothing runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from code_watch import watching
from safetensors.torch import save_file
from source_genforce import GenForceGenerator, hammer_file
from source_nvidia import CALLS, NvidiaDiscriminator, NvidiaGenerator, dump
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, psp_file, training_file

from padinv.checkpoints import describe
from padinv.checkpoints.convert import read_generator
from padinv.runtime.errors import InputError

CHANNELS = (2, 3)
SPICE = [
    b"cos\nsystem\n",
    b"(S'true'\nios\nsystem\n",
    b"R",
    b"b",
    b"\x81",
    b"\x93",
    b"t",
    b"u",
    b"(",
    b"e",
    b"\xff" * 4,
]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Small whole files of every kind."""
    folder = tmp_path_factory.mktemp("seeds")
    rosinality, critic = RosinalityGenerator(CHANNELS, 3, 1), RosinalityDiscriminator(CHANNELS)
    nvidia = {"G_ema": NvidiaGenerator(CHANNELS, 3, 3, 1).pickled(), "D": NvidiaDiscriminator(CHANNELS).pickled()}
    torch.save({**training_file(rosinality, critic), "latent_avg": torch.zeros(3)}, folder / "zip.pt")
    torch.save(psp_file(rosinality, torch.zeros(6, 3)), folder / "old.pt", _use_new_zipfile_serialization=False)
    dump(folder / "n.pkl", nvidia)
    dump(folder / "n2.pkl", nvidia, protocol=2)
    torch.save(hammer_file(GenForceGenerator(CHANNELS, 3, 3, 1, hammer=True), None, {}), folder / "h.pth")
    torch.save({"generator": GenForceGenerator(CHANNELS, 3, 3, 1, hammer=False).state_dict()}, folder / "g.pth")
    save_file({**rosinality.state_dict(), "latent_avg": torch.zeros(3)}, folder / "s.safetensors")
    files = sorted(folder.iterdir())
    for path in files:
        read_generator(path)
    return [path.read_bytes() for path in files]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """A few changes of one kind or another; half of them near the start, where the structure is."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(out)) if dice.random() < 0.5 else dice.randrange(min(len(out), 4096))
        kind = dice.randrange(7)
        if kind == 0:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            out[at] = dice.randrange(256)
        elif kind == 2:
            del out[at : at + dice.choice((1, 2, 8, 200))]
        elif kind == 3:
            out[at:at] = dice.choice(SPICE)
        elif kind == 4:
            start = dice.randrange(len(out))
            out[at:at] = out[start : start + dice.choice((1, 9, 100))]
        elif kind == 5:
            size = dice.choice((1, 4, 8))
            out[at : at + size] = dice.choice((b"\x00", b"\xff", b"\x7f")) * size
        else:
            del out[max(at, 10) :]
        if not out:
            return b""
    return bytes(out)


def try_many(seeds: list[bytes], path: Path, count: int, seed: int, each: Callable[[Path], None]) -> tuple[int, int]:
    """(loaded, refused) of `count` mutated files."""
    dice = random.Random(seed)
    loaded = refused = 0
    with watching() as seen:
        for i in range(count):
            path.write_bytes(mutate(seeds[i % len(seeds)], dice))
            try:
                each(path)
                loaded += 1
            except InputError as error:
                refused += 1
                text = str(error)
                assert str(path) in text
                assert "\n" not in text
                assert len(text) < 700
    assert not seen
    assert not CALLS
    return loaded, refused


def read_and_describe(path: Path) -> None:
    describe(path)
    read_generator(path)


def test_two_thousand_mutated_files(seeds: list[bytes], tmp_path: Path) -> None:
    loaded, refused = try_many(seeds, tmp_path / "x.bin", 2000, 0, read_and_describe)
    assert loaded > 100  # many mutations touch weights or nothing that matters; were none to load, the seeds are wrong
    assert refused > 800


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_more_mutated_files(seeds: list[bytes], tmp_path: Path, seed: int) -> None:
    try_many(seeds, tmp_path / "x.bin", 10_000, seed, read_and_describe)


def test_mutated_files_at_the_command_line(seeds: list[bytes], tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    dice = random.Random(5)
    source, out = tmp_path / "x.bin", tmp_path / "out.safetensors"
    for i in range(60):
        source.write_bytes(mutate(seeds[i % len(seeds)], dice))
        result = run_cli("import", source, "--out", out, "--no-samples", "--overwrite")
        assert result.code in (0, 1)
        assert "Traceback" not in result.err
        assert "something went wrong inside padinv" not in result.err
        assert (result.err.count("\n") == 1) is (result.code == 1)
        assert out.exists() or result.code == 1
        out.unlink(missing_ok=True)
