"""What precision an engine really computes in, read from TensorRT's own inspector."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from padinv.runtime.errors import ExportError

# In layer types, kernel and ONNX node names: 'CaskConvolution', 'correlation' (Myelin's name), '/conv/Conv'.
_CONVOLUTION = ("conv", "correlation")
_MOVES = ("reformat", "noop", "constant", "shape", "signal", "wait")  # these rearrange data and compute nothing
_HALF = ("half", "fp16", "float16")
_SINGLE = ("float", "fp32")


@dataclass(frozen=True)
class Precision:
    """How many layers compute in float16 and in float32.

    Attributes:
        convolutions: 'fp16' or 'fp32' -> layers that are recognisable as convolutions.
        others: the same for all other layers that compute.
    """

    convolutions: dict[str, int]
    others: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"convolutions": self.convolutions, "others": self.others}


def layer_precisions(text: str) -> Precision:
    """Read `IEngineInspector.get_engine_information(JSON)` of TensorRT 10 or 11.

    TensorRT 10 gives each tensor of a layer one field "Format/Datatype" ('Half', or 'Row major linear FP16 format');
    11 splits it into a format and a data type. Names in the JSON may hold control characters.

    Raises:
        ExportError: not such JSON, or an engine built without detailed profiling verbosity.
    """
    try:
        layers = json.loads(text, strict=False)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"TensorRT's inspector gave no list of layers ({error}), so the precision is unknown"
        ) from error
    convolutions: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for layer in layers:
        if not isinstance(layer, dict):
            raise ExportError("the engine was built without detailed profiling verbosity, so its precision is unknown")
        words = " ".join(str(layer.get(key, "")) for key in ("LayerType", "ParameterType")).lower()
        if any(move in words for move in _MOVES):
            continue
        tensors = [t for side in ("Inputs", "Outputs") for t in layer.get(side, []) if isinstance(t, dict)]
        kinds = {_kind(tensor) for tensor in tensors}
        # A cast may be fused into a layer, so one float16 tensor is enough; a float32 layer has none.
        kind = next((name for name in ("fp16", "fp32") if name in kinds), None)
        if kind is None:
            continue
        words += " " + " ".join(str(layer.get(key, "")) for key in ("Name", "TacticName", "Metadata")).lower()
        (convolutions if any(word in words for word in _CONVOLUTION) else others)[kind] += 1
    return Precision(dict(convolutions), dict(others))


def _kind(tensor: dict[str, Any]) -> str:
    """'fp16', 'fp32' or 'other' (whole numbers), whatever TensorRT calls the field."""
    named = {key.lower().replace(" ", ""): str(value).lower() for key, value in tensor.items()}
    text = named.get("datatype") or named.get("type") or named.get("format/datatype") or named.get("format") or ""
    if any(word in text for word in _HALF):
        return "fp16"
    return "fp32" if any(word in text for word in _SINGLE) else "other"


def check_precision(text: str, precision: str, what: str) -> Precision:
    """Compare an engine's layers with what was asked for.

    'fp16': no convolution may be float32 (and where none is recognisable, most layers must be float16).
    'fp32': nothing may be float16.

    Raises:
        ExportError: another precision came out.
    """
    found = layer_precisions(text)
    counts = found.convolutions or found.others
    half, single = counts.get("fp16", 0), counts.get("fp32", 0)
    if precision == "fp16":
        wrong = single > 0 if found.convolutions else single >= half
        wrong = wrong or half == 0
    else:
        wrong = bool(half or found.others.get("fp16", 0)) or single == 0
    if wrong:
        kind = "convolutions" if found.convolutions else "layers"
        raise ExportError(
            f"{what} was asked for in {precision}, but TensorRT built {half} of its {kind} in fp16 and {single} in "
            "fp32, so it was not kept"
        )
    return found
