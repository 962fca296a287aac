"""A W space spanned by the latent codes of real images.

A small generator's mapping network often fails before its synthesis network does: codes that an encoder finds for
photographs make faces, codes of random z do not. This module keeps the synthesis network as it is, as a function of
styles, and gives it another W: principal components of the W+ codes of real images. The affine layers absorb the
change of basis exactly, so encoders follow by a change of their last layer, and random z of unit variance then have
the mean and the covariance of real codes.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from padinv.models.encoder import Encoder
from padinv.models.fast_encoder import FastBody
from padinv.models.generator import Generator
from padinv.models.layers import EqualLinear
from padinv.runtime.errors import InputError

# Directions of W that real codes hardly use are not inverted in an encoder's last layer: they would only amplify noise.
RIDGE = 0.03


@dataclass(frozen=True)
class LatentSpan:
    """How W+ codes of a generator are written in the new W: wp_l = matrix_l w' + mean_l.

    Attributes:
        mean: [L, w_dim], the mean code of each layer.
        matrices: [L, w_dim, w_dim], new code to old code.
        deviations: [z_dim], standard deviation of the first new coordinates over real images.
    """

    mean: Tensor
    matrices: Tensor
    deviations: Tensor


def span_of(wp: Tensor, z_dim: int) -> LatentSpan:
    """The span of real images' codes.

    Args:
        wp: [N, L, w_dim], codes of at least w_dim images by an encoder without padding.
        z_dim: how many components random samples vary in.

    Raises:
        InputError: too few codes.
    """
    n, layers, width = wp.shape
    if n <= width:
        raise InputError(f"the span of {width} components needs the codes of more than {width} images, not {n}")
    mean = wp.mean(dim=0)
    _, values, components = torch.linalg.svd((wp - mean).flatten(1), full_matrices=False)
    deviations = values[:width] / math.sqrt(n)
    # One common factor brings the coordinates to about unit size; a factor each would blow up what hardly varies.
    scale = deviations[:z_dim].square().mean().sqrt()
    matrices = (scale * components[:width]).reshape(width, layers, width).permute(1, 2, 0)
    return LatentSpan(mean, matrices.contiguous(), deviations[:z_dim] / scale)


def _affines(generator: Generator) -> list[tuple[EqualLinear, int]]:
    """Every affine layer with the index of the code that it reads."""
    found = [(layer.affine, k) for k, layer in enumerate(generator.layers)]
    found += [(rgb.affine, 2 * k + 1) for k, rgb in enumerate(generator.to_rgb)]
    return found  # type: ignore[return-value]


@torch.no_grad()
def span_generator(generator: Generator, span: LatentSpan) -> Generator:
    """The same synthesis network over the new W, with a mapping network that starts as the identity on z.

    Returns:
        a generator with `synthesis(w')` equal to the old one's at `matrices w' + mean`, for w' [N, w_dim].

    Raises:
        InputError: the mapping network does not have two layers of at least z_dim units.
    """
    result = copy.deepcopy(generator)
    for affine, k in _affines(result):
        gain = affine.lr_mult / math.sqrt(affine.weight.shape[1])
        affine.bias.add_(gain / affine.lr_mult * (affine.weight @ span.mean[k]))
        affine.weight.copy_(affine.weight @ span.matrices[k])
    spec = generator.spec
    widths = spec.mapping_widths
    if len(widths) != 3 or min(widths[1:]) < spec.z_dim:
        raise InputError(f"a spanned W needs a mapping network of two layers, not of the widths {widths}")
    first, second = result.mapping_network.layers
    assert isinstance(first, EqualLinear)
    assert isinstance(second, EqualLinear)
    for layer in (first, second):
        layer.weight.zero_()
        layer.bias.zero_()
    # Two leaky ReLUs of slope 0.2 and gain sqrt(2) undo each other: u = -2.5 lrelu(-z) gives lrelu(u) = z.
    j = torch.arange(spec.z_dim)
    first.weight[j, j] = -1.0 * math.sqrt(widths[0]) / first.lr_mult
    second.weight[j, j] = -2.5 * span.deviations * math.sqrt(widths[1]) / second.lr_mult
    # Units that the identity does not need begin at random, so that training can use them.
    spare = first.weight[spec.z_dim :]
    spare.copy_(torch.randn(spare.shape, generator=torch.Generator().manual_seed(0)) / first.lr_mult)
    result.w_avg.zero_()
    return result


@torch.no_grad()
def span_encoder(encoder: Encoder, span: LatentSpan, generator: Generator) -> Encoder:
    """A `fast` encoder of the old generator, predicting codes of the new W.

    Args:
        encoder: predicts codes of the old W.
        generator: the new generator, whose `w_avg` and constant the result carries.

    Raises:
        InputError: the encoder is not of the fast architecture.
    """
    result = copy.deepcopy(encoder)
    if not isinstance(result.body, FastBody):
        raise InputError("only encoders of the fast architecture can follow their generator to another W")
    layers, width = span.mean.shape
    codes = result.body.codes
    weight, bias = codes.weight.unflatten(0, (layers, width)), codes.bias.unflatten(0, (layers, width))
    for k in range(layers):
        left, values, right = torch.linalg.svd(span.matrices[k])
        inverse = right.T @ torch.diag(values / (values.square() + (RIDGE * values[0]).square())) @ left.T
        weight[k] = inverse @ weight[k]
        bias[k] = inverse @ (bias[k] + encoder.w_avg - span.mean[k]) - generator.w_avg
    result.w_avg.copy_(generator.w_avg)
    result.const.copy_(generator.const)
    return result


@torch.no_grad()
def mix_generators(first: Generator, second: Generator, share: float) -> Generator:
    """Weights (1 - share) of `first` and share of `second`, which was fine-tuned from it.

    Raises:
        InputError: the two have different geometries.
    """
    if first.spec != second.spec:
        raise InputError("only generators of the same geometry can be mixed")
    result = copy.deepcopy(first)
    other = second.state_dict()
    for name, value in result.state_dict().items():
        value.lerp_(other[name], share)
    return result


@torch.no_grad()
def scale_mapping(generator: Generator, factor: float) -> Generator:
    """The same synthesis network, with samples `factor` times as far from the zero of W.

    A leaky ReLU commutes with positive factors, so the last layer's weight and bias carry the factor. `w_avg` stays as
    it is: in a spanned W it lies next to zero, and encoders predict their codes relative to it.

    Raises:
        InputError: the factor is not positive.
    """
    if factor <= 0:
        raise InputError(f"the mapping network can be scaled by a positive factor only, not by {factor}")
    result = copy.deepcopy(generator)
    last = result.mapping_network.layers[-1]
    assert isinstance(last, EqualLinear)
    last.weight.mul_(factor)
    last.bias.mul_(factor)
    return result
