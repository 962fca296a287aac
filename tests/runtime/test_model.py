from __future__ import annotations

import threading

import numpy as np
import pytest

from padinv.runtime import Inversion, Model
from padinv.runtime.backends.threads import default_threads
from padinv.runtime.errors import MismatchError, UsageError
from padinv.runtime.images import to_float, to_uint8


@pytest.fixture
def model(tiny_bundle) -> Model:
    return Model.load(tiny_bundle, threads=1)


def images(n: int, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_uint8_and_float_are_inverses():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert np.array_equal(to_uint8(to_float(every)), every)
    assert to_uint8(np.array([[[[-3.0]], [[0.0]], [[3.0]]]])).ravel().tolist() == [0, 128, 255]


def test_inversion_has_the_spec_s_shapes_and_batching_does_not_matter(model):
    x = images(5)
    whole, pieces = model.invert(x), model.invert(x, batch_size=2)
    for name, shape in model.spec.latent_shapes.items():
        assert whole.arrays()[name].shape == (5, *shape)
        np.testing.assert_allclose(whole.arrays()[name], pieces.arrays()[name], atol=1e-6)
    assert whole.generator_hash == model.generator_hash
    assert whole.items[0] == {
        "source": "image 0",
        "size": [16, 16],
        "transform": None,
        "fit": "crop",
        "box": [0.0, 0.0, 16.0, 16.0],
    }


def test_arrays_and_pil_images_agree(model):
    from PIL import Image

    x = images(2, size=40)
    a, b = model.invert(x), model.invert([Image.fromarray(one) for one in x])
    np.testing.assert_array_equal(a.wp, b.wp)
    assert np.array_equal(model.invert(x[0]).wp, a[0].wp)


def test_exif_rotation_of_pil_images_is_applied(model, picture, tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    picture(40, 20).rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        turned = model.invert([image])
    np.testing.assert_array_equal(turned.wp, model.invert([picture(40, 20)]).wp)
    assert turned.items[0]["size"] == [40, 20]


def test_generate_gives_pictures_like_the_sources(model):
    smooth = np.full((1, 16, 16, 3), 200, np.uint8)
    y = model.generate(model.invert(smooth))
    assert y.shape == (1, 16, 16, 3)
    assert y.dtype == np.uint8
    assert np.abs(y.astype(int) - 200).mean() < 20
    floats = model.generate_float(model.invert(images(3)), batch_size=2)
    assert floats.shape == (3, 3, 16, 16)
    assert floats.dtype == np.float32


def test_what_the_encoder_takes_is_generated_within_its_range(model):
    inversion = model.invert(images(3))
    inversion.const[:] *= 50
    floats = model.generate_float(inversion)
    assert np.abs(floats).max() > 1
    seen = model.generate_for_encoder(inversion, batch_size=2)
    np.testing.assert_array_equal(seen, floats.clip(-1, 1))
    assert len(model.encode(seen)) == 3


def test_samples_follow_the_seed_and_truncation(model):
    a, b = model.sample([3, 4]), model.sample(4)
    np.testing.assert_allclose(a[1].wp, b.wp, atol=1e-6)
    average = model.sample([3, 4], truncation=0)
    w_avg, const = (model.constants()[key] for key in ("w_avg", "const"))
    np.testing.assert_allclose(average.wp, np.broadcast_to(w_avg, average.wp.shape), atol=1e-7)
    np.testing.assert_allclose(model.sample(3, 0.5).wp, (a[0].wp + average[0].wp) / 2, atol=1e-6)
    np.testing.assert_array_equal(a.const, np.stack([const, const]))
    assert all(not ring.any() for ring in a.rings.values())
    assert a.items[0] == {"source": "seed 3", "seed": 3, "truncation": 1.0}
    z = np.random.RandomState(3).randn(1, model.spec.z_dim)
    w = model.session("mapping").run({"z": z})["w"]
    np.testing.assert_allclose(a.wp[0, 0], w[0], atol=1e-6)


def test_wrong_input_is_refused(model):
    for bad in (images(1).astype(np.float32), images(1)[..., :2], images(1).astype(np.int64)):
        with pytest.raises(UsageError, match="the image has"):
            model.invert(bad)
    with pytest.raises(UsageError, match="no images were given"):
        model.invert([])
    with pytest.raises(MismatchError, match=r"the encoder takes \[N, 3, 16, 16\]"):
        model.encode(np.zeros((1, 3, 8, 8), np.float32))
    for seeds in ([], [-1], [1 << 32]):
        with pytest.raises(UsageError):
            model.sample(seeds)
    with pytest.raises(UsageError):
        model.invert(images(1), batch_size=0)
    with pytest.raises(MismatchError):
        model.session("encoder").run({"picture": np.zeros((1, 3, 16, 16))})
    with pytest.raises(MismatchError):
        model.session("encoder").run({"image": np.zeros((1, 3, 16))})


def test_another_generator_s_inversion_is_refused(model):
    inversion = model.invert(images(1))
    inversion.generator_hash = "feedface" * 8
    with pytest.raises(MismatchError, match=r"generator feedfacefeed, not to generator 1f1f1f1f1f1f"):
        model.generate(inversion)
    smaller = Inversion(np.zeros((1, 4, 8)), np.zeros((1, 6, 4, 4)), {}, model.generator_hash)
    with pytest.raises(MismatchError, match="the model takes"):
        model.generate(smaller)


def test_a_model_may_be_shared_between_16_threads(model):
    x = images(16)
    expected = model.generate(model.invert(x))
    results: dict[int, np.ndarray] = {}
    start = threading.Barrier(16)

    def work(i: int) -> None:
        start.wait()
        for _ in range(5):
            results[i] = model.generate(model.invert(x[i : i + 1]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.abs(np.concatenate([results[i] for i in range(16)]).astype(int) - expected).max() <= 1


def test_omp_num_threads_is_respected(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert default_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert default_threads() >= 1
