"""Routers compared on the same held-out phrasings: ``python -m benchmarks.routers``, with the export extra installed.

Trains each candidate on the built-in prompts, calibrates it on the validation phrasings, and prints a table: accuracy
without a threshold, calibration error before and after the temperature, size of the graph, median latency of a prompt
on one thread with hashing, and what loading and 2000 prompts add to the resident memory of a fresh process that has
ONNX Runtime already. A small sentence encoder is no candidate here: this project ships no weights that it did not
train, and its build has no network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clasp_trt.policy import CATEGORY_NAMES, PRIOR_THRESHOLD
from clasp_trt.runtime.routing.router import RuleRouter
from clasp_trt.tools.routers import metrics
from clasp_trt.tools.routers.bags import Bags
from clasp_trt.tools.routers.graph import graph
from clasp_trt.tools.routers.linear import Linear, Training, fit, softmax
from clasp_trt.tools.routers.phrases import Phrases
from clasp_trt.tools.routers.prompts import HELD_OUT, TRAIN, VALIDATION, generate
from clasp_trt.tools.routers.train import BUCKETS, PER_CATEGORY

COUNT = len(CATEGORY_NAMES)
WIDTH, EPOCHS, SCALE = 32, 6, 6.0  # of the hidden layer; features have length 1, which is little for Adam

# Runs alone: argv is the graph (or "rules"), standard input the prompts.
PROBE = """
import json, sys, time
import numpy as np, onnxruntime as ort
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
prompts = json.load(sys.stdin)
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.routing.router import RuleRouter
from clasp_trt.runtime.routing.features import features
before = resident()
if sys.argv[1] == "rules":
    route = RuleRouter(CATEGORY_NAMES, 0.5).route
else:
    from clasp_trt.runtime.routing.learned import _open
    import hashlib, pathlib
    path = pathlib.Path(sys.argv[1])
    session = _open(path, hashlib.sha256(path.read_bytes()).hexdigest())
    def route(prompt):
        found = features(prompt, int(sys.argv[2]))
        return session.run(None, {"ids": found.ids, "weights": found.weights})
times = []
for prompt in prompts:
    start = time.perf_counter()
    route(prompt)
    times.append(time.perf_counter() - start)
print(json.dumps([float(np.median(times)) * 1e3, resident() - before]))
"""


@dataclass(frozen=True)
class Candidate:
    """``logits`` of any bags; ``graph`` is the ONNX file."""

    logits: Callable[[Bags], NDArray[np.float32]]
    graph: bytes


def naive_bayes(bags: Bags, right: NDArray[np.int64]) -> Candidate:
    """Multinomial, with the weights as counts and 0.1 added to each; its scores are a linear model's."""
    counts = np.full((BUCKETS, COUNT), 0.1)
    np.add.at(counts, (bags.ids, np.repeat(right, np.diff(bags.starts))), bags.weights)
    scores = np.log(counts / counts.sum(axis=0)).astype(np.float32)
    model = Linear(scores - scores.mean(axis=1, keepdims=True), np.zeros(COUNT, np.float32)).rounded()
    return Candidate(model.logits, graph(model, 1.0))


def linear(bags: Bags, right: NDArray[np.int64]) -> Candidate:
    model = fit(bags, right, buckets=BUCKETS, count=COUNT, seed=0, training=Training()).rounded()
    return Candidate(model.logits, graph(model, 1.0))


def perceptron(bags: Bags, right: NDArray[np.int64]) -> Candidate:
    """One hidden layer of ReLU over the summed rows, by Adam."""
    import torch

    torch.manual_seed(0)
    rows = torch.nn.EmbeddingBag(BUCKETS, WIDTH, mode="sum")
    torch.nn.init.normal_(rows.weight, 0, 0.1)
    head = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(WIDTH, COUNT))
    optimizer = torch.optim.Adam([*rows.parameters(), *head.parameters()], lr=3e-3)
    rng = np.random.default_rng(0)

    def forward(batch: Bags) -> torch.Tensor:
        weights = torch.tensor(batch.weights * np.float32(SCALE))
        out: torch.Tensor = head(rows(torch.tensor(batch.ids), torch.tensor(batch.starts[:-1]), weights))
        return out

    for _ in range(EPOCHS):
        order = rng.permutation(len(bags))
        for start in range(0, len(order), 256):
            chosen = order[start : start + 256]
            batch = bags.take(chosen)
            kept = (rng.random(len(batch.ids)) >= 0.5) * 2
            thinned = Bags(batch.ids, (batch.weights * kept).astype(np.float32), batch.starts)
            loss = torch.nn.functional.cross_entropy(
                forward(thinned), torch.tensor(right[chosen]), label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    head.eval()

    def logits(wanted: Bags) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(forward(wanted).numpy())

    last = head[2]
    assert isinstance(last, torch.nn.Linear)
    tables = {
        "rows": rows.weight.detach().numpy().astype(np.float16) * np.float16(SCALE),
        "matrix": last.weight.detach().numpy().T,
        "bias": last.bias.detach().numpy(),
    }
    return Candidate(logits, _perceptron_graph(tables))


def _perceptron_graph(tables: dict[str, NDArray[np.generic]]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["rows", "ids"], ["half"]),
        helper.make_node("Cast", ["half"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "one"], ["column"]),
        helper.make_node("Mul", ["whole", "column"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "zero"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "matrix", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {**tables, "one": np.array([1]), "zero": np.array([0])}
    inputs = [("ids", TensorProto.INT64), ("weights", TensorProto.FLOAT)]
    made = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in inputs],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, COUNT])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def probe(argument: str, prompts: list[str]) -> tuple[float, float]:
    """Median latency in ms, and resident MB added, in a process of its own."""
    line = [sys.executable, "-c", PROBE, argument, str(BUCKETS)]
    done = subprocess.run(line, input=json.dumps(prompts), capture_output=True, text=True, check=True)
    latency_ms, resident_mb = json.loads(done.stdout)
    return latency_ms, resident_mb


def main() -> None:
    parts = generate(Phrases.load(), per_category=PER_CATEGORY, seed=0)
    right = {
        part: np.array([CATEGORY_NAMES.index(item.category) for item in items], dtype=np.int64)
        for part, items in parts.items()
    }
    prompts = [item.prompt for item in parts[HELD_OUT]][::7][:2000]
    rules = RuleRouter(CATEGORY_NAMES, PRIOR_THRESHOLD)
    ruled = np.array([rules.route(item.prompt).category for item in parts[HELD_OUT]])
    latency, resident = probe("rules", prompts)
    print("| candidate | right | calibration error | after temperature | size | latency | resident |")
    print("|---|---|---|---|---|---|---|")
    print(f"| rules | {np.mean(ruled == right[HELD_OUT]):.1%} | | | | {latency:.2f} ms | {resident:.1f} MB |")
    bags = {part: Bags.of([item.prompt for item in items], BUCKETS) for part, items in parts.items()}
    for name, make in (("naive Bayes", naive_bayes), ("linear", linear), ("one hidden layer of 32", perceptron)):
        candidate = make(bags[TRAIN], right[TRAIN])
        temperature = metrics.fit_temperature(candidate.logits(bags[VALIDATION]), right[VALIDATION])
        logits = candidate.logits(bags[HELD_OUT])
        errors = [metrics.calibration_error(softmax(logits, value), right[HELD_OUT]) for value in (1.0, temperature)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "router.onnx"
            path.write_bytes(candidate.graph)
            latency, resident = probe(str(path), prompts)
        print(
            f"| {name} | {metrics.accuracy(logits, right[HELD_OUT]):.1%} | {errors[0]:.3f} | {errors[1]:.3f} "
            f"| {len(candidate.graph) / 1e6:.1f} MB | {latency:.2f} ms | {resident:.1f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
