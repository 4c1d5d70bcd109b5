"""``media.video`` of a manifest, read strictly, and what clips do to the numbers of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clasp_trt.bundle import ManifestField, ManifestSyntax, Media, UnknownKind
from clasp_trt.bundle.media import content
from clasp_trt.bundle.media_reader import media
from clasp_trt.storage.fields import Format, parse

PIXELS = {"resample": "bicubic", "rescale": 0.5, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
GRID = {
    **{"kind": "grid", "patch": 14, "merge": 2, "time": 2, "least_pixels": 4 * 784, "most_pixels": 100 * 784},
    **{**PIXELS, "window": 8, "table": None},
}
SQUARE = {"kind": "square", "side": 56, "cell": 14, "shortest_edge": None, "size": [56, 56], **PIXELS}
RUN = {"kind": "run", "placeholder": "<v>", "token": "<v>", "id": 8, "before": "", "after": ""}
FRAMES = {
    **{"kind": "frames", "placeholder": "<v>", "token": "<i>", "id": 7, "opening": "", "before": "{seconds} s: "},
    **{"after": "", "between": "\n", "closing": ""},
}
SAMPLING = {"rule": "even", "frames": 16, "fps": 2.0, "least": 4, "multiple": 2}
PAIRS = {"kind": "pairs", "frame": GRID, "most_tokens": 200, "whole": True, "apart": False}
STILLS = {"kind": "stills", "frame": SQUARE}
MIXED = {
    **{"kind": "mixed", "tile": 72, "cell": 14, "grid": 3, "end": False},
    **{**PIXELS, "background": None},
}
POSITIONS = {"kind": "sequential", "start": 0}
FEW = {"rule": "span", "frames": 2, "fps": 1.0, "least": 1, "multiple": 1, "skip": 1.0}
COUNTED = {**FRAMES, "opening": "{count} in {duration}", "numerals": ["one", "two"]}
CLIPS = {"sampling": SAMPLING, "processor": PAIRS, "layout": RUN}


def _read(video: object, picture: object = GRID) -> Media:
    image = {"processor": picture, "layout": {**RUN, "placeholder": "<i>"}, "positions": POSITIONS}
    format = Format(ManifestSyntax, ManifestField, "rebuild the bundle")
    return media(parse(json.dumps({"image": image, "video": video}).encode(), "clasp.json", format))


@pytest.mark.parametrize(
    "video",
    [
        CLIPS,
        {"sampling": {**SAMPLING, "fps": None, "rule": "ends"}, "processor": STILLS, "layout": FRAMES},
        {**CLIPS, "sampling": FEW, "layout": COUNTED},
        {**CLIPS, "processor": {"kind": "stills", "frame": MIXED, "ends": True}},
    ],
    ids=["pairs", "stills", "counted", "mixed stills"],
)
def test_what_is_written_is_read(video: dict[str, Any]) -> None:
    written = content(_read(video))["video"]
    assert written == video
    assert [list(written[name]) for name in video] == [list(each) for each in video.values()]


def test_a_bundle_without_clips_says_nothing_of_them() -> None:
    assert "video" not in content(Media(_read(CLIPS).image))


def test_ranges_hold_pictures_and_clips() -> None:
    pictures, both = Media(_read(CLIPS).image), _read(CLIPS)
    assert pictures.token_range == (4, 88, 141)  # a slender one has more than its area says
    assert both.token_range == (1, 88, 200)
    alone, steps = pictures.step_sizes(pictures=True, clips=False), both.step_sizes(pictures=True, clips=True)
    assert (steps["visual_tokens"], steps["patches"]) == ((1, 88, 200), (4, 352, 800))
    assert steps["windows"][2] >= alone["windows"][2]
    stills = _read({**CLIPS, "processor": STILLS, "sampling": {**SAMPLING, "frames": 5}}, SQUARE)
    step = stills.step_sizes(pictures=False, clips=True)
    assert (stills.token_range, step["visual_tokens"]) == ((16, 16, 80), (16, 16, 16))


def _altered(path: tuple[str, ...], value: object) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(json.dumps(CLIPS))
    part = whole
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("sampling", "rule"), value) for value in ("odd", 1, None)),
        *((("sampling", "frames"), value) for value in (0, 513, 8.0, True)),
        *((("sampling", "fps"), value) for value in (0, -1, "2", 1e9)),
        *((("sampling", "least"), value) for value in (0, 17)),
        *((("sampling", "multiple"), value) for value in (0, 17)),
        *((("sampling", "skip"), value) for value in (0, -1, None, "1")),
        (("sampling", "more"), 1),
        (("sampling",), []),
        (("processor", "frame"), SQUARE),
        (("processor", "frame", "least_pixels"), 0),
        *((("processor", "most_tokens"), value) for value in (0, 2**20 + 1, None)),
        *((("processor", name), 1) for name in ("whole", "apart")),
        (("processor",), {"kind": "stills"}),
        (("layout", "id"), -1),
        (("layout", "placeholder"), ""),
        (("layout",), {**FRAMES, "before": None}),
        (("layout",), {**FRAMES, "closing": "x" * 1001}),
        *(
            (("layout",), {**COUNTED, "numerals": value})
            for value in ([], ["one"], ["one"] * 15, [""] * 16, [1] * 16, "x")
        ),
        (("layout",), {**RUN, "numerals": ["one"] * 16}),
        (("positions",), POSITIONS),
    ],
)
def test_malformed_values_are_refused(path: tuple[str, ...], value: object) -> None:
    with pytest.raises(ManifestField):
        _read(_altered(path, value))


@pytest.mark.parametrize(
    "processor",
    [
        *({"kind": "stills", "frame": {**MIXED, "grid": value}} for value in (0, 6, "3", None)),
        *({"kind": "stills", "frame": {**MIXED, "end": value}} for value in (0, None)),
        {"kind": "stills", "frame": {**MIXED, "cell": 73}},
        {"kind": "stills", "frame": {**MIXED, "end": True}, "ends": True},
        {"kind": "stills", "frame": SQUARE, "ends": True},
        {"kind": "stills", "frame": MIXED, "ends": 1},
        *({"kind": "stills", "frame": {**MIXED, "background": value}} for value in ([1, 2], [0, 0, 256], [0.5] * 3, 0)),
    ],
    ids=str,
)
def test_stills_that_cannot_be_mixed_or_ended_are_refused(processor: dict[str, Any]) -> None:
    with pytest.raises(ManifestField):
        _read({**CLIPS, "processor": processor})


@pytest.mark.parametrize(("member", "kind"), [("processor", "grid"), ("layout", "tiles")])
def test_kinds_of_pictures_alone_are_none_of_clips(member: str, kind: str) -> None:
    with pytest.raises(UnknownKind):
        _read(_altered((member,), {"kind": kind}))


SEVERAL = {**MIXED, "grid": 5, "end": True, "background": [127, 127, 0]}


def _several(**members: object) -> Media:
    image = {"processor": SQUARE, "layout": {**RUN, "placeholder": "<i>"}, "positions": POSITIONS}
    format = Format(ManifestSyntax, ManifestField, "rebuild the bundle")
    return media(parse(json.dumps({"image": image, **members}).encode(), "clasp.json", format))


def test_several_pictures_may_be_made_otherwise_than_one() -> None:
    read = _several(images=3, several=SEVERAL)
    assert content(read)["several"] == SEVERAL
    assert read.among(1) == read.image.processor
    assert read.among(2) == read.among(3) == read.several
    assert read.token_range == (16, 16, 3 * 26)
    assert read.step_sizes(pictures=True, clips=False) == {"visual_tokens": (16, 16, 26), "batch": (1, 1, 1)}


@pytest.mark.parametrize("members", [{"several": SEVERAL}, {"images": 2, "several": {**SEVERAL, "grid": 0}}], ids=str)
def test_several_pictures_that_cannot_be(members: dict[str, object]) -> None:
    with pytest.raises(ManifestField):
        _several(**members)
