"""Which settings make the pictures: those that transformers reads, and the pixels are its own."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.media import image_settings, squares
from clasp_trt.notice import Notice
from clasp_trt.runtime.media.processors import processor
from tests.mistakes import says

OWN, SHARED = "preprocessor_config.json", "processor_config.json"
PICTURE = Image.effect_noise((150, 80), 90).convert("RGB")


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _nest(folder: Path, **changes: object) -> None:
    """Saves the image processor as transformers 5 does, inside the processor's file, and leaves the older one there."""
    shared, own = (json.loads((folder / name).read_text()) for name in (SHARED, OWN))
    (folder / SHARED).write_text(json.dumps({**shared, "image_processor": {**own, **changes}}))


def _pixels(folder: Path) -> np.ndarray[Any, Any]:
    media = squares(image_settings(Checkpoint.open(folder)), 56, 14, "<image>", 502, folder)
    return processor(media.image.processor)(PICTURE).vision["pixel_values"]


def _stock(folder: Path) -> np.ndarray[Any, Any]:
    made: Any = AutoImageProcessor.from_pretrained(folder, backend="pil")  # type: ignore[no-untyped-call]
    return np.asarray(made(PICTURE, return_tensors="np")["pixel_values"])


def test_nested_settings_come_before_a_stale_file_of_their_own(folder: Path) -> None:
    _nest(folder, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    with pytest.warns(Notice) as told:
        found = _pixels(folder)
    says(told[0].message, SHARED, OWN, "image_mean")
    np.testing.assert_array_equal(found, _stock(folder))
    (folder / OWN).unlink()
    np.testing.assert_array_equal(_pixels(folder), found)


def test_settings_that_agree_are_taken_without_a_word(folder: Path) -> None:
    _nest(folder, image_processor_type="CLIPImageProcessorFast")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        np.testing.assert_array_equal(_pixels(folder), _stock(folder))


@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_a_processor_that_pads_is_refused_by_name(folder: Path) -> None:
    _nest(folder, image_processor_type="LlavaImageProcessor", do_pad=True)
    with pytest.raises(CheckpointError) as error:
        _pixels(folder)
    says(error, "LlavaImageProcessor", "do_pad", folder)
