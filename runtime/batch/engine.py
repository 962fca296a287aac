"""The pipeline of every verb: read ahead, process in batches, write, record; it can be stopped or killed at any moment.

A verb is a list of `Task`s (what to read, what the results are called, what decides them) and a `Step` (how to read and
process them). This module does the rest, once for all verbs: what is done already, which files are not ours, reading
while the model works, writing while the next batch is processed, recording, interruption, smaller batches when memory
is short.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import threading
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, overload

from padinv.runtime.batch.ownership import Origin, origin_part, seal
from padinv.runtime.batch.record_index import Record
from padinv.runtime.batch.results_log import ResultsLog, new_record
from padinv.runtime.errors import ExitCode, InputError, MismatchError, UsageError, exit_code, is_out_of_memory
from padinv.runtime.files import write_bytes
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.spilled import Spilled

MAX_WORKERS = 4
EXISTS = "exists"  # the code of an input whose result would replace a file that is not its own
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass(frozen=True)
class Task:
    """One input, or one pair of inputs, and its results.

    Attributes:
        verb: of the command.
        name: unique among the verb's tasks; results are called by it.
        path: of the input, for messages.
        conditions: everything that decides the results, JSON-ready.
        owner: what must agree for an earlier result to be replaced without --overwrite, JSON-ready. Where only the rest
            of the conditions differs, the results are made again in place; where this differs, they are left alone.
        outputs: kind -> relative name, of the results that are known beforehand.
        payload: whatever the step needs.
        inputs: what the results are made of, for the command that they record; see `Command.text`.
        marking: how the pictures are marked; None: they are not edited, as the crops of an alignment.
    """

    verb: str
    name: str
    path: str
    conditions: Mapping[str, Any]
    owner: Mapping[str, Any]
    outputs: Mapping[str, str]
    payload: Any = None
    inputs: tuple[str, ...] = ()
    marking: Marking | None = None

    @cached_property
    def decides(self) -> str:
        """The part of `origin` that says whether there is anything to do."""
        marked = {} if self.marking is None else self.marking.conditions()
        return origin_part({"verb": self.verb, **self.conditions, **marked})

    @cached_property
    def origin(self) -> Origin:
        """What the results carry."""
        return Origin(origin_part({"verb": self.verb, **self.owner}), self.decides)

    def finished(self, encode: Encode, *, generated: bool = False) -> bytes:
        """The bytes of a result: with its provenance, sealed, and signed at last, because a signature covers it all.

        Args:
            generated: no photograph is in it.

        Raises:
            InputError: of `encode`, or it cannot be signed.
        """
        data, marking = encode(self.origin), self.marking
        if marking is None:
            return seal(data)
        return marking.sign(seal(marking.mark(data, self.inputs, generated=generated)), generated=generated)


Encode = Callable[[Origin], bytes]


@dataclass
class Product:
    """What came of one task.

    Attributes:
        files: kind -> (relative name, function that makes the file's bytes with the origin inside). The functions run
            in other threads; one that raises InputError loses that file alone.
        record: what the results log keeps besides names and sizes, JSON-ready.
        notes: sentences the user should see.
        shown: for the caller, e.g. pixels for a page.
        generated: no photograph is in the pictures.
    """

    files: Mapping[str, tuple[str, Encode]]
    record: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shown: Any = None
    generated: bool = False


class Step(Protocol):
    """How a verb reads and processes its tasks."""

    def read(self, task: Task) -> Any:
        """Read the input, in another thread.

        Raises:
            InputError, MismatchError: the task is skipped, with this sentence.
        """
        ...

    def process(self, batch: Sequence[tuple[Task, Any]]) -> Sequence[Product | InputError | MismatchError]:
        """One product, or the reason why there is none, for each (task, what was read).

        Must not depend on how tasks are grouped into batches.
        """
        ...


@dataclass(frozen=True)
class Done:
    """A task that this run finished."""

    task: Task
    record: Record
    product: Product
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A task that an earlier run had finished."""

    task: Task
    record: Record


@dataclass(frozen=True)
class Skipped:
    """An input that gave nothing, and a sentence that says why.

    Attributes:
        code: short name of the reason for programs: that of a `PadInvError`, or 'exists' where a file was in the way.
    """

    path: str
    reason: str
    task: Task | None = None
    code: str = InputError.code


@dataclass(frozen=True)
class Note:
    """A sentence the user should see, and the input that it is about, if any.

    Attributes:
        kind: 'warning' is shown even where notes are not; 'result' belongs to what the call was asked for.
    """

    text: str
    path: str = ""
    kind: Literal["note", "warning", "result"] = "note"


@dataclass(frozen=True)
class Started:
    """A part of the work begins: "editing" 12 "images". Every task that ends, and `Advanced`, moves it on."""

    what: str
    total: int
    unit: str = "images"


@dataclass(frozen=True)
class Advanced:
    """Work moves on that is not counted in tasks."""

    count: int = 1


Event = Started | Advanced | Done | Kept | Skipped | Note


@dataclass
class Outcome:
    """Everything that came of a run, and what it means for the exit code."""

    done: list[Done] | Spilled[Done] = field(default_factory=list)
    kept: list[Kept] | Spilled[Kept] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    incomplete: bool = False  # something beside the results failed, e.g. the report

    @classmethod
    def on_disk(cls, skipped: Sequence[Skipped] = ()) -> Outcome:
        """One that keeps what came later on disk: its record, and of its task the name and path."""
        return cls(Spilled(dump=_dump, load=_load), Spilled(dump=_dump, load=_load), list(skipped))

    def add(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, Done):
            self.done.append(event)
            self.skipped += [Skipped(event.task.path, sentence, event.task) for sentence in event.lost]
        elif isinstance(event, Kept):
            self.kept.append(event)
        elif isinstance(event, Skipped):
            self.skipped.append(event)

    @property
    def records(self) -> Sequence[Record]:
        """Of everything that is there now."""
        return Records(self.done, self.kept)

    @property
    def exit_code(self) -> ExitCode:
        """The one rule of every verb."""
        return exit_code(usable=len(self.done) + len(self.kept), failed=len(self.skipped) + self.incomplete)


class Records(Sequence[Record]):
    """The records of finished tasks, read when they are asked for."""

    def __init__(self, *parts: Sequence[Done] | Sequence[Kept]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else [self._at(place) for place in places]

    def _at(self, place: int) -> Record:
        for part in self._parts:
            if place < len(part):
                return part[place].record
            place -= len(part)
        raise IndexError(place)

    def __iter__(self) -> Iterator[Record]:
        return (event.record for part in self._parts for event in part)


def _dump(event: Done | Kept) -> bytes:
    task = event.task
    rest = (event.product.notes, event.product.generated, event.lost) if isinstance(event, Done) else None
    return marshal.dumps((task.verb, task.name, task.path, event.record, rest))


def _load(data: bytes) -> Any:
    verb, name, path, record, rest = marshal.loads(data)
    task = Task(verb, name, path, {}, {}, {})
    if rest is None:
        return Kept(task, record)
    notes, generated, lost = rest
    return Done(task, record, Product({}, notes=notes, generated=generated), lost)


def run(
    step: Step, tasks: Sequence[Task], log: ResultsLog, *, batch_size: int, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Do what is not done yet; one `Done`, `Kept` or `Skipped` for each task, earlier results first.

    Closing the generator, or an interruption, leaves every finished result recorded and no half-written file. A result
    that an earlier run made in the same way is kept; a file that is not ours is left alone, unless `overwrite`.

    Raises:
        OutputError: a result cannot be written. BundleError, BackendError: the model cannot run.
    """
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {batch_size}")
    todo = array("Q")  # places, since tasks may be made when they are asked for
    for place, task in enumerate(tasks):
        if not overwrite:
            if record := log.done(task):
                yield Kept(task, record)
                continue
            if sentence := log.foreign(task, task.outputs.values()):
                yield Skipped(task.path, sentence, task, EXISTS)
                continue
        todo.append(place)
    if todo:
        yield from _Run(step, log, batch_size, overwrite).run((tasks[place] for place in todo), len(todo))


class _Run:
    def __init__(self, step: Step, log: ResultsLog, batch_size: int, overwrite: bool) -> None:
        self.step, self.log, self.size, self.overwrite = step, log, batch_size, overwrite
        self.writing: list[tuple[Task, Product, Future[tuple[Record, list[str]]]]] = []

    def run(self, todo: Iterable[Task], count: int) -> Iterator[Event]:
        workers = min(MAX_WORKERS, count, (os.cpu_count() or 1) + 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="padinv-io") as pool:
            try:
                batch: list[tuple[Task, Any]] = []
                for task, result in self._read_ahead(pool, todo):
                    if isinstance(result, (InputError, MismatchError)):
                        yield Skipped(task.path, str(result), task, result.code)
                    else:
                        batch.append((task, result))
                    if len(batch) >= self.size:
                        yield from self._batch(pool, batch)
                        batch = []
                if batch:
                    yield from self._batch(pool, batch)
                yield from self._finish()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._record()  # what is written is recorded, also when interrupted
                raise

    def _read_ahead(self, pool: ThreadPoolExecutor, todo: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Read tasks in order, up to two batches ahead of their use."""

        def read(task: Task) -> Any:
            try:
                return self.step.read(task)
            except (InputError, MismatchError) as error:
                return error

        waiting: deque[tuple[Task, Future[Any]]] = deque()
        for task in todo:
            waiting.append((task, pool.submit(read, task)))
            if len(waiting) >= 2 * self.size:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def _batch(self, pool: ThreadPoolExecutor, batch: list[tuple[Task, Any]]) -> Iterator[Event]:
        """Process a batch, in smaller parts if memory is short; write it while the next one is processed."""
        start = 0
        while start < len(batch):
            part = batch[start : start + self.size]
            try:
                products = self.step.process(part)
            except Exception as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
                self.size = max(1, len(part) // 2)
                yield Note(f"not enough memory for {len(part)} images at once, so the batch size is now {self.size}")
                continue
            start += len(part)
            yield from self._finish()
            for (task, _), product in zip(part, products, strict=True):
                if isinstance(product, (InputError, MismatchError)):
                    yield Skipped(task.path, str(product), task, product.code)
                else:  # one by one: an interruption has to know
                    self.writing.append((task, product, pool.submit(self._write, task, product)))

    def _write(self, task: Task, product: Product) -> tuple[Record, list[str]]:
        outputs: dict[str, dict[str, Any]] = {}
        lost: list[str] = []
        for kind, (name, encode) in product.files.items():
            if not self.overwrite and (sentence := self.log.foreign(task, [name])):
                lost.append(sentence)
                continue
            try:
                data = task.finished(encode, generated=product.generated)
            except InputError as error:  # a photograph that went away before its paste-back
                lost.append(str(error))
                continue
            write_bytes(self.log.out / name, data)
            outputs[kind] = {"file": name, "bytes": len(data)}
        extra = {**product.record, **({"lost": lost} if lost else {})}
        return new_record(task, outputs, extra), lost

    def _finish(self) -> Iterator[Event]:
        """Wait for the files of the last batch, record them and report them."""
        finished = self.writing
        self._record()
        for task, product, future in finished:
            record, lost = future.result()
            product.files = {}  # they hold pictures, and the caller may keep every product
            if record["outputs"]:
                for note in product.notes:
                    yield Note(note, task.path)
                yield Done(task, record, product, tuple(lost))
            else:
                for sentence in lost:
                    yield Skipped(task.path, sentence, task)

    def _record(self) -> None:
        if not self.writing:
            return
        # A write that a closed pool has cancelled ends as "cancelled", but never tells those who wait for it.
        futures = [future for _, _, future in self.writing if not future.cancelled()]
        try:
            wait(futures)
        finally:
            futures = [future for future in futures if not future.cancel()]
            wait(futures)
            ready = [f for f in futures if not f.cancelled() and f.exception() is None]
            with undisturbed():
                self.log.add([record for f in ready if (record := f.result()[0])["outputs"]])
                self.writing = []


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back until the block is done; elsewhere than in the main thread they do not arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = [(number, signal.signal(number, lambda caught, frame: held.append(caught))) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)
