"""Decoder segments against a Llama in numpy: prefill, decode, grouped heads, saliency, masks, precision, scaling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from clasp_trt.chain import Cut
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.decoder.segment import segment_graph
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.family import Family, family_of
from examples.random_llava import PRESETS, Shape, make
from tests.export.decoder.llama_numpy import NumpyLlama
from tests.export.running import Runnable

CONTEXT = 24
MULTIPLE = 4  # of the baseline's own error; an implementation may round in another order, not worse
NOTHING = np.zeros(0, dtype=np.int64)
Array = NDArray[Any]


class Segment:
    """A segment graph with its caches, whose empty slots hold rubbish."""

    def __init__(self, family: Family, first: int, last: int, *, watched: bool, dtype: str, capacity: int = CONTEXT):
        self.dims, self.watched, self.dtype = family.description.decoder, watched, dtype
        cut = Cut("segment", first, last, 0, watched)
        self._graph = Runnable(segment_graph(self.dims, cut, capacity, CONTEXT, family.decoder_weights(dtype), dtype))
        self._layers, self._shape = range(first, last + 1), (1, self.dims.kv_heads, capacity, self.dims.head_dim)
        self.empty()

    def empty(self) -> None:
        """New caches."""
        self.filled = 0
        self.caches = {
            f"{kind}_{layer}": np.full(self._shape, 50, dtype=self.dtype)
            for layer in self._layers
            for kind in ("key", "value")
        }

    def __call__(
        self,
        hidden: Array,
        positions: Array,
        *,
        reference: Array = NOTHING,
        visual: Array = NOTHING,
        kv_length: int | None = None,
    ) -> dict[str, Array]:
        """Appends ``hidden`` ``[rows, width]``."""
        stop, place = self.filled + len(positions), np.array([self.filled])
        self.filled = stop
        asked = {"reference_index": reference, "visual_index": visual} if self.watched else {}
        return self.run(hidden[None], positions[None], place, stop if kv_length is None else kv_length, **asked)

    def run(
        self, hidden: Array, positions: Array, write_index: Array, kv_length: int, **asked: Array
    ) -> dict[str, Array]:
        """Appends ``hidden`` ``[slots, rows, width]`` to as many caches; the last row is scored unless others are."""
        if self.dims.layers - 1 in self._layers:
            asked = {"scored": np.array([hidden.shape[1] - 1]), **asked}
        outputs = self._graph(
            hidden=hidden.astype(self.dtype), position_ids=positions,
            write_index=write_index, kv_length=np.array([kv_length]),
            **{f"past_{name}": cache for name, cache in self.caches.items()}, **asked,
        )  # fmt: skip
        self.caches = {name: outputs.pop(f"present_{name}") for name in self.caches}
        return outputs


def _frequencies(dims: DecoderSpec, theta: float = 10000.0) -> Array:
    return theta ** (-np.arange(0, dims.head_dim, 2) / dims.head_dim)


def _numpy(folder: Path, dims: DecoderSpec, dtype: str = "float64") -> NumpyLlama:
    tensors = {key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}
    prefix = "language_model.model."
    weights = {name.removeprefix(prefix): w for name, w in tensors.items() if name.startswith(prefix)}
    if "language_model.lm_head.weight" in tensors:
        weights["lm_head.weight"] = tensors["language_model.lm_head.weight"]
    return NumpyLlama(weights, dims.heads, dims.kv_heads, dims.head_dim, dims.norm_epsilon, _frequencies(dims), dtype)


def _family(folder: Path) -> Family:
    return family_of(Checkpoint.open(folder))


def _rows(dims: DecoderSpec, rows: int, seed: int = 0) -> tuple[Array, Array]:
    """Hidden states that half precision holds exactly, and positions with a gap as pruning leaves."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((rows, dims.width)).astype(np.float16).astype(np.float64)
    return hidden, np.sort(rng.choice(CONTEXT, rows, replace=False))


def _close(found: Array, exact: Array, baseline: Array) -> None:
    """``found`` errs at most :data:`MULTIPLE` times what the same formulas err in the same precision."""
    allowed = MULTIPLE * np.abs(baseline - exact).max()
    assert allowed > 0, "the baseline is exact, so it measures nothing"
    assert np.abs(found - exact).max() <= allowed


def test_any_rows_are_scored(checkpoint: Path) -> None:
    """Each has the logits of a prefill that ends there, in whichever order they are asked for."""
    family = _family(checkpoint)
    dims, last, scored = family.description.decoder, family.description.decoder.layers - 1, [4, 0, 2]
    hidden, positions = _rows(dims, 6)
    segment = Segment(family, 0, last, watched=False, dtype="float32")
    found = segment.run(hidden[None], positions[None], np.array([0]), 6, scored=np.array(scored))["logits"]
    exact, baseline = _numpy(checkpoint, dims), _numpy(checkpoint, dims, "float32")
    assert found.shape == (1, len(scored), dims.vocab_size)
    for row, end in zip(found[0], scored, strict=True):
        truth, rounded = (each.layers(hidden[: end + 1], positions[: end + 1], 0, last) for each in (exact, baseline))
        _close(row, exact.logits(truth.hidden), baseline.logits(rounded.hidden))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("decoded", [0, 1, 4, 17])
def test_prefill_then_decode_is_one_long_prefill(checkpoint: Path, dtype: str, decoded: int) -> None:
    """The whole decoder in one segment; 18 rows of which the last ``decoded`` come one at a time."""
    family = _family(checkpoint)
    dims, last = family.description.decoder, family.description.decoder.layers - 1
    hidden, positions = _rows(dims, 18)
    segment = Segment(family, 0, last, watched=False, dtype=dtype)
    logits = segment(hidden[: 18 - decoded], positions[: 18 - decoded])["logits"]
    for row in range(18 - decoded, 18):
        logits = segment(hidden[row : row + 1], positions[row : row + 1])["logits"]
    exact, baseline = _numpy(checkpoint, dims), _numpy(checkpoint, dims, dtype)
    truth, rounded = exact.layers(hidden, positions, 0, last), baseline.layers(hidden, positions, 0, last)
    assert logits.shape == (1, 1, dims.vocab_size)
    assert logits.dtype == np.float32
    _close(logits[0, 0], exact.logits(truth.hidden), baseline.logits(rounded.hidden))
    for layer in range(last + 1):
        for kind, right, near in (("key", truth.keys, rounded.keys), ("value", truth.values, rounded.values)):
            cache = segment.caches[f"{kind}_{layer}"]
            _close(cache[0, :, :18], right[layer], near[layer])
            assert (cache[0, :, 18:] == 50).all(), "slots beyond the new rows are left alone"


@pytest.mark.parametrize(
    "shape",
    [
        replace(PRESETS["tiny"], heads=4, kv_heads=4, width=48, tie_word_embeddings=True),
        replace(PRESETS["tiny"], heads=3, kv_heads=1, head_dim=10),
    ],
    ids=["MHA tied", "MQA wide heads"],
)
def test_other_shapes(tmp_path: Path, shape: Shape) -> None:
    folder = make(tmp_path / "model", shape)
    family = _family(folder)
    dims = family.description.decoder
    hidden, positions = _rows(dims, 12)
    segment = Segment(family, 2, 3, watched=False, dtype="float32")
    segment(hidden[:9], positions[:9])
    logits = segment(hidden[9:], positions[9:])["logits"]
    exact, baseline = _numpy(folder, dims), _numpy(folder, dims, "float32")
    truth, rounded = exact.layers(hidden, positions, 2, 3), baseline.layers(hidden, positions, 2, 3)
    _close(logits[0, 0], exact.logits(truth.hidden), baseline.logits(rounded.hidden))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("references", [1, 5])
def test_saliency_is_the_attention_that_visual_tokens_receive(checkpoint: Path, dtype: str, references: int) -> None:
    family = _family(checkpoint)
    dims = family.description.decoder
    hidden, positions = _rows(dims, 16, seed=1)
    visual, reference = np.arange(3, 11), np.arange(16 - references, 16)
    outputs = Segment(family, 1, 2, watched=True, dtype=dtype)(hidden, positions, reference=reference, visual=visual)

    def seen(model: NumpyLlama) -> tuple[Array, Array]:
        trace = model.layers(hidden, positions, 1, 2)
        return trace.hidden, trace.attention[:, reference][:, :, visual].mean(axis=(0, 1))

    (states, saliency), (near_states, near_saliency) = (seen(_numpy(checkpoint, dims, d)) for d in ("float64", dtype))
    assert outputs["saliency"].shape == (1, len(visual))
    assert outputs["saliency"].dtype == np.float32
    _close(outputs["hidden_out"][0], states, near_states)
    _close(outputs["saliency"][0], saliency, near_saliency)


def test_saliency_ignores_later_text(checkpoint: Path) -> None:
    """Every reference row has its own softmax, over the keys that it may see."""
    family = _family(checkpoint)
    hidden, positions = _rows(family.description.decoder, 14, seed=2)
    visual, reference = np.arange(2, 9), np.array([9, 10])
    short, long = (
        Segment(family, 0, 0, watched=True, dtype="float32")(
            hidden[:rows], positions[:rows], reference=reference, visual=visual
        )["saliency"]
        for rows in (11, 14)
    )
    np.testing.assert_allclose(short, long, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("first", [1, 3, 5])
def test_saliency_of_rows_that_follow_others_in_the_cache(checkpoint: Path, dtype: str, first: int) -> None:
    """The first rows, which are text, came before: visual and reference rows are counted without them."""
    family = _family(checkpoint)
    dims = family.description.decoder
    hidden, positions = _rows(dims, 16, seed=3)
    visual, reference = np.arange(5, 11), np.array([12, 15])
    segment = Segment(family, 1, 2, watched=True, dtype=dtype)
    segment(hidden[:first], positions[:first])
    outputs = segment(hidden[first:], positions[first:], reference=reference - first, visual=visual - first)

    def seen(model: NumpyLlama) -> Array:
        received = model.layers(hidden, positions, 1, 2).attention[:, reference][:, :, visual]
        return np.asarray(received.mean(axis=(0, 1)))

    _close(outputs["saliency"][0], *(seen(_numpy(checkpoint, dims, each)) for each in ("float64", dtype)))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_slots_of_different_fill_in_one_step(checkpoint: Path, dtype: str) -> None:
    """The whole decoder with caches of three requests, of 2, 11 and 6 rows, each of which gets one more."""
    family = _family(checkpoint)
    dims, fills = family.description.decoder, (2, 11, 6)
    asked = [_rows(dims, fill + 1, seed=fill) for fill in fills]
    one = Segment(family, 0, dims.layers - 1, watched=False, dtype=dtype)
    caches = []
    for hidden, positions in asked:
        one.empty()
        one(hidden[:-1], positions[:-1])
        caches.append(one.caches)
    one.caches = {name: np.concatenate([each[name] for each in caches]) for name in one.caches}
    rows, places = (np.stack([each[part][-1:] for each in asked]) for part in (0, 1))
    found = one.run(rows, places, np.array(fills), max(fills) + 1)["logits"]
    assert found.shape == (3, 1, dims.vocab_size)
    for (hidden, positions), logits in zip(asked, found[:, 0], strict=True):
        exact, near = (
            model.logits(model.layers(hidden, positions, 0, dims.layers - 1).hidden)
            for model in (_numpy(checkpoint, dims, each) for each in ("float64", dtype))
        )
        _close(logits, exact, near)


def test_decode_passes_no_reference_and_no_visual_rows(checkpoint: Path) -> None:
    family = _family(checkpoint)
    hidden, positions = _rows(family.description.decoder, 9)
    watched, plain = (Segment(family, 0, 1, watched=watch, dtype="float32") for watch in (True, False))
    for start, stop in ((0, 7), (7, 8), (8, 9)):
        rows, places = hidden[start:stop], positions[start:stop]
        found = watched(rows, places)
        assert found["saliency"].shape == (1, 0)
        np.testing.assert_array_equal(found["hidden_out"], plain(rows, places)["hidden_out"])


def test_the_last_slot_and_the_last_position(checkpoint: Path) -> None:
    """A cache filled to its capacity, in one prefill or by a last decode step, and the largest rotary position."""
    family = _family(checkpoint)
    dims = family.description.decoder
    hidden, _ = _rows(dims, 10)
    positions = np.arange(CONTEXT - 10, CONTEXT)
    whole, stepwise = (Segment(family, 0, 3, watched=False, dtype="float32", capacity=10) for _ in range(2))
    at_once = whole(hidden, positions)["logits"][0, 0]
    stepwise(hidden[:9], positions[:9])
    in_steps = stepwise(hidden[9:], positions[9:])["logits"][0, 0]
    exact, baseline = _numpy(checkpoint, dims), _numpy(checkpoint, dims, "float32")
    truth = exact.logits(exact.layers(hidden, positions, 0, 3).hidden)
    near = baseline.logits(baseline.layers(hidden, positions, 0, 3).hidden)
    _close(at_once, truth, near)
    _close(in_steps, truth, near)


def test_slots_beyond_the_rows_are_masked(checkpoint: Path) -> None:
    """``kv_length`` may exceed what is filled: no row sees the rubbish there."""
    family = _family(checkpoint)
    hidden, positions = _rows(family.description.decoder, 9)
    wide, tight = (Segment(family, 0, 3, watched=False, dtype="float32") for _ in range(2))
    for start, stop in ((0, 8), (8, 9)):
        rows, places = hidden[start:stop], positions[start:stop]
        found, expected = wide(rows, places, kv_length=CONTEXT)["logits"], tight(rows, places)["logits"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# --- rotary scaling -----------------------------------------------------------------------------------------


def _scaled(source: Path, folder: Path, rope: Mapping[str, object]) -> Path:
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["rope_parameters"] = {"rope_theta": 500.0, **rope}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _llama3(base: Array, factor: float, low: float, high: float, original: int) -> Array:
    """Long wavelengths slowed by ``factor``, short ones kept, and a linear blend between (Llama 3.1)."""
    wavelength = 2 * np.pi / base
    kept = np.clip((original / wavelength - low) / (high - low), 0, 1)
    return kept * base + (1 - kept) * base / factor


@pytest.mark.parametrize("kind", ["default", "linear", "llama3"])
def test_rotary_scaling(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    rope: dict[str, object] = {"rope_type": kind}
    if kind != "default":
        rope["factor"] = 8.0
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    folder = _scaled(checkpoint, tmp_path / "model", rope)
    family = _family(folder)
    dims = family.description.decoder
    base = _frequencies(dims, theta=500.0)
    frequencies = {"default": base, "linear": base / 8, "llama3": _llama3(base, 8.0, 1.0, 4.0, 64)}[kind]
    if kind == "llama3":  # kept, blended and slowed frequencies are all there
        ratio = frequencies / base
        assert ratio.max() == 1
        assert ratio.min() == 1 / 8
        assert ((ratio > 1 / 8) & (ratio < 1)).any()
    hidden, positions = _rows(dims, 12)
    logits = Segment(family, 0, 3, watched=False, dtype="float32")(hidden, positions)["logits"][0, 0]
    exact, baseline = (
        replace(_numpy(folder, dims, dtype), frequencies=frequencies) for dtype in ("float64", "float32")
    )
    truth = exact.logits(exact.layers(hidden, positions, 0, 3).hidden)
    near = baseline.logits(baseline.layers(hidden, positions, 0, 3).hidden)
    _close(logits, truth, near)


def test_scaling_that_depends_on_the_input_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = _scaled(checkpoint, tmp_path / "model", {"rope_type": "dynamic", "factor": 2.0})
    with pytest.raises(CheckpointError, match=r"rope_parameters is .*'dynamic'"):
        _family(folder)
