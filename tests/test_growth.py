"""What a stranger's tokenizer may make of a text is bounded before any text is given to it."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers

from clasp_trt.growth import MOST, check_growth
from tests.mistakes import says


def normalising(*steps: Any) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence(list(steps))
    return made


def compiled(text: str) -> Tokenizer:
    """A tokenizer of SentencePiece whose compiled normalizer has ``text`` for some character."""
    content = struct.pack("<I", 1024) + bytes(1024) + b"a\0" + text.encode() + b"\0"
    tokenizer = json.loads(Tokenizer(models.BPE()).to_str())
    tokenizer["normalizer"] = {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(content).decode(),
    }
    return Tokenizer.from_str(json.dumps(tokenizer))


GROWING = {
    "a dozen steps": lambda: normalising(*[normalizers.Replace("a", "aaaaaaaaaa")] * 12),
    "one long text": lambda: normalising(normalizers.Replace("a", "a" * (MOST + 1))),
    "between all characters": lambda: normalising(normalizers.Replace("", "b" * MOST)),
    "an expression that matches nothing": lambda: normalising(normalizers.Replace(Regex("x*"), "b" * MOST)),
    "a nested sequence": lambda: normalising(
        normalizers.NFC(), normalizers.Sequence([normalizers.Replace("a", "b" * 9)] * 2)
    ),
    "a compiled normalizer": lambda: compiled("é" * (MOST + 1)),
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_normalizer_without_bound_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="times as long") as caught:
        check_growth(GROWING[kind]())
    says(caught, "normalizer", MOST)


def test_a_decoder_without_bound_is_refused() -> None:
    made = Tokenizer(models.BPE())
    made.decoder = decoders.Sequence([decoders.Replace("a", "b" * 9)] * 2)
    with pytest.raises(ValueError, match="times as long") as caught:
        check_growth(made)
    says(caught, "decoder")


def test_those_of_published_models_are_taken() -> None:
    check_growth(Tokenizer(models.BPE()))
    check_growth(normalising(normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.NFKC()))
    check_growth(normalising(normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace("``", '"')))
    check_growth(compiled("صلى الله عليه وسلم"))  # the longest of Unicode's compatibility forms
    check_growth(compiled("é" * MOST))
