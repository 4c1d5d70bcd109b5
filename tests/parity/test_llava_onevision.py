"""LLaVA-OneVision: answers of bundles against the stock model's, pruned ones against its modules with rows dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import stock
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.timing import Timer
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, make
from tests.parity.eager import EagerClasp
from tests.parity.eager import Result as Reference

NEW_TOKENS = 12
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
SIZES = {"wide": (90, 40), "shrunk": (150, 140), "tall": (33, 120), "more shrunk": (130, 220), "a line": (400, 2)}
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"budget": "paper:192"},
    "encoder": {"budget": "1/4"},
    "counts": {"schedule": (30, 17, 8), "prune_layers": (0, 1, 2)},
    "none": {},
}
QUICK = ("wide", "shrunk")
pytestmark = pytest.mark.usefixtures("tracer")
sizes = pytest.mark.parametrize(
    "size", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in SIZES]
)


class EagerOneVision(EagerClasp):
    """Tiles of one picture of ``size`` (height, width), packed by the library itself."""

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        self.model, self._size = model, size
        self.vision, self.decoder = model.model.vision_tower, model.model.language_model
        self.feature_layer = int(model.config.vision_config.num_hidden_layers)

    @torch.inference_mode()
    def vision_hidden_states(self, pixel_values: Tensor) -> list[Tensor]:
        """All hidden states, each [tiles, patches, vision width]: no [CLS], and no norm after the last block."""
        states = [self.vision.embeddings(pixel_values)]
        for block in self.vision.encoder.layers:
            states.append(block(states[-1], None))
        return states

    @torch.inference_mode()
    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        fused = torch.zeros_like(hidden_states[0])
        for weight, layer in zip(alpha, layers, strict=True):
            fused = fused + weight * hidden_states[layer]
        return self._packed(self.model.model.multi_modal_projector(fused), self.model.model.image_newline)

    @torch.inference_mode()
    def cls_saliency(self, hidden_states: Sequence[Tensor]) -> Tensor:
        """Attention that each patch receives from all of its tile, and of those a token is mixed of the mixture."""
        block = self.vision.encoder.layers[self.feature_layer - 1]
        attention, states = block.self_attn, block.layer_norm1(hidden_states[self.feature_layer - 1])
        split = (*states.shape[:2], attention.num_heads, attention.head_dim)
        query, keys = attention.q_proj(states).view(split), attention.k_proj(states).view(split)
        weights = (torch.einsum("tqhd,tkhd->thqk", query, keys) * attention.scale).softmax(-1)
        return self._packed(weights.mean((1, 2))[..., None], torch.zeros(1))[:, 0]

    def _packed(self, tiles: Tensor, newline: Tensor) -> Tensor:
        aspect = self.model.config.vision_aspect_ratio
        (packed,), _ = self.model.model.pack_image_features([tiles], [list(self._size)], newline, aspect)
        return packed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("onevision") / "checkpoint", PRESETS["tiny-onevision"])


@pytest.fixture(scope="module")
def loaded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipeline]:
    done: dict[str, Pipeline] = {}

    def get(pruning: str) -> Pipeline:
        if pruning not in done:
            out = tmp_path_factory.mktemp("onevision") / "bundle"
            place = "decoder" if pruning == "counts" else pruning
            build(folder, out, prune_at=place, max_context=512, **PRUNINGS[pruning])
            done[pruning] = load(out, threads=1)
        return done[pruning]

    return get


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    kind = LlavaOnevisionForConditionalGeneration
    return kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


def picture(name: str) -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize(SIZES[name])


@sizes
def test_ids_and_unpruned_answers_are_the_stock_models(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, size: str
) -> None:
    pipeline, image = loaded("none"), picture(size)
    prompt = pipeline._steps.prompts.read(QUESTION, pipeline.see(image).blocks)
    theirs = stock(Checkpoint.open(folder), [image], QUESTION)
    np.testing.assert_array_equal(prompt.input_ids, theirs.input_ids)
    inputs = LlavaOnevisionImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt")
    answer = model.generate(
        input_ids=torch.from_numpy(prompt.input_ids)[None], attention_mask=torch.ones(1, len(prompt.input_ids)),
        **inputs, max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == answer[0, len(prompt.input_ids) :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


@sizes
def test_the_trained_layer_alone_gives_the_library_s_features(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, size: str
) -> None:
    """Which has passed no LayerNorm after the last block: its states and the normed ones differ."""
    pipeline, image = loaded("none"), picture(size)
    alpha = np.array([[float(layer == 4) for layer in pipeline.bundle.policy.layers]], np.float32)
    visual, _ = pipeline._steps.eyes.project(pipeline.encode(image), alpha, Timer())
    inputs = LlavaOnevisionImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt")
    with torch.inference_mode():
        (expected,) = model.get_image_features(**inputs).pooler_output
    scale = float(expected.abs().max())
    found: Any = pipeline._steps.backend.download(visual)
    np.testing.assert_allclose(found[0], expected.numpy(), rtol=0, atol=32 * np.finfo(np.float32).eps * scale)


@sizes
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
    row, keeps = policy.categories[category], manifest.schedule.keeps_of(len(prompt.visual_index))
    weights = np.exp(policy.tau * np.array(row.scores))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
    ]
    return EagerOneVision(model, (image.height, image.width)).generate(
        torch.from_numpy(seen.vision["pixel_values"]),
        torch.from_numpy(prompt.input_ids)[None],
        (weights / weights.sum()).tolist(),
        policy.layers,
        stages,
        manifest.prune_at,
        max_new_tokens=NEW_TOKENS,
    )


@pytest.mark.full
def test_lowered_for_an_older_jetpack_it_answers_the_same(
    loaded: Callable[[str], Pipeline], folder: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"budget": "paper:192", "max_context": 512}
    lowered = build(folder, tmp_path / "orin", target="orin-agx-64", backend="onnxruntime", **options)
    assert lowered.manifest.opset < loaded("decoder").bundle.manifest.opset
    with load(lowered.root, provider="cpu", threads=1) as pipeline:
        found = pipeline.generate(picture("shrunk"), QUESTION, max_new_tokens=NEW_TOKENS)
    expected = loaded("decoder").generate(picture("shrunk"), QUESTION, max_new_tokens=NEW_TOKENS)
    assert found.token_ids == expected.token_ids
    for mine, theirs in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(mine.indices, theirs.indices)
