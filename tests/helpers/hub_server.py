"""A server on 127.0.0.1 that speaks the hub's protocol, as huggingface_hub uses it, and fails where it is told to.

Repositories are kept in memory: listing, downloads with ranges and the redirection of large files, and uploads by the
commit API with the LFS batch protocol. It checks what the real hub checks: tokens, hashes of uploads, parent commits.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_thisIsTheTokenOfTheTests"
_BLOCK = 1 << 14


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(name: str, data: bytes) -> bool:
    """What the hub's default .gitattributes say."""
    return name.endswith((".onnx", ".safetensors", ".png", ".bin", ".pt", ".pkl")) or len(data) > 10 << 20


@dataclass
class Repository:
    """Commits of one repository, the newest last."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], revision: str = "main") -> str:
        listed = json.dumps([[name, sha256(data)] for name, data in sorted(files.items())])
        oid = hashlib.sha1(f"{len(self.commits)}{listed}".encode()).hexdigest()
        self.commits[oid] = dict(files)
        self.revisions[revision] = oid
        return oid

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.revisions.get(revision)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.revisions["main"]]


class HubServer:
    """The server, and the faults that it is told to have.

    Attributes:
        url: its address, for HF_ENDPOINT.
        requests: (method, path, authorization) of everything that was asked.
        sent: bytes of files that were sent.
        cut_after: after so many bytes of files, the connection breaks and nothing is answered any more.
        stalled_file: a file of which nothing is sent until `repair`; `stalled` is set when it is asked for.
        flipped: (file, byte) that arrives with a wrong bit.
        shortened: a file of which the last byte is missing.
        announce: file -> what the listing says instead of its size, SHA-256 or git hash.
        cdn: where large files are redirected to; None: this server.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent = 0
        self.cut_after: int | None = None
        self.down = False
        self.stalled_file: str | None = None
        self.stalled, self.released = threading.Event(), threading.Event()
        self.flipped: tuple[str, int] | None = None
        self.shortened: str | None = None
        self.announce: dict[str, dict[str, Any]] = {}
        self.cdn: str | None = None
        self.fail_upload = False
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False, revision: str = "main") -> str:
        """Put a commit with these files, and no others, into a repository; its name."""
        repository = self.repositories.setdefault(name, Repository(private=private))
        for data in files.values():
            self.blobs[sha256(data)] = data
        return repository.commit(files, revision)

    def repair(self) -> None:
        """No faults any more."""
        self.stalled_file = None
        self.released.set()
        self.cut_after, self.down, self.flipped, self.shortened, self.announce = None, False, None, None, {}

    def paths(self, method: str) -> list[str]:
        return [path for asked, path, _ in self.requests if asked == method]


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes of everything in a folder, hidden files left out."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if not path.name.startswith(".")}


@contextlib.contextmanager
def serving() -> Iterator[HubServer]:
    """A running server."""
    server = HubServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        parts = urlsplit(self.path)
        path = parts.path
        self.hub.requests.append((method, path, self.headers.get("authorization")))
        if self.hub.down:
            self._break()
            return
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else b""
        if (self.headers.get("transfer-encoding") or "") == "chunked":
            body = self._read_chunks()
        query = parse_qs(parts.query)
        for pattern, name in _ROUTES:
            if match := re.fullmatch(f"{method} {pattern}", f"{method} {path}"):
                getattr(self, name)(*map(unquote, match.groups()), body=body, query=query)
                return
        self._json({"error": f"no route for {method} {path}"}, 404)

    def _read_chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int, code: str, message: str) -> None:
        self._json({"error": message}, status, {"x-error-code": code, "x-error-message": message})

    def _allowed(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _repository(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._allowed()):
            self._error(404 if self._allowed() else 401, "RepoNotFound", "Repository not found")
            return None
        if repository.gated and not self._allowed():
            self._error(403, "GatedRepo", "Access to this model is restricted")
            return None
        return repository

    def info(self, name: str, revision: str | None = None, *, body: bytes, query: dict[str, list[str]]) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = repository.resolve(revision or "main")
        if commit is None and revision is not None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        siblings = []
        for path, data in repository.commits.get(commit or "", {}).items():
            one: dict[str, Any] = {"rfilename": path}
            if "blobs" in query:
                one |= {"size": len(data), "blobId": git_sha1(data)}
                if is_lfs(path, data):
                    one["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
                for key, value in self.hub.announce.get(path, {}).items():
                    one[key] = {**one[key], **value} if isinstance(value, dict) else value
            siblings.append(one)
        self._json(
            {"_id": "1", "id": name, "modelId": name, "sha": commit, "private": repository.private,
             "siblings": siblings, "tags": [], "downloads": 0, "likes": 0, "gated": repository.gated}
        )  # fmt: skip

    def resolve(self, name: str, revision: str, path: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = repository.resolve(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", "Invalid rev id")
            return
        data = repository.commits[commit].get(path)
        if data is None:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        headers = {"x-repo-commit": commit}
        if is_lfs(path, data):
            digest = sha256(data)
            headers |= {"x-linked-size": str(len(data)), "x-linked-etag": f'"{digest}"'}
            self.send_response(302)
            self.send_header("location", f"{self.hub.cdn or self.hub.url}/cdn/{digest}/{path}")
            self.send_header("content-length", "0")
            for key, text in headers.items():
                self.send_header(key, text)
            self.end_headers()
            return
        self._send(path, data, {**headers, "etag": f'"{git_sha1(data)}"'})

    def blob(self, digest: str, path: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        self._send(path, self.hub.blobs[digest], {"etag": f'"{digest}"'})

    def _send(self, path: str, data: bytes, headers: dict[str, str]) -> None:
        hub = self.hub
        if hub.flipped and hub.flipped[0] == path:
            at = hub.flipped[1]
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if hub.shortened == path:
            data = data[:-1]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
        start = int(wanted[1]) if wanted else 0
        if start >= len(data) and start:
            self.send_response(416)
            self.send_header("content-range", f"bytes */{len(data)}")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("content-length", str(len(data) - start))
        for key, text in headers.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.stalled_file == path:
            hub.stalled.set()
            hub.released.wait(60)
        for at in range(start, len(data), _BLOCK):
            block = data[at : at + _BLOCK]
            if hub.cut_after is not None and hub.sent + len(block) > hub.cut_after:
                block = block[: max(0, hub.cut_after - hub.sent)]
                hub.down = True
            with contextlib.suppress(OSError):
                self.wfile.write(block)
                self.wfile.flush()
            hub.sent += len(block)
            if hub.down:
                self._break()
                return

    def create(self, *, body: bytes, query: dict[str, list[str]]) -> None:
        if not self._allowed():
            self._error(401, "", "Invalid username or password.")
            return
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        if name in self.hub.repositories:
            self._json({"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409)
            return
        repository = Repository(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        self.hub.repositories[name] = repository
        repository.commit({".gitattributes": b"*.onnx filter=lfs\n"})
        self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": "1"})

    def validate(self, *, body: bytes, query: dict[str, list[str]]) -> None:
        asked = json.loads(body)
        errors = [] if asked["content"].startswith("---\n") else [{"message": "no metadata"}]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        if not self._allowed():
            self._error(403, "", "Forbidden")
            return
        held = self.hub.repositories[name].files
        files = []
        for one in json.loads(body)["files"]:
            lfs = is_lfs(one["path"], b"") or one["size"] > 10 << 20
            there = held.get(one["path"])
            oid = None if there is None else (sha256(there) if lfs else git_sha1(there))
            files.append(
                {"path": one["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": oid}
            )
        self._json({"files": files})

    def batch(self, name: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        if not self._allowed():
            self._error(401, "", "Unauthorized")
            return
        objects = []
        for one in json.loads(body)["objects"]:
            entry: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.blobs:
                verify = {"href": f"{self.hub.url}/lfs/verify"}
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}, "verify": verify}
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def put(self, oid: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        if self.hub.fail_upload:
            self._json({"error": "no"}, 403)
            return
        if sha256(body) != oid:
            self._json({"error": "wrong SHA-256"}, 400)
            return
        self.hub.blobs[oid] = body
        self._json({})

    def verify(self, *, body: bytes, query: dict[str, list[str]]) -> None:
        asked = json.loads(body)
        known = self.hub.blobs.get(asked["oid"])
        self._json({}, 200 if known is not None and len(known) == asked["size"] else 422)

    def tag(self, name: str, revision: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        repository, tag = self.hub.repositories[name], json.loads(body)["tag"]
        if tag in repository.revisions:
            self._error(409, "", "Tag reference exists already")
            return
        repository.revisions[tag] = repository.resolve(revision) or ""
        self._json({})

    def commit(self, name: str, revision: str, *, body: bytes, query: dict[str, list[str]]) -> None:
        if not self._allowed():
            self._error(403, "", "Forbidden")
            return
        repository = self.hub.repositories[name]
        files = dict(repository.files)
        for line in body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                if value.get("parentCommit") not in (None, repository.revisions["main"]):
                    self._error(412, "", "A commit has happened since. Please refresh and try again.")
                    return
                repository.messages.append(value["summary"])
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                self.hub.blobs[sha256(files[value["path"]])] = files[value["path"]]
            elif key == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None})


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    (r"/api/repos/create", "create"),
    (r"/api/validate-yaml", "validate"),
    (rf"/api/models/{_REPO}", "info"),
    (rf"/api/models/{_REPO}/revision/([^/]+)", "info"),
    (rf"/api/models/{_REPO}/preupload/([^/]+)", "preupload"),
    (rf"/api/models/{_REPO}/commit/([^/]+)", "commit"),
    (rf"/api/models/{_REPO}/tag/([^/]+)", "tag"),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    (r"/lfs/verify", "verify"),
    (r"/lfs/([0-9a-f]+)", "put"),
    (r"/cdn/([0-9a-f]+)/(.+)", "blob"),
    (rf"/{_REPO}/resolve/([^/]+)/(.+)", "resolve"),
]
