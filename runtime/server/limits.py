"""How much one request, one client, and the whole service may take."""

from __future__ import annotations

from dataclasses import dataclass

from padinv.runtime.errors import UsageError

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that keep a service small whatever it is sent.

    Attributes:
        upload_bytes: of one request's body.
        pixels: of one uploaded picture; checked from its header, before anything is decoded.
        requests: requests in progress at once; further ones are answered 429.
        connections: open connections at once; further ones are answered 503 by the HTTP server.
        batch: requests that go through the model at once.
        images: pictures that one request may generate.
        head_seconds: time for the head of a request to arrive.
        body_seconds: time for the body of a request to arrive.
        answer_seconds: time for a request to be answered, counted from when its body is there.
    """

    upload_bytes: int = 32 * MIB
    pixels: int = 50_000_000
    requests: int = 64
    connections: int = 256
    batch: int = 16
    images: int = 64
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise UsageError(f"the limit {name} must be above 0, not {value}")
