"""A prompt holds no token that the model lacks, whatever a tokenizer knows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.errors import PromptError
from clasp_trt.runtime.media.seen import Block
from clasp_trt.runtime.text.messages import dialogue
from clasp_trt.runtime.text.prompt import PromptReader
from tests.mistakes import says
from tests.prompts import boxes

SYSTEM = {"role": "system", "content": "Be brief and kind."}
FIRST = {"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": "What is it?"}]}
SAID = {"role": "assistant", "content": "A cup of coffee."}
BLOCK = Block(16, (1, 4, 4), boxes(4))


def test_the_last_message_says_what_matters(built: Callable[..., Bundle]) -> None:
    reader = PromptReader(built())
    asked = {"role": "user", "content": "Which colour is it?"}
    prompt = reader.read(dialogue([SYSTEM, FIRST, SAID, asked]), [BLOCK])
    said = reader.tokenizer.decode(prompt.input_ids[prompt.reference_index].tolist())
    assert said == "Which colour is it? ASSISTANT:"
    assert prompt.reference_index[-1] == len(prompt.input_ids) - 1
    again = reader.read(dialogue([SYSTEM, FIRST, SAID, {**FIRST, "content": [*FIRST["content"]]}]), [BLOCK], [BLOCK])
    first = again.reference_index[0]
    assert first == again.visual_index[-1] + 1
    assert "cup" not in reader.tokenizer.decode(again.input_ids[first:].tolist())


def test_one_message_is_a_prompt(built: Callable[..., Bundle]) -> None:
    reader = PromptReader(built())
    one, other = reader.read(dialogue([FIRST]), [BLOCK]), reader.read("What is it?", [BLOCK])
    for name in ("input_ids", "visual_index", "reference_index", "positions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    text = reader.read(dialogue([{"role": "user", "content": "Hello."}]))
    assert (len(text.visual_index), len(text.reference_index)) == (0, 0)


@pytest.fixture
def knowing(built: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    """A bundle whose tokenizer knows twenty tokens more, some of them beyond the 512 of its model."""
    root = shutil.copytree(built().root, tmp_path / "bundle")
    tokenizer = tokenizers.Tokenizer.from_file(str(root / "tokenizer.json"))
    tokenizer.add_tokens([f"<more{number}>" for number in range(20)])
    data = tokenizer.to_str().encode()
    (root / "tokenizer.json").write_bytes(data)
    manifest = json.loads((root / MANIFEST).read_text())
    manifest["files"]["tokenizer.json"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (root / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.open(root)


def test_a_token_beyond_the_vocabulary_is_refused(knowing: Bundle) -> None:
    reader = PromptReader(knowing)
    with pytest.raises(PromptError) as refused:
        reader.read("What is <more19> here?")
    says(refused, "<more19>", 512)
    assert 504 in reader.read("What is <more0> here?").input_ids
