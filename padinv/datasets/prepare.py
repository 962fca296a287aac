"""From any source of pictures to a ZIP archive or tar shards at one size; a second run continues after a kill.

Work is cut into parts of some thousand pictures. A part and its record are written when they are whole; the archive is
put together at the end. Everything is in the order of names, so results do not depend on the number of workers.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from padinv.datasets.archives import MANIFEST, read_manifest, write_tar, write_zip
from padinv.datasets.pictures import Made, PictureMaker, archive_name
from padinv.datasets.statistics import Statistics
from padinv.picture_sources import PictureSource, open_pictures
from padinv.picture_sources.resizing import RESIZES
from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.files import TEMPORARY_PREFIX, digest, write_json, write_text
from padinv.runtime.locks import FolderInUseError, folder_lock

CHUNK = 16  # pictures that a worker makes at a time
FORMAT = 1


@dataclass(frozen=True)
class DatasetSettings:
    """What decides an archive besides its source.

    Attributes:
        size: side of the pictures in pixels.
        resize: 'lanczos', or 'area' (each pixel is the mean of those it covers); larger sources only.
        align: 'never', 'auto' or 'always', see `padinv.runtime.alignment.aligner.Aligner`.
        template: where a face goes, for `align`.
        split: so many pictures, the first by name, are for training, the others for validation; None: no split.
        keep_duplicates: keep pictures whose pixels another one has already.
        shard: pictures of a part; also of a tar shard.
        limit: take the first pictures only, by name.
    """

    size: int = 256
    resize: str = "lanczos"
    align: str = "never"
    template: str | None = None
    split: int | None = None
    keep_duplicates: bool = False
    shard: int = 10_000
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise UsageError(f"resize is one of {', '.join(RESIZES)}, not {self.resize!r}")
        if self.align != "never" and self.template is None:
            raise UsageError("alignment needs a template, such as faces")
        if min(self.size, self.shard, self.split or 1, self.limit or 1) < 1:
            raise UsageError("size, shard, split and limit must be at least 1")


@dataclass
class DatasetSummary:
    """What came of it.

    Attributes:
        out, val: the archives; `val` is None without a split.
        pictures, val_pictures: how many are in them.
        skipped: a sentence on each picture that could not be used.
        duplicates: (name, name of the picture it equals).
        statistics: of all pictures in the archives.
        resumed: pictures that an earlier run had made.
        existed: the archive was there already, made of the same pictures by the same settings.
    """

    out: Path
    val: Path | None = None
    pictures: int = 0
    val_pictures: int = 0
    skipped: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    resumed: int = 0
    existed: bool = False


def prepare_dataset(
    source: PictureSource,
    out: Path | str,
    settings: DatasetSettings | None = None,
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> DatasetSummary:
    """Write the pictures of a source into one archive.

    Args:
        out: `NAME.zip` for a ZIP archive, else a folder of tar shards.
        workers: threads that decode, resize and encode.
        advance: called with the number of pictures done since the last call.

    Raises:
        InputError: not one picture can be used.
        OutputError: `out` exists and is something else, or cannot be written.
        UsageError: another command works at the same archive.

    Example:
        summary = prepare_dataset(open_pictures("photos/"), "faces256.zip", DatasetSettings(size=256, split=65_000))
    """
    job = _Job(source, Path(out), settings or DatasetSettings())
    if job.finished():
        advance(job.count)
        return job.existing()
    try:
        job.work.mkdir(parents=True, exist_ok=True)
        with folder_lock(job.work):
            if job.finished():  # by another command, since we looked
                return job.existing()
            job.begin()
            for indices, results in job.results(workers):
                job.take(indices, results)
                advance(len(indices))
            return job.finish()
    except FolderInUseError as error:
        raise UsageError(f"another command is at work on {out}; nothing was changed") from error
    except OSError as error:
        raise OutputError(f"cannot write {job.work}: {error.strerror or error}") from error


class _Job:
    """One archive in the making."""

    def __init__(self, source: PictureSource, out: Path, settings: DatasetSettings) -> None:
        self.source, self.out, self.settings = source, out, settings
        self.is_zip = out.suffix.lower() == ".zip"
        stem = out.with_suffix("") if self.is_zip else out
        self.stem = stem
        self.val = None if settings.split is None else Path(f"{stem}-val{out.suffix if self.is_zip else ''}")
        self.work = Path(f"{out}.partial")
        self.count = min(settings.limit or len(source), len(source))
        if settings.split is not None and settings.split >= self.count:
            raise UsageError(f"a split after {settings.split:,} of {self.count:,} pictures leaves none for validation")
        pictures = source.fingerprint() + source.contents()
        self.identity = {"format": FORMAT, "pictures": pictures, **asdict(settings)}
        self.key = digest(self.identity)[:16]
        self.summary = DatasetSummary(out, self.val)
        self.seen: dict[int, int] = {}  # digest of the pixels -> index of the first picture with them
        self.part: list[tuple[int, Made]] = []
        self.part_number = 0
        self.part_skipped: list[str] = []
        self.part_duplicates: list[tuple[str, str]] = []
        self.next_index = 0
        self.kept = 0

    # -- beginning ----------------------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether the archive exists already.

        Raises:
            OutputError: something else stands in its place.
        """
        for path in (self.out, self.val):
            if path is None or not path.exists():
                continue
            manifest = read_manifest(path)
            if manifest is None or manifest["padinv"].get("job") != self.key:
                raise OutputError(
                    f"{path} exists and was not made from these pictures with these settings, so it was left alone; "
                    "choose another --out"
                )
        return self.out.exists()

    def existing(self) -> DatasetSummary:
        """The summary of an archive that exists."""
        summary, manifest = self.summary, read_manifest(self.out)
        assert manifest is not None
        facts = manifest["padinv"]
        summary.existed, summary.pictures = True, facts["pictures"]
        summary.val_pictures = facts.get("val_pictures", 0)
        summary.skipped = facts["skipped"]
        summary.duplicates = [(a, b) for a, b in facts["duplicates"]]
        summary.statistics = Statistics.from_dict(facts["statistics"])
        self._clear()
        return summary

    def begin(self) -> None:
        """Keep the parts of an earlier run of the same job, in order, until one is missing; drop all others."""
        for folder in (self.work, self._folder(False), self._folder(True), self.work / "page"):
            for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
                leftover.unlink()
        job = self.work / "job.json"
        known = json.loads(job.read_text("utf-8")) if job.exists() else None
        if known != self.identity:
            self._clear(keep_lock=True)
            write_json(job, self.identity)
        while (record := self._record(self.part_number)).exists():
            facts = json.loads(record.read_text("utf-8"))
            archive = self._folder(facts["val"]) / self._shard_name(self.part_number)
            if facts["indices"] and not archive.exists():
                break
            self._count(facts)
            self.seen.update(zip(facts["digests"], facts["indices"], strict=True))
            self.next_index = facts["next_index"]
            self.part_number += 1
        self.summary.resumed = self.kept

    def _record(self, number: int) -> Path:
        return self.work / f"part-{number:06d}.json"

    def _folder(self, val: bool) -> Path:
        return self.work / ("val" if val else "train")

    def _shard_name(self, number: int) -> str:
        return f"part-{number:06d}.zip" if self.is_zip else f"{self.stem.name}-{number:06d}.tar"

    # -- pictures -----------------------------------------------------------------------------------------------------

    def results(self, workers: int) -> Iterator[tuple[list[int], list[Made | str]]]:
        """Pictures from the first that is not there yet, in order."""
        settings = self.settings
        maker = PictureMaker(self.source, settings.size, settings.resize, settings.align, settings.template)
        chunks = (list(range(k, min(k + CHUNK, self.count))) for k in range(self.next_index, self.count, CHUNK))
        pending: deque[tuple[list[int], Future[list[Made | str]]]] = deque()
        # Threads are enough: Pillow decodes, resizes and encodes without holding Python's lock.
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                for chunk in chunks:
                    pending.append((chunk, pool.submit(maker.make_some, chunk)))
                    if len(pending) > 2 * workers:
                        first, future = pending.popleft()
                        yield first, future.result()
                while pending:
                    first, future = pending.popleft()
                    yield first, future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def take(self, indices: list[int], results: list[Made | str]) -> None:
        """Add pictures to the part in the making, and write it when it is whole."""
        for index, result in zip(indices, results, strict=True):
            self.next_index = index + 1
            if isinstance(result, str):
                self.part_skipped.append(result)
            elif not self.settings.keep_duplicates and result.digest in self.seen:
                first = archive_name(self.source.name(self.seen[result.digest]))
                self.part_duplicates.append((result.name, first))
            else:
                self.seen[result.digest] = index
                self.part.append((index, result))
                split = self.settings.split
                if len(self.part) == self.settings.shard or self.kept + len(self.part) == split:
                    self._write_part()

    def _write_part(self) -> None:
        split = self.settings.split
        val = split is not None and self.kept >= split
        if members := [(made.name, made.data) for _, made in self.part]:
            target = self._folder(val) / self._shard_name(self.part_number)
            (write_zip if self.is_zip else write_tar)(target, members)
        statistics = Statistics()
        for _, made in self.part:
            statistics.add(made, self.settings.size)
        facts = {
            "val": val,
            "indices": [index for index, _ in self.part],
            "digests": [made.digest for _, made in self.part],
            "skipped": self.part_skipped,
            "duplicates": self.part_duplicates,
            "statistics": statistics.to_dict(),
            "next_index": self.next_index,
        }
        write_json(self._record(self.part_number), facts)
        self._count(facts)
        self.part, self.part_skipped, self.part_duplicates = [], [], []
        self.part_number += 1

    def _count(self, facts: dict[str, Any]) -> None:
        """Enter a written part into the summary."""
        summary = self.summary
        count = len(facts["indices"])
        self.kept += count
        summary.skipped += facts["skipped"]
        summary.duplicates += [(a, b) for a, b in facts["duplicates"]]
        summary.statistics.merge(Statistics.from_dict(facts["statistics"]))
        if facts["val"]:
            summary.val_pictures += count
        else:
            summary.pictures += count

    # -- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> DatasetSummary:
        """Put the archives together; the one for training comes last, so that it stands for all of them."""
        if self.part or self.part_skipped or self.part_duplicates:
            self._write_part()
        summary = self.summary
        if not self.kept:
            reasons = "; ".join(summary.skipped[:3])
            self._clear()
            raise InputError(f"none of the {self.count:,} pictures in {self.source.path} can be used: {reasons}")
        from padinv.datasets.report import write_report

        names: dict[bool, list[str]] = {False: [], True: []}
        for number in range(self.part_number):
            facts = json.loads(self._record(number).read_text("utf-8"))
            names[facts["val"]] += [archive_name(self.source.name(index)) for index in facts["indices"]]
        # Everything is written inside the working folder first, so that a kill leaves nothing half-made beside `out`.
        staged = self.work / "page"
        if self.val is not None:
            write_text(staged / f"{self.stem.name}.txt", "".join(f"{name}\n" for name in names[False]))
            write_text(staged / f"{self.stem.name}-val.txt", "".join(f"{name}\n" for name in names[True]))
        write_report(staged / self.stem.name, self._folder(False), self.source, self.settings, summary)
        for path in sorted(staged.iterdir()):
            os.replace(path, self.stem.parent / path.name)
        if self.val is not None and names[True]:
            self._put_in_place(True, self.val)
        self._put_in_place(False, self.out)
        self._clear()
        return summary

    def _manifest(self) -> dict[str, Any]:
        """NVIDIA's `dataset.json`, with what made it."""
        summary = self.summary
        facts = {
            "job": self.key,
            **self.identity,
            "source": str(self.source.path),
            "pictures": summary.pictures,
            "val_pictures": summary.val_pictures,
            "skipped": summary.skipped,
            "duplicates": summary.duplicates,
            "statistics": summary.statistics.to_dict(),
        }
        return {"labels": None, "padinv": facts}

    def _put_in_place(self, val: bool, target: Path) -> None:
        folder = self._folder(val)
        if target.exists():
            return
        if not self.is_zip:
            write_json(folder / MANIFEST, self._manifest())
            os.rename(folder, target)
            return
        parts = sorted(folder.glob("part-*.zip"))

        def members() -> Iterator[tuple[str, bytes]]:
            for part in parts:
                pictures = open_pictures(part)
                for index in range(len(pictures)):
                    yield pictures.name(index), pictures.data(index)

        whole = self.work / "page" / target.name
        write_zip(whole, members(), self._manifest())
        os.replace(whole, target)

    def _clear(self, keep_lock: bool = False) -> None:
        """Remove this job's own files from its working folder."""
        for folder in (self._folder(False), self._folder(True), self.work / "page"):
            if folder.is_dir():
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()
        for pattern in ("*.json", f"{TEMPORARY_PREFIX}*"):
            for path in self.work.glob(pattern):
                path.unlink()
        if not keep_lock and self.work.is_dir():
            with suppress(OSError):  # somebody else's file in it keeps it
                (self.work / ".lock").unlink(missing_ok=True)
                self.work.rmdir()
