"""`results.jsonl`: one line an image, which survives being killed and says what a second run may skip."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from padinv.runtime.errors import OutputError
from padinv.runtime.files import write_text

RESULTS = "results.jsonl"
RESULTS_MARK = b'{"padinv": '  # how the first line of a results file of ours begins

VERSION = 1
PENDING = ".padinv-pending"


class Journal:
    """The results of a folder, and which files in it are ours.

    A record is a dictionary whose `name` is unique in the folder. Before a batch of outputs is written, their names go
    to a small pending file, so that a run that was killed between writing and recording is recognised afterwards.

    Args:
        out: folder of the results; made when it is missing.

    Raises:
        OutputError: not a folder, not writable, or in use by another run.
    """

    def __init__(self, out: Path | str) -> None:
        self.out = Path(out)
        self.path = self.out / RESULTS
        self.changed = False
        self._made = [folder for folder in (self.out, *self.out.parents) if not folder.exists()]
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise OutputError(f"{self.out} is a file, so no results can go there; give a folder with --out") from error
        except OSError as error:
            raise OutputError(
                f"cannot make the folder {self.out}: {error.strerror or error}; choose another --out"
            ) from error
        self.records, damaged = self._read()
        try:
            self._pending = open(self.out / PENDING, "a+", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        except OSError as error:
            raise OutputError(
                f"cannot write into {self.out}: {error.strerror or error}; choose another --out"
            ) from error
        try:
            self._lock()
            self._pending.seek(0)
            self._unrecorded = set(self._pending.read().splitlines())
            if damaged:  # a torn last line would swallow the next record
                self._rewrite()
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            self._pending.close()
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}; choose another --out") from error
        except BaseException:
            self._pending.close()
            raise

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two runs into one folder are then the user's own care
            return
        try:
            fcntl.flock(self._pending, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another padinv is writing into {self.out}; wait for it, or choose another --out"
            ) from error
        except OSError:  # a network file system without locks
            return

    def _read(self) -> tuple[dict[str, dict[str, Any]], bool]:
        """The records, last one of a name wins; and whether any line is torn, foreign or superseded."""
        records: dict[str, dict[str, Any]] = {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}, False
        except OSError as error:
            raise OutputError(f"cannot read {self.path}: {error.strerror or error}; choose another --out") from error
        if not (data.startswith(RESULTS_MARK) or RESULTS_MARK.startswith(data)):
            raise OutputError(f"{self.path} exists and is not padinv's, so nothing was written; choose another --out")
        damaged = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                damaged = True
                continue
            if isinstance(record, dict) and record.get("padinv") == VERSION and isinstance(record.get("name"), str):
                records[record["name"]] = record
            else:
                damaged = True
        return records, damaged

    def ours(self, name: str, source: str, output: str) -> bool:
        """Whether an existing file `output` is what an earlier run made of this very source."""
        if output in self._unrecorded:
            return True
        record = self.records.get(name)
        if record is None or record.get("source") != source:
            return False
        outputs = record.get("outputs")
        if not isinstance(outputs, dict):
            return False
        try:
            size = (self.out / output).stat().st_size
        except OSError:
            return False
        return any(
            isinstance(entry, dict) and entry.get("file") == output and entry.get("bytes") == size
            for entry in outputs.values()
        )

    def complete(self, name: str, like: dict[str, Any]) -> bool:
        """Whether `name` was done before with the same values of all keys in `like`, and its outputs are there."""
        record = self.records.get(name)
        if record is None or any(record.get(key) != value for key, value in like.items()):
            return False
        outputs = record.get("outputs")
        if not isinstance(outputs, dict) or not outputs:
            return False
        return all(
            isinstance(entry, dict) and self.ours(name, record.get("source", ""), str(entry.get("file")))
            for entry in outputs.values()
        )

    def announce(self, outputs: Iterable[str]) -> None:
        """Note the names of outputs that are about to be written."""
        names = list(outputs)
        self._unrecorded.update(names)
        try:
            self._pending.write("".join(f"{name}\n" for name in names))
            self._pending.flush()
        except OSError as error:
            raise OutputError(f"cannot write into {self.out}: {error.strerror or error}") from error

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Append finished records: one line each, in one write."""
        lines = b""
        for record in records:
            whole = {"padinv": VERSION, **record}
            self._unrecorded -= {entry["file"] for entry in record["outputs"].values()}
            self.changed = True
            self.records[whole["name"]] = whole
            lines += json.dumps(whole, allow_nan=False).encode() + b"\n"
        try:
            os.write(self._file.fileno(), lines)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _rewrite(self) -> None:
        write_text(self.path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in self.records.values()))

    def close(self) -> None:
        """Leave exactly one line an image, and no trace of the work in progress."""
        self._file.close()
        try:
            if self.changed:
                self._rewrite()
            elif not self.records:
                self.path.unlink(missing_ok=True)
            if not any((self.out / output).exists() for output in self._unrecorded):
                (self.out / PENDING).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error
        finally:
            self._pending.close()
        if not self.records:
            for folder in self._made:  # made for nothing; one that is not empty stays
                with contextlib.suppress(OSError):
                    folder.rmdir()
