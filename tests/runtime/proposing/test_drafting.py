"""A smaller bundle proposes, and the answer is what it is without."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError, ImageError, PromptError
from clasp_trt.runtime.engine import open_engine
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.sampling import Sampling
from tests.mistakes import says

QUESTION = "How many cups are there?"
LONG: dict[str, Any] = {"max_new_tokens": 24, "ignore_stop": True}
KINDS: list[dict[str, Any]] = [
    LONG,
    {"max_new_tokens": 200, "ignore_stop": True},  # until the caches are full
    {**LONG, "sampling": Sampling(temperature=1.0, top_k=5, seed=2)},
    {"regex": "(cups? ){1,6}[0-9]+"},
    {"category": "counting", "max_new_tokens": 9},
]


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def unpruned(built: Callable[..., Bundle]) -> Bundle:
    """The same model, which sees every visual token: of text it says the same, of pictures something else."""
    return built(prune_at="none")


@pytest.fixture(scope="module")
def pipe(bundle: Bundle, unpruned: Bundle) -> Iterator[Pipeline]:
    with load(bundle.root, threads=1, draft=unpruned.root) as opened:
        yield opened


@pytest.mark.parametrize("wishes", KINDS)
def test_answers_are_the_same(pipe: Pipeline, photos: dict[str, Path], wishes: dict[str, Any]) -> None:
    for picture in (None, photos["coffee"]):
        expected, found = (pipe.generate(picture, QUESTION, **wishes, draft=count) for count in (0, 4))
        assert found.token_ids == expected.token_ids
        assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
        assert expected.speculation is None
        assert found.speculation is not None
        assert found.speculation.proposed


def test_one_of_the_same_mind_is_always_right(pipe: Pipeline) -> None:
    found = pipe.generate(None, QUESTION, **LONG, draft=4).speculation
    assert found is not None
    assert found.accepted == found.proposed
    assert found.steps == -(-(LONG["max_new_tokens"] - 1) // 5)


def test_one_with_smaller_caches_falls_silent(
    bundle: Bundle, built: Callable[..., Bundle], pipe: Pipeline, photos: dict[str, Path]
) -> None:
    with load(bundle.root, threads=1, draft=built(max_context=48).root) as short:
        found = short.generate(photos["coffee"], QUESTION, **LONG, draft=4)
        assert found.token_ids == pipe.generate(photos["coffee"], QUESTION, **LONG).token_ids
        assert found.speculation is not None
        assert found.speculation.tokens_per_step < 5
        with pytest.raises(PromptError) as error:
            short.generate(photos["coffee"], "word " * 12, draft=4)
    says(error, "the draft bundle", "no room")


def test_one_of_other_tokens_is_refused(bundle: Bundle, unpruned: Bundle, tmp_path: Path) -> None:
    shutil.copytree(unpruned.root, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    text = path.read_text("utf-8")
    swapped = re.sub(r'(": ?)(300|301)\b', lambda found: f"{found[1]}{601 - int(found[2])}", text)
    assert swapped != text
    path.write_text(swapped, "utf-8")
    with pytest.raises(BundleError) as error:
        load(bundle.root, draft=tmp_path / "other")
    says(error, tmp_path / "other", bundle.root, "same tokenizer")


def test_mistakes(pipe: Pipeline, bundle: Bundle, photos: dict[str, Path]) -> None:
    with pytest.raises(PromptError) as error:
        pipe.generate(None, QUESTION, draft=3, lookup=3)
    says(error, "lookup", "draft")
    with pytest.raises(ImageError) as wrong:
        pipe.generate(pipe.encode(photos["coffee"]), QUESTION, draft=3)
    says(wrong, "encoded", "the picture itself")
    with load(bundle.root) as alone, pytest.raises(PromptError) as error:
        alone.generate(None, QUESTION, draft=3)
    says(error, 3, "no draft bundle")
    with open_engine(bundle.root) as engine, pytest.raises(PromptError) as error:
        engine.submit(None, QUESTION, draft=3)
    says(error, 3, "no draft bundle")


def test_a_request_may_end_before_the_draft_has_seen_it(pipe: Pipeline) -> None:
    found = pipe.generate(None, QUESTION, draft=3, cancelled=lambda: True)
    assert (found.finish_reason, found.token_ids) == ("cancelled", ())
