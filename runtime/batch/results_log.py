"""`results.jsonl`: one line per result, for every verb. It says what is done, and which files in a folder are ours."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.runtime.batch.ownership import Origin, read_origin
from padinv.runtime.batch.record_index import Entry, Record, RecordIndex
from padinv.runtime.errors import OutputError
from padinv.runtime.files import atomic_path, parse_json, sweep
from padinv.runtime.locks import FolderInUseError, quiet_folder_lock

if TYPE_CHECKING:
    from padinv.runtime.batch.engine import Task

RESULTS = "results.jsonl"
RESULTS_MARK = b'{"padinv": '  # how the first line of a results file of ours begins
SHARDS = "results.shard-*.jsonl"  # see `shards`
VERSION = 1
_OLD_PENDING = ".padinv-pending"  # a list of earlier versions, which proves nothing
_logger = logging.getLogger("padinv")


class ResultsLog:
    """The results of a folder, locked while this object is open.

    A record has a `verb`, a `name` that is unique for the verb, `owner` and `origin` (see `Origin`), and `outputs`:
    kind -> {'file', 'bytes'}. It is written after its files. A file belongs to a task if the record of an earlier run
    says so and its size agrees, or if the file itself carries the origin (a run that was killed before recording).

    Args:
        out: folder of the results; made when it is missing.

    Raises:
        OutputError: not a folder, not writable, in use by another run, or with a foreign results.jsonl.

    Example:
        with ResultsLog("out") as log:
            events = list(run(step, tasks, log))
    """

    def __init__(self, out: Path | str) -> None:
        self.out = Path(out)
        self._folder = str(self.out)
        self.path = self._log_path()
        self.changed = False
        self._made = [folder for folder in (self.out, *self.out.parents) if not folder.exists()]
        self._stack = ExitStack()
        check_out(self.out)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock()
            # Nothing is read before the lock is held: what another run adds meanwhile would be lost.
            self.records = RecordIndex()
            self._stack.callback(lambda: self.records.close())
            self._load()
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            self._stack.callback(self._file.close)
            self._own = self.records.open(self.path)
        except FolderInUseError as error:
            self._stack.close()
            raise OutputError(
                f"another padinv is writing into {self.out}; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            self._stack.close()
            raise OutputError(
                f"cannot write into {self.out}: {error.strerror or error}; choose another --out"
            ) from error
        except BaseException:
            self._stack.close()
            raise

    def _log_path(self) -> Path:
        return self.out / RESULTS

    def _lock(self) -> None:
        self._stack.enter_context(quiet_folder_lock(self.out))

    def _load(self) -> None:
        """Read the records, those of shards included, and tidy up after killed runs."""
        damaged = self._take_in(self.path)
        shards = sorted(self.out.glob(SHARDS))
        for shard in shards:
            self._take_in(shard)  # they are newer: this log takes them in whenever it is opened
        sweep(self.out)
        (self.out / _OLD_PENDING).unlink(missing_ok=True)
        if damaged or shards:  # a torn last line would swallow the next record
            self._rewrite()
            self.records.close()
            self.records = RecordIndex()
            self._take_in(self.path)
        for shard in shards:
            shard.unlink(missing_ok=True)

    def __enter__(self) -> ResultsLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _take_in(self, path: Path) -> bool:
        """Index the records of a file, the last one of a name wins; whether any line is torn or foreign."""
        try:
            number = self.records.open(path)
            with open(path, "rb") as file:
                if not _is_ours(file.read(len(RESULTS_MARK))):
                    raise OutputError(
                        f"{path} exists and is not padinv's, so nothing was written; choose another --out"
                    )
                file.seek(0)
                return self._index(file, number)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror or error}; choose another --out") from error

    def _index(self, lines: Iterable[bytes], number: int) -> bool:
        damaged = False

        def entries() -> Iterator[Entry]:
            nonlocal damaged
            start = 0
            for line in lines:
                record = _record(line)
                if record is not None:
                    yield (record["verb"], record["name"]), number, start, len(line.rstrip())
                damaged = damaged or record is None or not line.endswith(b"\n")
                start += len(line)

        self.records.put(entries())
        return damaged

    def of_verb(self, verb: str) -> Iterator[Record]:
        """The records of a verb, by name, read as they are asked for."""
        return self.records.values(verb)

    def done(self, task: Task) -> Record | None:
        """The record of an earlier run that did exactly this, if all its files are in place."""
        record = self.records.get((task.verb, task.name))
        if record is None or record.get("origin") != task.decides or record.get("lost"):
            return None
        outputs = record["outputs"]
        if not outputs or not set(task.outputs) <= set(outputs):
            return None
        return record if all(self._in_place(entry) for entry in outputs.values()) else None

    def foreign(self, task: Task, files: Iterable[str]) -> str | None:
        """A sentence, if one of `files` is in the way: it exists, and is not an earlier result of this task."""
        for file in files:
            if not self.ours(task, file):
                return (
                    f"{self.out / file} exists and is not a result that this command made of the same input and "
                    f"settings, so it was left alone; choose another --out, or replace it with --overwrite"
                )
        return None

    def ours(self, task: Task, file: str) -> bool:
        """Whether a file may be replaced: it does not exist, or is an earlier result of the same owner."""
        path = self.out / file
        if not os.path.lexists(path):
            return True
        record = self.records.get((task.verb, task.name))
        if record is not None and record.get("owner") == task.origin.owner:
            entries = [entry for entry in record["outputs"].values() if entry.get("file") == file]
            if any(self._in_place(entry) for entry in entries):
                return True
        found = read_origin(path)
        return found is not None and found.owner == task.origin.owner

    def _in_place(self, entry: Mapping[str, Any]) -> bool:
        try:
            result: bool = os.stat(os.path.join(self._folder, entry["file"])).st_size == entry["bytes"]
            return result
        except OSError:
            return False

    def add(self, records: Iterable[Record]) -> None:
        """Append finished records: one line each, in one write.

        Raises:
            OutputError: not writable.
        """
        lines = [
            ((record["verb"], record["name"]), json.dumps({"padinv": VERSION, **record}, allow_nan=False).encode())
            for record in records
        ]
        start = os.fstat(self._file.fileno()).st_size
        self.changed = self.changed or bool(lines)  # also when only a part fits: closing puts that right
        try:
            data = b"".join(line + b"\n" for _, line in lines)
            while data:  # a full disk may take a part
                data = data[os.write(self._file.fileno(), data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error
        entries: list[Entry] = []
        for key, line in lines:
            entries.append((key, self._own, start, len(line)))
            start += len(line) + 1
        self.records.put(entries)

    def _rewrite(self) -> None:
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            file.writelines(line + b"\n" for line in self._kept())

    def _kept(self) -> Iterator[bytes]:
        """The lines that this log's own file holds."""
        return self.records.lines()

    def close(self) -> None:
        """Leave exactly one line per result, by name, and no trace of work in progress."""
        try:
            if self.changed:
                self._rewrite()
            elif next(self._kept(), None) is None:
                self.path.unlink(missing_ok=True)
        except (OutputError, OSError) as error:  # the lines are there, only not in order
            _logger.debug("%s was not put in order: %s", self.path, error)
        if not len(self.records):
            for folder in self._made:  # made for nothing; a folder that is not empty stays
                with contextlib.suppress(OSError):
                    folder.rmdir()
        self._stack.close()


def check_out(out: Path) -> None:
    """Refuse an output folder that is a file.

    Raises:
        OutputError
    """
    if os.path.lexists(out) and not out.is_dir():
        raise OutputError(f"{out} is a file, so no results can go there; give a folder with --out; nothing was done")


def _is_ours(start: bytes) -> bool:
    """Whether a file that begins like this is a results log, or the torn beginning of one."""
    return start.startswith(RESULTS_MARK) or RESULTS_MARK.startswith(start)


def _record(line: bytes) -> Record | None:
    """A line of a results file; None for one that is torn, foreign, or of an earlier version."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("padinv") != VERSION or not isinstance(record.get("outputs"), dict):
        return None
    if not all(isinstance(record.get(key), str) for key in ("verb", "name", "owner", "origin")):
        return None
    for entry in record["outputs"].values():
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or type(entry.get("bytes")) is not int:
            return None
    return record


def new_record(task: Task, outputs: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any]) -> Record:
    """What `add` takes."""
    origin: Origin = task.origin
    named = {"verb": task.verb, "name": task.name, "owner": origin.owner, "origin": origin.result}
    return {**named, **extra, "outputs": dict(outputs)}
