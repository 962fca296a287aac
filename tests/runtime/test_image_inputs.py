"""Every kind of image that `Model.invert` takes gives what `padinv invert` gives for the same photograph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import padinv
from padinv.runtime.demo_pictures import demo_folder
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.images.inputs import input_images

FACE = demo_folder() / "grace-hopper.png"


@pytest.fixture(scope="module")
def faces() -> padinv.Model:
    return padinv.load(threads=1)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait with a wide frame around it, so that its face has to be found and cut out."""
    path = tmp_path_factory.mktemp("photo") / "portrait.png"
    frame = Image.new("RGB", (300, 260), (90, 110, 130))
    with Image.open(FACE) as face:
        frame.paste(face.convert("RGB"), (120, 70))
    frame.save(path)
    return path


@pytest.fixture(scope="module")
def by_the_command(photograph: Path, tmp_path_factory: pytest.TempPathFactory) -> padinv.Inversion:
    from typer.testing import CliRunner

    from padinv.cli.main import app

    out = tmp_path_factory.mktemp("out") / "o"
    options = ["--threads", "1", "--dtype", "float32", "--out", str(out)]
    result = CliRunner().invoke(app, ["invert", str(photograph), *options])
    assert result.exit_code == 0, result.output
    return padinv.Inversion.load(out / "portrait.png.safetensors")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def with_alpha(path: Path) -> np.ndarray:
    rgb = pixels(path)
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


class Tensor:
    """What padinv uses of a torch tensor; torch itself would take a second to import."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.dtype, self.shape = array, array.dtype, array.shape

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._array


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "name of a path": str,
    "list of paths": lambda path: [path],
    "Pillow image": Image.open,
    "uint8 HWC": pixels,
    "uint8 CHW": lambda path: pixels(path).transpose(2, 0, 1),
    "uint8 batch NHWC": lambda path: pixels(path)[None],
    "uint8 batch NCHW": lambda path: pixels(path).transpose(2, 0, 1)[None],
    "uint16": lambda path: pixels(path).astype(np.uint16) * 257,
    "float32 in 0 to 1": lambda path: pixels(path).astype(np.float32) / 255,
    "float64 in 0 to 1": lambda path: pixels(path) / 255,
    "RGBA array": with_alpha,
    "RGBA Pillow image": lambda path: Image.fromarray(with_alpha(path)),
    "tuple of Pillow images": lambda path: (Image.open(path),),
    "tensor CHW": lambda path: Tensor(pixels(path).transpose(2, 0, 1)),
    "float tensor NCHW": lambda path: Tensor((pixels(path).astype(np.float32) / 255).transpose(2, 0, 1)[None]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gives_what_the_command_gives(
    kind: str, faces: padinv.Model, photograph: Path, by_the_command: padinv.Inversion
) -> None:
    inversion = faces.invert(KINDS[kind](photograph))
    assert by_the_command.items[0]["transform"] is not None  # the photograph was aligned
    for name, array in by_the_command.arrays().items():
        np.testing.assert_array_equal(inversion.arrays()[name], array)
    assert inversion.items[0]["transform"] == by_the_command.items[0]["transform"]


def test_real_torch_tensors_are_taken(faces: padinv.Model, photograph: Path, by_the_command: padinv.Inversion) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(pixels(photograph)).permute(2, 0, 1) / 255
    np.testing.assert_array_equal(faces.invert(tensor.requires_grad_()).wp, by_the_command.wp)
    assert len(faces.invert(tensor.bfloat16()[None].repeat(2, 1, 1, 1))) == 2


def test_grey_images_have_three_equal_channels() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for form in (grey, grey[..., None], grey[None], grey[None, None], Image.fromarray(grey)):
        (one,) = input_images(form)
        assert one.image is not None
        np.testing.assert_array_equal(np.asarray(one.image.convert("RGB")), np.repeat(grey[..., None], 3, 2))


def test_transparent_parts_become_white(faces: padinv.Model) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:32, :, 3] = 255
    white = np.zeros((64, 64, 3), np.uint8)
    white[32:] = 255
    a, b = (faces.invert(image, align="never") for image in (rgba, white))
    np.testing.assert_array_equal(a.wp, b.wp)


def test_the_layout_can_be_said_where_both_ends_look_like_channels() -> None:
    array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)

    def first(given: Any, **options: Any) -> np.ndarray:
        return np.asarray(input_images(given, **options)[0].image)

    np.testing.assert_array_equal(first(array), array)
    np.testing.assert_array_equal(first(array, layout="CHW"), array.transpose(1, 2, 0))
    np.testing.assert_array_equal(first(Tensor(array)), array.transpose(1, 2, 0))
    np.testing.assert_array_equal(first(Tensor(array), layout="HWC"), array)


def test_what_the_generator_gives_can_be_inverted_again(faces: padinv.Model) -> None:
    sample = faces.sample([1, 2])
    x = faces.generate_float(sample)
    assert x.min() < 0
    again = faces.invert(x, value_range=(-1, 1), align="never")
    # The float image differs from the 8-bit one by less than a level, and so do the codes by next to nothing.
    eight_bit = faces.invert(faces.generate(sample), align="never").wp
    np.testing.assert_allclose(again.wp, eight_bit, rtol=0, atol=1e-3)
    with pytest.raises(UsageError, match=r"value_range says 0 to 1; give the range it has"):
        faces.invert(x)


def test_a_mixed_list_keeps_its_order_and_its_names(faces: padinv.Model, photograph: Path) -> None:
    black = np.zeros((2, 64, 64, 3), np.uint8)
    inversion = faces.invert([black, photograph, Image.new("RGB", (64, 64))], align="never", batch_size=3)
    assert [item["source"] for item in inversion.items] == ["image 0", "image 1", "portrait.png", "image 3"]
    np.testing.assert_allclose(inversion.wp[0], inversion.wp[3], atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ([], "no images were given"),
        (7, "the image is an int; give a path"),
        ([None], "image 0 is a NoneType; give a path"),
        (np.zeros((5, 6, 2), np.uint8), r"has the shape \[5, 6, 2\]; images are \[H, W\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"has the shape \[0, 8, 8, 3\]"),
        (np.zeros((8, 8, 3), np.int64), "has the dtype int64; images are uint8, uint16 or floating point"),
        (np.full((8, 8, 3), 200.0), "has values from 200 to 200, and value_range says 0 to 1"),
        (np.full((8, 8, 3), np.nan), "holds values that are not finite"),
    ],
)
def test_what_is_not_an_image_is_refused_with_a_sentence(bad: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        input_images(bad)


def test_bad_options_folders_and_missing_files_are_refused(faces: padinv.Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layout must be one of auto, HWC, CHW"):
        faces.invert(np.zeros((8, 8, 3), np.uint8), layout="hwc")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"value_range must be \(darkest, brightest\)"):
        faces.invert(np.zeros((8, 8, 3)), value_range=(1, 0))
    with pytest.raises(InputError, match="is a folder"):
        faces.invert(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        faces.invert(tmp_path / "missing.png")


def test_a_face_that_is_not_found_is_a_warning_of_the_logger(
    faces: padinv.Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="padinv"):
        faces.invert(Image.new("RGB", (80, 60)))
    assert "no face was found in image 0" in caplog.text
    with pytest.raises(InputError, match="no face was found in image 0"):
        faces.invert(Image.new("RGB", (80, 60)), align="always")


def test_landmarks_may_be_given_for_images_in_memory(faces: padinv.Model, photograph: Path) -> None:
    with Image.open(photograph) as image:
        points = np.array([[170.0, 125], [200, 125], [185, 142], [172, 158], [198, 158]])
        inversion = faces.invert(image, landmarks={"image 0": [points]})
        assert inversion.items[0]["transform"] is not None
        assert inversion.items[0]["transform"] != faces.invert(image).items[0]["transform"]


def test_results_paste_themselves_back_wherever_the_photograph_came_from(
    faces: padinv.Model, photograph: Path, tmp_path: Path
) -> None:
    with Image.open(photograph) as image:
        original, by_image = np.asarray(image.convert("RGB")), faces.invert(image).paste_back()
    by_path = faces.invert(photograph).paste_back()
    by_array = faces.invert(original).paste_back()
    assert (by_path.mode, by_path.size) == ("RGB", (300, 260))
    for other in (by_image, by_array):
        np.testing.assert_array_equal(np.asarray(by_path), np.asarray(other))
    changed = (np.asarray(by_path) != original).any(axis=2)
    assert 0.05 < changed.mean() < 0.6
    assert not changed[:, :60].any()
    faces.invert(photograph).save(tmp_path / "a.safetensors", "float32")
    loaded = padinv.Inversion.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(np.asarray(loaded.paste_back(photograph, model=faces)), np.asarray(by_path))


def test_edits_keep_the_model_and_the_photograph_of_the_image_they_change(
    faces: padinv.Model, photograph: Path
) -> None:
    a, b = faces.invert([FACE, photograph])
    blended = padinv.blend(a, b)
    assert blended.paste_back().size == (300, 260)
    direction = padinv.difference(a, b)
    assert padinv.apply(b, direction, "latent", 0.5).paste_back().size == (300, 260)
    np.testing.assert_array_equal(np.asarray(blended.images()[0]), faces.generate(blended)[0])
    steps = padinv.interpolate(a, b, 3)
    assert [image.size for image in steps.images()] == [(128, 128)] * 3
    with pytest.raises(UsageError, match="the photograph of this inversion is not known"):
        steps[1].paste_back()


def test_paste_back_says_what_it_lacks(faces: padinv.Model, photograph: Path, tmp_path: Path) -> None:
    pair = faces.invert([photograph, photograph])
    with pytest.raises(UsageError, match="takes one image, and this inversion has 2"):
        pair.paste_back()
    with pytest.raises(InputError, match="has 64 x 64 pixels, and the one that was inverted had 300 x 260"):
        pair[0].paste_back(Image.new("RGB", (64, 64)))
    pair[0].save(tmp_path / "a.safetensors")
    loaded = padinv.Inversion.load(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="does not know its model"):
        loaded.paste_back(photograph)
    with pytest.raises(InputError, match="does not say where its square was cut out"):
        faces.sample(1).paste_back(photograph)


def test_notebooks_show_inversions_and_reprs_say_what_things_are(faces: padinv.Model, tmp_path: Path) -> None:
    sample = faces.sample([0, 1, 2])
    png = sample._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    assert repr(sample) == "Inversion(3 images, wp [12, 256], rings at 4, 8, 16, 32)"
    assert repr(sample[0]).startswith("Inversion(1 image,")
    assert repr(faces).startswith("Model('faces128', 128 x 128, 12 latent codes")
    sample.save(tmp_path / "s.safetensors")
    assert padinv.Inversion.load(tmp_path / "s.safetensors")._repr_png_() is None


def test_batches_that_are_joined_and_indexed_keep_their_photographs(faces: padinv.Model, photograph: Path) -> None:
    whole = faces.invert([FACE, photograph])
    joined = padinv.Inversion.concat([whole[1], whole[0]])
    assert joined.origin is not None
    assert [Path(str(p)).name for p in joined.origin.photographs] == ["portrait.png", "grace-hopper.png"]
    assert whole[np.array([False, True])].paste_back().size == (300, 260)
    assert whole[::-1][0].paste_back().size == (300, 260)
    assert whole.copy()[1].paste_back().size == (300, 260)
    with pytest.raises(MismatchError, match="cannot have 2 photographs"):
        padinv.Inversion(whole.wp[:1], whole.const[:1], {}, origin=whole.origin)


def test_models_are_found_by_name_and_by_folder(tiny_bundle: Path) -> None:
    assert padinv.list_models()[0] == "faces128"
    assert padinv.load("faces128").generator_hash == padinv.load().generator_hash
    assert padinv.load(tiny_bundle).spec.resolution == 16
    with pytest.raises(padinv.PadInvError, match=r"faces129 does not exist.*ship with padinv: faces128"):
        padinv.load("faces129")


def test_every_public_name_loads_and_is_listed_once() -> None:
    assert len(set(padinv.__all__)) == len(padinv.__all__)
    need_torch = {"load_generator", "load_encoder", "load_discriminator", "Refiner"}
    torch_free = set(padinv.__all__) - need_torch - {"__version__"}
    assert torch_free == set(padinv.runtime.__all__)
    for name in torch_free:
        assert getattr(padinv, name) is getattr(padinv.runtime, name)
        assert name in dir(padinv)
