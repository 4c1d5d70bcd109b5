"""A manifest of a model whose pictures keep their shape, with positions of three axes."""

from __future__ import annotations

from dataclasses import replace

from clasp_trt import schedule
from clasp_trt.bundle import DecoderDims, Graph, Grid, Manifest, Media, Medium, Run, Segment, Spatial
from clasp_trt.chain import Chain, ports, vision_ports
from tests.bundle.written import manifest

PROCESSOR = Grid(
    14, 2, 2, 56 * 56, 28 * 28 * 16, "bicubic", 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), window=8, table=None
)


def grid_manifest(deepstack: int = 0) -> Manifest:
    """Of two stages, which keep shares of whatever comes, and three segments; something is added after ``deepstack`` of
    its layers."""
    sample, layers, most = manifest(), 4, PROCESSOR.token_range[-1]
    decoder = DecoderDims(
        layers, 8, heads=2, kv_heads=1, head_dim=4, vocab_size=32, axes=3, visible="causal", deepstack=deepstack
    )
    made = replace(
        sample,
        model=replace(sample.model, tokens=PROCESSOR.token_range, decoder=decoder),
        media=Media(Medium(PROCESSOR, Run("<image>", "<image>", 31, "", ""), Spatial(None))),
        schedule=schedule.given(most, layers, (most // 2, most // 4), prune_layers=(0, 2)).shared(),
        max_context=100,
    )
    runs = [(0, 0), (1, 2), (3, 3)]
    chain = Chain.of(made.schedule, runs, varies=True)
    segments = tuple(Segment(cut.name, cut.first, cut.last, cut.capacity(100, most)) for cut in chain.cuts)
    values = 3 * PROCESSOR.time * PROCESSOR.patch**2
    found = [
        (
            "vision",
            vision_ports.grid_vision(
                2,
                values,
                8,
                3,
                "float32",
                window=PROCESSOR.window,
                table=PROCESSOR.table,
                deepstack=(deepstack, 8) if deepstack else None,
            ),
        ),
        ("projector", vision_ports.merging_projector(2, 8, 8, "float32")),
        *ports.decoder(chain, decoder, made.max_context, "float32"),
    ]
    graphs = tuple(
        Graph(name, f"graphs/{name}.onnx", *(tuple(each.spec for each in side) for side in (given, given_back)))
        for name, (given, given_back) in found
    )
    return replace(made, graphs=graphs, segments=segments)
