"""Builds with zeros: what graphs hold, what a manifest says, what verify finds, and what is refused in one line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.bundle.roundings import ROUNDINGS
from clasp_trt.cli.describe import summary
from clasp_trt.errors import BundleError, ClaspError, DataError, QuantizationError, SparsityError
from clasp_trt.notice import Notice
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify.parity import compare
from clasp_trt.tools.verify.zeros import counted, masks
from tests.mistakes import says

pytestmark = pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")


def verified(bundle: Bundle, checkpoint: Path) -> None:
    from clasp_trt.tools.profile.workload import noise

    compare(bundle, str(checkpoint), [noise(bundle)], "Is this a bird?").require()


@pytest.mark.parametrize(
    "options",
    [
        {"sparsity": "2:4,magnitude"},
        {"sparsity": "2:4", "calibration": True},
        {"sparsity": "2:4", "calibration": True, "quantize": "int4:32"},
        pytest.param({"sparsity": "0.5", "calibration": True}, marks=pytest.mark.full),
        pytest.param({"sparsity": "4:8,wanda", "calibration": True, "quantize": "vision=int8"}, marks=pytest.mark.full),
        pytest.param({"sparsity": "0.3,magnitude", "quantize": "int8"}, marks=pytest.mark.full),
        pytest.param({"sparsity": "2:4,magnitude", "quantize": "int4:32", "calibration": True}, marks=pytest.mark.full),
    ],
    ids=str,
)
def test_a_sparse_bundle(built: Callable[..., Bundle], asked: Path, checkpoint: Path, options: dict[str, Any]) -> None:
    given = {**options, **({"calibration": str(asked)} if "calibration" in options else {})}
    bundle = built(**given)
    sparse, found = bundle.manifest.sparse, counted(bundle)
    assert sparse is not None
    assert found is not None
    share = float(sparse.sparsity.share)
    assert (found.weights, found.zeros >= sparse.zeros) == (sparse.weights, True)
    assert sparse.zeros / sparse.weights == pytest.approx(share, abs=0 if sparse.sparsity.pattern else 0.02)
    if "quantize" not in options:
        assert found.zeros == sparse.zeros, "floats have no other zeros"
    is_by_questions = not options["sparsity"].endswith("magnitude")
    assert (sparse.data, sparse.rows) == ((file_sha256(asked), 16) if is_by_questions else (None, 0))
    rounds = options.get("quantize", "").startswith("int") and "calibration" in options
    assert (bundle.manifest.calibration is not None) is rounds is (ROUNDINGS in bundle.manifest.files)
    assert f"zeros      {sparse.sparsity}: " in summary(bundle)
    verified(bundle, checkpoint)


def test_shares_differ_by_layer_where_tokens_differ(built: Callable[..., Bundle], asked: Path) -> None:
    found = counted(built(sparsity="0.5", calibration=str(asked)))
    even = counted(built(sparsity="2:4", calibration=str(asked)))
    assert found is not None
    assert even is not None
    assert len({zeros for zeros, _ in found.layers}) > 1
    assert len({*even.layers}) == 1
    assert all(zeros / weights < 0.62 for zeros, weights in found.layers)


@pytest.mark.full
def test_the_same_bytes_twice(built: Callable[..., Bundle], asked: Path, checkpoint: Path, tmp_path: Path) -> None:
    def contents(bundle: Bundle) -> dict[str, str]:
        return {path.name: file_sha256(path) for path in sorted(bundle.root.rglob("*")) if path.is_file()}

    again = build(checkpoint, tmp_path / "again", max_context=96, budget=8, sparsity="2:4", calibration=asked)
    assert contents(again) == contents(built(sparsity="2:4", calibration=str(asked)))


def test_it_says_what_zeros_buy(built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path) -> None:
    portable = built(target=None, sparsity="2:4,magnitude")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Notice)
        bundle = build(portable.root, tmp_path / "out")
    (line,) = [str(each.message) for each in told if "--sparsity" in str(each.message)]
    assert "buys nothing here" in line
    assert "cpu" in line
    assert bundle.manifest.sparse == portable.manifest.sparse


@pytest.mark.parametrize(
    ("options", "kind", "facts"),
    [
        ({"sparsity": "0.5"}, SparsityError, ["--calibration D.jsonl", "0.5,magnitude"]),
        ({"sparsity": "2:4,wanda"}, SparsityError, ["--calibration D.jsonl", "2:4,magnitude"]),
        ({"sparsity": "3:2", "calibration": "D.jsonl"}, SparsityError, ["3:2", "2:4 or 4:8"]),
        ({"sparsity": "2:4,magnitude", "calibration": "D.jsonl"}, QuantizationError, ["--calibration", "--sparsity"]),
        ({"sparsity": "2:4", "calibration": "D.jsonl"}, DataError, ["D.jsonl", 15, 16]),
        ({"sparsity": "2:4", "calibration": "D.jsonl", "prune_tower": "1:8"}, QuantizationError, ["--prune-tower"]),
    ],
    ids=str,
)
def test_refusals(
    asked: Path, checkpoint: Path, tmp_path: Path, options: dict[str, Any], kind: type[ClaspError], facts: list[Any]
) -> None:
    for path in asked.parent.glob("*.png"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "D.jsonl").write_text("".join(f"{line}\n" for line in asked.read_text().splitlines()[:15]))
    given = {**options, **({"calibration": tmp_path / "D.jsonl"} if "calibration" in options else {})}
    with pytest.raises(kind) as error:
        build(checkpoint, tmp_path / "out", max_context=96, budget=8, target=None, **given)
    says(error, *facts)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*")), "nothing is left of it"


def test_a_checkpoint_of_integers_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from tests import quantised

    config = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": True, "desc_act": False}

    def make(weights: Any) -> quantised.Matrix:
        return quantised.quantised(weights, 4, 16, symmetric=True)

    packed, _ = quantised.quantise_checkpoint(checkpoint, tmp_path, config, "mlp.up_proj", make, quantised.gptq)
    with pytest.raises(SparsityError) as error:
        build(packed, tmp_path / "out", target=None, budget=8, max_context=96, sparsity="0.5,magnitude")
    says(error, "quantised already", "--quantize")


def test_a_bundle_is_not_made_sparse(built: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        build(built(target=None).root, tmp_path / "out", sparsity="0.5,magnitude")
    says(error, "checkpoint")


class Saying:
    """A bundle whose manifest says something else of its zeros."""

    def __init__(self, bundle: Bundle, **said: Any) -> None:
        self.root, self.path, self.graph = bundle.root, bundle.path, bundle.graph
        self.manifest = replace(bundle.manifest, sparse=replace(bundle.manifest.sparse, **said))


def test_fewer_zeros_than_it_says_are_found(built: Callable[..., Bundle], asked: Path) -> None:
    from clasp_trt.sparsity import parse

    bundle = built(sparsity="0.5", calibration=str(asked))
    sparse = bundle.manifest.sparse
    assert sparse is not None
    for said in ({"zeros": sparse.zeros + 1}, {"weights": sparse.weights + 1}):
        with pytest.raises(BundleError) as error:
            counted(Saying(bundle, **said))  # type: ignore[arg-type]
        says(error, sparse.zeros, *said.values())
    with pytest.raises(BundleError) as error:
        counted(Saying(bundle, sparsity=parse("2:4")))  # type: ignore[arg-type]
    says(error, "2:4", "layers.0.")


def test_a_dense_bundle_is_not_counted(built: Callable[..., Bundle]) -> None:
    assert counted(built()) is None
    assert "sparsity" not in json.loads((built().root / "clasp.json").read_text())
    assert "zeros " not in summary(built())


def test_zeros_that_are_read_back_are_those_of_the_weights(built: Callable[..., Bundle], checkpoint: Path) -> None:
    from safetensors.torch import load_file

    (path,) = checkpoint.glob("*.safetensors")
    stored = {name.partition("layers.")[2]: each for name, each in load_file(path).items() if "language_model" in name}
    shapes = {
        f"layers.{name}": tuple(each.shape) for name, each in stored.items() if each.dim() == 2 and "proj" in name
    }
    found = dict(masks(built(sparsity="2:4,magnitude"), shapes))  # type: ignore[arg-type]
    assert found.keys() == shapes.keys()
    for name, zeros in found.items():
        sizes = stored[name.removeprefix("layers.")].abs().float().numpy().reshape(-1, 4)
        least = np.sort(sizes, axis=1)[:, 1:2]
        np.testing.assert_array_equal(zeros.reshape(-1, 4), sizes <= least)
    with pytest.raises(BundleError) as error:
        list(masks(built(sparsity="2:4,magnitude"), {**shapes, "layers.9.gone.weight": (1, 1)}))  # type: ignore[dict-item]
    says(error, "layers.9.gone.weight")
