"""PaliGemma and Gemma 3: a bundle's answers against the stock model's, and pruned ones against its modules with rows
dropped. Windows are narrower than any prompt, and caps bite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import Stock, stock
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_gemma import PRESETS, make
from tests.parity.eager import Result as Reference
from tests.parity.eager_gemma import EagerGemma

NEW_TOKENS = 14  # more than a window, so that rows of the prompt leave it
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
MODELS = {
    "paligemma": replace(PRESETS["tiny-paligemma"], beyond=True),
    "paligemma2": PRESETS["tiny-paligemma2"],
    "gemma3": PRESETS["tiny-gemma3"],
}
NAMES = ["gemma3", *(pytest.param(name, marks=pytest.mark.full) for name in ("paligemma", "paligemma2"))]
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"schedule": (9, 6, 3), "prune_layers": (0, 1, 2)},
    "encoder": {"prune_at": "encoder", "budget": 8},
    "none": {"prune_at": "none"},
}
Folders = Callable[[str], Path]
Loaded = Callable[[str, str], Pipeline]
pytestmark = pytest.mark.usefixtures("tracer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    torch.set_num_threads(1)
    made = {name: make(tmp_path_factory.mktemp(name) / "checkpoint", shape) for name, shape in MODELS.items()}
    return made.__getitem__


@pytest.fixture(scope="module")
def loaded(folder: Folders, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    done: dict[tuple[str, str], Pipeline] = {}

    def get(name: str, pruning: str) -> Pipeline:
        if (name, pruning) not in done:
            out = tmp_path_factory.mktemp(name) / "bundle"
            build(folder(name), out, max_context=160, max_images=2, **PRUNINGS[pruning])
            done[name, pruning] = load(out, threads=1)
        return done[name, pruning]

    return get


def picture(number: int = 0) -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize((90, 60)).rotate(90 * number)


def asked(folder: Path, images: int) -> tuple[Any, Stock, list[Image.Image]]:
    pictures = [picture(number) for number in range(images)]
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return model, stock(Checkpoint.open(str(folder)), pictures, QUESTION), pictures


@pytest.mark.parametrize("images", [1, pytest.param(2, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NAMES)
def test_unpruned_is_the_stock_model(folder: Folders, loaded: Loaded, name: str, images: int) -> None:
    """Its processor's ids too: the answers are those of the library from end to end."""
    model, inputs, pictures = asked(folder(name), images)
    ids = torch.from_numpy(inputs.input_ids)[None]
    is_image, pixels = ids == model.config.image_token_id, np.concatenate(inputs.pixel_values)
    own = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.from_numpy(pixels),
        token_type_ids=is_image.long() if name == "gemma3" else torch.zeros_like(ids),
        max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = loaded(name, "none").generate(pictures, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == own[0, ids.shape[1] :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


@pytest.mark.full
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("pruning", ["decoder", "encoder"])
@pytest.mark.parametrize("name", NAMES)
def test_kept_tokens_and_answer(folder: Folders, loaded: Loaded, name: str, pruning: str, images: int) -> None:
    pipeline = loaded(name, pruning)
    model, inputs, pictures = asked(folder(name), images)
    result = pipeline.generate(pictures, QUESTION, max_new_tokens=NEW_TOKENS)
    expected = eager(pipeline, model, inputs, result.route.category)
    for stage, kept, is_pivot in zip(result.kept, expected.kept, expected.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == expected.tokens
    unpruned = loaded(name, "none").generate(pictures, QUESTION, max_new_tokens=NEW_TOKENS)
    assert result.token_ids != unpruned.token_ids, "pruning that changes nothing proves little"


def eager(pipeline: Pipeline, model: Any, inputs: Stock, category: int) -> Reference:
    schedule, policy = pipeline.bundle.manifest.schedule, pipeline.policy
    row = policy.categories[category]
    weights = np.exp(policy.tau * np.array(row.scores))
    keeps = schedule.keeps_of(int((inputs.input_ids == model.config.image_token_id).sum()))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep)) for stage, keep in zip(schedule.stages, keeps, strict=True)
    ]
    return EagerGemma(model).generate(
        [torch.from_numpy(pixels) for pixels in inputs.pixel_values], torch.from_numpy(inputs.input_ids)[None],
        (weights / weights.sum()).tolist(), policy.layers, stages, NEW_TOKENS,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_trained_layer_alone_gives_the_checkpoint_s_features(folder: Folders, loaded: Loaded, name: str) -> None:
    """A method that does not fuse has visual tokens that are the library's own, but for rounding."""
    from clasp_trt.methods import get
    from clasp_trt.runtime.timing import Timer

    model, inputs, (image,) = asked(folder(name), 1)
    pipeline = loaded(name, "none").variant(method=get("none"))
    found, _ = pipeline._steps.eyes.project(pipeline.encode(image), pipeline._manner.alpha(0), Timer())
    with torch.inference_mode():
        own = model.model.get_image_features(torch.from_numpy(inputs.pixel_values[0])).pooler_output.numpy()
    np.testing.assert_allclose(found, own, atol=1e-5 * np.abs(own).max())


@pytest.mark.parametrize("method", ["random", pytest.param("sparsevlm", marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NAMES)
def test_pruning_on_the_host_answers(loaded: Loaded, name: str, method: str) -> None:
    from clasp_trt.methods import get

    result = loaded(name, "decoder").variant(method=get(method)).generate(picture(), QUESTION, max_new_tokens=4)
    assert len(result.token_ids) == 4


def test_the_host_prunes_as_the_graphs_do(loaded: Loaded) -> None:
    """The compiled method by numpy: what rows see is rewritten alike."""
    from clasp_trt.methods import DEFAULT

    pipeline = loaded("gemma3", "decoder")
    on_host = pipeline.variant(method=replace(DEFAULT, form=None, host_reads=DEFAULT.reads))
    answers = [each.generate(picture(), QUESTION, max_new_tokens=NEW_TOKENS).token_ids for each in (pipeline, on_host)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("pruning", ["decoder", pytest.param("encoder", marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_built_is_verified(folder: Folders, loaded: Loaded, name: str, pruning: str) -> None:
    bundle = loaded(name, pruning).bundle
    report = compare(bundle, str(folder(name)), [picture()], QUESTION)
    report.require()
    assert {check.stage for check in report.checks} >= {"request", *(graph.name for graph in bundle.manifest.graphs)}


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_lowered_for_an_older_jetpack_it_answers_the_same(
    folder: Folders, loaded: Loaded, tmp_path: Path, name: str
) -> None:
    lowered = build(
        folder(name), tmp_path / "orin", target="orin-agx-64", backend="onnxruntime", max_context=160, max_images=2,
        **PRUNINGS["decoder"],
    )  # fmt: skip
    assert lowered.manifest.opset < loaded(name, "decoder").bundle.manifest.opset
    with load(lowered.root, provider="cpu", threads=1) as pipeline:
        found = pipeline.generate(picture(), QUESTION, max_new_tokens=NEW_TOKENS)
    expected = loaded(name, "decoder").generate(picture(), QUESTION, max_new_tokens=NEW_TOKENS)
    assert found.token_ids == expected.token_ids


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.full)])
def test_the_embedding_s_scale_is_that_of_the_files(tmp_path: Path, dtype: Any) -> None:
    """The root of 48 is 6.9282; bfloat16 has 6.9375, and float16 6.9297."""
    import onnx

    from clasp_trt.export.family import family_of

    made = make(tmp_path / "checkpoint", PRESETS["tiny-gemma3"], dtype=dtype)
    family = family_of(Checkpoint.open(str(made)))
    assert family.embedding_scale == {"bfloat16": 6.9375, "float16": 6.9296875}[dtype]
    bundle = build(made, tmp_path / "bundle", prune_at="none", max_context=160)
    graph = onnx.load(bundle.path(bundle.graph("embed").path), load_external_data=False).graph
    operators = [node.op_type for node in graph.node if node.op_type != "Constant"]
    assert operators[:2] == ["Gather", "Mul"], "text rows alone, before pictures come in"
    compare(bundle, str(made), [picture()], QUESTION).require()
