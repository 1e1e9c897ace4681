"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """One server's numbers. Seconds and tokens; the names end in their unit."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "speechless_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "speechless_request_seconds",
            "From a request's arrival to its last byte.",
            ["route"],
            registry=self.registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
        )
        self.first_token = Histogram(
            "speechless_time_to_first_token_seconds",
            "From a request's arrival to its first text.",
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.prompt_tokens = Counter("speechless_prompt_tokens", "Tokens read.", registry=self.registry)
        self.generation_tokens = Counter(
            "speechless_generation_tokens", "Tokens generated.", registry=self.registry
        )
        self.running = Gauge(
            "speechless_requests_running", "Requests that generate now.", registry=self.registry
        )
        self.waiting = Gauge(
            "speechless_requests_waiting", "Requests that wait for their turn.", registry=self.registry
        )

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
