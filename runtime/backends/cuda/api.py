"""Every attribute of TensorRT that the runtime uses, and the release that introduced it.

The counterpart of ``engines/tensorrt/api.py``, which is about building. ``tests/runtime/backends/cuda/test_api.py``
reads our sources against this table. Older than 10.0 counts as 10.0.
"""

from __future__ import annotations

SINCE = {
    "DataType": "10.0",
    "DataType.BF16": "10.0",
    "DataType.BOOL": "10.0",
    "DataType.FLOAT": "10.0",
    "DataType.HALF": "10.0",
    "DataType.INT64": "10.0",
    "ExecutionContextAllocationStrategy": "10.0",
    "ExecutionContextAllocationStrategy.USER_MANAGED": "10.0",
    "ICudaEngine.create_execution_context": "10.0",
    "ICudaEngine.device_memory_size_v2": "10.1",
    "ICudaEngine.get_tensor_dtype": "10.0",
    "ICudaEngine.get_tensor_mode": "10.0",
    "ICudaEngine.get_tensor_name": "10.0",
    "ICudaEngine.is_shape_inference_io": "10.0",
    "ICudaEngine.num_io_tensors": "10.0",
    "ICudaEngine.num_optimization_profiles": "10.0",
    "IExecutionContext.execute_async_v3": "10.0",
    "IExecutionContext.get_tensor_shape": "10.0",
    "IExecutionContext.infer_shapes": "10.0",
    "IExecutionContext.profiler": "10.0",
    "IExecutionContext.set_device_memory": "10.1",
    "IExecutionContext.set_input_shape": "10.0",
    "IExecutionContext.set_optimization_profile_async": "10.0",
    "IExecutionContext.set_tensor_address": "10.0",
    "IProfiler": "10.0",
    "IProfiler.report_layer_time": "10.0",
    "Runtime": "10.0",
    "Runtime.deserialize_cuda_engine": "10.0",
    "TensorIOMode": "10.0",
    "TensorIOMode.INPUT": "10.0",
    "TensorIOMode.OUTPUT": "10.0",
}
"""What every request uses."""

LATER = frozenset({"ICudaEngine.get_aliased_input_tensor"})
"""Used where it is: an engine without it has no output that must share memory with an input."""

RTX_ONLY = frozenset(
    {
        "DynamicShapesKernelSpecializationStrategy",
        "DynamicShapesKernelSpecializationStrategy.EAGER",
        "ICudaEngine.create_runtime_config",
        "IExecutionContext.is_stream_capturable",
        "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
        "IRuntimeConfig.set_execution_context_allocation_strategy",
    }
)
"""Used for backend ``tensorrt-rtx`` alone, which compiles kernels while it runs."""
