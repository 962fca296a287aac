"""The pipeline on a Ray cluster: actors hold the sessions, files stream through them, the driver keeps the log.

Everything that decides and records stays where it is for a local run: the driver says what is done already and which
files are not ours, and writes `results.jsonl`. Actors read, compute and write the results, which carry their origin, so
a run that is killed anywhere resumes as a local one does. Inputs and results lie on storage that all machines share.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from padinv.runtime.batch.engine import MAX_WORKERS, Done, Event, Kept, Note, Product, Skipped, Step, Task
from padinv.runtime.batch.results_log import ResultsLog, new_record
from padinv.runtime.errors import BackendError, InputError, MismatchError, MissingPackageError, PadInvError, UsageError
from padinv.runtime.files import write_bytes

StepMaker = Callable[[], Step]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where to run.

    Attributes:
        address: of the cluster, e.g. 'auto' or 'ray://head:10001'; None: RAY_ADDRESS, or this machine alone.
        workers: actors, each with its own sessions; None: as many as the cluster's processors or GPUs hold.
        threads: processors that an actor takes.
        gpus: GPUs that an actor takes.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and not 1 <= self.workers <= 10_000:
            raise UsageError(f"the number of Ray workers must be between 1 and 10000, not {self.workers}")


def run_on_ray(
    make_step: StepMaker,
    tasks: Sequence[Task],
    log: ResultsLog,
    cluster: Cluster,
    *,
    batch_size: int,
    overwrite: bool = False,
) -> Generator[Event, None, None]:
    """Like `engine.run`, with the work on a cluster. Events come as actors finish.

    Args:
        make_step: makes the step inside an actor; must be picklable, and everything it opens must be on every machine.

    Raises:
        MissingPackageError: ray is not installed. BackendError: the cluster, or an actor, failed.
    """
    todo: list[Task] = []
    for task in tasks:
        if not overwrite:
            if record := log.done(task):
                yield Kept(task, record)
                continue
            if sentence := log.foreign(task, task.outputs.values()):
                yield Skipped(task.path, sentence, task)
                continue
        todo.append(task)
    if todo:
        yield from _dispatch(make_step, todo, log, cluster, batch_size)


def _dispatch(
    make_step: StepMaker, todo: Sequence[Task], log: ResultsLog, cluster: Cluster, batch_size: int
) -> Generator[Event, None, None]:
    ray = _start(cluster)
    count = cluster.workers or _fitting(ray, cluster)
    settings: dict[str, Any] = {"num_gpus": cluster.gpus} if cluster.gpus else {}
    source = ray.data.from_items(
        [{"index": index, "task": pickle.dumps(task)} for index, task in enumerate(todo)],
        override_num_blocks=max(1, min(len(todo), 4 * count, 1000)),
    )
    results = source.map_batches(
        _Actor,
        fn_constructor_args=(make_step, str(log.out.resolve())),
        batch_size=batch_size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=cluster.threads,
        **settings,
    )
    try:
        for row in results.iter_rows():
            yield from _events(todo[row["index"]], json.loads(row["made"]), log)
    except ray.exceptions.RayError as error:
        raise BackendError(f"the Ray job failed ({_reason(error)}); what was finished is kept") from error


def _events(task: Task, found: dict[str, Any] | str, log: ResultsLog) -> Generator[Event, None, None]:
    """What an actor says about one task; its record is written here, and only here."""
    if isinstance(found, str):
        yield Skipped(task.path, found, task)
        return
    record = new_record(task, found["outputs"], found["record"])
    if not record["outputs"]:
        for sentence in found["lost"]:
            yield Skipped(task.path, sentence, task)
        return
    log.add([record])
    for note in found["notes"]:
        yield Note(note, task.path)
    yield Done(task, record, Product({}, found["record"], found["notes"]), tuple(found["lost"]))


def _start(cluster: Cluster) -> Any:
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingPackageError("ray", "ray", "--engine ray") from error
    if not ray.is_initialized():
        try:
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BackendError(f"no Ray cluster could be reached or started: {_reason(error)}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0
    return ray


def _fitting(ray: Any, cluster: Cluster) -> int:
    """How many actors the cluster holds at once."""
    resources = ray.cluster_resources()
    fits = int(resources.get("CPU", 1) // cluster.threads)
    if cluster.gpus:
        fits = min(fits, int(resources.get("GPU", 0) / cluster.gpus))
    return max(1, fits)


class _Actor:
    """Holds the sessions on one machine, and does batches of tasks."""

    def __init__(self, make_step: StepMaker, out: str) -> None:
        self.step = make_step()
        self.out = Path(out)
        self.pool = ThreadPoolExecutor(min(MAX_WORKERS, (os.cpu_count() or 1) + 1), thread_name_prefix="padinv-io")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tasks: list[Task] = [pickle.loads(one) for one in batch["task"]]  # from this job's own driver
        read = list(self.pool.map(self._read, tasks))
        good = [(task, found) for task, found in zip(tasks, read, strict=True) if not isinstance(found, PadInvError)]
        products = zip((task for task, _ in good), self.step.process(good) if good else [], strict=True)
        written = {task.name: self.pool.submit(self._write, task, product) for task, product in products}
        made = [
            str(found) if isinstance(found, PadInvError) else written[task.name].result()
            for task, found in zip(tasks, read, strict=True)
        ]
        return {"index": batch["index"], "made": [json.dumps(one) for one in made]}

    def _read(self, task: Task) -> Any:
        try:
            return self.step.read(task)
        except (InputError, MismatchError) as error:
            return error

    def _write(self, task: Task, product: Product | InputError | MismatchError) -> dict[str, Any] | str:
        if isinstance(product, PadInvError):
            return str(product)
        outputs: dict[str, dict[str, Any]] = {}
        lost: list[str] = []
        for kind, (name, encode) in product.files.items():
            try:
                data = task.finished(encode, generated=product.generated)
            except InputError as error:
                lost.append(str(error))
                continue
            write_bytes(self.out / name, data)
            outputs[kind] = {"file": name, "bytes": len(data)}
        extra = {**product.record, **({"lost": lost} if lost else {})}
        return {"outputs": outputs, "record": extra, "lost": lost, "notes": product.notes}


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
