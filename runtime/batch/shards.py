"""A job array over one folder: shard i of n does its part, and the same command without a shard puts them together.

A shard takes the inputs whose result name hashes to it, so a file that appears while the array runs moves no other file
from one shard to another. It writes its results into the common folder and its records into a log of its own. The next
run without a shard takes those records into `results.jsonl`, does what is missing, and writes the report: the folder is
then what one local run would have made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from padinv.runtime.batch.find_inputs import Found, new_list
from padinv.runtime.batch.results_log import RESULTS, ResultsLog
from padinv.runtime.errors import UsageError
from padinv.runtime.files import sha256_bytes
from padinv.runtime.locks import FolderInUseError, folder_lock, quiet_folder_lock

MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """'2/8' -> Shard(2, 8).

        Raises:
            UsageError: not two whole numbers, or an index outside 1 to count.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count <= MAX_SHARDS:
            raise UsageError(f"--shard is I/N with I from 1 to N, such as 2/8, not {text[:40]!r}")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, name: str) -> bool:
        """Whether a result of this name belongs to this shard."""
        return int(sha256_bytes(os.fsencode(name))[:12], 16) % self.count == self.index - 1

    def of(self, files: Sequence[Found]) -> Sequence[Found]:
        """The files of this shard."""
        return new_list(found for found in files if self.has(found.name))


class ShardLog(ResultsLog):
    """The log of one shard: it knows the records of `results.jsonl`, and writes its own beside them.

    Shards of one folder work at the same time; a run without a shard waits for none of them, it is refused while one
    works.

    Raises:
        OutputError: as `ResultsLog`; also while another process works on the same shard.
    """

    def __init__(self, out: Path | str, shard: Shard) -> None:
        self.shard = shard
        super().__init__(out)

    def _log_path(self) -> Path:
        return self.out / f"results.shard-{self.shard.index}-of-{self.shard.count}.jsonl"

    def _lock(self) -> None:
        self._stack.enter_context(quiet_folder_lock(self.out, shared=True))
        # The log itself is locked, too: two processes on the same shard would lose records of each other.
        self._stack.enter_context(folder_lock(self.out, self.path.name))
        if not self.path.exists():  # the process that held it just now removed it
            raise FolderInUseError(str(self.out))

    def _load(self) -> None:
        # No sweeping: other shards, on other machines, are writing files here.
        self._take_in(self.out / RESULTS)
        if self._take_in(self.path):  # end a torn line, so that the next record stands alone
            with open(self.path, "ab") as file:  # replacing the file would lose the lock
                file.write(b"\n")

    def _kept(self) -> Iterator[bytes]:
        return self.records.lines(file=self._own)
