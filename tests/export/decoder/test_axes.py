"""Segments whose rows have positions on three axes, and what a tower adds after their layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.chain import Cut
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.decoder.segment import segment_graph
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.family import Family, family_of
from examples.random_qwen import PRESETS, make
from tests.export.running import Runnable

CONTEXT, ROWS = 32, 7
Array = NDArray[Any]


@pytest.fixture(scope="module", params=["tiny-qwen2.5", "tiny-qwen3"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family_of(Checkpoint.open(make(tmp_path_factory.mktemp("axes") / "model", PRESETS[request.param])))


def _run(family: Family, dims: DecoderSpec, first: int, last: int, positions: Array, **given: Array) -> Array:
    """Rows after layers ``first`` to ``last``, or their logits, of prefills in empty caches, a slot each."""
    cut = Cut("segment", first, last, 0, watched=False)
    graph = Runnable(segment_graph(dims, cut, CONTEXT, 64, family.decoder_weights("float32"), "float32"))
    slots = positions.shape[-2]
    if last == dims.layers - 1:
        given["scored"] = np.array([ROWS - 1])
    hidden = np.random.default_rng(0).standard_normal((slots, ROWS, dims.width)).astype(np.float32)
    empty = np.zeros((slots, dims.kv_heads, CONTEXT, dims.head_dim), np.float32)
    caches = {f"past_{kind}_{layer}": empty for layer in range(first, last + 1) for kind in ("key", "value")}
    found = graph(
        hidden=hidden, position_ids=positions, write_index=np.zeros(slots, np.int64), kv_length=np.array([ROWS]),
        **caches, **given,
    )  # fmt: skip
    return found["logits" if last == dims.layers - 1 else "hidden_out"]


def _places(slots: int) -> Array:
    return np.random.default_rng(1).integers(0, 64, (3, slots, ROWS))


@pytest.mark.parametrize("end", [3, None], ids=["rows", "logits"])
def test_alike_on_all_axes_they_are_one(family: Family, end: int | None) -> None:
    dims = family.description.decoder
    last = dims.layers - 1 if end is None else 3
    one = _places(1)[0]
    alike = _run(family, dims, 3, last, np.stack([one] * 3))
    single = replace(dims, axes=1, frequency_axes=())
    np.testing.assert_array_equal(alike, _run(family, single, 3, last, one))


def test_each_axis_turns_frequencies_of_its_own(family: Family) -> None:
    """A segment all of whose frequencies turn by one axis sees that axis alone; one of all three sees each."""
    dims, places = family.description.decoder, _places(1)
    for axis in range(3):
        alone = replace(dims, frequency_axes=(axis,) * len(dims.frequency_axes))
        single = replace(dims, axes=1, frequency_axes=())
        expected = _run(family, single, 3, 3, places[axis])
        np.testing.assert_array_equal(_run(family, alone, 3, 3, places), expected)
        moved = places.copy()
        moved[axis] = places[axis, :, ::-1]
        assert not np.array_equal(_run(family, dims, 3, 3, moved), _run(family, dims, 3, 3, places))


def test_slots_have_positions_of_their_own(family: Family) -> None:
    dims, places = family.description.decoder, _places(2)
    together = _run(family, dims, 3, dims.layers - 1, places)
    np.testing.assert_allclose(together[0], _run(family, dims, 3, dims.layers - 1, places[:, :1])[0], rtol=0, atol=1e-5)
    alike = np.broadcast_to(places[:, :1], places.shape)
    assert not np.array_equal(together[1], _run(family, dims, 3, dims.layers - 1, alike)[1])


def test_what_a_tower_gives_is_added_to_the_visual_rows(tmp_path: Path) -> None:
    family = family_of(Checkpoint.open(make(tmp_path / "model", PRESETS["tiny-qwen3"])))
    dims, places = family.description.decoder, _places(1)
    assert dims.deepstack == 3
    visual, more = np.array([1, 2, 5]), np.random.default_rng(2).standard_normal((3, 3, dims.width)).astype(np.float32)
    plain = _run(family, replace(dims, deepstack=0), 2, 2, places)
    found = _run(family, dims, 2, 2, places, visual_index=visual, deepstack=more)
    np.testing.assert_array_equal(found[0, visual], plain[0, visual] + more[2])
    others = np.delete(np.arange(ROWS), visual)
    np.testing.assert_array_equal(found[0, others], plain[0, others])
    none = np.zeros(0, np.int64)
    decode = _run(family, dims, 2, 2, places, visual_index=none, deepstack=more[:, :0])
    np.testing.assert_array_equal(decode, plain)
