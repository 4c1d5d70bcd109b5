"""The bytes of tokens: those that transformers' stop strings are compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from clasp_trt.runtime.text.spelling import Spelling
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.runtime.text.wording import Wording

TINY = Path(__file__).resolve().parents[3] / "clasp_trt" / "assets" / "clasp-tiny" / "tokenizer.json"
TEXT = "The 猫 sat on a mat — and Ähren, naïve café 🙂."


def byte_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    made.train_from_iterator([TEXT] * 3, trainer)
    return made


@pytest.fixture(scope="module")
def makers(checkpoint: Path) -> dict[str, Callable[[], tokenizers.Tokenizer]]:
    llama = checkpoint / "tokenizer.json"
    return {
        "byte level": byte_level,
        "byte fallback": lambda: tokenizers.Tokenizer.from_file(str(llama)),
        "words": lambda: tokenizers.Tokenizer.from_file(str(TINY)),
    }


@pytest.mark.parametrize("kind", ["byte level", "byte fallback"])
def test_the_tokens_of_a_text_spell_it(makers: dict[str, Callable[[], tokenizers.Tokenizer]], kind: str) -> None:
    inner = makers[kind]()
    spelled = b"".join(map(Spelling(inner), inner.encode(TEXT, add_special_tokens=False).ids))
    assert spelled.decode().strip() == TEXT


@pytest.mark.parametrize("kind", ["byte level", "byte fallback"])
def test_each_token_is_spelled_as_transformers_does(
    makers: dict[str, Callable[[], tokenizers.Tokenizer]], kind: str
) -> None:
    from transformers import PreTrainedTokenizerFast, StopStringCriteria

    inner = makers[kind]()
    theirs = PreTrainedTokenizerFast(tokenizer_object=inner)
    mode = StopStringCriteria._get_stop_string_matching_mode(theirs)
    pieces, ids = StopStringCriteria.clean_tokenizer_vocab(theirs, stop_string_matching_mode=mode)
    spelling = Spelling(inner)
    assert {id: spelling(id) for id in ids} == dict(zip(ids, pieces, strict=True))


def test_words_without_a_decoder_have_a_space_before_them(
    makers: dict[str, Callable[[], tokenizers.Tokenizer]],
) -> None:
    inner = makers["words"]()
    assert Spelling(inner)(inner.token_to_id("red")) == b" red"


def test_an_id_that_is_no_token_has_no_bytes() -> None:
    assert Spelling(byte_level())(100_000) == b""


@pytest.mark.parametrize(("kind", "strips"), [("byte level", False), ("byte fallback", True), ("words", True)])
def test_who_takes_the_space_of_a_first_word_away(
    makers: dict[str, Callable[[], tokenizers.Tokenizer]], kind: str, strips: bool
) -> None:
    assert Tokenizer(makers[kind]()).strips == strips


def test_an_answer_without_stop_strings_spells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for a reading of the whole tokenizer."""
    monkeypatch.setattr(Tokenizer, "spelling", property(lambda self: pytest.fail("spelled")))
    wording = Wording(Tokenizer(byte_level()), (), [1, 2])
    assert wording.push(5) + wording.finish() == wording.text != ""
