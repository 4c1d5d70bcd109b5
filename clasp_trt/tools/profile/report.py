"""What was measured, summed up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.tools.profile.layers import DECODE, PREFILL, Layers
from clasp_trt.tools.profile.memory import Memory
from clasp_trt.tools.profile.sample import Sample
from clasp_trt.tools.profile.stages import Row, rows
from clasp_trt.tools.profile.statistics import LEVEL, Ratio, Summary, ratio, summarise
from clasp_trt.tools.profile.workload import Workload, picture_tokens


@dataclass(frozen=True)
class Measurement:
    """One bundle. ``before`` and ``loaded`` are the memory of its process without the bundle and with it."""

    bundle: Bundle
    samples: tuple[Sample, ...]
    before: Memory
    loaded: Memory
    layers: Layers | None

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Milliseconds by name, in the order of the chain (:func:`clasp_trt.tools.profile.stages.rows`)."""
        return {row.name: row for row in rows(self.samples)}

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Median and percentiles of each row, in milliseconds."""
        return {name: summarise(row.values) for name, row in self.rows.items()}

    @property
    def tokens_per_second(self) -> float:
        """Rate of decoding, from the median TPOT."""
        return 1e3 / self.summaries["tpot"].median

    @property
    def memory(self) -> dict[str, int]:
        """Bytes: ``libraries`` before loading, ``loaded`` after it, ``steady`` after the last run, ``peak`` of all."""
        last = self.samples[-1].memory
        return {
            "libraries": self.before.resident,
            "loaded": self.loaded.resident,
            "steady": last.resident,
            "peak": last.peak,
        }


@dataclass(frozen=True)
class Report:
    """Measurements of the same rounds; the first bundle is compared with each of the others."""

    workload: Workload
    runs: int
    warmup: int
    measurements: tuple[Measurement, ...]

    @cached_property
    def comparisons(self) -> tuple[dict[str, Ratio], ...]:
        """For each bundle but the first: by row that both have, the first one's time over its own."""
        first, *others = self.measurements
        return tuple(_compare(first, other) for other in others)

    def to_json(self, *, samples: bool = False) -> dict[str, object]:
        """All of it as JSON values; ``samples`` adds every single time."""
        return {
            "version": clasp_trt.__version__,
            "runs": self.runs,
            "warmup": self.warmup,
            "new_tokens": self.workload.new_tokens,
            "prompt": self.workload.prompt,
            "pictures": [list(picture.size) for picture in self.workload.images],
            "method": self.workload.method,
            "bundles": [_measurement_json(each, self.workload, samples) for each in self.measurements],
            "comparisons": [
                {
                    "first": str(self.measurements[0].bundle.root),
                    "second": str(other.bundle.root),
                    "level": LEVEL,
                    "ratios": {name: _ratio_json(found) for name, found in ratios.items()},
                }
                for other, ratios in zip(self.measurements[1:], self.comparisons, strict=True)
            ],
        }


def _compare(first: Measurement, second: Measurement) -> dict[str, Ratio]:
    found = {
        name: ratio(row.values, second.rows[name].values) for name, row in first.rows.items() if name in second.rows
    }
    return {name: each for name, each in found.items() if each is not None}


def _ratio_json(found: Ratio) -> dict[str, object]:
    return {
        "ratio": found.value,
        "interval": None if found.interval is None else list(found.interval),
        "beyond_noise": found.beyond_noise,
    }


def _measurement_json(measured: Measurement, workload: Workload, samples: bool) -> dict[str, object]:
    manifest, sample = measured.bundle.manifest, measured.samples[0]
    told: dict[str, object] = {
        "bundle": str(measured.bundle.root),
        "backend": manifest.backend,
        "precision": manifest.precision,
        "schedule": manifest.schedule.to_json(),
        "mean_visual_tokens": manifest.schedule.mean_of(sample.visual_tokens),
        "category": sample.category,
        "prompt_tokens": sample.prompt_tokens,
        "visual_tokens": sample.visual_tokens,
        "picture_tokens": picture_tokens(measured.bundle, workload),
        "kept_tokens": list(manifest.schedule.keeps_of(sample.visual_tokens)) if workload.images else [],
        "tokens_per_second": measured.tokens_per_second,
        "speculation": None if sample.speculation is None else sample.speculation.to_json(),
        "memory_bytes": measured.memory,
        "times_ms": {name: summary._asdict() for name, summary in measured.summaries.items()},
    }
    if measured.layers is not None:
        told["layers"] = _layers_json(measured.layers)
    if samples:
        told["samples_ms"] = {name: row.values.tolist() for name, row in measured.rows.items()}
    return told


def _layers_json(layers: Layers) -> dict[str, object]:
    return {
        "ops_ms": {phase: layers.ops(phase) for phase in (PREFILL, DECODE)},
        "nodes": [{**node._asdict(), "shape": list(node.shape)} for node in layers.nodes],
    }
