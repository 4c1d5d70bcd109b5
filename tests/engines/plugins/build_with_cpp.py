"""Builds an engine by TensorRT for RTX with the C++ plugins: ``build_with_cpp.py LIBRARY MODEL ENGINE``.

A process of its own, because names of plugins are taken once in each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

from clasp_trt.engines.tensorrt.capabilities import set_capabilities
from clasp_trt.plugins.library import error_logger, load_library


def main(library: str, model: str, engine: str) -> None:
    trt, errors = load_library("tensorrt-rtx"), list[str]()
    assert trt.get_plugin_registry().load_library(library) is not None
    log = error_logger(trt, errors)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(model), errors
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    set_capabilities(trt, config, ["8.9"])
    for port in onnx.load(model).graph.input:
        dims = port.type.tensor_type.shape.dim
        if any(dim.dim_param for dim in dims):
            profile.set_shape(port.name, *[[dim.dim_value or size for dim in dims] for size in (20, 30, 40)])
    config.add_optimization_profile(profile)
    made = builder.build_serialized_network(network, config)
    assert made is not None, errors
    Path(engine).write_bytes(made)


main(*sys.argv[1:])
