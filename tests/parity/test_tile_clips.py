"""Clips of families that see them frame by frame, each as one tile: ids, pixels and answers against the stock models,
pruned ones against their modules with rows dropped.

transformers' video processors need torchvision. What they make of frames is made here of its Pillow-backed image
processors' operations, at the sizes that they compute.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.image_utils import SizeDict
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.video_processing_smolvlm import get_resize_output_image_size
from transformers.video_utils import VideoMetadata

from clasp_trt.bundle import codec
from clasp_trt.errors import BundleError, ImageError
from clasp_trt.methods.none import NONE
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.timing import Timer
from clasp_trt.tools.build.compiler import build
from examples.random_tiles import PRESETS, make
from tests.mistakes import says
from tests.parity.eager import Result as Reference
from tests.parity.tiled import EagerTiles

NEW_TOKENS = 10
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
FRAMES = 9  # more than have room among the tokens of a picture
WORDS = {1: "one", 3: "three", 7: "seven", 9: "nine"}
CLIPS = {"nine": (9, (90, 61), 0.7), "one": (1, (33, 120), 0.1), "slow": (3, (120, 90), 1800.5)}
"""How many frames, their width and height, and the seconds of each."""
pytestmark = pytest.mark.usefixtures("tracer")


class Whole:
    """A checkpoint, what the library makes of it, and a bundle of it."""

    def __init__(self, preset: str, root: Path) -> None:
        self.family, self._root = PRESETS[preset].family, root
        self.folder = make(root / preset, PRESETS[preset])
        self.model: Any = AutoModelForImageTextToText.from_pretrained(
            self.folder, attn_implementation="eager", dtype=torch.float32
        )
        self.pictures: Any = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def pruned(self) -> Pipeline:
        out = self._root / "bundle"
        build(self.folder, out, budget="1/3", max_context=700, max_frames=FRAMES)
        return load(out, threads=1)

    @property
    def unpruned(self) -> Pipeline:
        """The same graphs, which drop nothing and fuse nothing."""
        return self.pruned.variant(method=NONE)

    @property
    def side(self) -> int:
        """Pixels of a side of a tile."""
        said = self.model.config.vision_config.image_size
        return int(said if isinstance(said, int) else said[0])

    def pixels(self, given: Clip) -> torch.Tensor:
        """[frames, 3, side, side]."""
        found, done, side = list[Any](), self.pictures, self.side
        for frame in given.frames:
            image = np.asarray(frame).transpose(2, 0, 1)
            if self.family == "smolvlm":
                height, width = get_resize_output_image_size(image_like(image), done.size["longest_edge"])
                image = _resize(done, image, height, width)
            image = done.rescale(_resize(done, image, side, side), done.rescale_factor)
            found.append(done.normalize(image, done.image_mean, done.image_std).astype(np.float32))
        return torch.from_numpy(np.stack(found))

    def ids(self, given: Clip, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
        """[1, tokens]."""
        count, token = len(given.frames), self.model.config.image_token_id
        rate = 1.0 if given.duration is None else count / given.duration
        about = VideoMetadata(count, rate, frames_indices=list(range(count)), duration=given.duration)
        seen = np.zeros((1, count, 3, 2, 2))
        asked = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
        words: Any = type("Words", (), {})()
        words.image_token = self.tokenizer.convert_ids_to_tokens(token)
        if self.family == "smolvlm":
            monkeypatch.setattr(processing_smolvlm, "num2words", WORDS.__getitem__)
            words.fake_image_token, words.global_image_token = "<fake_token_around_image>", "<global-img>"
            words.image_seq_len = PRESETS["tiny-smolvlm"].tokens
            kind: Any = processing_smolvlm.SmolVLMProcessor
            shown = kind.replace_video_token(words, {"pixel_values": seen, "video_metadata": [about]}, 0)
            template = processing_smolvlm.DEFAULT_CHAT_TEMPLATE
        else:
            words.start_image_token, words.end_image_token = "<img>", "</img>"
            words.image_seq_length = PRESETS["tiny-internvl"].tokens
            kind = InternVLProcessor
            shown = kind.replace_video_token(words, {"pixel_values_videos": seen}, 0)
            template = (self.folder / "chat_template.jinja").read_text()
        text = self.tokenizer.apply_chat_template(
            asked, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        found: torch.Tensor = self.tokenizer(text.replace("<video>", shown), return_tensors="pt").input_ids
        return found


def image_like(image: Any) -> torch.Tensor:
    return torch.empty(image.shape, device="meta")


def _resize(processor: Any, image: Any, height: int, width: int) -> Any:
    return processor.resize(image, SizeDict(height=height, width=width), processor.resample)


@pytest.fixture(scope="module", params=["tiny-internvl", pytest.param("tiny-smolvlm", marks=pytest.mark.full)])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    return Whole(request.param, tmp_path_factory.mktemp("tile-clips"))


def clip(name: str) -> Clip:
    count, (width, height), apart = CLIPS[name]
    with Image.open(PHOTO) as photo:
        large = photo.convert("RGB").resize((width + 9 * count, height + 5 * count))
    frames = [large.crop((9 * i, 5 * i, 9 * i + width, 5 * i + height)) for i in range(count)]
    return Clip(tuple(frames), tuple(apart * i for i in range(count)), apart * count)


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_what_the_library_makes_of_it(whole: Whole, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, pipeline = clip(name), whole.unpruned
    filmed = pipeline.film(given)
    prompt = pipeline._steps.prompts.read(QUESTION, clips=[filmed.blocks])
    assert prompt.input_ids.tolist() == whole.ids(given, monkeypatch)[0].tolist()
    pixels = np.concatenate([step.vision["pixel_values"] for step in filmed.steps])
    np.testing.assert_array_equal(pixels, whole.pixels(given).numpy())


@pytest.mark.parametrize("name", CLIPS)
def test_unpruned_is_the_stock_model(whole: Whole, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = clip(name)
    ids, pixels = whole.ids(given, monkeypatch), whole.pixels(given)
    expected = whole.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False,
        pixel_values=pixels[None] if whole.family == "smolvlm" else pixels,
    )  # fmt: skip
    result = whole.unpruned.generate(None, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == expected[0, ids.shape[1] :].tolist()
    assert len(set(result.token_ids)) > 3, "a model that repeats itself proves little"


def reference(whole: Whole, pipeline: Pipeline, category: int, given: Clip, *images: Image.Image) -> Reference:
    """The answer of the checkpoint's own modules; only tokenizing and, of pictures, preprocessing are shared."""
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    seen = [pipeline.see(image) for image in images]
    prompt = pipeline._steps.prompts.read(
        QUESTION, *(each.blocks for each in seen), clips=[pipeline.film(given).blocks]
    )
    row, weights = policy.categories[category], np.exp(policy.tau * np.array(policy.categories[category].scores))
    keeps = manifest.schedule.keeps_of(len(prompt.visual_index))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
    ]
    tiles = [torch.from_numpy(each.vision["pixel_values"]) for each in seen]
    return EagerTiles(whole.model).generate(
        torch.cat([*tiles, whole.pixels(given)]), torch.from_numpy(prompt.input_ids)[None],
        (weights / weights.sum()).tolist(), policy.layers, stages, manifest.prune_at, max_new_tokens=NEW_TOKENS,
    )  # fmt: skip


@pytest.mark.parametrize("beside", [0, 1])
def test_kept_tokens_and_answer(whole: Whole, beside: int) -> None:
    """Of a clip with more tokens than a picture may have, and of another beside a picture: one selection."""
    pipeline, given = whole.pruned, clip("slow" if beside else "nine")
    images = [Image.open(PHOTO).convert("RGB").resize((40, 40))] * beside
    result = pipeline.generate(images, QUESTION, video=given, max_new_tokens=NEW_TOKENS)
    expected = reference(whole, pipeline, result.route.category, given, *images)
    for stage, kept, is_pivot in zip(result.kept, expected.kept, expected.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == expected.tokens
    assert len(result.kept) > 0


def test_a_frame_that_was_seen_is_not_looked_at_again(whole: Whole) -> None:
    eyes, given = whole.unpruned._steps.eyes, clip("nine")
    for step in eyes.watch(given, Timer()).steps:
        eyes.encode(step, Timer())
    later = Clip(given.frames[4:], given.seconds[4:], given.duration)
    timer = Timer()
    shown = eyes.watch(later, timer)
    for step in shown.steps:
        eyes.encode(step, timer)
    assert "vision" not in timer.milliseconds
    assert [block.seconds for block in shown.blocks] == list(given.seconds[4:])


def test_more_frames_than_the_bundle_was_built_for(whole: Whole) -> None:
    with pytest.raises(ImageError) as refused:
        whole.unpruned.load_clip(Clip(clip("nine").frames * 2, tuple(map(float, range(18)))))
    says(refused, 18, FRAMES, "--max-frames 18")


@pytest.mark.parametrize(
    ("path", "value", "facts"),
    [
        (("layout", "placeholder"), "the picture's", ["media.video.layout.placeholder"]),
        (("processor", "frame", "merge"), 4, ["media.video.processor.frame", 1, 4]),
        (("processor", "frame", "tile"), "one more", ["media.video.processor.frame", "vision"]),
        (("sampling", "frames"), FRAMES + 1, ["model.tokens"]),
    ],
)
def test_a_manifest_that_does_not_agree_with_itself(
    whole: Whole, path: tuple[str, ...], value: str | int, facts: list[object]
) -> None:
    manifest = json.loads((whole.pruned.bundle.root / "clasp.json").read_text())
    manifest["media"]["video"]["layout"].pop("numerals", None)
    if "merge" in path:  # as many tokens at most, of more frames
        _, usual, most = manifest["model"]["tokens"]
        manifest["model"]["tokens"], manifest["media"]["video"]["sampling"]["frames"] = [1, usual, most], most
    part = manifest["media"]["video"]
    for name in path[:-1]:
        part = part[name]
    meant = {"the picture's": manifest["media"]["image"]["layout"]["placeholder"], "one more": whole.side + 1}
    part[path[-1]] = meant.get(str(value), value)
    with pytest.raises(BundleError) as refused:
        codec.loads(json.dumps(manifest).encode(), "clasp.json")
    says(refused, *facts)
