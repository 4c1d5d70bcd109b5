"""A language model can name nothing but categories, with the probability that it gives each whole answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.errors import CheckpointError
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.tools.routers.definitions import DEFINITIONS
from clasp_trt.tools.routers.language_model import LanguageModel, answer, fingerprint, task
from tests.tools.routers.models import save_classifier, save_language_model

TEMPLATE = "{% for m in messages %}<s>[{{ m.role }}] {{ m.content }}</s>{% endfor %}[assistant]"
NAMES = ("ab", "abc", "de", "default")  # one begins like another, and their answers differ in length
MEANINGS = {"ab": "the first", "default": "the rest"}


@pytest.fixture(scope="module", params=[("llama", None), ("llama", TEMPLATE), ("gpt2", None)], ids=str)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, template = request.param
    return save_language_model(tmp_path_factory.mktemp("model") / kind, kind=kind, template=template)


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return LanguageModel.load(str(folder), NAMES, MEANINGS)


def direct(folder: Path, prompt: str) -> list[float]:
    """The same from the definition: one pass over question and answer for each category, no cache, in float64."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = task(prompt, NAMES, MEANINGS)
    if tokenizer.chat_template is None:
        question = tokenizer.encode(f"{text}Answer: ")
    else:
        messages = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        question = tokenizer.encode(rendered, add_special_tokens=False)
    scores = []
    for name in NAMES:
        said = tokenizer.encode(answer(name), add_special_tokens=False)
        with torch.no_grad():
            logs = torch.log_softmax(module(torch.tensor([question + said])).logits[0], -1)
        scores.append(sum(float(logs[len(question) - 1 + at, token]) for at, token in enumerate(said)))
    shares: list[float] = torch.softmax(torch.tensor(scores, dtype=torch.float64), 0).tolist()
    return shares


@pytest.mark.parametrize("prompt", ["how many dogs are there?", "这是什么？", 'say "x" } ]'])
def test_probabilities_of_whole_answers(model: LanguageModel, folder: Path, prompt: str) -> None:
    """float32 against float64: log-probabilities of some ten tokens, each off by about 1e-6."""
    found = model.probabilities(prompt)
    assert found == pytest.approx(direct(folder, prompt), rel=1e-3, abs=1e-9)
    assert sum(found) == pytest.approx(1)


def test_nothing_that_was_asked_before_counts(model: LanguageModel) -> None:
    first = model.probabilities("how many?")
    model.probabilities("and a much longer prompt about a red dog " * 5)
    assert model.probabilities("how many?") == first


def test_a_prefix_that_does_not_hold_is_not_used(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a tokenizer that joins the prompt's first letters with what stands before them."""
    expected = model.probabilities("how many?")
    monkeypatch.setattr(model, "_prefix", [*model._prefix[:-1], 7])
    assert model.probabilities("how many?") == pytest.approx(expected, rel=1e-3)


def test_the_prompt_is_read(model: LanguageModel) -> None:
    assert model.probabilities("how many?") != model.probabilities("where is it?")


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=8, deadline=None)
def test_any_string_has_probabilities(model: LanguageModel, prompt: str) -> None:
    found = model.probabilities(prompt)
    assert len(found) == len(NAMES)
    assert sum(found) == pytest.approx(1)


def test_a_long_prompt_is_cut_to_the_models_room(folder: Path, model: LanguageModel) -> None:
    limit = 2048
    assert len(model._ids("在" * 2000)) <= limit - max(map(len, model._tails)) - len(model._shared)
    assert sum(model.probabilities("在" * 100_000)) == pytest.approx(1)


def test_what_is_asked_names_categories_and_what_they_are_for() -> None:
    text = task('How "many"?', CATEGORY_NAMES, DEFINITIONS)
    for name in CATEGORY_NAMES:
        assert f"\n- {name}: {DEFINITIONS[name]}\n" in text
    assert "\nPrompt: " + json.dumps('How "many"?') in text
    assert "\n- dents\n- default\n" in task("x", ("dents", "default"), {})
    assert json.loads(answer('a "b"')) == {"category": 'a "b"'}


def test_models_that_do_not_write_text(tmp_path: Path) -> None:
    bert = save_classifier(tmp_path / "bert", ["a", "b"])
    with pytest.raises(CheckpointError, match="AutoModelForCausalLM"):
        LanguageModel.load(str(bert), NAMES, MEANINGS)


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be used on nonsense"):
        LanguageModel.load(str(folder), NAMES, MEANINGS, device="nonsense")


def test_definitions_that_leave_no_room(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="takes 2048"):
        LanguageModel.load(str(folder), NAMES, {"ab": "很" * 2000})


def test_a_tokenizer_that_cannot_tell_names_apart(tmp_path: Path) -> None:
    import shutil

    model = save_language_model(tmp_path / "model")
    words = save_classifier(tmp_path / "words", ["a", "b"])
    shutil.copyfile(words / "tokenizer.json", model / "tokenizer.json")  # which knows none of the names
    with pytest.raises(CheckpointError, match="cannot tell the names of all categories apart"):
        LanguageModel.load(str(model), NAMES, MEANINGS)


def test_fingerprints(tmp_path: Path) -> None:
    first, same, other = (
        save_language_model(tmp_path / name, kind=kind)
        for name, kind in (("a", "llama"), ("b", "llama"), ("c", "gpt2"))
    )
    assert fingerprint(str(first)) == fingerprint(str(same)) != fingerprint(str(other))
