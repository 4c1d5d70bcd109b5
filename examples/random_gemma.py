"""Make a PaliGemma or Gemma 3 checkpoint with random weights, in the layout of the published ones.

``python examples/random_gemma.py OUT --preset tiny-gemma3`` writes a folder that transformers' own model and processor
load. It says nothing sensible, but has every part of a real checkpoint at a small size. Windows and caps are so narrow
that they matter to each answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import click

from examples.llava_files import MAX_POSITIONS
from examples.random_weights import (
    ATTENTION_GAIN,
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
from examples.small_tokenizer import BOS_ID, EOS_ID, UNK_ID, train_tokenizer

Generation = Literal["gemma", "gemma2", "gemma3_text"]
LEARNED = 512
"""Ids that are learned from text; those of special tokens come after."""
PLACES = (*(f"<loc{place:04}>" for place in range(1024)), *(f"<seg{part:03}>" for part in range(128)))


@dataclass(frozen=True)
class Shape:
    """All sizes. ``pool``: patches a side that become a visual token. ``beyond``: the image's token has an id that the
    embedding lacks."""

    decoder: Generation
    layers: int = 4
    vision_layers: int = 3
    vision_width: int = 32
    image_size: int = 70
    patch_size: int = 14
    pool: int = 1
    width: int = 48
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    mlp: int = 96
    window: int = 8
    beyond: bool = False

    @property
    def tokens(self) -> int:
        """Visual tokens of every image."""
        return (self.image_size // self.patch_size // self.pool) ** 2

    @property
    def special(self) -> tuple[str, ...]:
        """Tokens beside those that are learned, the image's last."""
        if self.decoder == "gemma3_text":
            turns = ("<start_of_turn>", "<end_of_turn>")
            return ("<pad>", *turns, "<start_of_image>", "<end_of_image>", "<image_soft_token>")
        return ("<pad>", *PLACES, "<image>")


PRESETS: Mapping[str, Shape] = {
    "tiny-paligemma": Shape("gemma"),
    "tiny-paligemma2": Shape("gemma2"),
    "tiny-gemma3": Shape("gemma3_text", layers=6, image_size=112, pool=2),
}


def _tower(shape: Shape) -> Iterator[TensorSpec]:
    tower, width, mlp = "vision_tower.vision_model", shape.vision_width, 2 * shape.vision_width
    patch = (3, shape.patch_size, shape.patch_size)
    yield TensorSpec(f"{tower}.embeddings.patch_embedding.weight", (width, *patch), 1 / math.sqrt(math.prod(patch)))
    yield TensorSpec(f"{tower}.embeddings.patch_embedding.bias", (width,), 0.1)
    rows = (shape.image_size // shape.patch_size) ** 2
    yield TensorSpec(f"{tower}.embeddings.position_embedding.weight", (rows, width), 0.5)
    for index in range(shape.vision_layers):
        block = f"{tower}.encoder.layers.{index}"
        yield from norm(f"{block}.layer_norm1", width, bias=True)
        yield from linear(f"{block}.self_attn.q_proj", width, width, ATTENTION_GAIN, bias=True)
        yield from linear(f"{block}.self_attn.k_proj", width, width, ATTENTION_GAIN, bias=True)
        yield from linear(f"{block}.self_attn.v_proj", width, width, bias=True)
        yield from linear(f"{block}.self_attn.out_proj", width, width, bias=True)
        yield from norm(f"{block}.layer_norm2", width, bias=True)
        yield from linear(f"{block}.mlp.fc1", mlp, width, bias=True)
        yield from linear(f"{block}.mlp.fc2", width, mlp, bias=True)
    yield from norm(f"{tower}.post_layernorm", width, bias=True)


def _projector(shape: Shape) -> Iterator[TensorSpec]:
    if shape.pool == 1:
        yield from linear("multi_modal_projector.linear", shape.width, shape.vision_width, 1.5, bias=True)
        return
    matrix = (shape.vision_width, shape.width)
    yield TensorSpec("multi_modal_projector.mm_input_projection_weight", matrix, 1.5 / math.sqrt(shape.vision_width))
    yield _offset("multi_modal_projector.mm_soft_emb_norm", shape.vision_width)


def _offset(name: str, width: int) -> TensorSpec:
    """An RMSNorm that multiplies by 1 more than what is stored."""
    return TensorSpec(f"{name}.weight", (width,), 0.2)


def _decoder(shape: Shape, vocabulary: int, unspoken: tuple[int, ...]) -> Iterator[TensorSpec]:
    width, query, key = shape.width, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    base, table = "language_model.model", (vocabulary, width)
    std = TIED_EMBEDDING_STD / math.sqrt(width)  # what is embedded is multiplied by that root
    yield TensorSpec(f"{base}.embed_tokens.weight", table, std, zero_rows=unspoken)
    for index in range(shape.layers):
        layer = f"{base}.layers.{index}"
        names = ["input_layernorm", "post_attention_layernorm"]
        names += [] if shape.decoder == "gemma" else ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for name in names:
            yield _offset(f"{layer}.{name}", width)
        yield from linear(f"{layer}.self_attn.q_proj", query, width, ATTENTION_GAIN)
        yield from linear(f"{layer}.self_attn.k_proj", key, width, ATTENTION_GAIN)
        yield from linear(f"{layer}.self_attn.v_proj", key, width)
        if shape.decoder == "gemma3_text":
            yield _offset(f"{layer}.self_attn.q_norm", shape.head_dim)
            yield _offset(f"{layer}.self_attn.k_norm", shape.head_dim)
        yield from linear(f"{layer}.self_attn.o_proj", width, query, 2.0)
        yield from linear(f"{layer}.mlp.gate_proj", shape.mlp, width)
        yield from linear(f"{layer}.mlp.up_proj", shape.mlp, width)
        yield from linear(f"{layer}.mlp.down_proj", width, shape.mlp, 2.0)
    yield _offset(f"{base}.norm", width)


# Gemma 3's own, for turns of a user and of the model.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<start_of_turn>' + message['role'] + '\\n' }}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}"
    "{% endfor %}"
    "{{ '<end_of_turn>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


def _text_config(shape: Shape, vocabulary: int) -> dict[str, object]:
    own: dict[Generation, dict[str, object]] = {
        "gemma": {"hidden_act": "gelu_pytorch_tanh"},
        "gemma2": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 0.5, "query_pre_attn_scalar": 24},
        "gemma3_text": {
            "query_pre_attn_scalar": 24,
            "sliding_window_pattern": 3,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        },
    }
    slides: dict[str, object] = {} if shape.decoder == "gemma" else {"sliding_window": shape.window}
    return {
        "model_type": shape.decoder,
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": vocabulary,
        "max_position_embeddings": MAX_POSITIONS,
        **slides,
        **own[shape.decoder],
    }


def _config(shape: Shape, dtype: DType, ids: Mapping[str, int], vocabulary: int) -> dict[str, object]:
    own: dict[str, object] = {
        "model_type": "paligemma",
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "projection_dim": shape.width,
        "hidden_size": shape.width,
    }
    if shape.decoder == "gemma3_text":
        own = {
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            "mm_tokens_per_image": shape.tokens,
            "boi_token_index": ids["<start_of_image>"],
            "eoi_token_index": ids["<end_of_image>"],
        }
    return {
        **own,
        "dtype": dtype,
        "image_token_index": ids[shape.special[-1]],
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": ids["<pad>"],
        "text_config": _text_config(shape, vocabulary),
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": shape.vision_width,
            "intermediate_size": 2 * shape.vision_width,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": 4,
            "image_size": shape.image_size,
            "patch_size": shape.patch_size,
            "vision_use_head": False,
        },
    }


def _processing(shape: Shape) -> dict[str, dict[str, object]]:
    is_third = shape.decoder == "gemma3_text"
    processor = "Gemma3Processor" if is_third else "PaliGemmaProcessor"
    own: dict[str, object] = {"image_processor_type": "SiglipImageProcessor", "image_seq_length": shape.tokens}
    named = {"image_token": shape.special[-1]}
    if is_third:
        own = {
            "image_processor_type": "Gemma3ImageProcessor",
            "do_pan_and_scan": None,
            "image_seq_length": shape.tokens,
        }
        named |= {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    common = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return {
        "preprocessor_config.json": {
            **own,
            "processor_class": processor,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "resample": 2 if is_third else 3,
            "rescale_factor": 1 / 255,
            "size": {"height": shape.image_size, "width": shape.image_size},
        },
        "processor_config.json": {
            "processor_class": processor,
            **({"image_seq_length": shape.tokens} if is_third else {}),
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": processor,
            **common,
            "extra_special_tokens": named,
            "clean_up_tokenization_spaces": False,
            "model_max_length": MAX_POSITIONS,
            "padding_side": "left",
        },
        "special_tokens_map.json": {**common, **named},
    }


def make(out: Path, shape: Shape, seed: int = 0, dtype: DType = "float32") -> Path:
    """Write a checkpoint of ``shape`` into the folder ``out`` and return ``out``.

    The same arguments give the same bytes. Raises FileExistsError when ``out`` exists and is not an empty folder.
    """
    return written(out, lambda whole: _write(whole, shape, seed, dtype))


def _write(out: Path, shape: Shape, seed: int, dtype: DType) -> None:
    tokenizer = train_tokenizer(LEARNED, shape.special)
    ids = {token: tokenizer.token_to_id(token) for token in shape.special}
    vocabulary = ids[shape.special[-1]] + (0 if shape.beyond else 9)
    tokenizer.save(str(out / "tokenizer.json"))
    for name, content in _processing(shape).items():
        write_json(out / name, content)
    stops: object = EOS_ID
    if shape.decoder == "gemma3_text":
        (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
        stops = [EOS_ID, ids["<end_of_turn>"]]
    write_json(out / "config.json", _config(shape, dtype, ids, vocabulary))
    token_ids = {"bos_token_id": BOS_ID, "eos_token_id": stops, "pad_token_id": ids["<pad>"]}
    write_json(out / "generation_config.json", token_ids)
    # nothing that ends an answer or can't be decoded, so that every answer is as long as was asked for
    unspoken = (UNK_ID, EOS_ID, *range(min(ids.values()), vocabulary))
    specs = [*_tower(shape), *_projector(shape), *_decoder(shape, vocabulary, unspoken)]
    write_weights(out, specs, dtype, seed, None)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="tiny-gemma3", show_default=True)
@click.option("--beyond", is_flag=True, help="Give the image's token an id that the embedding lacks.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(list(SAFETENSORS_DTYPE)), default="float32", show_default=True)
def main(out: Path, preset: str, beyond: bool, seed: int, dtype: DType) -> None:
    """Write a Gemma checkpoint with random weights into the folder OUT."""
    try:
        make(out, replace(PRESETS[preset], beyond=beyond), seed, dtype)
    except FileExistsError as error:
        raise click.UsageError(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
