"""LLaVA-NeXT-Video and Video-LLaVA about clips: pixels, ids, features and answers against the stock models, and pruned
ones against their modules with rows dropped.

transformers' video processors need torchvision; what they make of frames is made here by its Pillow-backed image
processor of the same settings, frame by frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.timing import Timer
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, make
from tests.parity.eager_film import EagerFilm

NEW_TOKENS = 12
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
CLIPS = {"wide": (3, (90, 61)), "tall": (5, (57, 140)), "one": (1, (56, 56))}
"""How many frames, and their width and height."""
PRUNINGS: dict[str, dict[str, Any]] = {"decoder": {"budget": "1/3"}, "encoder": {"budget": "1/4"}, "none": {}}
FRAME_TOKENS = {"tiny-next-video": 4, "tiny-video": 17}
pytestmark = pytest.mark.usefixtures("tracer")


class Whole:
    """A checkpoint, transformers' model of it, and its bundles, each made once."""

    def __init__(self, preset: str, root: Path) -> None:
        self.preset, self.folder = preset, make(root / "checkpoint", PRESETS[preset])
        self.model: Any = AutoModelForImageTextToText.from_pretrained(
            self.folder, attn_implementation="eager", dtype=torch.float32
        )
        self._root, self._loaded = root, dict[str, Pipeline]()

    def loaded(self, pruning: str) -> Pipeline:
        if pruning not in self._loaded:
            bundle = build(self.folder, self._root / pruning, prune_at=pruning, max_context=512, **PRUNINGS[pruning])
            self._loaded[pruning] = load(bundle.root, threads=1)
        return self._loaded[pruning]

    def pixels(self, given: Clip) -> torch.Tensor:
        """``[1, frames, 3, side, side]``."""
        side = {"height": 56, "width": 56}
        frames = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=side)(list(given.frames))["pixel_values"]
        return torch.from_numpy(np.stack(frames))[None]

    def ids(self, *, clip: int = 0, picture: int = 0) -> torch.Tensor:
        """Those of a question about so many visual tokens of each."""
        content = [{"type": kind} for kind, count in (("image", picture), ("video", clip)) if count]
        asked = [{"role": "user", "content": [*content, {"type": "text", "text": QUESTION}]}]
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        template = (self.folder / "chat_template.jinja").read_text()
        text = tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False, add_generation_prompt=True)
        text = text.replace("<image>", "<image>" * picture).replace("<video>", "<video>" * clip)
        return torch.tensor(tokenizer(text)["input_ids"])[None]

    def stock(self, ids: torch.Tensor, **inputs: Any) -> list[int]:
        found = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **inputs, max_new_tokens=NEW_TOKENS, do_sample=False
        )
        answer: list[int] = found[0, ids.shape[1] :].tolist()
        assert len(set(answer)) > 4, "a model that repeats itself proves little"
        return answer


@pytest.fixture(scope="module", params=["tiny-next-video", "tiny-video"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    return Whole(request.param, tmp_path_factory.mktemp("film"))


def clip(name: str) -> Clip:
    count, (width, height) = CLIPS[name]
    with Image.open(PHOTO) as photo:
        large = photo.convert("RGB").resize((width + 3 * count, height + 2 * count))
    frames = [large.crop((3 * i, 2 * i, 3 * i + width, 2 * i + height)) for i in range(count)]
    return Clip(tuple(frames), tuple(0.4 * i for i in range(count)), 0.4 * count)


def picture() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize((90, 40))


@pytest.mark.parametrize("name", CLIPS)
def test_frames_become_what_the_library_makes_of_them(whole: Whole, name: str) -> None:
    given = clip(name)
    filmed = whole.loaded("none")._steps.eyes.film(given)
    found = np.concatenate([step.vision["pixel_values"] for step in filmed.steps])
    np.testing.assert_array_equal(found, whole.pixels(given)[0].numpy())
    assert [block.tokens for block in filmed.blocks] == [FRAME_TOKENS[whole.preset]] * len(given.frames)


def test_the_trained_layer_alone_gives_the_stock_features(whole: Whole) -> None:
    pipeline, given = whole.loaded("none"), clip("wide")
    eyes, layers = pipeline._steps.eyes, pipeline.bundle.policy.layers
    alpha = np.array([[layer == 3 for layer in layers]], np.float32)
    visual = eyes.look(eyes.watch(given, Timer()).steps, alpha, Timer())
    found = pipeline._steps.backend.download(visual.tokens)[0]
    with torch.inference_mode():
        theirs = whole.model.model.get_video_features(whole.pixels(given)).pooler_output
    expected = torch.cat(list(theirs)).reshape(found.shape).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["wide", *(pytest.param(each, marks=pytest.mark.full) for each in ("tall", "one"))])
def test_unpruned_is_the_stock_model(whole: Whole, name: str) -> None:
    given, pipeline = clip(name), whole.loaded("none")
    ids = whole.ids(clip=FRAME_TOKENS[whole.preset] * len(given.frames))
    result = pipeline.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == whole.stock(ids, pixel_values_videos=whole.pixels(given))


def test_unpruned_is_the_stock_model_about_a_picture(whole: Whole) -> None:
    pipeline, image = whole.loaded("none"), picture()
    tokens = sum(block.tokens for block in pipeline.see(image).blocks)
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == whole.stock(whole.ids(picture=tokens), **_shown(whole, image))


def test_unpruned_is_the_stock_model_about_a_picture_and_a_clip(whole: Whole) -> None:
    pipeline, image, given = whole.loaded("none"), picture(), clip("wide")
    tokens = sum(block.tokens for block in pipeline.see(image).blocks)
    ids = whole.ids(picture=tokens, clip=FRAME_TOKENS[whole.preset] * 3)
    result = pipeline.generate(image, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == whole.stock(
        ids, **_shown(whole, image), pixel_values_videos=whole.pixels(given)
    )  # fmt: skip


def _shown(whole: Whole, image: Image.Image) -> dict[str, Any]:
    if whole.preset == "tiny-next-video":
        return dict(LlavaNextImageProcessorPil.from_pretrained(whole.folder)(image, return_tensors="pt"))
    return {"pixel_values": whole.pixels(Clip((image,), (0.0,)))[0]}


@pytest.mark.parametrize("pruning", ["decoder", pytest.param("encoder", marks=pytest.mark.full)])
@pytest.mark.parametrize("name", ["wide", pytest.param("tall", marks=pytest.mark.full)])
def test_kept_tokens_and_answer(whole: Whole, pruning: str, name: str) -> None:
    pipeline, given = whole.loaded(pruning), clip(name)
    result = pipeline.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    tokens, row = FRAME_TOKENS[whole.preset] * len(given.frames), policy.categories[result.route.category]
    weights = np.exp(policy.tau * np.array(row.scores))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, manifest.schedule.keeps_of(tokens), strict=True)
    ]
    reference = EagerFilm(whole.model).generate(
        whole.pixels(given)[0], whole.ids(clip=tokens), (weights / weights.sum()).tolist(), policy.layers, stages,
        manifest.prune_at, max_new_tokens=NEW_TOKENS,
    )  # fmt: skip
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == reference.tokens


@pytest.mark.full
def test_lowered_for_an_older_jetpack_it_answers_the_same(whole: Whole, tmp_path: Path) -> None:
    options: dict[str, Any] = {**PRUNINGS["decoder"], "max_context": 512}
    lowered = build(whole.folder, tmp_path / "orin", target="orin-agx-64", backend="onnxruntime", **options)
    assert lowered.manifest.opset < whole.loaded("decoder").bundle.manifest.opset
    with load(lowered.root, provider="cpu", threads=1) as pipeline:
        found = pipeline.generate(None, QUESTION, video=clip("wide"), max_new_tokens=NEW_TOKENS)
    expected = whole.loaded("decoder").generate(None, QUESTION, video=clip("wide"), max_new_tokens=NEW_TOKENS)
    assert found.token_ids == expected.token_ids
