"""Profiles follow from budget, context and the longest prompt, and cover every request that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.bundle import Bundle, Graph, Manifest
from clasp_trt.engines.tensorrt.profiles import DEFAULT_PROMPT, check_slots, longest_prompt, profiles
from clasp_trt.errors import BackendError, ScheduleError
from clasp_trt.speculation import MOST
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, make
from tests.mistakes import says

PROMPT = 40


@pytest.fixture(params=["decoder", "encoder", "none"])
def manifest(request: pytest.FixtureRequest, built: Callable[..., Bundle]) -> Manifest:
    """16 visual tokens, 96 positions; pruned to 7, 5 and 4 in the decoder, to 8 before it, or not at all."""
    return built(target=None, prune_at=request.param).manifest


def _sizes(manifest: Manifest, graph: Graph) -> dict[str, dict[str, tuple[int, int, int]]]:
    return {profile.name: dict(profile.sizes) for profile in profiles(manifest, graph, PROMPT)}


def _dims(graph: Graph) -> set[str]:
    return {dim for port in graph.inputs for dim in port.shape if isinstance(dim, str)}


def test_every_size_that_varies_has_a_range(manifest: Manifest) -> None:
    for graph in manifest.graphs:
        for sizes in _sizes(manifest, graph).values():
            assert sizes.keys() - {"kv_length"} == _dims(graph)
            assert ("kv_length" in sizes) == any(port.name == "kv_length" for port in graph.inputs)
            for least, usual, most in sizes.values():
                assert 0 <= least <= usual <= most


def test_what_decoding_runs_has_a_profile_of_its_own(manifest: Manifest) -> None:
    steps = {"embed", *(segment.graph for segment in manifest.segments)}
    for graph in manifest.graphs:
        made = _sizes(manifest, graph)
        assert list(made) == (["prefill", "decode"] if graph.name in steps else ["request"])
        if "decode" in made:
            # a greatest of 1 would make TensorRT for RTX keep the weights of a segment twice
            assert made["decode"]["sequence"] == (1, 1, MOST + 1)
            if "scores" in made["decode"]:
                assert (made["prefill"]["scores"], made["decode"]["scores"]) == ((1, 1, 2), (1, 1, MOST + 1))
            assert all(
                made["decode"][name] == (0, 0, 0) for name in {"reference", "visual_tokens"} & made["decode"].keys()
            )


def test_engines_serve_one_request_at_a_time(manifest: Manifest) -> None:
    for graph in manifest.graphs:
        for sizes in _sizes(manifest, graph).values():
            assert sizes.get("slots") == ((1, 1, 1) if "slots" in _dims(graph) else None)


@pytest.mark.parametrize(("slots", "expected"), [(2, (1, 1, 2)), (5, (1, 2, 5)), (8, (1, 4, 8))])
def test_a_step_is_for_as_many_requests_as_there_are_slots(
    built: Callable[..., Bundle], slots: int, expected: tuple[int, int, int]
) -> None:
    """A prompt is of one; scores are chosen from after both."""
    manifest = replace(built(target=None).manifest, slots=slots)
    steps = {"embed", *(segment.graph for segment in manifest.segments)}
    for graph in manifest.graphs:
        made = _sizes(manifest, graph)
        if graph.name in steps:
            assert (made["prefill"]["slots"], made["decode"]["slots"]) == ((1, 1, 1), expected)
        else:
            assert made["request"].get("slots") == (expected if graph.name == "greedy" else None)


def test_a_slot_that_could_not_be_bound(built: Callable[..., Bundle]) -> None:
    """Caches of 2 heads of 8 float32 numbers a place: 64 bytes."""
    manifest = built(target=None).manifest
    check_slots(manifest)
    with pytest.raises(BackendError) as error:
        check_slots(replace(manifest, slots=2))
    says(error, "--slots 2", "segment_1", 87 * 64, 256, "multiple of 4")
    check_slots(replace(built(target=None, budget=None, schedule=(12, 8, 4)).manifest, slots=2))


def test_a_segment_takes_the_longest_prompt_with_what_pruning_left(manifest: Manifest) -> None:
    arriving = {"decoder": [16, 7, 5, 4], "encoder": [8], "none": [16]}[manifest.prune_at]
    for segment, visual in zip(manifest.segments, arriving, strict=True):
        graph = next(each for each in manifest.graphs if each.name == segment.graph)
        made = _sizes(manifest, graph)
        assert made["prefill"]["sequence"] == (1, visual + PROMPT, visual + PROMPT)
        for name in ("prefill", "decode"):
            assert made[name]["kv_length"][::2] == (1, segment.capacity)


def test_no_segment_is_given_more_rows_than_slots(built: Callable[..., Bundle]) -> None:
    manifest = built(target=None).manifest
    for segment in manifest.segments:
        graph = next(each for each in manifest.graphs if each.name == segment.graph)
        assert max(profiles(manifest, graph, 79)[0].sizes["sequence"]) <= segment.capacity


def test_a_prune_takes_the_tokens_that_reach_it(built: Callable[..., Bundle]) -> None:
    manifest = built(target=None).manifest
    for number, visual in enumerate((16, 7, 5)):
        graph = next(each for each in manifest.graphs if each.name == f"prune_{number}")
        sizes = _sizes(manifest, graph)["request"]
        assert sizes == {"sequence": (visual + 1, visual + PROMPT, visual + PROMPT), "reference": (0, PROMPT, PROMPT)}


@given(context=st.integers(20, 10**5), tokens=st.integers(1, 4000))
def test_the_longest_prompt_leaves_room_for_image_and_answer(context: int, tokens: int) -> None:
    room = context - tokens - 1
    if room < 1:
        return
    default = longest_prompt(None, context, tokens)
    assert default == min(room, DEFAULT_PROMPT)
    assert longest_prompt(room, context, tokens) == room
    for beyond in (0, room + 1):
        with pytest.raises(ScheduleError, match=rf"^--max-prompt {beyond}.*leaves 1 to {room} for"):
            longest_prompt(beyond, context, tokens)


# --- requests that differ in their number of tokens ---------------------------------------------------------


@pytest.fixture(scope="module")
def varying(tmp_path_factory: pytest.TempPathFactory, tracer: object) -> Manifest:
    """16 to 88 visual tokens, usually 70, of 3 to 5 tiles."""
    root = tmp_path_factory.mktemp("varying")
    folder = make(root / "checkpoint", PRESETS["tiny-next"])
    return build(folder, root / "bundle", target=None, budget="paper:192", max_context=256).manifest


def test_ranges_are_those_of_the_tokens_that_arrive(varying: Manifest) -> None:
    made = {graph.name: _sizes(varying, graph) for graph in varying.graphs}
    for graph in varying.graphs:
        assert all(sizes.keys() - {"kv_length"} == _dims(graph) for sizes in made[graph.name].values())
    assert made["vision"]["request"] == {"batch": (3, 5, 5)}
    assert made["projector"]["request"] == {"batch": (3, 5, 5), "visual_tokens": (16, 70, 88)}
    assert made["gram"]["request"]["visual_tokens"] == (16, 70, 88)
    keeps = [varying.schedule.keeps_of(tokens) for tokens in (16, 70, 88)]
    assert made["prune_0"]["request"]["keep"] == tuple(each[0] for each in keeps)
    assert made["prune_1"]["request"]["visual_tokens"] == tuple(each[0] for each in keeps)
    assert made["segment_1"]["prefill"]["visual_tokens"] == (0, keeps[1][0], keeps[2][0])
    assert made["embed"]["prefill"]["sequence"] == (1, 70 + PROMPT, 88 + PROMPT)


@pytest.mark.parametrize(
    ("preset", "tiles"), [("tiny-next-video", (1, 5, 5)), pytest.param("tiny-video", (1, 1, 1), marks=pytest.mark.full)]
)
@pytest.mark.usefixtures("tracer")
def test_frames_are_seen_one_at_a_time(tmp_path: Path, preset: str, tiles: tuple[int, ...]) -> None:
    """By the tower of pictures too, where they have none of their own."""
    folder = make(tmp_path / "checkpoint", PRESETS[preset])
    filmed = build(folder, tmp_path / "bundle", target=None, budget="paper:192", max_context=256).manifest
    made = {graph.name: _sizes(filmed, graph)["request"] for graph in filmed.graphs if "v" in graph.name}
    assert made["vision"] == {"batch": tiles}
    assert {name: sizes for name, sizes in made.items() if "video" in name} == {
        name: {"batch": (1, 1, 1)} for name in filmed.own_to_clips
    }
    assert filmed.own_to_clips[-1] == "projector_video"


def test_pictures_are_seen_one_at_a_time_and_chosen_from_together(built: Callable[..., Bundle]) -> None:
    several = built(target=None, max_images=3, budget="1/3").manifest
    made = {graph.name: _sizes(several, graph) for graph in several.graphs}
    for name in ("vision", "projector"):
        assert made[name]["request"] == {"batch": (1, 1, 1)}
    assert made["gram"]["request"] == {"batch": (1, 1, 1), "visual_tokens": (16, 16, 48)}
    assert made["prune_0"]["request"]["visual_tokens"] == (16, 16, 48)
    assert made["embed"]["prefill"]["visual_tokens"] == (0, 16, 48)
