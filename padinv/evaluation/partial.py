"""The records of a measurement that is not finished yet: they survive being interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from padinv.runtime.errors import OutputError
from padinv.runtime.files import parse_json, write_text


class Partial:
    """The records of an unfinished measurement: `.padinv-eval-KEY.jsonl`, one line a picture.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: Path, wanted: set[str], fresh: bool = False) -> None:
        self.path = path
        self.records: dict[str, dict[str, float]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for line in path.read_text("utf-8").splitlines() if path.exists() and not fresh else []:
                record = _record(line, wanted)
                if record is not None:
                    self.records[record["name"]] = record["values"]
            # Written afresh, so that a line torn by a crash cannot swallow the next one.
            text = "".join(self._line(name, values) for name, values in self.records.items())
            write_text(path, text)
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(
                f"cannot write into {path.parent}: {error.strerror or error}; choose another --out"
            ) from error

    @staticmethod
    def _line(name: str, values: dict[str, float]) -> str:
        return json.dumps({"name": name, "values": values}) + "\n"

    def add(self, records: dict[str, dict[str, float]]) -> None:
        """Append the records of a batch."""
        self.records.update(records)
        try:
            self._file.write("".join(self._line(name, values) for name, values in records.items()))
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file; what it holds stays."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file: the measurement is finished and written elsewhere."""
        self.path.unlink(missing_ok=True)


def _record(line: str, wanted: set[str]) -> dict[str, Any] | None:
    """A line of a partial file, or None where it is torn or of other metrics."""
    try:
        record = parse_json(line)
        values = {str(key): float(value) for key, value in record["values"].items()}
        return {"name": str(record["name"]), "values": values} if set(values) == wanted else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
