"""How long each stage takes at the least: the larger of its arithmetic at the reachable speed and its memory traffic at
the reachable bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

from clasp_trt.chain import Cut
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.specs import Projector, Tower
from clasp_trt.ops import ITERATIONS
from clasp_trt.targets import Target
from clasp_trt.tools.plan import assumptions
from clasp_trt.tools.plan.machine import Machine


@dataclass(frozen=True)
class Rates:
    """Speeds that are reached: ``products`` FLOP/s of matrix products in the model's precision, ``int4`` of those with
    weights of 4 bits, ``fp32`` of those in fp32, ``bandwidth`` bytes/s."""

    products: float
    int4: float
    fp32: float
    bandwidth: float


@dataclass(frozen=True)
class Work:
    """``flops`` (a multiplication with its addition is two) and ``traffic``, bytes read or written."""

    flops: float
    traffic: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.traffic + other.traffic)


@dataclass(frozen=True)
class Stage:
    """One stage of a request: ``rows`` tokens, ``seconds``, and which ``bound`` it meets (compute or bandwidth)."""

    name: str
    rows: int
    seconds: float
    bound: str


@dataclass(frozen=True)
class Timing:
    """A request with an image: the stages up to the first token, and the step for each later one."""

    stages: tuple[Stage, ...]
    decode: Stage

    @property
    def ttft(self) -> float:
        """Seconds to the first token, without routing and preprocessing."""
        return sum(stage.seconds for stage in self.stages)


def rates_of(target: Target, precision: str, machine: Machine | None) -> Rates | None:
    """The speeds that are reached on ``target``, if a CPU then ``machine``; None if the figures are unknown."""
    if assumptions.is_cpu(target):
        if machine is None:
            return None
        flops = machine.flops * assumptions.CPU_COMPUTE_FRACTION
        return Rates(flops, flops, flops, machine.bandwidth * assumptions.CPU_BANDWIDTH_FRACTION)
    if target.fp16_tflops is None or target.bandwidth_gb_s is None:
        return None
    peak, share = target.fp16_tflops * 1e12, assumptions.reached(target)
    scale = assumptions.FP32_FRACTION if precision == "fp32" else 1.0
    return Rates(
        products=peak * share.floats * scale,
        int4=peak * share.int4 * scale,
        fp32=peak * share.floats * assumptions.FP32_FRACTION,
        bandwidth=target.bandwidth_gb_s * 1e9 * share.bandwidth,
    )


def stage(name: str, rows: int, work: Work, flops: float, bandwidth: float) -> Stage:
    """The time of ``work`` at ``flops`` FLOP/s and ``bandwidth`` bytes/s."""
    compute, traffic = work.flops / flops, work.traffic / bandwidth
    return Stage(name, rows, max(compute, traffic), "compute" if compute >= traffic else "bandwidth")


def tower_work(tower: Tower, tiles: int, rows: int, item: float) -> Work:
    """``tiles`` pictures of ``rows`` rows each through the exported blocks; ``item`` is the bytes of a weight."""
    return Work(tiles * tower.flops(rows), tower.built_parameters * item)


def projector_work(projector: Projector, tokens: int, item: float) -> Work:
    """``tokens`` visual tokens to decoder width."""
    return Work(2 * tokens * projector.matrices, projector.parameters * item)


def prefill_work(decoder: DecoderSpec, cut: Cut, rows: int, text_tokens: int, item: float) -> Work:
    """``rows`` rows through the layers of ``cut``. The decoder's last layer owes only its last row, beside the keys and
    values of all. Masked products are computed all the same."""
    last = 1 if cut.last == decoder.layers - 1 else 0
    full = cut.layers - last
    pair = 4 * decoder.attention_width  # scores and sums of one row and one key
    flops = 2.0 * cut.layers * rows * decoder.kv_matrices
    flops += (full * rows + last) * (2 * decoder.row_matrices + rows * pair)
    flops += last * 2 * decoder.embedding_parameters
    if cut.watched:
        flops += 2 * text_tokens * rows * decoder.attention_width
    weights = cut.layers * decoder.layer_parameters + last * decoder.output_parameters
    return Work(flops, (weights + 2 * cut.layers * rows * decoder.kv_width) * item)


def decode_work(decoder: DecoderSpec, lengths: dict[Cut, int], item: float, cache_item: float) -> Work:
    """One new token over caches filled with ``lengths`` rows each: every weight and every key and value is read."""
    weights = decoder.layers * decoder.layer_parameters + decoder.output_parameters
    pairs = sum(cut.layers * length for cut, length in lengths.items())
    matrices = decoder.layers * (decoder.kv_matrices + decoder.row_matrices) + decoder.embedding_parameters
    flops = 2 * matrices + 4 * pairs * decoder.attention_width
    return Work(flops, weights * item + 2 * pairs * decoder.kv_width * cache_item)


def gram_work(tokens: int, width: int) -> Work:
    """Cosine similarities of all pairs of visual tokens, in fp32."""
    return Work(2 * tokens * tokens * width, 4 * (tokens * width + tokens * tokens))


def selection_work(arriving: int, keep: int) -> Work:
    """One selection of ``keep`` of ``arriving`` tokens.

    Every iteration of k-means sums the rows of the Gram matrix over at most ``keep`` clusters, as products of its high
    and its low bits with a one-hot matrix.
    """
    return Work(2 * 2 * ITERATIONS * arriving * arriving * keep, 2 * 4 * ITERATIONS * arriving * arriving)
