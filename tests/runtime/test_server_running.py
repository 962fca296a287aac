"""The running server: slow clients, overload, and a graceful end, over real sockets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from padinv.runtime.errors import OutputError
from padinv.runtime.model import Model
from padinv.runtime.server.app import create_app
from padinv.runtime.server.limits import Limits
from padinv.runtime.server.running import make_server, open_socket


@contextlib.contextmanager
def _running(app: Any, limits: Limits) -> Iterator[int]:
    """The port of a server that runs in a thread until the block ends."""
    listening = open_socket("127.0.0.1", 0)
    started = threading.Event()
    server = make_server(app, limits, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert started.wait(20)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def _post(port: int, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _closed_after(port: int, *sent: bytes) -> tuple[float, bytes]:
    """Send pieces, then wait: seconds until the server closes, and what it had answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        started = time.perf_counter()
        for piece in sent:
            client.sendall(piece)
            time.sleep(0.02)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(4096):
                answer += part
        return time.perf_counter() - started, answer


def test_slow_clients_are_cut_off_and_others_are_served(tiny_bundle: Path) -> None:
    limits = Limits(head_seconds=0.3, body_seconds=0.3)
    with _running(create_app(Model.load(tiny_bundle), limits=limits), limits) as port:
        head = f"POST /v1/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100\r\n"
        cases = {"silent": [], "half a head": [head.encode()], "half a body": [f"{head}\r\n{{".encode()]}
        with ThreadPoolExecutor(4) as pool:
            waiting = {name: pool.submit(_closed_after, port, *sent) for name, sent in cases.items()}
            assert _post(port, "/v1/generate", {"seeds": [0]})[0] == 200
            for name, one in waiting.items():
                seconds, answer = one.result(15)
                assert 0.2 < seconds < 3, name
                assert answer.startswith(b"HTTP/1.1 408") == (name == "half a body"), (name, answer)


def test_overload_is_answered_429_and_everything_accepted_is_answered(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(tiny_bundle)
    generate = model.generate_float

    def slowly(*args: Any) -> Any:
        time.sleep(0.1)
        return generate(*args)

    monkeypatch.setattr(model, "generate_float", slowly)
    limits = Limits(requests=4, batch=2)
    with _running(create_app(model, limits=limits), limits) as port, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda seed: _post(port, "/v1/generate", {"seeds": [seed]}), range(24)))
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 4
    for seed, (status, body) in enumerate(answers):
        if status == 200:
            assert [_pixels(image) for image in body["images"]] == _expected(model, seed)


def _expected(model: Model, seed: int) -> list[list[Any]]:
    return [model.generate(model.sample(seed, 0.7))[0].tolist()]


def _pixels(image: str) -> list[Any]:
    """The pixels of an answer, which also holds where it comes from."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))).tolist()


def test_sigterm_under_load_loses_nothing_that_was_accepted(tiny_bundle: Path) -> None:
    script = """
import sys, time
from padinv.cli import main
from padinv.runtime.model import Model
whole = Model.generate_float
Model.generate_float = lambda *args: (time.sleep(0.15), whole(*args))[1]
main.main()
"""
    command = [sys.executable, "-c", script, "serve", "--port", "0", "--batch", "1", "--model", str(tiny_bundle)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving tiny at http://127.0.0.1:"), line
        port = int(line.rsplit(":", 1)[1].rstrip("/\n"))
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(_post, port, "/v1/generate", {"seeds": [seed]}) for seed in range(8)]
            time.sleep(0.3)  # all eight are accepted, and one or two are answered
            process.send_signal(signal.SIGTERM)
            results = [one.result(20) for one in answers]
        assert [status for status, _ in results] == [200] * 8
        assert process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=2)
    finally:
        process.kill()
        process.communicate()


def test_stopping_never_cuts_off_what_its_own_limits_allow() -> None:
    limits = Limits(body_seconds=20.5, answer_seconds=300)
    app: Any = None
    assert make_server(app, limits).config.timeout_graceful_shutdown == 321


def test_an_address_in_use_is_one_sentence(tiny_bundle: Path, run_cli: Callable[..., Any]) -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match="choose another --port"):
            open_socket("127.0.0.1", port)
        result = run_cli("serve", "--model", tiny_bundle, "--port", port)
    assert (result.code, result.out) == (1, "")
    assert f"cannot listen on 127.0.0.1 port {port}" in result.err
