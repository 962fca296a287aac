"""What every command's --json has in common."""

from __future__ import annotations

import json
from typing import Any

STATUS = {0: "done", 1: "failed", 2: "usage", 3: "partly", 130: "interrupted"}


def json_document(result: Any) -> dict[str, Any]:
    """The object that a command printed, after a check of its common keys."""
    document: dict[str, Any] = json.loads(result.out)
    assert list(document)[:4] == ["schema", "status", "results", "skipped"]
    assert (document["schema"], document["status"]) == (1, STATUS[result.code])
    assert isinstance(document["results"], list)
    assert all(set(one) == {"path", "reason", "code"} for one in document["skipped"])
    assert ("error" in document) == (result.code not in (0, 3, 130)) or document["results"]
    return document
