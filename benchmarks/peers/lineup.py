"""Who takes part: peers, the models that they answer from, and one row of the table for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LLAVA, QWEN = "tinyllama-1.1b", "qwen2-vl-1.1b"
MAKERS = {LLAVA: "examples.random_llava", QWEN: "examples.random_qwen"}
"""The one checkpoint of each shape, by its preset; all models are made from these."""
OURS, TRANSFORMERS, OPENVINO, GENAI, LLAMACPP = (
    "clasp-trt",
    "transformers",
    "openvino",
    "onnxruntime-genai",
    "llama.cpp",
)
_THINNING = "6:50%"  # half of the patches go after the sixth block of the tower
_PLAIN = str.maketrans(" :", "--", ",%")
_CDPRUNER = 89  # percent of 576 visual tokens dropped: 63 are kept


@dataclass(frozen=True)
class Model:
    """What a peer reads: a folder that ``command`` makes of a checkpoint, or that checkpoint itself.

    ``command`` are the words after ``python -m``, with ``{checkpoint}`` and ``{out}`` in them.
    """

    name: str
    peer: str
    shape: str
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entrant:
    """A row: ``module`` of benchmarks/ on ``files`` of a model (the folder itself if there are none), with ``options``.

    ``part`` says what is timed where that is not the whole. One that ``stays`` is not started anew for each turn.
    """

    name: str
    model: Model
    module: str
    files: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    part: str = ""
    stays: bool = False


def _ours(shape: str, precision: str, budget: str, *, thinned: bool = False) -> Entrant:
    pruning = ("--prune-at", "none") if budget == "unpruned" else ("--budget", budget)
    rounding = () if precision == "FP32" else ("--quantize", precision.lower())
    most = ("--max-visual-tokens", "576") if shape == QWEN else ()
    tower = ("--prune-tower", _THINNING) if thinned else ()
    command = (
        "clasp_trt",
        "build",
        "{checkpoint}",
        "-o",
        "{out}",
        *pruning,
        *tower,
        *rounding,
        *most,
        "--max-context",
        "1024",
    )
    name = f"{precision} unpruned" if budget == "unpruned" else f"{precision} budget {budget}"
    name += f", tower {_THINNING}" if thinned else ""
    model = Model(f"{shape} {name}".lower().translate(_PLAIN), OURS, shape, command)
    return Entrant(f"{OURS} {_shape(shape)}{name}", model, "bundle_peer")


def _openvino(shape: str, precision: str, *, prune: bool = False) -> Entrant:
    model = Model(
        f"openvino-{shape}-{precision}".lower(),
        OPENVINO,
        shape,
        (
            *("optimum.commands.optimum_cli", "export", "openvino", "--model", "{checkpoint}"),
            *("--task", "image-text-to-text", "--weight-format", precision.lower(), "{out}"),
        ),
    )
    name, options = f"{OPENVINO} {_shape(shape)}{precision}", ()
    if prune:
        return Entrant(f"{name} CDPruner", model, "peers.openvino", options=("--prune", str(_CDPRUNER)))
    return Entrant(name, model, "peers.openvino", options=options)


def _shape(shape: str) -> str:
    return "" if shape == LLAVA else "Qwen2-VL "


_CHECKPOINT = Model(LLAVA, TRANSFORMERS, LLAVA)
_DECODER = Model(
    "onnxruntime-genai-int4", GENAI, LLAVA, ("benchmarks.peers.onnxruntime_genai_files", "{checkpoint}", "{out}")
)
_GGUF = Model("llama.cpp", LLAMACPP, LLAVA, ("benchmarks.peers.llamacpp_files", "{checkpoint}", "{out}"))

LINEUP: Sequence[Entrant] = (
    Entrant("transformers sdpa", _CHECKPOINT, "hf_llava", options=("--attention", "sdpa")),
    Entrant(
        "transformers compiled", _CHECKPOINT, "hf_llava", options=("--attention", "sdpa", "--compiled"), stays=True
    ),
    _openvino(LLAVA, "FP32"),
    _openvino(LLAVA, "INT8"),
    _openvino(LLAVA, "INT4"),
    Entrant("onnxruntime-genai INT4", _DECODER, "peers.onnxruntime_genai", part="decoder alone"),
    Entrant("llama.cpp Q8_0", _GGUF, "peers.llamacpp", ("q8_0.gguf", "mmproj.gguf")),
    Entrant("llama.cpp Q4_K_M", _GGUF, "peers.llamacpp", ("q4_k_m.gguf", "mmproj.gguf")),
    _ours(LLAVA, "FP32", "unpruned"),
    _ours(LLAVA, "FP32", "64"),
    *(_ours(LLAVA, precision, budget) for precision in ("INT8", "INT4") for budget in ("unpruned", "192", "64")),
    _ours(LLAVA, "INT8", "64", thinned=True),
    _openvino(QWEN, "INT8"),
    _openvino(QWEN, "INT8", prune=True),
    _openvino(QWEN, "INT4", prune=True),
    _ours(QWEN, "INT8", "unpruned"),
    _ours(QWEN, "INT8", "64"),
    _ours(QWEN, "INT4", "64"),
)
QUICK = (
    "transformers sdpa",
    "openvino INT8",
    "onnxruntime-genai INT4",
    "llama.cpp Q4_K_M",
    "clasp-trt INT8 unpruned",
    "clasp-trt INT8 budget 64",
    "clasp-trt INT4 budget 64",
    "openvino Qwen2-VL INT8 CDPruner",
    "clasp-trt Qwen2-VL INT8 budget 64",
)


def chosen(only: Sequence[str], *, quick: bool = False) -> list[Entrant]:
    """The rows whose name has one of the words ``only`` in it, in any case; all of them if there are none.

    Raises ValueError for a word that no name has.
    """
    rows = [each for each in LINEUP if not quick or each.name in QUICK]
    for word in only:
        if not any(word.lower() in each.name.lower() for each in rows):
            raise ValueError(f"nobody is called {word!r}, expected a part of one of: {', '.join(e.name for e in rows)}")
    return [each for each in rows if not only or any(word.lower() in each.name.lower() for word in only)]
