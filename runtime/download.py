"""Downloading one known file: over https only, resumable, checked, and put in place only when it is whole."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from padinv.runtime.errors import InputError, OutputError, UsageError

_BLOCK = 1 << 20
_TIMEOUT = 30.0
_ATTEMPTS = 4
_PAUSE = 1.0  # seconds before the second attempt, doubled each time
_AGENT = "padinv"

Progress = Callable[[int, int | None], None]


class Opener(Protocol):
    """What opens a request: `urllib.request.OpenerDirector`, or a stand-in of a test."""

    def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Any:
        """The response."""
        ...


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirections to https addresses only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_https(url: str) -> None:
    if urlsplit(url).scheme != "https":
        raise InputError(f"{url[:200]} is not an https address, so nothing was fetched from it")


def https_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """An opener that follows https redirections only, with any further handlers."""
    return urllib.request.build_opener(_HttpsOnly, *handlers)


def download(
    url: str,
    target: Path | str,
    *,
    sha256: str = "",
    opener: Opener | None = None,
    progress: Progress = lambda done, total: None,
    pause: float = _PAUSE,
) -> str:
    """Fetch `url` to `target` and return the file's SHA-256.

    What an earlier call left unfinished beside the target (`.padinv-NAME.part`) is continued where the server can do
    that. The target appears only when everything arrived and the checksum is right.

    Args:
        sha256: what the file's SHA-256 must begin with; '': unknown.
        progress: called with bytes so far and in all (None where the server does not say).
        pause: seconds before the second attempt; doubled each time.

    Raises:
        InputError: not an https address, not reachable, or another file than expected; the message says where to put a
            copy that was downloaded elsewhere.
        OutputError: the folder cannot be written.
    """
    target = Path(target)
    _require_https(url)
    part = target.with_name(f".padinv-{target.name}.part")
    chosen: Opener = https_opener() if opener is None else opener
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = _fetch_all(url, part, target, chosen, progress, pause)
        digest = _digest(part)
        if resumed and not digest.startswith(sha256):  # the server's file changed in between: begin again, once
            part.unlink()
            _fetch_all(url, part, target, chosen, progress, pause)
            digest = _digest(part)
        _check(part, url, digest, sha256, target)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; free space or choose another --to"
        ) from error
    return digest


def _fetch_all(url: str, part: Path, target: Path, opener: Opener, progress: Progress, pause: float) -> bool:
    """Fetch until the file is whole, again after a failure; whether anything of an earlier call was kept."""
    resumed = part.exists()
    for attempt in range(_ATTEMPTS):
        try:
            _fetch(url, part, opener, progress)
            return resumed
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if final or attempt == _ATTEMPTS - 1:
                raise InputError(
                    f"{url} cannot be fetched ({_reason(error)}); try again later (what arrived is kept), or download "
                    f"it elsewhere and put it at {target}"
                ) from error
            time.sleep(pause * 2**attempt)
    raise AssertionError("the loop returns or raises")


def _fetch(url: str, part: Path, opener: Opener, progress: Progress) -> None:
    """One attempt: append what is missing, or begin again where the server does not take ranges."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": _AGENT, **({"Range": f"bytes={done}-"} if done else {})}
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not done:  # 416: nothing is left, or the server's file is shorter by now
            raise
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if total == str(done):
            return
        part.unlink()
        raise ConnectionError("the file changed on the server") from error
    with response:
        _require_https(response.geturl())
        append = response.status == 206 and _range_start(response) == done
        if not append:
            done = 0
        length = response.headers.get("Content-Length")
        total_size = done + int(length) if length and length.isdecimal() else None
        with open(part, "ab" if append else "wb") as file:
            while block := _read(response):
                file.write(block)
                done += len(block)
                progress(done, total_size)
    if total_size is not None and done < total_size:
        raise ConnectionError(f"the connection ended after {done} of {total_size} bytes")


def _read(response: Any) -> bytes:
    try:
        result: bytes = response.read(_BLOCK)
        return result
    except OSError as error:  # of the network; those of the disk come from writing
        raise ConnectionError(str(error)) from error


def _range_start(response: Any) -> int:
    value = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(value) if value.isdecimal() else -1


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check(part: Path, url: str, digest: str, expected: str, target: Path) -> None:
    with open(part, "rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        part.unlink()
        raise InputError(
            f"{url} answered with a web page (a login, a quota or a confirmation), so nothing was kept; download the "
            f"file in a browser and put it at {target}"
        )
    if not digest.startswith(expected):
        part.unlink()
        raise InputError(
            f"{url} sent another file than expected (its SHA-256 begins with {digest[:8]}, not {expected[:8]}), so "
            f"nothing was kept; if you trust a copy from elsewhere, put it at {target}"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}"
    reason = getattr(error, "reason", None) or error
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(text.split())[:160] or type(error).__name__


def cache_folder(kind: str = "weights") -> Path:
    """Where downloaded files of a kind are kept: `PADINV_CACHE`, or the system's folder for caches.

    Raises:
        UsageError: `PADINV_CACHE` is empty.
    """
    from platformdirs import user_cache_path

    given = os.environ.get("PADINV_CACHE")
    if given is not None and not given.strip():
        raise UsageError("PADINV_CACHE is empty; set it to a folder, or unset it")
    return (Path(given) if given else user_cache_path("padinv", appauthor=False)) / kind
