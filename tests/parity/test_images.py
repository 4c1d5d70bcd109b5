"""Several images of one request, with text between them: a bundle's answers against the stock model's, and pruned ones
against its modules with rows dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText

from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import _processor, stock
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_llava import PRESETS, make
from tests.parity.eager import EagerClasp
from tests.parity.eager import Result as Reference
from tests.parity.test_llava_next import EagerNext

NEW_TOKENS = 12
BETWEEN = "First <image> and then <image>: what has changed?"
PROMPTS = {"between": BETWEEN, "before": "What has changed?"}
PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"budget": "1/3"},
    "encoder": {"budget": "1/4"},
    "none": {},
}
FAMILIES = {"llava": "tiny", "llava_next": "tiny-next"}
pytestmark = pytest.mark.usefixtures("tracer")


class EagerSeveral(EagerClasp):
    """Several images, each as ``each`` of its own has it; of the first tiles are ``tiles[0]``, and so on."""

    def __init__(self, model: Any, each: Sequence[EagerClasp], tiles: Sequence[int]) -> None:
        super().__init__(model)
        self._each, self._tiles = each, list(tiles)

    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        parts = self._parts(hidden_states)
        return torch.cat([each.project(part, alpha, layers) for each, part in zip(self._each, parts, strict=True)])

    def cls_saliency(self, hidden_states: Sequence[Tensor]) -> Tensor:
        parts = self._parts(hidden_states)
        return torch.cat([each.cls_saliency(part) for each, part in zip(self._each, parts, strict=True)])

    def _parts(self, hidden_states: Sequence[Tensor]) -> list[list[Tensor]]:
        split = [state.split(self._tiles) for state in hidden_states]
        return [[state[number] for state in split] for number in range(len(self._tiles))]


@pytest.fixture(scope="module", params=["llava", pytest.param("llava_next", marks=pytest.mark.full)])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("images") / "checkpoint", PRESETS[FAMILIES[family]])


@pytest.fixture(scope="module")
def loaded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipeline]:
    done: dict[str, Pipeline] = {}

    def get(pruning: str) -> Pipeline:
        if pruning not in done:
            out = tmp_path_factory.mktemp("images") / "bundle"
            build(folder, out, prune_at=pruning, max_context=512, max_images=2, **PRUNINGS[pruning])
            done[pruning] = load(out, threads=1)
        return done[pruning]

    return get


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    found = []
    for name, size in (("chelsea.jpg", (90, 40)), ("coffee.jpg", (64, 112))):
        with Image.open(PHOTOS / name) as image:
            found.append(image.convert("RGB").resize(size))
    return found


@pytest.mark.parametrize("place", PROMPTS)
def test_ids_and_unpruned_answers_are_the_stock_models(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, images: list[Image.Image], family: str, place: str
) -> None:
    pipeline, checkpoint = loaded("none"), Checkpoint.open(folder)
    theirs = stock(checkpoint, images, PROMPTS[place])
    prompt = pipeline._steps.prompts.read(PROMPTS[place], *(pipeline.see(image).blocks for image in images))
    np.testing.assert_array_equal(prompt.input_ids, theirs.input_ids)
    inputs = {"pixel_values": torch.from_numpy(np.concatenate(theirs.pixel_values))}
    if family == "llava_next":
        inputs["image_sizes"] = torch.tensor([image.size[::-1] for image in images])
        inputs["pixel_values"] = _padded(theirs.pixel_values)
    answer = model.generate(
        input_ids=torch.from_numpy(theirs.input_ids)[None], attention_mask=torch.ones(1, len(theirs.input_ids)),
        **inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = pipeline.generate(images, PROMPTS[place], max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == answer[0, len(theirs.input_ids) :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


@pytest.mark.parametrize("pruning", ["decoder", pytest.param("encoder", marks=pytest.mark.full)])
@pytest.mark.parametrize("count", [1, 2])
def test_one_selection_of_the_tokens_of_all_images(
    loaded: Callable[[str], Pipeline], model: Any, images: list[Image.Image], family: str, pruning: str, count: int
) -> None:
    pipeline, asked = loaded(pruning), images[:count]
    text = BETWEEN if count == 2 else "What is this?"
    result = pipeline.generate(asked, text, max_new_tokens=NEW_TOKENS)
    reference = _eager(pipeline, model, asked, text, result.route.category, family)
    assert result.kept
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == reference.tokens


def test_a_conversation_is_the_stock_models(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, images: list[Image.Image], family: str
) -> None:
    pipeline, processor = loaded("none"), _processor(str(folder))
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "image", "image": images[0]}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And "},
                {"type": "image", "image": images[1]},
                {"type": "text", "text": "?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "A cup."}]},
        {"role": "user", "content": [{"type": "text", "text": "Which one is darker?"}]},
    ]
    inputs = processor.apply_chat_template(
        talk, chat_template=processor.chat_template or processor.tokenizer.chat_template, add_generation_prompt=True,
        tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    answer = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    result = pipeline.chat(talk, max_new_tokens=NEW_TOKENS)
    assert result.prompt_tokens == inputs["input_ids"].shape[1]
    assert list(result.token_ids) == answer[0, inputs["input_ids"].shape[1] :].tolist()


def test_what_is_built_is_verified(loaded: Callable[[str], Pipeline], folder: Path, images: list[Image.Image]) -> None:
    compare(loaded("decoder").bundle, str(folder), images, BETWEEN).require()


def _padded(pictures: Sequence[NDArray[np.float32]]) -> Tensor:
    """``[images, most, 3, side, side]``, as the processor pads what has fewer tiles."""
    whole = torch.zeros(len(pictures), max(map(len, pictures)), *pictures[0].shape[1:])
    for number, tiles in enumerate(pictures):
        whole[number, : len(tiles)] = torch.from_numpy(tiles)
    return whole


def _eager(
    pipeline: Pipeline, model: Any, images: Sequence[Image.Image], text: str, category: int, family: str
) -> Reference:
    """The reference's answer to what the pipeline was asked; only tokenizing and preprocessing are shared."""
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    seen = [pipeline.see(image) for image in images]
    prompt = pipeline._steps.prompts.read(text, *(each.blocks for each in seen))
    tokens, row = len(prompt.visual_index), policy.categories[category]
    weights = np.exp(policy.tau * np.array(row.scores))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, manifest.schedule.keeps_of(tokens), strict=True)
    ]
    each = [EagerNext(model, image.size[::-1]) if family == "llava_next" else EagerClasp(model) for image in images]
    pixels = [each.vision["pixel_values"] for each in seen]
    return EagerSeveral(model, each, [len(tiles) for tiles in pixels]).generate(
        torch.from_numpy(np.concatenate(pixels)),
        torch.from_numpy(prompt.input_ids)[None],
        (weights / weights.sum()).tolist(),
        policy.layers,
        stages,
        manifest.prune_at,
        max_new_tokens=NEW_TOKENS,
    )
