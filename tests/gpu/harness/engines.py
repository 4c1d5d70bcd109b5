"""What the checks of engines and of the runtime need, or a sentence about why they cannot run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.chain.port import VISUAL_TOKENS
from clasp_trt.engines.tensorrt.library import RTX_SMS, load
from clasp_trt.errors import BackendError
from clasp_trt.ops import pivot_select, spherical_kmeans, token_gram
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.decoder import Decoder
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.timing import Timer
from clasp_trt.targets import TARGETS
from tests.gpu.harness.environment import Environment
from tests.house import ROOT
from tests.prompts import prompt_of

PHOTO = ROOT / "examples" / "photos" / "chelsea.jpg"
PROMPTS = ("What is in the picture?", "How many of them are there?", "What does the sign say?")
EXPORT = ("onnx_ir", "onnxscript", "safetensors", "transformers")
"""What compiling a checkpoint needs beyond the check itself."""


@dataclass(frozen=True)
class EngineTarget:
    """A backend whose library is here, and a target of it with this machine's compute capability."""

    backend: str
    target: str


def lacking_for_export() -> str | None:
    """What compiling a checkpoint lacks here, as a reason."""
    missing = [name for name in EXPORT if find_spec(name) is None]
    return f"compiling a checkpoint also needs {', '.join(missing)}" if missing else None


def engine_target(environment: Environment) -> EngineTarget | str:
    """The first backend that can build and run engines here, or why there is none."""
    sm, reasons = environment.capability, list[str]()
    for backend in ("tensorrt", "tensorrt-rtx"):
        try:
            load(backend)
        except BackendError:
            reasons.append(f"{backend} is not installed")
            continue
        named = [target.name for target in TARGETS.values() if target.sm == sm and backend in target.backends]
        if named and (backend != "tensorrt-rtx" or sm in RTX_SMS):
            return EngineTarget(backend, named[0])
        reasons.append(f"{backend} has no target of SM {sm}")
    return "no engines: " + ", ".join(reasons)


def logits(bundle: Bundle, tokens: Sequence[int]) -> NDArray[np.float32]:
    """``[1 + len(tokens), vocabulary]``: after a prompt with random visual tokens, and after each of ``tokens``."""
    rng = np.random.default_rng(7)
    model, embed = bundle.manifest.model, bundle.graph("embed")
    count = model.tokens[-1]
    ids = np.concatenate([[1, 40], np.full(count, bundle.manifest.media.image.layout.id), rng.integers(10, 200, 9)])
    prompt = prompt_of(ids, np.arange(2, 2 + count), np.arange(2 + count, len(ids)))
    visual = rng.standard_normal((1, count, model.decoder.width)).astype(embed.outputs[0].dtype)
    backend = backend_for(bundle)
    decoder = Decoder(bundle, backend)
    counts = tuple(keep // 2 for keep in bundle.manifest.schedule.keeps)
    sequence, scores, _ = decoder.prefill(prompt, backend.upload(visual), None, counts, Timer())
    rows = [backend.download(scores.logits).reshape(-1)]
    rows += [backend.download(decoder.step({sequence: [token]}).logits).reshape(-1) for token in tokens]
    backend.close()
    return np.stack(rows).astype(np.float32)


def deviation(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest difference, as a share of the largest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def half_precision_check(
    found: NDArray[np.float32], baseline: NDArray[np.float32], exact: NDArray[np.float32]
) -> float:
    """Raises :class:`AssertionError` unless ``found`` is about as near to ``exact`` as another run in its precision is.

    The factor leaves room for another order of summation. Returns the deviation.
    """
    ours, theirs = deviation(found, exact), deviation(baseline, exact)
    assert np.isfinite(found).all()
    assert ours <= 3 * theirs, f"{ours:.2e} from float32, where another run in this precision is {theirs:.2e} off"
    return ours


def prune_inputs(bundle: Bundle, name: str, tokens: int, keep: int, pivots: int) -> dict[str, NDArray[np.generic]]:
    """Inputs of a prune graph at which ``tokens`` arrive: a Gram matrix of tokens with ties."""
    rng = np.random.default_rng(pivots)
    ports = {port.name: port for port in bundle.graph(name).inputs}
    width = ports["hidden"].shape[2]
    assert ports["visual_index"].shape[0] in (tokens, VISUAL_TOKENS)
    assert isinstance(width, int)
    x = rng.standard_normal((1, tokens, 3)).round(1)
    x[0, tokens // 2] = x[0, 0]
    rows = tokens + 7
    return {
        "hidden": rng.standard_normal((1, rows, width)).astype(ports["hidden"].dtype),
        "position_ids": np.arange(rows)[None],
        "saliency": rng.standard_normal((1, tokens)).round(1).astype(np.float32),
        "gram": token_gram(x),
        "pivot_count": np.array([pivots]),
        "ranks": np.arange(keep),
        "visual_index": np.arange(3, 3 + tokens),
        "reference_index": np.arange(3 + tokens, rows),
    }


def check_prunes(bundle: Bundle, tokens: int) -> None:
    """Every stage of a request with so many visual tokens, with no pivots, some, and nothing but pivots."""
    arriving = tokens
    for number, keep in enumerate(bundle.manifest.schedule.keeps_of(tokens)):
        for pivots in (0, keep // 2, keep):
            check_prune_graph(bundle, f"prune_{number}", arriving, keep, pivots)
        arriving = keep


def check_prune_graph(bundle: Bundle, name: str, tokens: int, keep: int, pivots: int) -> None:
    """Runs a prune graph on the bundle's own backend: the same tokens as the reference, index for index."""
    inputs = prune_inputs(bundle, name, tokens, keep, pivots)
    backend, graph = backend_for(bundle), bundle.graph(name)
    run = backend.load(bundle.path(graph.path), graph)
    outputs = run({port.name: backend.upload(inputs[port.name]) for port in graph.inputs}, {})
    found = {port: backend.download(value) for port, value in outputs.items()}
    backend.close()
    marks = pivot_select(inputs["saliency"], inputs["pivot_count"], keep)
    kept, is_pivot = spherical_kmeans(inputs["gram"], marks, keep)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)
    visual = np.asarray(inputs["visual_index"])
    stays = np.setdiff1d(np.arange(inputs["hidden"].shape[1]), np.delete(visual, kept[0]))
    np.testing.assert_array_equal(found["hidden_out"], inputs["hidden"][:, stays])
    np.testing.assert_array_equal(found["position_ids_out"], inputs["position_ids"][:, stays])


def check_answers(
    found: Path,
    expected: Path,
    provider: str | None = None,
    new_tokens: int = 12,
    shown: Sequence[Path | Sequence[Path]] = (PHOTO,),
) -> None:
    """Both bundles answer all prompts with the same tokens, after the same choices, one request after another: of each
    that is ``shown``, a picture or several."""
    with clasp_trt.load(found, provider=provider) as ours, clasp_trt.load(expected) as theirs:
        for pictures in shown:
            for prompt in PROMPTS:
                answer = ours.generate(pictures, prompt, max_new_tokens=new_tokens, ignore_stop=True)
                check_same(answer, theirs.generate(pictures, prompt, max_new_tokens=new_tokens, ignore_stop=True))


def check_same(found: Result, expected: Result) -> None:
    """The same tokens, after the same choices at every stage."""
    for stage, reference in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(stage.indices, reference.indices)
        np.testing.assert_array_equal(stage.is_pivot, reference.is_pivot)
    assert found.token_ids == expected.token_ids
