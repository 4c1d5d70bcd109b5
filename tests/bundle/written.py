"""A small bundle that a build writes, and its manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clasp_trt import schedule
from clasp_trt.bundle import (
    POLICY,
    Bundle,
    DecoderDims,
    Graph,
    Manifest,
    Media,
    Medium,
    ModelInfo,
    Run,
    Segment,
    Sequential,
    Square,
    VisionDims,
    write,
)
from clasp_trt.chain import Chain, ports, vision_ports
from clasp_trt.policy import prior

WEIGHTS = bytes(range(256)) * 8


def manifest(label: str = "first") -> Manifest:
    tokens, layers = 16, 4
    without = Manifest(
        model=ModelInfo(
            model_type="llava",
            name="tiny",
            vision=VisionDims(4, 8, feature_layer=3, saliency="cls"),
            tokens=(tokens,) * 3,
            decoder=DecoderDims(layers, 8, heads=2, kv_heads=1, head_dim=4, vocab_size=32, axes=1, visible="causal"),
            stop_token_ids=(2,),
        ),
        media=Media(
            Medium(
                Square(24, 6, 24, None, "bicubic", 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)),
                Run("<image>", "<image>", 31, "", "\n"),
                Sequential(0),
            )
        ),
        precision="fp32",
        prune_at="decoder",
        schedule=schedule.given(tokens, layers, (8, 2), prune_layers=(0, 2)),
        budget=None,
        max_context=64,
        opset=24,
        graphs=(),
        segments=(Segment("segment_0", 0, 0, 64), Segment("segment_1", 1, 2, 56), Segment("segment_2", 3, 3, 50)),
        backend="onnxruntime",
        target="cpu",
        versions={"clasp-trt": "0.1.0", "label": label},
    )
    return replace(without, graphs=graphs_of(without))


def graphs_of(made_of: Manifest) -> tuple[Graph, ...]:
    """The graphs that the schedule and the segments of a manifest ask for."""
    chain = Chain.of(
        made_of.schedule, [(each.first_layer, each.last_layer) for each in made_of.segments], method=made_of.method
    )
    found = [
        ("vision", vision_ports.square_vision(24, 2, 16, 8, 3, "float32")),
        ("projector", vision_ports.projector(2, 16, 8, 8, "float32")),
        *ports.decoder(chain, made_of.model.decoder, made_of.max_context, "float32"),
    ]
    return tuple(
        Graph(name, f"graphs/{name}.onnx", *(tuple(each.spec for each in side) for side in (given, made)))
        for name, (given, made) in found
    )


def fill(root: Path) -> None:
    (root / "graphs").mkdir()
    for graph in manifest().graphs:
        (root / graph.path).write_bytes(WEIGHTS)
    (root / POLICY).write_text(prior((1, 3), 3).dumps(), encoding="utf-8")


def build(
    destination: Path,
    label: str = "first",
    *,
    force: bool = False,
    made_of: Manifest | None = None,
    edit: Callable[[Path], object] = lambda root: None,
) -> Bundle:
    """Write the sample, or a bundle ``made_of`` another manifest, with its staging folder edited."""
    with write(destination, force=force) as making:
        fill(making.root)
        edit(making.root)
        return making.commit(made_of or manifest(label))


def label(bundle: Bundle) -> str:
    return bundle.manifest.versions["label"]
