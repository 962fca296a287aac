"""The generator against an independent float64 restatement of StyleGAN2 with padding as an input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d

from padinv.models.generator import Generator
from padinv.models.layers import StyledConv, upsample_image
from padinv.models.rings import concat_ring, extract_ring
from padinv.runtime.errors import MismatchError
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2)


def make(spec: ModelSpec = SPEC, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    generator = Generator(spec).eval()
    with torch.no_grad():
        for layer in generator.layers:
            layer.noise_strength.fill_(0.3)
            layer.bias.normal_()
        for rgb in generator.to_rgb:
            rgb.bias.normal_()
        generator.w_avg.normal_()
    return generator


def padding_for(
    spec: ModelSpec, n: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    const = torch.randn(n, *spec.const_shape, dtype=dtype)
    return const, {r: torch.randn(n, *spec.ring_shape(r), dtype=dtype) for r in spec.pad_resolutions}


# -- an independent reference: numpy float64, loops, scipy's convolutions


def np64(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def affine(module: torch.nn.Module, w: np.ndarray) -> np.ndarray:
    weight, bias = np64(module.weight), np64(module.bias)
    return weight @ w / np.sqrt(weight.shape[1]) + bias


def full_map(ring: np.ndarray, r: int) -> np.ndarray:
    """[C, 4r+4] -> [C, r+2, r+2] with a zero middle, by the order of docs/how-it-works.md."""
    out = np.zeros((ring.shape[0], r + 2, r + 2))
    out[:, 0, :] = ring[:, : r + 2]
    out[:, -1, :] = ring[:, r + 2 : 2 * r + 4]
    out[:, 1:-1, 0] = ring[:, 2 * r + 4 : 3 * r + 4]
    out[:, 1:-1, -1] = ring[:, 3 * r + 4 :]
    return out


def reference_layer(
    layer: StyledConv, x: np.ndarray, w: np.ndarray, ring: np.ndarray | None, spec: ModelSpec, noise: bool
) -> np.ndarray:
    style = affine(layer.affine, w)
    weight = np64(layer.weight)  # [O, I, 3, 3], raw
    scale = 1 / np.sqrt(weight.shape[1] * 9) if spec.demod_eps_scaled else 1.0
    weight = weight * scale
    demod = 1 / np.sqrt((weight**2 * style[None, :, None, None] ** 2).sum(axis=(1, 2, 3)) + 1e-8)
    x = x * style[:, None, None]
    h = x.shape[1]
    if layer.up:
        taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16.0  # gain 4
        stuffed = np.zeros((x.shape[0], 2 * h - 1, 2 * h - 1))
        stuffed[:, ::2, ::2] = x
        y = np.stack([sum(convolve2d(stuffed[i], weight[o, i]) for i in range(x.shape[0])) for o in range(len(weight))])
        y = np.stack([correlate2d(np.pad(plane, 1), taps, mode="valid") for plane in y])
    else:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        if ring is not None:
            padded = padded + full_map(ring, h)
        y = np.stack(
            [
                sum(correlate2d(padded[i], weight[o, i], mode="valid") for i in range(x.shape[0]))
                for o in range(len(weight))
            ]
        )
    y = y * demod[:, None, None]
    if noise:
        y = y + np64(layer.noise_const) * np64(layer.noise_strength)
    y = y + np64(layer.bias)[:, None, None]
    y = np.where(y > 0, y, 0.2 * y) * np.sqrt(2)
    return y if spec.conv_clamp is None else np.clip(y, -spec.conv_clamp, spec.conv_clamp)


def reference_rgb(rgb: torch.nn.Module, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    style = affine(rgb.affine, w) / np.sqrt(x.shape[0])
    y = np.einsum("oi,ihw->ohw", np64(rgb.weight)[:, :, 0, 0] * style, x) + np64(rgb.bias)[:, None, None]
    return y if rgb.conv_clamp is None else np.clip(y, -rgb.conv_clamp, rgb.conv_clamp)


def reference_up(image: np.ndarray) -> np.ndarray:
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16.0
    stuffed = np.zeros((3, 2 * image.shape[1], 2 * image.shape[2]))
    stuffed[:, ::2, ::2] = image
    return np.stack([correlate2d(np.pad(plane, ((2, 1), (2, 1))), taps, mode="valid") for plane in stuffed])


def reference_synthesis(
    g: Generator, wp: np.ndarray, const: np.ndarray, rings: dict[int, np.ndarray], noise: bool = True
) -> np.ndarray:
    spec = g.spec
    x = reference_layer(g.layers[0], const, wp[0], rings.get(4), spec, noise)
    image = reference_rgb(g.to_rgb[0], x, wp[1])
    for k, r in enumerate(spec.resolutions[1:], start=1):
        x = reference_layer(g.layers[2 * k - 1], x, wp[2 * k - 1], None, spec, noise)
        x = reference_layer(g.layers[2 * k], x, wp[2 * k], rings.get(r), spec, noise)
        image = reference_up(image) + reference_rgb(g.to_rgb[k], x, wp[2 * k + 1])
    return image


# -- tests


@pytest.mark.parametrize("changes", [{}, {"demod_eps_scaled": True}, {"conv_clamp": 0.7}, {"max_pad_res": 16}])
@pytest.mark.parametrize("noise", ["const", "none"])
def test_synthesis_with_rings_equals_the_float64_reference(changes: dict, noise: str) -> None:
    spec = ModelSpec.from_dict({**SPEC.to_dict(), "max_pad_res": None, **changes})
    g = make(spec).double()
    torch.manual_seed(1)
    wp = torch.randn(2, *spec.wp_shape, dtype=torch.float64)
    const, rings = padding_for(spec, 2, torch.float64)
    got = g.synthesis(wp, const, rings, noise=noise)
    for n in range(2):
        want = reference_synthesis(
            g, np64(wp[n]), np64(const[n]), {r: np64(t[n]) for r, t in rings.items()}, noise == "const"
        )
        np.testing.assert_allclose(got[n].detach().numpy(), want, atol=1e-10 * np.abs(want).max())


def test_default_padding_is_plain_stylegan2() -> None:
    g = make()
    wp = torch.randn(3, *SPEC.wp_shape)
    plain = g.synthesis(wp)
    for n in range(3):
        want = reference_synthesis(g, np64(wp[n]), np64(g.const), {})
        np.testing.assert_allclose(plain[n].detach().numpy(), want, atol=1e-4)
    const = g.const.expand(3, -1, -1, -1)
    zeros = {r: torch.zeros(3, *SPEC.ring_shape(r)) for r in SPEC.pad_resolutions}
    torch.testing.assert_close(g.synthesis(wp, const, zeros), plain, atol=1e-6, rtol=0)


def test_the_ring_is_not_scaled_by_the_style() -> None:
    """A fused formulation would scale the ring with the map; ours must see the same ring under any style."""
    layer = make().layers[2]
    x, ring = torch.zeros(1, 5, 8, 8), torch.randn(1, 5, 36)
    w = torch.randn(1, 8)
    with torch.no_grad():
        layer.noise_strength.zero_()
        layer.bias.zero_()
        y1 = layer(x, w, ring)
        layer.affine.weight.mul_(2)
        layer.affine.bias.mul_(2)  # style doubled: demodulation halves, the ring stays
        y2 = layer(x, w, ring)
    torch.testing.assert_close(y2, y1 / 2, rtol=1e-4, atol=1e-6)
    assert y1.abs().max() > 0


def test_only_border_pixels_see_the_ring() -> None:
    layer = make().layers[2]
    x, w = torch.randn(1, 5, 8, 8), torch.randn(1, 8)
    changed = (layer(x, w, torch.randn(1, 5, 36)) - layer(x, w)).abs().amax(dim=1)[0] > 1e-7
    border = torch.ones_like(changed)
    border[1:-1, 1:-1] = False
    assert changed[border].all()
    assert not changed[1:-1, 1:-1].any()


def test_the_callers_tensors_are_untouched() -> None:
    g = make()
    wp = torch.randn(2, *SPEC.wp_shape)
    const, rings = padding_for(SPEC, 2)
    before = [t.clone() for t in (wp, const, *rings.values())]
    g.synthesis(wp, const, rings)
    for t, b in zip((wp, const, *rings.values()), before, strict=True):
        assert torch.equal(t, b)


def test_gradients_reach_codes_and_padding() -> None:
    spec = ModelSpec(8, (3, 2), z_dim=3, w_dim=3, mapping_layers=1)
    g = make(spec).double()
    wp = torch.randn(1, *spec.wp_shape, dtype=torch.float64, requires_grad=True)
    const, rings = padding_for(spec, 1, torch.float64)
    const.requires_grad_()
    ring = rings[4].requires_grad_()
    assert torch.autograd.gradcheck(lambda w, c, p: g.synthesis(w, c, {4: p}), (wp, const, ring))


def test_ring_order_and_round_trip() -> None:
    padded = torch.arange(36.0).reshape(1, 1, 6, 6)
    ring = extract_ring(padded)
    assert ring[0, 0].tolist() == [
        0, 1, 2, 3, 4, 5, 30, 31, 32, 33, 34, 35, 6, 12, 18, 24, 11, 17, 23, 29,
    ]  # fmt: skip
    assert torch.equal(concat_ring(padded[:, :, 1:-1, 1:-1], ring), padded)


def test_upsampling_of_the_rgb_skip_is_the_4_tap_filter() -> None:
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    np.testing.assert_allclose(upsample_image(x)[0].numpy(), reference_up(x[0].numpy()), atol=1e-12)


def test_half_precision_agrees_with_full() -> None:
    """The ring shares the style's pre-normalisation, or float16 and float32 would disagree by the style's size."""
    g = make()
    with torch.no_grad():
        for layer in g.layers:
            layer.affine.weight.mul_(40)  # styles of a size that makes the factor matter
    wp = torch.randn(2, *SPEC.wp_shape)
    const, rings = padding_for(SPEC, 2)
    want = g.synthesis(wp, const, rings)
    half = {r: t.half() for r, t in rings.items()}
    got = g.half().synthesis(wp.half(), const.half(), half)
    assert got.isfinite().all()
    assert (got - want).abs().max() < 0.03 * want.abs().max()


def test_mapping_and_truncation() -> None:
    g = make()
    z = torch.randn(5, 7)
    x = z / z.square().mean(dim=1, keepdim=True).add(1e-8).sqrt()
    for layer in g.mapping_network.layers:
        x = x @ (layer.weight * (0.01 / layer.weight.shape[1] ** 0.5)).T + layer.bias * 0.01
        x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
    torch.testing.assert_close(g.mapping(z), x)
    torch.testing.assert_close(g.mapping(z, 0.5), g.w_avg + 0.5 * (x - g.w_avg))
    torch.testing.assert_close(g.mapping(z, 0.0), g.w_avg.expand(5, -1))


def test_random_noise_differs_and_constant_noise_repeats() -> None:
    g = make()
    wp = torch.randn(1, *SPEC.wp_shape)
    assert torch.equal(g.synthesis(wp), g.synthesis(wp))
    assert not torch.equal(g.synthesis(wp, noise="random"), g.synthesis(wp, noise="random"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wp": torch.zeros(1, 5, 8)}, "wp must be"),
        ({"wp": torch.zeros(1, 6, 8), "const": torch.zeros(1, 6, 5, 5)}, "const must be"),
        ({"wp": torch.zeros(1, 6, 8), "rings": {4: torch.zeros(1, 6, 19)}}, "ring for 4 px must be"),
        ({"wp": torch.zeros(1, 6, 8), "rings": {64: torch.zeros(1, 6, 260)}}, "rings are given for"),
        ({"wp": torch.zeros(1, 6, 8), "noise": "loud"}, "noise is"),
    ],
)
def test_wrong_shapes_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        make().synthesis(**arguments)
