"""A prompt holds no token that the model lacks, whatever a tokenizer knows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers

from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.prompt import PromptReader
from tests.mistakes import says


@pytest.fixture
def knowing(built: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    """A bundle whose tokenizer knows twenty tokens more, some of them beyond the 512 of its model."""
    root = shutil.copytree(built().root, tmp_path / "bundle")
    tokenizer = tokenizers.Tokenizer.from_file(str(root / "tokenizer.json"))
    tokenizer.add_special_tokens([f"<more{number}>" for number in range(20)])
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
