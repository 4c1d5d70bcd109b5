"""The portable half of a bundle in every precision: typed, checked, described, and free of traces of its maker."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from safetensors.numpy import load_file

from clasp_trt import schedule as schedules
from clasp_trt import tensors
from clasp_trt.build_memory import peak
from clasp_trt.chain import Chain
from clasp_trt.chain.cuts import MIN_TEXT
from clasp_trt.errors import BackendError, CheckpointError, ScheduleError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.exporter import (
    GRAPHS,
    Exported,
    Progress,
    check_file,
    export,
    segments_of,
)
from clasp_trt.export.family import Family, family_of
from clasp_trt.export.graph import DTYPES, IR_VERSION
from clasp_trt.operators import DOMAIN, MAX_TOKENS
from clasp_trt.schedule import Schedule
from clasp_trt.targets import PORTABLE_OPSET

LAYERS, CONTEXT = (1, 3), 64
SCHEDULE = schedules.given(16, 4, (9, 5, 3))
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


class Made(NamedTuple):
    root: Path
    precision: str
    exported: Exported
    progress: list[tuple[int, int]]

    def models(self) -> dict[str, onnx.ModelProto]:
        """The graphs without their weights."""
        return {
            graph.name: onnx.load(self.root / graph.path, load_external_data=False) for graph in self.exported.graphs
        }


def _export(
    folder: Path,
    root: Path,
    *,
    layers: tuple[int, ...] = LAYERS,
    schedule: Schedule = SCHEDULE,
    max_context: int = CONTEXT,
    precision: str = "fp32",
    memory_limit: int | None = None,
    progress: Progress = lambda graph, done, total: None,
) -> Exported:
    checkpoint = Checkpoint.open(folder)
    return export(
        checkpoint, family_of(checkpoint), root, layers=layers, schedule=schedule, max_context=max_context,
        precision=precision, memory_limit=memory_limit, progress=progress,
    )  # fmt: skip


@pytest.fixture(
    scope="module", params=["fp32", *(pytest.param(name, marks=pytest.mark.full) for name in ("fp16", "bf16"))]
)
def made(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root, written = tmp_path_factory.mktemp("export"), list[tuple[int, int]]()

    def progress(graph: str, done: int, total: int) -> None:
        written.append((done, total))

    exported = _export(checkpoint, root, precision=request.param, progress=progress)
    return Made(root, request.param, exported, written)


def test_the_graphs_of_a_bundle(made: Made) -> None:
    prunes, segments = [f"prune_{n}" for n in range(3)], [f"segment_{n}" for n in range(4)]
    names = [graph.name for graph in made.exported.graphs]
    assert names == ["vision", "projector", "embed", "gram", *prunes, *segments, "greedy"]
    assert [segment.graph for segment in made.exported.segments] == segments
    files = {path.name for path in (made.root / GRAPHS).iterdir()}
    assert files == {f"{n}.onnx" for n in names} | {
        f"{n}.onnx.data" for n in names if n not in {"gram", "greedy", *prunes}
    }


def test_every_graph_passes_the_checks_of_onnx(made: Made) -> None:
    for graph in made.exported.graphs:
        onnx.checker.check_model(str(made.root / graph.path), full_check=True)
        model = onnx.load(made.root / graph.path)
        assert model.ir_version == IR_VERSION
        domains = {entry.domain: entry.version for entry in model.opset_import}
        assert domains == {"": PORTABLE_OPSET, **({DOMAIN: 1} if graph.name.startswith("prune") else {})}
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        unknown = [v.name for v in inferred.graph.value_info if not v.type.tensor_type.elem_type]
        assert not unknown, "every value has a type"


def test_ports_equal_what_the_manifest_will_state(made: Made) -> None:
    codes = {int(code): name for name, code in DTYPES.items()}
    models = made.models()
    for graph in made.exported.graphs:
        written = models[graph.name].graph
        for stated, found in ((graph.inputs, written.input), (graph.outputs, written.output)):
            assert [port.name for port in stated] == [port.name for port in found]
            for port, value in zip(stated, found, strict=True):
                kind = value.type.tensor_type
                assert port.dtype == codes[kind.elem_type]
                assert port.shape == tuple(d.dim_param or d.dim_value for d in kind.shape.dim)


def test_the_docstring_lists_every_port_with_its_meaning(made: Made) -> None:
    for model, graph in zip(made.models().values(), made.exported.graphs, strict=True):
        lines = model.graph.doc_string.splitlines()
        assert lines[0].endswith(".")
        for side, ports, rows in (
            ("in ", graph.inputs, lines[1 : 1 + len(graph.inputs)]),
            ("out", graph.outputs, lines[1 + len(graph.inputs) :]),
        ):
            assert len(rows) == len(ports)
            for port, row in zip(ports, rows, strict=True):
                head = f"{side} {port.name}: {port.dtype}[{', '.join(map(str, port.shape))}]  "
                assert row.startswith(head)
                assert len(row) > len(head), "no meaning"


def test_graphs_are_strongly_typed(made: Made) -> None:
    """All weights, hidden states and caches in the precision; float32 only where it is meant."""
    precision = int(DTYPES[tensors.FLOATS[made.precision]])
    for name, model in made.models().items():
        floats = [tensor for tensor in model.graph.initializer if tensor.data_type in FLOATS]
        assert bool(floats) == (not name.startswith(("gram", "greedy", "prune")))
        for tensor in floats:
            small = int(np.prod(tensor.dims)) <= 1  # such as the scale of the [CLS] attention
            assert tensor.data_type == precision or small, f"{name}: {tensor.name}"
        dtypes = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
        meant = {"pixel_values", "cls_saliency", "alpha", "gram", "gram_out", "saliency", "logits"}
        for port, dtype in dtypes.items():
            if dtype in FLOATS:
                assert dtype == (TensorProto.FLOAT if port in meant else precision), f"{name}: {port}"


def test_weights_are_those_of_the_checkpoint(checkpoint: Path, made: Made) -> None:
    stored = load_file(checkpoint / "model.safetensors")
    dtype = DTYPES[tensors.FLOATS[made.precision]].numpy()

    def weight(graph: str, name: str) -> Any:
        model = onnx.load(made.root / GRAPHS / f"{graph}.onnx")
        return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)

    up = "layers.3.mlp.up_proj.weight"
    for found, expected in (
        (weight("segment_3", up), stored[f"language_model.model.{up}"].T),
        (weight("segment_3", "lm_head.weight"), stored["language_model.lm_head.weight"].T),
        (weight("embed", "embedding"), stored["language_model.model.embed_tokens.weight"]),
    ):
        np.testing.assert_array_equal(found, expected.astype(dtype))


def test_nothing_tells_where_and_by_whom_a_graph_was_made(checkpoint: Path, made: Made) -> None:
    """No paths, no stack traces, and no place of the weights but the file beside the graph."""
    trails = [str(made.root), str(checkpoint), str(Path.cwd()), str(Path.home()) + "/", "site-packages", ".py"]
    for graph in made.exported.graphs:
        data = (made.root / graph.path).read_bytes()
        for trail in trails:
            assert trail.encode() not in data, f"{graph.path} holds {trail}"
        for tensor in onnx.load(made.root / graph.path, load_external_data=False).graph.initializer:
            places = {entry.key: entry.value for entry in tensor.external_data}
            assert places.get("location", f"{graph.name}.onnx.data") == f"{graph.name}.onnx.data"


def test_progress_counts_the_weights(made: Made) -> None:
    on_disk = sum(path.stat().st_size for path in (made.root / GRAPHS).glob("*.data"))
    done, total = made.progress[-1]
    assert done == total
    assert [step[0] for step in made.progress] == sorted(step[0] for step in made.progress)
    assert {step[1] for step in made.progress} == {total}
    assert total == pytest.approx(on_disk, rel=0.01), "what is not weights is alignment"


# --- the files around the graphs ----------------------------------------------------------------------------


def test_assets(checkpoint: Path, made: Made) -> None:
    for name in ("tokenizer.json", "preprocessor_config.json"):
        assert json.loads((made.root / name).read_text()) == json.loads((checkpoint / name).read_text())
    assert (made.root / "chat_template.jinja").read_text() == (checkpoint / "chat_template.jinja").read_text()
    tokens = json.loads((made.root / "special_tokens_map.json").read_text())
    assert tokens["bos_token"] == "<s>"
    assert (made.root / "generation_config.json").read_bytes() == (checkpoint / "generation_config.json").read_bytes()


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of the files around the graphs alone."""
    monkeypatch.setattr("clasp_trt.export.exporter._graphs", lambda *arguments: iter(()))


@pytest.mark.usefixtures("no_graphs")
def test_a_checkpoint_that_today_s_library_saved(folder: Path, tmp_path: Path) -> None:
    """It has the image processor's configuration inside that of the processor."""
    expected = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    processor = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**processor, "image_processor": expected}))
    (tmp_path / "out").mkdir()
    _export(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "preprocessor_config.json").read_text()) == expected


@pytest.mark.usefixtures("no_graphs")
def test_a_checkpoint_without_a_generation_config(folder: Path, tmp_path: Path) -> None:
    (folder / "generation_config.json").unlink()
    (tmp_path / "out").mkdir()
    _export(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "generation_config.json").exists()


@pytest.mark.usefixtures("no_graphs")
def test_special_tokens_in_either_form(folder: Path, tmp_path: Path) -> None:
    (folder / "special_tokens_map.json").write_text('{"bos_token": {"content": "<s>", "lstrip": false}, "x": 1}')
    (folder / "tokenizer_config.json").write_text('{"bos_token": "?", "pad_token": "<pad>", "add_bos_token": true}')
    (tmp_path / "out").mkdir()
    _export(folder, tmp_path / "out")
    tokens = json.loads((tmp_path / "out" / "special_tokens_map.json").read_text())
    assert tokens == {"bos_token": "<s>", "pad_token": "<pad>"}


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_checkpoint_that_cannot_show_images(folder: Path, tmp_path: Path, content: str | None) -> None:
    (folder / "preprocessor_config.json").unlink()
    if content is not None:
        (folder / "preprocessor_config.json").write_text(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        _export(folder, tmp_path / "out")


# --- what is refused ----------------------------------------------------------------------------------------


def test_requests_that_a_checkpoint_cannot_meet(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"layer 5.*0 to 4"):
        _export(checkpoint, tmp_path, layers=(1, 5))
    with pytest.raises(ScheduleError, match="--max-context 4097 exceeds the checkpoint's 4096 positions"):
        _export(checkpoint, tmp_path, max_context=4097)
    with pytest.raises(ScheduleError, match=f"expected {16 + MIN_TEXT} to 4096"):
        _export(checkpoint, tmp_path, max_context=16 + MIN_TEXT - 1)
    many = MAX_TOKENS + 1
    with pytest.raises(ScheduleError, match=f"{MAX_TOKENS} visual tokens.*{many}"):
        _export(checkpoint, tmp_path, schedule=schedules.encoder(many, 4, 100))
    assert not list(tmp_path.iterdir()), "refused before anything is written"


def test_a_decoder_tensor_of_another_shape_stops_the_export(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 95
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match=r"mlp\.gate_proj\.weight has shape \[96, 48\].*\[95, 48\]"):
        _export(folder, tmp_path / "out", schedule=schedules.none(16, 4))


def test_a_graph_that_was_written_wrong_is_our_bug(made: Made) -> None:
    graph = made.exported.graphs[3]
    check_file(made.root / graph.path, graph)
    with pytest.raises(RuntimeError, match=r"gram\.onnx"):
        check_file(made.root / graph.path, replace(graph, outputs=()))


@pytest.mark.parametrize(
    ("schedule", "capacities"),
    [
        (SCHEDULE, [64, 57, 53, 51]),
        (schedules.encoder(16, 4, 5), [53]),
        (schedules.none(16, 4), [64]),
        (schedules.given(16, 4, (4,), (1,)), [64, 52]),
    ],
)
def test_caches_have_no_slots_for_what_was_pruned(schedule: Schedule, capacities: list[int]) -> None:
    segments = segments_of(Chain.of(schedule), CONTEXT)
    assert [segment.capacity for segment in segments] == capacities
    assert [layer for s in segments for layer in range(s.first_layer, s.last_layer + 1)] == [0, 1, 2, 3]


def test_a_graph_that_no_cut_makes_small_enough_is_refused_before_the_work(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"building segment_3.*0\.3"):
        _export(checkpoint, tmp_path, memory_limit=peak(175_000))
    assert list(tmp_path.iterdir()) == []


def test_every_family_keeps_the_protocol(checkpoint: Path) -> None:
    family: Family = family_of(Checkpoint.open(checkpoint))
    assert family.info.decoder.layers == family.description.decoder.layers == 4
    assert family.info.tokens == (16, 16, 16)
    assert family.info.vision.feature_layer == 3
    assert family.description.decoder.max_positions == 4096
