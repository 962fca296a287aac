"""Pictures that say how they were made: XMP with a digital source type, and signed C2PA manifests on request."""

from __future__ import annotations
