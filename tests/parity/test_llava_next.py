"""LLaVA-NeXT: a bundle's answers against the stock model's, and pruned ones against its modules with rows dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, make
from tests.parity.eager import EagerClasp
from tests.parity.eager import Result as Reference

NEW_TOKENS = 12
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
SIZES = {"wide": (90, 40), "square": (112, 112), "tall": (33, 120), "a line": (400, 2)}  # (width, height)
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"budget": "paper:192"},
    "encoder": {"budget": "1/4"},
    "counts": {"schedule": (30, 17, 8), "prune_layers": (0, 1, 2)},
    "none": {},
}
pytestmark = pytest.mark.usefixtures("tracer")


class EagerNext(EagerClasp):
    """Tiles of one picture of ``size`` (height, width), packed by the library itself."""

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        super().__init__(model)
        self._size = size

    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        states = [
            torch.stack([state[tile] for state in hidden_states])[:, None] for tile in range(len(hidden_states[0]))
        ]
        tiles = torch.stack([super(EagerNext, self).project(tuple(tile), alpha, layers) for tile in states])
        return self._packed(tiles, self.model.model.image_newline)

    def cls_saliency(self, hidden_states: Sequence[Tensor]) -> Tensor:
        states = [
            torch.stack([state[tile] for state in hidden_states])[:, None] for tile in range(len(hidden_states[0]))
        ]
        tiles = torch.stack([super(EagerNext, self).cls_saliency(tuple(tile)) for tile in states])
        return self._packed(tiles[..., None], torch.zeros(1))[:, 0]

    def _packed(self, tiles: Tensor, newline: Tensor) -> Tensor:
        pack = self.model.model.pack_image_features
        (packed,), _ = pack([tiles], [list(self._size)], "default", image_newline=newline)
        return packed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("next") / "checkpoint", PRESETS["tiny-next"])


@pytest.fixture(scope="module")
def loaded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipeline]:
    done: dict[str, Pipeline] = {}

    def get(pruning: str) -> Pipeline:
        if pruning not in done:
            out = tmp_path_factory.mktemp("next") / "bundle"
            place = "decoder" if pruning == "counts" else pruning
            build(folder, out, prune_at=place, max_context=512, **PRUNINGS[pruning])
            done[pruning] = load(out, threads=1)
        return done[pruning]

    return get


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return LlavaNextForConditionalGeneration.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


def picture(name: str) -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize(SIZES[name])


@pytest.mark.parametrize("size", SIZES)
def test_unpruned_is_the_stock_model(loaded: Callable[[str], Pipeline], model: Any, folder: Path, size: str) -> None:
    pipeline, image = loaded("none"), picture(size)
    seen = pipeline.see(image)
    prompt = pipeline._steps.prompts.read(QUESTION, seen.blocks)
    inputs = LlavaNextImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt")
    stock = model.generate(
        input_ids=torch.from_numpy(prompt.input_ids)[None], attention_mask=torch.ones(1, len(prompt.input_ids)),
        **inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == stock[0, len(prompt.input_ids) :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "pruning", ["decoder", *(pytest.param(way, marks=pytest.mark.full) for way in ("encoder", "counts"))]
)
def test_kept_tokens_and_answer(loaded: Callable[[str], Pipeline], model: Any, pruning: str, size: str) -> None:
    """One bundle for pictures of every number of tokens."""
    pipeline, image = loaded(pruning), picture(size)
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    reference = eager(pipeline, model, image, result.route.category)
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == reference.tokens


def eager(pipeline: Pipeline, model: Any, image: Image.Image, category: int) -> Reference:
    """The reference's answer to what the pipeline was asked; only tokenizing and preprocessing are shared."""
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    seen = pipeline.see(image)
    prompt = pipeline._steps.prompts.read(QUESTION, seen.blocks)
    tokens, row = len(prompt.visual_index), policy.categories[category]
    weights = np.exp(policy.tau * np.array(row.scores))
    keeps = manifest.schedule.keeps_of(tokens)
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
    ]
    return EagerNext(model, (image.height, image.width)).generate(
        torch.from_numpy(seen.vision["pixel_values"]),
        torch.from_numpy(prompt.input_ids)[None],
        (weights / weights.sum()).tolist(),
        policy.layers,
        stages,
        manifest.prune_at,
        max_new_tokens=NEW_TOKENS,
    )


def test_shares_keep_more_of_more(loaded: Callable[[str], Pipeline]) -> None:
    keeps = {
        size: [
            len(stage.indices) for stage in loaded("decoder").generate(picture(size), QUESTION, max_new_tokens=1).kept
        ]
        for size in SIZES
    }
    assert keeps["square"] == [46, 31, 17]  # of 88
    assert keeps["a line"] == [8, 6, 3]  # of 16
    assert all(few < many for few, many in zip(keeps["wide"], keeps["square"], strict=True))


@pytest.mark.full
def test_counts_are_all_of_fewer(loaded: Callable[[str], Pipeline]) -> None:
    result = loaded("counts").generate(picture("a line"), QUESTION, max_new_tokens=1)
    assert [len(stage.indices) for stage in result.kept] == [16, 16, 8]


@pytest.mark.parametrize("size", ["wide", pytest.param("square", marks=pytest.mark.full)])
@pytest.mark.full
def test_lowered_for_an_older_jetpack_it_answers_the_same(
    loaded: Callable[[str], Pipeline], folder: Path, tmp_path: Path, size: str
) -> None:
    options: dict[str, Any] = {"budget": "paper:192", "max_context": 512}
    lowered = build(folder, tmp_path / "orin", target="orin-agx-64", backend="onnxruntime", **options)
    assert lowered.manifest.opset < loaded("decoder").bundle.manifest.opset
    with load(lowered.root, provider="cpu", threads=1) as pipeline:
        found = pipeline.generate(picture(size), QUESTION, max_new_tokens=NEW_TOKENS)
    expected = loaded("decoder").generate(picture(size), QUESTION, max_new_tokens=NEW_TOKENS)
    assert found.token_ids == expected.token_ids
    for mine, theirs in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(mine.indices, theirs.indices)
