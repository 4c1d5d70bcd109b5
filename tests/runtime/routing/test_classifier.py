"""A classifier behind the router's interface: labels summed to categories, both ends read, no string that hurts."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import models, pre_tokenizers, processors

from clasp_trt.errors import BackendError, RouterError
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.routing.classifier import ClassifierRouter, Framing
from clasp_trt.runtime.routing.folder import load_router
from clasp_trt.runtime.routing.router import Route
from clasp_trt.runtime.text.tokenizer import Tokenizer
from tests.mistakes import says

NAMES = ("dents", "labels", "default")
VOCABULARY = {word: at for at, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *"abcdefghij"])}


def tokenizer(template: str = "[CLS] $A [SEP]") -> Tokenizer:
    inner = tokenizers.Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return Tokenizer(inner)


def ids(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


def fixed(logits: list[float], labels: list[int], threshold: float = 0.5) -> ClassifierRouter:
    def run(seen: NDArray[np.int64]) -> NDArray[np.float32]:
        assert seen.dtype == np.int64
        assert seen.shape[0] == 1
        return np.array([logits], np.float32)

    return ClassifierRouter(NAMES, labels, threshold, Framing(tokenizer(), 6), run)


def test_labels_of_a_category_are_summed() -> None:
    route = fixed([math.log(2), math.log(3), math.log(4), math.log(1)], [0, 1, 0, 2]).route("a")
    assert route.probabilities == pytest.approx((0.6, 0.3, 0.1))
    assert (route.category, route.name, route.why) == (0, "dents", ())
    assert route.confidence == pytest.approx(0.6)


def test_below_the_threshold_is_default() -> None:
    route = fixed([0.0, 0.0, 0.0], [0, 1, 2], threshold=0.34).route("a")
    assert (route.name, route.category) == ("default", 2)
    assert route.confidence == pytest.approx(2 / 3)


def test_large_logits_do_not_overflow() -> None:
    assert fixed([1e30, -1e30, 0.0], [0, 1, 2]).route("a").probabilities == (1, 0, 0)


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("a b c", 5, "[CLS] a b c [SEP]"),
        ("a b c d", 5, "[CLS] a b d [SEP]"),
        ("a b c d e f g h i j", 6, "[CLS] a b i j [SEP]"),
        ("a b c", 3, "[CLS] a [SEP]"),
        ("", 3, "[CLS] [SEP]"),
        ("a zzz", 9, "[CLS] a [UNK] [SEP]"),
    ],
)
def test_the_middle_is_left_out(text: str, room: int, expected: str) -> None:
    assert Framing(tokenizer(), room).encode(text) == ids(expected)


@pytest.mark.parametrize(
    ("template", "expected"), [("$A [SEP]", "a b [SEP]"), ("[CLS] $A", "[CLS] a b"), ("$A", "a b")]
)
def test_special_tokens_stand_where_the_tokenizer_puts_them(template: str, expected: str) -> None:
    assert Framing(tokenizer(template), 3).encode("a b") == ids(expected)


def test_no_room_beside_the_special_tokens() -> None:
    with pytest.raises(RouterError, match=r"max_tokens: 2.*2 special tokens"):
        Framing(tokenizer(), 2)


def test_nothing_to_read_is_default() -> None:
    router = ClassifierRouter(NAMES, [0, 1, 2], 0.0, Framing(tokenizer("$A"), 4), lambda _: pytest.fail("asked"))
    assert router.route("") == Route(2, "default", 1.0, (), (0.0, 0.0, 1.0))


@given(st.text(st.characters(), max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_string_has_a_route(router: Path, prompt: str) -> None:
    check(load_once(router).route(prompt))


@pytest.mark.parametrize(
    "prompt",
    ["", "\0", "\ud800", "😀" * 5000, "word " * 10_000, "在" * 50_000, " " * 100_000, "[SEP]" * 10_000],
    ids=lambda prompt: repr(prompt[:9]),
)
def test_hostile_prompts_are_quick(router: Path, prompt: str) -> None:
    load_once(router).route("warm")
    started = time.process_time()
    check(load_once(router).route(prompt))
    assert time.process_time() - started < 0.5


def check(route: Route) -> None:
    assert CATEGORY_NAMES[route.category] == route.name
    assert 0 <= route.confidence <= 1
    assert sum(route.probabilities) == pytest.approx(1)
    assert len(route.probabilities) == len(CATEGORY_NAMES)


_loaded: dict[Path, object] = {}


def load_once(folder: Path) -> ClassifierRouter:
    if folder not in _loaded:
        _loaded[folder] = load_router(folder, CATEGORY_NAMES, 0.5)
    found = _loaded[folder]
    assert isinstance(found, ClassifierRouter)
    return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": ["counting", "counting", "cats"]}, r"labels\[2\].*cats"),
        ({"labels": []}, "labels: .*empty array"),
        ({"labels": "counting"}, "labels: .*array"),
        ({"max_tokens": 0}, "max_tokens: .*4096"),
        ({"max_tokens": 5000}, "max_tokens: .*4096"),
        ({"max_tokens": True}, "max_tokens: .*4096"),
        ({"max_tokens": 2}, "leaves no room for text"),
        ({"colour": "red"}, "unknown key .colour"),
        ({"source": None}, "missing key .source"),
    ],
)
def test_malformed_fields(router: Path, tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    folder = Path(shutil.copytree(router, tmp_path / "router"))
    spec = {**json.loads((folder / "router.json").read_text()), **changes}
    (folder / "router.json").write_text(json.dumps({key: value for key, value in spec.items() if value is not None}))
    with pytest.raises(RouterError, match=expected):
        load_router(folder, CATEGORY_NAMES, 0.5)


def test_a_graph_of_other_labels_is_not_believed(router: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(router, tmp_path / "router"))
    spec = json.loads((folder / "router.json").read_text())
    (folder / "router.json").write_text(json.dumps({**spec, "labels": ["counting", "default"]}))
    with pytest.raises(BackendError) as error:
        load_router(folder, CATEGORY_NAMES, 0.5)
    says(error, "router.onnx", "[1, 3]", "[1, 2]")
