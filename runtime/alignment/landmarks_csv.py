"""Landmarks from a CSV file, for whoever has them from elsewhere."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path

import numpy as np

from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular

MAX_BYTES = 256 << 20
COLUMNS = (
    "file",
    *(f"{point}_{axis}" for point in ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth") for axis in "xy"),
)


def read_landmarks(path: Path | str) -> dict[str, list[np.ndarray]]:
    """Read a CSV file: name of a picture, then x and y of right eye, left eye, nose, right and left mouth corner.

    'Right' is the person's own, at the picture's left. Coordinates are pixels of the upright picture, from its upper
    left corner. A picture with several faces has several lines. A first line of column names is allowed.

    Returns:
        name of the picture, with / -> its faces in the file's order, each [5, 2].

    Raises:
        InputError: missing, not such a file, or five points that are no face; the sentence names the line.
    """
    path = Path(path)
    faces: dict[str, list[np.ndarray]] = {}
    try:
        with open_regular(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            if os.fstat(raw.fileno()).st_size > MAX_BYTES:
                raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB, so it was not read as landmarks")
            for number, row in enumerate(csv.reader(file), 1):
                if not any(cell.strip() for cell in row):
                    continue
                points = _numbers(row[1:])
                if number == 1 and all(_numbers([cell] * 10) is None for cell in row[1:]):
                    continue  # column names
                if len(row) != len(COLUMNS) or points is None:
                    raise InputError(
                        f"line {number} of {path} is not a name and ten numbers; the columns are {', '.join(COLUMNS)}"
                    )
                face = np.array(points).reshape(5, 2)
                if np.ptp(face, axis=0).max() < 1:
                    raise InputError(f"line {number} of {path} holds five points that coincide, so they are not a face")
                faces.setdefault(row[0].strip().replace("\\", "/"), []).append(face)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 CSV"
        raise InputError(f"{path} cannot be read as landmarks: {reason}") from error
    if not faces:
        raise InputError(f"{path} holds no landmarks; its columns are {', '.join(COLUMNS)}")
    return faces


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if len(values) == 10 and all(math.isfinite(value) for value in values) else None
