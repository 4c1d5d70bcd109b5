"""Compiled bundles against the eager reference: same category, same kept tokens, same logits, same answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from clasp_trt.policy import CATEGORY_NAMES, Category, Policy
from clasp_trt.runtime.decoder import Scores
from clasp_trt.runtime.draft import Draft
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, Shape, make
from tests.parity.eager import EagerClasp
from tests.parity.eager import Result as Reference

BASE = replace(PRESETS["tiny"], image_size=112, layers=6)  # 64 visual tokens; 6 query heads share 2 key heads
SHAPES = {
    "grouped": BASE,
    "multi-head, tied": replace(BASE, kv_heads=6, tie_word_embeddings=True),
    "odd heads": replace(BASE, heads=3, kv_heads=3, vision_width=36, vision_heads=3),
    "odd groups": replace(BASE, width=60, heads=15, kv_heads=5, head_dim=6, rope_theta=500000.0),
    "last layer": replace(BASE, vision_feature_layer=-1, layers=5),
}
PRUNINGS: dict[str, dict[str, Any]] = {
    "decoder": {"schedule": (30, 17, 8), "prune_layers": (0, 2, 3)},
    "encoder": {"budget": 20},
    "none": {},
}
PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"
NEW_TOKENS = 32
LONG = (
    "Last summer we drove from the harbour to the hills with two dogs, a broken radio and eleven boxes of apples. "
    "Nobody had told my sister that the bridge was closed, so she sang until the ferry came. It began to rain; the "
    "boatman, who sold maps, said: keep left, count the towers, and never trust a clock in a station. We ate well."
)
PROMPTS = {  # with the category that each is routed to
    "long text after": (f"{LONG} Where is the cat?", "spatial relations"),
    "long text before": (f"{LONG} <image> What colour is it?", "attribute / breed identification"),
    "one word after": ("Look at this picture: <image> how many", "counting"),
}


def quick(shape: str, pruning: str, prompt: str) -> bool:
    """Whether the default run has this case: one shape in all ways."""
    return shape == "grouped"


@dataclass
class Built:
    """A checkpoint's eager models and its bundle."""

    pipeline: Pipeline
    folder: Path

    def model(self, dtype: torch.dtype = torch.float32) -> Any:
        return LlavaForConditionalGeneration.from_pretrained(self.folder, attn_implementation="eager", dtype=dtype)


class Builder(Protocol):
    def __call__(self, shape: str, pruning: str, *, spread: bool = True) -> Built: ...


def spread_policy(vision_layers: int) -> Policy:
    """A policy whose categories all differ in their layers alone, so that a mixed-up one shows without pruning too."""
    layers = tuple(range(1, vision_layers + 1))
    rows = tuple(
        Category(
            name=name,
            scores=tuple((number + 1) * layer % 11 / 10 for layer in layers),
            ratio=template.ratio,
        )
        for number, (name, template) in enumerate(zip(CATEGORY_NAMES, _prior_rows(), strict=True))
    )
    return Policy(layers=layers, tau=4.0, threshold=0.5, categories=rows, provenance={"kind": "user"})


def _prior_rows() -> tuple[Category, ...]:
    from clasp_trt.policy import prior

    return prior((1,), 1).categories


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """A pipeline for a shape and a way of pruning, built once; ``spread`` gives it :func:`spread_policy`."""
    torch.set_num_threads(1)
    done: dict[tuple[str, str, bool], Built] = {}

    def get(shape: str, pruning: str, *, spread: bool = True) -> Built:
        if (shape, pruning, spread) not in done:
            root = tmp_path_factory.mktemp("parity")
            folder = make(root / "checkpoint", SHAPES[shape])
            options = dict(PRUNINGS[pruning])
            if spread:
                (root / "policy.json").write_text(spread_policy(SHAPES[shape].vision_layers).dumps())
                options["policy"] = root / "policy.json"
            build(folder, root / "bundle", prune_at=pruning, max_context=1024, **options)
            done[shape, pruning, spread] = Built(load(root / "bundle", threads=1), folder)
        return done[shape, pruning, spread]

    return get


def compiled(
    pipeline: Pipeline, prompt: str, category: str | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Result, NDArray[np.float32]]:
    """The bundle's answer and its logits ``[steps, vocabulary]``."""
    seen: list[NDArray[np.float32]] = []
    choose = pipeline._steps._chosen

    def spy(drafts: list[Draft], scores: Scores, rows: list[int]) -> object:
        seen.append(pipeline._steps.backend.download(scores.logits).reshape(-1))
        return choose(drafts, scores, rows)

    monkeypatch.setattr(pipeline._steps, "_chosen", spy)
    result = pipeline.generate(PHOTO, prompt, max_new_tokens=NEW_TOKENS, category=category)
    monkeypatch.undo()
    return result, np.stack(seen)


def eager(pipeline: Pipeline, model: Any, prompt: str, category: int) -> Reference:
    """The reference's answer to what the pipeline was asked; only tokenizing and preprocessing are shared."""
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    with Image.open(PHOTO) as image:
        seen = pipeline.see(image.convert("RGB"))
    ids = torch.from_numpy(pipeline._steps.prompts.read(prompt, seen.blocks).input_ids)[None]
    pixels = torch.from_numpy(seen.vision["pixel_values"]).to(model.dtype)
    row = policy.categories[category]
    weights = np.exp(policy.tau * np.array(row.scores))
    stages = [(stage.after_layer, stage.keep, int(row.ratio * stage.keep)) for stage in manifest.schedule.stages]
    return EagerClasp(model).generate(
        pixels,
        ids,
        (weights / weights.sum()).tolist(),
        policy.layers,
        stages,
        manifest.prune_at,
        max_new_tokens=NEW_TOKENS,
    )


def assert_same(result: Result, reference: Reference) -> None:
    assert len(result.kept) == len(reference.kept)
    for stage, kept, is_pivot in zip(result.kept, reference.kept, reference.is_pivot, strict=True):
        assert stage.indices.tolist() == np.asarray(kept).tolist()
        assert stage.is_pivot.tolist() == np.asarray(is_pivot).tolist()
    assert list(result.token_ids) == list(reference.tokens)


def in_float64(pair: Built, prompt: str, category: str, reference: Reference) -> tuple[NDArray[np.float64], float]:
    """The eager logits in float64, and how far from them others may be: 4 times the error of float32."""
    exact = eager(pair.pipeline, pair.model(torch.float64), prompt, CATEGORY_NAMES.index(category))
    assert list(exact.tokens) == list(reference.tokens), "choose another seed: float32 itself changes the answer"
    truth = _stack(exact)
    return truth, 4 * float(np.abs(_stack(reference) - truth).max())


@pytest.mark.parametrize(
    "category", range(len(CATEGORY_NAMES)), ids=lambda number: CATEGORY_NAMES[number].replace(" / ", " or ")
)
@pytest.mark.parametrize(
    "pruning", ["decoder", *(pytest.param(way, marks=pytest.mark.full) for way in ("encoder", "none"))]
)
def test_every_category(built: Builder, pruning: str, category: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = built("grouped", pruning)
    prompt, _ = PROMPTS["long text after"]
    result, _ = compiled(pair.pipeline, prompt, CATEGORY_NAMES[category], monkeypatch)
    assert_same(result, eager(pair.pipeline, pair.model(), prompt, category))


@pytest.mark.full
@pytest.mark.parametrize("pruning", PRUNINGS)
def test_categories_answer_differently(built: Builder, pruning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the nine cases above would be one."""
    pipeline, (prompt, _) = built("grouped", pruning).pipeline, PROMPTS["long text after"]
    logits = [compiled(pipeline, prompt, name, monkeypatch)[1][0] for name in CATEGORY_NAMES]
    assert len({step.tobytes() for step in logits}) == len(CATEGORY_NAMES)


@pytest.mark.parametrize(
    ("shape", "pruning", "prompt"),
    [
        pytest.param(*case, id="-".join(case), marks=() if quick(*case) else pytest.mark.full)
        for case in product(SHAPES, PRUNINGS, PROMPTS)
    ],
)
def test_kept_tokens_logits_and_answer(
    built: Builder, shape: str, pruning: str, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits are held to the error that the eager model itself makes in float32 against float64."""
    pair, (text, category) = built(shape, pruning), PROMPTS[prompt]
    result, logits = compiled(pair.pipeline, text, None, monkeypatch)
    assert result.category == category
    reference = eager(pair.pipeline, pair.model(), text, CATEGORY_NAMES.index(category))
    assert_same(result, reference)
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"
    truth, tolerance = in_float64(pair, text, category, reference)
    assert np.abs(logits - truth).max() <= tolerance


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_prefill_in_chunks(built: Builder, pruning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the last segment cuts a prompt, what it leaves in the caches and says is the same."""
    pair, (prompt, category) = built("grouped", pruning), PROMPTS["long text before"]
    reference = eager(pair.pipeline, pair.model(), prompt, CATEGORY_NAMES.index(category))
    truth, tolerance = in_float64(pair, prompt, category, reference)
    for rows in (1, 7, 64):
        monkeypatch.setattr(pair.pipeline._steps.backend, "prefill_rows", rows)
        result, logits = compiled(pair.pipeline, prompt, None, monkeypatch)
        assert_same(result, reference)
        assert np.abs(logits - truth).max() <= tolerance


@pytest.mark.parametrize(
    "shape",
    [name if name == "grouped" else pytest.param(name, marks=pytest.mark.full) for name in SHAPES],
)
def test_unpruned_is_the_stock_model(built: Builder, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_stock(built(shape, "none", spread=False), monkeypatch)


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(PRESETS["tiny-siglip-qwen2"], marks=pytest.mark.full),
        PRESETS["tiny-mistral"],
        replace(PRESETS["tiny"], decoder="qwen3", head_dim=16, tie_word_embeddings=True),
        pytest.param(replace(PRESETS["tiny"], tower="siglip", vision_feature_layer=-2), marks=pytest.mark.full),
    ],
    ids=["siglip, qwen2", "clip, mistral", "clip, qwen3", "siglip, llama"],
)
def test_other_towers_and_decoders_are_the_stock_model(
    tmp_path: Path, shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "checkpoint", shape)
    build(folder, tmp_path / "bundle", prune_at="none", max_context=512)
    assert_stock(Built(load(tmp_path / "bundle", threads=1), folder), monkeypatch)


def test_a_distinct_head_under_a_tied_flag_is_the_stock_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock model believes the tensors, not the flag."""
    folder = make(tmp_path / "checkpoint", BASE)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config["text_config"]):
        part["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    build(folder, tmp_path / "bundle", prune_at="none", max_context=1024)
    assert_stock(Built(load(tmp_path / "bundle", threads=1), folder), monkeypatch)


def assert_stock(pair: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the photograph and the bare prompt on: processor, template and tokenizer are the checkpoint's own."""
    processor = AutoProcessor.from_pretrained(pair.folder)
    question = "What is the animal doing?"
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True)
    with Image.open(PHOTO) as image:
        inputs = processor(images=image.convert("RGB"), text=text, return_tensors="pt")
    stock = pair.model().generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    result, _ = compiled(pair.pipeline, question, None, monkeypatch)
    assert list(result.token_ids) == stock[0, inputs["input_ids"].shape[1] :].tolist()
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"
    assert result.kept == ()


def test_text_alone_is_the_stock_model(built: Builder) -> None:
    pair = built("grouped", "decoder")
    processor = AutoProcessor.from_pretrained(pair.folder)
    turn = [{"role": "user", "content": [{"type": "text", "text": "Tell me about cats."}]}]
    inputs = processor.tokenizer(processor.apply_chat_template(turn, add_generation_prompt=True), return_tensors="pt")
    stock = pair.model().generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    result = pair.pipeline.generate(None, "Tell me about cats.", max_new_tokens=NEW_TOKENS)
    assert list(result.token_ids) == stock[0, inputs["input_ids"].shape[1] :].tolist()
    assert result.visual_tokens == 0


def test_policy_is_data(built: Builder, tmp_path: Path) -> None:
    """Another policy, and nothing else, changes fusion and split without a rebuild."""
    pair = built("grouped", "decoder")
    policy = pair.pipeline.policy
    turned = replace(policy, categories=tuple(replace(row, scores=row.scores[::-1]) for row in policy.categories))
    (tmp_path / "policy.json").write_text(turned.dumps())
    other = load(pair.pipeline.bundle.root, policy=tmp_path / "policy.json", threads=1)
    prompt, _ = PROMPTS["long text after"]
    result = other.generate(PHOTO, prompt, max_new_tokens=NEW_TOKENS)
    assert_same(result, eager(other, pair.model(), prompt, result.route.category))
    before = pair.pipeline.generate(PHOTO, prompt, max_new_tokens=NEW_TOKENS)
    assert [s.indices.tolist() for s in result.kept] != [s.indices.tolist() for s in before.kept]


def _stack(reference: Reference) -> NDArray[np.float64]:
    return np.stack([np.asarray(step, dtype=np.float64).reshape(-1) for step in reference.logits])
