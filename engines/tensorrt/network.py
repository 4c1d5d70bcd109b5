"""A parsed network, and its profiles as TensorRT wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clasp_trt.bundle import Graph, Profile
from clasp_trt.engines.tensorrt.attention import allow_decomposition
from clasp_trt.engines.tensorrt.library import OLD_OPSET, Library
from clasp_trt.errors import BackendError


def parse(library: Library, builder: Any, log: Any, model: Path, name: str, errors: list[str]) -> tuple[Any, Any]:
    """The strongly typed network of the ONNX file ``model``, and its parser, which must outlive the build.

    Raises :class:`BackendError` with the parser's first complaint about the graph ``name``.
    """
    trt = library.module
    # always on in TensorRT 11, which still takes the flag
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        said = [parser.get_error(index).desc() for index in range(parser.num_errors)] or errors
        raise BackendError(
            f"{library.backend} {library.version} refuses the graph {name}: {said[0] if said else 'no reason given'}"
        )
    if library.opset > OLD_OPSET:  # only then is there an attention layer
        allow_decomposition(trt, network)
    return network, parser


def add_profile(builder: Any, config: Any, network: Any, graph: Graph, profile: Profile) -> None:
    """Adds ``profile`` to ``config`` in the terms of TensorRT: shapes of inputs, and values of shape inputs."""
    wanted = builder.create_optimization_profile()
    wanted.extra_memory_target = 0.0  # a hint: weights that the first profile has packed serve the others too
    ports = {port.name: port for port in graph.inputs}
    for index in range(network.num_inputs):
        binding = network.get_input(index)
        shape = ports[binding.name].shape
        if binding.is_shape_tensor:
            wanted.set_shape_input(binding.name, *((value,) for value in profile.sizes[binding.name]))
        elif any(isinstance(dim, str) for dim in shape):
            least, usual, most = (
                tuple(dim if isinstance(dim, int) else profile.sizes[dim][which] for dim in shape) for which in range(3)
            )
            wanted.set_shape(binding.name, least, usual, most)
    if config.add_optimization_profile(wanted) < 0:
        raise BackendError(f"graph {graph.name}: TensorRT refuses the profile {profile.name} ({dict(profile.sizes)})")
