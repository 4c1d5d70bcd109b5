"""LLaVA-1.5: a CLIP tower, a two-layer projector, a Llama (Vicuna) decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import onnx_ir as ir
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from clasp_trt.bundle import DecoderDims, Media, ModelInfo, VisionDims
from clasp_trt.chain import ports
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.decoder.llama import LlamaDims
from clasp_trt.export.media import squares
from clasp_trt.export.towers.clip import tower_graph
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Weight, stored
from clasp_trt.export.weights.transforms import cast, renamed, tied

_RENAMES = (
    (re.compile(r"^(?:model\.)?vision_tower\.(?:vision_model\.)?"), "tower."),
    (re.compile(r"^(?:model\.)?multi_modal_projector\."), "projector."),
    (re.compile(r"^(?:language_model\.)?lm_head\."), "decoder.lm_head."),
    (re.compile(r"^(?:model\.)?language_model\.(?:model\.)?"), "decoder."),
)
_STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
_HEAD, _EMBEDDING = "decoder.lm_head.weight", "decoder.embed_tokens.weight"
_TEMPLATES = ("processor_config.json", "chat_template.json", "chat_template.jinja", "tokenizer_config.json")
"""Where a chat template may lie; the first that has one decides, as in transformers."""


def family(checkpoint: Checkpoint) -> LlavaFamily:
    """Opens a ``llava`` checkpoint. Raises :class:`CheckpointError` for variants that we do not compile."""
    return LlavaFamily(checkpoint)


class _FusedProjector(torch.nn.Module):
    """Fusion of layers (Eqs. 8-9) and projection to decoder width (Eq. 10)."""

    def __init__(self, projector: torch.nn.Module) -> None:
        super().__init__()
        self.projector = projector

    def forward(self, features: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        fused = (features.float() * alpha[:, :, None, None]).sum(1)
        projected: torch.Tensor = self.projector(fused.to(features.dtype))
        return projected


class LlavaFamily:
    """See :class:`clasp_trt.export.family.Family`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._config = _config(checkpoint)
        self._text, self._vision = _parts(self._config)
        self.decoder = _decoder_dims(self._text)
        self.max_positions = int(self._text.max_position_embeddings)
        self._side = _pixels("image_size", self._vision.image_size)
        self._patch = _pixels("patch_size", self._vision.patch_size)
        self.info = self._info()
        self._token = self._image_token()

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        saliency_layer = max(1, min(self.info.vision.feature_layer, max(layers)))
        weights = Weights(cast(self._tensors, dtype))
        return tower_graph(self._vision, self._side, self.info.tokens[-1], layers, saliency_layer, weights, dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        projector = _FusedProjector(on_meta(LlavaMultiModalProjector, self._config, dtype=dtype))
        vision = self.info.vision
        return trace(
            projector,
            ports.projector(layers, self.info.tokens[-1], vision.width, self.info.decoder.width, dtype),
            weights=Weights(cast(self._tensors, dtype)),
            purpose="Fuses support layers by the category's weights and projects to decoder width.",
        )

    def decoder_weights(self, dtype: str) -> Weights:
        tensors = self._tensors
        if self._config.tie_word_embeddings:
            tensors = tied(tensors, _HEAD, _EMBEDDING)
        return Weights(cast(tensors, dtype), "decoder.")

    def chat_template(self) -> str:
        for name in _TEMPLATES:
            path = self._checkpoint.root / name
            if path.is_file():
                template = self._read_template(path)
                if template is not None:
                    return template
        raise CheckpointError(
            f"{self._checkpoint.root} has no chat template (looked at {', '.join(_TEMPLATES)}); download the whole "
            "repository of the model, or write the template that it was trained with into chat_template.jinja"
        )

    def _read_template(self, path: Path) -> str | None:
        """The template of a file, or None if it has none. Of several named ones, the ``default``."""
        if path.suffix == ".jinja":
            try:
                return path.read_text(encoding="utf-8")
            except ValueError as error:
                raise CheckpointError(f"{path} is not UTF-8 text ({error}); download the file again") from None
        found = self._checkpoint.json(path.name).get("chat_template")
        if isinstance(found, list):
            named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
            found = named.get("default", found)
        if found is None or isinstance(found, str):
            return found
        raise CheckpointError(
            f"chat_template of {path} is neither a template nor a list that names a 'default'; write the one to use "
            f"into chat_template.jinja and remove the entry from {path.name}"
        )

    @cached_property
    def media(self) -> Media:
        return squares(self._checkpoint, self._side, self._patch, self._token, int(self._config.image_token_id))

    @cached_property
    def _tensors(self) -> dict[str, Weight]:
        return renamed(stored(self._checkpoint), canonical)

    def _info(self) -> ModelInfo:
        vision, config = self._vision, self._config
        if config.vision_feature_select_strategy != "default":
            raise CheckpointError(
                f"vision_feature_select_strategy {config.vision_feature_select_strategy!r} is not supported; "
                "expected 'default', which drops [CLS]"
            )
        layer = config.vision_feature_layer
        if not isinstance(layer, int):
            raise CheckpointError(f"vision_feature_layer {layer} is not supported; expected one layer, such as -2")
        feature_layer = layer if layer >= 0 else vision.num_hidden_layers + 1 + layer
        if not 0 <= feature_layer <= vision.num_hidden_layers:
            raise CheckpointError(
                f"vision_feature_layer {layer} is outside the tower's {vision.num_hidden_layers} layers"
            )
        return ModelInfo(
            model_type="llava",
            name=self._checkpoint.name,
            vision=VisionDims(
                layers=vision.num_hidden_layers,
                width=vision.hidden_size,
                feature_layer=feature_layer,
                saliency="cls",
            ),
            tokens=((self._side // self._patch) ** 2,) * 3,
            decoder=DecoderDims(
                layers=self.decoder.layers,
                width=self.decoder.width,
                heads=self.decoder.heads,
                kv_heads=self.decoder.kv_heads,
                head_dim=self.decoder.head_dim,
                vocab_size=self.decoder.vocab_size,
                axes=1,
                visible="causal",
            ),
            stop_token_ids=self._stop_tokens(),
        )

    def _image_token(self) -> str:
        if not 0 <= self._config.image_token_id < self.decoder.vocab_size:
            raise CheckpointError(
                f"image_token_id {self._config.image_token_id} of config.json is outside the decoder's vocabulary of "
                f"{self.decoder.vocab_size}; take the config.json that belongs to the checkpoint"
            )
        added = self._checkpoint.json("tokenizer.json").get("added_tokens")
        for token in added if isinstance(added, list) else []:
            if isinstance(token, dict) and token.get("id") == self._config.image_token_id and "content" in token:
                return str(token["content"])
        raise CheckpointError(
            f"tokenizer.json has no added token with the image_token_id {self._config.image_token_id} of config.json; "
            "take the tokenizer that belongs to the checkpoint"
        )

    def _stop_tokens(self) -> tuple[int, ...]:
        """What ends an answer. There may be none: then, as in transformers, an answer ends at its greatest length."""
        source = "generation_config.json"
        there = (self._checkpoint.root / source).is_file()
        stop = self._checkpoint.json(source).get("eos_token_id") if there else None
        if stop is None:
            source, stop = "config.json (text_config)", self._text.eos_token_id
        ids = stop if isinstance(stop, list) else [] if stop is None else [stop]
        if not all(type(id) is int for id in ids):
            raise CheckpointError(f"eos_token_id {stop!r} of {source} is not supported; expected token ids")
        return tuple(ids)


def _config(checkpoint: Checkpoint) -> LlavaConfig:
    try:
        return LlavaConfig.from_pretrained(checkpoint.root, local_files_only=True)
    except Exception as error:  # whatever transformers makes of a bad config, the cause is the file
        path = checkpoint.root / "config.json"
        raise CheckpointError(f"{path} is not a valid llava configuration: {error}") from error


def _parts(config: LlavaConfig) -> tuple[LlamaConfig, CLIPVisionConfig]:
    """The configurations of decoder and tower. Raises :class:`CheckpointError` for kinds that we do not compile."""
    text, vision = config.text_config, config.vision_config
    if not isinstance(vision, CLIPVisionConfig):
        kind = getattr(vision, "model_type", None)
        raise CheckpointError(f"vision tower {kind!r} is not supported in llava; expected clip_vision_model")
    if not isinstance(text, LlamaConfig) or text.model_type != "llama":
        kind = getattr(text, "model_type", None)
        raise CheckpointError(f"decoder {kind!r} is not supported in llava; expected llama")
    if text.hidden_act != "silu":
        raise CheckpointError(f"decoder activation {text.hidden_act!r} is not supported; expected silu")
    return text, vision


def _pixels(name: str, value: object) -> int:
    if not isinstance(value, int):
        raise CheckpointError(
            f"{name} {value!r} of the vision tower is not supported; expected one number, for squares"
        )
    return value


def _decoder_dims(config: LlamaConfig) -> LlamaDims:
    kind = str((config.rope_parameters or {}).get("rope_type", "default"))
    if kind not in _STATIC_ROTARY:
        raise CheckpointError(
            f"rotary scaling {kind!r} depends on the input's length and is not supported; "
            f"expected one of {', '.join(_STATIC_ROTARY)}"
        )
    rotary = LlamaRotaryEmbedding(config=config)
    return LlamaDims(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=config.head_dim or config.hidden_size // config.num_attention_heads,
        mlp=config.intermediate_size,
        vocab_size=config.vocab_size,
        norm_epsilon=config.rms_norm_eps,
        inverse_frequencies=tuple(rotary.inv_freq.tolist()),
        rotary_gain=float(rotary.attention_scaling),
    )


def canonical(key: str) -> str:
    """The name of a tensor under ``tower.``, ``projector.`` or ``decoder.``, whatever layout ``key`` is of."""
    for pattern, canonical in _RENAMES:
        if pattern.match(key):
            return pattern.sub(canonical, key, count=1)
    return key
