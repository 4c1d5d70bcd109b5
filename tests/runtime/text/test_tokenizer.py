"""Ids are transformers' ids; streamed pieces join to the full decode, whatever the ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clasp_trt.errors import BundleError, PromptError
from clasp_trt.runtime.text.tokenizer import Tokenizer

CORPUS = [
    "USER: <image>\nWhat is the colour of the cat? ASSISTANT: The cat is orange, with green eyes.",
    "How many cups are there on the table?  There are two cups; one is empty.",
    "这张图片里有几只猫?图中有两只猫,一只在左边,一只在右边。",
    "Où est le café? Il est à côté de la tasse — là-bas! 😀👍🏽 naïve façade",
    "def f(x):\n    return x  # don't    collapse   spaces\n\t",
] * 4
TEXTS = [
    "",
    " ",
    "  two  spaces ",
    "USER: <image>\nWhat is this? ASSISTANT:",
    "<s>USER: hi</s>",
    "<image><image>cat",
    "猫在哪里?😀👨‍👩‍👧",
    "\n\n\ttabs\r\n",
    "ﬁ ℌ\u0301 \x00 e\u0301",
    "don't do n't",
]


def special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


def llama(legacy: bool) -> tokenizers.Tokenizer:
    """SentencePiece-like BPE with byte fallback: old files use normalizers, new ones Metaspace."""
    trained = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        special_tokens=["<unk>", "<s>", "</s>", *byte_tokens],
        limit_alphabet=60,
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS, trainer)
    # A trained file's byte tokens are ordinary vocabulary; take the model out to lose their "special" mark.
    state = json.loads(trained.to_str())
    state["added_tokens"] = []
    result = tokenizers.Tokenizer.from_str(json.dumps(state))
    result.add_special_tokens([special(token) for token in ("<unk>", "<s>", "</s>", "<image>")])
    if legacy:
        result.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        result.pre_tokenizer = None
    else:
        result.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    result.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    result.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", result.token_to_id("<s>"))]
    )
    return result


def metaspace() -> tokenizers.Tokenizer:
    result = llama(legacy=False)
    result.decoder = decoders.Metaspace(prepend_scheme="always")
    return result


def byte_level() -> tokenizers.Tokenizer:
    result = tokenizers.Tokenizer(models.BPE())
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    result.train_from_iterator(CORPUS, trainer)
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([special(token) for token in ("<|im_end|>", "<image>", "<s>")])
    result.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    result.enable_truncation(4)
    result.enable_padding(length=9, pad_token="<|im_end|>")
    return result


def word_level() -> tokenizers.Tokenizer:
    words = ["<unk>", "<s>", "cat", "dog", "?", "is", "there", "a"]
    result = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    result.pre_tokenizer = pre_tokenizers.Whitespace()
    result.add_special_tokens([special("<unk>"), special("<s>")])
    return result


def word_piece() -> tokenizers.Tokenizer:
    pieces = ["[UNK]", "don", "'", "t", "##s", "cat", ".", ",", "do", "n't", "##n't", " "]
    result = tokenizers.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    result.decoder = decoders.WordPiece(cleanup=True)
    return result


MAKERS = {
    "llama": lambda: llama(legacy=False),
    "llama legacy": lambda: llama(legacy=True),
    "metaspace": metaspace,
    "byte level": byte_level,
    "word level": word_level,
    "word piece": word_piece,
}


@pytest.fixture(scope="module", params=MAKERS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    MAKERS[request.param]().save(str(path))
    return path


def test_ids_match_transformers(file: Path) -> None:
    reference = pytest.importorskip("transformers").PreTrainedTokenizerFast(tokenizer_file=str(file))
    ours = Tokenizer.from_file(file)
    assert ours._inner.get_vocab_size() == len(reference)
    for text in [*TEXTS, *CORPUS]:
        ids = ours.encode(text)
        assert ids == reference(text)["input_ids"]
        assert ours.encode(text, add_special_tokens=False) == reference(text, add_special_tokens=False)["input_ids"]
        assert ours.decode(ids) == reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_ids_match_the_llama_class(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    llama(legacy=False).save(str(tmp_path / "tokenizer.json"))
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "legacy": False, "add_bos_token": True}))
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.from_file(tmp_path / "tokenizer.json")
    for text in [*TEXTS, *CORPUS]:
        assert ours.encode(text) == reference(text)["input_ids"], text
    assert ours.encode("hi")[0] == ours._inner.token_to_id("<s>")


def test_a_template_that_writes_the_first_token_gets_no_second() -> None:
    ours = Tokenizer(llama(legacy=False))
    start = ours._inner.token_to_id("<s>")
    assert ours.encode("<s>USER: hi")[:2] == [start, start]
    assert ours.encode_chat("<s>USER: hi", "<s>").count(start) == 1  # type: ignore[arg-type]
    assert ours.encode_chat("USER: hi", "<s>") == ours.encode("USER: hi")
    plain = Tokenizer(byte_level())
    assert plain.encode_chat("<s>hi", None) == plain.encode("<s>hi")


def test_only_the_checkpoint_s_own_first_token_counts_as_written() -> None:
    """As in transformers: a tokenizer that puts one first, of a checkpoint that names none, puts it there once more."""
    ours = Tokenizer(llama(legacy=False))
    start = ours._inner.token_to_id("<s>")
    assert ours.encode_chat("<s>hi", None)[:2] == [start, start]
    assert ours.encode_chat("</s>hi", "</s>") == ours.encode("</s>hi", add_special_tokens=False)


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = tokenizer.stream()
    return [*[stream.push(id) for id in ids], stream.finish()]


def test_streamed_texts_join(file: Path) -> None:
    tokenizer = Tokenizer.from_file(file)
    for text in [*TEXTS, *CORPUS]:
        ids = tokenizer.encode(text)
        given = pieces(tokenizer, ids)
        assert "".join(given) == tokenizer.decode(ids)
        assert all("\ufffd" not in piece for piece in given)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_ids_join(file: Path, data: st.DataObject) -> None:
    """Byte tokens in illegal order, special tokens anywhere, ids outside the vocabulary."""
    tokenizer = Tokenizer.from_file(file)
    size = tokenizer._inner.get_vocab_size()
    low = st.integers(0, min(size, 262) - 1)  # where the byte tokens and the single bytes are
    id = st.one_of(low, st.integers(0, size + 3), st.sampled_from([-1, 2**32, 2**63]))
    ids = data.draw(st.lists(id, max_size=40))
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


def test_plain_text_is_not_held_back() -> None:
    tokenizer = Tokenizer(llama(legacy=False))
    ids = tokenizer.encode("The cat is orange, with green eyes.", add_special_tokens=False)
    assert all(pieces(tokenizer, ids)[1:-1])  # the first may be the stripped space alone
    assert pieces(tokenizer, ids)[-1] == ""


def test_a_long_answer_costs_the_same_per_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(byte_level())
    ids = tokenizer.encode(CORPUS[3] * 40)
    longest = 0
    decode = Tokenizer.decode

    def counted(self: Tokenizer, window: list[int]) -> str:
        nonlocal longest
        longest = max(longest, len(window))
        return decode(self, window)

    monkeypatch.setattr(Tokenizer, "decode", counted)
    pieces(tokenizer, ids)
    assert longest <= 12  # the bytes of one character, and those of the one before


def test_a_decoder_can_be_used_again() -> None:
    tokenizer = Tokenizer(llama(legacy=False))
    stream = tokenizer.stream()
    ids = tokenizer.encode("cat 😀")
    for _ in range(2):
        assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    for content in (b"", b"{}", b"[1]", b"\xff\xfe", b'{"version": "1.0", "model": {"type": "Nope"}}'):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(BundleError, match="cannot read"):
            Tokenizer.from_file(tmp_path / "tokenizer.json")
    with pytest.raises(PromptError, match="surrogate"):
        Tokenizer(byte_level()).encode("a\ud800b")
