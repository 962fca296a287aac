"""Checkpoints of every source, against float64 restatements of that source's own arithmetic: pictures and logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_genforce import GenForceDiscriminator, GenForceGenerator, hammer_file
from source_nvidia import CALLS, NvidiaDiscriminator, NvidiaGenerator, dump
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, psp_file, training_file

from padinv.checkpoints import describe, generator_hash, load_discriminator, load_generator
from padinv.checkpoints.convert import import_generator
from padinv.models.generator import Generator
from padinv.runtime.errors import InputError

CHANNELS = (12, 10, 9, 7)  # 32 px, no two alike
TOLERANCE = 1e-4


def same_pictures(generator: Generator, source: Any, z_dim: int) -> None:
    """Pictures of random codes, and codes of random z, to 1e-4 of their size."""
    torch.manual_seed(3)
    z = torch.randn(5, z_dim, dtype=torch.float64)
    wp = torch.randn(2 * len(source.channels), source.w_dim, dtype=torch.float64)
    with torch.no_grad():
        got, codes = generator.synthesis(wp.float()[None])[0].double(), generator.mapping(z.float()).double()
    want, wanted_codes = source.synthesis(wp), source.mapping(z)
    assert want.std() > 0.05
    assert (got - want).abs().max() < TOLERANCE * max(1.0, float(want.abs().max()))
    assert (codes - wanted_codes).abs().max() < TOLERANCE


def same_logits(path: Path, source: Any, resolution: int) -> None:
    """Logits of eight pictures, so that groups of statistics matter."""
    discriminator = load_discriminator(path)
    assert discriminator is not None
    torch.manual_seed(4)
    images = torch.rand(8, 3, resolution, resolution, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        got = discriminator(images.float()).double()
    want = source(images)
    assert want.std() > 1e-3
    assert (got - want).abs().max() < TOLERANCE * max(1.0, float(want.abs().max()))


# -- generators


@pytest.mark.parametrize("depth", [2, 8])
def test_rosinality(tmp_path: Path, depth: int) -> None:
    g, d = RosinalityGenerator(CHANNELS, 14, depth), RosinalityDiscriminator(CHANNELS)
    path = tmp_path / "550000.pt"
    torch.save(training_file(g, d), path)
    generator = load_generator(path)
    assert generator.spec.demod_eps_scaled
    assert (generator.spec.z_dim, generator.spec.w_dim, generator.spec.mapping_layers) == (14, 14, depth)
    same_pictures(generator, g, 14)
    same_logits(path, d, 32)
    assert describe(path)["network"] == "g_ema"


def test_rosinality_converted_from_tensorflow_keeps_its_centre(tmp_path: Path) -> None:
    g = RosinalityGenerator(CHANNELS, 14, 2)
    centre = torch.randn(14)
    torch.save({"g_ema": g.state_dict(), "latent_avg": centre}, tmp_path / "converted.pt")
    assert torch.equal(load_generator(tmp_path / "converted.pt").w_avg, centre)


@pytest.mark.parametrize("rows", [None, 1, 8])
def test_psp_decoder(tmp_path: Path, rows: int | None) -> None:
    """The decoder's prefix, and latent_avg as [w], [1, w] or [L, w]."""
    g = RosinalityGenerator(CHANNELS, 14, 3)
    centre = torch.randn(14)
    torch.save(psp_file(g, centre if rows is None else centre.repeat(rows, 1)), tmp_path / "psp.pt")
    generator = load_generator(tmp_path / "psp.pt")
    same_pictures(generator, g, 14)
    torch.testing.assert_close(generator.w_avg, centre)
    facts = describe(tmp_path / "psp.pt")
    assert "pSp" in facts["source"]
    assert facts["discriminator"] is None


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("clamp", [None, 0.7])
def test_nvidia(tmp_path: Path, newer: bool, clamp: float | None) -> None:
    g = NvidiaGenerator(CHANNELS, 11, 14, 2, clamp=clamp)
    d = NvidiaDiscriminator(CHANNELS, clamp=clamp, group=8)
    path = tmp_path / "network-snapshot-000200.pkl"
    raw = NvidiaGenerator(CHANNELS, 11, 14, 2, clamp=clamp, seed=7)
    dump(path, {"G": raw.pickled(newer), "D": d.pickled(), "G_ema": g.pickled(newer)})
    generator = load_generator(path)
    assert generator.spec.conv_clamp == clamp
    assert not generator.spec.demod_eps_scaled
    same_pictures(generator, g, 11)
    same_logits(path, d, 32)
    assert torch.equal(generator.w_avg, g.w["mapping.w_avg"].float())
    assert not CALLS
    assert not Path("/tmp/padinv-must-not-exist").exists()


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("group", [2, None])
def test_nvidia_discriminators(tmp_path: Path, architecture: str, group: int | None) -> None:
    d = NvidiaDiscriminator(CHANNELS, architecture, group, clamp=0.9)
    g = NvidiaGenerator(CHANNELS, 11, 14, 1)
    dump(tmp_path / "n.pkl", {"G_ema": g.pickled(), "D": d.pickled()})
    same_logits(tmp_path / "n.pkl", d, 32)


def test_nvidia_reads_the_settings_that_tensors_cannot_tell(tmp_path: Path) -> None:
    g = NvidiaGenerator(CHANNELS, 11, 14, 4, hidden=17, noise=False)
    g.lr = 0.03
    dump(tmp_path / "n.pkl", {"G_ema": g.pickled()}, protocol=3)
    generator = load_generator(tmp_path / "n.pkl")
    assert generator.spec.mapping_lr_mult == 0.03
    assert generator.spec.mapping_widths == (11, 17, 17, 17, 14)
    same_pictures(generator, g, 11)
    assert describe(tmp_path / "n.pkl")["noise"] == "none"


def test_nvidia_bare_state_dict_says_what_it_assumes(tmp_path: Path) -> None:
    g = NvidiaGenerator(CHANNELS, 11, 14, 2)
    torch.save({"G_ema": g.state_dict()}, tmp_path / "n.pt")
    same_pictures(load_generator(tmp_path / "n.pt"), g, 11)
    assert "tensors only" in describe(tmp_path / "n.pt")["notes"][0]


@pytest.mark.parametrize("hammer", [True, False])
@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_genforce_and_hammer(tmp_path: Path, hammer: bool, architecture: str) -> None:
    clamp = 0.8 if hammer else None
    g = GenForceGenerator(CHANNELS, 11, 14, 3, hammer, hidden=19, clamp=clamp)
    d = GenForceDiscriminator(CHANNELS, hammer, architecture, 2 if hammer else 4, None if hammer else 9, clamp)
    path = tmp_path / "stylegan2.pth"
    if hammer:
        settings = {"mapping_lr_mul": 0.01, "conv_clamp": 0.8, "use_wscale": True}
        critic = {"mbstd_groups": 2, "conv_clamp": 0.8}
        settings = {"generator": settings, "generator_smooth": settings, "discriminator": critic}
        torch.save(hammer_file(g, d, settings), path)
    else:
        torch.save({"generator": g.state_dict(), "discriminator": d.state_dict()}, path)
    generator = load_generator(path)
    assert generator.spec.demod_eps_scaled is not hammer
    assert generator.spec.mapping_width == 19
    same_pictures(generator, g, 11)
    same_logits(path, d, 32)
    assert torch.equal(generator.w_avg, g.w["w_avg" if hammer else "truncation.w_avg"].float())


def test_hammer_prefers_the_smooth_generator_and_reads_its_settings(tmp_path: Path) -> None:
    g = GenForceGenerator(CHANNELS, 11, 14, 3, hammer=True)
    settings = {"generator_smooth": {"mapping_lr_mul": 0.02}}
    torch.save(hammer_file(g, None, settings), tmp_path / "h.pth")
    assert describe(tmp_path / "h.pth")["network"] == "models.generator_smooth"
    assert load_generator(tmp_path / "h.pth").spec.mapping_lr_mult == 0.02
    assert load_discriminator(tmp_path / "h.pth") is None


# -- where the small number sits


def tiny_weights(source: Any, part: str) -> Any:
    """The same source with modulated weights so small that the demodulation's epsilon counts."""
    for name, value in source.w.values.items():
        if name.endswith(".weight") and part in name and value.ndim >= 4:
            source.w.values[name] = (value * 3e-4).float().double()
    return source


@pytest.mark.parametrize("name", ["rosinality", "nvidia", "hammer", "genforce"])
def test_the_demodulations_epsilon_sits_where_the_source_has_it(tmp_path: Path, name: str) -> None:
    if name == "rosinality":
        source: Any = tiny_weights(RosinalityGenerator(CHANNELS, 14, 1), "conv")
        torch.save({"g_ema": source.state_dict()}, tmp_path / "x")
    elif name == "nvidia":
        source = tiny_weights(NvidiaGenerator(CHANNELS, 14, 14, 1), ".conv")
        dump(tmp_path / "x", {"G_ema": source.pickled()})
    else:
        source = tiny_weights(GenForceGenerator(CHANNELS, 14, 14, 1, hammer=name == "hammer"), ".layer")
        torch.save({"generator": source.state_dict()}, tmp_path / "x")
    generator = load_generator(tmp_path / "x")
    same_pictures(generator, source, 14)
    other = Generator(replace(generator.spec, demod_eps_scaled=not generator.spec.demod_eps_scaled))
    other.load_state_dict(generator.state_dict())
    with pytest.raises(AssertionError):  # the other place makes another picture, so this test can fail
        same_pictures(other, source, 14)


# -- the truncation centre


def test_a_missing_centre_is_estimated_and_recorded(tmp_path: Path) -> None:
    g = RosinalityGenerator((6, 5, 4), 9, 3)
    torch.save({"g_ema": g.state_dict()}, tmp_path / "x.pt")
    foreign = import_generator(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert foreign.record["truncation_centre"].startswith("estimated from 10000 samples")
    z = torch.from_numpy(np.random.RandomState(0).standard_normal((10_000, 9)))
    torch.testing.assert_close(foreign.state["w_avg"].double(), g.mapping(z).mean(0), atol=1e-5, rtol=0)
    again = import_generator(tmp_path / "x.pt", tmp_path / "y.safetensors")
    assert torch.equal(again.state["w_avg"], foreign.state["w_avg"])
    assert describe(tmp_path / "x.pt")["truncation_centre"].startswith("missing")


def test_rows_of_latent_avg_that_differ_are_averaged_and_said(tmp_path: Path) -> None:
    g = RosinalityGenerator((6, 5, 4), 9, 1)
    rows = torch.randn(6, 9)
    torch.save(psp_file(g, rows), tmp_path / "x.pt")
    foreign = import_generator(tmp_path / "x.pt", tmp_path / "x.safetensors")
    torch.testing.assert_close(foreign.state["w_avg"], rows.mean(0))
    assert any("6 rows" in note for note in foreign.record["notes"])


# -- through padinv's own file


def test_an_imported_file_is_the_same_networks(tmp_path: Path) -> None:
    g, d = RosinalityGenerator(CHANNELS, 14, 2), RosinalityDiscriminator(CHANNELS)
    torch.save(training_file(g, d), tmp_path / "x.pt")
    import_generator(tmp_path / "x.pt", tmp_path / "x.safetensors")
    direct, stored = load_generator(tmp_path / "x.pt"), load_generator(tmp_path / "x.safetensors")
    assert generator_hash(direct) == generator_hash(stored)
    assert direct.spec == stored.spec
    same_pictures(stored, g, 14)
    same_logits(tmp_path / "x.safetensors", d, 32)
    facts = describe(tmp_path / "x.safetensors")
    assert facts["kind"] == "generator"
    assert facts["record"]["sha256"] == describe(tmp_path / "x.pt")["sha256"]
    with pytest.raises(InputError, match="padinv's own generator file already"):
        import_generator(tmp_path / "x.safetensors", tmp_path / "y.safetensors")


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
def test_resolutions(tmp_path: Path, resolution: int) -> None:
    channels = tuple(2 + k % 2 for k in range(resolution.bit_length() - 2))
    g = RosinalityGenerator(channels, 5, 2)
    torch.save({"g_ema": g.state_dict()}, tmp_path / "x.pt")
    generator = load_generator(tmp_path / "x.pt")
    assert generator.spec.resolution == resolution
    if resolution <= 256:
        same_pictures(generator, g, 5)


def test_wrappers_of_parallel_training_are_stripped(tmp_path: Path) -> None:
    g = NvidiaGenerator((6, 5), 4, 5, 1)
    torch.save({"ema": {f"module.{k}": v for k, v in g.state_dict().items()}}, tmp_path / "x.pt")
    same_pictures(load_generator(tmp_path / "x.pt"), g, 4)


def test_noise_that_is_missing_is_seeded_and_said(tmp_path: Path) -> None:
    g = RosinalityGenerator((6, 5), 5, 1)
    torch.save({"g_ema": g.state_dict(noises=False)}, tmp_path / "x.pt")
    first, second = load_generator(tmp_path / "x.pt"), load_generator(tmp_path / "x.pt")
    assert torch.equal(first.layers[1].noise_const, second.layers[1].noise_const)
    assert first.layers[1].noise_const.std() > 0.5
    assert "seeded" in describe(tmp_path / "x.pt")["noise"]
