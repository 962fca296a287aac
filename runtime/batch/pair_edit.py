"""An edit that image pairs define (paper section 4.4), or that was saved: its direction, space and strength."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from padinv.runtime.batch.masks import read_mask
from padinv.runtime.batch.sources import Loaded, Reader
from padinv.runtime.editing.auto_space import FACES, SPATIAL, STEPS, STRENGTH_STEPS, Evidence, Trial
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.direction_edit import fingerprint
from padinv.runtime.editing.operations import SPACES, Space, apply, difference
from padinv.runtime.editing.pair_change import changed_region
from padinv.runtime.editing.pair_detail import detail_difference
from padinv.runtime.editing.region import Region
from padinv.runtime.errors import UsageError
from padinv.runtime.hub.directions import find_direction
from padinv.runtime.images import to_float
from padinv.runtime.inversion import Inversion

PairSpace = Literal["auto", "each", "padding", "latent", "both", "spatial"]


@dataclass(kw_only=True)
class PairEdit:
    """An edit to apply to any number of images.

    Attributes:
        direction: what is applied: the mean difference of the pairs, in both spaces, or of their spatial codes.
        space, strength: how it is applied.
        sentence: for people: which space and strength, and why.
        evidence: what the choice of the space rests on; None where nothing was compared.
        notes: sentences about the pairs that the user should see.
        pairs: the pictures that define it; none where it was read from a file.
        each: also make the edit in each space alone and in both (Fig. 9 of the paper).
        region: where the padding may move; None: everywhere.
        whole: the difference in both spaces that `each` shows, where `direction` is another; None: `direction`.
    """

    direction: Direction
    space: Space
    strength: float
    sentence: str
    evidence: Evidence | None = None
    notes: list[str] = field(default_factory=list)
    pairs: list[tuple[Loaded, Loaded]] = field(default_factory=list)
    each: bool = False
    region: Region | None = None
    whole: Direction | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of what `__call__` gives; the result is called ''."""
        return ("", *SPACES) if self.each else ("",)

    def __call__(self, targets: Inversion) -> dict[str, Inversion]:
        """A batch -> variant -> edited batch."""
        return {variant: self._edited(targets, variant) for variant in self.variants}

    def _edited(self, targets: Inversion, variant: str) -> Inversion:
        direction = self.whole if variant and self.whole is not None else self.direction
        edited = apply(targets, direction, variant or self.space, self.strength)  # type: ignore[arg-type]
        return edited if self.region is None else self.region.limit(targets, edited)

    def recipe(self) -> dict[str, Any]:
        """What decides the results besides the images, JSON-ready."""
        return {
            "direction": fingerprint(self.direction),
            "space": self.space,
            "strength": self.strength,
            "each": self.each,
            "region": None if self.region is None else self.region.fingerprint(),
        }


def edit_from_file(reader: Reader, path: Path, space: PairSpace, strength: float | None = None) -> PairEdit:
    """A direction that was saved in a file, or that a hub has (hf:USER/NAME/DIRECTION).

    Args:
        space: 'auto' takes the space that the file records, and so does 'each' for the result.
        strength: None takes the strength that the file records, or 1.

    Raises:
        InputError, MismatchError: see `Direction.load` and `require_generator`. UsageError: 'auto', and none recorded.
    """
    direction = Direction.load(find_direction(path))
    direction.require_generator(reader.model.generator_hash, str(path))
    recorded = direction.space
    if space == "spatial":
        raise UsageError("an edit in the spatial code is made from a pair; a saved one records how it is applied")
    if space in ("auto", "each"):
        if recorded is None:
            raise UsageError(f"{path} records no space, so choose one: --space {' or '.join(SPACES)}")
        chosen, sentence = recorded, f"space: {recorded}, as saved"
    else:
        chosen, sentence = space, f"space: {space}"
    if strength is None:
        saved = direction.info.get("strength")
        strength = float(saved) if isinstance(saved, (int, float)) and np.isfinite(saved) else 1.0
    return PairEdit(
        direction=direction,
        space=chosen,  # type: ignore[arg-type]
        strength=strength,
        sentence=sentence,
        each=space == "each",
    )


def steps(space: PairSpace, strength: float | None, *, spatial: bool = False) -> int:
    """How many pictures `edit_from_pairs` generates to choose, for a model with a spatial code or without."""
    chosen = space in ("auto", "each")
    return STEPS * (chosen or strength is None) + FACES * (chosen and spatial) + STRENGTH_STEPS * (strength is None)


def edit_from_pairs(
    reader: Reader,
    pairs: Sequence[tuple[Path, Path]],
    space: PairSpace = "auto",
    strength: float | None = 1.0,
    *,
    mask: Path | None = None,
    batch_size: int = 16,
    on_progress: Callable[[int], None] | None = None,
) -> PairEdit:
    """The edit that one or several pairs (A, A') show: the mean of their differences.

    Several pairs of one attribute average out what a single pair changes by chance. What is chosen automatically is
    chosen by what the mean does to other faces, compared there with the change that the first pair shows.

    Args:
        space: 'auto' and 'each' choose by evidence; 'each' also makes all of them. 'spatial': the change in the
            spatial code alone, see `detail_difference`.
        strength: None chooses it by the same evidence.
        mask: picture that limits what is compared; see `read_mask`.
        on_progress: called with a number of pictures as they are made, `steps` in all.

    Raises:
        InputError, MismatchError: a picture that cannot be used, or a pair that does not differ.
    """
    loaded = []
    for before, after in pairs:
        first = reader.load(before)
        loaded.append((first, reader.load(after, like=first)))
    direction = difference(_inversions([a for a, _ in loaded]), _inversions([b for _, b in loaded]))
    direction.info["sources"] = [one.source.name for pair in loaded for one in pair]
    edit = PairEdit(direction=direction, space="both", strength=1.0, sentence="", pairs=loaded, each=space == "each")
    edit.notes = [one.note for pair in loaded for one in pair if one.note]
    parts = []
    reason = ""
    if space == "auto" and not reader.model.predicts_padding:
        space, reason = "latent", ", because the model predicts no padding"
    compared = space in ("auto", "each", "spatial") or strength is None
    views = [_views(reader, pair, batch_size) for pair in loaded] if compared else []
    if space in ("auto", "each") or strength is None:
        trial = _trial(reader, loaded[0], views[0], mask, batch_size, on_progress)
    detail = _detail(reader, loaded, views, mask) if space in ("auto", "each", "spatial") else None
    if space == "spatial" and detail is None:
        raise UsageError(f"the model {reader.model.bundle.name} has no spatial code; choose another --space")
    chosen: str = space
    if space in ("auto", "each"):
        edit.evidence = trial.choose_space(direction, detail)
        chosen = edit.evidence.space
        parts.append(edit.evidence.sentence())
    else:
        parts.append(f"space: {space}{reason}")
    if chosen == SPATIAL:
        assert detail is not None
        detail.info |= direction.info
        edit.whole, edit.direction, direction, chosen = direction, detail, detail, "padding"
    if edit.evidence is not None:
        direction.info["evidence"] = edit.evidence.to_dict()
    edit.space = chosen  # type: ignore[assignment]
    if strength is None:
        edit.strength, scores = trial.choose_strength(direction, edit.space)
        direction.info["strengths"] = {f"{s:g}": asdict(score) for s, score in scores.items()}
        direction.info["strength"] = edit.strength
        parts.append(f"strength: {edit.strength:g}, the closest to the change on other faces")
    else:
        edit.strength = strength
    direction.info["space"] = edit.space
    edit.sentence = "; ".join(parts)
    return edit


def _inversions(loaded: Sequence[Loaded]) -> Inversion:
    return Inversion.concat([one.inversion for one in loaded if one.inversion is not None])


def _detail(
    reader: Reader, loaded: Sequence[tuple[Loaded, Loaded]], views: Sequence[np.ndarray], mask: Path | None
) -> Direction | None:
    """The pairs' change in the spatial code alone; None for a model without one."""
    model = reader.model
    before = _inversions([a for a, _ in loaded])
    if not model.spec.spatial_resolutions or not before.spatial:
        return None
    limit = None if mask is None else read_mask(mask, loaded[0][0], model.spec.image_size)
    regions = [changed_region(a, edited, limit) for a, edited in views]
    return detail_difference(model, before, np.stack([edited for _, edited in views]), regions)


def _views(reader: Reader, pair: tuple[Loaded, Loaded], batch_size: int) -> np.ndarray:
    """Two pictures, or two reconstructions: one of each would count what the inversion loses as an edit."""
    if all(one.pixels is not None for one in pair):
        return to_float(np.stack([one.pixels for one in pair if one.pixels is not None]))
    return reader.model.generate_for_encoder(_inversions(pair), batch_size)


def _trial(
    reader: Reader,
    pair: tuple[Loaded, Loaded],
    views: np.ndarray,
    mask_path: Path | None,
    batch_size: int,
    on_progress: Callable[[int], None] | None,
) -> Trial:
    model = reader.model
    mask = None if mask_path is None else read_mask(mask_path, pair[0], model.spec.image_size)
    return Trial(model, views[0], views[1], mask=mask, batch_size=batch_size, tick=on_progress)
