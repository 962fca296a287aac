"""What can be said about a photograph and its reconstruction in words, without showing either.

Every fact is measured: the wording follows from numbers, and whoever runs it on other photographs gets other words.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from padinv.runtime.alignment.face_detector import FaceDetector
from padinv.runtime.alignment.templates import FACES

_LUMA = np.array([0.299, 0.587, 0.114])
# Boxes as shares of the side of a crop that is aligned to the template 'faces': left, top, right, bottom.
REGIONS = {
    "the eyes": (0.16, 0.20, 0.84, 0.40),
    "the mouth": (0.26, 0.60, 0.74, 0.82),
    "the top edge (hair, hat)": (0.0, 0.0, 1.0, 0.12),
    "the bottom edge (chin, clothes, hands)": (0.0, 0.88, 1.0, 1.0),
    "the left edge": (0.0, 0.12, 0.12, 0.88),
    "the right edge": (0.88, 0.12, 1.0, 0.88),
}
# Fact -> (words, whether large values have it). The limit is the outer tenth of all photographs.
FACTS = {
    "brightness": ("dark", "bright"),
    "contrast": ("flat light", "hard contrast"),
    "detail": ("smooth or blurred", "much fine detail"),
    "side light": ("", "lit from one side"),
    "saturation": ("nearly grey", "strong colours"),
    "turn": ("", "head turned"),
}
NO_FACE = "the detector finds no face (covered, or turned far)"
_SHARE = 10  # per cent at each end


def facts_of(pixels: np.ndarray, detector: FaceDetector) -> dict[str, float]:
    """uint8 RGB [S, S, 3], an aligned crop -> fact -> number; 'turn' is nan where no face is found."""
    values = pixels.astype(np.float64) / 255
    luma = values @ _LUMA
    side = luma.shape[0]
    across = np.diff(luma, axis=0)[:, :-1], np.diff(luma, axis=1)[:-1]
    image = Image.fromarray(pixels)
    face = detector.measure(image, np.asarray(FACES, np.float64) * side)
    turn = float("nan")
    if face is not None:
        eyes, nose = face.landmarks[:2], face.landmarks[2]
        turn = float(abs(nose[0] - eyes[:, 0].mean()) / np.ptp(eyes[:, 0]))
    middle = luma[side // 4 : 3 * side // 4]
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "detail": float(np.sqrt(np.square(across[0]).mean() + np.square(across[1]).mean())),
        "side light": float(abs(middle[:, : side // 2].mean() - middle[:, side // 2 :].mean())),
        "saturation": float((values.max(axis=2) - values.min(axis=2)).mean()),
        "turn": turn,
    }


def words_of(facts: list[dict[str, float]]) -> list[list[str]]:
    """The words that apply to each photograph: what sets it apart from the others."""
    words: list[list[str]] = [[] for _ in facts]
    for name, (low_word, high_word) in FACTS.items():
        values = np.array([one[name] for one in facts])
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        low, high = np.percentile(known, [_SHARE, 100 - _SHARE])
        for k, value in enumerate(values):
            if low_word and value < low:
                words[k].append(low_word)
            elif value > high:
                words[k].append(high_word)
    for k, one in enumerate(facts):
        if not np.isfinite(one["turn"]):
            words[k].append(NO_FACE)
    return words


def where_it_is_wrong(photograph: np.ndarray, reconstruction: np.ndarray) -> str:
    """The region whose squared error is largest, relative to the whole; both uint8 [S, S, 3]."""
    error = np.square(photograph.astype(np.float64) - reconstruction).mean(axis=2)
    side = error.shape[0]
    ratios = {}
    for name, box in REGIONS.items():
        left, top, right, bottom = (round(side * part) for part in box)
        ratios[name] = float(error[top:bottom, left:right].mean() / max(error.mean(), 1e-9))
    worst = max(ratios, key=lambda name: ratios[name])
    return f"{worst}, {ratios[worst]:.1f} times the mean" if ratios[worst] > 1.3 else "everywhere alike"
