"""The gate in front of `padinv serve` and `padinv studio`: what it refuses, tried as an attacker would."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from padinv.runtime.server.gate import HEADERS, Gate, host_name, is_loopback
from padinv.runtime.server.limits import Limits

TOKEN = "a-long-token"


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def _ask(
    gate: Gate, method: str = "POST", path: str = "/", body: tuple[bytes, ...] = (b"hi",), **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """One request to a gate; header names are written with underscores."""
    named = {"host": "127.0.0.1:8000", **{key.replace("_", "-"): value for key, value in headers.items()}}
    scope = {
        "type": "http", "method": method, "path": path, "scheme": "http",
        "headers": [(key.encode(), value.encode()) for key, value in named.items()],
    }  # fmt: skip
    parts = list(body)
    sent: list[Any] = []

    async def receive() -> Any:
        if not parts:
            await asyncio.sleep(60)  # a client that never finishes
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts) or part == b"..."}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    answer = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], sent[1]["body"], answer


def test_a_request_of_our_own_passes_with_its_body() -> None:
    assert _ask(Gate(_echo, Limits()), body=(b"one ", b"two"))[:2] == (200, b"one two")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "192.168.1.2:80"])
def test_a_foreign_host_is_refused_so_dns_rebinding_reaches_nothing(host: str) -> None:
    assert _ask(Gate(_echo, Limits()), host=host)[0] == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:9", "[::1]:8000"])
def test_loopback_names_are_served_on_any_port(host: str) -> None:
    assert _ask(Gate(_echo, Limits()), host=host)[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:9999", "null", "http://localhost:8000", "file://"]
)
def test_a_foreign_origin_is_refused_and_another_port_is_foreign(origin: str) -> None:
    assert _ask(Gate(_echo, Limits()), origin=origin)[0] == 403


def test_our_own_origin_and_a_named_one_pass() -> None:
    gate = Gate(_echo, Limits(), origins=("https://mine.example",))
    assert _ask(gate, origin="http://127.0.0.1:8000")[0] == 200
    assert _ask(gate, origin="https://mine.example")[0] == 200


def test_a_page_of_another_site_cannot_ask_but_a_link_can_be_followed() -> None:
    gate = Gate(_echo, Limits())
    assert _ask(gate, "GET", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    assert _ask(gate, "GET", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200
    assert _ask(gate, "POST", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 403


def test_a_missing_token_is_401_and_a_wrong_one_403() -> None:
    gate = Gate(_echo, Limits(), token=TOKEN, cookie="padinv", open_paths=frozenset({"/health"}))
    status, _, headers = _ask(gate)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert _ask(gate, authorization="Bearer wrong")[0] == 403
    assert _ask(gate, authorization="Bearer \xe9")[0] == 403
    assert _ask(gate, cookie="padinv=wrong")[0] == 403
    assert _ask(gate, cookie="other=1")[0] == 401
    assert _ask(gate, authorization=f"Basic {TOKEN}")[0] == 401
    assert _ask(gate, authorization=f"Bearer {TOKEN}")[0] == 200
    assert _ask(gate, cookie=f"padinv={TOKEN}")[0] == 200
    assert _ask(gate, path="/health")[0] == 200


def test_the_cookie_counts_only_where_the_application_sets_one() -> None:
    assert _ask(Gate(_echo, Limits(), token=TOKEN), cookie=f"padinv={TOKEN}")[0] == 401


def test_a_body_that_is_announced_or_grows_too_large_is_refused() -> None:
    gate = Gate(_echo, Limits(upload_bytes=10))
    assert _ask(gate, content_length="11", body=())[0] == 413
    assert _ask(gate, content_length="-1", body=())[0] == 413
    assert _ask(gate, body=(b"123456", b"123456"))[0] == 413
    assert _ask(gate, body=(b"1234567890",))[0] == 200


def test_a_body_that_trickles_is_cut_off() -> None:
    status, body, headers = _ask(Gate(_echo, Limits(body_seconds=0.05)), body=(b"...",))
    assert (status, headers["connection"]) == (408, "close")
    assert b"0.05 seconds" in body


def test_requests_over_the_limit_are_answered_429_and_reading_still_works() -> None:
    gate = Gate(_echo, Limits(requests=2))
    gate.in_progress = 2
    status, body, headers = _ask(gate)
    assert (status, headers["retry-after"]) == (429, "1")
    assert b"2 requests are in progress" in body
    assert _ask(gate, "GET")[0] == 200
    gate.in_progress = 1
    assert _ask(gate)[0] == 200
    assert gate.in_progress == 1


def test_every_answer_forbids_requests_to_other_sites_and_framing() -> None:
    for headers in (_ask(Gate(_echo, Limits()))[2], _ask(Gate(_echo, Limits()), host="evil.example")[2]):
        assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_host_names_and_loopback_addresses() -> None:
    assert [host_name(text) for text in ("A.b:80", "[::1]:2", "[::1]", "x")] == ["a.b", "::1", "::1", "x"]
    assert [is_loopback(text) for text in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip
