"""The eager reference against the stock model: without pruning they must agree to the last token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from examples.random_llava import PRESETS, Shape, make
from tests.parity.eager import EagerClasp, PruneAt, Stage

TINY = PRESETS["tiny"]  # 16 visual tokens; 6 query heads share 2 key heads
SHAPES = {
    "grouped": TINY,
    "multi-head": replace(TINY, kv_heads=6),
    "tied": replace(TINY, tie_word_embeddings=True),
    "odd heads": replace(TINY, heads=3, kv_heads=3, vision_width=36, vision_heads=3),
    "odd groups": replace(TINY, width=60, heads=15, kv_heads=5, head_dim=6, rope_theta=500000.0),
    "last layer": replace(TINY, vision_feature_layer=-1),
}
Load = Callable[[str], Any]  # the library's types say little about its modules


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Load the model of a shape, once."""
    torch.set_num_threads(1)
    loaded: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in loaded:
            folder = make(tmp_path_factory.mktemp("model") / "m", SHAPES[name])
            loaded[name] = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
        return loaded[name]

    return get


def _inputs(model: Any, shape: Shape, before: int, after: int) -> tuple[Tensor, Tensor]:
    """A random picture [1, 3, size, size], and a prompt [1, rows] with text around the image tokens."""
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randn(1, 3, shape.image_size, shape.image_size, generator=generator)
    text = torch.randint(3, 300, (before + after,), generator=generator)
    image = torch.full((shape.tokens,), model.config.image_token_id)
    return pixels, torch.cat([torch.tensor([1]), text[:before], image, text[before:]])[None]


def _own_layer(model: Any) -> int:
    return int(model.config.vision_config.num_hidden_layers + 1 + model.config.vision_feature_layer)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (5, 9)])
@pytest.mark.parametrize("name", SHAPES)
def test_unpruned_equals_the_stock_model(load: Load, name: str, before: int, after: int) -> None:
    model = load(name)
    pixels, ids = _inputs(model, SHAPES[name], before, after)
    stock = model.generate(
        pixel_values=pixels,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=24,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    own = _own_layer(model)
    layers = sorted({1, own})
    result = EagerClasp(model).generate(
        pixels, ids, [float(layer == own) for layer in layers], layers, max_new_tokens=24
    )
    assert result.tokens == stock.sequences[0, ids.shape[1] :].tolist()
    assert len(set(result.tokens)) > 4, "a model that repeats itself proves little"
    # The same float32 operations; only the shapes of some matrix products differ, hence the order of their
    # sums.
    expected = torch.stack(stock.logits)[:, 0].numpy()
    np.testing.assert_allclose(np.stack(result.logits), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    assert not result.kept


def test_hidden_states_are_numbered_as_the_tower_numbers_them(load: Load) -> None:
    model = load("grouped")
    pixels, _ = _inputs(model, TINY, 0, 1)
    ours = EagerClasp(model).vision_hidden_states(pixels)
    theirs = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    assert len(ours) == len(theirs) == TINY.vision_layers + 1
    for own, stock in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, stock)


def test_fusion_is_a_weighted_sum_before_the_projector(load: Load) -> None:
    model = load("grouped")
    eager = EagerClasp(model)
    pixels, _ = _inputs(model, TINY, 0, 1)
    states = eager.vision_hidden_states(pixels)
    fused = 0.25 * states[1] + 0.75 * states[3]
    with torch.inference_mode():
        expected = model.model.multi_modal_projector(fused[:, 1:])[0]
    torch.testing.assert_close(eager.project(states, [0.25, 0.75], [1, 3]), expected)


def test_cls_saliency_is_the_attention_of_the_block_before_the_feature_layer(load: Load) -> None:
    model = load("grouped")
    eager = EagerClasp(model)
    pixels, _ = _inputs(model, TINY, 0, 1)
    attentions = model.model.vision_tower(pixels, output_attentions=True).attentions
    expected = attentions[TINY.vision_layers - 2][0, :, 0, 1:].mean(dim=0)  # 0-based block of hidden state L_v - 1
    saliency = eager.cls_saliency(eager.vision_hidden_states(pixels))
    torch.testing.assert_close(saliency, expected.detach())


@pytest.mark.parametrize("name", ["grouped", "odd heads", "odd groups"])
def test_stage_saliency_is_the_attention_of_its_own_layer(load: Load, name: str) -> None:
    model = load(name)
    pixels, ids = _inputs(model, SHAPES[name], 5, 9)
    attentions = model(pixel_values=pixels, input_ids=ids, output_attentions=True).attentions
    own = _own_layer(model)
    result = EagerClasp(model).generate(pixels, ids, [1.0], [own], [(1, 6, 3)], "decoder", 1)
    image = ids[0] == model.config.image_token_id
    expected = attentions[1][0][:, 1 + 5 + TINY.tokens :][:, :, image].mean(dim=(0, 1)).detach().numpy()
    np.testing.assert_allclose(result.saliency[0], expected, rtol=1e-5)


def _masked(model: Any, pixels: Tensor, ids: Tensor, alive: dict[int, set[int]]) -> NDArray[np.float32]:
    """Logits [vocab] that the stock model gives after ``ids``, with pruned rows hidden by masks, not removed.

    ``alive[layer]`` are the visual tokens that take part in decoder ``layer``.
    """
    places = (ids[0] == model.config.image_token_id).nonzero()[:, 0]
    handles = []
    for index, layer in enumerate(model.model.language_model.layers):
        gone = [int(places[token]) for token in range(len(places)) if token not in alive[index]]

        def hide(module: torch.nn.Module, args: object, kwargs: dict[str, Tensor], gone: list[int] = gone) -> object:
            rows = ids.shape[1]
            mask = torch.full((rows, rows), torch.finfo(torch.float32).min).triu(diagonal=1)
            mask[:, gone] = torch.finfo(torch.float32).min
            return args, {**kwargs, "attention_mask": mask[None, None]}

        handles.append(layer.register_forward_pre_hook(hide, with_kwargs=True))
    try:
        with torch.inference_mode():
            logits = model(pixel_values=pixels, input_ids=ids, use_cache=False).logits
            return np.asarray(logits[0, -1])
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize(
    ("prune_at", "stages"),
    [("decoder", [(0, 9, 5), (2, 4, 1)]), ("decoder", [(1, 5, 0)]), ("encoder", [(-1, 7, 3)])],
)
def test_removing_rows_equals_hiding_them(load: Load, prune_at: PruneAt, stages: list[Stage]) -> None:
    """Positions, masks and the layer from which a token is gone, checked through an independent path."""
    model = load("grouped")
    pixels, ids = _inputs(model, TINY, 4, 7)
    own = _own_layer(model)
    result = EagerClasp(model).generate(pixels, ids, [1.0], [own], stages, prune_at, 4)
    alive: dict[int, set[int]] = {}
    current = set(range(TINY.tokens))
    for layer in range(TINY.layers):
        for (after, keep, k1), kept, is_pivot in zip(stages, result.kept, result.is_pivot, strict=True):
            if after == layer - 1:
                assert len(kept) == keep
                assert is_pivot.sum() == k1
                assert set(kept.tolist()) < current
                current = set(kept.tolist())
        alive[layer] = current
    for step, logits in enumerate(result.logits):  # the prefill, then decoding against caches of several lengths
        longer = torch.cat([ids, torch.tensor([result.tokens[:step]], dtype=torch.long)], dim=1)
        expected = _masked(model, pixels, longer, alive)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    everything = {layer: set(range(TINY.tokens)) for layer in range(TINY.layers)}
    change = np.abs(_masked(model, pixels, ids, everything) - result.logits[0]).max()
    assert change > 0.05, "pruning must show, or this test is blind"


def test_misuse_is_refused(load: Load) -> None:
    model = load("grouped")
    eager = EagerClasp(model)
    pixels, ids = _inputs(model, TINY, 2, 3)
    with pytest.raises(ValueError, match="prune_at 'none'"):
        eager.generate(pixels, ids, [1.0], [3], [(1, 4, 2)], "none")
    with pytest.raises(ValueError, match="prune_at 'decoder'"):
        eager.generate(pixels, ids, [1.0], [3], [(2, 4, 2), (1, 3, 2)], "decoder")
    with pytest.raises(ValueError, match="16 image tokens"):
        eager.generate(pixels, ids[:, 4:], [1.0], [3])
    with pytest.raises(ValueError, match="no text follows the image"):
        eager.generate(pixels, ids[:, :-3], [1.0], [3], [(1, 4, 2)], "decoder")
