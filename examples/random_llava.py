"""Make a LLaVA checkpoint with random weights, in the Hugging Face layout of ``llava-hf/llava-1.5-*``.

``python -m examples.random_llava OUT --preset small`` writes a folder that the stock
``LlavaForConditionalGeneration``, ``AutoProcessor`` and ``AutoTokenizer`` load. It says nothing sensible, but
has every part of a real checkpoint, at a size of your choice, so that exporting, parity tests and benchmarks
need no download.

Weights are drawn as :mod:`examples.random_weights` says. Needs numpy and tokenizers, neither torch nor transformers.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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

Tower = Literal["clip", "siglip"]
Decoder = Literal["llama", "mistral", "qwen2", "qwen3"]
Film = Literal["pooled", "twin", "mixed"]

FILMS: Mapping[Film, tuple[str, str]] = {
    "pooled": ("LlavaNextVideo", "llava_next_video"),
    "twin": ("VideoLlava", "video_llava"),
    "mixed": ("LlavaOnevision", "llava_onevision"),
}
"""What transformers calls each, and its ``model_type``."""
MAX_POSITIONS = 4096
UNK_ID, BOS_ID, EOS_ID = 0, 1, 2
IMAGE_TOKEN, PAD_TOKEN, VIDEO_TOKEN = "<image>", "<pad>", "<video>"
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
UNUSED_IDS = 8  # at least so many ids belong to no token, as in LLaVA-1.5 (32002 of 32064 are used)
MIN_VOCAB = 320  # 3 special tokens, 256 bytes, <image>, <pad>, the unused ids, and a few characters


@dataclass(frozen=True)
class Shape:
    """Dimensions of a checkpoint: a vision tower, a two-layer projector and a decoder, of LLaVA-1.5's kinds or others.

    ``head_dim`` None means ``width // heads``. ``vision_feature_layer`` counts hidden states as Hugging Face
    does (-2: the output of the last but one block). ``pinpoints``, heights and widths of canvases, make a LLaVA-NeXT,
    and with a ``limit``, of how many tiles' cells a picture has tokens, a LLaVA-OneVision.
    ``film`` makes models of clips too: "pooled" of that a LLaVA-NeXT-Video, "twin" a Video-LLaVA of two towers, and
    "mixed" goes with a limit.
    Raises ValueError on dimensions that do not fit together.
    """

    vision_layers: int
    vision_width: int
    vision_heads: int
    vision_mlp: int
    image_size: int
    patch_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp: int
    vocab: int
    head_dim: int | None = None
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    vision_feature_layer: int = -2
    tower: Tower = "clip"
    decoder: Decoder = "llama"
    pinpoints: tuple[tuple[int, int], ...] | None = None
    limit: int | None = None
    film: Film | None = None

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size and self.tower != "siglip":  # of 384 pixels the published one sees 378
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.vision_width % self.vision_heads:
            raise ValueError(f"vision_width {self.vision_width} is no multiple of {self.vision_heads} heads")
        if self.width % self.heads:  # transformers insists, even when head_dim says otherwise
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        if self.resolved_head_dim % 2:
            raise ValueError(f"head_dim {self.resolved_head_dim} is odd, rotary embedding needs an even one")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads can't share {self.kv_heads} kv_heads")
        if self.vocab < MIN_VOCAB:
            raise ValueError(f"vocab {self.vocab} can't hold the tokenizer, expected {MIN_VOCAB} or more")

    @property
    def resolved_head_dim(self) -> int:
        """Width of one decoder head."""
        return self.head_dim if self.head_dim is not None else self.width // self.heads

    @property
    def tokens(self) -> int:
        """Visual tokens per image."""
        return int((self.image_size // self.patch_size) ** 2)

    @property
    def has_cls(self) -> bool:
        """Whether a [CLS] token stands before the patches; the model drops it."""
        return self.tower == "clip"


PRESETS: Mapping[str, Shape] = {
    "tiny": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512,
    ),
    "tiny-siglip-qwen2": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512, vision_feature_layer=-1, tower="siglip",
        decoder="qwen2",
    ),
    "tiny-mistral": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512, head_dim=10, decoder="mistral",
    ),
    "tiny-next": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512,
        pinpoints=((56, 112), (112, 56), (112, 112), (168, 56), (56, 168)),
    ),
    "tiny-onevision": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=72, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512, vision_feature_layer=-1, tower="siglip",
        decoder="qwen2", limit=2, film="mixed",
        pinpoints=((72, 72), (72, 144), (144, 72), (144, 144), (216, 72), (72, 216), (216, 144)),
    ),
    "tiny-next-video": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512, film="pooled",
        pinpoints=((56, 112), (112, 56), (112, 112), (168, 56), (56, 168)),
    ),
    "tiny-video": Shape(
        vision_layers=4, vision_width=32, vision_heads=4, vision_mlp=64, image_size=56, patch_size=14,
        layers=4, width=48, heads=6, kv_heads=2, mlp=96, vocab=512, film="twin",
    ),
    "small": Shape(
        vision_layers=6, vision_width=64, vision_heads=4, vision_mlp=128, image_size=112, patch_size=14,
        layers=6, width=96, heads=6, kv_heads=3, mlp=192, vocab=640,
    ),
    "demo": Shape(  # as many visual tokens as LLaVA-1.5, so that its picture looks like one
        vision_layers=6, vision_width=192, vision_heads=6, vision_mlp=384, image_size=336, patch_size=14,
        layers=12, width=192, heads=6, kv_heads=3, mlp=384, vocab=640,
    ),
    "tinyllama-1.1b": Shape(  # CLIP-L/14-336 of LLaVA-1.5 in front of TinyLlama-1.1B
        vision_layers=24, vision_width=1024, vision_heads=16, vision_mlp=4096, image_size=336, patch_size=14,
        layers=22, width=2048, heads=32, kv_heads=4, mlp=5632, vocab=32064,
    ),
    "llava-1.5-7b": Shape(
        vision_layers=24, vision_width=1024, vision_heads=16, vision_mlp=4096, image_size=336, patch_size=14,
        layers=32, width=4096, heads=32, kv_heads=32, mlp=11008, vocab=32064,
    ),
    "llava-next-13b": Shape(  # Vicuna's, of LLaVA-1.6
        vision_layers=24, vision_width=1024, vision_heads=16, vision_mlp=4096, image_size=336, patch_size=14,
        layers=40, width=5120, heads=40, kv_heads=40, mlp=13824, vocab=32064,
        pinpoints=((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)),
    ),
}  # fmt: skip


# --- weights ------------------------------------------------------------------------------------------------


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


# --- tokenizer ----------------------------------------------------------------------------------------------

CORPUS = (
    "A visual token is one patch of the image, projected into the space where the language model reads.",
    "What is in the picture? Describe the image in detail. How many people are there, what are they doing?",
    "The red car is on the left side of the street, behind the white bus, in front of a green house.",
    "Is there any text on the sign? Read the number on the door. What colour is the dog, and which breed?",
    "Two children are playing with a ball under the trees, an old man sits on the bench and reads the news.",
    "Answer the question using a single word or phrase. Yes. No. The person in the middle holds an umbrella.",
    "Pruning keeps the tokens that matter for the question, and completes them with ones that are not alike.",
    "USER: Where was this photo taken? ASSISTANT: It shows a kitchen with a table, three chairs and a clock.",
    "图中有什么。请详细描述这张图片。左边的红色汽车在白色公共汽车的后面。图片中有几个人、他们在做什么。",
    "这只狗是什么品种。它是什么颜色的。路牌上写着什么字。请用一个词回答问题。中间的人拿着一把雨伞。",
    "视觉标记是图像的一个小块、语言模型在这里读取它。问题需要的标记会被保留、其余的会被删除。",
)


def train_tokenizer(vocab: int, added: Sequence[str] = (IMAGE_TOKEN, PAD_TOKEN)) -> Tokenizer:
    """A byte-fallback BPE tokenizer in Llama's order: specials, bytes, characters, merges, and those that are
    ``added``; of a vocabulary of 10 more than the merges leave."""
    prefix = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    room = vocab - UNUSED_IDS - 2
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=True)
    # The trainer's own limit_alphabet picks among equally frequent characters by hash order, anew in every run.
    frequency = Counter(character for line in CORPUS for character in line if character != " ")
    ranked = sorted(frequency, key=lambda character: (-frequency[character], character))
    rare = dict.fromkeys(map(ord, ranked[(room - len(prefix)) // 2 :]), " ")
    trainer = trainers.BpeTrainer(vocab_size=room, special_tokens=prefix, show_progress=False)
    learner.train_from_iterator([line.translate(rare) for line in CORPUS], trainer)
    learned = json.loads(learner.to_str())["model"]

    # Rebuilt, because training makes the bytes special: they would match "<0x41>" in a prompt, never decode.
    tokenizer = Tokenizer(
        models.BPE(
            vocab=learned["vocab"],
            merges=[(left, right) for left, right in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", BOS_ID)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", *added])
    return tokenizer


# --- configuration files ------------------------------------------------------------------------------------

# LLaVA-1.5's own, without the `generation` tag that only training needs.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}"
    "{# Render all text next #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_IMAGES = (
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
)
VIDEO_TEMPLATE = CHAT_TEMPLATE.replace(_IMAGES, _IMAGES + _IMAGES.replace("image", "video"))


def _config(shape: Shape, dtype: DType, image_token_id: int, pad_token_id: int) -> dict[str, object]:
    kind: dict[str, object] = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
    if shape.pinpoints is not None:
        kind = {"architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next"}
        kind["image_grid_pinpoints"] = [list(each) for each in shape.pinpoints]
    if shape.limit is not None:
        kind["vision_aspect_ratio"] = _aspect(shape.limit)
    if shape.film is not None:
        name, model_type = FILMS[shape.film]
        kind |= {"architectures": [f"{name}ForConditionalGeneration"], "model_type": model_type}
        kind["video_token_index"] = pad_token_id + 1
    return {
        **kind,
        "dtype": dtype,
        "image_seq_length": shape.tokens,
        "image_token_index": image_token_id,
        "multimodal_projector_bias": True,
        "pad_token_id": pad_token_id,
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": shape.tie_word_embeddings,
        "vision_feature_layer": shape.vision_feature_layer,
        "vision_feature_select_strategy": _strategy(shape),
        "text_config": text_config(shape),
        "vision_config": _vision_config(shape),
    }


def _aspect(limit: int) -> str:
    return f"anyres_max_{limit}"


def _strategy(shape: Shape) -> str:
    return "default" if shape.has_cls else "full"


def text_config(shape: Shape) -> dict[str, object]:
    """The decoder's part of ``config.json``."""
    own: dict[Decoder, dict[str, object]] = {
        "llama": {"attention_bias": False, "mlp_bias": False},
        "mistral": {"sliding_window": None},
        "qwen2": {"use_sliding_window": False},
        "qwen3": {"use_sliding_window": False, "attention_bias": False},
    }
    return {
        "model_type": shape.decoder,
        "architectures": [f"{shape.decoder.capitalize()}ForCausalLM"],
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "head_dim": shape.resolved_head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp,
        "max_position_embeddings": MAX_POSITIONS,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": shape.tie_word_embeddings,
        "vocab_size": shape.vocab,
        **own[shape.decoder],
    }


def _vision_config(shape: Shape) -> dict[str, object]:
    own: dict[Tower, dict[str, object]] = {
        "clip": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        "siglip": {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vision_use_head": False},
    }
    return {
        "model_type": f"{shape.tower}_vision_model",
        "hidden_size": shape.vision_width,
        "image_size": shape.image_size,
        "intermediate_size": shape.vision_mlp,
        "num_attention_heads": shape.vision_heads,
        "num_channels": 3,
        "num_hidden_layers": shape.vision_layers,
        "patch_size": shape.patch_size,
        **own[shape.tower],
    }


def _processing_files(shape: Shape) -> dict[str, dict[str, object]]:
    square = {"height": shape.image_size, "width": shape.image_size}
    own: dict[Tower, dict[str, object]] = {
        "clip": {
            "image_processor_type": "CLIPImageProcessor",
            "crop_size": square,
            "do_center_crop": True,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "size": {"shortest_edge": shape.image_size},
        },
        "siglip": {  # makes pictures of any shape square
            "image_processor_type": "SiglipImageProcessor",
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "size": square,
        },
    }
    processor, tiling = "LlavaProcessor", dict[str, object]()
    if shape.pinpoints is not None:
        processor, pinpoints = "LlavaNextProcessor", [list(each) for each in shape.pinpoints]
        tiling = {"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": pinpoints, "do_pad": True}
    counting: dict[str, object] = {
        "num_additional_image_tokens": int(shape.has_cls),  # the "default" strategy takes [CLS] away again
        "patch_size": shape.patch_size,
    }
    if shape.limit is not None:
        tiling["image_processor_type"] = "LlavaOnevisionImageProcessor"
        counting = {"num_image_tokens": shape.tokens, "vision_aspect_ratio": _aspect(shape.limit)}
    if shape.film is not None:
        processor = f"{FILMS[shape.film][0]}Processor"
    if shape.film == "twin":
        tiling = {"image_processor_type": "VideoLlavaImageProcessor"}
    spoken = {"image_token": IMAGE_TOKEN} | ({} if shape.film is None else {"video_token": VIDEO_TOKEN})
    return {
        "preprocessor_config.json": {
            "processor_class": processor,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "resample": 3,
            "rescale_factor": 1 / 255,
            **own[shape.tower],
            **tiling,
        },
        "processor_config.json": {
            "processor_class": processor,
            **spoken,
            **counting,
            "vision_feature_select_strategy": _strategy(shape),
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": processor,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": PAD_TOKEN,
            "extra_special_tokens": spoken,
            "clean_up_tokenization_spaces": False,
            "model_max_length": MAX_POSITIONS,
            "padding_side": "left",
        },
        "special_tokens_map.json": {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": PAD_TOKEN,
            **spoken,
        },
    }


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
    for name, content in _processing_files(shape).items():
        write_json(out / name, content)
    (out / "chat_template.jinja").write_text(VIDEO_TEMPLATE if film else CHAT_TEMPLATE, encoding="utf-8")
    write_json(out / "config.json", _config(shape, dtype, image_token_id, pad_token_id))
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
