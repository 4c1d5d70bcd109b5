"""A faithful bundle agrees in every stage; a planted fault is found where it is, and nowhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("polygraphy")

from clasp_trt.bundle import POLICY, Bundle
from clasp_trt.errors import CheckpointError
from clasp_trt.tools.profile.workload import noise
from clasp_trt.tools.verify import Drift, Report, compare
from examples.random_llava import PRESETS, make
from tests.mistakes import says
from tests.tools.verify.conftest import Tamper

QUESTION = "What is behind the cat?"


def compared(bundle: Bundle, checkpoint: Path) -> Report:
    return compare(bundle, str(checkpoint), [noise(bundle)], QUESTION)


def drifting(report: Report) -> set[str]:
    return {check.stage for check in report.checks if not check.passed}


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "fp16"}, {"prune_at": "encoder"}, {"prune_at": "none"}],
    ids=["decoder", "fp16", "encoder", "none"],
)
def test_faithful_bundle_agrees(built: Callable[..., Bundle], checkpoint: Path, options: dict[str, str]) -> None:
    bundle = built(**options)
    report = compared(bundle, checkpoint)
    assert drifting(report) == set()
    report.require()
    assert {check.stage for check in report.checks} == {"request", *(graph.name for graph in bundle.manifest.graphs)}
    assert report.skipped == ()


def flip(path: Path) -> None:
    """Changes one weight, the fourth last float of the file, by as much as its neighbours are large."""
    weights = np.fromfile(path, np.float32)
    weights[-4] += 8 * np.abs(weights).max()
    weights.tofile(path)


@pytest.mark.parametrize(
    "stage",
    [
        "vision",
        "segment_2",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("projector", "segment_0", "segment_3")),
    ],
)
def test_one_changed_weight_is_found_where_it_is(
    built: Callable[..., Bundle], checkpoint: Path, tampered: Tamper, stage: str
) -> None:
    report = compared(tampered(built(), f"graphs/{stage}.onnx.data", flip), checkpoint)
    assert drifting(report) == {stage}
    with pytest.raises(Drift, match=rf"graphs/{stage}\.onnx:.*of {stage}"):
        report.require()


def keep_others(path: Path) -> None:
    """The stage counts one pivot more than it is told, so that it chooses others."""
    model = onnx.load(path)
    (node,) = [node for node in model.graph.node if node.op_type == "ClaspPivotSelect"]
    one = onnx.helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    model.graph.initializer.append(one)
    place = list(model.graph.node).index(node)
    model.graph.node.insert(place, onnx.helper.make_node("Sub", [node.input[1], "one"], ["fewer"]))
    node.input[1] = "fewer"
    path.write_bytes(model.SerializeToString())


@pytest.mark.full
def test_other_selection(built: Callable[..., Bundle], checkpoint: Path, tampered: Tamper) -> None:
    report = compared(tampered(built(), "graphs/prune_1.onnx", keep_others), checkpoint)
    assert drifting(report) == {"prune_1"}
    with pytest.raises(Drift, match=r"graphs/prune_1\.onnx:.*of prune_1"):
        report.require()


@pytest.mark.full
def test_other_weights(built: Callable[..., Bundle], tmp_path: Path) -> None:
    other = make(tmp_path / "other", PRESETS["tiny"], seed=99)
    report = compared(built(), other)
    with pytest.raises(Drift, match="every stage with weights of its own drifts: the bundle was not built from"):
        report.require()


def test_other_architecture(built: Callable[..., Bundle], tmp_path: Path) -> None:
    other = make(tmp_path / "other", replace(PRESETS["tiny"], layers=5))
    with pytest.raises(CheckpointError, match=r"layers.*5.*4"):
        compared(built(), other)


def test_other_settings_of_generation(built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**config, "repetition_penalty": 1.5}))
    with pytest.raises(CheckpointError) as error:
        compared(built(), other)
    says(error, "repetition_penalty", 1.5, 1.0)


@pytest.mark.full
def test_policy_of_other_layers(built: Callable[..., Bundle], checkpoint: Path, tampered: Tamper) -> None:
    bundle = built()
    layers = bundle.policy.layers
    other = next(layer for layer in range(layers[-1]) if layer not in layers)
    moved = replace(bundle.policy, layers=tuple(sorted((other, layers[-1]))))
    wrong = tampered(bundle, POLICY, lambda path: path.write_text(moved.dumps()) and None)
    with pytest.raises(Drift, match=rf"policy\.json.*{other}.*{layers[0]}"):
        compared(wrong, checkpoint).require()


def forget(path: Path) -> None:
    """The first cache leaves the segment as it came, though the call itself reads what was written."""
    model = onnx.load(path, load_external_data=False)
    past = next(port.name for port in model.graph.input if port.name.startswith("past_key_"))
    present = past.replace("past", "present")
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["written" if name == present else name for name in names]
    model.graph.node.append(onnx.helper.make_node("Identity", [past], [present]))
    path.write_bytes(model.SerializeToString())


def test_cache_that_is_not_written_shows_in_a_step(
    built: Callable[..., Bundle], checkpoint: Path, tampered: Tamper
) -> None:
    report = compared(tampered(built(), "graphs/segment_1.onnx", forget), checkpoint)
    assert {(check.stage, check.output) for check in report.checks if not check.passed} == {
        ("segment_1", "hidden_out, one step")
    }
