"""What is measured, as Prometheus reads it. No label holds what a client wrote."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from clasp_trt.runtime.result import Result
from clasp_trt.runtime.serving.house import House, Served
from clasp_trt.runtime.serving.life import Life

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STEPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_EACH = ("model", "budget")


class Meters:
    """The meters of one server, in a registry of their own; what an engine knows at any time is asked when it is
    read."""

    def __init__(self, house: House, life: Life) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"clasp_{name}", text, labels, registry=self._registry)

        def histogram(name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
            return Histogram(f"clasp_{name}", text, _EACH, registry=self._registry, buckets=bounds)

        self.requests = counter(
            "requests",
            "Requests that ended, by status; 499 of a client that left.",
            "code",
        )
        self._answers = counter("answers", "Whole answers.", *_EACH, "category", "finish_reason")
        self._queued = histogram("queue_seconds", "Wait for a slot.", _SECONDS)
        self._ttft = histogram("ttft_seconds", "From the arrival of a request to its first token.", _SECONDS)
        self._tpot = histogram("tpot_seconds", "Mean time of each later token of an answer.", _STEPS)
        self._prompt = counter("prompt_tokens", "Tokens of prompts, visual ones among them.", *_EACH)
        self._visual = counter("visual_tokens", "Visual tokens of prompts, before any is dropped.", *_EACH)
        self._made = counter("completion_tokens", "Tokens of answers.", *_EACH)
        self._reused_tokens = counter("reused_prompt_tokens", "Tokens of prompts that were in the caches.", *_EACH)
        self._reused_images = counter("reused_images", "Pictures that the vision graph had seen before.", *_EACH)
        self._kept = Summary(
            "clasp_kept_tokens",
            "Visual tokens that a stage kept in a request.",
            (*_EACH, "stage", "category"),
            registry=self._registry,
        )
        self._registry.register(_Now(house, life))

    def page(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    def began(self, served: Served, seconds: float) -> None:
        """The first token of an answer was there after ``seconds``."""
        self._ttft.labels(*_of(served)).observe(seconds)

    def answered(self, served: Served, result: Result, seconds: float) -> None:
        """An answer is whole, ``seconds`` after its first token."""
        each = _of(served)
        self._answers.labels(*each, result.category, result.finish_reason).inc()
        self._queued.labels(*each).observe(result.timings_ms.get("queued", 0.0) / 1e3)
        if len(result.token_ids) > 1:
            self._tpot.labels(*each).observe(seconds / (len(result.token_ids) - 1))
        self._prompt.labels(*each).inc(result.prompt_tokens)
        self._visual.labels(*each).inc(result.visual_tokens)
        self._made.labels(*each).inc(len(result.token_ids))
        self._reused_tokens.labels(*each).inc(result.reused_tokens)
        self._reused_images.labels(*each).inc(result.reused_images)
        for number, stage in enumerate(result.kept, 1):
            self._kept.labels(*each, str(number), result.category).observe(len(stage.indices))


class _Now:
    """What is so when it is asked for."""

    def __init__(self, house: House, life: Life) -> None:
        self._house, self._life = house, life

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        gauges = {
            "slots": ("Requests that can be answered together.", lambda each: each.engine.slots),
            "slots_used": ("Requests that have a slot.", lambda each: each.engine.answering),
            "queue_length": ("Requests that were taken and have no slot.", lambda each: each.queued),
            "silent_seconds": ("Since the last sign of life of an engine at work.", lambda each: each.engine.silent_s),
        }
        for name, (text, ask) in gauges.items():
            gauge = GaugeMetricFamily(f"clasp_{name}", text, labels=_EACH)
            for served in self._house:
                gauge.add_metric(_of(served), ask(served))  # type: ignore[no-untyped-call]
            yield gauge
        yield GaugeMetricFamily("clasp_ready", "1 from the first answers until the end.", value=float(self._life.ready))


def _of(served: Served) -> tuple[str, str]:
    return served.model, str(served.budget)
