"""Make a LLaVA checkpoint with random weights, in the Hugging Face layout of ``llava-hf/llava-1.5-*``.

``python -m examples.random_llava OUT --preset small`` writes a folder that the stock
``LlavaForConditionalGeneration``, ``AutoProcessor`` and ``AutoTokenizer`` load. It says nothing sensible, but
has every part of a real checkpoint, at a size of your choice, so that exporting, parity tests and benchmarks
need no download.

Weights are drawn as :mod:`examples.random_weights` says. Needs numpy and tokenizers, neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from examples.llava_files import CHAT_TEMPLATE, VIDEO_TEMPLATE, config, processing_files
from examples.llava_shapes import PRESETS, Shape
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
from examples.small_tokenizer import BOS_ID, EOS_ID, IMAGE_TOKEN, PAD_TOKEN, UNK_ID, VIDEO_TOKEN, train_tokenizer

__all__ = ["PRESETS", "Shape", "decoder_tensors", "make", "tensors"]


def _vision_tensors(shape: Shape, tower: str) -> Iterator[TensorSpec]:
    width = shape.vision_width
    if shape.has_cls:
        yield TensorSpec(f"{tower}.embeddings.class_embedding", (width,), 1.0)
    patch = (3, shape.patch_size, shape.patch_size)
    patch_std = 1.0 / math.sqrt(math.prod(patch))
    yield TensorSpec(f"{tower}.embeddings.patch_embedding.weight", (width, *patch), patch_std)
    if shape.tower == "siglip":
        yield TensorSpec(f"{tower}.embeddings.patch_embedding.bias", (width,), 0.1)
    yield TensorSpec(f"{tower}.embeddings.position_embedding.weight", (shape.tokens + shape.has_cls, width), 0.5)
    if shape.tower == "clip":
        yield from norm(f"{tower}.pre_layrnorm", width, bias=True)  # the misspelling is CLIP's
    for index in range(shape.vision_layers):
        block = f"{tower}.encoder.layers.{index}"
        yield from norm(f"{block}.layer_norm1", width, bias=True)
        yield from linear(f"{block}.self_attn.q_proj", width, width, ATTENTION_GAIN, bias=True)
        yield from linear(f"{block}.self_attn.k_proj", width, width, ATTENTION_GAIN, bias=True)
        yield from linear(f"{block}.self_attn.v_proj", width, width, bias=True)
        yield from linear(f"{block}.self_attn.out_proj", width, width, bias=True)
        yield from norm(f"{block}.layer_norm2", width, bias=True)
        yield from linear(f"{block}.mlp.fc1", shape.vision_mlp, width, bias=True)
        yield from linear(f"{block}.mlp.fc2", width, shape.vision_mlp, bias=True)
    yield from norm(f"{tower}.post_layernorm", width, bias=True)


def decoder_tensors(shape: Shape, unspoken: tuple[int, ...]) -> Iterator[TensorSpec]:
    """Those of the decoder and its output head, whose rows of ``unspoken`` token ids are zero."""
    width = shape.width
    query, key = shape.heads * shape.resolved_head_dim, shape.kv_heads * shape.resolved_head_dim
    tied = shape.tie_word_embeddings
    yield TensorSpec(
        "language_model.model.embed_tokens.weight",
        (shape.vocab, width),
        TIED_EMBEDDING_STD if tied else EMBEDDING_STD,
        zero_rows=unspoken if tied else (),
    )
    for index in range(shape.layers):
        layer = f"language_model.model.layers.{index}"
        yield from norm(f"{layer}.input_layernorm", width)
        biased = shape.decoder == "qwen2"
        yield from linear(f"{layer}.self_attn.q_proj", query, width, ATTENTION_GAIN, bias=biased)
        yield from linear(f"{layer}.self_attn.k_proj", key, width, ATTENTION_GAIN, bias=biased)
        yield from linear(f"{layer}.self_attn.v_proj", key, width, bias=biased)
        if shape.decoder == "qwen3":
            yield from norm(f"{layer}.self_attn.q_norm", shape.resolved_head_dim)
            yield from norm(f"{layer}.self_attn.k_norm", shape.resolved_head_dim)
        yield from linear(f"{layer}.self_attn.o_proj", width, query)
        yield from norm(f"{layer}.post_attention_layernorm", width)
        yield from linear(f"{layer}.mlp.gate_proj", shape.mlp, width)
        yield from linear(f"{layer}.mlp.up_proj", shape.mlp, width)
        yield from linear(f"{layer}.mlp.down_proj", width, shape.mlp)
    yield from norm("language_model.model.norm", width)
    if not tied:
        std = LOGIT_GAIN / math.sqrt(width)
        yield TensorSpec("language_model.lm_head.weight", (shape.vocab, width), std, zero_rows=unspoken)


def tensors(shape: Shape, unspoken: Sequence[int] = ()) -> Iterator[TensorSpec]:
    """Every tensor of the checkpoint, under the names that the published LLaVA-1.5 checkpoints use.

    The rows of ``unspoken`` token ids are zero in the output head: greedy decoding never says them.
    """
    for tower in ("image_tower", "video_tower") if shape.film == "twin" else ("vision_tower",):
        yield from _vision_tensors(shape, f"{tower}.vision_model")
    yield from linear("multi_modal_projector.linear_1", shape.width, shape.vision_width, 1.5, bias=True)
    yield from linear("multi_modal_projector.linear_2", shape.width, shape.width, 1.5, bias=True)
    if shape.pinpoints is not None:
        yield TensorSpec("image_newline", (shape.width,), 1.0)
    yield from decoder_tensors(shape, tuple(unspoken))


def make(out: Path, shape: Shape, seed: int = 0, dtype: DType = "float32", shards: int | None = None) -> Path:
    """Write a checkpoint of ``shape`` into the folder ``out`` and return ``out``.

    ``shards`` None writes one file per GB. The same arguments give the same bytes. The folder is written beside
    ``out`` and renamed at the end, so that an interrupted run leaves nothing there. Raises FileExistsError when
    ``out`` exists and is not an empty folder, ValueError on an impossible number of shards.
    """
    return written(out, lambda whole: _write(whole, shape, seed, dtype, shards))


def _write(out: Path, shape: Shape, seed: int, dtype: DType, shards: int | None) -> None:
    film = () if shape.film is None else (VIDEO_TOKEN,)
    tokenizer = train_tokenizer(shape.vocab, (IMAGE_TOKEN, PAD_TOKEN, *film))
    image_token_id = tokenizer.get_vocab_size(with_added_tokens=False)
    pad_token_id = image_token_id + 1
    tokenizer.save(str(out / "tokenizer.json"))
    for name, content in processing_files(shape).items():
        write_json(out / name, content)
    (out / "chat_template.jinja").write_text(VIDEO_TEMPLATE if film else CHAT_TEMPLATE, encoding="utf-8")
    write_json(out / "config.json", config(shape, dtype, image_token_id, pad_token_id))
    token_ids = {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": pad_token_id}
    write_json(out / "generation_config.json", {"_from_model_config": True, **token_ids})

    # Nothing that ends an answer or can't be decoded: every answer is as long as was asked for.
    unspoken = (UNK_ID, EOS_ID, *range(image_token_id, shape.vocab))
    write_weights(out, list(tensors(shape, unspoken)), dtype, seed, shards)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="small", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(list(SAFETENSORS_DTYPE)), default="float32", show_default=True)
@click.option("--shards", type=click.IntRange(min=1), help="Number of weight files [default: 1 per GB]")
def main(out: Path, preset: str, seed: int, dtype: DType, shards: int | None) -> None:
    """Write a LLaVA checkpoint with random weights into the folder OUT."""
    try:
        make(out, PRESETS[preset], seed, dtype, shards)
    except (FileExistsError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
