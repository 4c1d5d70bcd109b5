"""Where a prompt is cut for the segments that no prune follows: every row once, in order, and none beyond its chunk.

The graphs are stand-ins that note what they are given, so that this is known within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.bundle import Graph
from clasp_trt.chain import names, port
from clasp_trt.methods import METHODS
from clasp_trt.runtime.backends.interface import Backend, Runner
from clasp_trt.runtime.backends.memory import HostMemory
from clasp_trt.runtime.decoder import Decoder
from clasp_trt.runtime.media.seen import Block
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.timing import Timer
from tests.bundle.grids import grid_manifest
from tests.bundle.written import build
from tests.prompts import boxes, prompt_of

Array = NDArray[Any]
WIDTH, VOCABULARY, START = 8, 32, 3
TAIL = "segment_2"
"""Of the sample bundle, the segment after the last prune."""


class Noting(Backend[Array]):
    """Embeds each token as its number; ``calls`` are the inputs of every segment, by its name."""

    def __init__(self, prefill_rows: int | None) -> None:
        super().__init__(HostMemory())
        self.prefill_rows = prefill_rows
        self.calls: list[tuple[str, dict[str, Array]]] = []

    def load_graph(self, path: Path, graph: Graph) -> Runner[Array]:
        def run(inputs: Mapping[str, Array], into: Mapping[str, Array]) -> dict[str, Array]:
            if graph.name == names.EMBED:
                return {port.HIDDEN: np.repeat(inputs[port.INPUT_IDS][..., None], WIDTH, 2).astype(np.float32)}
            if graph.name == names.GRAM:
                return {port.GRAM: np.eye(inputs[port.VISUAL].shape[1], dtype=np.float32)[None]}
            self.calls.append((graph.name, {name: np.array(value) for name, value in inputs.items()}))
            if graph.name == TAIL:
                return {port.LOGITS: np.zeros((1, 1, VOCABULARY), np.float32)}
            saliency = np.zeros((1, len(inputs.get(port.VISUAL_INDEX, ()))), np.float32)
            return {port.HIDDEN_OUT: inputs[port.HIDDEN], port.SALIENCY: saliency}

        return run


@pytest.mark.parametrize("rows", [1, 2, 7, 20, 21])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 20, 100, None])
def test_chunks_take_every_row_once(tmp_path: Path, rows: int, most: int | None) -> None:
    backend = Noting(most)
    decoder = Decoder(build(tmp_path / "out"), backend)
    prompt = prompt_of(np.arange(rows) + 5, start=START)
    decoder.prefill(prompt, None, None, (), Timer())
    tail = [inputs for name, inputs in backend.calls if name == TAIL]
    assert [name for name, _ in backend.calls] == ["segment_0", "segment_1", *[TAIL] * len(tail)]
    assert len(tail) == (1 if most is None else -(-rows // most)), "no more chunks than there must be"
    filled = 0
    for inputs in tail:
        count = inputs[port.HIDDEN].shape[1]
        assert 0 < count <= (most or rows)
        assert inputs[port.HIDDEN][0, :, 0].tolist() == [filled + row + 5 for row in range(count)]
        assert inputs[port.POSITION_IDS].tolist() == [[START + filled + row for row in range(count)]]
        assert inputs[port.WRITE_INDEX].tolist() == [filled]
        filled += count
        assert inputs[port.KV_LENGTH].tolist() == [filled], "a chunk sees no slot after its own"
    assert filled == rows


def test_what_is_added_goes_to_the_tokens_that_are_left(tmp_path: Path) -> None:
    backend = Noting(None)
    decoder = Decoder(build(tmp_path / "out", made_of=grid_manifest(deepstack=2)), backend)
    blocks = ((Block(16, (1, 4, 4), boxes(4)),),)
    positions = np.tile(np.arange(20), (3, 1))
    prompt = Prompt(np.arange(20) + 5, np.arange(2, 18), np.array([18, 19]), positions, 20, blocks)
    visual, additions = np.zeros((1, 16, WIDTH), np.float32), np.random.default_rng(0).random((2, 16, WIDTH))
    sequence, _, kept = decoder.prefill(
        prompt, visual, None, (1, 1), Timer(), METHODS["uniform"], deepstack=additions.astype(np.float32)
    )
    given = dict(backend.calls)
    np.testing.assert_array_equal(given["segment_0"][port.DEEPSTACK], additions.astype(np.float32))
    left = kept[0].indices
    assert 0 < len(left) < 16
    np.testing.assert_array_equal(given["segment_1"][port.DEEPSTACK], additions.astype(np.float32)[:, left])
    assert port.DEEPSTACK not in given[TAIL]
    backend.calls.clear()
    decoder.step({sequence: [7]})
    given = dict(backend.calls)
    assert [given[name][port.DEEPSTACK].shape for name in ("segment_0", "segment_1")] == [(2, 0, WIDTH)] * 2


def _grid_prompt(rows: int) -> Prompt:
    """Three axes of positions that are not alike."""
    positions = np.stack([np.arange(rows), 2 * np.arange(rows), 100 - np.arange(rows)])
    none = np.zeros(0, np.int64)
    return Prompt(np.arange(rows) + 5, none, none, positions, 40)


@pytest.mark.parametrize("most", [3, None])
def test_every_row_has_its_positions_on_all_axes(tmp_path: Path, most: int | None) -> None:
    backend = Noting(most)
    decoder = Decoder(build(tmp_path / "out", made_of=grid_manifest()), backend)
    prompt = _grid_prompt(8)
    sequence, _, _ = decoder.prefill(prompt, None, None, (), Timer())
    given = {name: [] for name in ("segment_0", "segment_1", TAIL)}
    for name, inputs in backend.calls:
        given[name].append(inputs[port.POSITION_IDS])
    for found in given.values():
        np.testing.assert_array_equal(np.concatenate(found, axis=2), prompt.positions[:, None])
    for step in range(2):
        backend.calls.clear()
        decoder.step({sequence: [7]})
        for _, inputs in backend.calls:
            np.testing.assert_array_equal(inputs[port.POSITION_IDS], np.full((3, 1, 1), 40 + step))
