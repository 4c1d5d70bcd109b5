"""One tiny random checkpoint and the bundles made of it, shared by every test that only reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests import traces

CONTEXT = 96  # room for a question, the image and a long answer, yet soon full
BUDGET = 8  # of the 16 visual tokens of the tiny checkpoint: stages of 7, 5 and 4


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA checkpoint with random weights: 4 decoder layers of 6 heads on 2 KV heads, 16 visual tokens."""
    from examples.random_llava import PRESETS, make

    return make(tmp_path_factory.mktemp("checkpoint") / "tiny", PRESETS["tiny"])


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 16 questions without answers, each about a picture of noise, to calibrate with."""
    import numpy as np
    from PIL import Image

    folder, rng, lines = tmp_path_factory.mktemp("asked"), np.random.default_rng(0), []
    for number in range(16):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(json.dumps({"image": f"{number}.png", "prompt": f"What is number {number} in the picture?"}))
    (folder / "D.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "D.jsonl"


@pytest.fixture(scope="session")
def tracer(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[traces.Capture]:
    """The tracer itself; while this fixture lives, what it has traced before is read from pytest's cache."""
    from clasp_trt.export import trace

    cache = getattr(pytestconfig, "cache", None)  # none under -p no:cacheprovider
    with pytest.MonkeyPatch.context() as patch:
        real = trace.capture
        folder = tmp_path_factory.mktemp("traces") if cache is None else cache.mkdir("traces")
        patch.setattr(trace, "capture", traces.kept_in(folder, real))
        yield real


@pytest.fixture(autouse=True)
def _trace_once(request: pytest.FixtureRequest) -> None:
    if "clasp_trt.export.trace" in sys.modules:  # who does not export waits for no torch
        request.getfixturevalue("tracer")


@pytest.fixture(scope="session")
def built(tracer: object, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """``built(**options)``: :func:`clasp_trt.tools.build.compiler.build` of the tiny checkpoint, once for each set of
    options.

    Contexts have 96 positions unless told otherwise. Whoever wants to change a bundle copies it first.
    """
    from clasp_trt.tools.build.compiler import build

    made: dict[str, Bundle] = {}

    def make(**options: object) -> Bundle:
        options = {"max_context": CONTEXT, **options}
        if options.get("prune_at") != "none":
            options = {"budget": BUDGET, **options}
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = build(checkpoint, tmp_path_factory.mktemp("built") / "bundle", **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture
def engines_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT builds in this process: in one of its own, each engine waits two seconds for the library to load."""
    from clasp_trt.engines.tensorrt.builder import build_engine
    from clasp_trt.engines.tensorrt.compile import compile_graphs

    here = partial(compile_graphs, build=build_engine)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.compile.compile_graphs", here)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT text classifier with random weights, as a Hugging Face folder; one label is no category."""
    from tests.tools.routers.models import save_classifier

    labels = ("counting", "text / symbol recognition", "OTHER")
    return save_classifier(tmp_path_factory.mktemp("classifier") / "tiny-bert", labels)


@pytest.fixture(scope="session")
def router(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The router that was made of it."""
    from clasp_trt.policy import CATEGORY_NAMES
    from clasp_trt.tools.routers.importer import import_classifier

    folder = tmp_path_factory.mktemp("router") / "tiny"
    import_classifier(str(classifier), folder, CATEGORY_NAMES, mapping={"OTHER": "default"})
    return folder


@pytest.fixture(scope="session")
def varying(tracer: object, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose pictures differ in their number of tokens, 4 to 138, with up to two in a request: of a tiny
    Qwen2.5-VL with random weights, pruned to a third of them on average."""
    from clasp_trt.tools.build.compiler import build
    from examples.random_qwen import PRESETS, make

    folder = tmp_path_factory.mktemp("varying")
    model = make(folder / "checkpoint", PRESETS["tiny-qwen2.5"])
    return build(model, folder / "bundle", max_images=2, max_context=384)
