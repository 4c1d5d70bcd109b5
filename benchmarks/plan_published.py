"""What ``clasp-trt plan`` makes of the models and devices of :mod:`benchmarks.published`, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from benchmarks.published import BEFORE_SUPER, Figure, figures
from benchmarks.qwen import CONFIGS
from clasp_trt import targets
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.description import Description
from clasp_trt.export.family import describe
from clasp_trt.quantization import Scheme
from clasp_trt.targets import Target
from clasp_trt.tools.plan import Cut, assumptions
from clasp_trt.tools.plan.memory import decoder_activations, tower_activations
from clasp_trt.tools.plan.roofline import Work, decode_work, prefill_work, projector_work, rates_of, stage, tower_work

FP16_BYTES = 2
PATCHES = 4  # become one visual token
MOST_PROMPT, MOST_VISUAL = 2048, 2048  # rows that engines of Edge-LLM are built for, on an NX and a Nano


@dataclass(frozen=True)
class Comparison:
    """One published or measured figure beside the estimate of it, both in ``unit``; ``kind`` is what it is of."""

    what: str
    unit: str
    found: float
    planned: float
    kind: str = ""

    @property
    def error(self) -> float:
        """The estimate against the figure: 0.1 is 10 % too large."""
        return self.planned / self.found - 1


def decoder_of(
    layers: int, width: int, heads: int, kv_heads: int, mlp: int, vocabulary: int, *, tied: bool, head_dim: int = 128
) -> DecoderSpec:
    """A decoder by its matrices, which are all that an estimate of it hangs on."""
    return DecoderSpec(
        layers, width, heads, kv_heads, head_dim, vocabulary, axes=1, visible="causal", mlp=mlp,
        norm_epsilon=1e-6, positions=32768, window=None,
        rotary={}, qkv_bias=False, output_bias=False, mlp_bias=False, qk_norm=False, tied=tied,
    )  # fmt: skip


DECODERS = {
    "Llama-3.2-1B": decoder_of(16, 2048, 32, 8, 8192, 128256, tied=True, head_dim=64),
    "Llama-3.2-3B": decoder_of(28, 3072, 24, 8, 8192, 128256, tied=True),
    "Llama-3.1-8B": decoder_of(32, 4096, 32, 8, 14336, 128256, tied=False),
    "Qwen2.5-7B": decoder_of(28, 3584, 28, 4, 18944, 152064, tied=False),
    "Qwen3-0.6B": decoder_of(28, 1024, 16, 8, 3072, 151936, tied=True),
    "Qwen3-1.7B": decoder_of(28, 2048, 16, 8, 6144, 151936, tied=True),
    "Qwen3-4B": decoder_of(36, 2560, 32, 8, 9728, 151936, tied=True),
    "Qwen3-8B": decoder_of(36, 4096, 32, 8, 12288, 151936, tied=False),
    "Phi-3.5-3.8B": decoder_of(32, 3072, 32, 32, 8192, 32064, tied=False, head_dim=96),
    "SmolLM2-1.7B": decoder_of(24, 2048, 32, 32, 8192, 49152, tied=True, head_dim=64),
}
_FP16 = (("Llama-3.2-1B", 65.02), ("Llama-3.2-3B", 25.64))
"""Tokens per second in 16 bits on an AGX Orin 64GB: https://huggingface.co/spaces/embedl/Edge-Inference-Benchmarks"""


def device(name: str) -> Target:
    """The device of a figure: a target, or the Orin Nano as it was sold before its Super mode: 68 GB/s and 40 sparse
    INT8 TOPS, by its first data sheet and the pages that compare both."""
    target = targets.get(name.removesuffix(BEFORE_SUPER))
    return target if target.name == name else replace(target, name=name, bandwidth_gb_s=68, fp16_tflops=10)


def published() -> Iterator[Comparison]:
    """Every figure of :func:`benchmarks.published.figures`, and two in 16 bits."""
    for figure in figures():
        yield from _compared(figure)
    rates = rates_of(targets.get("orin-agx-64"), "fp16", None)
    assert rates is not None
    for name, speed in _FP16:
        decoder = DECODERS[name]
        step = decode_work(decoder, {_whole(decoder, 0): 0}, FP16_BYTES, FP16_BYTES)
        planned = rates.bandwidth / step.traffic
        yield Comparison(f"orin-agx-64, {name} in 16 bits, decode", "tokens/s", speed, planned, "decode")


def _compared(figure: Figure) -> Iterator[Comparison]:
    """What a row states, in the order in which a request meets it."""
    model = describe(CONFIGS[figure.model], "config.json", figure.model) if figure.model in CONFIGS else None
    decoder = DECODERS[figure.model] if model is None else model.decoder
    rates, name = rates_of(device(figure.device), "fp16", None), f"{figure.device}, {figure.model}"
    assert rates is not None
    cut, item = _whole(decoder, figure.visual), _item(figure)
    if figure.vision_ms is not None and model is not None:
        look = tower_work(model.tower, 1, PATCHES * figure.visual, FP16_BYTES)
        look += projector_work(model.projector, figure.visual, FP16_BYTES)
        seen = stage("vision", figure.visual, look, rates.products, rates.bandwidth)
        yield Comparison(f"{name}, vision", "ms", figure.vision_ms, seen.seconds * 1e3, "vision")
    if figure.prefill_ms is not None:
        rows = max(figure.prompt, assumptions.TILE_ROWS)
        work = prefill_work(decoder, cut, rows, figure.prompt - figure.visual, item)
        filled = stage("prefill", figure.prompt, work, rates.int4, rates.bandwidth)
        what = f"{name}, prefill of {figure.prompt}"
        yield Comparison(what, "ms", figure.prefill_ms, filled.seconds * 1e3, "prefill")
    if figure.speed is not None:
        head = 0 if figure.source.rounded_head else decoder.output_parameters * (FP16_BYTES - item)
        step = decode_work(decoder, {cut: figure.prompt}, item, FP16_BYTES) + Work(0, head)
        made = stage("decode", 1, step, rates.int4, rates.bandwidth)
        after = f" after {figure.prompt}" if figure.prompt else ""
        yield Comparison(f"{name}, decode{after}", "tokens/s", figure.speed, 1 / made.seconds, "decode")
    if figure.memory_mb is not None:
        planned = _memory(figure, decoder, model, item) / 1e6
        yield Comparison(f"{name}, memory", "MB", figure.memory_mb, planned, "memory")


def _whole(decoder: DecoderSpec, visual: int) -> Cut:
    return Cut("whole", 0, decoder.layers - 1, visual, watched=False)


def _item(figure: Figure) -> float:
    """Bytes of a weight of the decoder's layers."""
    scheme, inputs = Scheme(4, figure.source.group), 4096
    return scheme.nbytes(1, inputs, FP16_BYTES) / inputs


def _memory(figure: Figure, decoder: DecoderSpec, model: Description | None, item: float) -> float:
    """Weights, with embedding and head in 16 bits; caches; what lives in the largest prefill; and the runtime."""
    weights = decoder.layers * decoder.layer_parameters * item
    weights += (decoder.embedding_parameters + decoder.output_parameters) * FP16_BYTES
    caches = 2 * decoder.layers * decoder.kv_width * figure.context * FP16_BYTES
    alive = decoder_activations(decoder, min(MOST_PROMPT, figure.context), FP16_BYTES, scores=False)
    if model is not None:
        weights += (model.tower.built_parameters + model.projector.parameters) * FP16_BYTES
        rows = PATCHES * MOST_VISUAL
        alive = max(alive, tower_activations(model.tower, FP16_BYTES, scores=False, rows=rows))
    return weights + caches + alive + assumptions.runtime_bytes(device(figure.device))


def summary(rows: Iterable[Comparison]) -> str:
    """The middle and the worst of the errors of each kind, in Markdown."""
    by_kind: dict[str, list[Comparison]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    lines = ["| | figures | median error | worst | of |", "|---|---:|---:|---:|---|"]
    for kind, found in by_kind.items():
        worst = max(found, key=lambda row: abs(row.error))
        middle = statistics.median(abs(row.error) for row in found)
        middle, most = round(100 * middle), round(100 * worst.error)
        lines.append(f"| {kind} | {len(found)} | {middle} % | {most:+d} % | {worst.what} |")
    return "\n".join(lines)


def table(rows: Iterable[Comparison], found: str) -> str:
    """Markdown, as in docs/planning.md."""
    lines = [f"| | {found} | estimated | error |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.what} | {row.found:.4g} {row.unit} | {row.planned:.3g} {row.unit} | {round(100 * row.error):+d} % |"
        for row in rows
    ]
    return "\n".join(lines)
