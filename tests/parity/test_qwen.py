"""Qwen's families: a bundle's answers against the stock models', and pruned ones against their modules with rows
dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import stock
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.timing import Timer
from clasp_trt.tools.build.compiler import build
from examples.random_qwen import PRESETS, make
from tests.parity.eager import Result as Reference
from tests.parity.eager_grids import EagerGrids

NEW_TOKENS = 12
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
SIZES = {"wide": (90, 40), "large": (300, 200), "tall": (33, 500), "one window": (112, 112), "least": (20, 20)}
"""Width and height; ``large`` has more pixels than the checkpoint takes, and ``least`` fewer."""
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"budget": "paper:192"},
    "encoder": {"budget": "1/4"},
    "counts": {"schedule": (30, 17, 8), "prune_layers": (0, 1, 2)},
    "none": {},
}
FAMILIES = ("tiny-qwen2", "tiny-qwen2.5", "tiny-qwen3")


class Whole:
    """A checkpoint, transformers' model of it, and its bundles, each made once."""

    def __init__(self, preset: str, root: Path) -> None:
        self.folder = make(root / "checkpoint", PRESETS[preset])
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(self.folder)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(
            self.folder, attn_implementation="eager", dtype=torch.float32
        )
        self._root, self._loaded = root, dict[str, Pipeline]()

    def loaded(self, pruning: str, **options: Any) -> Pipeline:
        key = f"{pruning} {options}"
        if key not in self._loaded:
            out = self._root / f"bundle-{len(self._loaded)}"
            place = "decoder" if pruning == "counts" else pruning
            build(self.folder, out, prune_at=place, max_context=512, **PRUNINGS[pruning], **options)
            self._loaded[key] = load(out, threads=1, provider="cpu")
        return self._loaded[key]

    def inputs(self, *images: Image.Image) -> Any:
        """What transformers makes of a question about ``images``."""
        made = stock(Checkpoint.open(self.folder), images, QUESTION)
        return torch.from_numpy(made.input_ids)[None], self.processor(list(images), return_tensors="pt")

    def eager(self, pipeline: Pipeline, images: list[Image.Image], category: int) -> Reference:
        """The reference's answer to what the pipeline was asked; nothing but numbers of its manifest is shared."""
        manifest, policy = pipeline.bundle.manifest, pipeline.policy
        ids, seen = self.inputs(*images)
        row, tokens = policy.categories[category], int((ids == self.model.config.image_token_id).sum())
        weights = np.exp(policy.tau * np.array(row.scores))
        keeps = manifest.schedule.keeps_of(tokens)
        stages = [
            (stage.after_layer, keep, int(row.ratio * keep))
            for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
        ]
        return EagerGrids(self.model, seen["image_grid_thw"]).generate(
            seen["pixel_values"], ids, (weights / weights.sum()).tolist(), policy.layers, stages, manifest.prune_at,
            max_new_tokens=NEW_TOKENS,
        )  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    return Whole(request.param, tmp_path_factory.mktemp("qwen"))


def picture(name: str) -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize(SIZES[name])


def _answered(whole: Whole, *images: Image.Image) -> list[int]:
    """Greedily, by the stock model."""
    ids, seen = whole.inputs(*images)
    kinds = (ids == whole.model.config.image_token_id).long()
    found = whole.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, **seen,
        max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    return list(found[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("size", SIZES)
def test_unpruned_is_the_stock_model(whole: Whole, size: str) -> None:
    image = picture(size)
    result = whole.loaded("none").generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == _answered(whole, image)
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


def test_several_pictures_are_the_stock_model(whole: Whole) -> None:
    images = [picture("wide"), picture("tall"), picture("least")]
    result = whole.loaded("none", max_images=3).generate(images, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == _answered(whole, *images)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "pruning", ["decoder", *(pytest.param(way, marks=pytest.mark.full) for way in ("encoder", "counts"))]
)
def test_kept_tokens_and_answer(whole: Whole, pruning: str, size: str) -> None:
    """One bundle for pictures of every shape."""
    pipeline, image = whole.loaded(pruning), picture(size)
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    _same(result, whole.eager(pipeline, [image], result.route.category))


@pytest.mark.full
def test_kept_tokens_of_several_pictures(whole: Whole) -> None:
    images = [picture("wide"), picture("one window")]
    pipeline = whole.loaded("decoder", max_images=2)
    result = pipeline.generate(images, QUESTION, max_new_tokens=NEW_TOKENS)
    _same(result, whole.eager(pipeline, images, result.route.category))


def _same(result: Any, reference: Reference) -> None:
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == reference.tokens


def test_trained_layer_alone_gives_the_library_s_features(whole: Whole) -> None:
    """The weights of fusion at the layer that the checkpoint was trained with: nothing is lost on the way."""
    pipeline, image = whole.loaded("none"), picture("large")
    seen, encoded = pipeline.see(image), pipeline.encode(image)
    layers = pipeline.bundle.policy.layers
    alpha = np.zeros((1, len(layers)), np.float32)
    alpha[0, layers.index(pipeline.bundle.manifest.model.vision.feature_layer)] = 1
    visual, _ = pipeline._steps.eyes.project(encoded, alpha, Timer())
    found = pipeline._steps.backend.download(visual)[0]
    rows, columns = (int(axis.max()) + 1 for axis in seen.vision["positions"])
    grid = torch.tensor([[1, rows, columns]])
    with torch.inference_mode():
        theirs = whole.model.model.get_image_features(torch.from_numpy(seen.vision["patches"][0]), grid).pooler_output
    np.testing.assert_allclose(found, np.concatenate([each.numpy() for each in theirs]), rtol=0, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("size", ["wide", "large"])
def test_lowered_for_an_older_jetpack_it_answers_the_same(whole: Whole, size: str) -> None:
    lowered = whole.loaded("decoder", target="orin-agx-64", backend="onnxruntime")
    standard = whole.loaded("decoder")
    assert lowered.bundle.manifest.opset < standard.bundle.manifest.opset
    found, expected = (
        each.generate(picture(size), QUESTION, max_new_tokens=NEW_TOKENS) for each in (lowered, standard)
    )
    assert found.token_ids == expected.token_ids
    for mine, theirs in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(mine.indices, theirs.indices)
