"""How far ``clasp-trt plan`` is off: against published figures of an AGX Orin, and against CPUs.

``python -m benchmarks.plan_error`` prints two tables that need no measurement: the Orin's, and what the README's
figures of a CPU tell whatever that CPU's speed. With ``--measure`` it also makes checkpoints with random weights,
plans them for this machine, builds and runs them, and prints a third.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.qwen import CONFIGS
from benchmarks.ttft_cpu import PHOTO, PROMPT
from clasp_trt import targets
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.family import describe, read_description
from clasp_trt.tools.build.compiler import Pruning
from clasp_trt.tools.plan import Cut, Machine, Request, make, measure
from clasp_trt.tools.plan.roofline import Work, decode_work, prefill_work, projector_work, rates_of, stage, tower_work
from examples.random_llava import PRESETS, _config

ROOT = Path(__file__).parents[1]
INT4_BYTES = 0.5 + 2 / 128  # a weight in groups of 128 that share one fp16 scale; the output head stays fp16
FP16_BYTES = 2.0
PATCHES = 4  # become one visual token
PROMPT_TOKENS = 63  # of PROMPT with its template, in the vocabulary of a random checkpoint


@dataclass(frozen=True)
class Comparison:
    """One published or measured figure beside the estimate of it, both in ``unit``."""

    what: str
    unit: str
    found: float
    planned: float

    @property
    def error(self) -> float:
        """The estimate against the figure: 0.1 is 10 % too large."""
        return self.planned / self.found - 1


def _decoder(
    layers: int, width: int, heads: int, kv_heads: int, mlp: int, vocabulary: int, *, tied: bool, head_dim: int = 128
) -> DecoderSpec:
    """A decoder by its matrices, which are all that an estimate of it hangs on."""
    return DecoderSpec(
        layers, width, heads, kv_heads, head_dim, vocabulary, axes=1, visible="causal", mlp=mlp,
        norm_epsilon=1e-6, positions=32768, window=None,
        rotary={}, qkv_bias=False, output_bias=False, mlp_bias=False, qk_norm=False, tied=tied,
    )  # fmt: skip


_LLAMA_1B = _decoder(16, 2048, 32, 8, 8192, 128256, tied=True, head_dim=64)
_LLAMA_3B = _decoder(28, 3072, 24, 8, 8192, 128256, tied=True)

# name, visual tokens, text tokens, then ms, ms and tokens/s (None: speculative, another thing)
_PUBLISHED = (
    ("Qwen3-VL-2B", 265, 21, 39, 50, 98),
    ("Qwen3-VL-4B", 265, 21, 39, 124, 52),
    ("Qwen3-VL-8B", 265, 21, 57, 225, 32),
    ("Qwen2.5-VL-7B", 349, 32, 89, 261, None),
)
_PUBLISHED_FP16 = (("Llama-3.2-1B", _LLAMA_1B, 65.02), ("Llama-3.2-3B", _LLAMA_3B, 25.64))


def published() -> Iterator[Comparison]:
    """Public figures of an AGX Orin 64GB: vision and prefill in ms, decoding in tokens/s."""
    rates = rates_of(targets.get("orin-agx-64"), "fp16", None)
    assert rates is not None
    for name, visual, text, vision_ms, prefill_ms, speed in _PUBLISHED:
        model = describe(CONFIGS[name], "config.json", name)
        decoder, rows = model.decoder, visual + text
        cut = Cut("whole", 0, decoder.layers - 1, visual, watched=False)
        look = tower_work(model.tower, 1, PATCHES * visual, FP16_BYTES)
        look += projector_work(model.projector, visual, FP16_BYTES)
        seen = stage("vision", visual, look, rates.products, rates.bandwidth)
        yield Comparison(f"{name}, vision", "ms", vision_ms, seen.seconds * 1e3)
        work = prefill_work(decoder, cut, rows, text, INT4_BYTES)
        filled = stage("prefill", rows, work, rates.products, rates.bandwidth)
        yield Comparison(f"{name}, prefill of {rows}", "ms", prefill_ms, filled.seconds * 1e3)
        if speed is not None:
            head = Work(0, decoder.output_parameters * (FP16_BYTES - INT4_BYTES))
            step = decode_work(decoder, {cut: rows}, INT4_BYTES, FP16_BYTES) + head
            yield Comparison(f"{name}, decode", "tokens/s", speed, rates.bandwidth / step.traffic)
    for name, decoder, speed in _PUBLISHED_FP16:
        cut = Cut("whole", 0, decoder.layers - 1, 0, watched=False)
        step = decode_work(decoder, {cut: 0}, FP16_BYTES, FP16_BYTES)
        yield Comparison(f"{name} in 16 bits, decode", "tokens/s", speed, rates.bandwidth / step.traffic)


def readme() -> Iterator[Comparison]:
    """The README's figures that do not hang on the speed of the CPU: the memory, and what pruning to a budget of 64
    does to the time to first token, where arithmetic is the bound throughout."""
    shape = describe(_config(PRESETS["tinyllama-1.1b"], "float32", 1, 2), "config.json", "tinyllama-1.1b")
    schedule = Pruning(budget=64).schedule(shape.tower.tokens, shape.decoder.layers)
    machine = Machine(flops=1e9, bandwidth=1e12, memory=1)
    plan = make(Request(shape, targets.get("cpu"), schedule, "fp32", 1024, PROMPT_TOKENS, machine))
    assert plan.ttft_ratio is not None
    yield Comparison("first token at budget 64 against unpruned", "x", 2079 / 4904, plan.ttft_ratio)
    yield Comparison("peak memory, unpruned", "GB", 5.73, plan.unpruned.memory.needed / 1e9)
    yield Comparison("peak memory, budget 64", "GB", 5.90, plan.pruned.memory.needed / 1e9)


def measured(folder: Path, presets: tuple[str, ...], budget_share: int, rounds: int) -> Iterator[Comparison]:
    """Medians of ``rounds`` answers on this machine's CPU, unpruned and at a budget of a ``budget_share``-th."""
    machine = measure()
    print(f"{machine.flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s", file=sys.stderr)
    for preset in presets:
        checkpoint = folder / preset
        if not (checkpoint / "config.json").is_file():
            _run("-m", "examples.random_llava", checkpoint, "--preset", preset)
        shape = read_description(checkpoint / "config.json", preset)
        budget = shape.tower.tokens // budget_share
        for pruning in (Pruning("none"), Pruning(budget=budget)):
            name = f"{preset}, {'unpruned' if pruning.place == 'none' else f'budget {budget}'}"
            schedule = pruning.schedule(shape.tower.tokens, shape.decoder.layers)
            request = Request(shape, targets.get("cpu"), schedule, "fp32", 1024, PROMPT_TOKENS, machine)
            timing = make(request).pruned.timing
            assert timing is not None
            options = ("--prune-at", "none") if pruning.place == "none" else ("--budget", str(budget))
            bundle = folder / f"{preset}-{pruning.place}"
            _run("-m", "clasp_trt", "build", checkpoint, "-o", bundle, *options, "--max-context", "1024", "--force")
            ttft, tpot = _answer(bundle, rounds)
            yield Comparison(f"{name}, first token", "ms", ttft, timing.ttft * 1e3)
            yield Comparison(f"{name}, each token", "ms", tpot, timing.decode.seconds * 1e3)


def _answer(bundle: Path, rounds: int) -> tuple[float, float]:
    """Median milliseconds to the first token and per later one, after one answer that does not count."""
    from benchmarks.worker import Worker

    with Worker("bundle_peer", str(bundle), threads=2) as worker:
        samples = [worker.run(PHOTO, PROMPT, 16) for _ in range(rounds + 1)][1:]
    return (
        statistics.median(sample.ttft_ms for sample in samples),
        statistics.median(gap for sample in samples for gap in sample.tpot_ms),
    )


def _run(*words: str | Path) -> None:
    print("+", "python", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True, stdout=sys.stderr)


def table(rows: list[Comparison], found: str) -> str:
    """Markdown, as in docs/planning.md."""
    lines = [f"| | {found} | estimated | error |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.what} | {row.found:.4g} {row.unit} | {row.planned:.3g} {row.unit} | {round(100 * row.error):+d} % |"
        for row in rows
    ]
    return "\n".join(lines)


@click.command()
@click.option("--measure", "run", is_flag=True, help="Also build and run random checkpoints on this CPU.")
@click.option("--preset", "presets", multiple=True, default=("demo", "tinyllama-1.1b"), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep checkpoints here [default: a temporary folder].")
def main(run: bool, presets: tuple[str, ...], rounds: int, folder: Path | None) -> None:
    """Print how far the estimates of `clasp-trt plan` are off."""
    print(table(list(published()), "published") + "\n")
    print(table(list(readme()), "measured"))
    if not run:
        return
    with tempfile.TemporaryDirectory() as temporary:
        kept = (folder or Path(temporary)).resolve()
        kept.mkdir(parents=True, exist_ok=True)
        print("\n" + table(list(measured(kept, presets, 9, rounds)), "measured"))


if __name__ == "__main__":
    main()
