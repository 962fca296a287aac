"""What the REST service takes and gives. The same fields come as JSON (files in base64) or as a multipart form."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER


def _decoded(value: Any) -> Any:
    """Base64 text -> bytes; a data: URL counts as its content; bytes (of a multipart form) stay."""
    if not isinstance(value, str):
        return value
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("this is not valid base64") from error


FileBytes = Annotated[
    bytes,
    BeforeValidator(_decoded),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "format": "binary"}),
]
Strength = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]


class Strict(BaseModel):
    """A request: a field that does not exist is refused, because it would be ignored otherwise."""

    model_config = ConfigDict(extra="forbid")


class ReadingOptions(Strict):
    """How a photograph becomes the model's square; the same options as on the command line."""

    align: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="auto aligns photographs whose face is not in place; always refuses those without one.",
    )
    face: int = Field(default=1, ge=1, le=1000, description="Which face of a photograph, 1 being the largest.")
    fit: Literal["crop", "pad"] = Field(default="crop", description="How a picture that is not aligned becomes square.")


class PasteOptions(Strict):
    """Whether the answer also holds the whole photograph."""

    paste_back: bool = Field(
        default=False, description="Also give the photograph with the result put back in its place."
    )
    feather: float = Field(
        default=DEFAULT_FEATHER, gt=0, le=0.5, description="Width of the seam in fractions of the side."
    )


class InvertRequest(ReadingOptions, PasteOptions):
    """A photograph to invert."""

    image: FileBytes = Field(description="PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC.")
    dtype: Literal["float16", "float32"] = Field(default="float16", description="Number format of the inversion.")


class EditRequest(ReadingOptions, PasteOptions):
    """A photograph, or its inversion, and what to change of it."""

    image: FileBytes | None = None
    inversion: FileBytes | None = Field(default=None, description="Instead of `image`: the file that /v1/invert gave.")
    directions: dict[str, Strength] = Field(
        default_factory=dict, max_length=32, description="Name of one of the model's directions -> strength."
    )
    direction: FileBytes | None = Field(default=None, description="A direction file of padinv, besides the named ones.")
    strength: Strength = Field(default=1.0, description="Of the direction file.")
    space: Literal["auto", "padding", "latent", "both"] = Field(default="auto", description="Of the direction file.")
    saved_edit: FileBytes | None = Field(
        default=None, description="Instead of directions: an edit that padinv studio saved."
    )
    dtype: Literal["float16", "float32"] = "float16"


class BlendRequest(ReadingOptions, PasteOptions):
    """Two photographs or inversions: A gives the facial features, B the shape, hair and background."""

    a: FileBytes | None = None
    b: FileBytes | None = None
    a_inversion: FileBytes | None = None
    b_inversion: FileBytes | None = None
    strength: Strength = 1.0
    layers: str | None = Field(
        None, max_length=200, description="Latent codes taken from A, like 0-6; all if left out."
    )
    region: Literal["left", "right", "top", "bottom", "border", "centre"] | None = Field(
        default=None, description="Where the padding of B is taken; elsewhere that of A stays. All of it if left out."
    )
    mask: FileBytes | None = Field(
        default=None, description="Instead of `region`: a square picture over the aligned face, white where B is taken."
    )
    resolutions: list[int] | None = Field(
        default=None, min_length=1, max_length=10, description="Padded resolutions that are taken; all if left out."
    )
    dtype: Literal["float16", "float32"] = "float16"


class GenerateRequest(Strict):
    """Seeds to sample, or an inversion to render."""

    seeds: list[Annotated[int, Field(ge=0, lt=1 << 32)]] = Field(default_factory=list)
    truncation: float = Field(default=0.7, ge=-2, le=2, allow_inf_nan=False)
    inversion: FileBytes | None = None


class Answer(BaseModel):
    """One result. `Accept: image/png` gives the picture alone, `application/octet-stream` the inversion alone."""

    image: FileBytes = Field(description="PNG of the model's square.")
    inversion: FileBytes = Field(description="A .safetensors file that /v1/edit, /v1/blend and `padinv` take.")
    photo: FileBytes | None = Field(default=None, description="PNG of the whole photograph, with paste_back.")
    metrics: dict[str, float] | None = Field(default=None, description="MSE, PSNR and SSIM of an inversion.")
    faces: int | None = Field(default=None, description="How many faces were found; null where nobody looked.")
    notes: list[str] = Field(default_factory=list, description="What the user should know.")


class Pictures(BaseModel):
    """Generated pictures, in the order of the seeds."""

    images: list[FileBytes]
    inversion: FileBytes


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
