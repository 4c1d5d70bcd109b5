"""ONNX graphs in, engines of one backend out."""

if __name__ != "clasp_trt.engines":
    raise ImportError(f"this folder is the package clasp_trt.engines: import that, not {__name__}")
