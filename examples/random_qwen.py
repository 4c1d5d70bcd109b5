"""Make a Qwen-VL checkpoint with random weights, in the Hugging Face layout of ``Qwen/Qwen2.5-VL-*`` and its kin.

``python -m examples.random_qwen OUT --preset tiny-qwen2.5`` writes a folder that the stock model, tokenizer and image
processor load. It says nothing sensible, but has every part of a real checkpoint: towers with windows, tables of
positions or deepstack, merged patches, positions on three axes, the chat template and the special tokens.

Weights are drawn as :mod:`examples.random_weights` says. Needs numpy and tokenizers, neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from examples.llava_files import CLIP_MEAN, CLIP_STD
from examples.random_weights import (
    ATTENTION_GAIN,
    EMBEDDING_STD,
    LOGIT_GAIN,
    SAFETENSORS_DTYPE,
    TIED_EMBEDDING_STD,
    DType,
    TensorSpec,
    linear,
    norm,
    write_json,
    write_weights,
    written,
)
from examples.small_tokenizer import CORPUS

Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
CLASSES: Mapping[Family, str] = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}
MLP: Mapping[Family, tuple[str, ...]] = {
    "qwen2_vl": ("fc1", "fc2"),
    "qwen2_5_vl": ("gate_proj", "up_proj", "down_proj"),
    "qwen3_vl": ("linear_fc1", "linear_fc2"),
}
TIME, MERGE = 2, 2
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
UNUSED_IDS = 8  # at least so many ids belong to no token, as in the published checkpoints
# Qwen2.5-VL's own.
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Dimensions of a checkpoint of ``family``; ``tokens`` are the least and the most of a picture, by its area.

    ``full_blocks`` are those of the tower that attend to whole pictures where others attend in windows of ``window``
    pixels; ``table`` is the side of a table of positions, ``deepstack`` the blocks after which more tokens are made.
    ``sections`` are how many frequencies of a head turn by time, row and column; ``positions`` is the longest context.
    """

    family: Family
    vision_layers: int
    vision_width: int
    vision_heads: int
    vision_mlp: int
    patch_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    sections: tuple[int, int, int]
    tokens: tuple[int, int] = (4, 96)
    full_blocks: tuple[int, ...] = ()
    window: int = 112
    table: int = 0
    deepstack: tuple[int, ...] = ()
    tie_word_embeddings: bool = False
    positions: int = 4096


PRESETS: Mapping[str, Shape] = {
    "tiny-qwen2": Shape(
        "qwen2_vl", vision_layers=4, vision_width=32, vision_heads=2, vision_mlp=64, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, head_dim=8, mlp=96, vocab=512, sections=(2, 1, 1),
    ),
    "tiny-qwen2.5": Shape(
        "qwen2_5_vl", vision_layers=4, vision_width=32, vision_heads=2, vision_mlp=48, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, head_dim=8, mlp=96, vocab=512, sections=(2, 1, 1),
        full_blocks=(1, 3),
    ),
    "tiny-qwen3": Shape(
        "qwen3_vl", vision_layers=4, vision_width=32, vision_heads=2, vision_mlp=64, patch_size=16,
        layers=5, width=48, heads=4, kv_heads=2, head_dim=16, mlp=96, vocab=512, sections=(4, 2, 2),
        table=6, deepstack=(0, 1, 2),
    ),
    "qwen2-vl-1.1b": Shape(  # the decoder of random_llava's tinyllama-1.1b behind a tower of about as many operations
        "qwen2_vl", vision_layers=14, vision_width=512, vision_heads=8, vision_mlp=2048, patch_size=14,
        layers=22, width=2048, heads=32, kv_heads=4, head_dim=64, mlp=5632, vocab=32064, sections=(8, 12, 12),
        tokens=(4, 16384),
    ),
    "qwen2.5-vl-7b": Shape(
        "qwen2_5_vl", vision_layers=32, vision_width=1280, vision_heads=16, vision_mlp=3420, patch_size=14,
        layers=28, width=3584, heads=28, kv_heads=4, head_dim=128, mlp=18944, vocab=152064, sections=(16, 24, 24),
        full_blocks=(7, 15, 23, 31), tokens=(4, 16384), positions=128000,
    ),
}  # fmt: skip


# --- weights ------------------------------------------------------------------------------------------------


def _merger(name: str, shape: Shape, parts: Sequence[str], *, after: bool = False) -> Iterator[TensorSpec]:
    block, (normed, first, second) = shape.vision_width * MERGE**2, parts
    biased = shape.family != "qwen2_5_vl"
    yield from norm(f"{name}.{normed}", block if after else shape.vision_width, bias=biased)
    yield from linear(f"{name}.{first}", block, block, 1.5, bias=True)
    yield from linear(f"{name}.{second}", shape.width, block, 1.5, bias=True)


def _vision_tensors(shape: Shape, tower: str) -> Iterator[TensorSpec]:
    width, third = shape.vision_width, shape.family == "qwen3_vl"
    patch = (3, TIME, shape.patch_size, shape.patch_size)
    yield TensorSpec(f"{tower}.patch_embed.proj.weight", (width, *patch), 1.0 / math.sqrt(math.prod(patch)))
    if third:
        yield TensorSpec(f"{tower}.patch_embed.proj.bias", (width,), 0.1)
        yield TensorSpec(f"{tower}.pos_embed.weight", (shape.table**2, width), 0.5)
    biased = shape.family != "qwen2_5_vl"
    *first, last = MLP[shape.family]
    for index in range(shape.vision_layers):
        block = f"{tower}.blocks.{index}"
        yield from norm(f"{block}.norm1", width, bias=biased)
        yield from linear(f"{block}.attn.qkv", 3 * width, width, ATTENTION_GAIN, bias=True)
        yield from linear(f"{block}.attn.proj", width, width, bias=True)
        yield from norm(f"{block}.norm2", width, bias=biased)
        for name in first:
            yield from linear(f"{block}.mlp.{name}", shape.vision_mlp, width, bias=True)
        yield from linear(f"{block}.mlp.{last}", width, shape.vision_mlp, bias=True)
    parts = ("norm", "linear_fc1", "linear_fc2")
    yield from _merger(f"{tower}.merger", shape, parts if third else ("ln_q", "mlp.0", "mlp.2"))
    for index in range(len(shape.deepstack)):
        yield from _merger(f"{tower}.deepstack_merger_list.{index}", shape, parts, after=True)


def _decoder_tensors(shape: Shape, model: str, unspoken: tuple[int, ...]) -> Iterator[TensorSpec]:
    width, third, tied = shape.width, shape.family == "qwen3_vl", shape.tie_word_embeddings
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    std = TIED_EMBEDDING_STD if tied else EMBEDDING_STD
    yield TensorSpec(f"{model}.embed_tokens.weight", (shape.vocab, width), std, zero_rows=unspoken if tied else ())
    for index in range(shape.layers):
        layer = f"{model}.layers.{index}"
        yield from norm(f"{layer}.input_layernorm", width)
        yield from linear(f"{layer}.self_attn.q_proj", query, width, ATTENTION_GAIN, bias=not third)
        yield from linear(f"{layer}.self_attn.k_proj", key, width, ATTENTION_GAIN, bias=not third)
        yield from linear(f"{layer}.self_attn.v_proj", key, width, bias=not third)
        if third:
            yield from norm(f"{layer}.self_attn.q_norm", shape.head_dim)
            yield from norm(f"{layer}.self_attn.k_norm", shape.head_dim)
        yield from linear(f"{layer}.self_attn.o_proj", width, query)
        yield from norm(f"{layer}.post_attention_layernorm", width)
        yield from linear(f"{layer}.mlp.gate_proj", shape.mlp, width)
        yield from linear(f"{layer}.mlp.up_proj", shape.mlp, width)
        yield from linear(f"{layer}.mlp.down_proj", width, shape.mlp)
    yield from norm(f"{model}.norm", width)
    if not tied:
        yield TensorSpec("lm_head.weight", (shape.vocab, width), LOGIT_GAIN / math.sqrt(width), zero_rows=unspoken)


def tensors(shape: Shape, unspoken: Sequence[int] = ()) -> Iterator[TensorSpec]:
    """Every tensor of the checkpoint, under the names that the published ones use.

    The rows of ``unspoken`` token ids are zero in the output head: greedy decoding never says them.
    """
    tower, model = "visual", "model"
    if shape.family == "qwen3_vl":
        tower, model = "model.visual", "model.language_model"
    yield from _vision_tensors(shape, tower)
    yield from _decoder_tensors(shape, model, tuple(unspoken))


# --- files ----------------------------------------------------------------------------------------------------


def _train_tokenizer(vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer as Qwen's: bytes, merges, then the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - UNUSED_IDS - len(SPECIAL), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return tokenizer


def config(shape: Shape, dtype: DType, ids: Mapping[str, int]) -> dict[str, Any]:
    """The ``config.json`` of a checkpoint whose special tokens have ``ids``."""
    third = shape.family == "qwen3_vl"
    text: dict[str, Any] = {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.mlp,
        "vocab_size": shape.vocab,
        "hidden_act": "silu",
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000000.0 if third else 1000000.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
    }
    if third:
        rope = {"mrope_interleaved": True, "mrope_section": [*shape.sections], "rope_type": "default"}
        text |= {"head_dim": shape.head_dim, "attention_bias": False, "rope_scaling": rope}
        text = {"text_config": {"model_type": f"{shape.family}_text", **text}}
    else:  # at the top, as the published ones have it
        text |= {"rope_scaling": {"type": "mrope", "mrope_section": [*shape.sections]}, "use_sliding_window": False}
    return {
        "architectures": [f"{CLASSES[shape.family]}ForConditionalGeneration"],
        "model_type": shape.family,
        "dtype": dtype,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": shape.tie_word_embeddings,
        **text,
        "vision_config": _vision_config(shape),
    }


def _vision_config(shape: Shape) -> dict[str, Any]:
    own: dict[Family, dict[str, Any]] = {
        "qwen2_vl": {
            "embed_dim": shape.vision_width,
            "hidden_size": shape.width,
            "mlp_ratio": shape.vision_mlp // shape.vision_width,
        },
        "qwen2_5_vl": {
            "hidden_size": shape.vision_width,
            "intermediate_size": shape.vision_mlp,
            "out_hidden_size": shape.width,
            "hidden_act": "silu",
            "window_size": shape.window,
            "fullatt_block_indexes": [*shape.full_blocks],
            "tokens_per_second": 2,
        },
        "qwen3_vl": {
            "model_type": "qwen3_vl",
            "hidden_size": shape.vision_width,
            "intermediate_size": shape.vision_mlp,
            "out_hidden_size": shape.width,
            "hidden_act": "gelu_pytorch_tanh",
            "num_position_embeddings": shape.table**2,
            "deepstack_visual_indexes": [*shape.deepstack],
        },
    }
    return {
        "depth": shape.vision_layers,
        "num_heads": shape.vision_heads,
        "in_chans": 3,
        "patch_size": shape.patch_size,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TIME,
        **own[shape.family],
    }


def _processing_files(shape: Shape) -> dict[str, dict[str, Any]]:
    processor, block = f"{CLASSES[shape.family]}Processor", (shape.patch_size * MERGE) ** 2
    least, most = (tokens * block for tokens in shape.tokens)
    third = shape.family == "qwen3_vl"
    size = {"size": {"shortest_edge": least, "longest_edge": most}} if third else {}
    return {
        "preprocessor_config.json": {
            "processor_class": processor,
            "image_processor_type": "Qwen2VLImageProcessorFast" if third else "Qwen2VLImageProcessor",
            **(size or {"min_pixels": least, "max_pixels": most}),
            "patch_size": shape.patch_size,
            "temporal_patch_size": TIME,
            "merge_size": MERGE,
            "image_mean": [0.5] * 3 if third else CLIP_MEAN,
            "image_std": [0.5] * 3 if third else CLIP_STD,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": processor,
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "additional_special_tokens": [*SPECIAL[1:]],
            "clean_up_tokenization_spaces": False,
            "model_max_length": shape.positions,
        },
    }


def make(out: Path, shape: Shape, seed: int = 0, dtype: DType = "float32", shards: int | None = None) -> Path:
    """Write a checkpoint of ``shape`` into the folder ``out`` and return ``out``.

    ``shards`` None writes one file per GB. The same arguments give the same bytes. Raises FileExistsError when ``out``
    exists and is not an empty folder, ValueError on an impossible number of shards.
    """
    return written(out, lambda whole: _write(whole, shape, seed, dtype, shards))


def _write(out: Path, shape: Shape, seed: int, dtype: DType, shards: int | None) -> None:
    tokenizer = _train_tokenizer(shape.vocab)
    tokenizer.save(str(out / "tokenizer.json"))
    for name, content in _processing_files(shape).items():
        write_json(out / name, content)
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    ids = {token: int(tokenizer.token_to_id(token)) for token in SPECIAL}
    write_json(out / "config.json", config(shape, dtype, ids))
    ends = {"bos_token_id": ids["<|endoftext|>"], "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]]}
    write_json(out / "generation_config.json", {**ends, "pad_token_id": ids["<|endoftext|>"], "do_sample": False})

    # Nothing that ends an answer or can't be decoded: every answer is as long as was asked for.
    unspoken = range(min(ids.values()), shape.vocab)
    write_weights(out, list(tensors(shape, [*unspoken])), dtype, seed, shards)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="tiny-qwen2.5", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(list(SAFETENSORS_DTYPE)), default="float32", show_default=True)
def main(out: Path, preset: str, seed: int, dtype: DType) -> None:
    """Write a Qwen-VL checkpoint with random weights into the folder OUT."""
    try:
        make(out, PRESETS[preset], seed, dtype)
    except (FileExistsError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
