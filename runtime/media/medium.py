"""How a bundle takes pictures."""

from __future__ import annotations

from clasp_trt.bundle import Bundle, clip_settings
from clasp_trt.bundle.media import Medium, Run, Sequential
from clasp_trt.runtime.text.prompt import read_object


def image_medium(bundle: Bundle) -> Medium:
    """The medium that the manifest and ``preprocessor_config.json`` describe. Raises :class:`BundleError`."""
    model = bundle.manifest.model
    settings = read_object(bundle, "preprocessor_config.json")
    return Medium(
        clip_settings.square(settings, model.vision.image_size, model.vision.patch_size),
        Run(model.image_token, model.image_token, model.image_token_id, "", ""),
        Sequential(0),
    )
