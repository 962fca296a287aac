"""A bundle with a spatial code: its graphs, the runtime's inversions, and files with and without a code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import lively_encoder, lively_generator
from tiny_training import small_widths

from padinv.checkpoints import load_encoder
from padinv.checkpoints.generator_encoder import Pair
from padinv.export.export_bundle import Options, export_bundle
from padinv.models.encoder import EncoderConfig, encode_images
from padinv.runtime import Inversion, Model, apply, blend, difference, interpolate
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.pair_detail import detail_difference
from padinv.runtime.editing.region import region_of_mask
from padinv.runtime.errors import MismatchError, UsageError
from padinv.runtime.folders.custom_edit import custom_edit_folder
from padinv.runtime.images import to_uint8
from padinv.runtime.spatial import FADE, FADE_TINT, faded, kept, with_colours

SPATIAL = EncoderConfig("fast", spatial=(8,), spatial_width=6)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("padinv.models.fast_encoder.widths", small_widths)
        generator = lively_generator()
        yield Pair(generator, lively_encoder(generator, SPATIAL))


@pytest.fixture(scope="module")
def model(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Model:
    bundle = tmp_path_factory.mktemp("spatial") / "bundle"
    export_bundle(pair, bundle, Options())
    return Model.load(bundle)


def image(count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, 32, 32)).astype(np.float32)


def test_the_runtime_inverts_as_torch_does(pair: Pair, model: Model) -> None:
    x = image()
    with torch.no_grad():
        found = encode_images(pair.encoder, pair.generator, torch.from_numpy(x))
        wanted = found.generate(pair.generator).numpy()
    inversion, output = model.reconstruct(x, batch_size=2)
    np.testing.assert_allclose(inversion.spatial[8][:, :-3], found.spatial[8].numpy(), atol=1e-4)
    np.testing.assert_allclose(output, wanted, atol=1e-4)
    np.testing.assert_allclose(model.generate_float(inversion), wanted, atol=1e-4)
    plain = model.encode(x, spatial=False)
    assert not plain.spatial
    np.testing.assert_allclose(model.with_spatial(plain, x, 2).spatial[8], inversion.spatial[8], atol=1e-5)
    np.testing.assert_array_equal(plain.wp, inversion.wp)
    np.testing.assert_array_equal(model.generate_float(plain), model.generate_float(inversion.without_spatial()))
    assert not np.allclose(model.generate_float(plain), wanted, atol=1e-3)


@pytest.mark.parametrize("options", [Options(compact=True), Options(half=True)], ids=["compact", "half"])
def test_every_kind_of_bundle_holds_it(pair: Pair, tmp_path: Path, options: Options) -> None:
    bundle = export_bundle(pair, tmp_path / "bundle", options).bundle
    assert bundle.spec.spatial_resolutions == (8,)
    assert bundle.has("spatial.onnx")
    assert bundle.manifest["parity"]["fp32"]["spatial"]["spatial_8"]["8"] < 1e-4
    if options.compact:
        again = load_encoder(tmp_path / "bundle")
        x = torch.from_numpy(image())
        with torch.no_grad():
            codes = again.spatial_code(x, x.flip(0)), pair.encoder.spatial_code(x, x.flip(0))
        torch.testing.assert_close(codes[0][8], codes[1][8], atol=5e-3, rtol=5e-3)


def test_files_keep_the_code_and_a_model_without_one_refuses_it(model: Model, exported: Path, tmp_path: Path) -> None:
    inversion = model.encode(image(1))
    inversion.save(tmp_path / "one.safetensors", "float32")
    again = Inversion.load(tmp_path / "one.safetensors")
    np.testing.assert_array_equal(again.spatial[8], inversion.spatial[8])
    other = Model.load(exported)
    again.generator_hash = other.generator_hash
    with pytest.raises(MismatchError, match="spatial code"):
        other.generate_float(again)


def test_editing_treats_it_as_part_of_the_padding(model: Model) -> None:
    a, b = model.encode(image(1)), model.encode(image(1, seed=1))
    np.testing.assert_array_equal(blend(a, b).spatial[8], b.spatial[8])
    pair = difference(a, b)
    moved = apply(a, pair, "padding")
    np.testing.assert_allclose(moved.spatial[8], b.spatial[8], atol=1e-6)
    np.testing.assert_array_equal(apply(a, pair, "latent").spatial[8], a.spatial[8])
    np.testing.assert_allclose(apply(a.without_spatial(), pair, "padding").spatial[8][0], pair.spatial[8], atol=1e-6)
    middle = interpolate(a, b.without_spatial(), 3, "padding")
    np.testing.assert_allclose(middle.spatial[8][1], a.spatial[8][0] / 2, atol=1e-6)
    both = Inversion.concat([a.without_spatial(), b])
    assert not both.spatial[8][0].any()
    np.testing.assert_array_equal(both.spatial[8][1], b.spatial[8][0])


def test_what_a_pair_adds_goes_into_the_spatial_code_alone(model: Model) -> None:
    a, edited = image(2), image(2)
    edited[:, :, 8:16, 8:16] = -edited[:, :, 8:16, 8:16]
    mask = np.zeros((32, 32))
    mask[8:16, 8:16] = 1
    codes = model.encode(a)
    detail = detail_difference(model, codes, edited, [mask, mask])
    assert not any(detail.arrays()[name].any() for name in ("wp", "const", "pad_4", "pad_8"))
    assert not detail.spatial[8][-3:].any(), "colours stay, so that nothing fades"
    wanted = (model.with_spatial(codes, edited).spatial[8] - codes.spatial[8])[:, :-3].mean(axis=0)
    np.testing.assert_allclose(detail.spatial[8][:-3, 2:4, 2:4], wanted[:, 2:4, 2:4], atol=1e-6)
    outside = detail.spatial[8].copy()
    outside[:, 2:4, 2:4] = 0
    assert wanted[:, 2:4, 2:4].any()
    assert not outside.any()
    with pytest.raises(UsageError, match="no spatial code"):
        detail_difference(model, codes.without_spatial(), edited, [mask, mask])


def test_auto_tries_the_spatial_code(model: Model, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.png", "b.png")]
    pixels = to_uint8(image(1))[0]
    Image.fromarray(pixels).save(names[0])
    pixels[8:16, 8:16] = 255 - pixels[8:16, 8:16]
    Image.fromarray(pixels).save(names[1])
    call: dict = {"model": model, "align": "never", "out": tmp_path / "out", "sheet": False}
    found = custom_edit_folder([tuple(names)], [names[0]], space="each", **call)
    assert found.edit.evidence is not None
    assert set(found.edit.evidence.scores) == {"padding", "latent", "spatial"}
    assert "the spatial code reproduces" in found.edit.sentence
    alone = custom_edit_folder([tuple(names)], [], space="spatial", save=tmp_path / "d.safetensors", **call).edit
    saved = Direction.load(tmp_path / "d.safetensors")
    assert saved.space == alone.space == "padding"
    assert not saved.wp.any()
    assert saved.spatial[8].any()


def test_the_code_fades_where_an_edit_changes_the_image() -> None:
    rng = np.random.default_rng(0)
    code = rng.normal(size=(1, 5, 32, 32)).astype(np.float32)
    shown = rng.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    whole = with_colours(code, shown)
    np.testing.assert_allclose(faded(whole, shown), code, atol=1e-6)
    changed = shown.copy()
    changed[:, :, :, 32:] = np.where(shown[:, :, :, 32:] > 0, -1, 1)  # nothing like before
    weak = faded(whole, changed)
    np.testing.assert_allclose(weak[..., :11], code[..., :11], atol=1e-6)  # away from the change
    assert np.abs(weak[..., 17:]).max() < 0.1 * np.abs(code[..., 17:]).max()


def test_what_changes_as_a_whole_fades_less_than_what_changes_its_form() -> None:
    colours = np.zeros((1, 3, 32, 32), np.float32)
    step = np.float32(0.2)
    lighter = np.full((1, 3, 32, 32), step)
    np.testing.assert_allclose(kept(colours, lighter), np.exp(-((step / FADE_TINT) ** 2)), rtol=1e-5)
    stripes = lighter * np.where(np.arange(32) % 2, 1, -1).astype(np.float32)
    middle = kept(colours, stripes)[0, 16, 16]
    # Among nine stripes one is left over: a ninth of the step is tint, the rest is form.
    expected = np.exp(-((8 / 9 * step / FADE) ** 2) - (step / 9 / FADE_TINT) ** 2)
    np.testing.assert_allclose(middle, expected, rtol=1e-4)
    assert middle < 0.1 * kept(colours, lighter)[0, 16, 16]


def test_a_region_limits_it(model: Model) -> None:
    a, b = model.encode(image(1)), model.encode(image(1, seed=1))
    mask = np.zeros((32, 32), np.float32)
    mask[:, :16] = 1
    limited = region_of_mask(mask, model.spec).limit(a, blend(a, b))
    np.testing.assert_allclose(limited.spatial[8][:, :, :, :4], b.spatial[8][:, :, :, :4], atol=1e-6)
    np.testing.assert_array_equal(limited.spatial[8][:, :, :, 4:], a.spatial[8][:, :, :, 4:])
    coarse = region_of_mask(mask, model.spec, [4]).limit(a, blend(a, b))
    np.testing.assert_array_equal(coarse.spatial[8], a.spatial[8])
