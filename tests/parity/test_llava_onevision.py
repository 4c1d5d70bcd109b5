"""LLaVA-OneVision: answers of bundles against the stock model's, pruned ones against its modules with rows dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from clasp_trt.errors import ImageError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import stock
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.timing import Timer
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from examples.random_llava import PRESETS, make
from tests.mistakes import says
from tests.parity.eager import EagerClasp
from tests.parity.eager import Result as Reference

NEW_TOKENS = 12
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
SIZES = {"wide": (90, 40), "shrunk": (150, 140), "tall": (33, 120), "more shrunk": (130, 220), "a line": (400, 2)}
CLIPS = {"wide": (3, (90, 61)), "tall": (6, (57, 140)), "one": (1, (72, 72))}
"""How many frames, and their width and height."""
clips = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "wide" else pytest.mark.full) for name in CLIPS]
)
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"budget": "paper:192"},
    "encoder": {"budget": "1/4"},
    "counts": {"schedule": (30, 17, 8), "prune_layers": (0, 1, 2)},
    "none": {},
    "several": {"budget": "1/3", "max_images": 3},
    "several, whole": {"max_images": 3},
}
QUICK = ("wide", "shrunk")
pytestmark = pytest.mark.usefixtures("tracer")
sizes = pytest.mark.parametrize(
    "size", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in SIZES]
)


class EagerOneVision(EagerClasp):
    """Tiles of one picture of ``size`` (height, width), packed by the library itself, or frames of a clip, pooled by
    it, or ``several`` pictures of a square each."""

    def __init__(self, model: Any, size: tuple[int, int] | None = None, *, several: bool = False) -> None:
        self.model, self._size, self._several = model, size, several
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
        if self._several:
            packed, _ = self.model.model.pack_image_features(tiles.split(1), [None] * len(tiles), newline)
            return torch.cat(packed)
        if self._size is None:
            return torch.cat([self.model.model.apply_pooling(tiles).flatten(0, 1), newline[None]])
        aspect = self.model.config.vision_aspect_ratio
        (packed,), _ = self.model.model.pack_image_features([tiles], [list(self._size)], newline, aspect)
        return packed

    def _token_id(self) -> int:
        config = self.model.config
        is_clip = self._size is None and not self._several
        return int(config.video_token_id if is_clip else config.image_token_id)


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
            places = {"counts": "decoder", "several": "decoder", "several, whole": "none"}
            place = places.get(pruning, pruning)
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
    seen = pipeline.see(image)
    prompt = pipeline._steps.prompts.read(QUESTION, seen.blocks)
    reference = EagerOneVision(model, (image.height, image.width))
    return answered(reference, pipeline, seen.vision["pixel_values"], prompt.input_ids, category)


def answered(
    reference: EagerOneVision, pipeline: Pipeline, pixels: NDArray[Any], ids: NDArray[np.int64], category: int
) -> Reference:
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    tokens = int(np.isin(ids, (reference.model.config.image_token_id, reference.model.config.video_token_id)).sum())
    row, keeps = policy.categories[category], manifest.schedule.keeps_of(tokens)
    weights = np.exp(policy.tau * np.array(row.scores))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
    ]
    return reference.generate(
        torch.from_numpy(pixels),
        torch.from_numpy(ids)[None],
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


def clip(name: str) -> Clip:
    count, (width, height) = CLIPS[name]
    with Image.open(PHOTO) as photo:
        large = photo.convert("RGB").resize((width + 3 * count, height + 2 * count))
    frames = [large.crop((3 * i, 2 * i, 3 * i + width, 2 * i + height)) for i in range(count)]
    return Clip(tuple(frames), tuple(0.4 * i for i in range(count)), 0.4 * count)


def filmed(folder: Path, given: Clip) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the library makes of a clip, ``[frames, 3, side, side]``, and the ids of a question about it. Its video
    processor resizes with torchvision: these are its settings, by the operations of its Pillow-backed sister."""
    made = LlavaOnevisionImageProcessorPil.from_pretrained(folder)
    frames = []
    for frame in given.frames:
        resized = np.asarray(frame.resize((made.size.width, made.size.height), made.resample))
        scaled = made.rescale(resized.transpose(2, 0, 1), made.rescale_factor)
        frames.append(made.normalize(scaled, made.image_mean, made.image_std).astype(np.float32))
    grid = int(json.loads((folder / "processor_config.json").read_text())["num_image_tokens"] ** 0.5)
    tokens = len(frames) * ((grid + 1) // 2) ** 2 + 1  # as LlavaOnevisionProcessor.replace_video_token counts
    asked = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = (folder / "chat_template.jinja").read_text()
    text = tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text.replace("<video>", "<video>" * tokens), return_tensors="np").input_ids[0]
    return np.stack(frames), ids.astype(np.int64)


@clips
def test_a_clip_becomes_what_the_library_makes_of_it(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, name: str
) -> None:
    """Pixels, ids, the features of the trained layer, and the answer."""
    pipeline, given = loaded("none"), clip(name)
    pixels, ids = filmed(folder, given)
    eyes = pipeline._steps.eyes
    film = pipeline.film(given)
    np.testing.assert_array_equal(np.concatenate([step.vision["pixel_values"] for step in film.steps]), pixels)
    np.testing.assert_array_equal(pipeline._steps.prompts.read(QUESTION, clips=[film.blocks]).input_ids, ids)
    alpha = np.array([[float(layer == 4) for layer in pipeline.bundle.policy.layers]], np.float32)
    found: Any = pipeline._steps.backend.download(eyes.look(eyes.watch(given, Timer()).steps, alpha, Timer()).tokens)
    inputs = {"pixel_values_videos": torch.from_numpy(pixels)[None]}
    with torch.inference_mode():
        (expected,) = model.get_video_features(**inputs).pooler_output.numpy()
    atol = 32 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=atol)
    answer = model.generate(
        input_ids=torch.from_numpy(ids)[None], attention_mask=torch.ones(1, len(ids)), **inputs,
        max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = pipeline.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == answer[0, len(ids) :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


@clips
@pytest.mark.parametrize("pruning", ["decoder", pytest.param("encoder", marks=pytest.mark.full)])
def test_kept_tokens_and_answer_about_a_clip(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, pruning: str, name: str
) -> None:
    pipeline, given = loaded(pruning), clip(name)
    result = pipeline.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    reference = answered(EagerOneVision(model), pipeline, *filmed(folder, given), result.route.category)
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == reference.tokens


def test_a_frame_that_ended_a_clip_is_not_the_same_within_one(loaded: Callable[[str], Pipeline]) -> None:
    """Though its pixels are: what is kept of it has the end of the clip among its tokens."""
    given = clip("wide")
    shorter = Clip(given.frames[:2], given.seconds[:2], 0.8)
    counts = [
        loaded("none").generate(None, QUESTION, video=each, max_new_tokens=1).visual_tokens
        for each in (shorter, given, shorter)
    ]
    assert counts == [19, 28, 19]


def photos() -> list[Image.Image]:
    return [picture(name) for name in ("wide", "tall", "more shrunk")]


@pytest.mark.parametrize("prompt", ["First <image> and <image>, then <image>: what has changed?", "What has changed?"])
def test_several_pictures_are_the_stock_models(
    loaded: Callable[[str], Pipeline], model: Any, folder: Path, prompt: str
) -> None:
    """Each of them one square: pixels, ids and the answer."""
    pipeline, images = loaded("several, whole"), photos()
    seen = [pipeline.see(image, several=True) for image in images]
    theirs = stock(Checkpoint.open(folder), images, prompt)
    for mine, pixels in zip(seen, theirs.pixel_values, strict=True):
        np.testing.assert_array_equal(mine.vision["pixel_values"], pixels)
    ids = pipeline._steps.prompts.read(prompt, *(each.blocks for each in seen)).input_ids
    np.testing.assert_array_equal(ids, theirs.input_ids)
    assert int((ids == model.config.image_token_id).sum()) == 3 * 26
    made = LlavaOnevisionImageProcessorPil.from_pretrained(folder)([images], return_tensors="pt")
    answer = model.generate(
        input_ids=torch.from_numpy(ids)[None], attention_mask=torch.ones(1, len(ids)), **made,
        max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = pipeline.generate(images, prompt, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == answer[0, len(ids) :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"


def test_kept_tokens_and_answer_about_several_pictures(loaded: Callable[[str], Pipeline], model: Any) -> None:
    """One alone is still many tiles, also after it was seen among others, and also encoded before."""
    pipeline, images = loaded("several"), photos()
    result = pipeline.generate(images, QUESTION, max_new_tokens=NEW_TOKENS)
    seen = [pipeline.see(image, several=True) for image in images]
    ids = pipeline._steps.prompts.read(QUESTION, *(each.blocks for each in seen)).input_ids
    pixels = np.concatenate([each.vision["pixel_values"] for each in seen])
    reference = answered(EagerOneVision(model, several=True), pipeline, pixels, ids, result.route.category)
    for stage, kept in zip(result.kept, reference.kept, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
    assert list(result.token_ids) == reference.tokens
    alone = pipeline.generate(images[0], QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(alone.token_ids) == eager(pipeline, model, images[0], alone.route.category).tokens
    encoded = [pipeline.encode(image, several=True) for image in images]
    assert pipeline.generate(encoded, QUESTION, max_new_tokens=NEW_TOKENS).token_ids == result.token_ids


def test_a_picture_encoded_alone_is_not_one_of_several(loaded: Callable[[str], Pipeline]) -> None:
    pipeline, (first, second, _) = loaded("several"), photos()
    for images, several in (([pipeline.encode(first), second], True), ([pipeline.encode(first, several=True)], False)):
        with pytest.raises(ImageError) as error:
            pipeline.generate(images, QUESTION, max_new_tokens=1)
        says(error, "encoded", f"several={several}")


@pytest.mark.full
def test_several_pictures_are_verified(loaded: Callable[[str], Pipeline], folder: Path) -> None:
    report = compare(loaded("several").bundle, str(folder), photos(), QUESTION)
    report.require()
    assert not report.skipped
