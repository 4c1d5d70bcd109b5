"""Pixels, token ids and stop tokens of a bundle, against transformers' own loaders and not our reading of the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("polygraphy")

from PIL import Image

from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.request import Request
from clasp_trt.tools.verify.inputs import inputs_against_stock
from clasp_trt.tools.verify.report import Check
from examples.llava_files import CHAT_TEMPLATE
from tests.mistakes import says
from tests.tools.verify.conftest import Tamper

PICTURE = Image.effect_noise((150, 80), 90).convert("RGB")
QUESTION = "What is behind the cat?"


def compared(bundle: Bundle, model: Path, prompt: str = QUESTION, image: Image.Image = PICTURE) -> dict[str, Check]:
    request = Request.of(bundle, [image], prompt)
    checks, skipped = inputs_against_stock(bundle, Checkpoint.open(model), request, [image], prompt)
    assert skipped == ()
    return {check.output: check for check in checks}


def wrong(bundle: Bundle, model: Path) -> set[str]:
    return {name for name, check in compared(bundle, model).items() if not check.passed}


@pytest.mark.parametrize("prompt", [QUESTION, "Look: <image> What is it?", "  two  spaces and 图\n", "< /s> and <S>"])
@pytest.mark.parametrize("size", [(150, 80), (80, 150), (56, 56), (9, 7), (600, 5)])
def test_what_a_bundle_makes_of_a_request_is_what_transformers_makes(
    built: Callable[..., Bundle], checkpoint: Path, prompt: str, size: tuple[int, int]
) -> None:
    bundle = built()
    assert all(check.passed for check in compared(bundle, checkpoint, prompt, PICTURE.resize(size)).values())


def _mean(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["media"]["image"]["processor"]["mean"][1] += 0.002
    path.write_text(json.dumps(manifest))


def _stops(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["model"]["stop_token_ids"] = []
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(("change", "output"), [(_mean, "pixel_values"), (_stops, "stop_token_ids")])
def test_a_manifest_of_other_inputs(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, change: Callable[[Path], None], output: str
) -> None:
    root = shutil.copytree(built().root, tmp_path / "bundle")
    change(root / MANIFEST)
    assert wrong(Bundle.open(root), checkpoint) == {output}


def _template(path: Path) -> None:
    path.write_text(path.read_text().replace("ASSISTANT:", "ASSISTANT: "))


def test_another_chat_template(built: Callable[..., Bundle], checkpoint: Path, tampered: Tamper) -> None:
    assert wrong(tampered(built(), "chat_template.jinja", _template), checkpoint) == {"input_ids"}


def _changed(model: Path, name: str, **values: Any) -> None:
    content = json.loads((model / name).read_text())
    (model / name).write_text(json.dumps({**content, **values}))


@pytest.mark.parametrize(
    ("name", "values", "output"),
    [
        ("preprocessor_config.json", {"resample": 2}, "pixel_values"),
        ("processor_config.json", {"chat_template": "{{ 'USER:' }}<image>"}, "input_ids"),
        ("tokenizer_config.json", {"additional_special_tokens": ["What"]}, "input_ids"),
        ("generation_config.json", {"eos_token_id": [2, 7]}, "stop_token_ids"),
    ],
)
def test_a_folder_that_has_changed_since(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, name: str, values: dict[str, Any], output: str
) -> None:
    model = shutil.copytree(checkpoint, tmp_path / "model")
    _changed(model, name, **values)
    assert wrong(built(), model) == {output}


@pytest.mark.parametrize(
    ("bos", "begins"),
    [
        (None, "<s>"),
        *(pytest.param(*rest, marks=pytest.mark.full) for rest in [("<s>", "<s>"), ("USER", "<s>"), ("USER", "")]),
    ],
)
def test_the_first_token_is_written_as_often_as_by_transformers(
    checkpoint: Path, tmp_path: Path, bos: str | None, begins: str
) -> None:
    model = shutil.copytree(checkpoint, tmp_path / "model")
    _changed(model, "tokenizer_config.json", bos_token=bos)
    (model / "special_tokens_map.json").unlink()
    (model / "chat_template.jinja").write_text(begins + CHAT_TEMPLATE)
    bundle = build(model, tmp_path / "bundle", prune_at="none")
    assert compared(bundle, model)["input_ids"].passed


def test_what_transformers_cannot_take_is_not_compared(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path
) -> None:
    model, bundle = shutil.copytree(checkpoint, tmp_path / "model"), built()
    _changed(model, "processor_config.json", patch_size=None)
    request = Request.of(bundle, [PICTURE], QUESTION)
    checks, (line,) = inputs_against_stock(bundle, Checkpoint.open(model), request, [PICTURE], QUESTION)
    assert checks == ()
    says(line, "not compared", model)
