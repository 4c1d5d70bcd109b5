"""What a build is asked for: the command line's names and Python's lead to the same records."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from clasp_trt.cli.options import compile_options
from clasp_trt.errors import ImageError, MethodError, ScheduleError
from clasp_trt.notice import Notice
from clasp_trt.options import DEFAULT_CONTEXT, DEFAULT_TEXT, EngineOptions, Options, Pruning
from clasp_trt.plugins.launch import MAX_TOKENS
from tests.mistakes import says


@pytest.mark.parametrize(
    ("words", "given", "expected"),
    [
        ((), {}, Options()),
        (
            ("--schedule", "9,4", "--prune-layers", "1,2", "--prune-at", "decoder", "--vision-layers", "3,6"),
            {"schedule": [9, 4], "prune_layers": [1, 2], "prune_at": "decoder", "vision_layers": [3, 6]},
            Options(Pruning("decoder", None, (9, 4), (1, 2)), vision_layers=(3, 6)),
        ),
        (("--max-visual-tokens", "700"), {"max_visual_tokens": 700}, Options(max_visual_tokens=700)),
        (
            ("--budget", "64", "--precision", "fp16", "--policy", "p.json", "--max-context", "700", "--router", "r"),
            {"budget": 64, "precision": "fp16", "policy": "p.json", "max_context": 700, "router": "r"},
            Options(Pruning(budget=64), "fp16", "p.json", 700, router="r"),
        ),
        (("--method", "dart"), {"method": "dart"}, Options(Pruning(method="dart"))),
        (("--max-images", "3"), {"max_images": 3}, Options(max_images=3)),
        (
            ("--sparsity", "2:4,wanda", "--calibration", "D"),
            {"sparsity": "2:4,wanda", "calibration": "D"},
            Options(sparsity="2:4,wanda", calibration="D"),
        ),
        (("--quantize", "int4:64,head=none"), {"quantize": "int4:64,head=none"}, Options(quantize="int4:64,head=none")),
    ],
)
def test_the_command_line_and_python_give_the_same(
    words: tuple[str, ...], given: dict[str, Any], expected: Options
) -> None:
    taken = []

    @click.command()
    @compile_options
    def command(output: str, force: bool, options: Options) -> None:
        taken.append((output, force, options))

    assert CliRunner().invoke(command, ["-o", "out", *words]).exit_code == 0
    assert taken == [("out", False, expected)]
    assert Options.of(**given) == expected


@pytest.mark.parametrize("images", [0, -1, 101, True, 2.0, "2"])
def test_a_number_of_images_that_is_none(images: Any) -> None:
    with pytest.raises(ImageError) as refused:
        Options.of(max_images=images)
    says(refused, "--max-images", repr(images), "1 to 100")


@pytest.mark.parametrize(
    ("method", "place", "facts"),
    [
        ("random", None, ("random", "divprune", "host")),
        ("clap", None, ("clap", "visionzip")),
        ("dart", "none", ("dart",)),
        ("sparsevlm", "encoder", ("sparsevlm", "encoder", "decoder")),
    ],
)
def test_a_method_that_cannot_be_compiled(method: str, place: str | None, facts: tuple[str, ...]) -> None:
    with pytest.raises(MethodError) as refused:
        Options.of(method=method, prune_at=place)
    says(refused, "--method", *facts)


def test_a_context_that_was_not_asked_for_is_the_usual_one_or_what_the_decoder_knows() -> None:
    assert Options().context(4096, 576) == DEFAULT_CONTEXT
    assert Options().context(512, 16) == 512
    assert Options(max_context=9000).context(512, 16) == 9000, "it is for the exporter to refuse"


def test_the_default_context_has_room_for_text_beside_many_visual_tokens() -> None:
    assert Options().context(32768, 4096) == 4096 + DEFAULT_TEXT
    assert Options().context(4096, 2928) == 2928 + DEFAULT_TEXT
    assert Options().context(4096, 3328) == 4096


def test_pictures_have_as_many_tokens_as_the_kernels_choose_from() -> None:
    assert Options().most_tokens == MAX_TOKENS
    assert Options(max_visual_tokens=9000).most_tokens == 9000


def test_what_is_cut_is_told() -> None:
    with pytest.warns(Notice) as told:
        Options().check_tokens((4, 391, 16384), (4, 391, 4096))
    says(told[0].message, "4096", "16384", "--max-visual-tokens")


@pytest.mark.parametrize("options", [Options(), Options(max_visual_tokens=4096)])
def test_what_is_not_cut_is_not_told(options: Options, recwarn: pytest.WarningsRecorder) -> None:
    options.check_tokens((4, 391, 1280), (4, 391, 1280))
    Options().check_tokens((9000, 9000, 9000), (9000, 9000, 9000))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("asked", "allowed", "made", "facts"),
    [
        (100, (576,) * 3, (576,) * 3, ("--max-visual-tokens", 100, 576, "drop it")),
        (1000, (576,) * 3, (576,) * 3, ("--max-visual-tokens", 1000, 576, "drop it")),
        (20, (4, 391, 1280), (4, 20, 29), ("--max-visual-tokens", 20, 29)),
    ],
)
def test_a_cap_in_vain_is_refused(
    asked: int, allowed: tuple[int, int, int], made: tuple[int, int, int], facts: tuple[object, ...]
) -> None:
    with pytest.raises(ScheduleError) as error:
        Options(max_visual_tokens=asked).check_tokens(allowed, made)
    says(error, *facts)


@pytest.mark.parametrize("most", [0, -5, "64", 64.0, True])
def test_a_cap_that_is_no_number_of_tokens_is_refused(most: Any) -> None:
    with pytest.raises(ScheduleError) as error:
        Options(max_visual_tokens=most)
    says(error, "--max-visual-tokens", repr(most))


def test_stages_stand_where_all_tokens_are_seen(recwarn: pytest.WarningsRecorder) -> None:
    """Nowhere else where none was named; and what was named is followed, and told."""
    narrow = frozenset(layer for layer in range(34) if layer % 6 != 5)
    for pruning in (Pruning(), Pruning(keeps=(30, 20, 10)), Options.of(budget="paper:192").pruning):
        assert pruning.schedule(1024, 34, short_sighted=narrow).prune_layers == (5, 11, 17)
    assert Pruning("encoder").schedule(1024, 34, short_sighted=narrow).prune_layers == (-1,)
    assert Pruning().schedule(256, 34).prune_layers == (2, 6, 16)
    assert not recwarn.list
    with pytest.warns(Notice) as told:
        made = Pruning(prune_layers=(2, 5, 16)).schedule(1024, 34, short_sighted=narrow)
    assert made.prune_layers == (2, 5, 16)
    assert "after layers 2, 16 rank" in str(told[0].message)
    assert "1024" in str(told[0].message)


def test_kernels_get_no_more_scratch_than_the_build_may_take() -> None:
    assert (EngineOptions().memory_bytes, EngineOptions().workspace_bytes) == (None, None)
    limited = EngineOptions(max_build_memory=1.5)
    assert limited.memory_bytes == 1_500_000_000
    assert limited.workspace_bytes is not None
    assert limited.workspace_bytes <= limited.memory_bytes
