"""Pictures that were shown before are not looked at again: the same answers, without the vision graph."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names
from clasp_trt.errors import ImageError
from clasp_trt.methods import METHODS
from clasp_trt.runtime.encoded import Encoded
from clasp_trt.runtime.feature_cache import FeatureCache
from clasp_trt.runtime.pipeline import Pipeline, load
from tests.mistakes import says

QUESTION = "How many cups are there?"


def image(value: int, size: tuple[int, int] = (4, 3)) -> Image.Image:
    return Image.new("RGB", size, (value, 0, 0))


def entry() -> Encoded:
    return cast(Encoded, object())


def test_the_one_that_was_used_least_recently_goes() -> None:
    cache, kept = FeatureCache(100), {name: entry() for name in "abcd"}
    keys = {name: cache.key(image(number)) for number, name in enumerate("abcd")}
    for name in "abc":
        cache.put(keys[name], kept[name], 33)
    assert cache.get(keys["a"]) is kept["a"]
    cache.put(keys["d"], kept["d"], 34)
    assert [cache.get(keys[name]) for name in "abcd"] == [kept["a"], None, kept["c"], kept["d"]]
    cache.put(keys["c"], kept["b"], 60)
    assert [cache.get(keys[name]) for name in "acd"] == [None, kept["b"], kept["d"]]
    cache.put(keys["a"], kept["a"], 101)
    assert [cache.get(keys[name]) for name in "acd"] == [None, kept["b"], kept["d"]], "one that never fits"
    cache.clear()
    assert cache.get(keys["c"]) is None


def test_a_picture_is_its_pixels_and_its_size() -> None:
    cache = FeatureCache(1)
    assert cache.key(image(1)) == cache.key(image(1).copy())
    others = [image(2), image(1, (3, 4)), image(1, (12, 1)), image(1, (6, 2))]
    assert len({cache.key(each) for each in (image(1), *others)}) == 5
    assert FeatureCache(0).key(image(1)) is None


@pytest.mark.parametrize("limit", [-1, True, 1.5, "1", None])
def test_a_limit_that_is_none(built: Callable[..., Bundle], limit: Any) -> None:
    with pytest.raises(ImageError) as refused:
        load(built().root, image_cache_bytes=limit)
    says(refused, "image_cache_bytes", repr(limit))


@pytest.fixture
def pipe(built: Callable[..., Bundle]) -> Iterator[Pipeline]:
    with load(built(max_images=2, budget="1/3", max_context=160).root, threads=1) as pipeline:
        yield pipeline


def test_a_second_answer_does_not_look_again(pipe: Pipeline, photos: dict[str, Path]) -> None:
    cup, first = photos["coffee"], pipe.generate(photos["coffee"], QUESTION, max_new_tokens=4)
    for same in (cup, str(cup), cup.read_bytes(), io.BytesIO(cup.read_bytes()), Image.open(cup)):
        again = pipe.generate(same, QUESTION, max_new_tokens=4)
        assert (again.reused_images, again.token_ids) == (1, first.token_ids)
        assert names.VISION not in again.timings_ms
    assert (first.reused_images, names.VISION in first.timings_ms) == (0, True)
    given = pipe.encode(cup)
    assert pipe.generate(given, QUESTION, max_new_tokens=1).reused_images == 0, "it was given, and not found"


def test_it_serves_other_questions_categories_policies_and_turns(pipe: Pipeline, photos: dict[str, Path]) -> None:
    pipe.generate(photos["coffee"], QUESTION, max_new_tokens=1)
    for other in (pipe, pipe.variant(method=METHODS["fastv"])):
        for category in ("counting", "scene understanding"):
            found = other.generate(photos["coffee"], "What is it?", max_new_tokens=3, category=category)
            assert found.reused_images == 1
            fresh = load(pipe.bundle.root, threads=1, image_cache_bytes=0).variant(method=other.method)
            expected = fresh.generate(photos["coffee"], "What is it?", max_new_tokens=3, category=category)
            assert (found.token_ids, expected.reused_images) == (expected.token_ids, 0)
    two = pipe.generate([photos["coffee"], photos["chelsea"]], QUESTION, max_new_tokens=1)
    assert (two.reused_images, names.VISION in two.timings_ms) == (1, True)
    talk = [
        {"role": "user", "content": [{"type": "image", "path": photos["chelsea"]}, {"type": "text", "text": "Why?"}]}
    ]
    assert pipe.chat(talk, max_new_tokens=1).reused_images == 1


def test_one_request_with_the_same_picture_twice_looks_once(pipe: Pipeline, photos: dict[str, Path]) -> None:
    found = pipe.generate([photos["coffee"]] * 2, QUESTION, max_new_tokens=1)
    assert sum(span.name == names.VISION for span in found.spans) == 1


def test_bytes_are_those_of_the_tensors(built: Callable[..., Bundle], photos: dict[str, Path]) -> None:
    pictures, layers = [photos[name] for name in ("coffee", "chelsea", "astronaut")], len(built().policy.layers)
    one = 16 * 4 * (layers * 32 + 1 + 4)  # of 16 tokens the layers of 32, a saliency and a box
    for limit, reused in ((2 * one, 1), (2 * one - 1, 0), (one - 1, 0), (0, 0)):
        with load(built().root, threads=1, image_cache_bytes=limit) as pipeline:
            for picture in pictures:
                pipeline.generate(picture, QUESTION, max_new_tokens=1)
            assert pipeline.generate(pictures[1], QUESTION, max_new_tokens=1).reused_images == reused


def test_threads_share_it(pipe: Pipeline, photos: dict[str, Path]) -> None:
    pictures = [photos["coffee"], photos["chelsea"]] * 2
    found: list[int] = []
    expected = {picture: pipe.generate(picture, QUESTION, max_new_tokens=3).token_ids for picture in pictures}

    def ask(picture: Path) -> None:
        result = pipe.generate(picture, QUESTION, max_new_tokens=3)
        assert result.token_ids == expected[picture]
        found.append(result.reused_images)

    threads = [threading.Thread(target=ask, args=(picture,)) for picture in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4


def test_what_was_kept_is_what_was_seen(pipe: Pipeline, photos: dict[str, Path]) -> None:
    first = pipe.encode(photos["coffee"])
    pipe.generate(photos["coffee"], QUESTION, max_new_tokens=3)
    assert pipe.encode(photos["coffee"]) is first
    with load(pipe.bundle.root, threads=1, image_cache_bytes=0) as other:
        again = other.encode(photos["coffee"])
        for name, tensor in again.outputs.items():
            np.testing.assert_array_equal(
                other._steps.backend.download(tensor), pipe._steps.backend.download(first.outputs[name])
            )
