"""Generated requests are the same each time, and of the length asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.tools.profile.workload import noise, words


def test_noise_has_the_size_that_the_model_reads(built: Callable[..., Bundle]) -> None:
    picture = noise(built())
    assert (picture.size, picture.mode) == ((56, 56), "RGB")
    assert picture.tobytes() == noise(built()).tobytes()
    assert len(set(picture.tobytes())) == 256


@pytest.mark.parametrize("tokens", [1, 2, 7, 32, 300])
def test_prompt_fills_its_tokens(built: Callable[..., Bundle], tokens: int) -> None:
    bundle = built()
    tokenizer = Tokenizer.from_file(bundle.path("tokenizer.json"))
    text = words(bundle, tokens)
    count = len(tokenizer.encode(text, add_special_tokens=False))
    assert count <= tokens or len(text.split()) == 1
    longer = words(bundle, 10_000).split()[: len(text.split()) + 1]
    assert len(tokenizer.encode(" ".join(longer), add_special_tokens=False)) > tokens
