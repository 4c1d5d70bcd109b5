"""Time to first token and time per output token on a CPU, against Hugging Face transformers.

``python -m benchmarks.ttft_cpu`` makes a checkpoint with random weights (a CLIP-L/14-336 tower and a decoder of
TinyLlama-1.1B's shape: 576 visual tokens), builds it unpruned and at a budget, and lets four peers answer in turn:
transformers with eager and with sdpa attention, each at the number of threads at which it is fastest, and the two
bundles. Each peer is a process of its own; reported are medians, and ratios against the faster transformers.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.worker import ROOT, Sample, Worker

PHOTO = ROOT / "examples" / "photos" / "chelsea.jpg"
PROMPT = (  # 63 tokens with its template, in the vocabulary of a random checkpoint
    "What is the cat looking at, and what is it likely to do next? "
    "Answer in one short sentence, and say how sure you are."
)
SELECTION = ("route", "project", "gram", "prune_0", "prune_1", "prune_2")
"""Router, fusion (with the projector, which every LLaVA has), Gram matrix and selections. The saliency is not among
them: it is a few nodes inside the segments and the tower."""


def checkpoint(folder: Path, preset: str) -> Path:
    """A random checkpoint of the preset in ``folder``, made unless there is one."""
    made = folder / preset
    if not (made / "config.json").is_file():
        _run("-m", "examples.random_llava", made, "--preset", preset)
    return made


def prepare(folder: Path, preset: str, budget: int, quantize: str) -> tuple[Path, dict[str, Path]]:
    """The checkpoint, which is kept from run to run, and its two bundles, which are not: they are what is measured."""
    model = checkpoint(folder, preset)
    bundles = {
        "clasp-trt unpruned": (folder / f"{preset}-none", ("--prune-at", "none")),
        f"clasp-trt budget {budget}": (folder / f"{preset}-{budget}", ("--budget", str(budget))),
    }
    for path, options in bundles.values():
        rounded = ("--quantize", quantize)
        _run("-m", "clasp_trt", "build", model, "-o", path, *options, *rounded, "--max-context", "1024", "--force")
    return model, {name: path for name, (path, _) in bundles.items()}


def _run(*words: str | Path) -> None:
    print("+", "python", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True, stdout=sys.stderr)


def fastest(attention: str, model: Path, threads: int) -> Worker:
    """A transformers worker at its best number of threads, up to ``threads``, by one answer's time to first token."""
    best: tuple[float, Worker] | None = None
    for count in range(1, threads + 1):
        worker = Worker("hf_llava", str(model), "--attention", attention, threads=count)
        worker.run(PHOTO, PROMPT, 2)
        ttft = worker.run(PHOTO, PROMPT, 2).ttft_ms
        print(f"transformers {attention} on {count} threads: TTFT {ttft:.0f} ms", file=sys.stderr, flush=True)
        if best is None or ttft < best[0]:
            if best is not None:
                best[1].close()
            best = ttft, worker
        else:
            worker.close()
    assert best is not None
    return best[1]


def measure(workers: dict[str, Worker], rounds: int, new_tokens: int) -> dict[str, list[Sample]]:
    """``rounds`` answers of every peer, interleaved, after one that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name, worker in workers.items():
            sample = worker.run(PHOTO, PROMPT, new_tokens)
            print(f"round {number} {name}: TTFT {sample.ttft_ms:.0f} ms", file=sys.stderr, flush=True)
            if number:
                samples[name].append(sample)
    return samples


def report(samples: dict[str, list[Sample]]) -> dict[str, dict[str, float]]:
    """Medians by peer, and ratios against the faster transformers (of TTFT, and of TPOT, each on its own)."""
    rows = {
        name: {
            "ttft_ms": statistics.median(s.ttft_ms for s in taken),
            "tpot_ms": statistics.median(gap for s in taken for gap in s.tpot_ms),
            "peak_rss_mb": max(s.peak_rss_mb for s in taken),
            "prompt_tokens": taken[0].prompt_tokens,
        }
        for name, taken in samples.items()
    }
    peers = [row for name, row in rows.items() if name.startswith("transformers")]
    for name, row in rows.items():
        for key in ("ttft_ms", "tpot_ms"):
            row[key.replace("_ms", "_ratio")] = row[key] / min(peer[key] for peer in peers)
        if steps := [s.steps_ms for s in samples[name] if s.steps_ms]:
            added = [sum(step.get(part, 0.0) for part in SELECTION) / step["ttft"] for step in steps]
            row["clasp_share"] = statistics.median(added)
    return rows


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep checkpoint and bundles here [default: a temporary folder]."
)
@click.option("--preset", default="tinyllama-1.1b", show_default=True, help="Preset of examples/random_llava.py.")
@click.option("--budget", default=64, show_default=True)
@click.option("--quantize", default="none", show_default=True, help="As that of build, for both bundles.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--new-tokens", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    folder: Path | None,
    preset: str,
    budget: int,
    quantize: str,
    rounds: int,
    new_tokens: int,
    threads: int,
    as_json: bool,
) -> None:
    """Measure time to first token and time per output token against transformers."""
    with ExitStack() as stack:
        kept = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = kept.resolve()
        kept.mkdir(parents=True, exist_ok=True)
        model, bundles = prepare(kept, preset, budget, quantize)
        workers = {
            f"transformers {attention}": stack.enter_context(fastest(attention, model, threads))
            for attention in ("eager", "sdpa")
        }
        for name, bundle in bundles.items():
            workers[name] = stack.enter_context(Worker("bundle_peer", str(bundle), threads=threads))
        rows = report(measure(workers, rounds, new_tokens))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':24}{'TTFT':>10}{'ratio':>8}{'TPOT':>10}{'ratio':>8}{'peak RSS':>11}{'CLASP share':>13}")
    for name, row in rows.items():
        share = f"{row['clasp_share']:12.1%}" if "clasp_share" in row else ""
        print(
            f"{name:24}{row['ttft_ms']:7.0f} ms{row['ttft_ratio']:8.2f}{row['tpot_ms']:7.0f} ms{row['tpot_ratio']:8.2f}"
            f"{row['peak_rss_mb']:8.0f} MB {share}"
        )


if __name__ == "__main__":
    main()
