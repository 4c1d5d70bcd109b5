"""Checkpoint in, ONNX graphs out: the half of the compiler that knows torch, transformers and ONNX."""

if __name__ != "clasp_trt.export":
    raise ImportError(f"this folder is the package clasp_trt.export: import that, not {__name__}")
