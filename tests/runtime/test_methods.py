"""Pruning methods on a bundle: the host path against the compiled one, capacities, encoded images and variants."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import ImageError, MethodError, PolicyError, PromptError, RequestError
from clasp_trt.methods import METHODS, Method, Selection, View
from clasp_trt.policy import Policy
from clasp_trt.runtime.backends.interface import Tensor
from clasp_trt.runtime.backends.ort import OrtBackend
from clasp_trt.runtime.decoder import Decoder
from clasp_trt.runtime.host_prune import HostPrune
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.timing import Timer
from tests.prompts import boxes, prompt_of

QUESTION = "How many cups are there?"
TOKENS = 16


@pytest.fixture(scope="module")
def pipe(built: Callable[..., Bundle]) -> Pipeline:
    return load(built().root)


@pytest.fixture(scope="module")
def early(built: Callable[..., Bundle]) -> Pipeline:
    return load(built(prune_at="encoder").root)


@pytest.fixture(scope="module")
def whole(built: Callable[..., Bundle]) -> Pipeline:
    return load(built(prune_at="none").root)


@pytest.fixture(scope="module")
def cup(photos: dict[str, Path]) -> Path:
    return photos["coffee"]


def _on_host(method: Method) -> Method:
    return replace(method, form=None, host_reads=method.reads)


def _watching(name: str, seen: list[View]) -> Method:
    """A method that also notes what it was shown."""
    method = METHODS[name]

    def select(view: View) -> Selection:
        seen.append(copy.deepcopy(view))  # the arrays themselves go with the request
        return method.select(view)

    return replace(method, select=select, form=None, host_reads=method.reads)


def _assert_equal(found: Result, expected: Result) -> None:
    assert found.token_ids == expected.token_ids
    assert len(found.kept) == len(expected.kept)
    for one, other in zip(found.kept, expected.kept, strict=True):
        assert one.after_layer == other.after_layer
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.is_pivot, other.is_pivot)


# --- methods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers(pipe: Pipeline, cup: Path, name: str) -> None:
    other = pipe.variant(method=METHODS[name])
    result = other.generate(cup, QUESTION, max_new_tokens=4)
    assert len(result.token_ids) == 4
    keeps = [METHODS[name].count(TOKENS, keep) for keep in pipe.bundle.manifest.schedule.keeps]
    assert [len(stage.indices) for stage in result.kept] == keeps
    for before, after in zip(result.kept, result.kept[1:], strict=False):
        assert set(after.indices) <= set(before.indices)
    _assert_equal(other.generate(cup, QUESTION, max_new_tokens=4), result)


@pytest.mark.parametrize("name", ["sparsevlm", "dart", "none"])
@pytest.mark.full
def test_half_precision_on_the_host(built: Callable[..., Bundle], cup: Path, name: str) -> None:
    half = load(built(precision="fp16").root, method=name)
    result = half.generate(cup, QUESTION, max_new_tokens=4)
    keeps = [METHODS[name].count(TOKENS, keep) for keep in half.bundle.manifest.schedule.keeps]
    assert [len(stage.indices) for stage in result.kept] == keeps


@pytest.mark.parametrize("name", METHODS)
def test_text_alone_knows_no_method(pipe: Pipeline, name: str) -> None:
    result = pipe.variant(method=METHODS[name]).generate(None, QUESTION, max_new_tokens=4)
    assert result.kept == ()
    assert result.token_ids == pipe.generate(None, QUESTION, max_new_tokens=4).token_ids


@pytest.mark.parametrize("name", ["clasp", "clasp-fixed"])
@pytest.mark.parametrize("where", ["pipe", "early"])
def test_the_host_selects_as_the_compiled_graphs(
    where: str, name: str, request: pytest.FixtureRequest, cup: Path
) -> None:
    pipe: Pipeline = request.getfixturevalue(where)
    for category in pipe.policy.categories:
        answers = [
            pipe.variant(method=method).generate(cup, QUESTION, max_new_tokens=6, category=category.name)
            for method in (METHODS[name], _on_host(METHODS[name]))
        ]
        _assert_equal(*answers)


def test_a_host_stage_gives_what_the_graph_gives(built: Callable[..., Bundle]) -> None:
    """Every output, with text before and after the image, and reference rows that are not all of it."""
    bundle, backend = built(), OrtBackend()
    graph, rng = bundle.graph("prune_0"), np.random.default_rng(0)
    keep, width = bundle.manifest.schedule.keeps[0], bundle.manifest.model.decoder.width
    gram = np.round(np.corrcoef(rng.standard_normal((TOKENS, 4))) * 1024) / 1024
    inputs: dict[str, NDArray[Any]] = {
        "hidden": rng.standard_normal((1, 24, width)).astype(np.float32),
        "position_ids": np.arange(24)[None],
        "saliency": rng.random((1, TOKENS)).astype(np.float32),
        "gram": gram[None].astype(np.float32),
        "pivot_count": np.array([3]),
        "visual_index": np.arange(3, 3 + TOKENS),
        "reference_index": np.array([20, 23]),
    }
    compiled = backend.load(bundle.path(graph.path), graph)
    (host,) = HostPrune(METHODS["clasp"], backend, [keep], [3], boxes(4), None).runners
    uploaded: dict[str, Tensor] = {name: backend.upload(array) for name, array in inputs.items()}
    expected, found = compiled(uploaded, {}), host(uploaded, {})
    assert set(found) == {port.name for port in graph.outputs}
    for port in graph.outputs:
        array = backend.download(found[port.name])
        assert array.dtype == port.dtype
        np.testing.assert_array_equal(array, backend.download(expected[port.name]), err_msg=port.name)


def test_none_on_a_pruned_bundle_is_the_unpruned_bundle(pipe: Pipeline, whole: Pipeline, cup: Path) -> None:
    none = METHODS["none"]
    expected = whole.variant(method=none).generate(cup, QUESTION, max_new_tokens=16)
    found = pipe.variant(method=none).generate(cup, QUESTION, max_new_tokens=16)
    assert found.token_ids == expected.token_ids
    assert [stage.indices.tolist() for stage in found.kept] == [list(range(TOKENS))] * 3
    assert expected.kept == ()


def test_none_matters(pipe: Pipeline, cup: Path) -> None:
    """Else the test above would show nothing: pruning changes this model's answer."""
    answers = {pipe.variant(method=METHODS[name]).generate(cup, QUESTION, max_new_tokens=16).token_ids
               for name in ("none", "clasp")}  # fmt: skip
    assert len(answers) == 2


def test_what_a_method_is_shown(pipe: Pipeline, cup: Path) -> None:
    seen: list[View] = []
    result = pipe.variant(method=_watching("fastv", seen)).generate(cup, QUESTION, max_new_tokens=1)
    encoded = pipe.encode(cup)
    np.testing.assert_array_equal(seen[0].cls_saliency, OrtBackend().download(encoded.outputs["cls_saliency"])[0])
    counts = pipe.policy.pivot_counts(result.route.category, pipe.bundle.manifest.schedule.keeps)
    places = np.arange(TOKENS)
    for number, view in enumerate(seen):
        np.testing.assert_array_equal(view.boxes, boxes(4, cell=14)[places])
        np.testing.assert_array_equal(view.gram, seen[0].gram[np.ix_(places, places)])
        np.testing.assert_array_equal(view.cls_saliency, seen[0].cls_saliency[places])
        assert (view.extent, view.stage) == ((0, 0, 56, 56), number)
        assert (view.keep, view.pivot_count) == (pipe.bundle.manifest.schedule.keeps[number], counts[number])
        places = result.kept[number].indices
    assert len(seen) == 3


def test_before_the_decoder_saliency_is_that_of_cls(early: Pipeline, cup: Path) -> None:
    seen: list[View] = []
    early.variant(method=_watching("fastv", seen)).generate(cup, QUESTION, max_new_tokens=1)
    (view,) = seen
    np.testing.assert_array_equal(view.saliency, view.cls_saliency)
    assert view.saliency.std() > 0


def test_raters_alone_make_the_saliency(built: Callable[..., Bundle]) -> None:
    """With one rater, the saliency is that of a prompt whose reference is this row."""
    bundle, backend = built(), OrtBackend()
    decoder = Decoder(bundle, backend)
    ids = np.r_[40, 41, np.full(TOKENS, 502), np.arange(60, 65)]
    prompt = prompt_of(ids, np.arange(2, 2 + TOKENS), np.arange(2 + TOKENS, len(ids)))
    visual = np.random.default_rng(0).standard_normal((1, TOKENS, 48)).astype(np.float32)

    def saliencies(prompt: Prompt, method: Method) -> list[NDArray[np.float32]]:
        seen: list[View] = []

        def select(view: View) -> Selection:
            seen.append(copy.deepcopy(view))
            return method.select(view)

        watching = replace(method, select=select)
        decoder.prefill(prompt, backend.upload(visual), None, (3, 2, 1), Timer(), watching)
        return [view.saliency for view in seen]

    second_only = replace(METHODS["sparsevlm"], raters=lambda text, visual: np.arange(len(text)) == 1)
    narrowed = replace(prompt, reference_index=prompt.reference_index[[1]])
    found, expected = saliencies(prompt, second_only), saliencies(narrowed, METHODS["fastv"])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(found[0] - saliencies(prompt, METHODS["fastv"])[0]).max() > 0


def test_a_method_that_breaks_its_promise_is_found_out(pipe: Pipeline, cup: Path) -> None:
    greedy = replace(METHODS["none"], prunes=True)
    with pytest.raises(RuntimeError, match="16 of 16 tokens"):
        pipe.variant(method=greedy).generate(cup, QUESTION)


def test_methods_other_than_clasp_read_the_checkpoints_layer(pipe: Pipeline, cup: Path) -> None:
    """Whatever the policy mixes: with it on another layer, only what is fused changes."""
    layers, layer = pipe.bundle.policy.layers, pipe.bundle.manifest.model.vision.feature_layer
    scores = tuple(float(each != layer) for each in layers)
    rows = tuple(replace(category, scores=scores) for category in pipe.policy.categories)
    shallow = replace(pipe.policy, categories=rows, tau=100.0)
    grams: dict[str, list[View]] = {}
    for name in ("clasp", "clasp-fixed", "divprune"):
        grams[name] = []
        watching = _watching(name, grams[name])
        for policy in (None, shallow):
            pipe.variant(method=watching, policy=policy).generate(cup, QUESTION, max_new_tokens=1)
    first = {name: (views[0].gram, views[3].gram) for name, views in grams.items()}
    np.testing.assert_array_equal(*first["divprune"])
    np.testing.assert_array_equal(*first["clasp-fixed"])
    assert np.abs(first["clasp"][0] - first["clasp"][1]).max() > 0


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"none", "clasp"}))
def test_an_unpruned_bundle_refuses_methods_that_prune(whole: Pipeline, name: str) -> None:
    with pytest.raises(MethodError, match=f"method {name}"):
        whole.variant(method=METHODS[name])


def test_raters_need_a_stage_in_the_decoder(early: Pipeline) -> None:
    with pytest.raises(MethodError, match=r"sparsevlm .* build with --prune-at decoder"):
        early.variant(method=METHODS["sparsevlm"])


@pytest.mark.full
def test_a_bundle_without_the_checkpoints_layer(built: Callable[..., Bundle], tmp_path: Path) -> None:
    whole = built()
    layer = whole.manifest.model.vision.feature_layer
    others = (layer - 1, layer + 1)
    rows = tuple(replace(category, scores=(0.0,) * len(others)) for category in whole.policy.categories)
    file = tmp_path / "policy.json"
    file.write_text(replace(whole.policy, layers=others, categories=rows).dumps())
    pipe = load(built(policy=str(file)).root)
    with pytest.raises(MethodError, match=f"fastv.*vision layer {layer}"):
        pipe.variant(method=METHODS["fastv"])
    assert pipe.method is METHODS["clasp"]


def test_a_method_is_chosen_at_load(built: Callable[..., Bundle], pipe: Pipeline, cup: Path) -> None:
    found = load(built().root, method="divprune").generate(cup, QUESTION, max_new_tokens=4)
    _assert_equal(found, pipe.variant(method=METHODS["divprune"]).generate(cup, QUESTION, max_new_tokens=4))
    with pytest.raises(MethodError, match="'divprune'"):
        load("/nowhere", method="divprun")


def test_none_needs_room_for_every_token(pipe: Pipeline, cup: Path) -> None:
    """Text that the schedule leaves room for, while all visual tokens fill the last segment's cache."""
    none = pipe.variant(method=METHODS["none"])
    short = none.generate(cup, QUESTION, max_new_tokens=1000)
    capacity = min(segment.capacity for segment in pipe.bundle.manifest.segments)
    assert short.finish_reason == "context"
    assert len(short.token_ids) == capacity - short.prompt_tokens + 1
    question = QUESTION
    while pipe.generate(cup, question, max_new_tokens=1).prompt_tokens < capacity:
        question += " cup"
    with pytest.raises(PromptError, match=r"16.*method none.*--max"):
        none.generate(cup, question)


# --- encoded images and variants ----------------------------------------------------------------------------


def test_an_encoded_image_answers_as_the_image(pipe: Pipeline, cup: Path) -> None:
    encoded = pipe.encode(cup)
    for question in (QUESTION, "Where is the cup?", QUESTION):
        for name in ("clasp", "visionzip", "none"):
            variant = pipe.variant(method=METHODS[name])
            found = variant.generate(encoded, question, max_new_tokens=6)
            _assert_equal(found, variant.generate(cup, question, max_new_tokens=6))
            assert not {"preprocess", "vision"} & set(found.timings_ms)
    assert (
        "".join(pipe.stream(encoded, QUESTION, max_new_tokens=6)) == pipe.generate(cup, QUESTION, max_new_tokens=6).text
    )


def test_encode_refuses_what_generate_refuses(pipe: Pipeline) -> None:
    with pytest.raises(ImageError):
        pipe.encode("/nowhere.png")


def test_an_image_encoded_elsewhere_is_refused(pipe: Pipeline, early: Pipeline, cup: Path) -> None:
    with pytest.raises(ImageError, match="encoded by another loaded bundle"):
        early.generate(pipe.encode(cup), QUESTION)


def test_a_variant_shares_what_is_loaded(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a graph was loaded again")

    monkeypatch.setattr(OrtBackend, "load", refuse)
    variant = pipe.variant(method=METHODS["fastv"])
    assert (variant.method.name, pipe.method.name) == ("fastv", "clasp")
    assert variant.variant().method is METHODS["fastv"], "None keeps the current"


def test_a_variant_interrupts_the_others(pipe: Pipeline, cup: Path) -> None:
    first = pipe.stream(cup, QUESTION, max_new_tokens=20)
    next(first)
    pipe.variant(method=METHODS["fastv"]).generate(cup, QUESTION, max_new_tokens=2)
    with pytest.raises(RequestError, match="another request"):
        list(first)


def test_a_variant_follows_another_policy(
    pipe: Pipeline, built: Callable[..., Bundle], cup: Path, tmp_path: Path
) -> None:
    default = pipe.policy.categories[-1]
    narrow = replace(pipe.policy, categories=(replace(default, name="cups"), replace(default, ratio=default.ratio * 0)))
    variant = pipe.variant(policy=narrow)
    assert variant.generate(cup, QUESTION, max_new_tokens=1, category="cups").category == "cups"
    found = variant.generate(cup, QUESTION, max_new_tokens=4, category="default")
    assert not any(stage.is_pivot.any() for stage in found.kept)
    file = tmp_path / "policy.json"
    file.write_text(narrow.dumps())
    loaded = load(built().root, policy=file)
    _assert_equal(found, loaded.generate(cup, QUESTION, max_new_tokens=4, category="default"))
    with pytest.raises(PromptError, match="expected one of: cups, default"):
        variant.generate(cup, QUESTION, category="counting")
    assert pipe.generate(cup, QUESTION, max_new_tokens=1).category == "counting", "and the first pipeline its own"


def test_a_variant_refuses_a_policy_of_other_layers(pipe: Pipeline) -> None:
    layers = tuple(layer + 50 for layer in pipe.policy.layers)
    with pytest.raises(PolicyError, match="the policy reads vision layers"):
        pipe.variant(policy=replace(pipe.policy, layers=layers))
    assert isinstance(pipe.policy, Policy)
    assert pipe.policy.layers == pipe.bundle.policy.layers


def test_rows_keep_all_their_positions_on_the_host() -> None:
    backend = OrtBackend()
    (host,) = HostPrune(METHODS["clasp"], backend, [2], [2], boxes(2), None).runners
    positions = np.random.default_rng(0).integers(0, 50, (3, 1, 7))
    inputs = {
        "hidden": np.arange(7, dtype=np.float32).reshape(1, 7, 1),
        "position_ids": positions,
        "saliency": np.array([[3, 1, 2, 4]], np.float32),
        "gram": np.eye(4, dtype=np.float32)[None],
        "pivot_count": np.array([2]),
        "visual_index": np.array([1, 2, 3, 4]),
        "reference_index": np.array([6]),
    }
    found = host({name: backend.upload(array) for name, array in inputs.items()}, {})
    rows = [0, 1, 4, 5, 6]
    np.testing.assert_array_equal(backend.download(found["position_ids_out"]), positions[:, :, rows])
    assert backend.download(found["hidden_out"])[0, :, 0].tolist() == rows
