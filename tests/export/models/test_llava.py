"""What the ``llava`` family reads besides weights: which head, which chat template, which stop tokens."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaConfig, LlavaForConditionalGeneration

from clasp_trt.errors import CheckpointError
from clasp_trt.export import assets
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of
from clasp_trt.notice import Notice
from tests.mistakes import says

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
    with pytest.raises(CheckpointError, match=r"lacks the tensor (lm_head|language_model\.embed_tokens)\.weight"):
        _heads(folder, tied=None, stored=(stored,))


# --- stop tokens --------------------------------------------------------------------------------------------


def _stock_stops(folder: Path) -> tuple[int, ...]:
    """What ends an answer of transformers' own model, by the loader alone: its weights do not matter."""
    with torch.device("meta"):
        model: Any = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(folder))
    model.adjust_generation_fn(
        None, False, None, str(folder), cache_dir=None, force_download=False, proxies=None, local_files_only=True,
        token=None, revision=None, subfolder="", trust_remote_code=False,
    )  # fmt: skip
    stop = model.generation_config.eos_token_id
    return tuple(stop) if isinstance(stop, list) else () if stop is None else (stop,)


STOPS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # eos_token_id by file, ... for a file that is not there
    "generation config": ({"generation": 7, "text": 2}, (7,)),
    "several": ({"generation": [2, 7], "text": 2}, (2, 7)),
    "none at all": ({"generation": [], "text": 2}, ()),
    "null": ({"generation": None, "text": 2}, ()),
    "absent there": ({"top": 7, "text": 2}, ()),
    "generation config before the top": ({"generation": 2, "top": 7, "text": 2}, (2,)),
    "the top": ({"generation": ..., "top": 7, "text": 2}, (7,)),
    "several at the top": ({"generation": ..., "top": [7, 9], "text": 2}, (7, 9)),
    "null at the top": ({"generation": ..., "top": None, "text": 7}, (7,)),
    "the text config": ({"generation": ..., "text": [7, 9]}, (7, 9)),
    "nowhere, though Llama's config has a default": ({"generation": ...}, ()),
}


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_stop_tokens_are_those_of_the_stock_model(folder: Path, name: str) -> None:
    where, expected = STOPS[name]
    if where.get("generation") is ...:
        (folder / "generation_config.json").unlink()
    else:
        _set(folder / "generation_config.json", "", where.get("generation", ...))
    _set(folder / "config.json", "", where.get("top", ...))
    _set(folder / "config.json", "text_config", where.get("text", ...))
    assert assets.stop_tokens(Checkpoint.open(folder)) == _stock_stops(folder) == expected


def _set(path: Path, part: str, stop: object) -> None:
    def change(config: dict[str, Any]) -> None:
        inner = config[part] if part else config
        inner.pop("eos_token_id", None)
        if stop is not ...:
            inner["eos_token_id"] = stop

    _edit(path, change)


def test_a_stop_token_that_is_not_read_is_told(folder: Path) -> None:
    _set(folder / "config.json", "", 7)
    with pytest.warns(Notice) as told:
        assets.stop_tokens(Checkpoint.open(folder))
    says(told[0].message, "generation_config.json", "config.json", [2], [7])
    _set(folder / "generation_config.json", "", [2, 7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assets.stop_tokens(Checkpoint.open(folder)) == (2, 7), "it knows all that the other does, and more"


@pytest.mark.parametrize("stop", ["</s>", [2, "</s>"], 2.5, True, -1, 10**400, [2, 5000]])
def test_stop_tokens_that_are_no_ids(folder: Path, stop: object) -> None:
    _edit(folder / "generation_config.json", lambda config: config.update(eos_token_id=stop))
    with pytest.raises(CheckpointError, match="eos_token_id") as error:
        family_of(Checkpoint.open(folder))
    assert len(_line(error)) < 400


def test_stop_tokens_of_the_configuration_that_are_no_ids(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
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
    return assets.chat_template(Checkpoint.open(folder))


@pytest.mark.parametrize("stem", ["processor_config", "chat_template", "tokenizer_config"])
@pytest.mark.parametrize("named", ["alone", "list", "object"])
def test_where_a_chat_template_lies(folder: Path, stem: str, named: str) -> None:
    several = {"tool_use": "no", "default": "yes"}
    listed = [{"name": name, "template": template} for name, template in several.items()]
    assert _template(folder, **{stem: {"alone": "yes", "list": listed, "object": several}[named]}) == "yes"


ORDER = assets.TEMPLATES[:4]  # the last is the tokenizer's, which a stock processor does not look at


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_chat_template_decides_as_in_the_stock_processor(folder: Path, first: int) -> None:
    (folder / "chat_template.jinja").unlink()
    # transformers refuses the last beside the second
    for name in (ORDER[first], *(name for name in ORDER[first + 1 :] if first != 1 or "/" not in name)):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".jinja":
            path.write_text(f"of {name}")
        else:
            content = json.loads(path.read_text()) if path.is_file() else {}
            path.write_text(json.dumps({**content, "chat_template": f"of {name}"}))
    if first == 0:  # nor may it be there at all
        (folder / ORDER[1]).unlink()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = assets.chat_template(Checkpoint.open(folder))
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    assert found == processor.chat_template == f"of {ORDER[first]}"
    notices = [str(warning.message) for warning in told if warning.category is Notice]
    assert all(ORDER[first] in notice for notice in notices)
    assert len(notices) == sum((folder / name).is_file() for name in ORDER[first + 1 :])


def test_no_chat_template_at_all(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"\(looked at.*tokenizer_config\.json\); download") as error:
        _template(folder)
    _line(error)


@pytest.mark.parametrize(
    "found", [[], [3], 7, {"a": 1}, [{"name": "tool_use", "template": "x"}], [{"name": "default", "template": 3}]]
)
def test_a_chat_template_that_cannot_be_chosen(folder: Path, found: object) -> None:
    with pytest.raises(
        CheckpointError, match=r"tokenizer_config\.json is neither a template nor .* 'default'"
    ) as error:
        _template(folder, tokenizer_config=found)
    _line(error)


def test_a_chat_template_that_is_no_text(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja is not UTF-8"):
        family_of(Checkpoint.open(folder))
