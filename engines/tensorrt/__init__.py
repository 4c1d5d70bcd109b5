"""Engines ahead of time, by TensorRT or TensorRT for RTX: one code base against the API that both share.

The module is passed in as a :class:`~clasp_trt.engines.tensorrt.library.Library`; ``api.py`` lists every attribute of
it that is used. Nothing here runs an engine, and with TensorRT for RTX nothing needs a GPU.
"""
