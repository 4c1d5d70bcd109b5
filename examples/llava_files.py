"""The configuration files of a LLaVA checkpoint: its config, chat template, and how it takes pictures and text."""

from __future__ import annotations

from examples.llava_shapes import FILMS, Decoder, Shape, Tower
from examples.random_weights import DType
from examples.small_tokenizer import BOS_ID, EOS_ID, IMAGE_TOKEN, PAD_TOKEN, VIDEO_TOKEN

MAX_POSITIONS = 4096
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

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


def config(shape: Shape, dtype: DType, image_token_id: int, pad_token_id: int) -> dict[str, object]:
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


def processing_files(shape: Shape) -> dict[str, dict[str, object]]:
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
