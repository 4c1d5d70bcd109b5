"""Pictures split into whole tiles: a bundle's answers against the stock models', and pruned ones against their modules
with rows dropped; and what a request becomes against transformers' own processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import ProcessorMixin

from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.timing import Timer
from clasp_trt.tools.build.compiler import build
from examples.random_tiles import PRESETS, make
from tests.parity.eager import Result as Reference
from tests.parity.tiled import EagerTiles

NEW_TOKENS = 10
QUESTION = "What is the animal doing?"
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
SIZES = {"wide": (90, 40), "square": (56, 56), "tall": (33, 120), "a line": (400, 2)}  # (width, height)
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"budget": "paper:192"},
    "encoder": {"budget": "1/4"},
    "counts": {"schedule": (9, 6, 4), "prune_layers": (0, 1, 2)},
    "none": {},
    "several": {"budget": "1/3", "max_images": 2},
}
QUICK = "tiny-internvl"
MODELS = [pytest.param(name, marks=() if name == QUICK else pytest.mark.full) for name in PRESETS]
pytestmark = pytest.mark.usefixtures("tracer")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    torch.set_num_threads(1)
    root, made = tmp_path_factory.mktemp("tiles"), dict[str, Path]()

    def get(name: str) -> Path:
        if name not in made:
            made[name] = make(root / name, PRESETS[name])
        return made[name]

    return get


@pytest.fixture(scope="module")
def loaded(folders: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Pipeline]:
    done: dict[tuple[str, str], Pipeline] = {}

    def get(name: str, pruning: str) -> Pipeline:
        if (name, pruning) not in done:
            out = tmp_path_factory.mktemp("tiles") / "bundle"
            place = pruning if pruning in ("decoder", "encoder", "none") else "decoder"
            build(folders(name), out, prune_at=place, max_context=512, **PRUNINGS[pruning])
            done[name, pruning] = load(out, threads=1)
        return done[name, pruning]

    return get


@pytest.fixture(scope="module")
def stock(folders: Callable[[str], Path]) -> Callable[[str], Any]:
    found: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in found:
            found[name] = AutoModelForImageTextToText.from_pretrained(
                folders(name), attn_implementation="eager", dtype=torch.float32
            )
        return found[name]

    return get


@pytest.fixture
def processors(folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """transformers' own, of pictures by Pillow, and without clips, for which it needs torchvision and num2words."""
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda self, name, given: None)
    monkeypatch.setattr(processing_smolvlm, "num2words", str)

    def get(name: str) -> Any:
        folder = folders(name)
        kind: Any = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(folder))]
        settings, _ = kind.get_processor_dict(folder)
        parts: dict[str, Any] = {key: value for key, value in settings.items() if key != "processor_class"}
        if "video_processor" in kind.get_attributes():
            parts["video_processor"] = type("Clips", (), {"num_frames": 1, "fps": 1})  # asked how many frames it has
        made = kind(
            image_processor=AutoImageProcessor.from_pretrained(folder, backend="pil"),  # type: ignore[no-untyped-call]
            tokenizer=AutoTokenizer.from_pretrained(folder),
            **parts,
        )
        return made

    return get


def picture(name: str) -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize(SIZES[name])


def asked(processor: Any, *images: Image.Image) -> Any:
    content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": QUESTION}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="np",
    )  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_a_request_becomes_what_the_processor_makes_of_it(
    loaded: Callable[[str, str], Pipeline], processors: Callable[[str], Any], name: str, size: str
) -> None:
    theirs, pipeline = asked(processors(name), picture(size)), loaded(name, "none")
    seen = pipeline.see(picture(size))
    prompt = pipeline._steps.prompts.read(QUESTION, seen.blocks)
    assert prompt.input_ids.tolist() == theirs["input_ids"][0].tolist()
    pixels = np.asarray(theirs["pixel_values"])
    np.testing.assert_array_equal(seen.vision["pixel_values"], pixels.reshape(-1, *pixels.shape[-3:]))
    assert prompt.positions.tolist() == [list(range(len(prompt.input_ids)))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_unpruned_is_the_stock_model(
    loaded: Callable[[str, str], Pipeline], stock: Callable[[str], Any], name: str, size: str
) -> None:
    pipeline, image = loaded(name, "none"), picture(size)
    seen = pipeline.see(image)
    prompt = pipeline._steps.prompts.read(QUESTION, seen.blocks)
    pixels = torch.from_numpy(seen.vision["pixel_values"])
    expected = stock(name).generate(
        input_ids=torch.from_numpy(prompt.input_ids)[None], attention_mask=torch.ones(1, len(prompt.input_ids)),
        pixel_values=pixels if "internvl" in name else pixels[None], max_new_tokens=NEW_TOKENS, do_sample=False,
    )  # fmt: skip
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == expected[0, len(prompt.input_ids) :].tolist()
    assert len(set(result.token_ids)) > 3, "a model that repeats itself proves little"


@pytest.mark.parametrize("name", MODELS)
def test_the_trained_layer_alone_gives_the_library_s_features(
    loaded: Callable[[str, str], Pipeline], stock: Callable[[str], Any], name: str
) -> None:
    pipeline, model = loaded(name, "none"), stock(name)
    seen = pipeline.see(picture("wide"))
    pixels = torch.from_numpy(seen.vision["pixel_values"])
    with torch.inference_mode():
        made = model.model.get_image_features(
            pixels if "internvl" in name else pixels[None],
            **({"vision_feature_select_strategy": "default"} if "internvl" in name else {}),
        ).pooler_output
    expected = torch.cat(list(made)).flatten(0, -2).double().numpy()
    alpha = np.zeros((1, len(pipeline.policy.layers)), np.float32)
    alpha[0, pipeline.policy.layers.index(pipeline.bundle.manifest.model.vision.feature_layer)] = 1
    found, _ = pipeline._steps.eyes.project(pipeline.encode(picture("wide")), alpha, Timer())
    visual = pipeline._steps.backend.download(found)[0]
    assert visual.shape == expected.shape
    np.testing.assert_allclose(visual, expected, rtol=0, atol=64 * np.finfo(np.float32).eps * np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "pruning", ["decoder", *(pytest.param(way, marks=pytest.mark.full) for way in ("encoder", "counts"))]
)
@pytest.mark.parametrize("name", MODELS)
def test_kept_tokens_and_answer(
    loaded: Callable[[str, str], Pipeline], stock: Callable[[str], Any], name: str, pruning: str, size: str
) -> None:
    """One bundle for pictures of every number of tokens."""
    pipeline, image = loaded(name, pruning), picture(size)
    result = pipeline.generate(image, QUESTION, max_new_tokens=NEW_TOKENS)
    reference = eager(pipeline, stock(name), result.route.category, image)
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
        np.testing.assert_array_equal(stage.is_pivot, is_pivot)
    assert list(result.token_ids) == reference.tokens


def eager(pipeline: Pipeline, model: Any, category: int, *images: Image.Image) -> Reference:
    """The reference's answer to what the pipeline was asked; only tokenizing and preprocessing are shared."""
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    seen = [pipeline.see(image) for image in images]
    prompt = pipeline._steps.prompts.read(QUESTION, *(each.blocks for each in seen))
    row, weights = policy.categories[category], np.exp(policy.tau * np.array(policy.categories[category].scores))
    keeps = manifest.schedule.keeps_of(len(prompt.visual_index))
    stages = [
        (stage.after_layer, keep, int(row.ratio * keep))
        for stage, keep in zip(manifest.schedule.stages, keeps, strict=True)
    ]
    return EagerTiles(model).generate(
        torch.from_numpy(np.concatenate([each.vision["pixel_values"] for each in seen])),
        torch.from_numpy(prompt.input_ids)[None],
        (weights / weights.sum()).tolist(),
        policy.layers,
        stages,
        manifest.prune_at,
        max_new_tokens=NEW_TOKENS,
    )


@pytest.mark.parametrize("name", [QUICK, pytest.param("tiny-smolvlm", marks=pytest.mark.full)])
def test_the_tiles_of_several_pictures_are_one_selection(
    loaded: Callable[[str, str], Pipeline], stock: Callable[[str], Any], processors: Callable[[str], Any], name: str
) -> None:
    pipeline, images = loaded(name, "several"), [picture("wide"), picture("square")]
    prompt = pipeline._steps.prompts.read(QUESTION, *(pipeline.see(image).blocks for image in images))
    assert prompt.input_ids.tolist() == asked(processors(name), *images)["input_ids"][0].tolist()
    result = pipeline.generate(images, QUESTION, max_new_tokens=NEW_TOKENS)
    reference = eager(pipeline, stock(name), result.route.category, *images)
    for stage, kept in zip(result.kept, reference.kept, strict=True):
        np.testing.assert_array_equal(stage.indices, kept)
    assert list(result.token_ids) == reference.tokens


@pytest.mark.parametrize("name", ["tiny-internvl", "tiny-smolvlm", "tiny-idefics3"])
@pytest.mark.full
def test_lowered_for_an_older_jetpack_it_answers_the_same(
    loaded: Callable[[str, str], Pipeline], folders: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    options: dict[str, Any] = {"budget": "paper:192", "max_context": 512}
    lowered = build(folders(name), tmp_path / "orin", target="orin-agx-64", backend="onnxruntime", **options)
    expected = loaded(name, "decoder")
    assert lowered.manifest.opset < expected.bundle.manifest.opset
    with load(lowered.root, provider="cpu", threads=1) as pipeline:
        found = pipeline.generate(picture("wide"), QUESTION, max_new_tokens=NEW_TOKENS)
    answer = expected.generate(picture("wide"), QUESTION, max_new_tokens=NEW_TOKENS)
    assert found.token_ids == answer.token_ids
    for mine, theirs in zip(found.kept, answer.kept, strict=True):
        np.testing.assert_array_equal(mine.indices, theirs.indices)
