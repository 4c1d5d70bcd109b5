"""Real engines by TensorRT for RTX, on a machine that need not have a GPU."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from clasp_trt.bundle import Bundle, Graph, Profile, TensorSpec
from clasp_trt.engines.tensorrt.builder import Build, Job, Recipe, build_engine
from clasp_trt.engines.tensorrt.library import RTX_SMS, load
from clasp_trt.engines.tensorrt.process import build_apart
from clasp_trt.errors import BackendError, TargetError
from clasp_trt.quantization import Scheme
from clasp_trt.runtime.pipeline import load as load_pipeline
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.profile.loaders import EngineBytes
from examples import random_gemma, random_qwen, random_tiles
from examples.random_llava import PRESETS, make
from tests.house import ROOT
from tests.quantised import Eighths, fp8, quantise_checkpoint
from tests.started import own_environment

pytestmark = pytest.mark.trt

ONE_STAGE: dict[str, Any] = {"precision": "fp16", "prune_layers": (0,), "schedule": (7,), "budget": None}
"""Every kind of graph, and each but the segments once."""

ONE_SHARE: dict[str, Any] = {"precision": "fp16", "prune_layers": (0,), "budget": "1/2", "cache": False}
"""The same where the number of tokens follows the picture."""


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny checkpoint, pruned in the decoder, in fp16 for SM 8.9."""
    out = tmp_path_factory.mktemp("rtx") / "bundle"
    return build(checkpoint, out, target="rtx4090", precision="fp16", budget=8, max_context=96, cache=False)


def _engines(bundle: Bundle) -> dict[str, str]:
    assert bundle.manifest.engines is not None
    return {each.graph: bundle.manifest.files[each.path].sha256 for each in bundle.manifest.engines.engines}


def test_a_checkpoint_becomes_a_bundle_of_engines(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.backend, manifest.target) == ("tensorrt-rtx", "rtx4090")
    assert manifest.engines is not None
    assert manifest.engines.sms == ("8.9",)
    assert manifest.engines.version == manifest.versions["tensorrt-rtx"] == load("tensorrt-rtx").version
    assert _engines(bundle).keys() == {graph.name for graph in manifest.graphs}
    assert len({*_engines(bundle).values()}) == len(manifest.graphs)
    bundle.verify()


def test_builds_are_the_same_byte_for_byte(bundle: Bundle, built: Callable[..., Bundle], tmp_path: Path) -> None:
    portable = built(target=None, precision="fp16")
    for graph in bundle.manifest.graphs:  # of other bytes, other engines would be no wonder
        assert portable.manifest.files[graph.path] == bundle.manifest.files[graph.path]
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]  # the number of a descriptor must not show
    try:
        again = build(portable.root, tmp_path / f"again, elsewhere {'x' * 99}", target="rtx4090", cache=False)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert _engines(again) == _engines(bundle)


def test_a_package_never_compiled_to_byte_code_builds_the_same(
    built: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(ROOT / "clasp_trt", tmp_path / "clasp_trt", ignore=ignored)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    one = EngineBytes(built(target=None, **ONE_STAGE), "vision", Recipe(load("tensorrt-rtx"), ("8.9",)))
    cold = one()
    assert list((tmp_path / "clasp_trt").rglob("worker.*.pyc"))  # it was this copy that built
    assert one() == cold


@pytest.mark.usefixtures("engines_here")
def test_a_stage_may_drop_more_rows_than_a_prompt_has(built: Callable[..., Bundle]) -> None:
    """The library refuses to scatter into fewer places than there are indices, even if it is to one place."""
    portable = built(target=None, precision="fp16", schedule=(3, 2, 1), budget=None)
    for stage in range(3):
        assert EngineBytes(portable, f"prune_{stage}", Recipe(load("tensorrt-rtx"), ("8.9",)), max_prompt=1)()


@pytest.mark.usefixtures("engines_here")
@pytest.mark.parametrize("method", ["divprune", "vispruner", "cdpruner"])
def test_a_method_that_takes_turns_is_an_engine(built: Callable[..., Bundle], method: str) -> None:
    """The library reads a loop only if it says that it begins."""
    portable = built(target=None, precision="fp16", method=method, prune_at="encoder")
    assert EngineBytes(portable, "prune_0", Recipe(load("tensorrt-rtx"), ("8.9",)), max_prompt=1)()


@pytest.mark.usefixtures("engines_here")
def test_an_engine_has_its_weights_once(tmp_path: Path) -> None:
    """A profile for a single row, and no more, would have the library pack them once more for it."""
    shape = replace(PRESETS["tiny"], vision_layers=2, width=512, heads=8, kv_heads=8, mlp=2048)
    model = make(tmp_path / "model", shape, dtype="float16")
    portable = build(model, tmp_path / "portable", target=None, precision="fp16", prune_at="none", max_context=96)
    engine = EngineBytes(portable, "segment_0", Recipe(load("tensorrt-rtx"), ("8.9",)))()
    weights = portable.manifest.files["graphs/segment_0.onnx.data"].bytes
    assert weights > 2e7
    assert weights < len(engine) < 1.3 * weights


@pytest.mark.usefixtures("engines_here")
@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
@pytest.mark.parametrize(
    ("scheme", "sms", "graphs"),
    [
        ("int4:32", ("8.9",), ("segment_3",)),
        ("int8", ("7.5", "8.9"), ("vision", "projector", "embed", "segment_3")),
    ],
)
def test_rounded_weights(
    built: Callable[..., Bundle], scheme: str, sms: tuple[str, ...], graphs: tuple[str, ...]
) -> None:
    portable = built(target=None, precision="fp16", quantize=scheme)
    for graph in graphs:
        assert EngineBytes(portable, graph, Recipe(load("tensorrt-rtx"), sms))()


@pytest.mark.usefixtures("engines_here")
def test_an_engine_holds_integers(tmp_path: Path) -> None:
    """As floats of 2 bytes they would be more than all of it."""
    shape = replace(PRESETS["tiny"], vision_layers=2, width=512, heads=8, kv_heads=8, mlp=2048)
    model = make(tmp_path / "model", shape, dtype="float16")
    options = {"target": None, "precision": "fp16", "prune_at": "none", "max_context": 96}
    portable = build(model, tmp_path / "portable", quantize="decoder=int4", **options)  # type: ignore[arg-type]
    engine = EngineBytes(portable, "segment_0", Recipe(load("tensorrt-rtx"), ("8.9",)))()
    matrices = shape.layers * (4 * 512 * 512 + 3 * 512 * 2048)
    assert portable.manifest.files["graphs/segment_0.onnx.data"].bytes < matrices * 0.6
    assert len(engine) < matrices * 2 * 0.6


@pytest.mark.usefixtures("engines_here")
@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_an_engine_holds_fp8(tmp_path: Path) -> None:
    """As floats of 2 bytes the matrices would be more than all of it."""
    shape = replace(PRESETS["tiny"], vision_layers=2, width=512, heads=8, kv_heads=8, mlp=2048)
    config = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    model = make(tmp_path / "model", shape, dtype="float16")
    packed, _ = quantise_checkpoint(model, tmp_path, config, "model.layers", _in_fp8, fp8)
    options = {"target": "rtx4090", "precision": "fp16", "prune_at": "none", "max_context": 96, "cache": False}
    bundle = build(packed, tmp_path / "bundle", **options)  # type: ignore[arg-type]
    assert bundle.manifest.quantization.schemes == {"decoder": Scheme(8, 128, floating=True)}
    (engine,) = bundle.root.rglob("segment_0.engine")
    assert engine.stat().st_size < 2 * shape.layers * (4 * 512 * 512 + 3 * 512 * 2048)


def _in_fp8(weights: Any) -> Eighths:
    """In tiles of 128 by 128 with one scale, by torch: which bytes they are does not matter here."""
    scales = np.full([size // 128 for size in weights.shape], np.abs(weights).max() / 448, np.float32)
    codes = torch.from_numpy(weights / scales[0, 0]).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    return Eighths(codes, scales, (128, 128))


@pytest.mark.usefixtures("engines_here")
@pytest.mark.parametrize(
    ("precision", "sms"),
    [("bf16", ("8.0", "8.6", "12.0", "12.1")), ("fp32", ("8.9",)), ("fp16", ("7.5",)), ("fp16", ("7.5", "8.9"))],
)
def test_every_precision_and_capability(
    built: Callable[..., Bundle], tmp_path: Path, precision: str, sms: tuple[str, ...]
) -> None:
    portable = built(target=None, precision=precision, prune_at="encoder")
    made = build(portable.root, tmp_path / "out", target="rtx4090", sm=sms, cache=False)
    assert made.manifest.engines is not None
    assert made.manifest.engines.sms == sms
    assert set(sms) <= set(RTX_SMS)


@pytest.mark.usefixtures("engines_here")
def test_turing_gets_the_layer_before_a_prune_apart(
    checkpoint: Path, built: Callable[..., Bundle], tmp_path: Path
) -> None:
    """The library dies of several layers with a saliency in the form that it takes there."""
    options: dict[str, Any] = {"precision": "fp16", "prune_layers": (2,), "schedule": (5,), "budget": None}
    made = build(
        checkpoint, tmp_path / "out", target="rtx4090", sm=("7.5", "8.9"), cache=False, max_context=96, **options
    )
    assert [(each.first_layer, each.last_layer) for each in made.manifest.segments] == [(0, 1), (2, 2), (3, 3)]

    portable = built(target=None, **options)
    with pytest.raises(BackendError, match=r"segment_0, 3 decoder layers"):
        build(portable.root, tmp_path / "refused", target="rtx4090", sm=("7.5",))
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_turing_in_another_precision_is_refused_before_the_work(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, precision: str
) -> None:
    portable = built(target=None, precision=precision)
    for model, options in ((checkpoint, {"budget": 8, "precision": precision}), (portable.root, {})):
        with pytest.raises(TargetError, match="takes --precision fp16 alone"):
            build(model, tmp_path / "out", target="rtx4090", sm=("7.5",), **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("engines_here")
def test_without_the_lowering_turing_is_refused(
    built: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the library learn float32 products there, the pass can go."""
    portable = built(target=None, **ONE_STAGE)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.compile.TURING", "none")
    with pytest.raises(BackendError, match="FP32 GEMM"):
        build(portable.root, tmp_path / "out", target="rtx4090", sm=("7.5",), cache=False)


def test_more_tokens_than_an_engine_selects_are_refused_before_the_work(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portable = built(target=None, **ONE_STAGE)
    monkeypatch.setattr("clasp_trt.targets.MAX_TOPK", 6)
    monkeypatch.setattr("clasp_trt.export.exporter.save", lambda *_: pytest.fail("a graph was exported"))
    monkeypatch.setattr("clasp_trt.bundle.Bundle.verify", lambda *_: pytest.fail("the bundle was read"))
    for model, options in ((checkpoint, {"budget": 8, "precision": "fp16"}), (portable.root, {})):
        with pytest.raises(TargetError, match=r"7.*tensorrt-rtx selects 6 at most"):
            build(model, tmp_path / "out", target="rtx4090", **options)  # type: ignore[arg-type]


def test_engines_without_a_gpu(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match=r"need cuda-bindings|there is no CUDA (driver|GPU) here|are for SM 8\.9"):
        load_pipeline(bundle.root)
    with load_pipeline(bundle.root, provider="cpu") as pipeline:  # the graphs are still in the bundle
        assert pipeline.generate(None, "Hello", max_new_tokens=2).token_ids


def _attention(path: Path, heads: int, size: int, dtype: type) -> Graph:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [1, heads, 128, size]
    ports = [helper.make_tensor_value_info(name, kind, shape) for name in "qkvy"]
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="attention")
    graph = helper.make_graph([node], "attention", ports[:3], ports[3:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11), path)
    spec = [TensorSpec(name, np.dtype(dtype).name, tuple(shape)) for name in "qkvy"]
    return Graph("attention", path.name, tuple(spec[:3]), tuple(spec[3:]))


def _build(path: Path, graph: Graph, build: Build = build_engine) -> bytes:
    job = Job(graph, path, (Profile("request", {}),), 0, path.with_suffix(".engine"))
    build(Recipe(load("tensorrt-rtx"), ("8.9",)), job, lambda part: True)
    return job.output.read_bytes()


def test_leave_to_decompose_changes_nothing_where_a_fused_kernel_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = _attention(tmp_path / "fused.onnx", 8, 64, np.float16)
    allowed = _build(tmp_path / "fused.onnx", graph)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.network.allow_decomposition", lambda trt, network: 0)
    assert _build(tmp_path / "fused.onnx", graph) == allowed


def test_without_leave_to_decompose_float32_attention_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = _attention(tmp_path / "single.onnx", 8, 64, np.float32)
    assert _build(tmp_path / "single.onnx", graph)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.network.allow_decomposition", lambda trt, network: 0)
    with pytest.raises(BackendError, match=r"^tensorrt-rtx \S+.*ttention") as error:
        _build(tmp_path / "single.onnx", graph)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", [build_engine, build_apart])
def test_what_the_parser_refuses_is_named(tmp_path: Path, how: Build) -> None:
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"]
    node = helper.make_node("Conjure", ["x"], ["y"], name="it", domain="elsewhere")
    graph = helper.make_graph([node], "magic", ports[:1], ports[1:])
    imports = [helper.make_opsetid("", 24), helper.make_opsetid("elsewhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=11), tmp_path / "magic.onnx")
    spec = Graph("magic", "magic.onnx", (TensorSpec("x", "float32", (4,)),), (TensorSpec("y", "float32", (4,)),))
    with pytest.raises(BackendError, match=r"tensorrt-rtx.*graph magic"):
        _build(tmp_path / "magic.onnx", spec, how)
    assert not (tmp_path / "magic.engine").exists()


def test_a_build_that_dies_takes_nobody_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = _attention(tmp_path / "fused.onnx", 8, 64, np.float16)
    for number, line in ((signal.SIGSEGV, "died of the graph attention"), (signal.SIGKILL, "ran out of memory")):
        worker = ("-c", f"import os; os.kill(os.getpid(), {int(number)})")
        monkeypatch.setattr("clasp_trt.engines.tensorrt.process._WORKER", worker)
        with pytest.raises(BackendError, match=line):
            _build(tmp_path / "fused.onnx", graph, build_apart)


def _interrupt(portable: Path, out: Path, phase: bytes, after_s: float) -> float:
    """Sends SIGINT to a build ``after_s`` seconds into ``phase``; gives the seconds that it took to end, with code 130.

    The terminal that the build has shows which phase runs.
    """
    main, child = os.openpty()
    command = [sys.executable, "-m", "clasp_trt", "build", str(portable), "-o", str(out)]
    running = subprocess.Popen(
        [*command, "--target", "rtx4090", "--no-cache"],
        cwd=ROOT, stderr=child, stdout=subprocess.DEVNULL, env=own_environment(TERM="xterm", COLUMNS="100"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # our own shell may have ignored it
    )  # fmt: skip
    os.close(child)
    shown = b""
    guard = threading.Timer(120, running.kill)
    guard.start()
    try:
        while phase not in shown:
            shown += os.read(main, 4096)
        time.sleep(after_s)
        sent = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130
        return time.monotonic() - sent
    finally:
        guard.cancel()
        running.kill()
        running.wait()
        os.close(main)


def test_ctrl_c_ends_a_build_and_leaves_nothing(built: Callable[..., Bundle], tmp_path: Path) -> None:
    _interrupt(built(target=None, **ONE_STAGE).root, tmp_path / "out", b"compile prune_0", 0.2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_ends_the_build_of_a_large_segment(tmp_path: Path) -> None:
    """176 M parameters in one graph, whose build takes seconds. The bound finds a hang; `pytest -rP` shows the time."""
    shape = replace(PRESETS["tiny"], width=2048, heads=32, kv_heads=4, mlp=5632)
    model = make(tmp_path / "model", shape, dtype="float16")
    portable = build(model, tmp_path / "portable", target=None, precision="fp16", prune_at="none", max_context=1024)
    (tmp_path / "here").mkdir()
    taken_s = _interrupt(portable.root, tmp_path / "here" / "out", b"compile segment_0", 2)
    print(f"ended {taken_s:.2f} s after SIGINT")
    assert taken_s < 20
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.usefixtures("engines_here")
@pytest.mark.parametrize("preset", ["tiny-qwen2", "tiny-qwen2.5", "tiny-qwen3"])
def test_graphs_of_pictures_of_any_shape(tmp_path: Path, preset: str) -> None:
    """Windows of patches, a table of positions, deepstack, three axes: every graph of a Qwen-VL becomes an engine."""
    model = random_qwen.make(tmp_path / "model", random_qwen.PRESETS[preset])
    made = build(
        model, tmp_path / "out", target="rtx4090", precision="fp16", prune_at="encoder", budget="1/4", max_context=256,
        cache=False,
    )  # fmt: skip
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs}


@pytest.mark.usefixtures("engines_here")
@pytest.mark.parametrize(
    ("preset", "prune_at"), [("tiny-paligemma", "encoder"), ("tiny-paligemma2", "decoder"), ("tiny-gemma3", "decoder")]
)
def test_graphs_whose_rows_are_told_what_they_see(tmp_path: Path, preset: str, prune_at: str) -> None:
    """Windows, caps, two rotary tables, patches averaged to tokens: every graph of a Gemma becomes an engine."""
    model = random_gemma.make(tmp_path / "model", random_gemma.PRESETS[preset])
    made = build(
        model, tmp_path / "out", target="rtx4090", precision="fp16", budget=8, max_context=96, cache=False,
        prune_at=prune_at,
    )  # fmt: skip
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs}


@pytest.mark.usefixtures("engines_here")
def test_graphs_of_any_number_of_tokens(tmp_path: Path) -> None:
    """Tiles, shares of however many tokens, and their indices: every graph of a LLaVA-NeXT becomes an engine."""
    model = make(tmp_path / "model", PRESETS["tiny-next"])
    made = build(model, tmp_path / "out", target="rtx4090", max_context=256, **ONE_SHARE)
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs}


@pytest.mark.usefixtures("engines_here")
def test_graphs_of_tiles_shrunk_to_a_limit(tmp_path: Path) -> None:
    model = make(tmp_path / "model", PRESETS["tiny-onevision"])
    made = build(model, tmp_path / "out", target="rtx4090", max_context=256, **ONE_SHARE)
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs}


@pytest.mark.usefixtures("engines_here")
@pytest.mark.parametrize("preset", ["tiny-next-video", "tiny-video"])
def test_graphs_of_clips(tmp_path: Path, preset: str) -> None:
    """A second tower whose [CLS] is a token, and means of patches before the projector, become engines too."""
    model = make(tmp_path / "model", PRESETS[preset])
    options: dict[str, Any] = {"precision": "fp16", "prune_at": "encoder", "budget": "1/4", "max_context": 256}
    made = build(model, tmp_path / "out", target="rtx4090", cache=False, **options)
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs} >= {"projector_video"}


@pytest.mark.usefixtures("engines_here")
@pytest.mark.parametrize("preset", ["tiny-internvl", "tiny-idefics3", "tiny-smolvlm"])
def test_graphs_of_merged_patches(tmp_path: Path, preset: str) -> None:
    model = random_tiles.make(tmp_path / "model", random_tiles.PRESETS[preset])
    made = build(model, tmp_path / "out", target="rtx4090", max_context=256, **ONE_SHARE)
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs}


@pytest.mark.usefixtures("engines_here")
def test_graphs_behind_a_tower_that_drops_patches(checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"precision": "fp16", "budget": 6, "max_context": 96, "cache": False}
    made = build(checkpoint, tmp_path / "out", target="rtx4090", prune_tower="1:10", prune_at="encoder", **options)
    assert _engines(made).keys() == {graph.name for graph in made.manifest.graphs}
    assert "kept" in {port.name for port in made.graph("vision").outputs}
