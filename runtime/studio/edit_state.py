"""What the controls of the studio say about one photograph, as the browser sends it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Strength = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A value: equal where its fields are, and never changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Blend(Frozen):
    """What is borrowed from a second photograph; see `padinv.runtime.editing.saved_edit.Borrowed`."""

    photo: Identifier
    layers: tuple[Annotated[int, Field(ge=0, le=63)], ...] = Field(default=(), max_length=64)
    latents: Part = 1.0
    padding: Part = 1.0
    resolutions: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = Field(default=(), max_length=10)
    mask: Identifier | None = None


class EditState(Frozen):
    """All edits of one photograph.

    Attributes:
        directions: identifier of a direction of the session -> strength; 0 counts as absent.
        blend: None where nothing is borrowed.
    """

    directions: dict[Identifier, Strength] = Field(default_factory=dict, max_length=64)
    blend: Blend | None = None


class Square(Frozen):
    """How the square that the model looks at was moved away from where the detector put it.

    Attributes:
        right, down: movement in fractions of its side.
        scale: factor on its side.
        turn: degrees, clockwise.
    """

    right: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = 0.0
    down: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = 0.0
    scale: Annotated[float, Field(ge=0.5, le=2, allow_inf_nan=False)] = 1.0
    turn: Annotated[float, Field(ge=-45, le=45, allow_inf_nan=False)] = 0.0


class Labelled(Frozen):
    """A step of the history: the new state and what led to it."""

    state: EditState
    label: str = Field(default="edited", max_length=80)


class Interpolation(Frozen):
    """The way from one photograph of the session to another."""

    photo: Identifier
    space: Literal["padding", "latent", "both"] = "both"
    steps: int = Field(default=9, ge=2, le=60)


class Refinement(Frozen):
    """How long a photograph is refined; see `padinv.runtime.studio.refining`."""

    steps: int = Field(default=30, ge=1, le=300)


class Placing(Frozen):
    """Which face of a photograph is edited, and how its square was adjusted."""

    face: int = Field(default=1, ge=1, le=1000)
    square: Square = Square()


class Pair(Frozen):
    """A' of a custom edit, which was sent beside it, made from one of the session's photographs."""

    name: str = Field(default="custom edit", min_length=1, max_length=60)
    space: Literal["auto", "padding", "latent", "both"] = "auto"
