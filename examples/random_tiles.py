"""Make a checkpoint whose pictures are split into tiles, with random weights: InternVL, Idefics3 or SmolVLM.

``python -m examples.random_tiles OUT --preset tiny-internvl`` writes a folder in the layout of the published
repositories, ``OpenGVLab/InternVL3-*-hf`` and ``HuggingFaceTB/SmolVLM*``, which the stock classes load. It says nothing
sensible. Weights are drawn as :mod:`examples.random_weights` says, and decoder and words are those of
:mod:`examples.random_llava`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import click

from examples.llava_files import MAX_POSITIONS, text_config
from examples.random_llava import Shape, decoder_tensors
from examples.random_weights import (
    ATTENTION_GAIN,
    SAFETENSORS_DTYPE,
    DType,
    TensorSpec,
    linear,
    norm,
    write_json,
    write_weights,
    written,
)
from examples.small_tokenizer import BOS_ID, EOS_ID, UNK_ID, train_tokenizer

Family = Literal["internvl", "idefics3", "smolvlm"]
START, END, CONTEXT, VIDEO = "<img>", "</img>", "<IMG_CONTEXT>", "<video>"
FAKE, WHOLE, SPOKEN = "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"
TURN, TURN_END = "<|im_start|>", "<|im_end|>"
_ROWS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4))
SPECIAL: Mapping[Family, tuple[str, ...]] = {
    "internvl": (START, END, CONTEXT, VIDEO, TURN, TURN_END),
    "idefics3": (FAKE, WHOLE, SPOKEN, TURN, *_ROWS),
    "smolvlm": (FAKE, WHOLE, SPOKEN, TURN, *_ROWS),
}
"""Tokens beside those of a LLaVA; ``<image>`` is one of these."""
INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% elif content['type'] == 'video' %}{{ '<video>\\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{'<|im_end|>\\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{% endif %}"
)
IDEFICS3_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True)
class Tiled:
    """A checkpoint of ``family`` with the tower and decoder sizes of ``shape``, ``merge`` by ``merge`` patches a token.

    ``tiles`` are the most of a picture by ratio, or those of its longest edge. ``large``: InternVL's tower has RMSNorms
    and norms of queries and keys, as the largest has. ``spare`` are the pixels of a tile beyond its whole patches.
    """

    family: Family
    shape: Shape
    merge: int = 2
    tiles: int = 6
    large: bool = False
    spare: int = 0

    @property
    def side(self) -> int:
        """Pixels of a side of a tile."""
        return self.shape.image_size + self.spare

    @property
    def tokens(self) -> int:
        """Visual tokens of a tile."""
        return self.shape.tokens // self.merge**2


_SHAPE = Shape(
    vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
    layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=560,
)  # fmt: skip
PRESETS: Mapping[str, Tiled] = {
    "tiny-internvl": Tiled("internvl", replace(_SHAPE, decoder="qwen2")),
    "tiny-internvl-llama": Tiled("internvl", _SHAPE),
    "tiny-internvl-qwen3": Tiled("internvl", replace(_SHAPE, decoder="qwen3", head_dim=10), large=True),
    "tiny-idefics3": Tiled("idefics3", _SHAPE, tiles=3),
    "tiny-smolvlm": Tiled("smolvlm", replace(_SHAPE, image_size=84), merge=3, tiles=2, spare=4),
}


def tensors(model: Tiled, unspoken: tuple[int, ...] = ()) -> Iterator[TensorSpec]:
    """Every tensor of the checkpoint, under the names that the published ones use; see
    :func:`examples.random_llava.tensors`."""
    shape, merged = model.shape, model.shape.vision_width * model.merge**2
    if model.family == "internvl":
        yield from _internvl_tower(model)
        yield from norm("multi_modal_projector.layer_norm", merged, bias=True)
        yield from linear("multi_modal_projector.linear_1", shape.width, merged, 1.5, bias=True)
        yield from linear("multi_modal_projector.linear_2", shape.width, shape.width, 1.5, bias=True)
        yield from decoder_tensors(shape, unspoken)
        return
    yield from _idefics3_tower(model)
    yield from linear("model.connector.modality_projection.proj", shape.width, merged, 1.5)
    for each in decoder_tensors(shape, unspoken):
        name = each.name.removeprefix("language_model.").replace("model.", "model.text_model.", 1)
        yield replace(each, name=name)


def _patches(name: str, shape: Shape) -> Iterator[TensorSpec]:
    patch = (3, shape.patch_size, shape.patch_size)
    yield TensorSpec(f"{name}.weight", (shape.vision_width, *patch), 1.0 / math.sqrt(math.prod(patch)))
    yield TensorSpec(f"{name}.bias", (shape.vision_width,), 0.1)


def _internvl_tower(model: Tiled) -> Iterator[TensorSpec]:
    tower, shape, width = "vision_tower", model.shape, model.shape.vision_width
    yield TensorSpec(f"{tower}.embeddings.cls_token", (1, 1, width), 1.0)
    yield TensorSpec(f"{tower}.embeddings.position_embeddings", (1, 1 + shape.tokens, width), 0.5)
    yield from _patches(f"{tower}.embeddings.patch_embeddings.projection", shape)
    for index in range(shape.vision_layers):
        block = f"{tower}.encoder.layer.{index}"
        for part, gain in (("q_proj", ATTENTION_GAIN), ("k_proj", ATTENTION_GAIN), ("v_proj", 1.0)):
            yield from linear(f"{block}.attention.{part}", width, width, gain, bias=not model.large)
        for part in ("q_norm", "k_norm") if model.large else ():
            yield from norm(f"{block}.attention.{part}", width)
        yield from linear(f"{block}.attention.projection_layer", width, width, bias=True)
        yield from linear(f"{block}.mlp.fc1", shape.vision_mlp, width, bias=True)
        yield from linear(f"{block}.mlp.fc2", width, shape.vision_mlp, bias=True)
        for part in ("layernorm_before", "layernorm_after"):
            yield from norm(f"{block}.{part}", width, bias=not model.large)
        for part in ("lambda_1", "lambda_2"):
            yield TensorSpec(f"{block}.{part}", (width,), 0.1, mean=1.0)


def _idefics3_tower(model: Tiled) -> Iterator[TensorSpec]:
    tower, shape, width = "model.vision_model", model.shape, model.shape.vision_width
    yield from _patches(f"{tower}.embeddings.patch_embedding", shape)
    yield TensorSpec(f"{tower}.embeddings.position_embedding.weight", (shape.tokens, width), 0.5)
    for index in range(shape.vision_layers):
        block = f"{tower}.encoder.layers.{index}"
        for part, gain in (("q_proj", ATTENTION_GAIN), ("k_proj", ATTENTION_GAIN), ("v_proj", 1.0), ("out_proj", 1.0)):
            yield from linear(f"{block}.self_attn.{part}", width, width, gain, bias=True)
        for part in ("layer_norm1", "layer_norm2"):
            yield from norm(f"{block}.{part}", width, bias=True)
        yield from linear(f"{block}.mlp.fc1", shape.vision_mlp, width, bias=True)
        yield from linear(f"{block}.mlp.fc2", width, shape.vision_mlp, bias=True)
    yield from norm(f"{tower}.post_layernorm", width, bias=True)


# --- configuration files ------------------------------------------------------------------------------------

_CLASSES: Mapping[Family, tuple[str, str, str]] = {
    "internvl": ("InternVLForConditionalGeneration", "InternVLProcessor", "GotOcr2ImageProcessor"),
    "idefics3": ("Idefics3ForConditionalGeneration", "Idefics3Processor", "Idefics3ImageProcessor"),
    "smolvlm": ("SmolVLMForConditionalGeneration", "SmolVLMProcessor", "SmolVLMImageProcessor"),
}


def _config(model: Tiled, dtype: DType, image_token_id: int, pad_token_id: int) -> dict[str, object]:
    shape = model.shape
    vision: dict[str, object] = {
        "model_type": f"{model.family}_vision",
        "hidden_size": shape.vision_width,
        "image_size": model.side,
        "intermediate_size": shape.vision_mlp,
        "num_attention_heads": shape.vision_heads,
        "num_hidden_layers": shape.vision_layers,
        "patch_size": shape.patch_size,
    }
    own: dict[str, object] = {"scale_factor": model.merge}
    if model.family == "internvl":
        own = {"downsample_ratio": 1 / model.merge, "image_seq_length": model.tokens, "vision_feature_layer": -1}
        vision |= {
            "attention_bias": not model.large,
            "norm_type": "rms_norm" if model.large else "layer_norm",
            "use_qk_norm": model.large,
            "image_size": [model.side] * 2,
            "patch_size": [shape.patch_size] * 2,
        }
    return {
        "architectures": [_CLASSES[model.family][0]],
        "model_type": model.family,
        "dtype": dtype,
        "image_token_id": image_token_id,
        "pad_token_id": pad_token_id,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "text_config": {**text_config(shape), "pad_token_id": pad_token_id},
        "vision_config": vision,
        **own,
    }


def _files(model: Tiled) -> dict[str, dict[str, object]]:
    _, processor, pictures = _CLASSES[model.family]
    side = model.side
    settings: dict[str, object] = {
        "size": {"longest_edge": model.tiles * side},
        "max_image_size": {"longest_edge": side},
        "do_image_splitting": True,
        "do_pad": True,
        "resample": 1,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    counted, named = {"image_seq_len": model.tokens}, dict[str, str]()
    if model.family == "internvl":
        settings = {
            "size": {"height": side, "width": side},
            "crop_to_patches": False,  # as published: the processor around it has it done
            "min_patches": 1,
            "max_patches": model.tiles,
            "resample": 3,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        }
        counted = {"image_seq_length": model.tokens}
        named = {
            "start_image_token": START, "end_image_token": END, "context_image_token": CONTEXT, "video_token": VIDEO,
        }  # fmt: skip
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return {
        "preprocessor_config.json": {
            "image_processor_type": pictures,
            "processor_class": processor,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "rescale_factor": 1 / 255,
            **settings,
        },
        "processor_config.json": {"processor_class": processor, **counted},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": processor,
            **special,
            "extra_special_tokens": named,
            "clean_up_tokenization_spaces": False,
            "model_max_length": MAX_POSITIONS,
            "padding_side": "left",
        },
        "special_tokens_map.json": {**special, **named},
    }


def make(out: Path, model: Tiled, seed: int = 0, dtype: DType = "float32") -> Path:
    """Write a checkpoint of ``model`` into the folder ``out`` and return ``out``. See
    :func:`examples.random_llava.make`."""
    return written(out, partial(_write, model=model, seed=seed, dtype=dtype))


def _write(out: Path, model: Tiled, seed: int, dtype: DType) -> None:
    special = SPECIAL[model.family]
    tokenizer = train_tokenizer(model.shape.vocab - len(special))
    first = tokenizer.get_vocab_size(with_added_tokens=False)
    tokenizer.add_special_tokens(list(special))
    image = CONTEXT if model.family == "internvl" else "<image>"
    image_id, pad_id = tokenizer.token_to_id(image), tokenizer.token_to_id("<pad>")
    tokenizer.save(str(out / "tokenizer.json"))
    for name, content in _files(model).items():
        write_json(out / name, content)
    template = INTERNVL_TEMPLATE if model.family == "internvl" else IDEFICS3_TEMPLATE
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")
    write_json(out / "config.json", _config(model, dtype, image_id, pad_id))
    ids = {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": pad_id}
    write_json(out / "generation_config.json", {"_from_model_config": True, **ids})
    unspoken = (UNK_ID, EOS_ID, *range(first, model.shape.vocab))
    write_weights(out, list(tensors(model, unspoken)), dtype, seed, None)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="tiny-internvl", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(list(SAFETENSORS_DTYPE)), default="float32", show_default=True)
def main(out: Path, preset: str, seed: int, dtype: DType) -> None:
    """Write a checkpoint with random weights into the folder OUT."""
    try:
        make(out, PRESETS[preset], seed, dtype)
    except FileExistsError as error:
        raise click.UsageError(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
