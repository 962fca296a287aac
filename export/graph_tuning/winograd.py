"""Winograd's minimal filtering F(4 x 4, 3 x 3) as ordinary ONNX operators (Lavin and Gray 2016, section 4.3).

A 3 x 3 convolution of stride 1 takes 36 multiplications for a 4 x 4 tile of outputs in place of 144. A convolution
with 6 x 6 kernels of stride 4 transforms every channel, 36 matrix products over channels take the place of the
convolution, and a matrix product with a depth-to-space puts the tiles together. Float32 results differ from the direct
convolution's by about 1e-5 of the largest.

Weights are stored as they are. Their transform is a matrix product of two constants, which a runtime folds when it
loads the graph: the file does not grow, the loaded weights take four times the memory.
"""

from __future__ import annotations

import numpy as np

from padinv.export.graph_tuning.fragment import Fragment

TILE = 4
POINTS = TILE + 2
INPUT = np.array([
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
], np.float64)  # fmt: skip
"""B^T of the paper: six values of the input -> six points."""
FILTER = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""G: three weights -> six points."""
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
"""A^T: six points -> four outputs."""
_ONES = 1  # the point whose value reaches every output of its tile unchanged: column 1 of OUTPUT


def squared(matrix: np.ndarray) -> np.ndarray:
    """The same transform along rows and columns at once: [a, b] -> [a * a, b * b]."""
    return np.kron(matrix, matrix)


def winograd(
    fragment: Fragment, value: str, weight: np.ndarray, bias: np.ndarray | None, size: int, pad: int, *, grouped: bool
) -> str:
    """Add a 3 x 3 convolution of stride 1.

    Args:
        value: name of the input [N, C_in, size + 2 - 2 * pad, ...].
        weight: [C_out, C_in, 3, 3].
        bias: [C_out] or None.
        size: side of the output, a multiple of 4.
        pad: 1: zeros around the input; 0: none.
        grouped: take the products over channels as one grouped 1 x 1 convolution, not as matrix products.

    Returns:
        name of the output [N, C_out, size, size].
    """
    outputs, inputs = weight.shape[:2]
    tiles, points = size // TILE, POINTS**2
    tiled = fragment.reshape(value, -1, 1, size + 2 - 2 * pad, size + 2 - 2 * pad)
    kernels = fragment.constant("input_transform", squared(INPUT).reshape(points, 1, POINTS, POINTS))
    spectrum = fragment.node(
        "Conv", tiled, kernels, kernel_shape=[POINTS] * 2, strides=[TILE] * 2, pads=[pad] * 4
    )  # [N * C_in, points, tiles, tiles]
    spectrum = fragment.reshape(spectrum, -1, inputs, points, tiles * tiles)
    spectrum = fragment.node("Transpose", spectrum, perm=[0, 2, 1, 3])
    # [9, C_out * C_in] -> [points, C_out * C_in]: constant, so folded by the runtime.
    raw = fragment.constant("weight", weight.reshape(outputs * inputs, 9).T)
    filters = fragment.node("MatMul", fragment.constant("filter_transform", squared(FILTER)), raw)
    if grouped:
        filters = fragment.reshape(filters, points * outputs, inputs, 1, 1)
        spectrum = fragment.reshape(spectrum, -1, points * inputs, tiles, tiles)
        operands = [spectrum, filters]
        if bias is not None:
            shifts = np.zeros((points, outputs))
            shifts[_ONES * POINTS + _ONES] = bias
            operands.append(fragment.constant("bias", shifts.reshape(-1)))
        products = fragment.node("Conv", *operands, kernel_shape=[1, 1], group=points)
    else:
        filters = fragment.reshape(filters, 1, points, outputs, inputs)
        products = fragment.node("MatMul", filters, spectrum)  # [N, points, C_out, tiles^2]
    products = fragment.reshape(products, -1, points, outputs * tiles * tiles)
    back = fragment.node("MatMul", fragment.constant("output_transform", squared(OUTPUT)), products)
    back = fragment.reshape(back, -1, TILE * TILE * outputs, tiles, tiles)
    result = fragment.node("DepthToSpace", back, blocksize=TILE, mode="DCR")
    if bias is not None and not grouped:
        result = fragment.node("Add", result, fragment.constant("bias", bias[:, None, None]))
    return result


def winograd_rows(
    fragment: Fragment, value: str, weight: np.ndarray, bias: np.ndarray | None, size: int, pad: int
) -> str:
    """Like `winograd`, along columns of the picture only: half the multiplications of a direct convolution, and less
    to transform, which is better for few channels at high resolutions."""
    outputs, inputs = weight.shape[:2]
    tiles, side = size // TILE, size + 2 - 2 * pad
    single = fragment.reshape(value, -1, 1, side, side)
    kernels = fragment.constant("input_transform", INPUT[:, None, :, None])
    spectrum = fragment.node(
        "Conv", single, kernels, kernel_shape=[POINTS, 1], strides=[TILE, 1], pads=[pad, 0, pad, 0]
    )
    spectrum = fragment.reshape(spectrum, -1, inputs, POINTS, tiles * side)
    spectrum = fragment.node("Transpose", spectrum, perm=[0, 2, 1, 3])
    spectrum = fragment.reshape(spectrum, -1, POINTS * inputs, tiles, side)
    raw = fragment.constant("weight", weight.transpose(2, 0, 1, 3).reshape(3, outputs * inputs * 3))
    filters = fragment.node("MatMul", fragment.constant("filter_transform", FILTER), raw)
    filters = fragment.reshape(filters, POINTS * outputs, inputs, 1, 3)
    operands = [spectrum, filters]
    if bias is not None:
        shifts = np.zeros((POINTS, outputs))
        shifts[_ONES] = bias
        operands.append(fragment.constant("bias", shifts.reshape(-1)))
    products = fragment.node("Conv", *operands, kernel_shape=[1, 3], pads=[0, pad, 0, pad], group=POINTS)
    products = fragment.reshape(products, -1, POINTS, outputs * tiles * size)
    back = fragment.node("MatMul", fragment.constant("output_transform", OUTPUT), products)
    back = fragment.reshape(back, -1, TILE, outputs * tiles, size)
    back = fragment.node("Transpose", back, perm=[0, 2, 1, 3])
    return fragment.reshape(back, -1, outputs, size, size)
