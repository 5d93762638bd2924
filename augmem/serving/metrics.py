"""Metrics of the server in Prometheus' format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS = (0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.streams = Gauge("augmem_streams", "open streams", registry=registry)
        self.served = Counter("augmem_streams_served", "streams that ended without an error", registry=registry)
        self.refused = Counter("augmem_refused", "refused connections and streams", ["reason"], registry=registry)
        self.audio = Counter("augmem_audio_seconds", "seconds of audio decoded", registry=registry)
        self.latency = Histogram(
            "augmem_final_latency_seconds", "seconds from the end of the audio to the last result",
            registry=registry, buckets=LATENCY_BUCKETS,
        )  # fmt: skip
        self.restarts = Counter("augmem_worker_restarts", "decoding processes that were replaced", registry=registry)

    def to_text(self) -> str:
        """Return all metrics as text."""
        return generate_latest(self.registry).decode()
