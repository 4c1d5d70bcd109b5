"""What a manifest says must hold together, and its chain must be whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt import bundle as b
from tests.bundle.sample import PROCESSOR, SPARSE, VALID, altered, entry, refused, without
from tests.oneslot import with_one_slot

SEGMENT_0 = next(i for i, graph in enumerate(VALID["graphs"]) if graph["name"] == "segment_0")
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "files: policy.json is not listed": without(("files", "policy.json")),
    "files: clasp.json cannot list itself": altered(("files", "clasp.json"), entry(b"")),
    "graphs[0].path: graphs/other.onnx is not among": altered(("graphs", 0, "path"), "graphs/other.onnx"),
    "graphs: two are named 'segment_0'": altered(("graphs", 1, "name"), "segment_0"),
    "graphs[1]: two tensors are named 'alpha'": altered(("graphs", 1, "outputs", 0, "name"), "alpha"),
    "segments[1].graph: there is no graph 'x'": altered(("segments", 1, "graph"), "x"),
    "segments: two share the graph 'segment_0'": altered(("segments", 1, "graph"), "segment_0"),
    "model.vision.feature_layer: 5": altered(("model", "vision", "feature_layer"), 5),
    "model.decoder.heads: 3": altered(("model", "decoder"), {**VALID["model"]["decoder"], "heads": 3, "kv_heads": 2}),
    "model.stop_token_ids[0]: 32 is outside": altered(("model", "stop_token_ids", 0), 32),
    "schedule.tower.after_block: 4, but the tower has 4 layers": altered(
        ("schedule", "tower"), {"after_block": 4, "keep": 9, "of": 16}
    ),
    "segments[0].capacity: 64, but max_context 64 asks for 57": altered(
        ("schedule", "tower"), {"after_block": 2, "keep": 9, "of": 16}
    ),
    "schedule.tokens: 17": altered(("schedule", "tokens"), 17),
    "model.tokens: [4, 16, 16], but media.image.processor makes [16, 16, 16]": altered(
        ("model", "tokens"), [4, 16, 16]
    ),
    "schedule.tokens: 16, but model.tokens is [16, 16, 17]": altered(("model", "tokens"), [16, 16, 17]),
    "model.tokens: [16, 16, 16], but media.image.processor makes [4, 4, 4]": altered((*PROCESSOR, "cell"), 12),
    "model.decoder.axes: 3, but media.image.positions of kind 'sequential' have 1": altered(
        ("model", "decoder", "axes"), 3
    ),
    "model.decoder.window: 8, but no graph of 'causal' rows": altered(("model", "decoder", "window"), 8),
    "graphs[4].inputs: visible is missing, expected int64[2, 1, sequence]": altered(
        ("model", "decoder", "visible"), "prefix"
    ),
    "graphs[6].inputs: position_ids is int64[3, sequence], expected int64[slots, sequence]": altered(
        ("graphs", SEGMENT_0, "inputs", 1, "shape", 0), 3
    ),
    "it gives pixel_values float32[batch, 3, 24, 24], which graph 'vision' does not take": altered(
        ("graphs", 0, "inputs", 0, "shape", 2), 28
    ),
    "quantization.embedding: int4 in blocks of 32": altered(("quantization",), {"embedding": {"bits": 4, "block": 32}}),
    "opset: 20, but integers in blocks came with 21": {
        **altered(("quantization",), {"head": {"bits": 4, "block": 128}}),
        "opset": 20,
    },
    "sparsity.data: null, but tamp chooses by questions": altered(
        ("sparsity",), {**SPARSE, "data": None, "rows": 0, "tokens": 0}
    ),
    "sparsity.zeros: 49 of 100 weights, which is not 2:4": altered(("sparsity",), {**SPARSE, "zeros": 49}),
    "sparsity.zeros: 54 of 100 weights, which is not 0.5": altered(
        ("sparsity",), {**SPARSE, "asked": "0.5", "zeros": 54}
    ),
    "schedule.layers: 5": altered(("schedule", "layers"), 5),
    "prune_at: 'none' needs no stages": altered(("prune_at",), "none"),
    "prune_at: 'encoder' needs one stage": altered(("prune_at",), "encoder"),
    "budget: 17 is more than": altered(("budget",), 17),
    "segments[0]: layers 1..0, but layer 0": altered(("segments", 0, "first_layer"), 1),
    "segments[1]: layers 2..2, but layer 1": altered(("segments", 1, "first_layer"), 2),
    "segments[1]: layers 0..2, but layer 1": altered(("segments", 1, "first_layer"), 0),
    "segments[2]: layers 3..3, but layer 2": altered(("segments", 1, "last_layer"), 1),
    "segments: they cover 5 layers": altered(("segments", 2, "last_layer"), 4),
    "segments: they cover 3 layers": without(("segments", 2)),
    "backend: 'onnxruntime', but target 'portable' takes portable": altered(("target",), "portable"),
    "backend: 'portable', but target 'cpu' takes onnxruntime": altered(("backend",), "portable"),
    "backend: 'tensorrt', but target 'cpu' takes onnxruntime": altered(("backend",), "tensorrt"),
    "segments: they cover 0 layers": altered(("segments",), []),
    "prunes after layer 0, but no segment ends there": altered(
        ("segments",), [{"graph": "segment_0", "first_layer": 0, "last_layer": 3, "capacity": 64}]
    ),
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_a_contradiction(root: Path, said: str) -> None:
    (root / "clasp.json").write_text(json.dumps(CONTRADICTIONS[said]))
    refused(root, b.InconsistentManifest, said)


@pytest.mark.parametrize(
    ("stages", "source", "said"),
    [
        ([], "none", "prune_at: 'decoder' needs stages inside the decoder, but the schedule has no stages"),
        ([{"after_layer": -1, "keep": 4}], "encoder", "prune_at: 'decoder' needs stages inside the decoder"),
    ],
)
def test_stages_that_contradict_prune_at(root: Path, stages: list[dict[str, int]], source: str, said: str) -> None:
    schedule = {"tokens": 16, "layers": 4, "source": source, "stages": stages}
    (root / "clasp.json").write_text(json.dumps(altered(("schedule",), schedule)))
    refused(root, b.InconsistentManifest, said)


def test_a_budget_without_pruning(root: Path) -> None:
    whole = altered(("schedule",), {"tokens": 16, "layers": 4, "source": "none", "stages": []})
    (root / "clasp.json").write_text(json.dumps({**whole, "prune_at": "none", "budget": 8}))
    refused(root, b.InconsistentManifest, "budget: 8, but nothing is pruned: expected null")


@pytest.mark.full
def test_a_crowded_manifest_is_read_in_linear_time(root: Path) -> None:
    count = 50_000  # quadratic work would take minutes
    tensors = [{"name": f"t{i}", "dtype": "bool", "shape": []} for i in range(count)]
    (root / "clasp.json").write_text(json.dumps(altered(("graphs", 0, "inputs"), tensors)))
    refused(root, b.InconsistentManifest, "which graph 'vision' does not take")
    (root / "clasp.json").write_text(json.dumps(altered(("versions",), {f"v{i}": "1" for i in range(count)})))
    assert len(b.Bundle.open(root).manifest.versions) == count


# The chain is whole


def _chained(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    change(changed)
    return changed


def _narrow(content: dict[str, Any], *graphs: str) -> None:
    """``graphs`` as they were before a step could serve several slots."""
    one = with_one_slot(content)
    content["graphs"] = [
        old if old["name"] in graphs else new for old, new in zip(one["graphs"], content["graphs"], strict=True)
    ]


def _sized(content: dict[str, Any], capacity: int) -> None:
    """A context and caches that only the manifest knows."""
    content["max_context"] = capacity
    for segment, dropped in zip(content["segments"], (0, 8, 14), strict=True):
        segment["capacity"] = capacity - dropped


def _endless(content: dict[str, Any]) -> None:
    """A thousand million layers in the last segment."""
    content["model"]["decoder"]["layers"] = content["schedule"]["layers"] = 10**9
    content["segments"][2]["last_layer"] = 10**9 - 1


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = {
    "a graph too few": (lambda m: m["graphs"].pop(0), ("graphs[0]: 'projector', expected 'vision'",)),
    "a graph too many": (
        lambda m: m["graphs"].append({**m["graphs"][-1], "name": "more"}),
        ("graphs[10]: 'more', expected no more",),
    ),
    "graphs out of order": (lambda m: m["graphs"].reverse(), ("graphs[0]: 'greedy', expected 'vision'",)),
    "a prune without a stage": (
        lambda m: m["schedule"]["stages"].pop(),
        ("graphs[5]: 'prune_1', expected 'segment_0'",),
    ),
    "segments that swap graphs": (
        lambda m: [m["segments"][i].update(graph=f"segment_{1 - i}") for i in (0, 1)],
        ("segments[0].graph", "segment_1", "segment_0"),
    ),
    "a capacity that the context does not ask for": (
        lambda m: m["segments"][1].update(capacity=64),
        ("segments[1].capacity: 64", "56"),
    ),
    "a segment of one slot": (
        lambda m: _narrow(m, "segment_1"),
        ("graphs[7].inputs: hidden is float16[1, sequence, 8], expected float16[slots, sequence, 8]",),
    ),
    "segments of several slots after an embedding of one": (
        lambda m: _narrow(m, "embed", "segment_0", "segment_1"),
        ("graphs[8].inputs: hidden is float16[slots, sequence, 8], expected float16[1, sequence, 8]",),
    ),
    "a capacity that no graph has": (lambda m: _sized(m, 10**9), ("graphs[6].inputs: past_key_0", "1000000000")),
    "layers that no graph has": (_endless, ("graphs[8].inputs", "caches of 1 layers", "999999997")),
    "another precision": (lambda m: m.update(precision="fp32"), ("graphs[2].inputs: visual", "float16", "float32")),
    "another vocabulary": (
        lambda m: m["model"]["decoder"].update(vocab_size=33),
        ("graphs[8].outputs: logits", "33"),
    ),
    "other heads": (lambda m: m["model"]["decoder"].update(kv_heads=2), ("graphs[6].inputs: past_key_0",)),
    "another width of the tower": (
        lambda m: m["model"]["vision"].update(width=9),
        ("graphs[0].outputs: features", "9"),
    ),
    "a projector of other layers": (
        lambda m: m["graphs"][1]["inputs"][1].update(shape=["batch", 3]),
        ("graphs[1].inputs: alpha", "3"),
    ),
    "a tower without features": (lambda m: m["graphs"][0]["outputs"].pop(0), ("graphs[0].outputs", "features")),
    "a port that is missing": (
        lambda m: m["graphs"][6]["inputs"].pop(4),
        ("graphs[6].inputs: reference_index is missing",),
    ),
    "a port of another dtype": (
        lambda m: m["graphs"][3]["outputs"][0].update(dtype="float16"),
        ("graphs[3].outputs: gram", "float16", "float32"),
    ),
    "a port that is none of the graph's": (
        lambda m: m["graphs"][9]["inputs"].append({"name": "more", "dtype": "bool", "shape": []}),
        ("graphs[9].inputs: 'more'",),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_chain_that_is_not_whole(root: Path, kind: str) -> None:
    change, facts = BROKEN[kind]
    (root / "clasp.json").write_text(json.dumps(_chained(change)))
    refused(root, b.InconsistentManifest, *facts)


def test_a_bundle_from_before_the_greedy_graph_opens(root: Path) -> None:
    (root / "clasp.json").write_text(json.dumps(_chained(lambda m: m["graphs"].pop())))
    assert b.Bundle.open(root).manifest.graphs[-1].name == "segment_2"
