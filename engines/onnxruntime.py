"""The ONNX Runtime backend: the portable graphs are its engines, at the newest opset that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clasp_trt.bundle import Graph
from clasp_trt.chain import port
from clasp_trt.errors import BackendError
from clasp_trt.progress import Progress
from clasp_trt.targets import Target, onnxruntime_opset


def opset_for(target: Target) -> int:
    """The newest opset that ONNX Runtime reads both here and on ``target``."""
    import onnxruntime as ort

    return min(target.opset("onnxruntime"), onnxruntime_opset(ort.__version__))


def compile_graphs(
    root: Path, graphs: Sequence[Graph], opset: int, progress: Progress, *, for_cpu: bool = True
) -> None:
    """Makes the graphs of a staged bundle loadable by ONNX Runtime at ``opset`` and proves it by loading each one.

    Integer weights are multiplied as integers by what is ``for_cpu``, and as floats elsewhere; on CPUs products of
    the same rows become one in graphs that serve steps, whose rows are few. One graph is in memory at a time. Raises
    :class:`BackendError` if a graph is refused.
    """
    import onnxruntime as ort

    from clasp_trt.engines.lowering import lower_file
    from clasp_trt.engines.lowering.weights import lower_weights

    for done, graph in enumerate(graphs, start=1):
        steps = any(each.name == port.WRITE_INDEX for each in graph.inputs)
        lower_weights(root / graph.path, products=for_cpu, joins=for_cpu and steps)
        lower_file(root / graph.path, opset)
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors are raised, and told once
        # a proof needs no optimised copy of the weights
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            ort.InferenceSession(str(root / graph.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BackendError(f"ONNX Runtime {ort.__version__} refuses the graph {graph.name}: {reason}") from error
        progress(graph.name, done, len(graphs))
