"""Counters that Prometheus reads at /metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Requests, their duration, runs of the model and their sizes. Each service has its own registry."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("padinv_requests", "Requests answered.", ("path", "status"), registry=self.registry)
        self._seconds = Histogram(
            "padinv_request_seconds", "Time to answer.", ("path",), buckets=_SECONDS, registry=self.registry
        )
        self._batch = Histogram(
            "padinv_batch_size", "Requests in one run of the model.", ("graph",), buckets=_SIZES, registry=self.registry
        )
        self._in_progress = Gauge("padinv_requests_in_progress", "Requests being worked on.", registry=self.registry)
        self._waiting = Gauge("padinv_queue_length", "Inputs that wait for the model.", registry=self.registry)

    def watch(self, in_progress: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Read the two gauges from these functions."""
        self._in_progress.set_function(in_progress)
        self._waiting.set_function(waiting)

    def ran(self, graph: str, size: int) -> None:
        """Count one run of the model."""
        self._batch.labels(graph).observe(size)

    def answered(self, path: str, status: int) -> None:
        """Count one answer. `path` is a route, not what the client wrote, so that clients cannot make labels."""
        self._requests.labels(path, str(status)).inc()

    @contextmanager
    def timed(self, path: str) -> Any:
        """Measure the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(path).observe(time.perf_counter() - started)

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)
