"""Downloads over real HTTP from a server on this machine; the opener of the tests leaves out TLS and nothing else."""

from __future__ import annotations

import hashlib
import http.client
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from padinv.runtime.download import cache_folder, download, https_opener
from padinv.runtime.errors import InputError, OutputError, UsageError

DATA = bytes(range(256)) * 20_000
SHA = hashlib.sha256(DATA).hexdigest()
URL = "https://example.org/weights.pth"


class Server(ThreadingHTTPServer):
    """What it sends, and what it was asked."""

    data = DATA
    cut = 0  # bytes after which the connection ends, once
    ranges = True
    answers: dict[str, Any]
    asked: list[tuple[str, str | None]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if self.path in server.answers:
            status, headers = server.answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start and not server.ranges:
            start = 0
        if start >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.send_header("Content-Length", str(len(server.data) - start))
        self.end_headers()
        body = server.data[start:]
        if server.cut:
            body, server.cut = body[: server.cut], 0
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.answers, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(server: Server) -> Any:
    class WithoutTls(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            port = server.server_address[1]
            return self.do_open(lambda host, **kw: http.client.HTTPConnection("127.0.0.1", port, timeout=5), req)  # type: ignore[arg-type]

    opener = https_opener(WithoutTls())
    return lambda url, target, **more: download(url, target, opener=opener, pause=0.0, **more)


def test_a_file_arrives_whole_and_checked(server: Server, fetch: Any, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "weights.pth"
    assert fetch(URL, target, sha256=SHA[:8], progress=lambda done, total: seen.append((done, total))) == SHA
    assert target.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]


def test_a_broken_connection_is_continued(server: Server, fetch: Any, tmp_path: Path) -> None:
    server.cut = 1_000_000
    assert fetch(URL, tmp_path / "x.pth", sha256=SHA) == SHA
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-"]
    assert (tmp_path / "x.pth").read_bytes() == DATA


def test_an_earlier_call_is_continued(server: Server, fetch: Any, tmp_path: Path) -> None:
    (tmp_path / ".padinv-x.pth.part").write_bytes(DATA[:700])
    assert fetch(URL, tmp_path / "x.pth", sha256=SHA) == SHA
    assert server.asked[0][1] == "bytes=700-"
    (tmp_path / ".padinv-y.pth.part").write_bytes(DATA)  # killed just before it was put in place
    assert fetch(URL, tmp_path / "y.pth", sha256=SHA) == SHA


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, fetch: Any, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / ".padinv-x.pth.part").write_bytes(DATA[:700])
    assert fetch(URL, tmp_path / "x.pth", sha256=SHA) == SHA


def test_a_file_that_changed_in_between_is_fetched_again(server: Server, fetch: Any, tmp_path: Path) -> None:
    (tmp_path / ".padinv-x.pth.part").write_bytes(b"an older version")
    assert fetch(URL, tmp_path / "x.pth", sha256=SHA) == SHA
    (tmp_path / ".padinv-y.pth.part").write_bytes(DATA + b"longer than the new one")
    assert fetch(URL, tmp_path / "y.pth", sha256=SHA) == SHA


def test_another_file_than_expected_is_not_kept(server: Server, fetch: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"begins with {SHA[:8]}, not 00000000.*put it at .*x\.pth"):
        fetch(URL, tmp_path / "x.pth", sha256="00000000")
    assert not list(tmp_path.iterdir())
    server.data = b"<!DOCTYPE html><html>Quota exceeded</html>"
    with pytest.raises(InputError, match="answered with a web page"):
        fetch(URL, tmp_path / "x.pth")
    assert not list(tmp_path.iterdir())


def test_only_https_is_used(server: Server, fetch: Any, tmp_path: Path) -> None:
    for url in ("http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "x"):
        with pytest.raises(InputError, match="is not an https address"):
            fetch(url, tmp_path / "x.pth")
    assert not server.asked
    server.answers["/plain"] = (302, {"Location": "http://example.org/x"})
    with pytest.raises(InputError, match=r"http://example\.org/x is not an https address"):
        fetch("https://example.org/plain", tmp_path / "x.pth")
    server.answers["/moved"] = (302, {"Location": "https://cdn.example.org/weights.pth"})
    assert fetch("https://example.org/moved", tmp_path / "x.pth", sha256=SHA) == SHA


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 4)])
def test_a_refusing_server_is_a_sentence(server: Server, fetch: Any, tmp_path: Path, status: int, tries: int) -> None:
    server.answers["/weights.pth"] = (status, {"Content-Length": "0"})
    with pytest.raises(InputError, match=rf"the server answered {status}.*put it at {tmp_path}") as error:
        fetch(URL, tmp_path / "x.pth")
    assert "\n" not in str(error.value)
    assert len(server.asked) == tries


def test_without_a_network_the_sentence_says_where_to_put_the_file(tmp_path: Path) -> None:
    class Offline:
        def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Any:
            raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    with pytest.raises(InputError, match=rf"Network is unreachable.*put it at {tmp_path}/x\.pth"):
        download(URL, tmp_path / "x.pth", opener=Offline(), pause=0.0)


def test_a_folder_that_cannot_be_written_is_a_sentence(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        fetch(URL, tmp_path / "file" / "x.pth")


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PADINV_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "weights"
    monkeypatch.setenv("PADINV_CACHE", " ")
    with pytest.raises(UsageError, match="PADINV_CACHE is empty"):
        cache_folder()
    monkeypatch.delenv("PADINV_CACHE")
    assert cache_folder().name == "weights"
