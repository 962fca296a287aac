"""The encoder files of the paper's own implementation: every variant that exists, against its arithmetic in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from source_genforce import GenForceGenerator
from source_paper_encoder import PaperEncoder
from source_rosinality import RosinalityGenerator, psp_file
from torch import Tensor

from padinv.checkpoints import describe, generator_hash, load_encoder, load_generator
from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.container.lazy_tensors import Refused, Storage, TensorRef, contiguous_strides
from padinv.checkpoints.convert import import_encoder, import_generator, read_encoder
from padinv.checkpoints.formats import paper_encoder
from padinv.checkpoints.formats.conversion_plan import Unsupported
from padinv.checkpoints.formats.paper_encoder import EncoderPlan, plan_encoder
from padinv.models import irse
from padinv.models.encoder import Encoder
from padinv.runtime.errors import InputError
from padinv.runtime.spec import ModelSpec

W_DIM = 8
CHANNELS = (512, 512, 512, 512, 4, 3, 2)  # 256 px, 14 codes; the paper's widths where padding is replaced
SPEC = ModelSpec(256, CHANNELS, W_DIM, W_DIM, 1)


ONE_BLOCK = (1, 1, 1, 1)


@pytest.fixture
def short_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block a stage instead of 3, 4, 14 and 3: the same code paths for a tenth of the bytes and the time."""
    widths = [(width, 1) for width, _ in irse.STAGES]
    monkeypatch.setattr(irse, "STAGES", tuple(widths))
    monkeypatch.setattr(paper_encoder, "STAGE_BLOCKS", ONE_BLOCK)


def write(path: Path, **models: dict[str, Tensor]) -> Path:
    """A checkpoint as the paper's runner writes one."""
    torch.save({"models": models, "model_kwargs_init": {"encoder": {}}}, path)
    return path


def full_map(ring: Tensor, r: int) -> Tensor:
    """[C, 4r+4] -> [C, r+2, r+2] with a zero middle."""
    out = torch.zeros(ring.shape[0], r + 2, r + 2, dtype=ring.dtype)
    out[:, 0], out[:, -1] = ring[:, : r + 2], ring[:, r + 2 : 2 * r + 4]
    out[:, 1:-1, 0], out[:, 1:-1, -1] = ring[:, 2 * r + 4 : 3 * r + 4], ring[:, 3 * r + 4 :]
    return out


def check_import(e: PaperEncoder, folder: Path) -> None:
    """Import an encoder with its generator, and compare its predictions with the original's arithmetic."""
    g = GenForceGenerator(CHANNELS, W_DIM, W_DIM, 1, hammer=True)
    file = write(folder / "padinv_church.pth", encoder=e.state, generator=g.state_dict())
    foreign = import_encoder(file, folder / "e.safetensors")
    assert any("18 heads for 14 layers: the last 4 are dropped" in note for note in foreign.record["notes"])
    encoder = load_encoder(folder / "e.safetensors")
    assert describe(folder / "e.safetensors")["generator_hash"] == generator_hash(load_generator(file))
    assert not encoder.training
    torch.manual_seed(0)
    image = torch.rand(1, 3, 256, 256, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        wp, const, rings = encoder(image.float())
        want, want_const, maps = e(image, g.w["w_avg"])
    assert const is not None
    assert rings is not None
    assert want.std() > 0.1

    def close(got: Tensor, wanted: Tensor) -> None:
        assert (got.double() - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))

    close(wp[0], want[:14])
    close(const[0], want_const)
    assert sorted(rings) == [4, 8, 16, 32]
    for (r, ring), wanted in zip(sorted(rings.items()), maps, strict=True):
        border = full_map(torch.ones_like(ring[0]), r) > 0
        close(full_map(ring[0].double(), r), torch.where(border, wanted, torch.zeros((), dtype=torch.float64)))


def test_an_imported_encoder_predicts_what_the_original_does(short_backbone: None, tmp_path: Path) -> None:
    check_import(PaperEncoder(W_DIM, blocks=ONE_BLOCK), tmp_path)


@pytest.mark.slow
def test_a_whole_backbone_predicts_what_the_original_does(tmp_path: Path) -> None:
    check_import(PaperEncoder(W_DIM), tmp_path)


# -- w_avg: of the file's generator, of --generator, of nothing


def light(seed: int = 0) -> tuple[PaperEncoder, GenForceGenerator]:
    """Without padding, so that the generator may be narrow, too."""
    encoder = PaperEncoder(W_DIM, heads=(3, 4, 7), padded=0, blocks=ONE_BLOCK, seed=seed)
    return encoder, GenForceGenerator((6, 5, 4, 3, 2, 2, 2), W_DIM, W_DIM, 1, hammer=True)


def test_an_encoder_alone_needs_a_generator(short_backbone: None, tmp_path: Path) -> None:
    e, g = light()
    alone = write(tmp_path / "encoder.pth", encoder=e.state)
    with pytest.raises(InputError, match="no generator, whose w_avg its codes are added to; name one with --generator"):
        read_encoder(alone)
    with pytest.raises(InputError, match="holds an encoder and no generator"):
        load_generator(alone)
    assert describe(alone)["kind"] == "encoder checkpoint"
    raw = {**g.state_dict(), "w_avg": g.state_dict()["w_avg"] + 1}
    both = write(tmp_path / "g.pth", generator=raw, generator_smooth=g.state_dict())
    foreign = read_encoder(alone, both)
    # The original adds the average code of `generator`, not of `generator_smooth`, whose weights are used.
    assert torch.equal(foreign.state["w_avg"], raw["w_avg"])
    assert torch.equal(foreign.state["const"], g.state_dict()["synthesis.early_layer.const"][0])
    import_generator(both, tmp_path / "g.safetensors")
    own = read_encoder(alone, tmp_path / "g.safetensors")
    assert torch.equal(own.state["w_avg"], g.state_dict()["w_avg"])  # all that this file knows
    assert torch.equal(load_encoder(alone, both).w_avg, raw["w_avg"])


def test_the_files_own_average_code_wins(short_backbone: None, tmp_path: Path) -> None:
    e, g = light()
    file = write(tmp_path / "both.pth", encoder=e.state, generator=g.state_dict())
    other = {**g.state_dict(), "w_avg": g.state_dict()["w_avg"] + 1, "synthesis.output0.bias": torch.ones(3)}
    foreign = read_encoder(file, write(tmp_path / "g.pth", generator=other))
    assert torch.equal(foreign.state["w_avg"], g.state_dict()["w_avg"])
    assert any("not the generator in the file" in note for note in foreign.record["notes"])
    small = GenForceGenerator((6, 5), W_DIM, W_DIM, 1, hammer=True)
    with pytest.raises(InputError, match="another generator"):
        read_encoder(file, write(tmp_path / "small.pth", generator=small.state_dict()))
    assert describe(file)["kind"] == "generator checkpoint"
    assert any("import it with --encoder" in note for note in describe(file)["notes"])


def test_a_generator_in_the_file_that_is_of_no_use_may_be_replaced(short_backbone: None, tmp_path: Path) -> None:
    e, g = light()
    odd = {**g.state_dict(), "synthesis.filter": torch.ones(4, 4) / 16}
    file = write(tmp_path / "odd.pth", encoder=e.state, generator=odd)
    with pytest.raises(InputError, match="resamples with a filter other"):
        read_encoder(file)
    foreign = read_encoder(file, write(tmp_path / "g.pth", generator=g.state_dict()))
    assert any("of no use" in note for note in foreign.record["notes"])
    assert torch.equal(foreign.state["w_avg"], g.state_dict()["w_avg"])


def test_a_broken_encoder_is_an_error(short_backbone: None, tmp_path: Path) -> None:
    e, g = light()
    e.state["latent_heads.3.linear.bias"][2] = float("nan")
    with pytest.raises(InputError, match=r"not finite in body\.latent_heads\.3\.linear\.bias"):
        import_encoder(write(tmp_path / "x.pth", encoder=e.state, generator=g.state_dict()), tmp_path / "e.safetensors")
    assert not (tmp_path / "e.safetensors").exists()


def test_files_without_a_whole_encoder_are_refused(tmp_path: Path) -> None:
    torch.save(psp_file(RosinalityGenerator((6, 5), 5, 1), torch.zeros(5)), tmp_path / "x.pt")
    with pytest.raises(InputError, match="holds no encoder that padinv knows"):
        read_encoder(tmp_path / "x.pt")
    torch.save({"g_ema": RosinalityGenerator((6, 5), 5, 1).state_dict()}, tmp_path / "y.pt")
    with pytest.raises(InputError, match="holds no encoder"):
        read_encoder(tmp_path / "y.pt")


# -- the variants, without files: only names and shapes count


def plan(
    spec: ModelSpec = SPEC, settings: dict[str, Any] | None = None, layers: int | None = None, **variant: Any
) -> EncoderPlan:
    change = variant.pop("change", lambda state: None)
    with torch.device("meta"):
        state = dict(MetaEncoder(variant.pop("w_dim", W_DIM), **variant).state)
    change(state)
    tensors = {}
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        storage = Storage("float32", max(1, tensor.numel()))
        tensors[name] = TensorRef(storage, "float32", 0, shape, contiguous_strides(shape))
    return plan_encoder(Network("models.encoder", tensors, settings=settings or {}), spec, layers)


class MetaEncoder(PaperEncoder):
    """Shapes without numbers."""

    def _normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.empty(shape)


def fits(made: EncoderPlan, spec: ModelSpec = SPEC) -> None:
    """Every weight of padinv's encoder has a piece of its shape, and no other."""
    with torch.device("meta"):
        encoder = Encoder(spec, made.config)
    wanted = {f"body.{k}": tuple(v.shape) for k, v in encoder.body.state_dict().items()}
    assert {name: piece.shape for name, piece in made.pieces.items()} == wanted


@pytest.mark.parametrize("padded", [1, 2, 3, 4, 5])
def test_one_to_five_padded_layers(padded: int) -> None:
    spec = ModelSpec(256, (512,) * 5 + (4, 2), W_DIM, W_DIM, 1)
    made = plan(spec, padded=padded)
    assert made.config.pad_resolutions == (4, 8, 16, 32, 64)[:padded]
    assert made.config.projections
    fits(made, spec)


def test_one_shared_map() -> None:
    made = plan(projections=False)
    assert not made.config.projections
    assert made.config.pad_resolutions == (4, 8, 16, 32)
    assert any("the file does not say for how many layers, so 4" in note for note in made.notes)
    fits(made)
    assert plan(projections=False, layers=2).config.pad_resolutions == (4, 8)
    known = plan(projections=False, settings={"pad_layer_num": 3})
    assert known.config.pad_resolutions == (4, 8, 16)
    assert not any("does not say" in note for note in known.notes)


def test_no_padding_at_all() -> None:
    made = plan(padded=0)
    assert not made.config.padding
    assert any("pSp's setting" in note for note in made.notes)
    fits(made)


def test_settings_beside_the_weights_are_read() -> None:
    made = plan(settings={"encode_const_input": False, "start_from_latent_avg": False, "pad_layer_num": 4})
    assert not made.config.const
    assert not made.from_w_avg
    fits(made)


def test_heads_divided_in_another_way() -> None:
    made = plan(heads=(4, 4, 6))
    assert made.config.codes_per_level == (4, 4)
    fits(made)
    assert plan(heads=(3, 4, 7)).config.codes_per_level is None


def test_a_generator_of_1024_px_uses_all_heads() -> None:
    spec = ModelSpec(1024, (512, 512, 512, 512, 4, 4, 4, 2, 2), W_DIM, W_DIM, 1)
    made = plan(spec)
    assert not any("dropped" in note for note in made.notes)
    fits(made, spec)


def rename(old: str, new: str) -> Any:
    def change(state: dict[str, Tensor]) -> None:
        for name in [n for n in state if n.startswith(old)]:
            state[new + name.removeprefix(old)] = state.pop(name)

    return change


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ({"blocks": (3, 13, 30, 3)}, "IR-SE-100"),
        ({"blocks": (3, 4, 2, 3)}, "stages of"),
        ({"heads": (3, 4, 3)}, "10 codes, but the generator takes 14"),
        ({"w_dim": 9}, "9-dimensional codes, but the generator takes 8"),
        ({"spec": ModelSpec(64, (512,) * 4 + (4,), W_DIM, W_DIM, 1)}, "pictures of 256 px"),
        ({"spec": ModelSpec(256, (512, 512, 256, 512, 4, 4, 4), W_DIM, W_DIM, 1)}, "the generator has 256 at 16 px"),
        ({"settings": {"only_pad_even": False}}, "pads up-sampling layers"),
        ({"projections": False, "settings": {"pad_layer_num": 6}}, "6 padded layers"),
        ({"change": rename("padding_extractor.1.", "padding_extractor.7.")}, "has 1 blocks"),
        ({"change": rename("fpn.lateral_layers.0.bias", "fpn.x")}, "lacks the tensor fpn.lateral_layers.0.bias"),
        (
            {"change": lambda s: s.update({"extra.weight": torch.zeros(3)})},
            "variant of the paper's encoder.*extra.weight",
        ),
        ({"change": lambda s: [s.pop(n) for n in list(s) if "res_layer.5" in n]}, "without squeeze-and-excitation"),
        ({"change": lambda s: s.pop("latent_heads.0.convs.6.weight")}, "not those of three pyramid levels"),
    ],
)
def test_encoders_that_padinv_cannot_run_are_named(variant: dict[str, Any], sentence: str) -> None:
    with pytest.raises((Unsupported, Refused), match=sentence):
        plan(**variant)


def test_counters_that_are_missing_are_zero() -> None:
    made = plan(change=lambda s: [s.pop(n) for n in list(s) if n.endswith("num_batches_tracked")])
    fits(made)
    assert made.pieces["body.input_layer.1.num_batches_tracked"].read("x") == 0
