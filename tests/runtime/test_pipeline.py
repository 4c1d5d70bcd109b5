"""Bundle to answer: streaming, stop conditions, sampling, categories, and one clear line for every mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, BundleError, ClaspError, ImageError, PromptError, RequestError
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.sampling import Sampling
from tests.oneslot import one_slot
from tests.schema1 import downgraded

QUESTION = "How many cups are there?"


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def pipe(bundle: Bundle) -> Pipeline:
    return load(bundle.root)


@pytest.fixture(scope="module")
def cup(photos: dict[str, Path]) -> Path:
    return photos["coffee"]


def _edited(bundle: Bundle, to: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of ``bundle`` in which the JSON file ``name`` was changed; sizes of other files are kept in order."""
    root = Path(shutil.copytree(bundle.root, to / "bundle"))
    value = json.loads((root / name).read_text())
    change(value)
    (root / name).write_text(json.dumps(value))
    if name != "clasp.json":
        _edit_entry(root, name)
    return root


def _edit_entry(root: Path, name: str) -> None:
    manifest = json.loads((root / "clasp.json").read_text())
    manifest["files"][name]["bytes"] = (root / name).stat().st_size
    (root / "clasp.json").write_text(json.dumps(manifest))


def test_an_answer_and_how_it_came_about(pipe: Pipeline, bundle: Bundle, cup: Path) -> None:
    result = pipe.generate(cup, QUESTION, max_new_tokens=8)
    assert len(result.token_ids) == 8
    assert result.text
    assert result.finish_reason == "length"
    assert result.category == "counting"
    assert result.visual_tokens == bundle.manifest.model.tokens[-1] == 16
    assert result.prompt_tokens > 16
    assert [len(stage.indices) for stage in result.kept] == list(bundle.manifest.schedule.keeps)
    counts = bundle.policy.pivot_counts(result.route.category, bundle.manifest.schedule.keeps)
    assert tuple(int(stage.is_pivot.sum()) for stage in result.kept) == counts
    steps = dict(result.timings_ms)
    assert {"route", "tokenize", "preprocess", "vision", "project", "gram", "prune_2", "segment_3"} <= set(steps)
    assert 0 < sum(steps.values()) - steps["ttft"] <= steps["ttft"], "steps follow one another up to the first token"
    assert len(result.tpot_ms) == 7
    assert result.tokens_per_second == pytest.approx(7e3 / sum(result.tpot_ms))


def test_the_pieces_are_the_text(pipe: Pipeline, cup: Path) -> None:
    for seed in range(4):
        sampling = Sampling(temperature=1.5, seed=seed)  # hot: broken bytes and unfinished characters
        answer = pipe.stream(cup, QUESTION, max_new_tokens=24, sampling=sampling)
        pieces = list(answer)
        assert all(pieces)
        assert "".join(pieces) == answer.result.text


def test_a_stream_computes_nothing_before_it_is_asked(pipe: Pipeline) -> None:
    answer = pipe.stream("/nowhere.png", QUESTION)
    with pytest.raises(ImageError):
        next(answer)
    with pytest.raises(RequestError, match="interrupted"):
        _ = answer.result


def test_the_result_of_a_stream_finishes_it(pipe: Pipeline, cup: Path) -> None:
    answer = pipe.stream(cup, QUESTION, max_new_tokens=6)
    first = next(answer)
    assert answer.result.text.startswith(first)
    assert answer.result is answer.result
    assert answer.result.token_ids == pipe.generate(cup, QUESTION, max_new_tokens=6).token_ids


def test_two_streams_at_once_are_refused(pipe: Pipeline, cup: Path) -> None:
    first = pipe.stream(cup, QUESTION, max_new_tokens=20)
    next(first)
    expected = pipe.generate(cup, "Hello", max_new_tokens=5)
    with pytest.raises(RequestError, match="another request"):
        list(first)
    assert pipe.generate(cup, "Hello", max_new_tokens=5).token_ids == expected.token_ids


# --- the end of an answer -----------------------------------------------------------------------------------


def test_one_token(pipe: Pipeline, cup: Path) -> None:
    result = pipe.generate(cup, QUESTION, max_new_tokens=1)
    assert len(result.token_ids) == 1
    assert result.finish_reason == "length"
    assert result.tpot_ms == ()
    assert result.tokens_per_second == 0


@pytest.mark.parametrize("place", [0, 3])
def test_a_stop_token(bundle: Bundle, pipe: Pipeline, cup: Path, tmp_path: Path, place: int) -> None:
    ids = pipe.generate(cup, QUESTION, max_new_tokens=12).token_ids
    stop = ids[place]
    assert stop not in ids[:place]
    root = _edited(bundle, tmp_path, "clasp.json", lambda m: m["model"].update(stop_token_ids=[stop, 2]))
    answer = load(root).stream(cup, QUESTION, max_new_tokens=12)
    pieces = list(answer)
    assert answer.result.finish_reason == "stop"
    assert answer.result.token_ids == ids[: place + 1], "the stop token is part of the answer's tokens"
    assert "".join(pieces) == answer.result.text, "but not of its text"
    only = load(root).generate(cup, QUESTION, max_new_tokens=place + 1)
    assert only.finish_reason == "stop", "also where the length ends"


@pytest.mark.parametrize("with_image", [True, False])
def test_a_full_context(pipe: Pipeline, cup: Path, with_image: bool) -> None:
    result = pipe.generate(cup if with_image else None, QUESTION, max_new_tokens=1000)
    assert result.finish_reason == "context"
    capacity = min(segment.capacity for segment in pipe.bundle.manifest.segments)
    rows = result.prompt_tokens - (16 - pipe.bundle.manifest.schedule.keeps[-1] if with_image else 0)
    # the last token is sampled, and needs no slot
    assert len(result.token_ids) == capacity - rows + 1


def test_a_prompt_beyond_the_context(pipe: Pipeline, cup: Path) -> None:
    for image in (cup, None):
        with pytest.raises(PromptError, match=r"\d+ tokens"):
            pipe.generate(image, "word " * 200)


def test_the_number_of_threads_does_not_matter_to_the_answer(pipe: Pipeline, bundle: Bundle, cup: Path) -> None:
    answers = [p.generate(cup, QUESTION, max_new_tokens=8) for p in (pipe, load(bundle.root, threads=1))]
    assert answers[0].token_ids == answers[1].token_ids


# --- sampling -----------------------------------------------------------------------------------------------


def test_greedy_and_seeded_answers_repeat(pipe: Pipeline, cup: Path) -> None:
    def ids(**sampling: Any) -> tuple[int, ...]:
        return pipe.generate(cup, QUESTION, max_new_tokens=12, sampling=Sampling(**sampling)).token_ids

    assert ids() == ids() == pipe.generate(cup, QUESTION, max_new_tokens=12).token_ids
    assert ids(temperature=1.0, seed=3) == ids(temperature=1.0, seed=3)
    assert len({ids(temperature=1.0, seed=seed) for seed in range(4)}) > 1
    assert ids(temperature=1.0, top_k=1, seed=1) == ids()


# --- categories ---------------------------------------------------------------------------------------------


def test_a_category_overrides_the_router(pipe: Pipeline, bundle: Bundle, cup: Path) -> None:
    for number, category in enumerate(bundle.policy.categories):
        result = pipe.generate(cup, QUESTION, max_new_tokens=1, category=category.name)
        assert result.category == category.name
        assert result.route.category == number
        counts = bundle.policy.pivot_counts(number, bundle.manifest.schedule.keeps)
        assert tuple(int(stage.is_pivot.sum()) for stage in result.kept) == counts


def test_route_is_what_a_request_sees(pipe: Pipeline) -> None:
    assert pipe.route(QUESTION).name == "counting"
    assert pipe.route(QUESTION) == pipe.generate(None, QUESTION, max_new_tokens=1).route


def test_another_policy_changes_the_answer_without_a_build(
    bundle: Bundle, pipe: Pipeline, cup: Path, tmp_path: Path
) -> None:
    def shallow(policy: dict[str, Any]) -> None:
        for category in policy["categories"]:
            category["scores"], category["ratio"] = [1.0] + [0.0] * (len(policy["layers"]) - 1), 0

    other = load(_edited(bundle, tmp_path, "policy.json", shallow))
    before, after = (p.generate(cup, QUESTION, max_new_tokens=8) for p in (pipe, other))
    assert not any(stage.is_pivot.any() for stage in after.kept)
    assert before.token_ids != after.token_ids


# --- images and text ----------------------------------------------------------------------------------------


def test_every_source_of_an_image_is_the_same_image(pipe: Pipeline, cup: Path) -> None:
    expected = pipe.generate(cup, QUESTION, max_new_tokens=4).token_ids
    for source in (str(cup), cup.read_bytes(), Image.open(cup)):
        assert pipe.generate(source, QUESTION, max_new_tokens=4).token_ids == expected


def test_the_image_matters(pipe: Pipeline, photos: dict[str, Path]) -> None:
    answers = {pipe.generate(photo, QUESTION, max_new_tokens=8).token_ids for photo in photos.values()}
    assert len(answers) > 1


def test_the_placeholder_says_where_the_image_goes(pipe: Pipeline, cup: Path) -> None:
    implied = pipe.generate(cup, QUESTION, max_new_tokens=4)
    behind = pipe.generate(cup, f"{QUESTION} <image>", max_new_tokens=4)
    assert behind.visual_tokens == implied.visual_tokens == 16
    assert pipe.generate(None, QUESTION, max_new_tokens=4).visual_tokens == 0


def test_view_is_what_the_model_sees(pipe: Pipeline, cup: Path) -> None:
    assert pipe.see(Image.open(cup)).view.size == (56, 56)


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "prompt", "options", "kind", "message"),
    [
        (None, "", {}, PromptError, "empty"),
        (None, "  \n", {}, PromptError, "empty"),
        (None, "What is <image>?", {}, PromptError, "no image"),
        ("photo", "<image> <image>", {}, PromptError, "2 times"),
        (["photo", "photo"], QUESTION, {}, ImageError, "--max-images 2"),
        (None, QUESTION, {"max_new_tokens": 0}, PromptError, "expected a whole number of at least 1"),
        (None, QUESTION, {"max_new_tokens": 2.5}, PromptError, "expected a whole number of at least 1"),
        ("photo", QUESTION, {"category": "cuonting"}, PromptError, "expected one of: object identification, "),
        ("/nowhere.png", QUESTION, {}, ImageError, "nowhere"),
        (b"no image", QUESTION, {}, ImageError, "image"),
        (None, "half \udc00 a pair", {}, PromptError, "Unicode"),
    ],
)
def test_mistakes_of_a_request(
    pipe: Pipeline, cup: Path, image: Any, prompt: str, options: dict[str, Any], kind: type[ClaspError], message: str
) -> None:
    with pytest.raises(kind, match=message) as error:
        pipe.generate(cup if image == "photo" else image, prompt, **options)
    assert "\n" not in str(error.value)
    assert pipe.generate(cup, QUESTION, max_new_tokens=1).token_ids, "the next request is none the worse"


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_broken_file_of_the_bundle(bundle: Bundle, tmp_path: Path, content: str) -> None:
    name = "special_tokens_map.json"
    root = Path(shutil.copytree(bundle.root, tmp_path / "bundle"))
    (root / name).write_text(content, errors="surrogateescape")
    _edit_entry(root, name)
    with pytest.raises(BundleError, match=f"{name}.*") as error:
        load(root)
    assert "\n" not in str(error.value)


def test_the_checkpoints_settings_are_not_read_again(bundle: Bundle, pipe: Pipeline, cup: Path, tmp_path: Path) -> None:
    """They lie in the bundle for the record."""
    root = Path(shutil.copytree(bundle.root, tmp_path / "bundle"))
    (root / "preprocessor_config.json").write_text("{")
    _edit_entry(root, "preprocessor_config.json")
    found = load(root).generate(cup, QUESTION, max_new_tokens=4)
    assert found.token_ids == pipe.generate(cup, QUESTION, max_new_tokens=4).token_ids


def test_a_bundle_of_schema_1_answers_as_ever(bundle: Bundle, pipe: Pipeline, cup: Path, tmp_path: Path) -> None:
    root = downgraded(bundle.root, tmp_path / "bundle")
    old = load(root, verify=True)
    assert old.bundle.manifest == bundle.manifest
    found, expected = (each.generate(cup, QUESTION, max_new_tokens=8) for each in (old, pipe))
    assert found.token_ids == expected.token_ids
    assert [stage.indices.tolist() for stage in found.kept] == [stage.indices.tolist() for stage in expected.kept]


def test_a_bundle_whose_graphs_have_one_slot_answers_as_ever(
    bundle: Bundle, pipe: Pipeline, cup: Path, tmp_path: Path
) -> None:
    old = load(one_slot(bundle.root, tmp_path / "bundle"), verify=True)
    assert old.bundle.graph("segment_1").inputs[0].shape[0] == 1
    found, expected = (each.generate(cup, QUESTION, max_new_tokens=8) for each in (old, pipe))
    assert found.token_ids == expected.token_ids
    assert [stage.indices.tolist() for stage in found.kept] == [stage.indices.tolist() for stage in expected.kept]


def test_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        load(tmp_path)


@pytest.mark.full
def test_pruning_is_the_only_difference_that_a_budget_makes(built: Callable[..., Bundle], cup: Path) -> None:
    """Without pruning every token stays; with one stage before the decoder as many as it says."""
    none = load(built(prune_at="none").root).generate(cup, QUESTION, max_new_tokens=4)
    assert none.kept == ()
    early_bundle = built(prune_at="encoder")
    early = load(early_bundle.root).generate(cup, QUESTION, max_new_tokens=4)
    assert [len(stage.indices) for stage in early.kept] == list(early_bundle.manifest.schedule.keeps) == [8]
    assert none.prompt_tokens == early.prompt_tokens
    assert np.all(np.diff(early.kept[0].indices) > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "the prompt is NoneType, expected a string"),
        ({"max_new_tokens": "3"}, "max_new_tokens is '3', expected a whole number of at least 1"),
    ],
)
def test_a_value_of_another_type_is_one_line(pipe: Pipeline, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=rf"^{message}$"):
        pipe.generate(None, **{"prompt": "Hello", **arguments})


@pytest.mark.parametrize("threads", [0, "2", 1.5])
def test_threads_are_a_whole_number(bundle: Bundle, threads: Any) -> None:
    with pytest.raises(BackendError, match=r"^threads.*whole number"):
        load(bundle.root, threads=threads)
