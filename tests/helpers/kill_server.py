"""Runs padinv commands in forked children, each of which can be killed at a chosen moment.

As a script it reads lines of JSON, {"arguments": [...], "kill_at": N or null, "kill_after": seconds or null}, and
answers each with {"code": ..., "events": ..., "seconds": ..., "text": ...}. Forking from a process that has everything
imported makes a run cost milliseconds, and it has no threads that a fork could break.

An event is a change of the file system: a file opened for writing, renamed or removed, a folder made or removed. A
child with `kill_at` sends itself SIGKILL in front of its Nth event.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


@dataclass
class Run:
    """What came of one run; `code` is -9 for one that was killed."""

    code: int
    events: int
    seconds: float
    text: str


class KillServer:
    """The client's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, *arguments: object, kill_at: int | None = None, kill_after: float | None = None, encoding: str = "utf-8"
    ) -> Run:
        """Run `padinv ARGUMENTS...` once, on a console of that encoding."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = {"arguments": [str(one) for one in arguments], "kill_at": kill_at, "kill_after": kill_after}
        task["encoding"] = encoding
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return Run(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def kill_server() -> Iterator[KillServer]:
    """Start the server; it ends with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield KillServer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _is_change(event: str, arguments: tuple) -> bool:
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in CHANGES


def _child(task: dict, report: int, output: int) -> None:
    events = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal events
        if _is_change(event, arguments):
            events += 1
            if events == task["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    from padinv.cli import main as cli

    os.dup2(output, 1)
    os.dup2(output, 2)
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(number, "w", encoding=task["encoding"], errors="strict", closefd=False))  # noqa: SIM115
    sys.argv = ["padinv", *task["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.addaudithook(watch)
    code = 1
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(report, json.dumps(events).encode())
    os._exit(code)


def _serve() -> None:
    import onnxruntime  # noqa: F401
    from PIL import Image

    from padinv.cli.commands import align, blend, custom_edit, generate, interpolate, invert  # noqa: F401
    from padinv.cli.main import app  # noqa: F401
    from padinv.runtime.batch import align_files, edit_files, generate_files, interpolate_files  # noqa: F401
    from padinv.runtime.reports import comparison_report, contact_sheet  # noqa: F401

    Image.init()
    for line in sys.stdin:
        task = json.loads(line)
        reader, report = os.pipe()
        with tempfile.TemporaryFile() as output:
            started = time.perf_counter()
            if (child := os.fork()) == 0:
                try:
                    _child(task, report, output.fileno())
                finally:
                    os._exit(70)
            os.close(report)
            if task["kill_after"] is not None:
                time.sleep(task["kill_after"])
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            seconds = time.perf_counter() - started
            with os.fdopen(reader, "rb") as pipe:
                events = int(pipe.read() or b"0")
            output.seek(0)
            text = output.read()[-2000:].decode(task["encoding"], errors="replace")
        answer = {"code": os.waitstatus_to_exitcode(status), "events": events, "seconds": seconds, "text": text}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
