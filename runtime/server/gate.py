"""The gate in front of every request: who may ask, how much, and how fast.

A page on another site can make a browser send requests to 127.0.0.1, and can point a name of its own at that address
(DNS rebinding). So the `Host` and `Origin` headers are checked besides the token; see "Safe by default" in
docs/studio.md.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from padinv.runtime.server.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

# Nothing that a page of ours shows may come from elsewhere, and no other page may frame ours.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "font-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Gate:
    """ASGI middleware that refuses a request before the application sees it.

    Args:
        app: the application behind it.
        limits: of bodies, and of requests in progress.
        token: who does not present it, as `Authorization: Bearer TOKEN` or as the cookie, is refused. None: open to
            all.
        cookie: name of the cookie that may carry the token; None: the header alone counts.
        hosts: names in `Host` and `Origin` that are ours, without ports; None: any.
        origins: further origins (scheme://host:port) whose pages may ask.
        open_paths: paths that need no token.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        token: str | None = None,
        cookie: str | None = None,
        hosts: tuple[str, ...] | None = LOOPBACK_NAMES,
        origins: tuple[str, ...] = (),
        open_paths: frozenset[str] = frozenset(),
    ) -> None:
        self.app = app
        self.limits = limits
        self.token = token
        self.cookie = cookie
        self.hosts = hosts
        self.origins = origins
        self.open_paths = open_paths
        self.in_progress = 0
        self.on_refused: Callable[[int], None] = lambda status: None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan messages; websockets are not served at all
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        if refusal := self._refusal(scope):
            await self._refuse(send, *refusal)
            return
        counted = scope["method"] not in ("GET", "HEAD")
        if counted and self.in_progress >= self.limits.requests:
            message = f"{self.in_progress} requests are in progress, which is the limit; ask again in a second"
            await self._refuse(send, 429, message, {"retry-after": "1"})
            return
        self.in_progress += counted
        try:
            await self._run(scope, receive, send)
        finally:
            self.in_progress -= counted

    async def _run(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            body = await asyncio.wait_for(self._body(receive), self.limits.body_seconds)
        except asyncio.TimeoutError:
            seconds = self.limits.body_seconds
            await self._refuse(
                send, 408, f"the request did not arrive within {seconds:g} seconds", {"connection": "close"}
            )
            return
        except _TooLargeError:
            await self._refuse(send, 413, self._too_large(), {"connection": "close"})
            return
        if body is None:  # the client went away
            return
        await self.app(scope, _replayed(body, receive), send)

    async def _body(self, receive: Receive) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self.limits.upload_bytes:
                raise _TooLargeError
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        """Status and sentence for a request that must not go on; None for one that may."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._known_host(headers.get("host", "")):
            return 421, "this address is not served here: the Host header names another machine"
        origin = headers.get("origin")
        if origin is not None and not self._known_origin(origin, headers.get("host", ""), scope.get("scheme", "http")):
            return 403, "a page of another origin asked, which is not allowed"
        if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site") and not self._navigation(
            scope, headers
        ):
            return 403, "a page of another site asked, which is not allowed"
        if self.token is not None and scope["path"] not in self.open_paths:
            given = self._given_token(headers)
            if given is None:
                return (
                    401,
                    "this needs the token: open the address that was printed at the start, or send a bearer token",
                )
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return 403, "the token is wrong; it changes with every start"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.upload_bytes:
            return 413, self._too_large()
        return None

    def _navigation(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> bool:
        """A link that a person follows to our start page is harmless; all other requests of other sites are not."""
        return (
            headers.get("origin") is None and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        ) or self._allowed(headers.get("origin"))

    def _allowed(self, origin: str | None) -> bool:
        return origin is not None and origin.rstrip("/").lower() in self.origins

    def _known_host(self, host: str) -> bool:
        return self.hosts is None or host_name(host) in self.hosts

    def _known_origin(self, origin: str, host: str, scheme: str) -> bool:
        """A page may ask where it comes from this very host and port."""
        if self._allowed(origin):
            return True
        parts = urlsplit(origin)
        return parts.scheme in (scheme, "https") and parts.netloc.lower() == host.lower()

    def _given_token(self, headers: dict[str, str]) -> str | None:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and value.strip():
            return value.strip()
        if self.cookie is not None and "cookie" in headers:
            try:
                morsel = SimpleCookie(headers["cookie"]).get(self.cookie)
            except CookieError:
                return None
            return morsel.value if morsel is not None else None
        return None

    def _too_large(self) -> str:
        return f"a request may hold {self.limits.upload_bytes // 1024} KiB at most; send a smaller picture"

    async def _refuse(self, send: Send, status: int, text: str, extra: dict[str, str] | None = None) -> None:
        self.on_refused(status)
        headers = {"content-type": "application/json", **(extra or {})}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        body = b'{"error": "' + text.encode() + b'"}'  # the sentences above hold nothing that JSON escapes
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


class _TooLargeError(Exception):
    """More bytes came than a request may hold."""


def host_name(host: str) -> str:
    """The name in a `Host` header, in lower case, without the port and the brackets of IPv6."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    """Add the safety headers to every answer that does not set them itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first gives the body that was read, then whatever follows (a disconnect)."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
