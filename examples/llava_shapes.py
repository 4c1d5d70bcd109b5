"""The sizes of LLaVA checkpoints: what a shape is, and those that have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from examples.small_tokenizer import MIN_VOCAB

Tower = Literal["clip", "siglip"]
Decoder = Literal["llama", "mistral", "qwen2", "qwen3"]
Film = Literal["pooled", "twin", "mixed"]

FILMS: Mapping[Film, tuple[str, str]] = {
    "pooled": ("LlavaNextVideo", "llava_next_video"),
    "twin": ("VideoLlava", "video_llava"),
    "mixed": ("LlavaOnevision", "llava_onevision"),
}
"""What transformers calls each, and its ``model_type``."""


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
