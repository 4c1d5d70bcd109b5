"""Attention where TensorRT has no fused kernel: it may then use several kernels instead of refusing."""

from __future__ import annotations

from typing import Any


def allow_decomposition(trt: Any, network: Any) -> int:
    """Lets every attention of ``network`` be decomposed; returns how many there are.

    A permission, not an order: where a fused kernel exists it is taken, and the engine is the same to the byte.
    Without it, float32 and head sizes without a kernel do not build.
    """
    found = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # get_layer gives the base class, which hides `attention`
            layer.attention.decomposable = True
            found += 1
    return found
