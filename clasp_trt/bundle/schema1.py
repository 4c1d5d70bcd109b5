"""Manifests of schema 1, made into those of schema 2.

Schema 1 knew one way to take pictures: a square by the settings of CLIP's processor, which the reader took from the
bundle's ``preprocessor_config.json``, all its tokens in one run, and positions that count rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clasp_trt.bundle import clip_settings
from clasp_trt.bundle.clip_settings import SettingsError
from clasp_trt.bundle.errors import InconsistentManifest, ManifestField
from clasp_trt.bundle.media import MAX_SIDE, Media, Medium, Run, Sequential, content
from clasp_trt.storage.fields import Field

SCHEMA = 1


def upgraded(root: Field, settings: Callable[[], Mapping[str, object]]) -> Field:
    """The manifest of schema 2 that says what ``root`` said; what did not change is passed on unread.

    ``settings`` reads ``preprocessor_config.json``. Raises :class:`~clasp_trt.bundle.errors.ManifestField` for a model
    that breaks schema 1, and :class:`~clasp_trt.bundle.errors.InconsistentManifest` for settings that do not go
    with it.
    """
    top = root.open_record("model")
    if "media" in top:
        raise ManifestField(f"{root.source}: unknown key 'media'; a manifest of schema 1 has none")
    model = top["model"].record(
        "model_type", "name", "vision", "decoder", "image_token", "image_token_id", "stop_token_ids"
    )
    vision = model["vision"].record("layers", "width", "image_size", "patch_size", "tokens", "feature_layer")
    decoder = model["decoder"].record("layers", "width", "heads", "kv_heads", "head_dim", "vocab_size")
    side, tokens = vision["image_size"].integer(1, MAX_SIDE), vision["tokens"].integer(1)
    cell, token = vision["patch_size"].integer(1, side), model["image_token"].text()
    try:
        square = clip_settings.square(settings(), side, cell)
    except SettingsError as error:
        raise InconsistentManifest(f"{root.source}: {error}; rebuild the bundle") from None
    image = Medium(
        square,
        Run(token, token, model["image_token_id"].integer(0), before="", after=""),
        Sequential(start=0),
    )
    kept = {name: top[name].value for name in top if name not in ("schema", "model")}
    return root.at(
        "",
        {
            "schema": 2,
            "model": {
                "model_type": model["model_type"].value,
                "name": model["name"].value,
                "vision": {
                    **{name: vision[name].value for name in ("layers", "width", "feature_layer")},
                    "saliency": "cls",
                },
                "tokens": [tokens] * 3,
                "decoder": {**{name: item.value for name, item in decoder.items()}, "axes": 1, "visible": "causal"},
                "stop_token_ids": model["stop_token_ids"].value,
            },
            "media": content(Media(image)),
            **kept,
        },
    )
