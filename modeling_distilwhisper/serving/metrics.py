"""Numbers for Prometheus: requests, seconds of audio, latency, batches, the queue, and the memory of experts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .items import Outcome

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of a server. A language is a label only if it is one that the model knows: clients make up others."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "distilwhisper_requests", "Requests", ["endpoint", "status", "language"], registry=self.registry
        )
        self.audio = Counter("distilwhisper_audio_seconds", "Transcribed audio", ["language"], registry=self.registry)
        self.latency = Histogram(
            "distilwhisper_request_seconds",
            "Time of a successful request, from its head to its answer",
            ["language"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "distilwhisper_batch_windows", "Windows in a call of generate", buckets=SIZES, registry=self.registry
        )
        self.places = Gauge("distilwhisper_requests_in_progress", "Requests taken on", registry=self.registry)
        self.experts = Gauge(
            "distilwhisper_expert_bytes", "Experts in memory, of the last replica that answered", registry=self.registry
        )

    def add_outcome(self, outcome: Outcome) -> None:
        """Counts the batches that an outcome tells of."""
        for rows in outcome.batches:
            self.batches.observe(rows)
        if outcome.batches:
            self.experts.set(outcome.loaded)

    def add_request(self, endpoint: str, status: int, language: str, seconds: float, audio: float) -> None:
        """Counts a request.

        Args:
            endpoint: its path.
            status: of the answer; 499 for a client that hung up.
            language: the code, or "" if it is not known.
            seconds: that it took.
            audio: seconds of audio that were transcribed.
        """
        self.requests.labels(endpoint, str(status), language).inc()
        if status == 200:
            self.latency.labels(language).observe(seconds)
            self.audio.labels(language).inc(audio)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return generate_latest(self.registry)
