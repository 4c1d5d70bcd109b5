"""What the ``llava`` family reads besides weights: which head, which chat template, which stop tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of

HEAD, EMBEDDING = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _line(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# --- tied heads ---------------------------------------------------------------------------------------------


def _heads(folder: Path, *, tied: str | None, stored: tuple[str, ...]) -> tuple[Any, Any]:
    """Head and embedding as exported, where one configuration says that they are tied."""
    if tied is not None:
        _edit(folder / "config.json", lambda c: (c if tied == "config" else c[tied]).update(tie_word_embeddings=True))
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if k not in {HEAD, EMBEDDING} or k in stored}, folder / "model.safetensors"
    )
    weights = family_of(Checkpoint.open(folder)).decoder_weights("float32")
    return weights.tensor("lm_head.weight").numpy(), weights.tensor("embed_tokens.weight").numpy()


@pytest.mark.parametrize("stored", [(HEAD,), (EMBEDDING,), (HEAD, EMBEDDING)], ids=["head", "embedding", "both"])
@pytest.mark.parametrize("tied", ["config", "text_config"])
def test_a_tied_head_is_what_the_stock_model_makes_of_it(folder: Path, tied: str, stored: tuple[str, ...]) -> None:
    """The one that is stored serves as both; two that differ stay two, whatever the flag says."""
    head, embedding = _heads(folder, tied=tied, stored=stored)
    stock: Any = LlavaForConditionalGeneration.from_pretrained(folder)
    np.testing.assert_array_equal(head, stock.lm_head.weight.detach().numpy())
    np.testing.assert_array_equal(embedding, stock.model.language_model.embed_tokens.weight.detach().numpy())
    assert np.array_equal(head, embedding) == (len(stored) == 1)


@pytest.mark.parametrize("stored", [HEAD, EMBEDDING])
def test_without_the_flag_neither_stands_for_the_other(folder: Path, stored: str) -> None:
    with pytest.raises(CheckpointError, match=r"decoder\.(lm_head|embed_tokens)\.weight"):
        _heads(folder, tied=None, stored=(stored,))


# --- stop tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "expected"), [(2, (2,)), ([2, 7], (2, 7)), ([], ()), (None, (2,))])
def test_stop_tokens(folder: Path, stop: object, expected: tuple[int, ...]) -> None:
    _edit(folder / "generation_config.json", lambda config: config.update(eos_token_id=stop))
    assert family_of(Checkpoint.open(folder)).info.stop_token_ids == expected


@pytest.mark.parametrize("stop", ["</s>", [2, "</s>"], 2.5, True])
def test_stop_tokens_that_are_no_ids(folder: Path, stop: object) -> None:
    _edit(folder / "generation_config.json", lambda config: config.update(eos_token_id=stop))
    with pytest.raises(CheckpointError, match=r"eos_token_id.*of generation_config\.json"):
        family_of(Checkpoint.open(folder))


def test_stop_tokens_of_the_configuration(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    _edit(folder / "config.json", lambda config: config["text_config"].update(eos_token_id=[7, 9]))
    assert family_of(Checkpoint.open(folder)).info.stop_token_ids == (7, 9)
    _edit(folder / "config.json", lambda config: config["text_config"].update(eos_token_id=[7, True]))
    with pytest.raises(CheckpointError, match=r"eos_token_id") as error:
        family_of(Checkpoint.open(folder))
    assert "config.json" in _line(error)
    assert "generation_config" not in _line(error), "not the file that is at fault"


# --- chat templates -----------------------------------------------------------------------------------------


def _template(folder: Path, **files: object) -> str:
    """The template of a checkpoint that has these files alone to hold one."""
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    for stem, found in files.items():
        path = folder / f"{stem}.json"
        content = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**content, "chat_template": found}))
    return family_of(Checkpoint.open(folder)).chat_template()


@pytest.mark.parametrize("stem", ["processor_config", "chat_template", "tokenizer_config"])
@pytest.mark.parametrize("named", [False, True])
def test_where_a_chat_template_lies(folder: Path, stem: str, named: bool) -> None:
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    assert _template(folder, **{stem: several if named else "yes"}) == "yes"


def test_the_processor_s_chat_template_comes_before_the_tokenizer_s(folder: Path) -> None:
    """As in the stock library."""
    found = _template(folder, chat_template="processor's", tokenizer_config="tokenizer's")
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    assert found == processor.chat_template == "processor's"


def test_no_chat_template_at_all(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"\(looked at.*tokenizer_config\.json\); download") as error:
        _template(folder)
    _line(error)


@pytest.mark.parametrize(
    "found", [[], [3], 7, {"a": 1}, [{"name": "tool_use", "template": "x"}], [{"name": "default", "template": 3}]]
)
def test_a_chat_template_that_cannot_be_chosen(folder: Path, found: object) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json.*a 'default'") as error:
        _template(folder, tokenizer_config=found)
    _line(error)


def test_a_chat_template_that_is_no_text(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja is not UTF-8"):
        family_of(Checkpoint.open(folder)).chat_template()
