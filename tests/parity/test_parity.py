"""Compiled bundles against the eager reference: same category, same kept tokens, same logits, same answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from clasp_trt.compiler import build
from clasp_trt.policy import CATEGORY_NAMES, Category, Policy
from clasp_trt.runtime import decoder
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from examples.random_llava import PRESETS, make
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
PROMPTS = {
    "long text after": f"{LONG} What is behind the cat?",
    "long text before": f"{LONG} <image> What colour is it?",
    "one word after": "Look at this picture: <image> how many",
}


@dataclass
class Built:
    """A checkpoint's eager models and its bundle."""

    pipeline: Pipeline
    folder: Path

    def model(self, dtype: torch.dtype = torch.float32) -> Any:
        return LlavaForConditionalGeneration.from_pretrained(self.folder, attn_implementation="eager", dtype=dtype)


Builder = Callable[[str, str], Built]


def spread_policy(vision_layers: int) -> Policy:
    """A policy whose categories all differ in layers and split, so that a mixed-up category shows."""
    layers = tuple(range(1, vision_layers + 1))
    rows = tuple(
        Category(
            name=name,
            scores=tuple(round(0.1 * ((3 * number + 2 * layer) % 5), 1) for layer in layers),
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
    """A pipeline for a shape and a way of pruning, built once."""
    torch.set_num_threads(1)
    done: dict[tuple[str, str], Built] = {}

    def get(shape: str, pruning: str) -> Built:
        if (shape, pruning) not in done:
            root = tmp_path_factory.mktemp("parity")
            folder = make(root / "checkpoint", SHAPES[shape])
            options = dict(PRUNINGS[pruning])
            if pruning != "none":
                (root / "policy.json").write_text(spread_policy(SHAPES[shape].vision_layers).dumps())
                options["policy"] = root / "policy.json"
            build(folder, root / "bundle", prune_at=pruning, max_context=1024, **options)
            done[shape, pruning] = Built(load(root / "bundle", threads=1), folder)
        return done[shape, pruning]

    return get


def compiled(
    pipeline: Pipeline, prompt: str, category: str | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Result, NDArray[np.float32]]:
    """The bundle's answer and its logits ``[steps, vocabulary]``."""
    seen: list[NDArray[np.float32]] = []
    scores = pipeline._scores
    monkeypatch.setattr(pipeline, "_scores", lambda logits: seen.append(scores(logits).copy()) or seen[-1])
    result = pipeline.generate(PHOTO, prompt, max_new_tokens=NEW_TOKENS, category=category)
    monkeypatch.undo()
    return result, np.stack(seen)


def eager(pipeline: Pipeline, model: Any, prompt: str, category: int) -> Reference:
    """The reference's answer to what the pipeline was asked; only tokenizing and preprocessing are shared."""
    manifest, policy = pipeline.bundle.manifest, pipeline.policy
    ids = torch.from_numpy(pipeline._tokenize(prompt, with_image=True).input_ids)[None]
    with Image.open(PHOTO) as image:
        pixels = torch.from_numpy(pipeline._preprocess([image.convert("RGB")])).to(model.dtype)
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


@pytest.mark.parametrize(
    "category", range(len(CATEGORY_NAMES)), ids=lambda number: CATEGORY_NAMES[number].replace(" / ", " or ")
)
@pytest.mark.parametrize("pruning", PRUNINGS)
def test_every_category(built: Builder, pruning: str, category: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = built("grouped", pruning)
    result, _ = compiled(pair.pipeline, PROMPTS["long text after"], CATEGORY_NAMES[category], monkeypatch)
    assert_same(result, eager(pair.pipeline, pair.model(), PROMPTS["long text after"], category))


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("pruning", PRUNINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_kept_tokens_logits_and_answer(
    built: Builder, shape: str, pruning: str, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits are held to the error that the eager model itself makes in float32 against float64."""
    pair = built(shape, pruning)
    result, logits = compiled(pair.pipeline, PROMPTS[prompt], None, monkeypatch)
    category = pair.pipeline.route(PROMPTS[prompt]).category
    assert result.route.category == category
    reference = eager(pair.pipeline, pair.model(), PROMPTS[prompt], category)
    assert_same(result, reference)
    assert len(set(result.token_ids)) > 4, "a model that repeats itself proves little"
    exact = eager(pair.pipeline, pair.model(torch.float64), PROMPTS[prompt], category)
    assert list(exact.tokens) == list(reference.tokens), "choose another seed: float32 itself changes the answer"
    truth = _stack(exact)
    baseline = np.abs(_stack(reference) - truth).max()
    assert np.abs(logits - truth).max() <= 4 * baseline


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_prefill_in_chunks(built: Builder, pruning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the last segment cuts a prompt, what it leaves in the caches and says is the same."""
    pair, prompt = built("grouped", pruning), PROMPTS["long text before"]
    whole, logits = compiled(pair.pipeline, prompt, None, monkeypatch)
    for rows in (1, 7, 64):
        monkeypatch.setattr(decoder, "PREFILL_ROWS", rows)
        result, chunked = compiled(pair.pipeline, prompt, None, monkeypatch)
        assert result.token_ids == whole.token_ids
        assert np.abs(chunked - logits).max() <= 1e-5 * np.abs(logits).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_unpruned_is_the_stock_model(built: Builder, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the photograph and the bare prompt on: processor, template and tokenizer are the checkpoint's own."""
    pair = built(shape, "none")
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
    prompt = PROMPTS["long text after"]
    result = other.generate(PHOTO, prompt, max_new_tokens=NEW_TOKENS)
    assert_same(result, eager(other, pair.model(), prompt, result.route.category))
    before = pair.pipeline.generate(PHOTO, prompt, max_new_tokens=NEW_TOKENS)
    assert [s.indices.tolist() for s in result.kept] != [s.indices.tolist() for s in before.kept]


def _stack(reference: Reference) -> NDArray[np.float64]:
    return np.stack([np.asarray(step, dtype=np.float64).reshape(-1) for step in reference.logits])
