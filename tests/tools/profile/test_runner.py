"""The graphs of a bundle as Polygraphy runners, alone and under a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import Bundle

pytest.importorskip("polygraphy")

from polygraphy.comparator import Comparator
from polygraphy.datatype import DataType

from clasp_trt.runtime.backends.ort import OrtBackend
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.profile.runner import GraphRunner, Recorder


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


def runner(bundle: Bundle, name: str) -> GraphRunner:
    graph = bundle.graph(name)
    return GraphRunner(OrtBackend(1), bundle.path(graph.path), graph)


def test_arrays_in_give_arrays_out(bundle: Bundle) -> None:
    features = np.random.default_rng(0).standard_normal((1, 16, 48)).astype(np.float32)
    with runner(bundle, "gram") as gram:
        metadata = gram.get_input_metadata(use_numpy_dtypes=False)
        ports = [(port.name, len(port.shape), port.shape[-1]) for port in bundle.graph("gram").inputs]
        assert [(name, len(found.shape), found.shape[-1]) for name, found in metadata.items()] == ports
        assert metadata["visual"].dtype == DataType.FLOAT32
        found = gram.infer({"visual": features})["gram"]
        assert gram.last_inference_time() > 0
    unit = features[0] / np.linalg.norm(features[0], axis=1, keepdims=True)
    np.testing.assert_allclose(found[0], unit @ unit.T, atol=1e-5)


def test_stock_comparator_runs_it(bundle: Bundle) -> None:
    feed = [{"visual": np.random.default_rng(0).standard_normal((1, 16, 48)).astype(np.float32)}]
    results = Comparator.run([runner(bundle, "gram"), runner(bundle, "gram")], data_loader=feed)
    assert bool(Comparator.compare_accuracy(results))


def test_pipeline_answers_the_same_and_every_call_is_noted(bundle: Bundle) -> None:
    image = Image.effect_noise((56, 56), 80).convert("RGB")
    plain = load(bundle.root, threads=1).generate(image, "How many cups?", max_new_tokens=3, ignore_stop=True)
    with Recorder(OrtBackend(1)) as recorder:
        pipeline = Pipeline(bundle, recorder)
        result = pipeline.generate(image, "How many cups?", max_new_tokens=3, ignore_stop=True)
        calls = recorder.take()
        assert recorder.take() == ()
    assert result.token_ids == plain.token_ids
    segments = [f"segment_{number}" for number in range(4)]
    prefill = ["embed", "gram"]
    for number, segment in enumerate(segments):
        prefill += [segment, *([f"prune_{number}"] if number < 3 else [])]
    assert [call.name for call in calls] == ["vision", "projector", *prefill, *(["embed", *segments] * 2)]
    steps = [span for span in result.spans if span.name == "decode"]
    assert all(a.end <= b.start for a, b in pairwise(calls)), "one after the other"
    assert all(steps[0].start <= call.start and call.end <= steps[0].end for call in calls[-10:-5])
