"""The watch's state for Prometheus: how old each source's data are, what was asked and left out, and the pool's own gauges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pandas as pd
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.daemon import Watch
from sim.errors import InputError

SIZED_S = 60.0  # a large store is measured at most so often


class WatchMetrics(Collector):
    """Metrics of a watch, made when they are asked for; the pool's gauges are those of the last round."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._size: tuple[float, float] = (float("-inf"), 0.0)

    def collect(self) -> Iterator[Metric]:
        """Give all metrics."""
        watch = self._watch
        yield _counter("poolscope_rounds", "rounds of collecting", watch.rounds)
        yield _counter("poolscope_rounds_failed", "rounds that gave no snapshot", watch.failed)
        yield _gauge("poolscope_interval_seconds", "from round to round", watch.every_s)
        yield _gauge("poolscope_store_bytes", "size of the store", self._store_bytes())
        yield from self._of_sources()
        yield from self._of_pool()

    def _of_sources(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "poolscope_data_age_seconds", "since a source last answered", labels=["source"]
        )
        asked = GaugeMetricFamily("poolscope_query_seconds", "what the last answer took", labels=["source"])
        rows = GaugeMetricFamily("poolscope_rows", "rows of the last answer", labels=["source"])
        failures = GaugeMetricFamily(
            "poolscope_failures_in_a_row", "failures since the last answer", labels=["source"]
        )
        rejects = CounterMetricFamily("poolscope_rejects", "ads left out", labels=["source", "reason"])
        gaps = CounterMetricFamily("poolscope_gaps", "what was missed", labels=["source", "kind"])
        now = pd.Timestamp.now(tz="UTC")
        for name, held in self._watch.health.items():
            if held.last_ok is not None:
                age.add_metric([name], (now - pd.Timestamp(held.last_ok)).total_seconds())
            asked.add_metric([name], held.seconds)
            rows.add_metric([name], held.rows)
            failures.add_metric([name], held.failures)
            for reason, count in list(held.rejects.items()):
                rejects.add_metric([name, reason], count)
            for kind, count in list(held.gaps.items()):
                gaps.add_metric([name, kind], count)
        yield from (age, asked, rows, failures, rejects, gaps)

    def _of_pool(self) -> Iterator[Metric]:
        devices = GaugeMetricFamily("poolscope_gpus", "GPUs by model and state", labels=["model", "state"])
        slots = GaugeMetricFamily("poolscope_slots", "slots by type and state", labels=["type", "state"])
        jobs = GaugeMetricFamily("poolscope_jobs", "jobs in the queues by status", labels=["status"])
        for family, name in ((devices, "devices"), (slots, "slots"), (jobs, "jobs")):
            for labels, count in self._watch.counts.get(name, {}).items():
                family.add_metric(list(labels), count)
        yield from (devices, slots, jobs)

    def _store_bytes(self) -> float:
        at, size = self._size
        if time.monotonic() - at > SIZED_S:
            size = float(sum(_size(file) for file in self._watch.store.path.rglob("*")))
            self._size = (time.monotonic(), size)
        return size


def _size(file: Any) -> int:
    try:
        return int(file.stat().st_size) if file.is_file() else 0
    except OSError:
        return 0


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def serve_metrics(watch: Watch, where: str) -> ThreadingHTTPServer:
    """Serve a watch's metrics on HOST:PORT (or PORT, then on loopback) from a thread.

    Raises
    ------
    InputError : the address is none, or taken
    """
    import threading
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
            """Say nothing: every scrape would be a line."""

    host, _, port = where.rpartition(":")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WatchMetrics(watch))
    try:
        server = make_server(
            host.strip("[]") or "127.0.0.1", int(port), make_wsgi_app(registry), handler_class=Quiet
        )
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"--metrics {where}: can't listen there ({error}); expected HOST:PORT or a free port"
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server  # type: ignore[return-value]
