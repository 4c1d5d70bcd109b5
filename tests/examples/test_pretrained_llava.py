"""Trained weights through the whole chain: they are fetched by pip, so that this is not for every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

import clasp_trt
from clasp_trt.bundle import Bundle
from examples import pretrained_llava as pretrained
from tests.house import ROOT

pytestmark = pytest.mark.slow

PROMPTS = (
    "What is the capital of France?",
    "Write a Python function that adds two numbers.",
    "Name three animals that live in the sea.",
    "Translate 'good morning' into Spanish.",
)
NEW_TOKENS = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained.make(tmp_path_factory.mktemp("pretrained") / "model")


@pytest.fixture(scope="module")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from clasp_trt.tools.build.compiler import build

    return build(str(folder), tmp_path_factory.mktemp("built") / "bundle", budget=85, max_context=512)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> list[tuple[list[int], str]]:
    """What transformers answers to each prompt: the new tokens, and their text."""
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for prompt in PROMPTS:
        messages = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        asked = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            found = model.generate(**asked, max_new_tokens=NEW_TOKENS, do_sample=False)[
                0, asked["input_ids"].shape[1] :
            ]
        answers.append((found.tolist(), tokenizer.decode(found, skip_special_tokens=True)))
    return answers


def test_text_is_answered_as_by_transformers(bundle: Bundle, theirs: list[tuple[list[int], str]]) -> None:
    with clasp_trt.load(bundle.root) as pipe:
        for prompt, (tokens, text) in zip(PROMPTS, theirs, strict=True):
            found = pipe.generate(None, prompt, max_new_tokens=NEW_TOKENS)
            assert list(found.token_ids) == tokens
            assert found.text.strip() == text.strip()


def test_the_decoder_knows_what_it_was_taught(theirs: list[tuple[list[int], str]]) -> None:
    """Weights that were dequantised or turned wrongly say nothing."""
    assert "Paris" in theirs[0][1]
    assert "def " in theirs[1][1]


def test_every_stage_is_that_of_the_checkpoint(bundle: Bundle, folder: Path) -> None:
    pytest.importorskip("polygraphy")
    from clasp_trt.runtime.media.image import load_image
    from clasp_trt.tools.verify import compare

    picture = load_image(ROOT / "examples" / "photos" / "chelsea.jpg")
    report = compare(bundle, str(folder), [picture], "What is in the picture?")
    report.require()
    assert report.skipped == ()


def test_the_tower_is_that_of_the_file_that_it_came_from(folder: Path) -> None:
    """Its blocks on the embeddings that the ONNX file makes of a picture give that file's own last states."""
    from transformers import LlavaForConditionalGeneration

    tower = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).model.vision_tower
    pixels = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    with pretrained.opened(pretrained.cache(), *pretrained.TOWER) as file:
        model = onnx.load(file)
    first = next(node for node in model.graph.node if node.name.startswith("/backbone/encoder/layer.0/norm1"))
    last = next(node for node in model.graph.node if node.name.startswith("/backbone/layernorm"))
    asked = [first.input[0], last.input[0]]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in asked)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    embedded, expected = session.run(asked, {"input_image": pixels})
    with torch.inference_mode():
        found = tower.encoder(torch.from_numpy(embedded)).last_hidden_state.numpy()
        mine = tower.embeddings(torch.from_numpy(pixels)).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    # its exporter placed the positions of a smaller square a little otherwise
    assert np.abs(mine - embedded).max() <= 0.05 * np.abs(embedded).max()
