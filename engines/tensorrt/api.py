"""Every attribute of TensorRT that is used to build, and the release that introduced it: one door.

``tests/engines/tensorrt/test_api.py`` reads our sources against this table, so that a call newer than the oldest
TensorRT of a target (10.3, on JetPack 6.2) fails there, not on a device. Names are those of the Python module;
``Class.member`` stands for the class's attribute. Older than 10.0 counts as 10.0.
"""

from __future__ import annotations

OLDEST = "10.3"

SINCE = {
    "Builder": "10.0",
    "Builder.build_serialized_network": "10.0",
    "Builder.create_builder_config": "10.0",
    "Builder.create_network": "10.0",
    "Builder.create_optimization_profile": "10.0",
    "BuilderFlag": "10.0",
    "BuilderFlag.SPARSE_WEIGHTS": "10.0",
    "BuilderFlag.TF32": "10.0",
    "IBuilderConfig.add_optimization_profile": "10.0",
    "IBuilderConfig.clear_flag": "10.0",
    "IBuilderConfig.progress_monitor": "10.0",
    "IBuilderConfig.set_flag": "10.0",
    "IBuilderConfig.set_memory_pool_limit": "10.0",
    "INetworkDefinition.get_input": "10.0",
    "INetworkDefinition.num_inputs": "10.0",
    "IOptimizationProfile.extra_memory_target": "10.0",
    "IOptimizationProfile.set_shape": "10.0",
    "IOptimizationProfile.set_shape_input": "10.0",
    "IProgressMonitor": "10.0",
    "IProgressMonitor.phase_finish": "10.0",
    "IProgressMonitor.phase_start": "10.0",
    "IProgressMonitor.step_complete": "10.0",
    "ITensor.is_shape_tensor": "10.0",
    "ITensor.name": "10.0",
    "MemoryPoolType": "10.0",
    "MemoryPoolType.WORKSPACE": "10.0",
    "NetworkDefinitionCreationFlag": "10.0",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": "10.0",
    "OnnxParser": "10.0",
    "OnnxParser.get_error": "10.0",
    "OnnxParser.num_errors": "10.0",
    "OnnxParser.parse_from_file": "10.0",
    "ParserError.desc": "10.0",
}
"""What every build uses."""

ATTENTION_SINCE = {
    "IAttention.decomposable": "10.14",
    "IAttentionInputLayer": "10.14",
    "IAttentionInputLayer.attention": "10.14",
    "ILayer.type": "10.0",
    "INetworkDefinition.get_layer": "10.0",
    "INetworkDefinition.num_layers": "10.0",
    "LayerType": "10.0",
    "LayerType.ATTENTION_INPUT": "10.14",
}
"""What ``attention.py`` uses, where the graphs still have attention: from ``library.KNOWS_PORTABLE`` on."""

RTX_ONLY = frozenset(
    {
        "BuilderFlag",
        "BuilderFlag.REQUIRE_USER_ALLOCATION",
        "ComputeCapability",
        "IBuilderConfig.num_compute_capabilities",
        "IBuilderConfig.set_compute_capability",
        "IBuilderConfig.set_flag",
    }
)
"""What ``capabilities.py`` uses, for backend ``tensorrt-rtx`` alone."""
