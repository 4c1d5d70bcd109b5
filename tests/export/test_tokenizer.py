"""The tokenizer of a bundle is the one that transformers makes of a folder's files, whichever of them know a token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from transformers import AutoTokenizer

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.tokenizer import Tokenizer
from tests.mistakes import says

TEXT = "<s>USER: <image>\nWhat  is<extra> this?<plain> 图 </s><pad>ASSISTANT:"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _edit(path: Path, **values: object) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def _token(content: str, **values: object) -> dict[str, object]:
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word", "special"), False)
    return {"content": content, **flags, **values}


FILES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "added_tokens_decoder": {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                "504": _token("<extra>", special=True),
                "505": _token("<plain>", lstrip=True, rstrip=True),
            }
        }
    },
    "additional_special_tokens": {"tokenizer_config.json": {"additional_special_tokens": ["<extra>"]}},
    "extra_special_tokens": {"tokenizer_config.json": {"extra_special_tokens": {"extra_token": "<extra>"}}},
    "a role's token": {"tokenizer_config.json": {"pad_token": "<extra>", "bos_token": "<plain>"}},
    "special_tokens_map": {"special_tokens_map.json": {"pad_token": _token("<extra>"), "cls_token": "<plain>"}},
    "added_tokens": {"added_tokens.json": {"<extra>": 504, "<plain>": 505}},
    "Llama's class": {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}},
    "bos and eos": {"tokenizer_config.json": {"add_bos_token": False, "add_eos_token": True}},
    "padding": {"tokenizer_config.json": {"padding_side": "right", "model_max_length": 4}},
}


@pytest.mark.parametrize("name", FILES)
def test_ids_are_those_of_the_stock_tokenizer(folder: Path, name: str) -> None:
    for file, values in FILES[name].items():
        _edit(folder / file, **values)
    found, stock = Tokenizer.of(Checkpoint.open(folder)), AutoTokenizer.from_pretrained(folder)
    alone = tokenizers.Tokenizer.from_str(found.text)
    for special in (True, False):
        assert alone.encode(TEXT, add_special_tokens=special).ids == stock.encode(TEXT, add_special_tokens=special)
    assert found.added == {id: str(token) for id, token in stock.added_tokens_decoder.items()}
    assert found.special == {key: value for key, value in stock.special_tokens_map.items() if isinstance(value, str)}
    ids = stock.encode(TEXT)
    assert alone.decode(ids, skip_special_tokens=True) == stock.decode(ids, skip_special_tokens=True)


def test_a_token_that_the_config_alone_knows_is_one_token(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", additional_special_tokens=["<extra>"])
    before = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    assert "<extra>" not in {token["content"] for token in before}
    found = Tokenizer.of(Checkpoint.open(folder))
    (id,) = (id for id, token in found.added.items() if token == "<extra>")
    assert tokenizers.Tokenizer.from_str(found.text).encode("<extra>", add_special_tokens=False).ids == [id]


def test_a_special_token_that_may_not_be_written_is_refused(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", split_special_tokens=True)
    with pytest.raises(CheckpointError) as error:
        Tokenizer.of(Checkpoint.open(folder))
    says(error, "split_special_tokens", folder)


MALFORMED: dict[str, dict[str, Any]] = {
    "a table without end": {"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="},
    "a table of nothing": {"type": "Precompiled", "precompiled_charsmap": ""},
    "a text without bound": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000},
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_the_library_cannot_run_is_one_line(folder: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a panic, nor its report, nor the end of the process."""
    _edit(folder / "tokenizer.json", normalizer=MALFORMED[kind])
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.of(Checkpoint.open(folder))
    says(caught, folder, "tokenizer.json")
    assert capfd.readouterr().err == ""
