"""Whether the network may be used, and which hub is asked."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from padinv.runtime.errors import UsageError

DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_state = {"forbidden": False}


def forbid_network(forbidden: bool = True) -> None:
    """What --offline says: nothing is fetched from here on."""
    _state["forbidden"] = forbidden


def offline_reason() -> str | None:
    """Why nothing may be fetched: '--offline', 'HF_HUB_OFFLINE=1' or 'TRANSFORMERS_OFFLINE=1'; None where it may."""
    if _state["forbidden"]:
        return "--offline"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # huggingface_hub reads both
        if os.environ.get(name, "").upper() in _TRUE:
            return f"{name}={os.environ[name]}"
    return None


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or https://huggingface.co.

    Raises:
        UsageError: not an https address. On plain http anybody on the way could read the access token; only this
            machine itself may be named so.
    """
    given = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT
    parts = urlsplit(given)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or local) or parts.username or parts.query:
        raise UsageError(
            f"HF_ENDPOINT is {given[:120]!r}, which is not an https address, so nothing was fetched; unset it, or "
            "set it to one like https://huggingface.co"
        )
    return given


def endpoint_name() -> str:
    """A folder's name for the hub, so that models of two hubs are never mixed up."""
    return urlsplit(endpoint()).netloc.replace(":", "_").lower()
